//! What has ended in each of the last minutes.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::store::Timestamp;

/// How many minutes are remembered.
const MINUTES: u32 = 60;
const MINUTE_MS: i64 = 60_000;

/// The attempts that have ended in one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MinuteOfAttempts {
    /// When the minute began.
    pub at: Timestamp,
    /// Attempts that have succeeded.
    pub succeeded: u64,
    /// Attempts that have failed.
    pub failed: u64,
}

/// A ring of minutes, each with its number in the upper half and a count in the lower one, so that a minute and its count
/// change in one step and without a lock.
struct Ring([AtomicU64; MINUTES as usize]);

impl Ring {
    fn add(&self, minute: u32) {
        let add = |slot: u64| {
            let is_now = slot >> 32 == u64::from(minute);
            Some(if is_now { slot.saturating_add(1) } else { u64::from(minute) << 32 | 1 })
        };
        // The function always gives a value, so that this does not fail.
        let _ = self.0[(minute % MINUTES) as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    fn of(&self, minute: u32) -> u64 {
        let slot = self.0[(minute % MINUTES) as usize].load(Ordering::Relaxed);
        if slot >> 32 == u64::from(minute) { slot & u64::from(u32::MAX) } else { 0 }
    }
}

/// The attempts of the last minutes.
pub(super) struct Minutes {
    succeeded: Ring,
    failed: Ring,
}

impl Default for Minutes {
    fn default() -> Self {
        let ring = || Ring(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { succeeded: ring(), failed: ring() }
    }
}

fn minute_of(at: Timestamp) -> u32 {
    u32::try_from(at.0.div_euclid(MINUTE_MS)).unwrap_or(0)
}

impl Minutes {
    pub(super) fn ended(&self, at: Timestamp, failed: bool) {
        if failed { &self.failed } else { &self.succeeded }.add(minute_of(at));
    }

    /// Returns the last minutes, the one that goes on last.
    pub(super) fn until(&self, now: Timestamp) -> Vec<MinuteOfAttempts> {
        let last = minute_of(now);
        let first = last.saturating_sub(MINUTES - 1);
        let of = |minute: u32| MinuteOfAttempts {
            at: Timestamp(i64::from(minute) * MINUTE_MS),
            succeeded: self.succeeded.of(minute),
            failed: self.failed.of(minute),
        };
        (first..=last).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_remembered_and_a_minute_of_an_hour_ago_is_not_taken_for_the_one_that_goes_on() {
        let (minutes, start) = (Minutes::default(), 29_000_000 * MINUTE_MS);
        let at = |minute: i64| Timestamp(start + minute * MINUTE_MS + 59_999);
        minutes.ended(at(0), false);
        minutes.ended(at(0), true);
        minutes.ended(at(0), false);
        minutes.ended(at(59), false);
        let counts = |now| {
            let hour = minutes.until(now);
            assert_eq!((hour.len(), hour[59].at.0 - hour[0].at.0), (60, 59 * MINUTE_MS));
            [hour[0], hour[59]].map(|minute| (minute.succeeded, minute.failed))
        };
        assert_eq!(counts(at(59)), [(2, 1), (1, 0)]);
        assert_eq!(counts(at(60)), [(0, 0), (0, 0)]);
        minutes.ended(at(60), false);
        assert_eq!(counts(at(60)), [(0, 0), (1, 0)]);
    }
}
