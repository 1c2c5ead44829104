//! The engine on a PostgreSQL server, which several hosts can share.
//!
//! Everything that speaks to the server lives in one thread with a runtime of its own, so that callers may wait on any
//! thread: one connection [writes](writer), a few [read](readers), and one [keeps this host alive](hosts) and
//! [hears](listen) what the others do.

mod attempt;
mod bulk;
mod care;
mod change;
pub(crate) mod client;
mod hosts;
mod idempotency;
mod listen;
mod policy;
mod read;
mod readers;
mod schedule;
mod schema;
mod session;
mod target;
mod tls;
mod transfer;
mod webhook;
mod write;
mod writer;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};

use super::{
    Acceptance, AcceptedTask, Attempt, Change, Claimed, Event, EventId, Lane, PluginValueStore, Receipt, Recovered,
    RunEnd, Started, Store, StoreError, StoreOpenError, Task, TaskCounts, TaskFilter, TaskId, TaskStore, Timestamp,
    sealed,
};
use crate::store::lock::FolderLock;
use hosts::Renewed;
use listen::{Changes, News};
use readers::Readers;
use session::{Connector, Failure, Session};
use target::Target;
use writer::{Function, Local, Operation, Sync, Writer};

/// Longest wait for the server when the store is closed.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A query on its way to the thread of the store.
type Query = Box<dyn FnOnce(Rc<Readers>) -> Local<'static, ()> + Send>;

/// Who this host is for the others.
struct Identity {
    /// Name of the machine.
    name: String,
    /// Id of the data folder, which is locked by this host.
    folder: String,
}

/// What the parts in the store's thread share.
struct Inside {
    connector: Connector,
    /// Name of the database, for people.
    database: String,
    identity: Identity,
    /// Id of this host.
    host: i64,
    /// Where hosts notify each other.
    channel: String,
    changes: Changes,
}

impl Inside {
    fn purpose(&self, purpose: &str) -> String {
        format!("{} {} {purpose}", self.channel, self.host)
    }
}

/// The store on a PostgreSQL server.
pub(crate) struct PostgresStore {
    host: i64,
    database: String,
    operations: Mutex<Option<UnboundedSender<Operation>>>,
    queries: Mutex<Option<UnboundedSender<Query>>>,
    changes: Changes,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Of the data folder; held as long as the store is open.
    lock: Mutex<Option<FolderLock>>,
}

impl PostgresStore {
    /// Opens the store that a URL names, and makes its tables when they are missing. `folder` is the id of the data folder
    /// that `lock` has locked.
    pub(crate) fn open(url: &str, folder: String, lock: Option<FolderLock>) -> Result<Self, StoreOpenError> {
        let target = Target::parse(url)?;
        let database = target.name();
        let failed = |source| StoreOpenError::Server { database: database.clone(), source };
        let connector = Connector::new(target).map_err(failed)?;
        let identity = Identity { name: machine(), folder };
        let (operations, inbox) = unbounded_channel();
        let (queries, asked) = unbounded_channel();
        let changes = Changes::new();
        let (ready, opened) = crossbeam_channel::bounded(1);
        let telling = changes.clone();
        let thread = std::thread::Builder::new().name("switchboard-store".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error.into()))),
            };
            LocalSet::new().block_on(&runtime, async {
                match enter(connector, identity, telling).await {
                    Ok(inside) => {
                        let _ = ready.send(Ok(inside.host));
                        work(Rc::new(inside), inbox, asked).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        });
        let thread = thread.map_err(|error| failed(error.into()))?;
        let host = match opened.recv() {
            Ok(Ok(host)) => host,
            Ok(Err(OpenFailed::Store(error))) => return Err(error),
            Ok(Err(OpenFailed::Threads(error))) => return Err(failed(error.into())),
            Err(error) => return Err(failed(error.into())),
        };
        Ok(Self {
            host,
            database,
            operations: Mutex::new(Some(operations)),
            queries: Mutex::new(Some(queries)),
            changes,
            thread: Mutex::new(Some(thread)),
            lock: Mutex::new(lock),
        })
    }

    /// Queues an operation for the next commit. When the store is closed, what answers is dropped with it, and the receipt
    /// says so.
    fn submit<V>(&self, operation: impl FnOnce(writer::Answer<V>) -> Operation) -> Receipt<V> {
        let (answer, receiver) = oneshot::channel();
        if let Some(operations) = &*self.operations.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = operations.send(operation(answer));
        }
        Receipt::new(receiver)
    }

    /// Queues an operation with statements of its own.
    fn change<V: Send + 'static>(
        &self,
        kind: Kind,
        run: impl AsyncFn(&Session) -> Result<V, Failure> + Send + 'static,
    ) -> Receipt<V> {
        let Kind { sync, news, holds } = kind;
        self.submit(|answer| {
            Operation::Single(Box::new(Function { sync, news, holds, run, result: RefCell::new(None), answer }))
        })
    }

    /// Asks the server and waits for the answer, on any thread.
    fn read<V: Send + 'static>(
        &self,
        query: impl AsyncFn(&Session) -> Result<V, Failure> + Send + 'static,
    ) -> Result<V, StoreError> {
        let (answer, receiver) = oneshot::channel();
        let database = self.database.clone();
        let query: Query = Box::new(move |readers| {
            Box::pin(async move {
                let result = readers.read(query).await.map_err(|failure| failure.of_read(&database));
                // The caller waits until it has the answer.
                let _ = answer.send(result);
            })
        });
        self.ask(query);
        Receipt::new(receiver).wait()
    }

    /// Hands something to the thread of the store. When the store is closed, it is dropped with what would answer.
    fn ask(&self, query: Query) {
        if let Some(queries) = &*self.queries.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = queries.send(query);
        }
    }
}

/// How an operation with statements of its own is committed.
struct Kind {
    sync: Sync,
    news: Option<News>,
    holds: bool,
}

impl Kind {
    /// A change that matters to this host alone.
    const OWN: Self = Self { sync: Sync::Full, news: None, holds: false };
    /// A change after which others may find something to do.
    const WORK: Self = Self { sync: Sync::Full, news: Some(News::Work), holds: false };
    /// A change of what is done beside the tasks.
    const PLANS: Self = Self { sync: Sync::Full, news: Some(News::Plans), holds: false };
    /// A change of policies.
    const POLICIES: Self = Self { sync: Sync::Full, news: Some(News::Policies), holds: false };
    /// A mark of who holds what.
    const MARK: Self = Self { sync: Sync::Process, news: None, holds: false };
}

enum OpenFailed {
    Store(StoreOpenError),
    Threads(std::io::Error),
}

impl From<std::io::Error> for OpenFailed {
    fn from(error: std::io::Error) -> Self {
        Self::Threads(error)
    }
}

/// Sets up the schema and adds the row of this host.
async fn enter(connector: Connector, identity: Identity, changes: Changes) -> Result<Inside, OpenFailed> {
    let target = connector.target.clone();
    let failed = |failure: Failure| {
        let source = match failure {
            Failure::Broken(source) => source.to_string().into(),
            other => Box::new(other.of_write(&target.name())).into(),
        };
        OpenFailed::Store(StoreOpenError::Server { database: target.name(), source })
    };
    let session = connector.connect("setup", None).await.map_err(failed)?;
    schema::set_up(&session, &target).await.map_err(OpenFailed::Store)?;
    let host = hosts::enter(&session, &identity, target.lease).await.map_err(failed)?;
    let (database, channel) = (target.name(), target.schema.clone());
    Ok(Inside { connector, database, identity, host, channel, changes })
}

/// Serves the callers until the store is closed.
async fn work(inside: Rc<Inside>, inbox: UnboundedReceiver<Operation>, mut asked: UnboundedReceiver<Query>) {
    let renewed = Renewed::now();
    let watching = spawn_local(hosts::watch(Rc::clone(&inside), renewed.clone()));
    let living = spawn_local(hosts::live(Rc::clone(&inside), renewed));
    let readers = Rc::new(Readers::new(Rc::clone(&inside)));
    let reading = spawn_local(async move {
        while let Some(query) = asked.recv().await {
            spawn_local(query(Rc::clone(&readers)));
        }
    });
    Writer::new(Rc::clone(&inside)).work(inbox).await;
    watching.abort();
    living.abort();
    reading.abort();
    // Without the server there is nobody to take leave of: the others find out by themselves.
    let _ = tokio::time::timeout(LEAVE_TIMEOUT, hosts::leave(&inside)).await;
}

/// Returns the name of this machine, for people.
fn machine() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = read.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    named.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

impl sealed::Sealed for PostgresStore {}

impl TaskStore for PostgresStore {
    fn accept(&self, acceptance: Acceptance) -> Receipt<Vec<AcceptedTask>> {
        self.submit(|answer| Operation::Accept(acceptance, answer))
    }

    fn lanes(&self, after: Option<&Lane>, limit: u32) -> Result<Vec<Lane>, StoreError> {
        let after = after.cloned();
        self.read(async move |session: &Session| read::lanes(session, after.as_ref(), limit).await)
    }

    fn claim(&self, lanes: Vec<Lane>, per_lane: u32) -> Receipt<Vec<Claimed>> {
        let host = self.host;
        let kind = Kind { holds: true, ..Kind::MARK };
        self.change(kind, async move |session: &Session| change::claim(session, host, &lanes, per_lane).await)
    }

    fn unhold(&self, tasks: Vec<TaskId>) -> Receipt<()> {
        let host = self.host;
        let kind = Kind { news: Some(News::Work), ..Kind::MARK };
        self.change(kind, async move |session: &Session| change::unhold(session, host, &tasks).await)
    }

    fn unhold_all(&self) -> Receipt<()> {
        let host = self.host;
        let kind = Kind { news: Some(News::Work), ..Kind::MARK };
        self.change(kind, async move |session: &Session| change::unhold_all(session, host).await)
    }

    fn promote(&self, now: Timestamp, limit: u32) -> Receipt<Vec<Lane>> {
        let kind = Kind { news: Some(News::Work), ..Kind::MARK };
        self.change(kind, async move |session: &Session| change::promote(session, now, limit).await)
    }

    fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(async move |session: &Session| read::next_due(session).await)
    }

    fn start(&self, tasks: Vec<TaskId>, now: Timestamp) -> Receipt<Vec<Result<Option<Started>, StoreError>>> {
        self.submit(|answer| Operation::Start(tasks, now, answer))
    }

    fn finish(&self, runs: Vec<RunEnd>) -> Receipt<Vec<bool>> {
        self.submit(|answer| Operation::Finish(runs, answer))
    }

    fn record_attempt(&self, attempt: Attempt) -> Receipt<()> {
        let host = self.host;
        self.change(Kind::OWN, async move |session: &Session| attempt::insert(session, host, &attempt).await)
    }

    fn retry_task(&self, task: TaskId, now: Timestamp) -> Receipt<Option<AcceptedTask>> {
        let host = self.host;
        let kind = Kind { holds: true, ..Kind::WORK };
        self.change(kind, async move |session: &Session| change::retry(session, host, task, now).await)
    }

    fn cancel_task(&self, task: TaskId, now: Timestamp) -> Receipt<bool> {
        self.change(Kind::WORK, async move |session: &Session| change::cancel(session, task, now).await)
    }

    fn quarantine(&self, task: TaskId, reason: String, now: Timestamp) -> Receipt<bool> {
        self.change(Kind::WORK, async move |session: &Session| change::quarantine(session, task, &reason, now).await)
    }

    fn recover(&self, now: Timestamp, crash_limit: u32) -> Result<Recovered, StoreError> {
        let host = self.host;
        self.change(Kind::WORK, async move |session: &Session| hosts::recover(session, host, now, crash_limit).await)
            .wait()
    }

    fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        self.read(async move |session: &Session| read::task_by_id(session, id).await)
    }

    fn tasks(&self, filter: &TaskFilter) -> Result<Vec<Task>, StoreError> {
        let filter = filter.clone();
        self.read(async move |session: &Session| read::tasks(session, &filter).await)
    }

    fn count_tasks(&self, filter: &TaskFilter) -> Result<u64, StoreError> {
        let filter = filter.clone();
        self.read(async move |session: &Session| read::count_tasks(session, &filter).await)
    }

    fn task_counts(&self) -> Result<TaskCounts, StoreError> {
        self.read(async move |session: &Session| read::task_counts(session).await)
    }

    fn attempts(&self, task: TaskId) -> Result<Vec<Attempt>, StoreError> {
        self.read(async move |session: &Session| attempt::of_task(session, task).await)
    }

    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        let id = id.clone();
        self.read(async move |session: &Session| read::event_by_id(session, &id).await)
    }
}

impl PluginValueStore for PostgresStore {
    fn plugin_value(&self, plugin: &str, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.read(async move |session: &Session| read::plugin_value(session, &plugin, &key, now).await)
    }

    fn set_plugin_value(
        &self,
        plugin: String,
        key: String,
        value: Option<Vec<u8>>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Receipt<()> {
        self.change(Kind::OWN, async move |session: &Session| {
            change::set_plugin_value(session, &plugin, &key, value.as_deref(), expires_at, now).await
        })
    }
}

impl Store for PostgresStore {
    fn changes(&self) -> Receiver<Change> {
        self.changes.listen()
    }

    fn close(&self) {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread has been printed, and every receipt it owed says `Closed`.
        let _ = thread.map(JoinHandle::join);
        self.queries.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
