//! How often one caller may call.

use std::num::NonZeroU32;

use axum::http::StatusCode;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::answer::Failure;

/// Callers that are remembered before those that have not called for a while are forgotten.
const REMEMBERED: usize = 10_000;

/// The limits of all callers, each with a bucket of its own.
pub(in crate::web) struct Rate {
    calls: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
    per_second: NonZeroU32,
}

impl Rate {
    pub(in crate::web) fn new(per_second: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second);
        Self { calls: RateLimiter::keyed(quota), clock: DefaultClock::default(), per_second }
    }

    /// Counts a call, unless the caller has to wait.
    pub(super) fn take(&self, caller: &str) -> Result<(), Failure> {
        if self.calls.len() > REMEMBERED {
            self.calls.retain_recent();
        }
        self.calls.check_key(&caller.to_owned()).map_err(|early| {
            let wait = early.wait_time_from(self.clock.now());
            let detail = format!(
                "You call too often: {} calls a second are answered (`api_calls_per_second` in the section [http]). \
                 Announce several events in one call of `/events/batch`.",
                self.per_second
            );
            Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_many_calls", detail).retry_after(wait)
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_caller_that_calls_too_often_is_told_when_to_call_again_and_others_are_not_held_up() {
        let rate = Rate::new(NonZeroU32::new(3).unwrap());
        let taken: Vec<bool> = (0..5).map(|_| rate.take("token:a").is_ok()).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        rate.take("token:b").unwrap();
        let answer = rate.take("token:a").unwrap_err().into_response();
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    }
}
