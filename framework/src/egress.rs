//! The one HTTP client of the host, and the guard that every request passes.
//!
//! A URL is judged from its text before anything else ([`judge`]); a name is resolved once, all its addresses are judged,
//! and only judged addresses are connected to. One deadline covers everything from the name to the end of the body. No
//! redirect is followed, no proxy is taken from the environment, and no body is decompressed.
//!
//! It does not know what a webhook is, and does not retry.

mod error;
mod judge;
mod resolver;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

pub use error::{EgressError, SetUpError};
pub use judge::{Policy, Refusal, Rule, judge};
pub(crate) use resolver::Lookup;
use resolver::{GuardedResolver, SystemLookup};

/// Headers that belong to the connection or are made from the request itself.
const OWN_HEADERS: &[&str] =
    &["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive", "expect"];

/// Beginning of the headers that are meant for proxies.
const PROXY_PREFIX: &str = "proxy-";

/// How the client is set up.
#[derive(Clone, Debug)]
pub struct EgressOptions {
    /// Networks that may be reached although they are not public.
    pub allow: Vec<IpNet>,
    /// Whether `http` URLs may be used.
    pub allow_http: bool,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// How much of a body is read, in bytes.
    pub response_limit_bytes: usize,
    /// Value of the header `User-Agent`.
    pub user_agent: String,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method, such as `POST`.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Headers in sending order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Time for everything, to the end of the answer's body.
    pub timeout: Duration,
}

/// An answer with any status.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers as received, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, cut at the limit.
    pub body: Vec<u8>,
    /// Whether there was more than the limit.
    pub truncated: bool,
    /// Address that answered, when known.
    pub remote: Option<SocketAddr>,
    /// From the start to the end of the body.
    pub elapsed: Duration,
}

/// The guarded HTTP client. Cheap to share; connections are pooled.
#[derive(Debug)]
pub struct Egress {
    client: Client,
    policy: Arc<Policy>,
    response_limit_bytes: usize,
}

impl Egress {
    /// Sets up the client.
    ///
    /// # Errors
    ///
    /// When the user agent is no header value, or TLS cannot be set up.
    pub fn new(options: EgressOptions) -> Result<Self, SetUpError> {
        Self::with_lookup(options, Arc::new(SystemLookup))
    }

    /// Sets up a client that finds addresses in another way.
    pub(crate) fn with_lookup(options: EgressOptions, lookup: Arc<dyn Lookup>) -> Result<Self, SetUpError> {
        let policy = Arc::new(Policy { allow: options.allow, allow_http: options.allow_http });
        let client = Client::builder()
            .tls_backend_preconfigured(tls()?)
            .user_agent(options.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(options.connect_timeout)
            .dns_resolver(GuardedResolver { policy: Arc::clone(&policy), lookup })
            .build()
            .map_err(|source| SetUpError::Client { source: Box::new(source) })?;
        Ok(Self { client, policy, response_limit_bytes: options.response_limit_bytes })
    }

    /// Judges a URL by its text: what can be said before a name is resolved.
    ///
    /// # Errors
    ///
    /// The rule that refuses it.
    pub fn judge(&self, url: &str) -> Result<(), Refusal> {
        judge(url, &self.policy).map(drop)
    }

    /// Sends a request and reads its answer, both within `request.timeout`.
    ///
    /// # Errors
    ///
    /// When the request is refused or no whole answer came. An answer with an error status is no error.
    pub async fn send(&self, request: Request) -> Result<Response, EgressError> {
        let started = Instant::now();
        let timeout = request.timeout;
        let url = judge(&request.url, &self.policy).map_err(|source| EgressError::Refused { source })?;
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| EgressError::Method { method: request.method.escape_debug().to_string() })?;
        let headers = headers(request.headers)?;
        let request = self.client.request(method, url).headers(headers).body(request.body);
        let exchange = async {
            let response = request.send().await.map_err(EgressError::from_reqwest)?;
            self.read(response, started).await
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(EgressError::TimeoutTotal { timeout }),
        }
    }

    async fn read(&self, mut response: reqwest::Response, started: Instant) -> Result<Response, EgressError> {
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let (status, remote) = (response.status().as_u16(), response.remote_addr());
        let (mut body, mut truncated) = (Vec::new(), false);
        while let Some(chunk) = response.chunk().await.map_err(EgressError::from_reqwest)? {
            let room = self.response_limit_bytes - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                // The rest is not read: dropping the response closes its connection.
                truncated = true;
                break;
            }
        }
        Ok(Response { status, headers, body, truncated, remote, elapsed: started.elapsed() })
    }
}

fn headers(headers: Vec<(String, String)>) -> Result<HeaderMap, EgressError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with(PROXY_PREFIX) {
            return Err(EgressError::OwnHeader { name: lower });
        }
        let bad = |_| EgressError::Header { name: name.escape_debug().to_string() };
        let header = HeaderName::from_bytes(lower.as_bytes()).map_err(|error| bad(error.to_string()))?;
        let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| bad(error.to_string()))?;
        // Kept out of anything that prints the request.
        value.set_sensitive(header == reqwest::header::AUTHORIZATION || header == reqwest::header::COOKIE);
        map.append(header, value);
    }
    Ok(map)
}

/// Certificates are judged by what the machine trusts. A machine that trusts nobody can still be a host: its `https`
/// requests fail one by one, with that reason.
fn tls() -> Result<ClientConfig, SetUpError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| SetUpError::Tls { source: Box::new(source) })
    };
    let mut config = match builder()?.with_platform_verifier() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(_) => builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
