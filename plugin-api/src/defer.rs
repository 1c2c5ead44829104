//! How a deferred task is run.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// How a task that is deferred with [`Context::defer_with`](crate::Context::defer_with) is run. Without options: as soon as
/// it is its turn, with the schedule of its trigger number. Since 1.1.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use switchboard_plugin_api::{DeferOptions, Priority};
///
/// // The letters to one guest go out one by one, and nothing waits for them.
/// let options = DeferOptions::new().key("guest:7").ordered().priority(Priority::Low);
/// // Only one report an hour, however often it is asked for.
/// let options = DeferOptions::new().unique("report", Duration::from_secs(60 * 60));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
#[must_use]
pub struct DeferOptions {
    /// By what it takes turns with other tasks of this plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// After how many milliseconds it is due.
    pub delay_ms: u64,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether it waits until every earlier ordered task of its key has ended.
    pub ordered: bool,
    /// What keeps another task like it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<String>,
    /// For how many milliseconds it does so after it was accepted, although it has ended.
    pub window_ms: u64,
    /// Delays before attempt 1, 2, 3, ..., in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_ms: Option<Vec<u64>>,
    /// The time for one attempt, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How urgent a deferred task is. The higher goes first; one start in eight is a lower one's. Since 1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Priority {
    /// After everything else.
    Low,
    /// As most tasks are.
    #[default]
    Normal,
    /// Before everything else.
    High,
}

impl DeferOptions {
    /// Returns options that say nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the key by which the task takes turns with other tasks of this plugin. Other plugins' keys are others.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Lets the task start no earlier than this time from now.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay_ms = milliseconds(delay);
        self
    }

    /// Says how urgent the task is.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Makes the task wait until every earlier ordered task of its key has ended.
    pub fn ordered(mut self) -> Self {
        self.ordered = true;
        self
    }

    /// Makes no task while there is one of this plugin with this unique key that has not ended, or was accepted within
    /// `window`.
    pub fn unique(mut self, key: impl Into<String>, window: Duration) -> Self {
        self.unique = Some(key.into());
        self.window_ms = milliseconds(window);
        self
    }

    /// Gives the task a schedule of its own: the delays before attempt 1, 2, 3, ..., 1 to 20 of them, at most 7 days in
    /// all.
    pub fn schedule(mut self, delays: &[Duration]) -> Self {
        self.schedule_ms = Some(delays.iter().copied().map(milliseconds).collect());
        self
    }

    /// Gives each attempt this time: 1 ms to 24 h. A synchronous handler is only asked to keep to it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout_ms = Some(milliseconds(timeout));
        self
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
