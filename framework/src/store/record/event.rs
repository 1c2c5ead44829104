//! Events.

use serde::{Deserialize, Serialize};

use super::wire;
use super::{EventId, OwnerId, TaskId, Timestamp};

/// An event that is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Channel that the change came from, when it came from one, so that it is not sent back there.
    #[serde(default)]
    pub channel: Option<String>,
    /// How many such causes lie before it.
    pub depth: u32,
    /// The exact bytes that are sent.
    #[serde(with = "wire::bytes")]
    pub body: Vec<u8>,
    /// When it was announced.
    pub at: Timestamp,
}

/// An event as it is stored.
pub type Event = NewEvent;
