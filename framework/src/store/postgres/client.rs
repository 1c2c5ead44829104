//! A connection to a database that need not be the store's, for a task of the host's runtime.

use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls};

use super::session::drive;
use super::target::Target;
use super::tls::Tls;

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// Connects to the database that a URL names. Tables are found on the search path of the user, unless the URL names a
/// schema. The server shows the connection with its purpose and the schema. `heard` is called with what the server notifies. The connection is served by the runtime in which this is polled.
pub(crate) async fn connect(
    url: &str,
    purpose: &str,
    heard: impl Fn(&str) + Send + 'static,
) -> Result<Client, Problem> {
    let target = Target::parse_in(url, "")?;
    let mut config = target.config.clone();
    config.application_name(format!("switchboard {purpose} {}", target.schema).trim_end());
    let client = if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(drive(connection, heard));
        client
    } else {
        let (client, connection) = config.connect(Tls::new(target.root_certificates.as_deref())?).await?;
        tokio::spawn(drive(connection, heard));
        client
    };
    if !target.schema.is_empty() {
        client.batch_execute(&format!("SET search_path TO {}", target.schema)).await?;
    }
    Ok(client)
}

/// Names the database of a URL for people, without the password.
pub(crate) fn name(url: &str) -> String {
    Target::parse_in(url, "").map_or_else(|error| error.to_string(), |target| target.name())
}
