//! From a name to the addresses a connection may go to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name};
use tokio::sync::Semaphore;

use super::address::judge_address;
use super::guard::{Policy, Refusal, is_localhost, judge_name, localhost};
use super::own::Own;
use super::trace::{self, Phase};

/// The future of [`Resolve::resolve`].
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Finds the addresses of a name. Its answers are judged by the caller.
pub trait Resolve: Send + Sync + 'static {
    /// Returns all addresses of `name`, in the order in which to try them.
    ///
    /// The name ends with a dot, which makes it complete: no search domain is to be added. Only a host that the
    /// administrator has named is asked for as it was written.
    fn resolve(&self, name: &str) -> Resolving;
}

/// The operating system's resolver. Its `hosts` file holds for names that the administrator has named.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

/// How many lookups the system does at once. One that hangs occupies a thread longer than anyone waits for it.
static LOOKUPS: Semaphore = Semaphore::const_new(128);

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> Resolving {
        let name = name.to_owned();
        Box::pin(async move {
            let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
            let lookup = move || {
                let _permit = permit;
                Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
            };
            tokio::task::spawn_blocking(lookup).await.map_err(io::Error::other)?
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
}

/// Who may be reached.
pub(super) struct Guard {
    pub(super) policy: Policy,
    pub(super) own: Own,
    pub(super) resolver: Arc<dyn Resolve>,
}

impl Guard {
    /// Resolves `name` once, judges every answer, and returns only what was judged.
    pub(super) async fn addresses(&self, name: &str, port: u16) -> Result<Vec<IpAddr>, ResolveError> {
        judge_name(name, &self.policy).map_err(ResolveError::Refused)?;
        let trusted = self.policy.allows_host(name);
        let addresses = if is_localhost(name) && !trusted {
            localhost(&self.policy).collect()
        } else {
            self.lookup(name, trusted).await?
        };
        // One bad address refuses all: a name that has both is an attack or a mistake.
        for address in &addresses {
            if !trusted {
                judge_address(*address, &self.policy).map_err(ResolveError::Refused)?;
            }
            self.own.judge(*address, port, trusted, &self.policy).map_err(ResolveError::Refused)?;
        }
        Ok(addresses)
    }

    async fn lookup(&self, name: &str, as_written: bool) -> Result<Vec<IpAddr>, ResolveError> {
        let complete = if as_written || name.ends_with('.') { name.to_owned() } else { format!("{name}.") };
        let addresses = self.resolver.resolve(&complete).await.map_err(ResolveError::Failed)?;
        if addresses.is_empty() {
            let none = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(ResolveError::Failed(none));
        }
        Ok(addresses)
    }
}

/// The guard as the client's resolver: the client connects to these addresses and asks nobody again.
pub(super) struct GuardedResolver(pub(super) Arc<Guard>);

impl reqwest::dns::Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> reqwest::dns::Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            trace::enter(Phase::Dns);
            let progress = trace::current();
            // No request, no port: such a lookup belongs to none of ours and reaches no port of this host.
            let port = progress.as_ref().map_or(0, |progress| progress.port);
            let addresses = guard.addresses(name.as_str(), port).await?;
            if let Some(progress) = progress {
                progress.resolved(&addresses);
                progress.enter(Phase::Connect);
            }
            Ok(addrs(addresses))
        })
    }
}

/// Finds the administrator's proxy, the only host a client with a proxy connects to. What the proxy is asked for has been
/// judged before.
pub(super) struct ProxyResolver(pub(super) Arc<dyn Resolve>);

impl reqwest::dns::Resolve for ProxyResolver {
    fn resolve(&self, name: Name) -> reqwest::dns::Resolving {
        let resolver = Arc::clone(&self.0);
        Box::pin(async move { Ok(addrs(resolver.resolve(name.as_str()).await.map_err(ResolveError::Failed)?)) })
    }
}

/// The port of the URL replaces 0.
fn addrs(addresses: Vec<IpAddr>) -> Addrs {
    Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)))
}
