//! Idempotency keys: what keeps an event from being announced twice.

use serde::{Deserialize, Serialize};

use super::wire;
use super::{AcceptedTask, EventId, OwnerId, Timestamp};

/// A key and the event that was announced under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// Owner of the event. A key of one owner says nothing about the events of another.
    pub owner: OwnerId,
    /// The key.
    pub key: String,
    /// The event.
    pub event: EventId,
    /// What tells the content of the event from another one.
    #[serde(with = "wire::bytes")]
    pub fingerprint: Vec<u8>,
    /// When the key may be used for another event.
    pub expires_at: Timestamp,
}

/// What became of an acceptance with idempotency keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keyed {
    /// It was accepted, with its keys. The answers are in the order of the tasks.
    Accepted(Vec<AcceptedTask>),
    /// Nothing was accepted: these of its keys belong to earlier events.
    Known(Vec<IdempotencyKey>),
}
