//! A wall clock that never jumps.
//!
//! Due times are wall-clock times, but when somebody sets the clock an hour forward, a whole hour of tasks must not start
//! at once; an hour back, nothing must stand still for an hour. This clock follows the wall clock; after a jump it goes at
//! twice or half the speed until both agree again.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::CHANNEL;
use crate::channel_log::ChannelLog;
use crate::clock::Clock;

/// A difference up to this is the ordinary work of a time service, in milliseconds.
const TOLERANCE_MS: i64 = 2_000;

pub(super) struct SteadyClock {
    clock: Clock,
    log: ChannelLog,
    state: Mutex<State>,
}

struct State {
    read_at: Instant,
    steady_ms: i64,
    /// Whether it is behind or ahead of the wall clock after a jump.
    catching_up: bool,
}

impl SteadyClock {
    pub(super) fn new(clock: Clock, log: ChannelLog) -> Self {
        let state = State { read_at: Instant::now(), steady_ms: clock.now(), catching_up: false };
        Self { clock, log, state: Mutex::new(state) }
    }

    /// Returns the time in milliseconds since the Unix epoch.
    pub(super) fn now(&self) -> i64 {
        let wall_ms = self.clock.now();
        if self.clock.is_fixed() {
            return wall_ms;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed_ms = i64::try_from(state.read_at.elapsed().as_millis()).unwrap_or(i64::MAX);
        if elapsed_ms == 0 {
            return state.steady_ms;
        }
        state.read_at = Instant::now();
        let was_catching_up = state.catching_up;
        (state.steady_ms, state.catching_up) = step(state.steady_ms, elapsed_ms, wall_ms, was_catching_up);
        let (steady_ms, catching_up) = (state.steady_ms, state.catching_up);
        drop(state);
        if catching_up && !was_catching_up {
            log::warn!(logger: self.log, target: CHANNEL, seconds = (wall_ms - steady_ms) / 1000;
                "the system's clock jumped; due times follow it gradually");
        }
        steady_ms
    }
}

/// Returns the time after `elapsed_ms`, and whether there is still a jump to make up for.
fn step(steady_ms: i64, elapsed_ms: i64, wall_ms: i64, catching_up: bool) -> (i64, bool) {
    let expected_ms = steady_ms + elapsed_ms;
    let ahead_ms = wall_ms - expected_ms;
    if ahead_ms.abs() <= if catching_up { 0 } else { TOLERANCE_MS } {
        // Never backwards: what was due stays due.
        return (wall_ms.max(steady_ms), false);
    }
    if ahead_ms > 0 {
        let next_ms = (expected_ms + elapsed_ms).min(wall_ms);
        (next_ms, next_ms < wall_ms)
    } else {
        let next_ms = (steady_ms + elapsed_ms / 2).max(wall_ms);
        (next_ms, next_ms > wall_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    /// Lets the time pass in steps of a second after a jump; returns how long it took to catch up, and how fast the clock
    /// went at its fastest and slowest, in milliseconds a second.
    fn catch_up(jump_ms: i64) -> (i64, i64, i64) {
        let (mut wall, mut steady, mut catching_up) = (jump_ms, 0, false);
        let (mut fastest, mut slowest) = (0, i64::MAX);
        for second in 1.. {
            wall += 1_000;
            let before = steady;
            (steady, catching_up) = step(steady, 1_000, wall, catching_up);
            fastest = fastest.max(steady - before);
            slowest = slowest.min(steady - before);
            if !catching_up {
                assert_eq!(steady, wall);
                return (second, fastest, slowest);
            }
        }
        unreachable!("it catches up")
    }

    #[test]
    fn after_a_jump_it_goes_at_most_twice_as_fast_and_at_least_half_as_fast() {
        assert_eq!(catch_up(HOUR), (3_600, 2_000, 2_000));
        assert_eq!(catch_up(-HOUR), (7_200, 500, 500));
    }

    #[test]
    fn a_small_correction_is_followed_at_once() {
        assert_eq!(step(10_000, 1_000, 12_500, false), (12_500, false));
        assert_eq!(step(10_000, 1_000, 9_500, false), (10_000, false));
    }
}
