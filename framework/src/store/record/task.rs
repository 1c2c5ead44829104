//! Deferred tasks.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::state::Move;
use super::wire;
use super::{
    AttemptId, AttemptMode, AttemptResult, Event, EventId, Lease, NewEvent, OwnerId, TaskId, TaskState, Timestamp,
    Webhook, WebhookId,
};
use crate::error::Chain;
use crate::store::StoreError;

/// How urgent a task is. The higher goes first; one start in eight is the lowest one's that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

impl Priority {
    /// All priorities, the lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];

    fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no priority: it is `low`, `normal` or `high`")]
pub struct NotAPriority;

impl FromStr for Priority {
    type Err = NotAPriority;

    fn from_str(text: &str) -> Result<Self, NotAPriority> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == text).ok_or(NotAPriority)
    }
}

/// Keeps a task from being accepted twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// What must not be there twice.
    pub key: String,
    /// How long after it was accepted a task keeps others away although it has ended; one that has not ended does so
    /// however old it is.
    pub window: Duration,
}

/// A deferred task that is to be accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTask {
    /// Event that it delivers, if it delivers one.
    pub event: Option<EventId>,
    /// Webhook that it delivers to. Its settings are read when it is sent.
    pub webhook: Option<WebhookId>,
    /// Trigger number of its handler.
    pub number: u32,
    /// Event name of its handler.
    pub name: String,
    /// Scheduling key: tasks with the same key share a cap and take turns with other keys.
    pub key: String,
    /// Remote host and port, for the cap per host.
    pub host: Option<String>,
    /// Input of the handler, for a task that delivers no event.
    pub payload: Option<Vec<u8>>,
    /// When it is accepted.
    pub at: Timestamp,
    /// When it is due; at once when that is not after `at`.
    pub run_at: Timestamp,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether it waits until every earlier ordered task of its key has ended.
    pub ordered: bool,
    /// What keeps it from being accepted twice.
    pub unique: Option<Unique>,
    /// Delays before attempt 1, 2, 3, ...; those of its trigger number when `None`.
    pub schedule: Option<Vec<Duration>>,
    /// The time for one attempt; the host's when `None`.
    pub timeout: Option<Duration>,
    /// Task whose replay it is.
    pub replay_of: Option<TaskId>,
    /// Why its attempts are made; `None` for what follows from `replay_of`.
    pub mode: Option<AttemptMode>,
    /// Attempt whose bytes it sends once more, in place of those that its handler makes today.
    pub as_sent: Option<AttemptId>,
    /// Whether this host takes it into its memory at once. An ordered task is never held from the start.
    pub hold: bool,
    /// Whether it waits although `run_at` is not after `at`, because the host goes by a clock that is behind after a jump
    /// of the wall clock.
    pub later: bool,
}

impl NewTask {
    /// Returns whether it is accepted for later.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.later || self.run_at > self.at
    }
}

impl NewTask {
    /// Returns a task that does what `task` did, once more and without retries. Replays of one task run one after the
    /// other.
    #[must_use]
    pub fn replay_of(task: &Task, now: Timestamp) -> Self {
        let origin = task.replay_of.unwrap_or(task.id);
        Self {
            event: task.event.clone(),
            webhook: task.webhook,
            number: task.number,
            name: task.name.clone(),
            key: format!("replay:{origin}"),
            host: task.host.clone(),
            payload: task.payload.clone(),
            at: now,
            run_at: now,
            ordered: true,
            schedule: Some(vec![Duration::ZERO]),
            timeout: task.timeout,
            replay_of: Some(origin),
            ..Self::default()
        }
    }

    /// Whether it is begun by whoever accepts it, in his time, and not by the scheduler.
    pub(crate) fn is_immediate(&self) -> bool {
        self.mode == Some(AttemptMode::Immediate)
    }

    /// Returns a task as [`NewTask::replay_of`] does, for a bulk operation.
    #[must_use]
    pub fn bulk_replay_of(task: &Task, now: Timestamp) -> Self {
        Self { mode: Some(AttemptMode::Bulk), ..Self::replay_of(task, now) }
    }
}

/// Events and tasks for one commit.
#[derive(Clone, Debug, Default)]
pub struct Acceptance {
    /// The events; their ids are new.
    pub events: Vec<NewEvent>,
    /// The tasks; those with an event name one of these or one that is stored.
    pub tasks: Vec<NewTask>,
}

/// What became of a task that was to be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedTask {
    /// The task, or the one that was there already.
    pub head: TaskHead,
    /// Whether this host holds it now.
    pub held: bool,
    /// Whether its unique key was taken: nothing new was accepted.
    pub known: bool,
}

/// The tasks of one handler under one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Trigger number of the handler.
    pub number: u32,
    /// Event name of the handler.
    pub name: String,
    /// Scheduling key.
    pub key: String,
}

/// What a claim of one lane brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The lane.
    pub lane: Lane,
    /// The tasks that this host holds now.
    pub heads: Vec<TaskHead>,
    /// Whether the store has more ready tasks of the lane that nobody holds.
    pub more: bool,
}

/// The part of a task that a scheduler needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskHead {
    /// Its id.
    pub id: TaskId,
    /// Trigger number of its handler.
    pub number: u32,
    /// Event name of its handler.
    pub name: String,
    /// Scheduling key.
    pub key: String,
    /// Remote host and port.
    pub host: Option<String>,
    /// When it is due.
    pub run_at: Timestamp,
    /// How many attempts were made.
    pub attempts: u32,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether the tasks of its key run one at a time in the order of acceptance.
    pub ordered: bool,
}

impl TaskHead {
    /// Returns the lane that it is in.
    #[must_use]
    pub fn lane(&self) -> Lane {
        Lane { number: self.number, name: self.name.clone(), key: self.key.clone() }
    }
}

/// Writes delays as they are stored: a JSON array of milliseconds.
pub(crate) fn write_schedule(delays: &[Duration]) -> String {
    let delays: Vec<String> = delays.iter().map(|delay| delay.as_millis().to_string()).collect();
    format!("[{}]", delays.join(","))
}

/// Reads delays as they are stored.
pub(crate) fn read_schedule(text: &str) -> Result<Vec<Duration>, serde_json::Error> {
    let delays: Vec<u64> = serde_json::from_str(text)?;
    Ok(delays.into_iter().map(Duration::from_millis).collect())
}

/// A deferred task as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Event that it delivers.
    pub event: Option<EventId>,
    /// Webhook that it delivers to.
    pub webhook: Option<WebhookId>,
    /// Trigger number of its handler.
    pub number: u32,
    /// Event name of its handler.
    pub name: String,
    /// Scheduling key.
    pub key: String,
    /// Remote host and port.
    pub host: Option<String>,
    /// Input of the handler, for a task that delivers no event. Gone after success, except in development mode.
    #[serde(with = "wire::optional_bytes")]
    pub payload: Option<Vec<u8>>,
    /// Its state.
    pub state: TaskState,
    /// Why it is waiting or dead, in a sentence.
    pub reason: Option<String>,
    /// How many attempts were made. One that a stop of the host interrupted does not count.
    pub attempts: u32,
    /// How many of them were made before the last retry by hand; the schedule counts from there.
    pub attempts_before: u32,
    /// How many hosts ended while it was running.
    pub crashes: u32,
    /// When it is due, or was.
    pub run_at: Timestamp,
    /// The run that goes on, or was the last.
    pub lease: Lease,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether the tasks of its key run one at a time in the order of acceptance.
    pub ordered: bool,
    /// What keeps another one like it away.
    pub unique_key: Option<String>,
    /// Its own delays before attempt 1, 2, 3, ...
    #[serde(with = "wire::optional_list_of_ms")]
    pub schedule: Option<Vec<Duration>>,
    /// Its own time for one attempt.
    #[serde(with = "wire::optional_ms")]
    pub timeout: Option<Duration>,
    /// Task whose replay it is.
    pub replay_of: Option<TaskId>,
    /// Why its attempts are made; `None` for what follows from `replay_of`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AttemptMode>,
    /// Attempt whose bytes it sends once more, in place of those that its handler makes today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_sent: Option<AttemptId>,
    /// Whether a host has it in its memory or runs it.
    #[serde(skip)]
    pub held: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

impl Task {
    /// Returns one whose record is damaged, as it stands in a list: with nothing but its id and what is wrong.
    pub(crate) fn damaged(id: TaskId, fault: &StoreError) -> Self {
        let reason = match fault {
            StoreError::Corrupt { reason, .. } => reason.clone(),
            other => Chain(other).to_string(),
        };
        Self {
            id,
            event: None,
            webhook: None,
            number: 0,
            name: String::new(),
            key: String::new(),
            host: None,
            payload: None,
            state: TaskState::Dead,
            reason: Some(format!("corrupt: {reason}")),
            attempts: 0,
            attempts_before: 0,
            crashes: 0,
            run_at: Timestamp(0),
            lease: Lease(0),
            priority: Priority::default(),
            ordered: false,
            unique_key: None,
            schedule: None,
            timeout: None,
            replay_of: None,
            mode: None,
            as_sent: None,
            held: false,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    /// Returns why its attempts are made.
    #[must_use]
    pub fn attempt_mode(&self) -> AttemptMode {
        let replay = self.replay_of.map(|_| AttemptMode::Replay);
        // What is tried again after an immediate delivery is tried in the background.
        let own = self.mode.filter(|mode| *mode != AttemptMode::Immediate || self.attempts <= 1);
        own.or(replay).unwrap_or_default()
    }

    /// Returns whether somebody tries something out: a replay or a test. Its failure counts for nothing, and it is made
    /// although its webhook is disabled.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        matches!(self.attempt_mode(), AttemptMode::Replay | AttemptMode::Bulk | AttemptMode::Test)
    }

    /// Returns the part that a scheduler needs.
    #[must_use]
    pub fn head(&self) -> TaskHead {
        TaskHead {
            id: self.id,
            number: self.number,
            name: self.name.clone(),
            key: self.key.clone(),
            host: self.host.clone(),
            run_at: self.run_at,
            attempts: self.attempts - self.attempts_before.min(self.attempts),
            priority: self.priority,
            ordered: self.ordered,
        }
    }
}

/// A task that has just been started.
#[derive(Clone, Debug)]
pub struct Started {
    /// The task, running.
    pub task: Task,
    /// The run that has begun.
    pub lease: Lease,
    /// When it began.
    pub started_at: Timestamp,
    /// The event that it delivers.
    pub event: Option<Event>,
    /// The webhook that it delivers to, as it is now.
    pub webhook: Option<Webhook>,
}

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// Well.
    Done {
        /// Whether its input stays readable. An event's body goes with the last of its tasks that is done without it.
        keep_input: bool,
    },
    /// Failed; it is tried again.
    Retry {
        /// When.
        at: Timestamp,
        /// Why it failed.
        reason: String,
        /// Whether this host keeps it in its memory until then.
        hold: bool,
    },
    /// Failed; it is given up.
    Dead {
        /// Why.
        reason: String,
    },
    /// Interrupted by a stop of the host: ready again, and not an attempt.
    Release,
}

impl Ending {
    pub(crate) fn step(&self) -> Move {
        match self {
            Self::Done { .. } => Move::Finish,
            Self::Retry { .. } => Move::FailAndRetry,
            Self::Dead { .. } => Move::GiveUp,
            Self::Release => Move::Release,
        }
    }
}

/// The end of a run, to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// The task.
    pub task: TaskId,
    /// The run.
    pub lease: Lease,
    /// How it ends.
    pub ending: Ending,
    /// What is written down about the attempt.
    pub attempt: AttemptResult,
}

/// What `Store::recover` found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Tasks that are ready again.
    pub ready: u64,
    /// Tasks that are dead: they were running in too many crashes.
    pub dead: u64,
}

/// Which tasks to return. A task matches when it matches everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskFilter {
    /// In this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<TaskState>,
    /// Of this webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookId>,
    /// Of this event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// With this trigger number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// With this event name of the handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// With this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Accepted at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Accepted before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Of events of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_name: Option<String>,
    /// Of events of this owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
    /// Whose event has never arrived at their webhook, by whichever task; replays do not match themselves.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub undelivered: bool,
    /// Whose reason contains this text, letter by letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// After this id, for paging: in the order in which they are returned.
    #[serde(skip)]
    pub after: Option<TaskId>,
    /// The newest first, in place of the oldest.
    #[serde(skip)]
    pub newest_first: bool,
    /// At most so many; 0 means 100.
    #[serde(skip)]
    pub limit: u32,
}

/// How many tasks are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TaskCounts {
    /// Ready.
    pub ready: u64,
    /// Running.
    pub running: u64,
    /// Waiting.
    pub waiting: u64,
    /// Done.
    pub done: u64,
    /// Dead.
    pub dead: u64,
}
