//! The embedded engine: one SQLite file in WAL mode.
//!
//! One thread writes, and commits for all that wait at once; an accepted task is synced to disk before its caller hears of
//! it. Readers have connections of their own and see a consistent state at any time, also from other processes. What has to be
//! looked for among many rows, they look for, and the writer checks what they found: everybody who writes waits for it.

mod attempt;
mod bulk;
mod care;
mod counts;
#[cfg(test)]
mod earlier;
mod idempotency;
mod known_webhooks;
mod log_file;
mod policy;
mod prune;
mod read;
mod schedule;
mod schema;
mod transfer;
mod webhook;
mod write;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;
use rusqlite::Connection;

use super::{
    Acceptance, AcceptedTask, Attempt, AttemptFilter, AttemptId, AttemptStore, Bulk, BulkId, BulkState, BulkStep,
    BulkStore, Care, Change, Claimed, Event, EventId, Lane, NewBulk, PluginValueStore, Receipt, Record, Records,
    Recovered, Retention, RunEnd, Schedule, ScheduleStore, Started, Store, StoreError, StoreOpenError, Task,
    TaskCounts, TaskFilter, TaskId, TaskStore, Timestamp, sealed,
};
use crate::store::lock::FolderLock;
use known_webhooks::KnownWebhooks;
use writer::{Sync, Writer};

/// Most idle connections for reading that are kept.
const IDLE_READERS: usize = 8;

/// The embedded store.
pub struct SqliteStore {
    writer: Writer,
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    webhooks: Arc<KnownWebhooks>,
    /// Held as long as the store is open.
    lock: Mutex<Option<FolderLock>>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the store in `path`, which is made when it is missing, and takes its folder's lock.
    ///
    /// # Errors
    ///
    /// When another host has the folder, or the file is not a store that this version can use. It is not changed then.
    pub fn open(path: &Path) -> Result<Self, StoreOpenError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let lock = FolderLock::take(folder)?;
        let connection = schema::open(path)?;
        let writer = Writer::start(connection, path)
            .map_err(|source| StoreOpenError::Database { path: path.to_owned(), source: Box::new(source) })?;
        Ok(Self {
            writer,
            path: path.to_owned(),
            readers: Mutex::default(),
            webhooks: Arc::default(),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Opens the store in `path` for reading only, beside a host or without one: to check, copy or export it. A store of an
    /// earlier version is not brought forward. Changes fail with [`StoreError::Closed`].
    ///
    /// # Errors
    ///
    /// When there is none, or the file is not a store that this version can use. It is not changed then.
    pub fn open_to_read(path: &Path) -> Result<Self, StoreOpenError> {
        let reader = schema::open_to_read(path)?;
        let readers = Mutex::new(vec![reader]);
        let (webhooks, lock) = (Arc::default(), Mutex::default());
        Ok(Self { writer: Writer::none(), path: path.to_owned(), readers, webhooks, lock })
    }

    /// Queues a change of the webhooks, after which those that are known are read again.
    fn change_webhooks<V: Send + 'static>(
        &self,
        operation: impl FnMut(&Connection) -> Result<V, StoreError> + Send + 'static,
    ) -> Receipt<V> {
        let webhooks = Arc::clone(&self.webhooks);
        self.writer.submit_then(Sync::Full, operation, move || webhooks.forget())
    }

    fn read<V>(&self, query: impl FnOnce(&Connection) -> Result<V, StoreError>) -> Result<V, StoreError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::connect_to_read(&self.path).map_err(unreadable)?,
        };
        let result = query(&connection);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
        result
    }
}

/// An error of a query.
pub(super) fn unreadable(error: rusqlite::Error) -> StoreError {
    StoreError::Read { source: Arc::new(error) }
}

/// An error of a change.
pub(super) fn unwritable(error: rusqlite::Error) -> StoreError {
    StoreError::Write { source: Arc::new(error) }
}

impl sealed::Sealed for SqliteStore {}

impl TaskStore for SqliteStore {
    fn accept(&self, acceptance: Acceptance) -> Receipt<Vec<AcceptedTask>> {
        self.writer.submit(Sync::Full, move |connection| write::accept(connection, &acceptance))
    }

    fn lanes(&self, after: Option<&Lane>, limit: u32) -> Result<Vec<Lane>, StoreError> {
        self.read(|connection| read::lanes(connection, after, limit))
    }

    fn claim(&self, lanes: Vec<Lane>, per_lane: u32) -> Receipt<Vec<Claimed>> {
        self.writer.submit(Sync::Process, move |connection| write::claim(connection, &lanes, per_lane))
    }

    fn unhold(&self, tasks: Vec<TaskId>) -> Receipt<()> {
        self.writer.submit(Sync::Process, move |connection| write::unhold(connection, &tasks))
    }

    fn unhold_all(&self) -> Receipt<()> {
        self.writer.submit(Sync::Process, write::unhold_all)
    }

    fn promote(&self, now: Timestamp, limit: u32) -> Receipt<Vec<Lane>> {
        self.writer.submit(Sync::Process, move |connection| write::promote(connection, now, limit))
    }

    fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(read::next_due)
    }

    fn start(&self, tasks: Vec<TaskId>, now: Timestamp) -> Receipt<Vec<Result<Option<Started>, StoreError>>> {
        // A power cut may undo it, and then the tasks are ready as before; the end of the process does not.
        self.writer.submit(Sync::Process, move |connection| write::start(connection, &tasks, now))
    }

    fn finish(&self, runs: Vec<RunEnd>) -> Receipt<Vec<bool>> {
        self.writer.submit(Sync::Full, move |connection| write::finish(connection, &runs))
    }

    fn record_attempt(&self, attempt: Attempt) -> Receipt<()> {
        self.writer.submit(Sync::Full, move |connection| attempt::insert(connection, &attempt))
    }

    fn retry_task(&self, task: TaskId, now: Timestamp) -> Receipt<Option<AcceptedTask>> {
        self.writer.submit(Sync::Full, move |connection| write::retry(connection, task, now))
    }

    fn cancel_task(&self, task: TaskId, now: Timestamp) -> Receipt<bool> {
        self.writer.submit(Sync::Full, move |connection| write::cancel(connection, task, now))
    }

    fn quarantine(&self, task: TaskId, reason: String, now: Timestamp) -> Receipt<bool> {
        self.writer.submit(Sync::Full, move |connection| write::quarantine(connection, task, &reason, Some(now)))
    }

    fn recover(&self, now: Timestamp, crash_limit: u32) -> Result<Recovered, StoreError> {
        self.writer.submit(Sync::Full, move |connection| write::recover(connection, now, crash_limit)).wait()
    }

    fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        self.read(|connection| read::task(connection, id))
    }

    fn tasks(&self, filter: &TaskFilter) -> Result<Vec<Task>, StoreError> {
        self.read(|connection| read::tasks(connection, filter))
    }

    fn count_tasks(&self, filter: &TaskFilter) -> Result<u64, StoreError> {
        self.read(|connection| read::count_tasks(connection, filter))
    }

    fn task_counts(&self) -> Result<TaskCounts, StoreError> {
        self.read(counts::task_counts)
    }

    fn attempts(&self, task: TaskId) -> Result<Vec<Attempt>, StoreError> {
        self.read(|connection| attempt::of_task(connection, task))
    }

    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        self.read(|connection| read::event(connection, id))
    }
}

impl AttemptStore for SqliteStore {
    fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
        self.read(|connection| attempt::by_id(connection, id))
    }

    fn find_attempts(&self, filter: &AttemptFilter) -> Result<Vec<Attempt>, StoreError> {
        self.read(|connection| attempt::find(connection, filter))
    }
}

impl PluginValueStore for SqliteStore {
    fn plugin_value(&self, plugin: &str, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| read::plugin_value(connection, plugin, key, now))
    }

    fn set_plugin_value(
        &self,
        plugin: String,
        key: String,
        value: Option<Vec<u8>>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Receipt<()> {
        self.writer.submit(Sync::Full, move |connection| {
            write::set_plugin_value(connection, &plugin, &key, value.as_deref(), expires_at, now)
        })
    }
}

impl ScheduleStore for SqliteStore {
    fn put_schedule(&self, schedule: Schedule) -> Receipt<()> {
        self.writer.submit(Sync::Full, move |connection| schedule::put(connection, &schedule))
    }

    fn remove_schedule(&self, name: String) -> Receipt<bool> {
        self.writer.submit(Sync::Full, move |connection| schedule::remove(connection, &name))
    }

    fn pause_schedule(&self, name: String, paused: bool, next_at: Timestamp, now: Timestamp) -> Receipt<bool> {
        self.writer.submit(Sync::Full, move |connection| schedule::pause(connection, &name, paused, next_at, now))
    }

    fn fire_schedule(
        &self,
        name: String,
        slot: Timestamp,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Receipt<Option<AcceptedTask>> {
        self.writer.submit(Sync::Full, move |connection| schedule::fire(connection, &name, slot, next_at, now))
    }

    fn schedules(&self) -> Result<Vec<Schedule>, StoreError> {
        self.read(schedule::all)
    }
}

impl BulkStore for SqliteStore {
    fn add_bulk(&self, bulk: NewBulk, now: Timestamp) -> Receipt<Result<Bulk, u64>> {
        match self.read(|connection| bulk::found(connection, &bulk.filter)) {
            Ok(found) => {
                self.writer.submit(Sync::Full, move |connection| bulk::add(connection, bulk.clone(), found, now))
            }
            Err(error) => Receipt::failed(error),
        }
    }

    fn bulk_step(&self, id: BulkId, limit: u32, now: Timestamp) -> Receipt<Option<BulkStep>> {
        match self.read(|connection| bulk::next(connection, id, limit)) {
            Ok(next) => self.writer.submit(Sync::Full, move |connection| bulk::step(connection, id, &next, now)),
            Err(error) => Receipt::failed(error),
        }
    }

    fn set_bulk_state(&self, id: BulkId, state: BulkState, now: Timestamp) -> Receipt<bool> {
        self.writer.submit(Sync::Full, move |connection| bulk::set_state(connection, id, state, now))
    }

    fn bulks(&self) -> Result<Vec<Bulk>, StoreError> {
        self.read(bulk::all)
    }

    fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError> {
        self.read(|connection| bulk::one(connection, id))
    }
}

impl Care for SqliteStore {
    fn prune(&self, retention: Retention, limit: u32) -> Receipt<u32> {
        match self.read(|connection| prune::look(connection, &retention, limit)) {
            Ok(old) => {
                self.writer.submit(Sync::Full, move |connection| prune::remove(connection, &old, &retention, limit))
            }
            Err(error) => Receipt::failed(error),
        }
    }

    fn check(&self) -> Result<Vec<String>, StoreError> {
        self.read(care::check)
    }

    fn backup(&self, file: &Path) -> Result<(), StoreError> {
        self.read(|connection| care::backup(connection, file))
    }

    fn export(&self, take: &mut dyn FnMut(Record) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.read(|connection| transfer::export(connection, take))
    }

    fn import(&self, records: Records) -> Receipt<u64> {
        let webhooks = Arc::clone(&self.webhooks);
        let import = move |connection: &Connection| transfer::import(connection, records);
        self.writer.submit_once(Sync::Full, import, move || webhooks.forget())
    }
}

impl Store for SqliteStore {
    fn changes(&self) -> Receiver<Change> {
        // Nobody else writes to the file.
        crossbeam_channel::never()
    }

    fn close(&self) {
        // The writer last: whoever closes the file last moves the log into it.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.writer.stop();
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
