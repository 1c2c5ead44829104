//! What the store's URL says.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use url::form_urlencoded;

use crate::store::StoreOpenError;

/// Schema in which the tables are, unless the URL names another.
const SCHEMA: &str = "switchboard";

/// A host that has not renewed its row for so long, by the clock of the database server, is taken for dead.
const LEASE: Duration = Duration::from_secs(30);

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that acknowledges nothing for so long is gone, although nobody has closed the connection.
const SILENCE: Duration = Duration::from_secs(15);

/// Where the database is, and how it is used.
#[derive(Clone)]
pub(super) struct Target {
    /// How to connect.
    pub(super) config: Config,
    /// Schema of the tables; a plain identifier, or empty to go by the user's search path.
    pub(super) schema: String,
    /// Certificates that are trusted beside those of the operating system.
    pub(super) root_certificates: Option<PathBuf>,
    /// How long a host may be silent before it is taken for dead.
    pub(super) lease: Duration,
}

impl Target {
    /// Reads a URL as libpq has it, with the options `schema`, `sslmode`, `sslrootcert` and, for tests, `lease_ms`.
    pub(super) fn parse(url: &str) -> Result<Self, StoreOpenError> {
        Self::parse_in(url, SCHEMA)
    }

    /// Reads a URL; `default_schema` is the schema where it names none, and empty to go by the user's search path.
    pub(super) fn parse_in(url: &str, default_schema: &str) -> Result<Self, StoreOpenError> {
        let wrong = |reason: String| StoreOpenError::Url { reason };
        let (base, options) = url.split_once('?').unwrap_or((url, ""));
        let schema_name = default_schema.to_owned();
        let mut target = Self { config: Config::new(), schema: schema_name, root_certificates: None, lease: LEASE };
        let mut ssl_mode = SslMode::Disable;
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(options.as_bytes()) {
            match &*name {
                "schema" => target.schema = schema(&value).ok_or_else(|| wrong(bad_schema(&value)))?,
                "sslmode" => ssl_mode = mode(&value).ok_or_else(|| wrong(bad_mode(&value)))?,
                "sslrootcert" => target.root_certificates = Some(PathBuf::from(&*value)),
                "lease_ms" => {
                    let lease = value.parse().ok().filter(|lease| *lease >= 100);
                    let lease = lease.ok_or_else(|| wrong("`lease_ms` is a number from 100".into()))?;
                    target.lease = Duration::from_millis(lease);
                }
                _ => drop(rest.append_pair(&name, &value)),
            }
        }
        // Spaces as `%20`: the driver does not read a plus as one.
        let rest = rest.finish().replace('+', "%20");
        target.config = format!("{base}?{rest}").parse().map_err(|error| wrong(reason(&error)))?;
        let config = &mut target.config;
        config.ssl_mode(ssl_mode).application_name("switchboard").tcp_user_timeout(SILENCE).keepalives_idle(SILENCE);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_hosts().is_empty() {
            config.host("localhost");
        }
        Ok(target)
    }

    /// Returns how often a host renews its row.
    pub(super) fn renew_every(&self) -> Duration {
        self.lease / 6
    }

    /// Returns how long a host that cannot renew its row goes on. It is over before the others take its tasks.
    pub(super) fn give_up_after(&self) -> Duration {
        self.lease * 5 / 6
    }

    /// Names the database for people, without the password.
    pub(super) fn name(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().map(|port| format!(":{port}")).unwrap_or_default();
        let user = self.config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        let schema = if self.schema.is_empty() { String::new() } else { format!("?schema={}", self.schema) };
        format!("postgres://{user}{host}{port}/{database}{schema}")
    }
}

/// A name that needs no quotes, so that it is the same in SQL, in `psql` and as a channel of notifications.
fn schema(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let fits =
        (1..=60).contains(&name.len()) && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit());
    (fits && !name.starts_with("pg_")).then(|| name.to_owned())
}

fn bad_schema(name: &str) -> String {
    format!("`schema` is `{name}`, and has to be a name of up to 60 lower-case letters, digits and underscores")
}

fn mode(text: &str) -> Option<SslMode> {
    match text {
        "disable" => Some(SslMode::Disable),
        "prefer" => Some(SslMode::Prefer),
        // The certificate is verified in all of them.
        "require" | "verify-ca" | "verify-full" => Some(SslMode::Require),
        _ => None,
    }
}

fn bad_mode(text: &str) -> String {
    format!("`sslmode` is `{text}`, and has to be `disable`, `prefer`, `require` or `verify-full`")
}

fn reason(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, String> {
        Target::parse(url).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_names_the_server_and_how_it_is_used() {
        let url = "postgres://ada:s%26cret@db.example:5433/shop?schema=hooks&sslmode=require&options=-c%20jit%3Doff";
        let target = parse(url).unwrap();
        assert_eq!(target.name(), "postgres://ada@db.example:5433/shop?schema=hooks");
        assert_eq!(target.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(target.config.get_password(), Some(&b"s&cret"[..]));
        assert_eq!(target.config.get_options(), Some("-c jit=off"));
        assert_eq!((target.lease, target.renew_every()), (LEASE, Duration::from_secs(5)));
    }

    #[test]
    fn what_a_url_does_not_say_has_a_default() {
        let target = parse("postgres:///?user=ada").unwrap();
        assert_eq!(target.name(), "postgres://ada@localhost/ada?schema=switchboard");
        assert_eq!(target.config.get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn a_url_that_cannot_be_used_says_why_and_never_the_password() {
        for (url, expected) in [
            ("postgres://ada:secret@db/shop?schema=My-Hooks", "`schema` is `My-Hooks`"),
            ("postgres://ada:secret@db/shop?sslmode=maybe", "`sslmode` is `maybe`"),
            ("postgres://ada:secret@db/shop?colour=blue", "colour"),
            ("postgres://ada:secret@db:port/shop", "port"),
        ] {
            let error = parse(url).err().unwrap();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }
}
