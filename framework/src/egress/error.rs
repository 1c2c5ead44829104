//! Why no answer came, in classes that decide what happens next.

use std::error::Error;
use std::io;
use std::time::Duration;

use thiserror::Error;

use super::{Refusal, Rule};

/// Why the client cannot be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetUpError {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls {
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The client cannot be built.
    #[error("the client cannot be built")]
    Client {
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Why a request got no whole answer. No message contains a query, credentials or a header's value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EgressError {
    /// A rule refuses the URL or one of its addresses.
    #[error("the request was refused")]
    Refused {
        /// The rule.
        source: Refusal,
    },
    /// The method is none.
    #[error("`{method}` is no HTTP method")]
    Method {
        /// The method.
        method: String,
    },
    /// A header cannot be sent.
    #[error("the header `{name}` has a name or a value that HTTP does not allow")]
    Header {
        /// Its name.
        name: String,
    },
    /// A header that belongs to the connection.
    #[error("the header `{name}` belongs to the connection and cannot be set")]
    OwnHeader {
        /// Its name.
        name: String,
    },
    /// The name has no address.
    #[error("the name cannot be resolved")]
    Dns {
        /// What the resolver said.
        source: io::Error,
    },
    /// No connection.
    #[error("no connection to the receiver")]
    Connect {
        /// What the operating system said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No connection in time.
    #[error("no connection to the receiver in time")]
    TimeoutConnect,
    /// The certificate or the handshake failed.
    #[error("TLS with the receiver failed")]
    Tls {
        /// What TLS said.
        source: rustls::Error,
    },
    /// No whole answer in time.
    #[error("no whole answer within {timeout:.0?}")]
    TimeoutTotal {
        /// The time that there was.
        timeout: Duration,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the receiver broke off or did not speak HTTP")]
    Protocol {
        /// What was wrong.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl EgressError {
    /// Returns a short code that stays the same: `bad_url`, `blocked`, `bad_request`, `dns`, `connect`,
    /// `timeout_connect`, `tls`, `timeout_total` or `protocol`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { source } if source.is_static() && !source.is_address() => "bad_url",
            Self::Refused { .. } => "blocked",
            Self::Method { .. } | Self::Header { .. } | Self::OwnHeader { .. } => "bad_request",
            Self::Dns { .. } => "dns",
            Self::Connect { .. } => "connect",
            Self::TimeoutConnect => "timeout_connect",
            Self::Tls { .. } => "tls",
            Self::TimeoutTotal { .. } => "timeout_total",
            Self::Protocol { .. } => "protocol",
        }
    }

    /// Returns whether the same request may succeed later. What is wrong with its text stays wrong; a name that leads to
    /// a refused address may lead elsewhere tomorrow.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { source } => !source.is_static(),
            Self::Method { .. } | Self::Header { .. } | Self::OwnHeader { .. } => false,
            _ => true,
        }
    }

    /// Finds the class of an error by its causes, never by its text.
    pub(super) fn from_reqwest(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if let Some(refusal) = cause::<Refusal>(&error) {
            return Self::Refused { source: refusal.clone() };
        }
        if let Some(LookupFailed(source)) = cause::<LookupFailed>(&error) {
            return Self::Dns { source: io::Error::new(source.kind(), source.to_string()) };
        }
        if let Some(source) = cause::<rustls::Error>(&error) {
            return Self::Tls { source: source.clone() };
        }
        match (error.is_connect(), error.is_timeout()) {
            (true, true) => Self::TimeoutConnect,
            (true, false) => Self::Connect { source: Box::new(error) },
            _ => Self::Protocol { source: Box::new(error) },
        }
    }
}

/// The resolver found no address.
#[derive(Debug, Error)]
#[error("no address")]
pub(super) struct LookupFailed(#[source] pub(super) io::Error);

/// Finds a cause of a type in the chain. An `io::Error` carries one of its own inside, which the chain skips.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| cause::<E>(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

impl Refusal {
    fn is_address(&self) -> bool {
        matches!(self.rule(), Rule::Address(_))
    }
}
