//! The addresses and ports of this machine.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::address::{is_allowed, refusal};
use super::guard::{Policy, Refusal};

/// How long the list of addresses is believed. Interfaces come and go with containers and tunnels.
const FRESH: Duration = Duration::from_secs(30);

/// How the addresses of all interfaces are found.
pub(super) type Read = fn() -> io::Result<Vec<IpAddr>>;

/// Asks the operating system.
pub(super) fn interfaces() -> io::Result<Vec<IpAddr>> {
    Ok(if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip()).collect())
}

/// What this machine answers to.
pub(super) struct Own {
    read: Read,
    known: RwLock<Known>,
    ports: Mutex<BTreeSet<u16>>,
}

#[derive(Default)]
struct Known {
    addresses: Vec<IpAddr>,
    read_at: Option<Instant>,
}

impl Own {
    pub(super) fn new(read: Read, ports: &[u16]) -> Self {
        Self { read, known: RwLock::default(), ports: Mutex::new(ports.iter().copied().collect()) }
    }

    /// Adds a port at which this host itself listens.
    pub(super) fn listens(&self, port: u16) {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
    }

    /// Judges an address that [`super::judge_address`] has accepted. `trusted` is what a host in the list of hosts has:
    /// its addresses may be this machine's, its ports may not.
    pub(super) fn judge(&self, address: IpAddr, port: u16, trusted: bool, policy: &Policy) -> Result<(), Refusal> {
        let address = address.to_canonical();
        let own = address.is_loopback() || address.is_unspecified() || self.has(address);
        if !own {
            return Ok(());
        }
        if self.ports.lock().unwrap_or_else(PoisonError::into_inner).contains(&port) {
            return Err(Refusal { rule: "own_port", subject: port.to_string(), allowed_by: None, malformed: false });
        }
        if trusted || is_allowed(address, policy) { Ok(()) } else { Err(refusal("own_address", address)) }
    }

    fn has(&self, address: IpAddr) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.read_at.is_some_and(|at| at.elapsed() < FRESH) {
            return known.addresses.contains(&address);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // The former list stays in use when the system cannot be asked.
        if let Ok(addresses) = (self.read)() {
            known.addresses = addresses;
        }
        known.read_at = Some(Instant::now());
        known.addresses.contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = "93.184.216.34";

    fn judge(address: &str, port: u16, trusted: bool, policy: &Policy) -> Result<(), String> {
        let own = Own::new(|| Ok(vec![PUBLIC.parse().unwrap(), "2a00:1450::7".parse().unwrap()]), &[8080]);
        own.judge(address.parse().unwrap(), port, trusted, policy).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_public_address_of_this_machine_is_refused_unless_allowed() {
        let policy = Policy::default();
        assert_eq!(
            judge(PUBLIC, 443, false, &policy).unwrap_err(),
            "`93.184.216.34` is refused by rule `own_address`, an administrator can allow it with `93.184.216.34/32` in \
             `egress.allow`"
        );
        assert!(judge("2a00:1450::7", 443, false, &policy).is_err());
        assert!(judge("::ffff:93.184.216.34", 443, false, &policy).is_err());
        assert!(judge("93.184.216.35", 443, false, &policy).is_ok());
        let allow = vec!["93.184.216.34/32".parse().unwrap()];
        assert!(judge(PUBLIC, 443, false, &Policy { allow, ..Policy::default() }).is_ok());
        assert!(judge(PUBLIC, 443, true, &policy).is_ok());
    }

    #[test]
    fn a_port_of_this_host_is_refused_whatever_is_allowed() {
        let policy = Policy { allow: vec!["0.0.0.0/0".parse().unwrap()], ..Policy::default() };
        for address in [PUBLIC, "127.0.0.1", "127.9.9.9"] {
            for trusted in [false, true] {
                let refused = judge(address, 8080, trusted, &policy).unwrap_err();
                assert!(refused.contains("`own_port`") && !refused.contains("egress.allow"), "{refused}");
                assert!(judge(address, 8081, trusted, &policy).is_ok());
            }
        }
        assert!(judge("93.184.216.35", 8080, false, &policy).is_ok());
    }

    #[test]
    fn the_addresses_of_this_machine_are_found() {
        let found = interfaces().unwrap();
        assert!(found.iter().any(IpAddr::is_loopback), "{found:?}");
    }
}
