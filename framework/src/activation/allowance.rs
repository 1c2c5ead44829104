//! How many records one plugin may log, so that a loop in one does not fill the disk.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Records that a plugin may write at once.
const BURST: f64 = 10_000.0;
/// Records that it may write each second on average.
const PER_SECOND: f64 = 200.0;
/// Records that have to be free again before a plugin that was too loud is heard. Without it, each of its records would
/// be framed by two notices.
const RESUME_AT: f64 = 1_000.0;

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Write,
    /// It is written, and before it so many were dropped.
    WriteAfter {
        dropped: u64,
    },
    /// It is the first one that is dropped.
    DropFirst,
    Drop,
}

/// The allowance of one plugin.
pub(super) struct Allowance(Mutex<State>);

struct State {
    free: f64,
    at: Instant,
    dropped: u64,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(State { free: BURST, at: now, dropped: 0 }))
    }

    /// Decides about one record.
    pub(super) fn take(&self, now: Instant) -> Verdict {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        state.free = (state.free + passed * PER_SECOND).min(BURST);
        state.at = now;
        let needed = if state.dropped == 0 { 1.0 } else { RESUME_AT };
        if state.free < needed {
            state.dropped += 1;
            return if state.dropped == 1 { Verdict::DropFirst } else { Verdict::Drop };
        }
        state.free -= 1.0;
        match std::mem::take(&mut state.dropped) {
            0 => Verdict::Write,
            dropped => Verdict::WriteAfter { dropped },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_is_dropped_until_it_is_quiet_for_a_while() {
        let start = Instant::now();
        let allowance = Allowance::new(start);
        for _ in 0..10_000 {
            assert_eq!(allowance.take(start), Verdict::Write);
        }
        assert_eq!(allowance.take(start), Verdict::DropFirst);
        assert_eq!(allowance.take(start + Duration::from_secs(4)), Verdict::Drop);
        assert_eq!(allowance.take(start + Duration::from_secs(6)), Verdict::WriteAfter { dropped: 2 });
        assert_eq!(allowance.take(start + Duration::from_secs(6)), Verdict::Write);
    }

    #[test]
    fn an_even_stream_below_the_rate_is_never_dropped() {
        let start = Instant::now();
        let allowance = Allowance::new(start);
        for record in 0..50_000 {
            assert_eq!(allowance.take(start + record * Duration::from_millis(6)), Verdict::Write);
        }
    }
}
