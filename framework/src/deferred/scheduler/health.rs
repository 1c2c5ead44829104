//! What a key's receiver can bear, as its answers tell: the breaker, the wait it asked for, one request at a time.

use std::time::Duration;

use serde::Serialize;

/// Failures in a row after which a breaker opens.
const FAILURES: u32 = 5;

/// How long a breaker that opens stays open; twice as long each time its probe fails.
const OPEN: Duration = Duration::from_secs(30);
const LONGEST_OPEN: Duration = Duration::from_secs(10 * 60);

/// How a run ended, as far as it says something about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It went well.
    Good,
    /// It failed and is to be tried again.
    Bad {
        /// The receiver has too much to do.
        busy: bool,
        /// How long the receiver wants to be left alone.
        wait: Option<Duration>,
    },
    /// It says nothing: interrupted, never called, failed for a reason of its own.
    Neither,
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// Tasks start.
    #[default]
    Closed,
    /// No task starts.
    Open,
    /// One task starts, or has been started, as a probe.
    HalfOpen,
}

/// What an end did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its breaker opened, until then.
    Opened { until: i64, failures: u32 },
    /// Its breaker closed.
    Closed,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    pub(super) failures: u32,
    open: Option<Open>,
    /// A busy receiver gets one request at a time until it has answered one well.
    one_at_a_time: bool,
    held_until: i64,
    /// When it last failed.
    pub(super) failed_at: i64,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    until: i64,
    wait: Duration,
}

impl Health {
    /// Takes in how a run ended at `now`; `probe` says whether it was started while the breaker was half open.
    pub(super) fn ended(&mut self, verdict: Verdict, probe: bool, now: i64) -> Option<Change> {
        match verdict {
            Verdict::Neither => None,
            Verdict::Good => {
                let was_open = self.open.is_some();
                *self = Self { held_until: self.held_until, ..Self::default() };
                was_open.then_some(Change::Closed)
            }
            Verdict::Bad { busy, wait } => {
                self.failures = self.failures.saturating_add(1);
                self.failed_at = now;
                self.one_at_a_time |= busy;
                if let Some(wait) = wait {
                    self.held_until = self.held_until.max(after(now, wait));
                }
                let wait = match self.open {
                    None if self.failures >= FAILURES => OPEN,
                    Some(open) if probe => (open.wait * 2).min(LONGEST_OPEN),
                    // What was started before it opened says nothing new.
                    _ => return None,
                };
                let until = after(now, wait);
                self.open = Some(Open { until, wait });
                Some(Change::Opened { until, failures: self.failures })
            }
        }
    }

    pub(super) fn breaker(&self, now: i64) -> BreakerState {
        match self.open {
            None => BreakerState::Closed,
            Some(open) if open.until > now => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Returns until when no task of the key starts.
    pub(super) fn held_until(&self, now: i64) -> Option<i64> {
        let open_until = self.open.map_or(0, |open| open.until);
        Some(open_until.max(self.held_until)).filter(|until| *until > now)
    }

    pub(super) fn is_one_at_a_time(&self) -> bool {
        self.one_at_a_time || self.open.is_some()
    }

    /// Returns whether forgetting it changes nothing.
    pub(super) fn is_good(&self, now: i64) -> bool {
        self.failures == 0 && !self.one_at_a_time && self.open.is_none() && self.held_until <= now
    }
}

fn after(now: i64, wait: Duration) -> i64 {
    now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Verdict = Verdict::Bad { busy: false, wait: None };

    #[test]
    fn it_opens_after_five_failures_in_a_row_and_twice_as_long_after_each_failed_probe() {
        let mut health = Health::default();
        assert!((0..4).all(|_| health.ended(BAD, false, 0).is_none()));
        assert_eq!(health.ended(Verdict::Good, false, 0), None);
        assert!((0..4).all(|_| health.ended(BAD, false, 0).is_none()), "a success starts the count anew");
        assert_eq!(health.ended(BAD, false, 1_000), Some(Change::Opened { until: 31_000, failures: 5 }));
        assert_eq!(health.ended(BAD, false, 2_000), None, "it was started before");
        assert_eq!((health.breaker(30_999), health.breaker(31_000)), (BreakerState::Open, BreakerState::HalfOpen));
        let mut now = 31_000;
        let mut waits = Vec::new();
        for _ in 0..7 {
            let Some(Change::Opened { until, .. }) = health.ended(BAD, true, now) else { panic!("{health:?}") };
            waits.push((until - now) / 1_000);
            now = until;
        }
        assert_eq!(waits, [60, 120, 240, 480, 600, 600, 600]);
        assert_eq!(health.ended(Verdict::Neither, true, now), None);
        assert_eq!(health.breaker(now), BreakerState::HalfOpen, "another probe");
        assert_eq!(health.ended(Verdict::Good, true, now), Some(Change::Closed));
        assert!(health.is_good(now));
    }

    #[test]
    fn the_wait_that_a_receiver_asked_for_outlasts_a_success() {
        let mut health = Health::default();
        health.ended(Verdict::Bad { busy: true, wait: Some(Duration::from_secs(60)) }, false, 0);
        assert!(health.is_one_at_a_time());
        health.ended(Verdict::Good, false, 10);
        assert_eq!((health.held_until(10), health.held_until(60_000)), (Some(60_000), None));
        assert!(!health.is_one_at_a_time());
    }
}
