//! The reqwest client, with everything a receiver could misuse turned off.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use super::guard::Policy;
use super::resolver::{GuardedResolver, Resolve};
use super::{EgressOptions, SetupError};

/// How long an unused connection is kept: events come in bursts, and most receivers close after a
/// minute.
const IDLE: Duration = Duration::from_secs(30);

/// How many unused connections are kept per host.
const IDLE_PER_HOST: usize = 4;

pub(super) fn build(
    options: &EgressOptions,
    policy: Arc<Policy>,
    resolver: Arc<dyn Resolve>,
) -> Result<reqwest::Client, SetupError> {
    let user_agent = HeaderValue::from_str(&options.user_agent)
        .map_err(|_| SetupError::UserAgent { user_agent: options.user_agent.clone() })?;
    let resolver = GuardedResolver {
        resolver,
        policy,
        // Shorter than the whole, or a lookup that hangs would look like a connection that does.
        timeout: options.connect_timeout.mul_f64(0.8),
    };
    reqwest::Client::builder()
        .user_agent(user_agent)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .dns_resolver(Arc::new(resolver))
        .tls_backend_preconfigured(tls()?)
        .build()
        .map_err(|source| SetupError::Client { source })
}

/// TLS with the certificates the operating system trusts. The crypto provider is named and not
/// installed for the process, which may have its own.
fn tls() -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| SetupError::Tls { source })?;
    let mut config = match builder.clone().with_platform_verifier() {
        Ok(builder) => builder.with_no_client_auth(),
        // A machine that trusts nobody can still be a host: its https requests fail one by one, with that reason.
        Err(_) => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
