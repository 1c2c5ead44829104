//! When a failed task is tried again.

use std::time::Duration;

use switchboard_plugin_api::ErrorKind;

use super::Outcome;
use super::intake::HORIZON;
use crate::store::{Ending, Timestamp};

/// Longest wait that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Share of a wait that is added at random, so that tasks that failed together do not come back together.
const JITTER: f64 = 0.2;

/// The schedule of retries.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    /// Wait before each attempt; the first is the wait before the first attempt.
    schedule: Vec<Duration>,
}

impl RetryPolicy {
    pub(crate) fn new(schedule: Vec<Duration>) -> Self {
        Self { schedule }
    }

    /// Decides what becomes of a task after its attempt number `attempts`. `random` is in `0.0..1.0`.
    /// `keep_input` says whether the input of a task that is done stays readable.
    pub(crate) fn ending(
        &self,
        outcome: &Outcome,
        attempts: u32,
        now: Timestamp,
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
        let delay =
            delay.mul_f64(1.0 + JITTER * random).max(error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER));
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        let hold = delay <= HORIZON;
        Ending::Retry { at: Timestamp(now.0.saturating_add(delay_ms)), reason: error.to_string(), hold }
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
        let ending = policy().ending(&Outcome::failed(error), attempts, Timestamp(1_000), random, false);
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
}
