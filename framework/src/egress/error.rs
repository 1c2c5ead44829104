//! What can go wrong, in classes that decide about a retry.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::guard::Refusal;
use super::resolver::ResolveError;
use super::tls::TlsOptionsError;
use super::trace::Phase;

/// Why an [`Egress`](super::Egress) cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls {
        /// What is wrong.
        source: TlsOptionsError,
    },
    /// The proxy is not a URL such as `http://proxy.example:3128`.
    #[error("the proxy cannot be used, write http://host:port")]
    Proxy,
    /// The user agent is not a header value.
    #[error("`{user_agent}` cannot be sent as user agent")]
    UserAgent {
        /// What was given.
        user_agent: String,
    },
    /// The client cannot be built.
    #[error("cannot set up the HTTP client")]
    Client {
        /// What reqwest said.
        source: reqwest::Error,
    },
}

/// Why a request got no complete response.
///
/// No text of an error holds a path, a query, credentials, a header value or a body.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EgressError {
    /// The URL itself is refused, whatever the network says.
    #[error("{refusal}")]
    Refused {
        /// The rule and what it was about.
        refusal: Refusal,
    },
    /// The name in the URL leads to an address that is refused.
    #[error("`{host}` leads to a refused address, {refusal}")]
    Blocked {
        /// The name.
        host: String,
        /// The rule and the address.
        refusal: Refusal,
    },
    /// A header cannot be sent.
    #[error("header `{name}` {reason}")]
    Header {
        /// Its name, at most 64 characters of it.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The method cannot be sent.
    #[error("method `{method}` cannot be sent")]
    Method {
        /// What was given, at most 64 characters of it.
        method: String,
    },
    /// The certificates that belong to this request cannot be used.
    #[error("cannot use the TLS settings of this receiver")]
    TlsOptions {
        /// What is wrong with them.
        source: TlsOptionsError,
    },
    /// No client can be made for this request.
    #[error("cannot set up an HTTP client")]
    Client {
        /// What reqwest said.
        source: reqwest::Error,
    },
    /// The URL is accepted by the guard and too long or odd for HTTP.
    #[error("the URL to `{host}` cannot be sent")]
    Unsendable {
        /// The host.
        host: String,
        /// What reqwest said.
        source: reqwest::Error,
    },
    /// The name has no address, or the resolver failed.
    #[error("cannot find the address of `{host}`")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The resolver did not answer in time.
    #[error("no resolver knew the address of `{host}` within {timeout:?}")]
    DnsTimeout {
        /// The name.
        host: String,
        /// The deadline.
        timeout: Duration,
    },
    /// No connection could be made.
    #[error("cannot connect to `{host}`")]
    Connect {
        /// The host.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// No connection was made in time.
    #[error("cannot connect to `{host}` within {timeout:?}")]
    ConnectTimeout {
        /// The host.
        host: String,
        /// The deadline.
        timeout: Duration,
    },
    /// The receiver's certificate is not valid for the host, or it speaks no TLS.
    #[error("cannot make a secure connection to `{host}`{}", tls_reason(.source))]
    Tls {
        /// The host.
        host: String,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The receiver closed the connection during the TLS handshake.
    #[error("`{host}` closed the connection during the TLS handshake")]
    TlsClosed {
        /// The host.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// The TLS handshake was not finished in time.
    #[error("cannot make a secure connection to `{host}` in time, the TLS handshake took longer than {timeout:?}")]
    TlsTimeout {
        /// The host.
        host: String,
        /// The deadline.
        timeout: Duration,
    },
    /// The head of the response did not come in time.
    #[error("`{host}` did not begin to answer within {timeout:?}")]
    FirstByteTimeout {
        /// The host.
        host: String,
        /// The deadline.
        timeout: Duration,
    },
    /// The deadline of the whole request passed.
    #[error("`{host}` did not finish within {timeout:?}, {}{}", unfinished, after_status(.status))]
    Timeout {
        /// The host.
        host: String,
        /// The deadline.
        timeout: Duration,
        /// What had not come to its end: `no answer had begun`.
        unfinished: &'static str,
        /// The status, if the head of the response had come.
        status: Option<u16>,
    },
    /// The connection ended before the response did.
    #[error("`{host}` closed the connection{}", after_status(.status))]
    Closed {
        /// The host.
        host: String,
        /// The status, if the head of the response had come.
        status: Option<u16>,
        /// What reqwest said.
        source: reqwest::Error,
    },
    /// What came back is not HTTP.
    #[error("`{host}` does not answer in valid HTTP{}", after_status(.status))]
    Protocol {
        /// The host.
        host: String,
        /// The status, if the head of the response had come.
        status: Option<u16>,
        /// What reqwest said.
        source: reqwest::Error,
    },
}

fn after_status(status: &Option<u16>) -> String {
    status.map(|status| format!(", after status {status}")).unwrap_or_default()
}

/// Says in words what people can do something about.
fn tls_reason(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        UnknownIssuer,
    };
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            Expired | ExpiredContext { .. } => ", its certificate has expired",
            NotValidYet | NotValidYetContext { .. } => ", its certificate is not valid yet",
            NotValidForName | NotValidForNameContext { .. } => ", its certificate is for another name",
            UnknownIssuer => ", its certificate is signed by nobody who is trusted here",
            _ => ", its certificate is not valid",
        },
        rustls::Error::InvalidMessage(_) => ", it does not speak TLS at that port",
        _ => "",
    }
}

/// Returns the error of a phase that took longer than its deadline `timeout`.
pub(super) fn overdue(phase: Phase, host: String, timeout: Duration) -> EgressError {
    match phase {
        Phase::Dns => EgressError::DnsTimeout { host, timeout },
        Phase::Connect => EgressError::ConnectTimeout { host, timeout },
        Phase::Tls => EgressError::TlsTimeout { host, timeout },
        Phase::Head | Phase::Body => EgressError::FirstByteTimeout { host, timeout },
    }
}

/// Says what a request was doing when its time was over.
pub(super) fn unfinished(phase: Phase) -> &'static str {
    match phase {
        Phase::Dns => "its address was not found yet",
        Phase::Connect => "no connection was made yet",
        Phase::Tls => "the TLS handshake was not over",
        Phase::Head => "no answer had begun",
        Phase::Body => "the answer had not ended",
    }
}

impl EgressError {
    /// Returns the status, when the head of a response had come before it went wrong.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Timeout { status, .. } | Self::Closed { status, .. } | Self::Protocol { status, .. } => *status,
            _ => None,
        }
    }

    /// Returns the stable name of the class: `bad_url`, `bad_header`, `bad_method`, `bad_tls_settings`, `blocked`, `dns`,
    /// `dns_timeout`, `connect`, `timeout_connect`, `tls`, `timeout_tls`, `timeout_first_byte`, `timeout_total`, `closed` or
    /// `protocol`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { refusal } if refusal.malformed => "bad_url",
            Self::Refused { .. } | Self::Blocked { .. } => "blocked",
            Self::Unsendable { .. } => "bad_url",
            Self::Header { .. } => "bad_header",
            Self::Method { .. } => "bad_method",
            Self::TlsOptions { .. } | Self::Client { .. } => "bad_tls_settings",
            Self::Dns { .. } => "dns",
            Self::DnsTimeout { .. } => "dns_timeout",
            Self::Connect { .. } => "connect",
            Self::ConnectTimeout { .. } => "timeout_connect",
            Self::Tls { .. } | Self::TlsClosed { .. } => "tls",
            Self::TlsTimeout { .. } => "timeout_tls",
            Self::FirstByteTimeout { .. } => "timeout_first_byte",
            Self::Timeout { .. } => "timeout_total",
            Self::Closed { .. } => "closed",
            Self::Protocol { .. } => "protocol",
        }
    }

    /// Tells whether the same request may succeed later.
    ///
    /// What is wrong with the request itself stays wrong. Everything on the network can heal, also
    /// a name that leads to a refused address.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::Unsendable { .. }
            | Self::Header { .. }
            | Self::Method { .. }
            | Self::TlsOptions { .. }
            | Self::Client { .. } => false,
            Self::Blocked { .. }
            | Self::Dns { .. }
            | Self::DnsTimeout { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls { .. }
            | Self::TlsClosed { .. }
            | Self::TlsTimeout { .. }
            | Self::FirstByteTimeout { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. }
            | Self::Protocol { .. } => true,
        }
    }
}

/// Returns the error of a name that was not resolved.
pub(super) fn unresolved(error: &ResolveError, host: String) -> EgressError {
    match error {
        ResolveError::Refused(refusal) => EgressError::Blocked { host, refusal: refusal.clone() },
        ResolveError::Failed(failed) => EgressError::Dns { host, source: copy(failed) },
    }
}

/// Finds the class of an error of the client by the types in its chain, and by where the request was.
pub(super) fn classify(error: reqwest::Error, host: String, status: Option<u16>, phase: Phase) -> EgressError {
    // The URL stands in the error's text otherwise, with its query.
    let source = error.without_url();
    if let Some(error) = find::<ResolveError>(&source) {
        return unresolved(error, host);
    }
    if let Some(tls) = find::<rustls::Error>(&source) {
        return EgressError::Tls { host, source: tls.clone() };
    }
    let io = find::<io::Error>(&source);
    if source.is_connect() {
        let source = io.map_or_else(|| io::Error::other(innermost(&source)), copy);
        return match phase {
            Phase::Tls => EgressError::TlsClosed { host, source },
            _ => EgressError::Connect { host, source },
        };
    }
    if source.is_builder() {
        return EgressError::Unsendable { host, source };
    }
    let hyper = find::<hyper::Error>(&source);
    // Broken framing of a body also comes as an `io::Error`, of these two kinds.
    let cut = io.is_some_and(|io| !matches!(io.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
    let ended = hyper.is_some_and(|hyper| hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled());
    if cut || ended {
        EgressError::Closed { host, status, source }
    } else {
        EgressError::Protocol { host, status, source }
    }
}

/// Returns the text of the last error in the chain, which says most.
fn innermost(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

/// Returns the first error of type `T` in the chain. An `io::Error` hides the error it was made
/// from: its `source` is already that error's source.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Copies an error out of a chain that only lends it.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
