//! What an administrator or an application decides about a key.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What holds for the tasks of one key, on every host that works on the store. Caps and rates count for each host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPolicy {
    /// How many of its tasks may run at once; the host's when `None`.
    pub cap: Option<NonZeroU32>,
    /// How often one of its tasks may start; as often as it likes when `None`.
    pub rate: Option<Rate>,
    /// Whether none of its tasks starts. They are accepted and wait; what runs goes on.
    pub paused: bool,
}

impl KeyPolicy {
    /// Returns whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How often tasks may start: a bucket that holds `starts` and is filled evenly, all of it in the time `per`. After a rest,
/// `starts` tasks start at once, and then one each `per / starts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Number of starts.
    pub starts: NonZeroU32,
    /// In this time, which is counted in milliseconds and at least one.
    #[serde(with = "milliseconds", rename = "per_ms")]
    pub per: Duration,
}

mod milliseconds {
    use super::{Deserialize, Duration};

    pub(super) fn serialize<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// How many tasks of a key have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// The key.
    pub key: String,
    /// Ready.
    pub ready: u64,
    /// Running.
    pub running: u64,
    /// Waiting.
    pub waiting: u64,
}
