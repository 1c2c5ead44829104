//! Durations as an administrator writes them: `250ms`, `5s`, `30m`, `2h`, `1d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serializer;
use serde::de::{Deserialize, Deserializer, Error as _};

/// The units, the largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A duration written as a whole number and one unit: `ms`, `s`, `m`, `h` or `d`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use switchboard::config::HumanDuration;
///
/// let delay: HumanDuration = "30m".parse().unwrap();
/// assert_eq!(delay.0, Duration::from_secs(1800));
/// assert_eq!(delay.to_string(), "30m");
/// assert_eq!(
///     "30".parse::<HumanDuration>().unwrap_err().to_string(),
///     "`30` has no unit, write for example `30s`",
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Only a number was given.
    #[error("`{text}` has no unit, write for example `{text}s`")]
    NoUnit {
        /// What was given.
        text: String,
    },
    /// The text does not start with a whole number.
    #[error("`{text}` is not a duration, write a whole number and a unit, for example `5s`")]
    NoNumber {
        /// What was given.
        text: String,
    },
    /// The unit does not exist.
    #[error("`{text}` has the unknown unit `{unit}`, use one of `ms`, `s`, `m`, `h`, `d`")]
    UnknownUnit {
        /// What was given.
        text: String,
        /// What follows the number.
        unit: String,
    },
    /// The number is too large.
    #[error("`{text}` is longer than any duration this host can wait")]
    TooLong {
        /// What was given.
        text: String,
    },
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let text = || text.to_owned();
        if number.is_empty() {
            return Err(DurationError::NoNumber { text: text() });
        }
        if unit.is_empty() {
            return Err(DurationError::NoUnit { text: text() });
        }
        // `1.5h` is a number to its author, not an hour with the unit `.5h`.
        if unit.starts_with(['.', ',']) {
            return Err(DurationError::NoNumber { text: text() });
        }
        let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit { text: text(), unit: unit.to_owned() });
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*millis))
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| DurationError::TooLong { text: text() })
    }
}

/// Prints the shortest exact text: `30m`, not `1800s`. Parts of a millisecond are left out.
impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (name, unit) in UNITS {
            let unit = u128::from(unit);
            if millis.is_multiple_of(unit) {
                return write!(f, "{}{name}", millis / unit);
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl From<HumanDuration> for Duration {
    fn from(value: HumanDuration) -> Self {
        value.0
    }
}

/// Writes a duration as it is read.
pub(super) fn write_one<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&HumanDuration(*duration))
}

/// Writes durations as they are read.
pub(super) fn write_list<S: Serializer>(durations: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(durations.iter().map(|duration| HumanDuration(*duration).to_string()))
}

pub(super) fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    HumanDuration::deserialize(deserializer).map(Duration::from)
}

pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    let list = Vec::<HumanDuration>::deserialize(deserializer)?;
    Ok(list.into_iter().map(Duration::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_they_are_written() {
        for text in ["0s", "1ms", "250ms", "5s", "90s", "30m", "2h", "25h", "1d", "20d"] {
            assert_eq!(text.parse::<HumanDuration>().unwrap().to_string(), text);
        }
        assert_eq!("24h".parse::<HumanDuration>().unwrap().to_string(), "1d");
    }

    #[test]
    fn a_text_that_is_no_duration_says_what_to_write() {
        for (text, message) in [
            ("", "`` is not a duration, write a whole number and a unit, for example `5s`"),
            ("s", "`s` is not a duration, write a whole number and a unit, for example `5s`"),
            ("-5s", "`-5s` is not a duration, write a whole number and a unit, for example `5s`"),
            ("1.5h", "`1.5h` is not a duration, write a whole number and a unit, for example `5s`"),
            ("5", "`5` has no unit, write for example `5s`"),
            ("5 s", "`5 s` has the unknown unit ` s`, use one of `ms`, `s`, `m`, `h`, `d`"),
            ("5sec", "`5sec` has the unknown unit `sec`, use one of `ms`, `s`, `m`, `h`, `d`"),
            ("99999999999999999999s", "`99999999999999999999s` is longer than any duration this host can wait"),
        ] {
            assert_eq!(text.parse::<HumanDuration>().unwrap_err().to_string(), message);
        }
    }
}
