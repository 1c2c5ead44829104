//! The transactional outbox: events that a host application announces inside a transaction of its own.
//!
//! An application that first commits a booking and then announces it can be killed in between; one that announces first
//! can be rolled back after it. With an outbox the event is a row of the application's own database, written in the
//! transaction of the booking by whatever driver the application uses. The host takes such rows in the order of their
//! commits: it announces each as a [`Run`](crate::Run) would, on disk, and only then removes it. A row whose event is on
//! disk already, because the host ended in between, is removed and not announced again.
//!
//! * The table is made once with [`SQLITE_TABLE`] or `POSTGRES_TABLE` (feature `postgres`); a row needs `event`, and may have
//!   `owner`, `task` and `data`.
//! * [`Outbox::sqlite`] or `Outbox::postgres` names the database to the host, with
//!   [`SwitchboardBuilder::outbox`](crate::SwitchboardBuilder::outbox).
//! * The host looks for rows when [`Switchboard::wake_outbox`](crate::Switchboard::wake_outbox) is called, when a PostgreSQL
//!   server tells it that a transaction with rows has committed, and otherwise once a second.
//! * Several hosts may empty one outbox on PostgreSQL: each row is announced by one of them.
//! * A row that cannot be announced, because its data is no JSON object for example, stays with the reason in `refused`;
//!   set that to NULL after mending it.
//!
//! ```
//! # use switchboard::outbox::SQLITE_TABLE;
//! # fn main() -> Result<(), rusqlite::Error> {
//! # let mut database = rusqlite::Connection::open_in_memory()?;
//! # database.execute_batch("CREATE TABLE booking (property INTEGER)")?;
//! database.execute_batch(SQLITE_TABLE)?;
//! let transaction = database.transaction()?;
//! transaction.execute("INSERT INTO booking (property) VALUES (7)", [])?;
//! transaction.execute(
//!     "INSERT INTO switchboard_outbox (event, owner, data) VALUES (?, ?, ?)",
//!     ("booking_added", 62, r#"{"property_uid":7}"#),
//! )?;
//! transaction.commit()?; // both, or neither
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "postgres")]
mod postgres;
mod relay;
mod sqlite;

use std::fmt;
use std::path::PathBuf;

#[cfg(feature = "postgres")]
pub use postgres::POSTGRES_TABLE;
pub(crate) use relay::Relay;
pub use sqlite::SQLITE_TABLE;

/// Where an application writes the events of its own transactions.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outbox {
    /// The table in a SQLite database.
    Sqlite {
        /// The database's file.
        path: PathBuf,
    },
    /// The table in a PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres {
        /// The database's URL.
        url: String,
    },
}

impl fmt::Debug for Outbox {
    /// Without the password of a database.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outbox").field(&self.name()).finish()
    }
}

impl Outbox {
    /// Names an outbox in a SQLite database.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite { path: path.into() }
    }

    /// Names an outbox in a PostgreSQL database: `postgres://user:password@host:port/database`. `?schema=`
    /// names the schema of the table, where it is not on the search path of the user, and `sslmode=require` asks for TLS.
    #[cfg(feature = "postgres")]
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::Postgres { url: url.into() }
    }

    /// Names it for people.
    fn name(&self) -> String {
        match self {
            Self::Sqlite { path } => path.display().to_string(),
            #[cfg(feature = "postgres")]
            Self::Postgres { url } => crate::store::postgres::client::name(url),
        }
    }
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    id: i64,
    event_id: String,
    event: String,
    owner: i64,
    task: Option<String>,
    data: String,
}

/// What became of a row.
enum Taken {
    /// Its event is on disk.
    Announced(i64),
    /// It cannot be announced; the reason.
    Refused(i64, String),
}

/// An outbox that is open.
trait Source: Send {
    /// Returns the next rows that are not refused, in the order of their ids.
    fn next(&mut self, limit: u32) -> Result<Vec<Row>, SourceError>;
    /// Removes what is announced, and notes why the others are not.
    fn settle(&mut self, taken: &[Taken]) -> Result<(), SourceError>;
}

/// Why an outbox cannot be used.
type SourceError = Box<dyn std::error::Error + Send + Sync>;
