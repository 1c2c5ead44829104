//! What is stored.

use std::collections::BTreeMap;
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
    /// Id of a webhook. Never used twice.
    WebhookId
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
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

/// An event that is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// Its name, such as `booking_added`.
    pub name: String,
    /// Owner of the subject that it is about.
    pub owner: OwnerId,
    /// Task of the host application that caused it, when it has a name.
    pub task: Option<String>,
    /// Deferred task whose handler announced it, when one did.
    pub cause: Option<TaskId>,
    /// How many such causes lie before it.
    pub depth: u32,
    /// The exact bytes that are sent.
    pub body: Vec<u8>,
    /// When it was announced.
    pub at: Timestamp,
}

/// An event as it is stored.
pub type Event = NewEvent;

/// A deferred task that is to be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// When it is due.
    pub run_at: Timestamp,
}

/// Events and tasks for one commit.
#[derive(Clone, Debug, Default)]
pub struct Acceptance {
    /// The events; their ids are new.
    pub events: Vec<NewEvent>,
    /// The tasks; those with an event name one of these or one that is stored.
    pub tasks: Vec<NewTask>,
}

/// State of a deferred task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TaskState {
    /// To be run as soon as its turn comes.
    Ready,
    /// Being run.
    Running,
    /// Failed, to be tried again at its time.
    Waiting,
    /// Ended well.
    Done,
    /// Given up; it can be retried by hand.
    Dead,
}

/// What can happen to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Start,
    Finish,
    FailAndRetry,
    GiveUp,
    Release,
    RetryByHand,
    Cancel,
}

impl TaskState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Ready, Self::Running, Self::Waiting, Self::Done, Self::Dead];

    /// Returns the state after a move, or `None` when the move is not allowed. Every engine makes its moves by this.
    pub(crate) fn after(self, step: Move) -> Option<Self> {
        use TaskState::{Dead, Done, Ready, Running, Waiting};
        match (self, step) {
            (Ready | Waiting, Move::Start) => Some(Running),
            (Running, Move::Finish) => Some(Done),
            (Running, Move::FailAndRetry) => Some(Waiting),
            (Running, Move::GiveUp) | (Ready | Waiting, Move::Cancel) => Some(Dead),
            (Running, Move::Release) | (Waiting | Done | Dead, Move::RetryByHand) => Some(Ready),
            _ => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no state of a task")]
pub struct NotAState;

impl FromStr for TaskState {
    type Err = NotAState;

    fn from_str(text: &str) -> Result<Self, NotAState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(NotAState)
    }
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
}

/// A deferred task as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Input of the handler, for a task that delivers no event.
    pub payload: Option<Vec<u8>>,
    /// Its state.
    pub state: TaskState,
    /// Why it is waiting or dead, in a sentence.
    pub reason: Option<String>,
    /// How many attempts were made. One that a stop of the host interrupted does not count.
    pub attempts: u32,
    /// How many hosts ended while it was running.
    pub crashes: u32,
    /// When it is due, or was.
    pub run_at: Timestamp,
    /// The run that goes on, or was the last.
    pub lease: Lease,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
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
    Done,
    /// Failed; it is tried again.
    Retry {
        /// When.
        at: Timestamp,
        /// Why it failed.
        reason: String,
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
            Self::Done => Move::Finish,
            Self::Retry { .. } => Move::FailAndRetry,
            Self::Dead { .. } => Move::GiveUp,
            Self::Release => Move::Release,
        }
    }
}

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// What [`Store::recover`](super::Store::recover) found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Tasks that are ready again.
    pub ready: u64,
    /// Tasks that are dead: they were running in too many crashes.
    pub dead: u64,
}

/// Which tasks to return.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// In this state.
    pub state: Option<TaskState>,
    /// Of this webhook.
    pub webhook: Option<WebhookId>,
    /// Of this event.
    pub event: Option<EventId>,
    /// After this id, for paging.
    pub after: Option<TaskId>,
    /// At most so many; 0 means 100.
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

/// A webhook that is to be added.
#[derive(Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Owner whose events it gets; 0 gets everybody's.
    pub owner: OwnerId,
    /// URL of the receiver.
    pub url: String,
    /// Auth method.
    pub method: String,
    /// Settings of the auth method. They may be secrets.
    pub settings: BTreeMap<String, String>,
    /// Names of the events that it gets; all when empty.
    pub events: Vec<String>,
}

/// A webhook as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Owner whose events it gets; 0 gets everybody's.
    pub owner: OwnerId,
    /// URL of the receiver.
    pub url: String,
    /// Auth method.
    pub method: String,
    /// Settings of the auth method. They may be secrets.
    pub settings: BTreeMap<String, String>,
    /// Names of the events that it gets; all when empty.
    pub events: Vec<String>,
    /// Whether it gets events.
    pub enabled: bool,
    /// Why it is disabled, when the host did it.
    pub disabled_reason: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl fmt::Debug for Webhook {
    /// Without the settings, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("id", &self.id)
            .field("owner", &self.owner)
            .field("url", &self.url)
            .field("method", &self.method)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NewWebhook {
    /// Without the settings, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWebhook")
            .field("owner", &self.owner)
            .field("url", &self.url)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}
