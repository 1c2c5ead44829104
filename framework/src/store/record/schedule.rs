//! Schedules: tasks that are started again and again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{NewTask, Priority, TaskId, Timestamp, Unique};

/// What each slot of a schedule starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskTemplate {
    /// Trigger number of the handler.
    pub number: u32,
    /// Event name of the handler.
    pub name: String,
    /// Scheduling key.
    pub key: String,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether it waits until every earlier ordered task of its key has ended.
    pub ordered: bool,
    /// Delays before attempt 1, 2, 3, ...; those of its trigger number when `None`.
    pub schedule: Option<Vec<Duration>>,
    /// The time for one attempt; the host's when `None`.
    pub timeout: Option<Duration>,
    /// Input of the handler.
    #[serde(skip)]
    pub payload: Option<Vec<u8>>,
}

impl TaskTemplate {
    /// Returns the task of one slot of the schedule `name`. A slot whose predecessor has not ended starts nothing.
    #[must_use]
    pub fn task(&self, name: &str, now: Timestamp) -> NewTask {
        NewTask {
            number: self.number,
            name: self.name.clone(),
            key: self.key.clone(),
            payload: self.payload.clone(),
            at: now,
            run_at: now,
            priority: self.priority,
            ordered: self.ordered,
            unique: Some(Unique { key: format!("schedule:{name}"), window: Duration::ZERO }),
            schedule: self.schedule.clone(),
            timeout: self.timeout,
            ..NewTask::default()
        }
    }
}

/// A stored schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its name, by which it is changed and removed.
    pub name: String,
    /// When: `every 15m`, or a cron expression of five fields.
    pub spec: String,
    /// Time zone of the cron expression, such as `Europe/Berlin`.
    pub zone: String,
    /// What each slot starts.
    pub template: TaskTemplate,
    /// Its next slot.
    pub next_at: Timestamp,
    /// Whether it starts nothing just now.
    pub paused: bool,
    /// The slot that was started last.
    pub last_at: Option<Timestamp>,
    /// The task that was started last.
    pub last_task: Option<TaskId>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed by hand.
    pub updated_at: Timestamp,
}
