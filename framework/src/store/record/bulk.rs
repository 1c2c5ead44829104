//! Bulk operations: something is done with every task that matches a filter.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AcceptedTask, BulkId, Lane, TaskFilter, TaskId, Timestamp};

/// What is done with the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BulkAction {
    /// Those that are done, dead or waiting become ready.
    Retry,
    /// Those that are ready or waiting become dead.
    Cancel,
    /// Those that are done or dead are replayed.
    Replay,
    /// Those of them that have delivered an event, or tried to, are replayed with the bytes that they sent last.
    #[serde(rename = "replay_as_sent")]
    ReplayAsSent,
}

impl BulkAction {
    /// All actions.
    pub const ALL: [Self; 4] = [Self::Retry, Self::Cancel, Self::Replay, Self::ReplayAsSent];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Replay => "replay",
            Self::ReplayAsSent => "replay_as_sent",
        }
    }
}

impl fmt::Display for BulkAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names nothing of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no bulk action: it is `retry`, `cancel`, `replay` or `replay_as_sent`")]
pub struct NotABulkAction;

impl FromStr for BulkAction {
    type Err = NotABulkAction;

    fn from_str(text: &str) -> Result<Self, NotABulkAction> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(NotABulkAction)
    }
}

/// State of a bulk operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BulkState {
    /// It goes on.
    Running,
    /// It waits to be resumed.
    Paused,
    /// Every task that matched has been looked at.
    Done,
    /// It was ended by hand.
    Cancelled,
}

impl BulkState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Done, Self::Cancelled];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for BulkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A bulk operation that is to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBulk {
    /// What is done.
    pub action: BulkAction,
    /// With which tasks: those that match and have been accepted before the operation.
    pub filter: TaskFilter,
    /// At most so many tasks a second; at least 1.
    pub per_second: u32,
    /// How many tasks have to match; when another number does, nothing is added. Any number will do when `None`.
    pub expected: Option<u64>,
    /// Who asked for it.
    pub by: Option<String>,
}

/// A stored bulk operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// Its id.
    pub id: BulkId,
    /// What is done.
    pub action: BulkAction,
    /// With which tasks.
    pub filter: TaskFilter,
    /// At most so many tasks a second.
    pub per_second: u32,
    /// Its state.
    pub state: BulkState,
    /// How many tasks matched when it was added.
    pub total: u64,
    /// How many were looked at.
    pub seen: u64,
    /// With how many something was done; the others had changed meanwhile.
    pub changed: u64,
    /// The last task that was looked at.
    pub cursor: TaskId,
    /// The last task that had been accepted when it was added.
    pub last: TaskId,
    /// Who asked for it.
    pub by: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last went on.
    pub updated_at: Timestamp,
}

/// What one step of a bulk operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkStep {
    /// The operation after the step.
    pub bulk: Bulk,
    /// Lanes that have ready tasks now which nobody holds.
    pub lanes: Vec<Lane>,
    /// Tasks that were made ready and stay with this host.
    pub retried: Vec<AcceptedTask>,
    /// Tasks that were made dead, with their keys. This host may have them in memory.
    pub cancelled: Vec<(TaskId, String)>,
}

impl BulkStep {
    /// Returns a step that has done nothing yet.
    pub(crate) fn new(bulk: Bulk) -> Self {
        Self { bulk, lanes: Vec::new(), retried: Vec::new(), cancelled: Vec::new() }
    }

    /// Notes a task that the step was over, with what became of it.
    pub(crate) fn note(&mut self, task: TaskId, became: Became) {
        self.bulk.cursor = task;
        self.bulk.seen += 1;
        self.bulk.changed += u64::from(!matches!(became, Became::Unchanged));
        match became {
            Became::Unchanged => {}
            Became::Ready(task) if task.held => self.retried.push(task),
            Became::Ready(task) => {
                let lane = task.head.lane();
                if let Err(place) = self.lanes.binary_search(&lane) {
                    self.lanes.insert(place, lane);
                }
            }
            Became::Cancelled(key) => self.cancelled.push((task, key)),
        }
    }
}

/// What became of a task in a step of a bulk operation.
pub(crate) enum Became {
    /// Nothing could be done with it.
    Unchanged,
    /// It, or its replay, is ready.
    Ready(AcceptedTask),
    /// It is dead; its key.
    Cancelled(String),
}
