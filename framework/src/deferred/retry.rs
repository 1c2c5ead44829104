//! When a failed task is tried again.

use std::collections::HashMap;
use std::time::Duration;

use switchboard_plugin_api::ErrorKind;

use super::Outcome;
use super::intake::HORIZON;
use crate::config::DeferredConfig;
use crate::store::{Ending, Started, Timestamp};

/// Longest wait that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Share of a wait that is added at random, so that tasks that failed together do not come back together.
const JITTER: f64 = 0.2;

/// Shortest wait after an answer that the receiver has too much to do, unless it says how long it wants to be left alone.
const BUSY_WAIT: Duration = Duration::from_secs(60);

/// The schedules of a host: one for each trigger number that has one of its own, and one for the others.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicies {
    default: RetryPolicy,
    by_number: HashMap<u32, RetryPolicy>,
}

impl RetryPolicies {
    pub(crate) fn new(config: &DeferredConfig) -> Self {
        let by_number = config.schedules.iter();
        Self {
            default: RetryPolicy::new(config.schedule.clone()),
            by_number: by_number.map(|(number, delays)| (number.get(), RetryPolicy::new(delays.clone()))).collect(),
        }
    }

    pub(crate) fn of(&self, number: u32) -> &RetryPolicy {
        self.by_number.get(&number).unwrap_or(&self.default)
    }
}

impl RetryPolicies {
    /// Decides what becomes of a task after an attempt: by its own schedule, else by that of its webhook, else by that of its
    /// trigger number. See [`RetryPolicy::ending`].
    pub(crate) fn ending(
        &self,
        started: &Started,
        schedule: Option<Vec<Duration>>,
        outcome: &Outcome,
        after: impl FnOnce(i64) -> i64,
        keep_input: bool,
    ) -> Ending {
        let task = &started.task;
        let attempts = task.attempts.saturating_sub(task.attempts_before);
        let own = task.schedule.clone().or(schedule).map(RetryPolicy::new);
        let policy = own.as_ref().unwrap_or_else(|| self.of(task.number));
        policy.ending(outcome, attempts, after, fastrand::f64(), keep_input)
    }
}

/// How long a receiver wants to be left alone, as it said.
pub(super) fn asked_wait(outcome: &Outcome) -> Option<Duration> {
    let error = outcome.result.as_ref().err()?;
    error.retry_after().map(|wait| wait.min(MAX_RETRY_AFTER))
}

/// A schedule of retries.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    /// Wait before each attempt; the first is the wait before the first attempt.
    schedule: Vec<Duration>,
}

impl RetryPolicy {
    pub(crate) fn new(schedule: Vec<Duration>) -> Self {
        Self { schedule }
    }

    /// Decides what becomes of a task after its attempt number `attempts`. `random` is in `0.0..1.0`, `after` says when a
    /// wait is over, and `keep_input` whether the input of a task that is done stays readable.
    pub(crate) fn ending(
        &self,
        outcome: &Outcome,
        attempts: u32,
        after: impl FnOnce(i64) -> i64,
        random: f64,
        keep_input: bool,
    ) -> Ending {
        let Err(error) = &outcome.result else { return Ending::Done { keep_input } };
        if error.kind() == ErrorKind::Permanent {
            return Ending::Dead { reason: error.to_string() };
        }
        let next = usize::try_from(attempts).ok().and_then(|index| self.schedule.get(index));
        let Some(delay) = next else {
            return Ending::Dead { reason: format!("given up after {attempts} attempts; the last: {error}") };
        };
        let asked = asked_wait(outcome);
        let least = asked.unwrap_or(if outcome.is_busy() { BUSY_WAIT } else { Duration::ZERO });
        let delay = delay.mul_f64(1.0 + JITTER * random).max(least);
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        let hold = delay <= HORIZON;
        Ending::Retry { at: Timestamp(after(delay_ms)), reason: error.to_string(), hold }
    }
}

#[cfg(test)]
mod tests {
    use switchboard_plugin_api::PluginError;

    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy::new([0, 5, 300].map(Duration::from_secs).to_vec())
    }

    #[track_caller]
    fn check(error: PluginError, attempts: u32, random: f64, expected: Option<i64>) {
        check_status(None, error, attempts, random, expected);
    }

    #[track_caller]
    fn check_status(status: Option<u16>, error: PluginError, attempts: u32, random: f64, expected: Option<i64>) {
        let ending = policy().ending(
            &Outcome { status, ..Outcome::failed(error) },
            attempts,
            |wait| 1_000 + wait,
            random,
            false,
        );
        match (ending, expected) {
            (Ending::Retry { at, .. }, Some(expected)) => assert_eq!(at, Timestamp(expected)),
            (Ending::Dead { .. }, None) => {}
            (ending, expected) => panic!("{ending:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn waits_follow_the_schedule_and_are_only_ever_longer() {
        check(PluginError::retryable("x"), 1, 0.0, Some(6_000));
        check(PluginError::retryable("x"), 1, 1.0, Some(7_000));
        check(PluginError::retryable("x"), 2, 0.0, Some(301_000));
        check(PluginError::retryable("x"), 3, 0.0, None);
    }

    #[test]
    fn a_receiver_can_ask_for_a_longer_wait_up_to_a_day() {
        let asked = |seconds| PluginError::retryable("x").with_retry_after(Duration::from_secs(seconds));
        check(asked(60), 1, 0.0, Some(61_000));
        check(asked(1), 1, 0.0, Some(6_000));
        check(asked(u64::MAX), 1, 0.0, Some(1_000 + 86_400_000));
    }

    #[test]
    fn a_permanent_error_burns_no_schedule() {
        check(PluginError::permanent("x"), 1, 0.0, None);
    }

    #[test]
    fn a_busy_receiver_is_left_alone_for_a_minute_unless_it_says_how_long() {
        for status in [429, 502, 504] {
            check_status(Some(status), PluginError::retryable("x"), 1, 0.0, Some(61_000));
            check_status(Some(status), PluginError::retryable("x"), 2, 0.0, Some(301_000));
            let asked = PluginError::retryable("x").with_retry_after(Duration::from_secs(7));
            check_status(Some(status), asked, 1, 0.0, Some(8_000));
        }
        check_status(Some(503), PluginError::retryable("x"), 1, 0.0, Some(6_000));
    }
}
