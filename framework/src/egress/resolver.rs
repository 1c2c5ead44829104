//! Finds the addresses of names, and judges them before anybody connects.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Policy;
use super::error::LookupFailed;
use super::judge::judge_resolved;

/// The addresses of a name, still to come.
pub(crate) type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// A way to find the addresses of a name.
pub(crate) trait Lookup: Send + Sync + 'static {
    fn lookup(&self, name: String) -> Addresses;
}

/// The machine's own resolver.
pub(super) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> Addresses {
        Box::pin(async move {
            // The dot at the end keeps the machine's search domains out. `localhost` is in a file, without one.
            let absolute = if name.contains('.') && !name.ends_with('.') { format!("{name}.") } else { name };
            Ok(tokio::net::lookup_host((absolute.as_str(), 0)).await?.map(|address| address.ip()).collect())
        })
    }
}

/// Resolves once per connection; only what it returns is connected to.
pub(super) struct GuardedResolver {
    pub(super) policy: Arc<Policy>,
    pub(super) lookup: Arc<dyn Lookup>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        let addresses = self.lookup.lookup(name.as_str().to_owned());
        Box::pin(async move {
            let addresses = addresses.await.map_err(LookupFailed)?;
            if addresses.is_empty() {
                return Err(LookupFailed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")).into());
            }
            judge_resolved(addresses.iter().copied(), &policy)?;
            // Port 0 stands for the port of the URL.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
