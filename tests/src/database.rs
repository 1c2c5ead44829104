//! A PostgreSQL database for the tests.

use switchboard_test_postgres::Server;
use tokio_postgres::NoTls;
use tokio_postgres::types::FromSqlOwned;

/// A schema of its own on a server, removed when this is dropped.
pub struct Database {
    server: String,
    schema: String,
    /// Whether the server is one that others use as well.
    shared: bool,
}

impl Database {
    /// Names a schema on the server that all tests share; `None`, with a line that says so, where there is none.
    #[must_use]
    pub fn fresh() -> Option<Self> {
        switchboard_test_postgres::url().map(|server| Self::named(server.to_owned(), true))
    }

    /// Names a schema on a server of its own, which goes with it.
    #[must_use]
    pub fn on(server: &Server) -> Self {
        Self::named(server.url(), false)
    }

    fn named(server: String, shared: bool) -> Self {
        let schema = format!("test_{:016x}", fastrand::u64(..));
        let database = Self { server, schema, shared };
        if shared {
            database.batch(&format!("CREATE SCHEMA {}", database.schema));
        }
        database
    }

    /// Returns the URL, for an application with tables of its own.
    #[must_use]
    pub fn in_schema(&self) -> String {
        self.with_option(&format!("schema={}", self.schema))
    }

    /// Returns the URL as every driver understands it.
    #[must_use]
    pub fn on_search_path(&self) -> String {
        self.with_option(&format!("options=-c%20search_path%3D{}", self.schema))
    }

    fn with_option(&self, option: &str) -> String {
        let separator = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{separator}{option}", self.server)
    }

    /// Returns the URL of the store, in which a host that is silent for `lease_ms` is taken for dead.
    #[must_use]
    pub fn store(&self, lease_ms: u32) -> String {
        format!("{}&lease_ms={lease_ms}", self.in_schema())
    }

    /// Returns the settings of a data folder whose store this is, with further sections.
    #[must_use]
    pub fn settings(&self, lease_ms: u32, more: &str) -> String {
        format!("[store]\nurl = \"{}\"\n\n{more}", self.store(lease_ms))
    }

    /// Runs SQL in the schema.
    pub fn batch(&self, sql: &str) {
        self.with(async |client| client.batch_execute(sql).await.unwrap());
    }

    /// Returns the first column of what a query gives.
    #[must_use]
    pub fn column<V: FromSqlOwned>(&self, sql: &str) -> Vec<V> {
        self.with(async |client| client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect())
    }

    fn with<V>(&self, work: impl AsyncFnOnce(&tokio_postgres::Client) -> V) -> V {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.server, NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&format!("SET search_path TO {}", self.schema)).await.unwrap();
            work(&client).await
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.shared {
            self.batch(&format!("DROP SCHEMA {} CASCADE", self.schema));
        }
    }
}
