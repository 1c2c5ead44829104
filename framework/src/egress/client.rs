//! The reqwest clients, with everything a receiver could misuse turned off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::redirect;
use rustls::ClientConfig;
use url::Url;

use super::connect::{NoteConnections, TlsConnections};
use super::resolver::{Guard, GuardedResolver, ProxyResolver};
use super::tls::{self, TlsOptions};
use super::{EgressError, EgressOptions, SetupError};

/// How long an unused connection is kept: events come in bursts, and most receivers close after a
/// minute.
const IDLE: Duration = Duration::from_secs(30);

/// How many unused connections are kept per host: with fewer than the deliveries that are under way to it at once, most of
/// these make a connection of their own.
const IDLE_PER_HOST: usize = 64;

/// How many headers a response may have. Interim responses (1xx) have no limit but the deadline: reqwest does not hand a
/// request's extensions to hyper, whose callback would count them.
const MAX_HEADERS: usize = 100;

/// How large the headers of an HTTP/2 response may be, in bytes. Those of HTTP/1.1 have a limit of about 400 KiB in hyper.
const MAX_HEADER_BYTES: u32 = 64 * 1024;

/// The longest that a connection may take to be made which outlives its request: as long as a webhook may ask for.
const LONGEST_CONNECT: Duration = Duration::from_secs(60);

/// How many receivers with TLS options of their own have a client ready.
const MAX_CLIENTS: usize = 256;

/// One client for all requests, and one for each way to do TLS differently: a connection that was made with one receiver's
/// certificate carries no request for another.
pub(super) struct Clients {
    template: Template,
    usual: reqwest::Client,
    special: Mutex<HashMap<TlsOptions, (reqwest::Client, Instant)>>,
}

struct Template {
    user_agent: HeaderValue,
    proxy: Option<Url>,
    guard: Arc<Guard>,
    connections: Arc<TlsConnections>,
    connect_timeout: Duration,
}

impl Clients {
    pub(super) fn new(
        options: &EgressOptions,
        guard: Arc<Guard>,
        connections: Arc<TlsConnections>,
    ) -> Result<Self, SetupError> {
        let user_agent = HeaderValue::from_str(&options.user_agent)
            .map_err(|_| SetupError::UserAgent { user_agent: options.user_agent.clone() })?;
        let deadlines = options.deadlines;
        let template = Template {
            user_agent,
            proxy: options.proxy.as_deref().map(proxy_url).transpose()?,
            guard,
            connections,
            // Each phase has its own deadline, also one that is longer than usual. This one is for what outlives its request.
            connect_timeout: (deadlines.dns + deadlines.connect + deadlines.tls).max(LONGEST_CONNECT),
        };
        let config = tls::config(&TlsOptions::default()).map_err(|source| SetupError::Tls { source })?;
        let usual = template.build(config).map_err(|source| SetupError::Client { source })?;
        Ok(Self { template, usual, special: Mutex::default() })
    }

    pub(super) fn user_agent(&self) -> &HeaderValue {
        &self.template.user_agent
    }

    pub(super) fn proxy(&self) -> Option<&Url> {
        self.template.proxy.as_ref()
    }

    /// Returns the client whose connections may carry a request with these options.
    pub(super) fn client(&self, options: Option<&TlsOptions>) -> Result<reqwest::Client, EgressError> {
        let Some(options) = options.filter(|options| **options != TlsOptions::default()) else {
            return Ok(self.usual.clone());
        };
        let now = Instant::now();
        let mut special = self.special.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((client, used_at)) = special.get_mut(options) {
            *used_at = now;
            return Ok(client.clone());
        }
        let config = tls::config(options).map_err(|source| EgressError::TlsOptions { source })?;
        let client = self.template.build(config).map_err(|source| EgressError::Client { source })?;
        if special.len() >= MAX_CLIENTS {
            let oldest = special.iter().min_by_key(|(_, (_, used_at))| *used_at).map(|(options, _)| options.clone());
            oldest.and_then(|oldest| special.remove(&oldest));
        }
        special.insert(options.clone(), (client.clone(), now));
        Ok(client)
    }
}

impl Template {
    fn build(&self, tls: ClientConfig) -> Result<reqwest::Client, reqwest::Error> {
        let builder = reqwest::Client::builder()
            .user_agent(self.user_agent.clone())
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .http1_max_headers(MAX_HEADERS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .connector_layer(NoteConnections(Arc::clone(&self.connections)))
            .tls_backend_preconfigured(tls);
        match &self.proxy {
            Some(url) => {
                let resolver = ProxyResolver(Arc::clone(&self.guard.resolver));
                builder.proxy(reqwest::Proxy::all(url.clone())?).dns_resolver(Arc::new(resolver)).build()
            }
            None => builder.dns_resolver(Arc::new(GuardedResolver(Arc::clone(&self.guard)))).build(),
        }
    }
}

/// Reads the URL of a proxy, which may have a user name and a password.
pub(super) fn proxy_url(text: &str) -> Result<Url, SetupError> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http" && url.has_host());
    url.filter(|url| url.path() == "/" && url.query().is_none()).ok_or(SetupError::Proxy)
}
