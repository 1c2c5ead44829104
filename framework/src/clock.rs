//! The time of day, in one place.
//!
//! Everything that stores or prints a moment asks a [`Clock`], so that a test can set the time and let it pass without
//! waiting. Moments are `i64` milliseconds since the Unix epoch, UTC.
//!
//! This is not for measuring how long something took or for deadlines: use `std::time::Instant`, which a jump of the
//! system's clock does not touch.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// Prints three digits after the second, always, so that printed moments line up and sort as text.
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// A source of the current time; cheap to clone.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use switchboard::clock::{Clock, rfc3339};
///
/// let clock = Clock::fixed(1_000);
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(clock.now(), 3_000);
/// assert_eq!(rfc3339(clock.now()), "1970-01-01T00:00:03.000Z");
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// Returns the clock of the operating system.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a clock that stands at `now`, in milliseconds since the Unix epoch, until it is moved.
    ///
    /// Clones share the time: advancing one advances all.
    pub fn fixed(now: i64) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(now))))
    }

    /// Returns the current time in milliseconds since the Unix epoch; negative before 1970.
    pub fn now(&self) -> i64 {
        match &self.0 {
            Source::System => system_now(),
            Source::Fixed(now) => now.load(Ordering::SeqCst),
        }
    }

    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self.0, Source::Fixed(_))
    }

    /// Moves a fixed clock forward by `by`; the system's clock is left as it is.
    pub fn advance(&self, by: Duration) {
        if let Source::Fixed(now) = &self.0 {
            now.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// Returns the current time as RFC 3339, as [`rfc3339`] prints it.
    pub fn now_rfc3339(&self) -> String {
        rfc3339(self.now())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// Prints a moment as RFC 3339 in UTC with milliseconds: `2026-11-24T02:00:00.123Z`.
///
/// A moment outside the years -9999 to 9999 prints as the nearest one inside.
pub fn rfc3339(ms: i64) -> String {
    PRINTER.timestamp_to_string(&timestamp(ms))
}

/// Appends what [`rfc3339`] prints to `line`.
pub(crate) fn write_rfc3339(line: &mut String, ms: i64) {
    if PRINTER.print_timestamp(&timestamp(ms), &mut *line).is_err() {
        // Writing to a `String` does not fail; the line stays readable if that ever changes.
        line.push('-');
    }
}

/// Reads an RFC 3339 moment with any offset as milliseconds since the Unix epoch; `None` when it is not one.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// Converts a time of the operating system, such as a file's modification time, to milliseconds since the Unix epoch.
pub(crate) fn from_system_time(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
fn system_now() -> i64 {
    from_system_time(SystemTime::now())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_moves_only_when_advanced_and_its_clones_follow() {
        let clock = Clock::fixed(5);
        let other = clock.clone();
        assert_eq!(other.now(), 5);
        clock.advance(Duration::from_millis(10));
        assert_eq!(other.now(), 15);
    }

    #[test]
    fn the_system_clock_does_not_stand_before_this_code_was_written() {
        let clock = Clock::system();
        clock.advance(Duration::from_secs(1));
        assert!(clock.now() > 1_750_000_000_000);
    }

    #[test]
    fn moments_print_with_three_digits_and_are_read_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_485_600_123, "2026-11-24T02:00:00.123Z"),
            (1_795_485_600_120, "2026-11-24T02:00:00.120Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(parse_rfc3339(text), Some(ms));
        }
        assert_eq!(parse_rfc3339("2026-11-24T03:00:00.123+01:00"), Some(1_795_485_600_123));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn a_moment_beyond_the_calendar_prints_as_its_end() {
        assert!(rfc3339(i64::MAX).starts_with("9999-12-30T"));
        assert!(rfc3339(i64::MIN).starts_with("-009999-01-02T"));
    }
}
