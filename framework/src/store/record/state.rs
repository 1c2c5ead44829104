//! The state machine of a task.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// State of a deferred task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TaskState {
    /// To be run as soon as its turn comes.
    Ready,
    /// Being run.
    Running,
    /// Not due yet: accepted for later, or failed and to be tried again at its time.
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
    /// Its time has come.
    Due,
    /// Its record cannot be read.
    Quarantine,
}

impl Move {
    /// All moves.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 9] = [
        Self::Start,
        Self::Finish,
        Self::FailAndRetry,
        Self::GiveUp,
        Self::Release,
        Self::RetryByHand,
        Self::Cancel,
        Self::Due,
        Self::Quarantine,
    ];
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
            (Running, Move::GiveUp)
            | (Ready | Waiting, Move::Cancel)
            | (Ready | Waiting | Running, Move::Quarantine) => Some(Dead),
            (Running, Move::Release) | (Waiting, Move::Due) | (Waiting | Done | Dead, Move::RetryByHand) => Some(Ready),
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
