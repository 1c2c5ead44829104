//! From a name to the addresses a connection may go to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name};

use super::address::judge_address;
use super::guard::{Policy, Refusal, is_localhost, judge_name, localhost};

/// The future of [`Resolve::resolve`].
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Finds the addresses of a name. Its answers are judged by the caller.
pub trait Resolve: Send + Sync + 'static {
    /// Returns all addresses of `name`, in the order in which to try them.
    fn resolve(&self, name: &str) -> Resolving;
}

/// The operating system's resolver, with its `hosts` file.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> Resolving {
        // Without a dot at the end: `hosts` files do not know that form. A search domain may then
        // apply, whose answers are judged like any other.
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Why a name was not resolved. Found again in the chain of the client's error.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error("the name leads to a refused address")]
    Refused(Refusal),
    #[error("the name lookup failed")]
    Failed(#[source] io::Error),
    #[error("the name lookup took too long")]
    TimedOut,
}

/// Resolves once, judges every answer, and hands out only what was judged: the client connects to
/// these addresses and asks nobody again.
pub(super) struct GuardedResolver {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) policy: Arc<Policy>,
    pub(super) timeout: Duration,
}

impl reqwest::dns::Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> reqwest::dns::Resolving {
        let resolver = Arc::clone(&self.resolver);
        let policy = Arc::clone(&self.policy);
        let timeout = self.timeout;
        Box::pin(async move {
            let addresses = judged(name.as_str(), &*resolver, &policy, timeout).await?;
            // The port of the URL replaces 0.
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

async fn judged(
    name: &str,
    resolver: &dyn Resolve,
    policy: &Policy,
    timeout: Duration,
) -> Result<Vec<IpAddr>, ResolveError> {
    judge_name(name, policy).map_err(ResolveError::Refused)?;
    if is_localhost(name) {
        return Ok(localhost(policy).collect());
    }
    let addresses = tokio::time::timeout(timeout, resolver.resolve(name))
        .await
        .map_err(|_| ResolveError::TimedOut)?
        .map_err(ResolveError::Failed)?;
    if addresses.is_empty() {
        let none = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        return Err(ResolveError::Failed(none));
    }
    // One bad address refuses all: a name that has both is an attack or a mistake.
    for address in &addresses {
        judge_address(*address, policy).map_err(ResolveError::Refused)?;
    }
    Ok(addresses)
}
