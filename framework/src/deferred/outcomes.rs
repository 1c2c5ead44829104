//! Tells whoever waits how tasks ended.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, unbounded};
use serde::Serialize;

use crate::store::{TaskId, TaskState, Timestamp};

/// How an attempt of a task ended.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TaskOutcome {
    /// The task.
    pub id: TaskId,
    /// Its state after the attempt: done, dead or waiting; ready when it was interrupted.
    pub state: TaskState,
    /// Number of the attempt.
    pub attempt: u32,
    /// Outcome code, such as `ok` or `http_5xx`.
    pub outcome: String,
    /// HTTP status, when one came.
    pub status: Option<u16>,
    /// A sentence about it.
    pub detail: Option<String>,
    /// When it is tried again.
    pub next_at: Option<Timestamp>,
}

/// The subscribers.
#[derive(Default)]
pub(super) struct Outcomes {
    senders: Mutex<Vec<Sender<TaskOutcome>>>,
}

impl Outcomes {
    /// Returns a channel that gets every outcome from now on, until it is dropped.
    pub(super) fn subscribe(&self) -> Receiver<TaskOutcome> {
        let (sender, receiver) = unbounded();
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    pub(super) fn tell(&self, outcome: &TaskOutcome) {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.retain(|sender| sender.send(outcome.clone()).is_ok());
    }
}
