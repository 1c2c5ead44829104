//! Attempts: runs of tasks, and immediate deliveries.

use serde::{Deserialize, Serialize};

use super::{EventId, TaskId, Timestamp, WebhookId};

/// What is written down when an attempt ends.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Start of the answer's body.
    pub response: Option<String>,
}

/// One attempt of a task, or an immediate delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The task; none for an immediate delivery.
    pub task: Option<TaskId>,
    /// The event.
    pub event: Option<EventId>,
    /// The webhook.
    pub webhook: Option<WebhookId>,
    /// Its number, from 1.
    pub number: u32,
    /// `deferred` or `immediate`.
    pub mode: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub ended_at: Option<Timestamp>,
    /// Outcome code; none while it runs.
    pub outcome: Option<String>,
    /// HTTP status, when one came.
    pub status: Option<u16>,
    /// A sentence for people.
    pub detail: Option<String>,
    /// URL of the last request.
    pub url: Option<String>,
    /// Start of the answer's body.
    pub response: Option<String>,
}
