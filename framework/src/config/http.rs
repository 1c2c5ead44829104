//! The section about the pages and the HTTP API of `switchboard serve`. A host that is embedded in another program has
//! neither, and takes no notice of it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The section `[http]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpConfig {
    /// Address and port to listen at, such as `127.0.0.1:7320`, which is the default. An address that other machines can
    /// reach needs a [certificate](Self::tls_certificate) or [`behind_proxy`](Self::behind_proxy).
    pub listen: Option<SocketAddr>,
    /// Names under which the server is reached, besides those of the loopback interface: `switchboard.example`, or
    /// `switchboard.example:8443` where the port is not 443. Requests for any other are refused. Empty by default.
    pub hosts: Vec<String>,
    /// Whether a proxy that speaks HTTPS stands before the server and sets `X-Forwarded-For`. Default false.
    pub behind_proxy: bool,
    /// File with the server's certificate and those between it and its authority, in PEM. With it the server speaks HTTPS
    /// itself; a changed file holds for the next connection. A relative path starts in the data folder.
    pub tls_certificate: Option<PathBuf>,
    /// File with the private key of the certificate, in PEM.
    pub tls_key: Option<PathBuf>,
    /// Whether administrators may send plugins over the HTTP API, which makes a stolen token as good as the host's own user.
    /// Default false: plugins come through the folder and the command line.
    pub plugin_upload: bool,
    /// How often one caller of the HTTP API may call in a second; 1 to 1000000, default 1000.
    pub api_calls_per_second: NonZeroU32,
}

impl Default for HttpConfig {
    fn default() -> Self {
        const CALLS: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
        Self {
            listen: None,
            hosts: Vec::new(),
            behind_proxy: false,
            tls_certificate: None,
            tls_key: None,
            plugin_upload: false,
            api_calls_per_second: CALLS,
        }
    }
}

impl HttpConfig {
    /// Returns what is wrong with the files for HTTPS.
    pub(super) fn tls_problem(&self) -> Option<String> {
        let missing = match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => "tls_key",
            (None, Some(_)) => "tls_certificate",
            (Some(_), Some(_)) if self.behind_proxy => {
                return Some("cannot be used with `http.behind_proxy`: the proxy speaks HTTPS".into());
            }
            _ => return None,
        };
        Some(format!("is set without `http.{missing}`: HTTPS needs both"))
    }

    /// Returns what is wrong with the names.
    pub(super) fn host_problem(&self) -> Option<String> {
        let wrong = |host: &&String| {
            let valid =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_');
            host.is_empty() || !host.bytes().all(valid)
        };
        let host = self.hosts.iter().find(wrong)?;
        Some(format!(
            "has `{}`, write a name without `https://` and path, such as `switchboard.example`",
            host.escape_debug()
        ))
    }
}
