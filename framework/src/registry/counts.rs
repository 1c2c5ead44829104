//! What is counted and measured about one minicomponent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::store::Timestamp;

/// Of calls shorter than this, one in [`SPARSE`] is measured: to read the clock twice costs as much as such a call.
const SHORT: Duration = Duration::from_micros(10);
const SPARSE: u64 = 64;
/// How many measured calls are kept, the latest.
const KEPT: usize = 128;
/// Over how long the rate is taken, where the handler has been known for so long.
const RATE_OVER: Duration = Duration::from_secs(60);
/// How far the marks lie apart from which the rate is taken, and how many are kept: enough for [`RATE_OVER`].
const MARK_EVERY: Duration = Duration::from_secs(2);
const MARKS: usize = 40;
/// Most characters of an error that are kept.
const ERROR_CHARS: usize = 500;

/// Counts of one minicomponent since it was registered.
#[derive(Debug, Default)]
pub struct CallCounts {
    calls: AtomicU64,
    failures: AtomicU64,
    /// Whether the calls are so short that only some are measured.
    short: AtomicBool,
    measured: Mutex<Measured>,
    last_failure: Mutex<Option<CallFailure>>,
}

/// How long the latest calls took and how often there was one.
#[derive(Debug)]
struct Measured {
    nanos: VecDeque<u64>,
    /// When how many calls had been made.
    marks: VecDeque<(Instant, u64)>,
}

impl Default for Measured {
    /// With all the room that it will need: a call allocates nothing.
    fn default() -> Self {
        Self { nanos: VecDeque::with_capacity(KEPT), marks: VecDeque::with_capacity(MARKS) }
    }
}

/// How often a handler is called, and how long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CallTimes {
    /// Half of the latest calls that were measured took no longer.
    pub p50: Duration,
    /// Nineteen of twenty took no longer.
    pub p95: Duration,
    /// Calls in a minute, over the last one or longer.
    pub per_minute: f64,
}

/// How a handler failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallFailure {
    /// When.
    pub at: Timestamp,
    /// What it said, or the host about it; the beginning, where that is long.
    pub error: String,
}

impl CallCounts {
    /// Begins a call; returns when, for one that is measured.
    #[inline]
    pub(crate) fn begin(&self) -> Option<Instant> {
        let measured = !self.short.load(Ordering::Relaxed) || self.calls.load(Ordering::Relaxed).is_multiple_of(SPARSE);
        if measured { now() } else { None }
    }

    /// Ends a call.
    #[inline]
    pub(crate) fn end(&self, began: Option<Instant>, failed: bool) {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(began) = began {
            self.measure(began, before);
        }
    }

    #[cold]
    #[inline(never)]
    fn measure(&self, began: Instant, before: u64) {
        let took = began.elapsed();
        self.short.store(took < SHORT, Ordering::Relaxed);
        // Whoever is measured at the same moment is left out, rather than waited for.
        let Ok(mut measured) = self.measured.try_lock() else { return };
        measured.mark(began, before);
        if measured.nanos.len() == KEPT {
            measured.nanos.pop_front();
        }
        measured.nanos.push_back(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Keeps how a call failed.
    pub(crate) fn failed(&self, at: Timestamp, error: &str) {
        let failure = CallFailure { at, error: error.chars().take(ERROR_CHARS).collect() };
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }

    /// Returns how often it was called.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Returns how many of the calls failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Returns how the last call failed that did.
    #[must_use]
    pub fn last_failure(&self) -> Option<CallFailure> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how often it is called and how long it takes; `None` before the first call.
    #[must_use]
    pub fn times(&self) -> Option<CallTimes> {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.times(Instant::now(), self.calls())
    }
}

#[cold]
#[inline(never)]
fn now() -> Option<Instant> {
    Some(Instant::now())
}

impl Measured {
    fn mark(&mut self, now: Instant, calls: u64) {
        if self.marks.back().is_some_and(|(last, _)| now.saturating_duration_since(*last) < MARK_EVERY) {
            return;
        }
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((now, calls));
    }

    fn times(&mut self, now: Instant, calls: u64) -> Option<CallTimes> {
        let mut sorted: Vec<u64> = self.nanos.iter().copied().collect();
        sorted.sort_unstable();
        let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        let (p50, p95) = (Duration::from_nanos(rank(50)?), Duration::from_nanos(rank(95)?));
        let since = |mark: &(Instant, u64)| now.saturating_duration_since(mark.0);
        let base = self.marks.iter().rev().find(|mark| since(mark) >= RATE_OVER).or(self.marks.front());
        let per_minute = base.map_or(0.0, |base| {
            #[expect(clippy::cast_precision_loss, reason = "a rate is shown with two digits")]
            let made = calls.saturating_sub(base.1) as f64;
            made * 60.0 / since(base).as_secs_f64().max(1.0)
        });
        // Whoever looks again soon sees what has happened since.
        self.mark(now, calls);
        Some(CallTimes { p50, p95, per_minute })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn of_short_calls_only_some_are_measured_and_of_long_ones_all() {
        let counts = CallCounts::default();
        assert!(counts.times().is_none());
        counts.short.store(true, Ordering::Relaxed);
        let mut measured = 0;
        for call in 0..256 {
            counts.calls.store(call, Ordering::Relaxed);
            measured += u32::from(counts.begin().is_some());
        }
        assert_eq!(measured, 4);
        counts.end(Instant::now().checked_sub(seconds(1)), true);
        assert!(counts.begin().is_some(), "the call before it was long");
        assert_eq!((counts.calls(), counts.failures()), (256, 1));
        assert!(counts.times().unwrap().p50 >= seconds(1));
    }

    #[test]
    fn half_of_the_calls_and_nineteen_of_twenty_took_no_longer() {
        let mut measured = Measured { nanos: (1..=100).rev().collect(), ..Measured::default() };
        let times = measured.times(Instant::now(), 100).unwrap();
        assert_eq!((times.p50.as_nanos(), times.p95.as_nanos()), (50, 95));
        let mut one = Measured { nanos: [7].into(), ..Measured::default() };
        let times = one.times(Instant::now(), 1).unwrap();
        assert_eq!((times.p50.as_nanos(), times.p95.as_nanos()), (7, 7));
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let start = Instant::now();
        let mut measured = Measured { nanos: [1].into(), ..Measured::default() };
        measured.mark(start, 0);
        let mut rate = |after: u64, calls: u64| measured.times(start + seconds(after), calls).unwrap().per_minute;
        assert!((rate(30, 10) - 20.0).abs() < 1e-9, "since it is known");
        assert!((rate(60, 10) - 10.0).abs() < 1e-9);
        assert!((rate(90, 40) - 30.0).abs() < 1e-9, "since the mark a minute ago");
        assert!(rate(600, 40) < 1e-9, "nothing has been called since");
    }

    #[test]
    fn a_long_error_is_kept_in_part() {
        let counts = CallCounts::default();
        counts.failed(Timestamp(7), &"é".repeat(10_000));
        let failure = counts.last_failure().unwrap();
        assert_eq!((failure.at, failure.error.chars().count()), (Timestamp(7), ERROR_CHARS));
    }
}
