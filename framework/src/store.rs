//! The durable store: events, deferred tasks, attempts and webhooks.
//!
//! [`Store`] is sealed: its engines are part of this crate, and one conformance suite holds them to the same behaviour.
//! It is the sum of smaller traits, one for each kind of record. Writing operations give a [`Receipt`], which resolves
//! after the commit, so that many callers share one commit. What a task does, when it is tried again and who runs it is
//! not known here; the store only makes sure that each move of a task's state is allowed and that a late worker cannot
//! overwrite a newer run. What is on disk when is in `docs/durability.md`.

mod attempt_store;
mod bulk_store;
mod care;
mod contradictions;
mod error;
mod export_file;
mod idempotency_store;
mod lock;
mod new_file;
mod policy_store;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
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

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Receiver;

pub use attempt_store::AttemptStore;
pub use bulk_store::BulkStore;
pub use care::{Care, Records, Retention};
pub use error::{StoreError, StoreOpenError};
pub use export_file::{TransferError, export, import};
pub use idempotency_store::IdempotencyStore;
pub use lock::holder;
pub use policy_store::PolicyStore;
pub use receipt::Receipt;
pub use record::{
    Acceptance, AcceptedTask, Attempt, AttemptFilter, AttemptId, AttemptMode, AttemptResult, Bulk, BulkAction, BulkId,
    BulkState, BulkStep, Claimed, Ending, Envelope, Event, EventId, ExchangeTimings, Failing, HttpExchange,
    IdempotencyKey, KeyCounts, KeyPolicy, Keyed, Lane, LastIds, Lease, NewBulk, NewEvent, NewTask, NewWebhook,
    NotABulkAction, NotAMode, NotAPriority, NotAState, NotATimestamp, Order, OwnerId, PluginValue, Priority, Rate,
    Record, Recovered, Resealed, RunEnd, Schedule, Sealed, SentBody, Started, StoredPolicy, Task, TaskCounts,
    TaskFilter, TaskHead, TaskId, TaskState, TaskTemplate, Timestamp, Unique, Webhook, WebhookId, WebhookOptions,
};
pub(crate) use record::{Became, WEBHOOK_KEY, webhook_key};
pub use schedule_store::ScheduleStore;
pub use sqlite::SqliteStore;
pub use task_store::TaskStore;
pub use webhook_store::{PluginValueStore, SealingStore, WebhookStore};

use crate::config::StoreConfig;

/// Opens the store that the configuration names: the file in the data folder, unless there is a URL. It holds the lock of
/// the folder, which is one host's own in either case.
///
/// # Errors
///
/// When another host has the folder, or it is not a store that this version can use. It is not changed then.
pub fn open(config: &StoreConfig, data: &Path) -> Result<Arc<dyn Store>, StoreOpenError> {
    match &config.url {
        None => Ok(Arc::new(SqliteStore::open(&data.join("switchboard.db"))?)),
        Some(url) => open_url(url, data),
    }
}

/// Opens the store that the configuration names beside a host or without one, to look at it and to copy it.
///
/// # Errors
///
/// When there is none, or it is not a store that this version can read. It is not changed then.
pub fn open_to_read(config: &StoreConfig, data: &Path) -> Result<Arc<dyn Store>, StoreOpenError> {
    match &config.url {
        None => Ok(Arc::new(SqliteStore::open_to_read(&data.join("switchboard.db"))?)),
        Some(url) => on_server(url, ulid::Ulid::generate().to_string(), None),
    }
}

fn open_url(url: &str, data: &Path) -> Result<Arc<dyn Store>, StoreOpenError> {
    let lock = lock::FolderLock::take(data)?;
    on_server(url, lock::folder_id(data)?, Some(lock))
}

#[cfg(feature = "postgres")]
fn on_server(url: &str, folder: String, lock: Option<lock::FolderLock>) -> Result<Arc<dyn Store>, StoreOpenError> {
    Ok(Arc::new(postgres::PostgresStore::open(url, folder, lock)?))
}

#[cfg(not(feature = "postgres"))]
fn on_server(_url: &str, _folder: String, _lock: Option<lock::FolderLock>) -> Result<Arc<dyn Store>, StoreOpenError> {
    let reason = "this program was built without PostgreSQL: build it with the feature `postgres`".to_owned();
    Err(StoreOpenError::Url { reason })
}

mod sealed {
    pub trait Sealed {}
}

/// A task that was running in this many crashes becomes a dead letter.
pub(crate) const CRASH_LIMIT: u32 = 3;

/// What happened in a store without this host's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// There may be tasks that nobody holds.
    Work,
    /// Schedules or bulk operations were added or changed.
    Plans,
    /// Policies of keys were changed.
    Policies,
    /// The connection broke during a commit: this host may be marked as the holder of tasks of which it was not told. It
    /// forgets what it holds, and gives it up with [`TaskStore::unhold_all`].
    Unsure,
    /// The other hosts take this one for dead, or will soon: what it runs is run again elsewhere. It stops what it runs,
    /// forgets what it holds, and gives it up with [`TaskStore::unhold_all`].
    Lost,
}

/// A durable store.
///
/// The operations that return a [`Receipt`] may be called from any thread, and many at once share one commit.
pub trait Store:
    TaskStore
    + AttemptStore
    + IdempotencyStore
    + WebhookStore
    + PluginValueStore
    + SealingStore
    + ScheduleStore
    + BulkStore
    + PolicyStore
    + Care
{
    /// Returns the channel that says what others did to the store. It is for one who listens.
    fn changes(&self) -> Receiver<Change>;
    /// Writes what is waiting, gives back what this host holds, and closes the store. Later operations fail with
    /// [`StoreError::Closed`].
    fn close(&self);
}
