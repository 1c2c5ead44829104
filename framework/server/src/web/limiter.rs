//! Slows down whoever guesses passwords.
//!
//! After some wrong passwords from one address, each further one makes that address wait twice as long. All addresses
//! together may be wrong so often a minute, so that many addresses gain nothing. The command line does not pass here, and
//! so cannot be locked out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Wrong passwords of one address before it has to wait.
const FREE: u32 = 5;
/// The first wait; it doubles with each further wrong password.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// Wrong passwords of all addresses in [`WINDOW`].
const MOST_IN_ALL: usize = 60;
const WINDOW: Duration = Duration::from_secs(60);
/// Most addresses that are remembered; those that waited longest ago are forgotten first.
const MOST_ADDRESSES: usize = 10_000;

#[derive(Default)]
pub(super) struct Limiter(Mutex<State>);

#[derive(Default)]
struct State {
    addresses: HashMap<IpAddr, Failures>,
    recent: Vec<Instant>,
}

struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn until(&self) -> Instant {
        let doublings = self.count.saturating_sub(FREE);
        if self.count < FREE {
            return self.last;
        }
        let wait = FIRST_WAIT.checked_mul(1 << doublings.min(16)).unwrap_or(LONGEST_WAIT);
        self.last + wait.min(LONGEST_WAIT)
    }
}

/// Networks of IPv6 are handed out by /64, so that one person has many addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

impl Limiter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a try of an address: counts it as wrong until [`Limiter::forget`] says otherwise, so that tries at the same
    /// time count as well. Returns how long the address has to wait when it may not try.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let address = network(address);
        let mut state = self.state();
        state.recent.retain(|at| now.saturating_duration_since(*at) < WINDOW);
        if let Some(failures) = state.addresses.get(&address)
            && failures.until() > now
        {
            return Err(failures.until() - now);
        }
        if state.recent.len() >= MOST_IN_ALL {
            let oldest = state.recent.first().copied().unwrap_or(now);
            return Err((oldest + WINDOW).saturating_duration_since(now).max(Duration::from_secs(1)));
        }
        state.recent.push(now);
        state.make_room(now);
        let failures = state.addresses.entry(address).or_insert(Failures { count: 0, last: now });
        // Whoever was quiet for the longest wait starts anew.
        if now.saturating_duration_since(failures.last) > LONGEST_WAIT {
            failures.count = 0;
        }
        failures.count += 1;
        failures.last = now;
        Ok(())
    }

    /// Forgets the wrong passwords of an address: it has given the right one.
    pub(super) fn forget(&self, address: IpAddr) {
        let mut state = self.state();
        state.addresses.remove(&network(address));
        state.recent.pop();
    }
}

impl State {
    fn make_room(&mut self, now: Instant) {
        if self.addresses.len() < MOST_ADDRESSES {
            return;
        }
        self.addresses.retain(|_, failures| failures.until() > now);
        if self.addresses.len() >= MOST_ADDRESSES
            && let Some(oldest) = self.addresses.iter().min_by_key(|(_, one)| one.last).map(|(address, _)| *address)
        {
            self.addresses.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_address_waits_longer_after_each_wrong_password_and_others_do_not() {
        let (limiter, mut now) = (Limiter::default(), Instant::now());
        for _ in 0..FREE {
            assert_eq!(limiter.take(address(1), now), Ok(()));
        }
        let mut waits = Vec::new();
        for _ in 0..4 {
            let wait = limiter.take(address(1), now).unwrap_err();
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(limiter.take(address(1), now), Ok(()));
        }
        assert_eq!(waits, [2, 4, 8, 16]);
        assert_eq!(limiter.take(address(2), now), Ok(()));
    }

    #[test]
    fn the_right_password_ends_the_count() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(limiter.take(address(1), now), Ok(()));
            limiter.forget(address(1));
        }
    }

    #[test]
    fn many_addresses_together_are_slowed_down_for_a_minute() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        for last in 0..60 {
            assert_eq!(limiter.take(address(last), now), Ok(()));
        }
        assert_eq!(limiter.take(address(100), now), Err(WINDOW));
        assert_eq!(limiter.take(address(100), now + WINDOW), Ok(()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        for last in 0..FREE {
            let address = format!("2001:db8::{last:x}").parse().unwrap();
            assert_eq!(limiter.take(address, now), Ok(()));
        }
        assert!(limiter.take("2001:db8::ffff".parse().unwrap(), now).is_err());
        assert_eq!(limiter.take("2001:db8:0:1::1".parse().unwrap(), now), Ok(()));
    }
}
