//! The rate of a key: a bucket that is filled evenly.

use crate::store::Rate;

/// A token bucket, kept as the time at which it would be full again (the "generic cell rate algorithm"). All times are in
/// microseconds, because a thousandth of a second is too coarse for a few thousand starts in one.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// Time in which one start comes back.
    step_us: i64,
    /// Time in which all of them do.
    whole_us: i64,
    full_at_us: i64,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        let per_us = i64::try_from(rate.per.as_micros()).unwrap_or(i64::MAX / 4).clamp(1, i64::MAX / 4);
        let step_us = (per_us / i64::from(rate.starts.get())).max(1);
        Self { step_us, whole_us: step_us.saturating_mul(rate.starts.get().into()), full_at_us: i64::MIN }
    }

    /// Returns until when it is empty, in milliseconds; none when something may start.
    pub(super) fn empty_until(&self, now: i64) -> Option<i64> {
        let now_us = now.saturating_mul(1_000);
        let next_us = self.full_at_us.saturating_sub(self.whole_us - self.step_us);
        // Up to the next millisecond, so that it is never asked again before it has something.
        (next_us > now_us).then(|| next_us.saturating_add(999).div_euclid(1_000))
    }

    /// Takes one start out.
    pub(super) fn take(&mut self, now: i64) {
        self.full_at_us = self.full_at_us.max(now.saturating_mul(1_000)).saturating_add(self.step_us);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    fn starts(rate: u32, per: Duration, until: i64) -> Vec<i64> {
        let mut bucket = Bucket::new(Rate { starts: NonZeroU32::new(rate).unwrap(), per });
        let (mut now, mut starts) = (1_700_000_000_000, Vec::new());
        let end = now + until;
        while now < end {
            if let Some(due) = bucket.empty_until(now) {
                assert!(due > now);
                now = due;
            } else {
                bucket.take(now);
                starts.push(now - end + until);
            }
        }
        starts
    }

    #[test]
    fn after_a_rest_all_of_them_start_at_once_and_then_one_at_a_time() {
        assert_eq!(starts(3, Duration::from_millis(300), 500), [0, 0, 0, 100, 200, 300, 400]);
        assert_eq!(starts(1, Duration::from_secs(60), 180_000), [0, 60_000, 120_000]);
    }

    #[test]
    fn thousands_in_a_second_are_counted_exactly() {
        assert_eq!(starts(5_000, Duration::from_secs(1), 10_000).len(), 5_000 + 50_000 - 5);
    }
}
