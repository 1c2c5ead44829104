//! The durable store: events, deferred tasks, attempts and webhooks.
//!
//! [`Store`] is sealed: its engines are part of this crate, and one conformance suite holds them to the same behaviour.
//! Writing operations give a [`Receipt`], which resolves after the commit, so that many callers share one commit. What a
//! task does, when it is tried again and who runs it is not known here; the store only makes sure that each move of a
//! task's state is allowed and that a late worker cannot overwrite a newer run.

mod record;
mod sqlite;

#[cfg(test)]
mod conformance;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};

use thiserror::Error;
use tokio::sync::oneshot;

pub use record::{
    Acceptance, Attempt, AttemptResult, Ending, Event, EventId, Lease, NewEvent, NewTask, NewWebhook, OwnerId,
    Recovered, Started, Task, TaskCounts, TaskFilter, TaskHead, TaskId, TaskState, Timestamp, Webhook, WebhookId,
};
pub use sqlite::{SqliteStore, holder};

mod sealed {
    pub trait Sealed {}
}

/// Wakes a thread that waits for a receipt.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The answer to a writing operation, once it is committed.
///
/// [`Receipt::wait`] blocks the thread; in asynchronous code, `.await` it.
#[derive(Debug)]
#[must_use = "the operation is committed without it, but nobody learns whether that worked"]
pub struct Receipt<V>(oneshot::Receiver<Result<V, StoreError>>);

impl<V> Receipt<V> {
    pub(crate) fn new(receiver: oneshot::Receiver<Result<V, StoreError>>) -> Self {
        Self(receiver)
    }

    /// Waits for the commit.
    ///
    /// # Errors
    ///
    /// When the operation or its commit failed; then nothing of it is in the store.
    pub fn wait(self) -> Result<V, StoreError> {
        // Not `blocking_recv`, which panics on a thread of a runtime: a run that is dropped unfinished in asynchronous
        // code commits there. Unconstrained, because a task that waits here gives nothing back to its runtime.
        let mut receiver = pin!(tokio::task::unconstrained(self.0));
        let waker = Arc::new(Unpark(thread::current())).into();
        let mut context = Context::from_waker(&waker);
        loop {
            match receiver.as_mut().poll(&mut context) {
                Poll::Ready(answer) => return answer.unwrap_or(Err(StoreError::Closed)),
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl<V: Send + 'static> IntoFuture for Receipt<V> {
    type Output = Result<V, StoreError>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.0.await.unwrap_or(Err(StoreError::Closed)) })
    }
}

/// A durable store.
///
/// The operations that return a [`Receipt`] may be called from any thread, and many at once share one commit.
pub trait Store: Send + Sync + sealed::Sealed {
    /// Takes events and their tasks in one commit that is on disk when the receipt resolves. The heads are in the order
    /// of the tasks.
    fn accept(&self, acceptance: Acceptance) -> Receipt<Vec<TaskHead>>;
    /// Moves a ready or waiting task to running, counts the attempt and writes its row. `None` when the task is not to
    /// be run: it has ended, is running, or is gone. The commit survives the end of this process, and not a power cut,
    /// after which the task is still ready.
    fn start(&self, task: TaskId, now: Timestamp) -> Receipt<Option<Started>>;
    /// Ends a run. False, and nothing is changed, when `lease` is not that of the run that goes on now.
    fn finish(&self, task: TaskId, lease: Lease, ending: Ending, attempt: AttemptResult) -> Receipt<bool>;
    /// Writes down an attempt that belongs to no task.
    fn record_attempt(&self, attempt: Attempt) -> Receipt<()>;
    /// Makes a task that is done, dead or waiting ready by hand. `None` when it is running, ready or gone.
    fn retry_task(&self, task: TaskId, now: Timestamp) -> Receipt<Option<TaskHead>>;
    /// Makes a ready or waiting task dead by hand. False when it is in another state.
    fn cancel_task(&self, task: TaskId, now: Timestamp) -> Receipt<bool>;
    /// Takes up what a host that ended left running: ready again with one crash more, or dead at `crash_limit` crashes.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or written.
    fn recover(&self, now: Timestamp, crash_limit: u32) -> Result<Recovered, StoreError>;
    /// Returns what is ready or waiting, the first due first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn pending(&self) -> Result<Vec<TaskHead>, StoreError>;
    /// Returns one task.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError>;
    /// Returns the tasks that match, by id.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn tasks(&self, filter: &TaskFilter) -> Result<Vec<Task>, StoreError>;
    /// Returns how many tasks are in each state.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn task_counts(&self) -> Result<TaskCounts, StoreError>;
    /// Returns the attempts of a task, the first first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn attempts(&self, task: TaskId) -> Result<Vec<Attempt>, StoreError>;
    /// Returns one event.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError>;
    /// Adds a webhook, enabled.
    fn add_webhook(&self, webhook: NewWebhook, now: Timestamp) -> Receipt<Webhook>;
    /// Enables a webhook, or disables it with a reason. False when there is none.
    fn set_webhook_enabled(
        &self,
        id: WebhookId,
        enabled: bool,
        reason: Option<String>,
        now: Timestamp,
    ) -> Receipt<bool>;
    /// Removes a webhook; its tasks that have not ended become dead in the same commit. False when there is none.
    fn remove_webhook(&self, id: WebhookId, now: Timestamp) -> Receipt<bool>;
    /// Returns one webhook.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError>;
    /// Returns the webhooks of an owner, or all, by id.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn webhooks(&self, owner: Option<OwnerId>) -> Result<Vec<Webhook>, StoreError>;
    /// Returns the enabled webhooks that an event of `owner` concerns: the owner's and the whole site's.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn webhooks_for(&self, owner: OwnerId) -> Result<Vec<Webhook>, StoreError>;
    /// Returns what a plugin keeps under a key, unless it has expired.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn plugin_value(&self, plugin: &str, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError>;
    /// Keeps a value for a plugin until `expires_at`, or for good; `None` removes it. Expired values of the plugin go in
    /// the same commit.
    fn set_plugin_value(
        &self,
        plugin: String,
        key: String,
        value: Option<Vec<u8>>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Receipt<()>;
    /// Writes what is waiting and closes the store. Later operations fail with [`StoreError::Closed`].
    fn close(&self);
}

/// Why an operation of the store failed. Nothing of it is in the store then.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The database could not write. New work is refused until it can.
    #[error("the store cannot be written: check the free space and the rights of the data folder")]
    Write {
        /// What the database said.
        source: std::sync::Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The database could not read.
    #[error("the store cannot be read")]
    Read {
        /// What the database said.
        source: std::sync::Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A row holds something that this version cannot read.
    #[error("the record {record} is damaged: {reason}")]
    Corrupt {
        /// Which record.
        record: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a store cannot be opened. Its file is not touched then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreOpenError {
    /// Another host has the folder.
    #[error("the data folder `{}` is in use by the host with pid {pid}: stop that host or name another folder", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process that has it; 0 when it has not said so yet.
        pid: u32,
    },
    /// The lock cannot be taken.
    #[error("the lock `{}` cannot be taken: check the rights of the data folder", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not ours.
    #[error("`{}` is {found}, no Switchboard store: move it away or name another data folder; it was not changed", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The file was written by a newer version.
    #[error("the store `{}` has schema version {found}, this version knows up to {known}: update Switchboard; it was not changed", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// The file cannot be read or set up.
    #[error("the store `{}` cannot be opened: check its rights and the free space, or restore it from a backup", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
