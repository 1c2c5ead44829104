//! When a schedule has its slots.

use std::time::Duration;

use thiserror::Error;

use crate::config::{DurationError, HumanDuration};
use crate::store::Timestamp;

/// Shortest period.
const SHORTEST: Duration = Duration::from_secs(1);

/// When something happens again and again: `every 15m`, or a cron expression of five fields in a time zone.
#[derive(Debug)]
pub(crate) enum Recurrence {
    Every(Duration),
    Cron(Box<cronexpr::Crontab>),
}

/// Why a text says no recurrence.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecurrenceError {
    /// What follows `every` is no duration.
    #[error("`{spec}` does not say how often")]
    Duration {
        /// What was given.
        spec: String,
        /// What is wrong with it.
        source: DurationError,
    },
    /// The period is too short.
    #[error("`{spec}` is too often: once a second is the most")]
    TooOften {
        /// What was given.
        spec: String,
    },
    /// It is no cron expression, or the time zone is not known.
    #[error(
        "`{spec}` in the time zone `{zone}` is no recurrence: write `every 15m`, or five cron fields such as \
         `30 4 * * MON-FRI`, and a zone such as `Europe/Berlin`"
    )]
    Cron {
        /// What was given.
        spec: String,
        /// The time zone.
        zone: String,
        /// What is wrong with it.
        source: cronexpr::Error,
    },
    /// It never happens.
    #[error("`{spec}` never happens")]
    Never {
        /// What was given.
        spec: String,
    },
}

impl Recurrence {
    pub(crate) fn parse(spec: &str, zone: &str) -> Result<Self, RecurrenceError> {
        if let Some(period) = spec.strip_prefix("every ") {
            let HumanDuration(period) =
                period.trim().parse().map_err(|source| RecurrenceError::Duration { spec: spec.to_owned(), source })?;
            if period < SHORTEST {
                return Err(RecurrenceError::TooOften { spec: spec.to_owned() });
            }
            return Ok(Self::Every(period));
        }
        let cron = cronexpr::parse_crontab(&format!("{spec} {zone}"));
        let cron =
            cron.map_err(|source| RecurrenceError::Cron { spec: spec.to_owned(), zone: zone.to_owned(), source })?;
        Ok(Self::Cron(Box::new(cron)))
    }

    /// Returns the first slot after `after`; `None` when there is none.
    pub(crate) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(period) => {
                let period_ms = i64::try_from(period.as_millis()).ok()?;
                after.0.checked_add(period_ms).map(Timestamp)
            }
            Self::Cron(cron) => {
                let after = cronexpr::MakeTimestamp::from_millisecond(after.0).ok()?;
                let next = cron.find_next(after).ok()?;
                Some(Timestamp(next.timestamp().as_millisecond()))
            }
        }
    }

    /// Returns the slot that follows `slot` and is not over at `now`: slots that were missed are made up for by one.
    pub(crate) fn next_slot(&self, slot: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let next = self.next_after(slot)?;
        if next > now { Some(next) } else { self.next_after(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spec: &str, zone: &str, after: &str, expected: &str) {
        let after = Timestamp(after.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let next = Recurrence::parse(spec, zone).unwrap().next_after(after).unwrap();
        assert_eq!(next.to_string(), expected);
    }

    #[test]
    fn a_period_counts_from_the_slot_before() {
        check("every 15m", "UTC", "2026-11-24T06:07:00Z", "2026-11-24T06:22:00.000Z");
    }

    #[test]
    fn cron_fields_are_read_in_their_time_zone() {
        check("30 4 * * *", "UTC", "2026-11-24T06:00:00Z", "2026-11-25T04:30:00.000Z");
        check("30 4 * * MON-FRI", "Europe/Berlin", "2026-07-03T06:00:00Z", "2026-07-06T02:30:00.000Z");
    }

    #[test]
    fn slots_that_were_missed_are_made_up_for_by_one() {
        let minutely = Recurrence::parse("every 1m", "UTC").unwrap();
        assert_eq!(minutely.next_slot(Timestamp(0), Timestamp(10)), Some(Timestamp(60_000)));
        assert_eq!(minutely.next_slot(Timestamp(0), Timestamp(600_000)), Some(Timestamp(660_000)));
    }

    #[track_caller]
    fn check_refused(spec: &str, zone: &str, expected: &str) {
        let error = Recurrence::parse(spec, zone).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_is_no_recurrence_is_refused_with_what_to_write() {
        check_refused("every now", "UTC", "does not say how often");
        check_refused("every 10ms", "UTC", "once a second is the most");
        check_refused("61 * * * *", "UTC", "no recurrence");
        check_refused("0 0 * * *", "Middle/Earth", "Middle/Earth");
    }
}
