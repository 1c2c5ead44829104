//! Ids and points in time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// Id of a deferred task. Never used twice.
    TaskId
);
id!(
    /// Id of an attempt.
    AttemptId
);
id!(
    /// Id of a webhook. Never used twice.
    WebhookId
);
id!(
    /// Id of a bulk operation. Never used twice.
    BulkId
);
id!(
    /// Who owns a subject and its webhooks; 0 is the whole site.
    OwnerId
);
id!(
    /// Which run of a task: it grows by one whenever the task is started.
    Lease
);

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    /// As RFC 3339 writes it, with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that names no point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no point in time: write it as 2026-07-31T12:00:00Z")]
pub struct NotATimestamp;

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        if let Some(ms) = text.strip_suffix(" ms") {
            return ms.parse().map(Self).map_err(|_| NotATimestamp);
        }
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| NotATimestamp)?;
        Ok(Self(timestamp.as_millisecond()))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Id of an event: `msg_` and a ULID. Receivers know it as `webhook-id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub String);

impl EventId {
    /// Returns a new id.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default would be the same every time")]
    pub fn new() -> Self {
        Self(format!("msg_{}", ulid::Ulid::generate()))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_read_as_it_is_written() {
        for time in [0, 1, -1, 1_795_000_000_123, 1_000_000_000_000_000, i64::MAX, i64::MIN] {
            let text = serde_json::to_string(&Timestamp(time)).unwrap();
            assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), Timestamp(time), "{text}");
        }
        assert_eq!("yesterday".parse::<Timestamp>(), Err(NotATimestamp));
    }
}
