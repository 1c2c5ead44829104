//! Tells whoever waits how tasks ended.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
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

/// Outcomes that a subscriber may be behind.
const BEHIND: usize = 8_192;

/// The subscribers.
#[derive(Default)]
pub(super) struct Outcomes {
    senders: Mutex<Vec<Sender<TaskOutcome>>>,
}

impl Outcomes {
    /// Returns a channel that gets every outcome from now on, until it is dropped or its reader is too far behind.
    pub(super) fn subscribe(&self) -> Receiver<TaskOutcome> {
        let (sender, receiver) = bounded(BEHIND);
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    pub(super) fn tell(&self, outcome: &TaskOutcome) {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody waits for a slow reader, and none loses an outcome without seeing the end of its channel.
        senders.retain(|sender| sender.try_send(outcome.clone()).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_that_does_not_read_is_let_go_and_sees_it() {
        let outcomes = Outcomes::default();
        let (idle, reading) = (outcomes.subscribe(), outcomes.subscribe());
        let outcome = |id| TaskOutcome {
            id: TaskId(id),
            state: TaskState::Done,
            attempt: 1,
            outcome: "ok".into(),
            status: None,
            detail: None,
            next_at: None,
        };
        let count = i64::try_from(BEHIND).unwrap() + 10;
        for id in 0..count {
            outcomes.tell(&outcome(id));
            assert_eq!(reading.try_recv().unwrap().id, TaskId(id));
        }
        assert_eq!(idle.iter().count(), BEHIND, "what it had not read, and then the end");
        assert!(reading.try_recv().is_err_and(|error| error.is_empty()));
        assert_eq!(outcomes.senders.lock().unwrap().len(), 1);
    }
}
