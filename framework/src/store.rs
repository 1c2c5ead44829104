//! The durable store: events, deferred tasks, attempts and webhooks.
//!
//! [`Store`] is sealed: its engines are part of this crate, and one conformance suite holds them to the same behaviour.
//! It is the sum of smaller traits, one for each kind of record. Writing operations give a [`Receipt`], which resolves
//! after the commit, so that many callers share one commit. What a task does, when it is tried again and who runs it is
//! not known here; the store only makes sure that each move of a task's state is allowed and that a late worker cannot
//! overwrite a newer run. What is on disk when is in `docs/durability.md`.

mod bulk_store;
mod care;
mod error;
mod export_file;
mod new_file;
mod policy_store;
mod receipt;
mod record;
mod schedule_store;
mod sqlite;
mod task_store;
mod webhook_store;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod model;

pub use bulk_store::BulkStore;
pub use care::{Care, Records, Retention};
pub use error::{StoreError, StoreOpenError};
pub use export_file::{TransferError, export, import};
pub use policy_store::PolicyStore;
pub use receipt::Receipt;
pub use record::{
    Acceptance, AcceptedTask, Attempt, AttemptResult, Bulk, BulkAction, BulkId, BulkState, BulkStep, Claimed, Ending,
    Event, EventId, KeyCounts, KeyPolicy, Lane, LastIds, Lease, NewBulk, NewEvent, NewTask, NewWebhook, NotABulkAction,
    NotAPriority, NotAState, NotATimestamp, OwnerId, PluginValue, Priority, Rate, Record, Recovered, Schedule, Started,
    StoredPolicy, Task, TaskCounts, TaskFilter, TaskHead, TaskId, TaskState, TaskTemplate, Timestamp, Unique, Webhook,
    WebhookId,
};
pub use schedule_store::ScheduleStore;
pub use sqlite::{SqliteStore, holder};
pub use task_store::TaskStore;
pub use webhook_store::{PluginValueStore, WebhookStore};

mod sealed {
    pub trait Sealed {}
}

/// A durable store.
///
/// The operations that return a [`Receipt`] may be called from any thread, and many at once share one commit.
pub trait Store: TaskStore + WebhookStore + PluginValueStore + ScheduleStore + BulkStore + PolicyStore + Care {
    /// Writes what is waiting and closes the store. Later operations fail with [`StoreError::Closed`].
    fn close(&self);
}
