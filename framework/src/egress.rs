//! The one HTTP client of the host, behind a guard.
//!
//! Whoever configures a webhook chooses a URL, and the host must not become their way into its own
//! network. Every request therefore passes three checks: [`judge`] reads the URL, the resolver
//! judges every address a name stands for, and the connection goes to exactly those addresses.
//! Redirects are returned, not followed; a proxy named by the environment is ignored, since it would
//! resolve names by itself.
//!
//! A receiver can be slow, endless or broken. One deadline covers everything from the name lookup to
//! the last byte of the body, of which no more than a limit is kept.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use switchboard::egress::{Egress, EgressOptions, Request};
//!
//! let egress = Egress::new(EgressOptions::default())?;
//! let request = |url: &str| Request {
//!     method: "POST".to_owned(),
//!     url: url.to_owned(),
//!     headers: vec![("content-type".to_owned(), "application/json".to_owned())],
//!     body: b"{}".to_vec(),
//!     timeout: Duration::from_secs(15),
//! };
//! let response = egress.send(request("https://hooks.example.com/in")).await?;
//! println!("{} after {:?}", response.status, response.elapsed);
//!
//! let refused = egress.send(request("http://169.254.169.254/")).await.unwrap_err();
//! assert_eq!((refused.code(), refused.is_retryable()), ("blocked", false));
//! # Ok(())
//! # }
//! ```
//!
//! It does not retry, sign, count or log; and it does not know the machine's own public addresses.

mod address;
mod client;
mod error;
mod guard;
mod headers;
mod resolver;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

pub use address::judge_address;
pub use error::{EgressError, SetupError};
pub use guard::{Policy, Refusal, Setting, judge};
pub use resolver::{Resolve, Resolving, SystemResolver};

/// The guarded HTTP client; cheap to clone, all clones share their connections.
///
/// Its policy never changes. For another policy make another `Egress`, which also closes the
/// connections the former policy allowed.
#[derive(Clone)]
pub struct Egress {
    client: reqwest::Client,
    policy: Arc<Policy>,
    response_limit_bytes: usize,
}

/// What an [`Egress`] may do.
#[derive(Clone, Debug)]
pub struct EgressOptions {
    /// Networks that may be reached although they are not public. Empty by default.
    pub allow: Vec<IpNet>,
    /// Whether plain `http` URLs are accepted. Default true.
    pub allow_http: bool,
    /// The time for name lookup (at most four fifths of it), TCP and TLS together. Default 5 s.
    pub connect_timeout: Duration,
    /// How many bytes of a body are kept. Default 65536.
    pub response_limit_bytes: usize,
    /// The `user-agent` of requests that set none. Default `switchboard/<version>`.
    pub user_agent: String,
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            allow_http: true,
            connect_timeout: Duration::from_secs(5),
            response_limit_bytes: 64 * 1024,
            user_agent: concat!("switchboard/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// One request. Its `Debug` shows neither the URL's path and query nor header values nor the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method: `POST`. `CONNECT` and `TRACE` are refused.
    pub method: String,
    /// The URL, as [`judge`] accepts it.
    pub url: String,
    /// The headers in the order they are sent; a name may come more than once.
    ///
    /// Refused are those that belong to the connection: `host`, `content-length`,
    /// `transfer-encoding`, `connection`, `upgrade`, `te`, `trailer`, `keep-alive`, `expect` and
    /// `proxy-*`.
    pub headers: Vec<(String, String)>,
    /// The body, sent as it is.
    pub body: Vec<u8>,
    /// The time for everything, from name lookup to the last byte of the response.
    pub timeout: Duration,
}

/// What came back. Its `Debug` shows neither header values nor the body.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The status, 200 to 999; every status is a response, also a redirect or an error.
    pub status: u16,
    /// The headers; bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The start of the body, at most `response_limit_bytes`.
    pub body: Vec<u8>,
    /// Whether the body was longer than that.
    pub truncated: bool,
    /// The time from the call to here.
    pub elapsed: Duration,
    /// The address that answered.
    pub remote: Option<SocketAddr>,
}

impl Egress {
    /// Returns a client that finds addresses with the operating system's resolver.
    ///
    /// # Errors
    ///
    /// [`SetupError::Tls`] when TLS cannot be set up,
    /// [`SetupError::UserAgent`] when that is not a header value.
    pub fn new(options: EgressOptions) -> Result<Self, SetupError> {
        Self::with_resolver(options, Arc::new(SystemResolver))
    }

    /// Returns a client that finds addresses with `resolver`; its answers are judged like any.
    ///
    /// # Errors
    ///
    /// As [`Egress::new`].
    pub fn with_resolver(options: EgressOptions, resolver: Arc<dyn Resolve>) -> Result<Self, SetupError> {
        let policy = Arc::new(Policy { allow: options.allow.clone(), allow_http: options.allow_http });
        Ok(Self {
            client: client::build(&options, Arc::clone(&policy), resolver)?,
            policy,
            response_limit_bytes: options.response_limit_bytes,
        })
    }

    /// Returns the policy every request of this client obeys.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sends `request` and reads the response. Needs a tokio runtime with timers and IO.
    ///
    /// # Errors
    ///
    /// [`EgressError::Refused`], [`EgressError::Header`] and [`EgressError::Method`] before
    /// anything is sent; the other variants for what went wrong on the way. When the deadline
    /// passes the error has the status, if that had come.
    pub async fn send(&self, request: Request) -> Result<Response, EgressError> {
        let started = Instant::now();
        let timeout = request.timeout;
        let url = judge(&request.url, &self.policy).map_err(|refusal| EgressError::Refused { refusal })?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let request = headers::build(url, request)?;

        let mut status = None;
        let exchange = async {
            let mut response = self.client.execute(request).await?;
            status = Some(response.status().as_u16());
            let remote = response.remote_addr();
            let headers = headers::owned(response.headers());
            let (body, truncated) = read_body(&mut response, self.response_limit_bytes).await?;
            Ok((remote, headers, body, truncated))
        };
        let result = tokio::time::timeout(timeout, exchange).await;
        match (result, status) {
            (Ok(Ok((remote, headers, body, truncated))), Some(status)) => {
                Ok(Response { status, headers, body, truncated, elapsed: started.elapsed(), remote })
            }
            (Ok(Err(error)), status) => Err(error::classify(error, host, status)),
            (Err(_) | Ok(Ok(_)), status) => Err(EgressError::Timeout { host, timeout, status }),
        }
    }
}

/// Reads at most `limit` bytes; also tells whether there was more.
async fn read_body(response: &mut reqwest::Response, limit: usize) -> Result<(Vec<u8>, bool), reqwest::Error> {
    // The announced length is not believed: memory is taken for what comes.
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - body.len();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            return Ok((body, true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, false))
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress")
            .field("policy", &self.policy)
            .field("response_limit_bytes", &self.response_limit_bytes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = url::Url::parse(&self.url).ok();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &url.as_ref().and_then(url::Url::host_str))
            .field("headers", &names(&self.headers))
            .field("body_bytes", &self.body.len())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &names(&self.headers))
            .field("body_bytes", &self.body.len())
            .field("truncated", &self.truncated)
            .field("elapsed", &self.elapsed)
            .field("remote", &self.remote)
            .finish()
    }
}

fn names(headers: &[(String, String)]) -> Vec<&str> {
    headers.iter().map(|(name, _)| name.as_str()).collect()
}

#[cfg(test)]
mod tests;
