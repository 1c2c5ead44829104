//! Attempts: runs of tasks, and immediate deliveries.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AttemptId, EventId, HttpExchange, OwnerId, TaskId, Timestamp, WebhookId};

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AttemptMode {
    /// The deferred engine does a task.
    #[default]
    Deferred,
    /// In the time of whoever announced the event.
    Immediate,
    /// Somebody replays a task.
    Replay,
    /// A bulk operation replays many.
    Bulk,
    /// Somebody tries a webhook out.
    Test,
}

impl AttemptMode {
    /// All modes.
    pub const ALL: [Self; 5] = [Self::Deferred, Self::Immediate, Self::Replay, Self::Bulk, Self::Test];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deferred => "deferred",
            Self::Immediate => "immediate",
            Self::Replay => "replay",
            Self::Bulk => "bulk",
            Self::Test => "test",
        }
    }

    /// Reads what a store holds. What an earlier version did not write is deferred.
    pub(crate) fn stored(text: &str) -> Self {
        text.parse().unwrap_or_default()
    }
}

impl fmt::Display for AttemptMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no mode of an attempt: it is `deferred`, `immediate`, `replay`, `bulk` or `test`")]
pub struct NotAMode;

impl FromStr for AttemptMode {
    type Err = NotAMode;

    fn from_str(text: &str) -> Result<Self, NotAMode> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or(NotAMode)
    }
}

/// What is written down when an attempt ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptResult {
    /// When it ended.
    pub ended_at: Timestamp,
    /// Outcome code: `ok`, `http_4xx`, `timeout_total`, `interrupted`, ...
    pub outcome: String,
    /// HTTP status, when one came.
    pub status: Option<u16>,
    /// A sentence for people.
    pub detail: Option<String>,
    /// URL of the last request.
    pub url: Option<String>,
    /// Start of the answer's body to the last request.
    pub response: Option<String>,
    /// The plugin whose handler was called.
    pub plugin: Option<String>,
    /// Its version.
    pub plugin_version: Option<String>,
    /// When it is tried again.
    pub next_at: Option<Timestamp>,
    /// What was sent and what came back, in order.
    pub exchanges: Vec<HttpExchange>,
}

/// One attempt of a task, or an immediate delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Attempt {
    /// Its id; later attempts have higher ones.
    pub id: AttemptId,
    /// The task; none for an immediate delivery.
    pub task: Option<TaskId>,
    /// The event.
    pub event: Option<EventId>,
    /// Name of the event.
    pub event_name: Option<String>,
    /// Owner of the event.
    pub owner: Option<OwnerId>,
    /// The webhook.
    pub webhook: Option<WebhookId>,
    /// The task whose handler announced the event, when one did.
    pub cause: Option<TaskId>,
    /// Its number, from 1.
    pub number: u32,
    /// Why it was made.
    pub mode: AttemptMode,
    /// When its event was announced, or its task accepted.
    pub queued_at: Option<Timestamp>,
    /// When it was due.
    pub due_at: Option<Timestamp>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub ended_at: Option<Timestamp>,
    /// Outcome code; none while it runs.
    pub outcome: Option<String>,
    /// HTTP status, when one came.
    pub status: Option<u16>,
    /// A sentence for people: what happened, and why it is tried again where it is.
    pub detail: Option<String>,
    /// URL of the last request; the values of its query are masked.
    pub url: Option<String>,
    /// When it was to be tried again.
    pub next_at: Option<Timestamp>,
    /// The plugin whose handler was called.
    pub plugin: Option<String>,
    /// Its version.
    pub plugin_version: Option<String>,
    /// Start of the answer's body to the last request. Not in a list of attempts of many tasks.
    pub response: Option<String>,
    /// What was sent and what came back, in order. Not in a list of attempts of many tasks.
    pub exchanges: Vec<HttpExchange>,
}

#[cfg(test)]
impl Attempt {
    /// Returns an attempt that has ended like this, of which nothing else is known.
    pub(crate) fn of(result: AttemptResult) -> Self {
        Self {
            ended_at: Some(result.ended_at),
            outcome: Some(result.outcome),
            status: result.status,
            detail: result.detail,
            url: result.url,
            next_at: result.next_at,
            plugin: result.plugin,
            plugin_version: result.plugin_version,
            response: result.response,
            exchanges: result.exchanges,
            ..Self::default()
        }
    }
}

impl Attempt {
    /// Returns how long after its time it began, in milliseconds; `None` for one of an earlier version.
    #[must_use]
    pub fn lag_ms(&self) -> Option<i64> {
        Some(self.started_at.0.saturating_sub(self.due_at?.0).max(0))
    }

    /// Returns how long it took, in milliseconds; `None` while it runs.
    #[must_use]
    pub fn took_ms(&self) -> Option<i64> {
        Some(self.ended_at?.0.saturating_sub(self.started_at.0).max(0))
    }

    /// Returns whether it has ended without success.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.outcome.as_deref().is_some_and(|outcome| outcome != "ok")
    }

    /// Returns whether what it sent is known to the last byte, so that it can be sent again: it is the body of the event, or
    /// was kept.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        let sent = self.delivery().filter(|exchange| !exchange.confidential);
        sent.is_some_and(|exchange| exchange.body.is_event || exchange.body.whole().is_some())
    }

    /// Returns the exchange with the receiver: the last one.
    #[must_use]
    pub fn delivery(&self) -> Option<&HttpExchange> {
        self.exchanges.last()
    }
}

/// Which attempts to return. An attempt matches when it matches everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptFilter {
    /// To this webhook.
    pub webhook: Option<WebhookId>,
    /// Of events of this owner.
    pub owner: Option<OwnerId>,
    /// Of this event.
    pub event: Option<EventId>,
    /// Of events of this name.
    pub event_name: Option<String>,
    /// Of this task.
    pub task: Option<TaskId>,
    /// With this outcome code, such as `ok` or `http_5xx`.
    pub outcome: Option<String>,
    /// Those that have failed, or those that have not.
    pub failed: Option<bool>,
    /// With this HTTP status.
    pub status: Option<u16>,
    /// Made for this reason.
    pub mode: Option<AttemptMode>,
    /// Begun at this time or later.
    pub since: Option<Timestamp>,
    /// Begun before this time.
    pub until: Option<Timestamp>,
    /// Those in which this text is, letter by letter: in what was sent, in the answers, in the URL, or in what is said
    /// about the outcome.
    pub text: Option<String>,
    /// After this id, for paging: in the order in which they are returned.
    pub after: Option<AttemptId>,
    /// The oldest first, in place of the newest.
    pub oldest_first: bool,
    /// At most so many; 0 means 100.
    pub limit: u32,
}
