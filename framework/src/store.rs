//! The durable store: events, deferred tasks, attempts and webhooks.
//!
//! [`Store`] is sealed: its engines are part of this crate, and one conformance suite holds them to the same behaviour.
//! It is the sum of smaller traits, one for each kind of record. Writing operations give a [`Receipt`], which resolves
//! after the commit, so that many callers share one commit. What a task does, when it is tried again and who runs it is
//! not known here; the store only makes sure that each move of a task's state is allowed and that a late worker cannot
//! overwrite a newer run. What is on disk when is in `docs/durability.md`.

mod error;
mod receipt;
mod record;
mod sqlite;
mod task_store;
mod webhook_store;

#[cfg(test)]
mod conformance;

pub use error::{StoreError, StoreOpenError};
pub use receipt::Receipt;
pub use record::{
    Acceptance, AcceptedTask, Attempt, AttemptResult, Claimed, Ending, Event, EventId, Lane, Lease, NewEvent, NewTask,
    NewWebhook, NotAPriority, NotAState, OwnerId, Priority, Recovered, Started, Task, TaskCounts, TaskFilter, TaskHead,
    TaskId, TaskState, Timestamp, Unique, Webhook, WebhookId,
};
pub use sqlite::{SqliteStore, holder};
pub use task_store::TaskStore;
pub use webhook_store::{PluginValueStore, WebhookStore};

mod sealed {
    pub trait Sealed {}
}

/// A durable store.
///
/// The operations that return a [`Receipt`] may be called from any thread, and many at once share one commit.
pub trait Store: TaskStore + WebhookStore + PluginValueStore {
    /// Writes what is waiting and closes the store. Later operations fail with [`StoreError::Closed`].
    fn close(&self);
}
