//! The one HTTP client of the host, behind a guard.
//!
//! Whoever configures a webhook chooses a URL, and the host must not become their way into its own
//! network. Every request therefore passes three checks: [`judge`] reads the URL, the resolver
//! judges every address a name stands for, and the connection goes to exactly those addresses.
//! Redirects are returned, not followed; a proxy named by the environment is ignored, since it would
//! resolve names by itself.
//!
//! A receiver can be slow, endless or broken. Each phase has a deadline (lookup, connection, TLS, head of the response), and
//! one covers everything to the last byte of the body, of which no more than a limit is kept. What a request met on its way
//! is in its [`Trace`], also when it failed.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use switchboard::egress::{Egress, EgressOptions, Request};
//!
//! let egress = Egress::new(EgressOptions::default())?;
//! let request = |url: &str| Request {
//!     headers: vec![("content-type".to_owned(), "application/json".to_owned())],
//!     body: b"{}".to_vec(),
//!     ..Request::new("POST", url, Duration::from_secs(15))
//! };
//! let sent = egress.send(request("https://hooks.example.com/in")).await;
//! println!("{} after {:?}", sent.result?.status, sent.trace.timings.total);
//!
//! let refused = egress.send(request("http://169.254.169.254/")).await.result.unwrap_err();
//! assert_eq!((refused.code(), refused.is_retryable()), ("blocked", false));
//! # Ok(())
//! # }
//! ```
//!
//! It does not retry, sign, count or log. It does not know a public address that a router translates to this machine's:
//! nothing on the machine tells of it.

mod address;
mod certificate;
mod client;
mod connect;
mod error;
mod guard;
mod headers;
mod own;
mod port;
mod resolver;
mod tls;
mod trace;
mod watch;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use url::{Host, Url};

use client::Clients;
use connect::TlsConnections;
use own::Own;
use resolver::Guard;
use trace::{Phase, Progress};
use watch::Overdue;

pub(crate) use guard::is_host_entry;

pub use address::judge_address;
pub use error::{EgressError, SetupError};
pub use guard::{Policy, Refusal, Setting, judge};
pub use headers::mask;
pub use resolver::{Resolve, Resolving, SystemResolver};
pub use tls::{TlsOptions, TlsOptionsError};
pub use trace::{Deadlines, Timings, TlsPeer, Trace};

/// The guarded HTTP client; cheap to clone, all clones share their connections.
///
/// Its policy never changes. For another policy make another `Egress`, which also closes the
/// connections the former policy allowed.
#[derive(Clone)]
pub struct Egress {
    clients: Arc<Clients>,
    guard: Arc<Guard>,
    connections: Arc<TlsConnections>,
    deadlines: Deadlines,
    response_limit_bytes: usize,
}

/// What an [`Egress`] may do.
#[derive(Clone)]
pub struct EgressOptions {
    /// Who may be reached.
    pub policy: Policy,
    /// The longest each phase of a request may take, unless the request says otherwise.
    pub deadlines: Deadlines,
    /// The proxy all requests go through, such as `http://user:password@proxy.example:3128`; `None` for no proxy, which is
    /// the default.
    ///
    /// The proxy itself is not judged: the administrator has named it. What it is asked for is judged as without it; but
    /// the proxy resolves a name by itself, and a name that only the proxy can resolve is left to it.
    pub proxy: Option<String>,
    /// Ports at which this host itself listens; see [`Egress::listens`].
    pub own_ports: Vec<u16>,
    /// How many bytes of a body are kept. Default 65536.
    pub response_limit_bytes: usize,
    /// The `user-agent` of requests that set none. Default `switchboard/<version>`.
    pub user_agent: String,
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            deadlines: Deadlines::default(),
            proxy: None,
            own_ports: Vec::new(),
            response_limit_bytes: 64 * 1024,
            user_agent: concat!("switchboard/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl fmt::Debug for EgressOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressOptions")
            .field("policy", &self.policy)
            .field("deadlines", &self.deadlines)
            .field("has_proxy", &self.proxy.is_some())
            .field("own_ports", &self.own_ports)
            .field("response_limit_bytes", &self.response_limit_bytes)
            .finish_non_exhaustive()
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
    /// The longest each phase may take; `None` for those of the [`Egress`].
    pub deadlines: Option<Deadlines>,
    /// What TLS does differently for this receiver; `None` for nothing.
    pub tls: Option<Arc<TlsOptions>>,
}

impl Request {
    /// Returns a request without headers and body.
    pub fn new(method: &str, url: &str, timeout: Duration) -> Self {
        Self {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout,
            deadlines: None,
            tls: None,
        }
    }
}

/// A request that was sent, or that got as far as its trace tells.
#[derive(Debug)]
#[non_exhaustive]
pub struct Sent {
    /// The response, or why there is none.
    pub result: Result<Response, EgressError>,
    /// What the request met on its way.
    pub trace: Trace,
}

/// What came back. Its `Debug` shows neither header values nor the body.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The status, 101 or 200 to 999; every status is a response, also a redirect or an error.
    pub status: u16,
    /// The headers; bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The start of the body, at most `response_limit_bytes`.
    pub body: Vec<u8>,
    /// Whether the body was longer than that.
    pub truncated: bool,
}

#[cfg(test)]
impl Response {
    /// Returns an answer without headers.
    pub(crate) fn of(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body, truncated: false }
    }
}

/// What a URL leads to just now, besides being accepted.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outlook {
    /// Its addresses are accepted too, or nobody can tell before the proxy is asked.
    Clear,
    /// A request would fail just now. That can heal: each request is judged again.
    Doubtful(EgressError),
}

impl Egress {
    /// Returns a client that finds addresses with the operating system's resolver.
    ///
    /// # Errors
    ///
    /// [`SetupError::Tls`] when TLS cannot be set up,
    /// [`SetupError::UserAgent`] when that is not a header value,
    /// [`SetupError::Proxy`] when the proxy is not the URL of one.
    pub fn new(options: EgressOptions) -> Result<Self, SetupError> {
        Self::with_resolver(options, Arc::new(SystemResolver))
    }

    /// Returns a client that finds addresses with `resolver`; its answers are judged like any.
    ///
    /// # Errors
    ///
    /// As [`Egress::new`].
    pub fn with_resolver(options: EgressOptions, resolver: Arc<dyn Resolve>) -> Result<Self, SetupError> {
        Self::on_machine(options, resolver, own::interfaces)
    }

    fn on_machine(options: EgressOptions, resolver: Arc<dyn Resolve>, read: own::Read) -> Result<Self, SetupError> {
        let own = Own::new(read, &options.own_ports);
        let guard = Arc::new(Guard { policy: options.policy.clone(), own, resolver });
        let connections = Arc::new(TlsConnections::default());
        Ok(Self {
            clients: Arc::new(Clients::new(&options, Arc::clone(&guard), Arc::clone(&connections))?),
            guard,
            connections,
            deadlines: options.deadlines,
            response_limit_bytes: options.response_limit_bytes,
        })
    }

    /// Returns the policy every request of this client obeys.
    pub fn policy(&self) -> &Policy {
        &self.guard.policy
    }

    /// Returns the longest that each phase of a request may take which says nothing else.
    #[must_use]
    pub fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    /// Refuses `port` on this machine from now on, whatever the policy allows: the host itself listens there, and a
    /// receiver must not be a way to it.
    pub fn listens(&self, port: u16) {
        self.guard.own.listens(port);
    }

    /// Judges a URL as [`judge`] does, and an address in it as one of this machine's. Asks nobody on the network.
    ///
    /// # Errors
    ///
    /// The [`Refusal`].
    pub fn judge(&self, url: &str) -> Result<Url, Refusal> {
        let url = judge(url, &self.guard.policy)?;
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::from(address),
            Some(Host::Ipv6(address)) => IpAddr::from(address),
            _ => return Ok(url),
        };
        self.guard.own.judge(address, port_of(&url), false, &self.guard.policy)?;
        Ok(url)
    }

    /// Judges a URL and looks its name up, for whoever stores it: the outcome is a warning and no reason not to store it,
    /// since every request is judged again. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`Egress::judge`].
    pub async fn foresee(&self, url: &str) -> Result<Outlook, Refusal> {
        let url = self.judge(url)?;
        let Some(Host::Domain(name)) = url.host() else { return Ok(Outlook::Clear) };
        let timeout = self.deadlines.dns;
        let lookup = tokio::time::timeout(timeout, self.guard.addresses(name, port_of(&url)));
        let error = match lookup.await {
            Ok(Ok(_)) => return Ok(Outlook::Clear),
            Ok(Err(resolver::ResolveError::Failed(_))) | Err(_) if self.clients.proxy().is_some() => {
                return Ok(Outlook::Clear);
            }
            Ok(Err(error)) => error::unresolved(&error, name.to_owned()),
            Err(_) => EgressError::DnsTimeout { host: name.to_owned(), timeout },
        };
        Ok(Outlook::Doubtful(error))
    }

    /// Sends `request` and reads the response. Needs a tokio runtime with timers and IO.
    ///
    /// The result is [`EgressError::Refused`], [`EgressError::Header`], [`EgressError::Method`] or
    /// [`EgressError::TlsOptions`] before anything is sent, and another variant for what went wrong on the way. When a
    /// deadline passes after the head of the response had come, the error has its status.
    pub async fn send(&self, request: Request) -> Sent {
        let started = Instant::now();
        let timeout = request.timeout;
        let failed = |error, trace| Sent { result: Err(error), trace };
        let (url, client) = match self.judge(&request.url) {
            Ok(url) => (url, self.clients.client(request.tls.as_deref())),
            Err(refusal) => return failed(EgressError::Refused { refusal }, Trace::default()),
        };
        let client = match client {
            Ok(client) => client,
            Err(error) => return failed(error, Trace::default()),
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = port_of(&url);
        let name = url.domain().map(str::to_owned);
        let deadlines = request.deadlines.unwrap_or(self.deadlines);
        let request = match headers::build(url, request) {
            Ok(request) => request,
            Err(error) => return failed(error, Trace::default()),
        };
        let trace = Trace {
            request_headers: headers::masked(&request, self.clients.user_agent()),
            proxy: self.clients.proxy().map(host_and_port),
            ..Trace::default()
        };
        let progress = Arc::new(Progress::new(deadlines, port, trace, started));

        let status = Mutex::new(None);
        let set = |new| *status.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
        let exchange = async {
            if let (Some(_), Some(name)) = (self.clients.proxy(), &name) {
                self.judge_for_proxy(name, &progress).await?;
            }
            self.exchange(&client, request, &progress, &host, set).await
        };
        let result = watch::within(&progress, started, timeout, trace::scope(Arc::clone(&progress), exchange)).await;
        let status = *status.lock().unwrap_or_else(PoisonError::into_inner);
        let result = result.unwrap_or_else(|overdue| {
            Err(match overdue {
                Overdue::Phase(phase, limit) => error::overdue(phase, host, limit),
                Overdue::Whole(phase) => {
                    EgressError::Timeout { host, timeout, unfinished: error::unfinished(phase), status }
                }
            })
        });
        Sent { result, trace: progress.trace(started.elapsed()) }
    }

    /// Judges a request as [`Egress::send`] does before it asks anybody, and returns the headers it would have, with the
    /// values of those that hold secrets replaced by `***`. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`EgressError::Refused`], [`EgressError::Header`] or [`EgressError::Method`].
    pub fn draft(&self, request: &Request) -> Result<Vec<(String, String)>, EgressError> {
        let url = self.judge(&request.url).map_err(|refusal| EgressError::Refused { refusal })?;
        let request = headers::build(url, request.clone())?;
        Ok(headers::masked(&request, self.clients.user_agent()))
    }

    async fn exchange(
        &self,
        client: &reqwest::Client,
        request: reqwest::Request,
        progress: &Progress,
        host: &str,
        status: impl Fn(u16),
    ) -> Result<Response, EgressError> {
        let classify = |error, status| error::classify(error, host.to_owned(), status, progress.phase());
        let mut response = client.execute(request).await.map_err(|error| classify(error, None))?;
        let ends = connect::ends(response.extensions());
        let known = ends.and_then(|ends| self.connections.peer(ends));
        progress.answered(version(response.version()), ends, known);
        let code = response.status().as_u16();
        status(code);
        let headers = headers::owned(response.headers());
        let body = read_body(&mut response, self.response_limit_bytes).await;
        let (body, truncated) = body.map_err(|error| classify(error, Some(code)))?;
        Ok(Response { status: code, headers, body, truncated })
    }

    /// Judges where a name leads before a proxy is asked for it. Who cannot look it up here leaves that to the proxy.
    async fn judge_for_proxy(&self, name: &str, progress: &Progress) -> Result<(), EgressError> {
        progress.enter(Phase::Dns);
        let addresses = match self.guard.addresses(name, progress.port).await {
            Ok(addresses) => addresses,
            Err(resolver::ResolveError::Failed(_)) => Vec::new(),
            Err(error) => return Err(error::unresolved(&error, name.to_owned())),
        };
        progress.resolved(&addresses);
        progress.enter(Phase::Head);
        Ok(())
    }
}

/// Tells whether `text` can be [`EgressOptions::proxy`].
pub(crate) fn is_proxy(text: &str) -> bool {
    client::proxy_url(text).is_ok()
}

fn port_of(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or_default()
}

fn host_and_port(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), port_of(url))
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
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
            .field("policy", self.policy())
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
            .finish()
    }
}

fn names(headers: &[(String, String)]) -> Vec<&str> {
    headers.iter().map(|(name, _)| name.as_str()).collect()
}

#[cfg(test)]
mod tests;
