//! Trigger numbers: five digits that tie a caller to its minicomponents.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// A trigger number, `00001` to `99999`, printed with five digits.
///
/// ```
/// use switchboard_plugin_api::TriggerNumber;
///
/// assert_eq!(TriggerNumber::new(7_320).to_string(), "07320");
/// assert_eq!("07320".parse(), Ok(TriggerNumber::new(7_320)));
/// assert_eq!(
///     "7320x".parse::<TriggerNumber>().unwrap_err().to_string(),
///     "`7320x` is not a trigger number: a number from 00001 to 99999 is needed",
/// );
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub struct TriggerNumber(u32);

impl TriggerNumber {
    /// Returns the number.
    ///
    /// # Panics
    ///
    /// When `number` is not in `1..=99_999`. In a `const` that is a compile error.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        match Self::checked(number) {
            Some(number) => number,
            None => panic!("a trigger number is one of 00001 to 99999"),
        }
    }

    /// Returns the number, or `None` when it is not in `1..=99_999`.
    #[must_use]
    pub const fn checked(number: u32) -> Option<Self> {
        if number >= 1 && number <= 99_999 { Some(Self(number)) } else { None }
    }

    /// Returns the plain number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for TriggerNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}", self.0)
    }
}

impl fmt::Debug for TriggerNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<TriggerNumber> for u32 {
    fn from(number: TriggerNumber) -> Self {
        number.0
    }
}

impl TryFrom<u32> for TriggerNumber {
    type Error = NotATriggerNumber;

    fn try_from(number: u32) -> Result<Self, NotATriggerNumber> {
        Self::checked(number).ok_or_else(|| NotATriggerNumber { text: number.to_string() })
    }
}

impl FromStr for TriggerNumber {
    type Err = NotATriggerNumber;

    /// Reads one to five digits; `7320` and `07320` are the same number.
    fn from_str(text: &str) -> Result<Self, NotATriggerNumber> {
        let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok().and_then(Self::checked) } else { None };
        number.ok_or_else(|| NotATriggerNumber { text: text.to_owned() })
    }
}

/// A text or an integer that is not a trigger number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotATriggerNumber {
    text: String,
}

impl fmt::Display for NotATriggerNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a trigger number: a number from 00001 to 99999 is needed", self.text)
    }
}

impl std::error::Error for NotATriggerNumber {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_to_five_digits_in_range_are_a_number() {
        for good in ["1", "00001", "7320", "07320", "99999"] {
            assert!(good.parse::<TriggerNumber>().is_ok(), "{good}");
        }
        for bad in ["", "0", "00000", "100000", "7320x", "+7320", "-1", " 7320", "٧٣٢٠", "000007"] {
            assert!(bad.parse::<TriggerNumber>().is_err(), "{bad}");
        }
    }
}
