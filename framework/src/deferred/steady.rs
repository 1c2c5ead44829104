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
    /// In microseconds, because a busy host asks more often than every millisecond.
    steady_us: i64,
    /// Whether it is behind or ahead of the wall clock after a jump.
    catching_up: bool,
}

impl SteadyClock {
    pub(super) fn new(clock: Clock, log: ChannelLog) -> Self {
        let state = State { read_at: Instant::now(), steady_us: micros(clock.now()), catching_up: false };
        Self { clock, log, state: Mutex::new(state) }
    }

    /// Returns the time in milliseconds since the Unix epoch.
    pub(super) fn now(&self) -> i64 {
        self.read().0
    }

    /// Returns when a wait of `delay_ms` from now is over: neither sooner nor later than that, if the wall clock does not
    /// jump again.
    pub(super) fn after(&self, delay_ms: i64) -> i64 {
        let (steady_ms, wall_ms) = self.read();
        due(steady_ms, wall_ms, delay_ms)
    }

    /// Returns this clock's time and the wall clock's.
    fn read(&self) -> (i64, i64) {
        let wall_ms = self.clock.now();
        if self.clock.is_fixed() {
            return (wall_ms, wall_ms);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let elapsed_us = i64::try_from(now.duration_since(state.read_at).as_micros()).unwrap_or(i64::MAX);
        state.read_at = now;
        let was_catching_up = state.catching_up;
        (state.steady_us, state.catching_up) = step(state.steady_us, elapsed_us, micros(wall_ms), was_catching_up);
        let (steady_ms, catching_up) = (state.steady_us.div_euclid(1_000), state.catching_up);
        drop(state);
        if catching_up && !was_catching_up {
            log::warn!(logger: self.log, target: CHANNEL, seconds = (wall_ms - steady_ms) / 1000;
                "the system's clock jumped; due times follow it gradually");
        }
        (steady_ms, if catching_up { wall_ms } else { steady_ms })
    }
}

fn micros(ms: i64) -> i64 {
    ms.saturating_mul(1_000)
}

/// Returns where the steady clock will stand after `delay_ms`, on its way to the wall clock.
fn due(steady_ms: i64, wall_ms: i64, delay_ms: i64) -> i64 {
    let caught_up_ms = wall_ms.saturating_add(delay_ms);
    if wall_ms >= steady_ms {
        steady_ms.saturating_add(delay_ms.saturating_mul(2)).min(caught_up_ms)
    } else {
        steady_ms.saturating_add(delay_ms / 2).max(caught_up_ms)
    }
}

/// Returns the time after `elapsed_us`, and whether there is still a jump to make up for. All times are in microseconds.
fn step(steady_us: i64, elapsed_us: i64, wall_us: i64, catching_up: bool) -> (i64, bool) {
    let expected_us = steady_us + elapsed_us;
    let ahead_us = wall_us - expected_us;
    if ahead_us.abs() <= if catching_up { 0 } else { micros(TOLERANCE_MS) } {
        // Never backwards: what was due stays due.
        return (wall_us.max(steady_us), false);
    }
    if ahead_us > 0 {
        let next_us = (expected_us + elapsed_us).min(wall_us);
        (next_us, next_us < wall_us)
    } else {
        let next_us = (steady_us + elapsed_us / 2).max(wall_us);
        (next_us, next_us > wall_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    /// Lets the time pass in steps of a second after a jump; returns how long it took to catch up, and how fast the clock
    /// went at its fastest and slowest, in milliseconds a second.
    fn catch_up(jump_ms: i64) -> (i64, i64, i64) {
        let (mut wall, mut steady, mut catching_up) = (micros(jump_ms), 0, false);
        let (mut fastest, mut slowest) = (0, i64::MAX);
        for second in 1.. {
            wall += micros(1_000);
            let before = steady;
            (steady, catching_up) = step(steady, micros(1_000), wall, catching_up);
            fastest = fastest.max((steady - before) / 1_000);
            slowest = slowest.min((steady - before) / 1_000);
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
        let step = |wall_ms| step(micros(10_000), micros(1_000), micros(wall_ms), false);
        assert_eq!(step(12_500), (micros(12_500), false));
        assert_eq!(step(9_500), (micros(10_000), false));
    }

    #[test]
    fn asked_all_the_time_it_goes_on_after_a_jump() {
        for (jump_ms, expected_ms) in [(HOUR, 2_000), (-HOUR, 500)] {
            let (mut wall, mut steady, mut catching_up) = (micros(jump_ms), 0, false);
            for _ in 0..10_000 {
                wall += 100;
                (steady, catching_up) = step(steady, 100, wall, catching_up);
            }
            assert!(catching_up);
            assert_eq!(steady / 1_000, expected_ms);
        }
    }

    #[test]
    fn a_wait_is_as_long_as_it_should_be_after_a_jump() {
        for jump_ms in [0, HOUR, -HOUR, 10_000, -10_000] {
            for delay_ms in [2_000, 600_000, 3 * HOUR] {
                let (mut wall, mut steady, mut catching_up) = (micros(jump_ms), 0, false);
                let due_us = micros(due(0, jump_ms, delay_ms));
                let mut waited_ms = 0;
                while steady < due_us {
                    waited_ms += 1_000;
                    wall += micros(1_000);
                    (steady, catching_up) = step(steady, micros(1_000), wall, catching_up);
                }
                assert_eq!(waited_ms, delay_ms, "after a jump of {jump_ms}");
            }
        }
    }
}
