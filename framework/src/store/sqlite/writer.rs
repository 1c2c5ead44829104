//! The one thread that writes. It takes whatever has come in the meantime and commits it together.
//!
//! After a write or a sync that failed, nobody knows what of the log is on disk: the operating system forgets a failed
//! sync, and a second one that succeeds proves nothing. The thread then writes the whole log [anew](rewrite) and syncs that
//! before it commits anything more, and refuses everything as long as that fails.
//!
//! It also moves the log into the database, where SQLite would do so inside a commit and hide that a sync failed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::counts::{Changes, Counts};
use super::log_file::{self, rewrite};
use super::unwritable;
use crate::store::{Receipt, StoreError};

/// Most operations in one commit.
const MAX_GROUP: usize = 1024;

/// How long a commit waits, from the answers to the last one, for those who were told and come back at once. Without it they
/// just miss the commit that the others begin, and each of the two groups waits for a sync of the other.
const GATHER: Duration = Duration::from_micros(30);

/// The log is moved into the database when it has this many pages.
const FULL_LOG: u32 = 1000;

/// A build can be weakened on purpose, so that the tests of power cuts can show that they notice. It is no feature, which
/// another crate could turn on, and no setting.
const FULL: &str = if cfg!(switchboard_weakened) { "NORMAL" } else { "FULL" };

/// What a commit has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sync {
    /// The end of the process.
    Process,
    /// A power cut.
    Full,
}

/// An operation and the caller who waits for it.
trait Operation: Send {
    /// Runs it on an open transaction. It may be run again, after a rollback.
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError>;
    /// Tells the caller how it ended, after the commit.
    fn tell(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Job {
    sync: Sync,
    /// Whether it cannot be run again.
    once: bool,
    operation: Box<dyn Operation>,
}

struct Queued<V, O, T> {
    operation: O,
    result: Option<Result<V, StoreError>>,
    answer: oneshot::Sender<Result<V, StoreError>>,
    then: T,
}

impl<V, O, T> Operation for Queued<V, O, T>
where
    V: Send,
    O: FnMut(&Connection) -> Result<V, StoreError> + Send,
    T: FnOnce() + Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let result = self.result.insert((self.operation)(connection));
        result.as_ref().map(drop).map_err(Clone::clone)
    }

    fn tell(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { result, answer, then, .. } = *self;
        then();
        // A caller that no longer waits does not need the answer.
        let _ = answer.send(committed.and(result.unwrap_or(Err(StoreError::Closed))));
    }
}

pub(super) struct Writer {
    jobs: RwLock<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// `path` is the file of the connection, for opening it anew.
    pub(super) fn start(mut connection: Connection, path: &Path) -> Result<Self, WriterError> {
        let (jobs, inbox) = bounded(MAX_GROUP);
        let log_pages = Arc::<AtomicU32>::default();
        let seen = Arc::clone(&log_pages);
        connection
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
                seen.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(|source| WriterError::Hook { source })?;
        let counts = Counts::watch(&connection).map_err(|source| WriterError::Counts { source })?;
        let log = log_file::of(path);
        let thread = std::thread::Builder::new()
            .name("switchboard-store".into())
            .spawn(move || Group { connection, counts, log, log_pages, sync: None, suspect: false }.work(&inbox))
            .map_err(|source| WriterError::Thread { source })?;
        Ok(Self { jobs: RwLock::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// A writer of a store that is only read: every operation says that the store is closed.
    pub(super) fn none() -> Self {
        Self { jobs: RwLock::default(), thread: Mutex::default() }
    }

    /// Queues an operation for the next commit. It is run again when another one of its group fails.
    pub(super) fn submit<V: Send + 'static>(
        &self,
        sync: Sync,
        operation: impl FnMut(&Connection) -> Result<V, StoreError> + Send + 'static,
    ) -> Receipt<V> {
        self.submit_then(sync, operation, || ())
    }

    /// Queues an operation for the next commit, and does something between the commit and the answer, however it ended.
    pub(super) fn submit_then<V: Send + 'static>(
        &self,
        sync: Sync,
        operation: impl FnMut(&Connection) -> Result<V, StoreError> + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Receipt<V> {
        self.queue(sync, false, operation, then)
    }

    /// As [`Writer::submit_then`], for an operation that cannot be run again.
    pub(super) fn submit_once<V: Send + 'static>(
        &self,
        sync: Sync,
        operation: impl FnOnce(&Connection) -> Result<V, StoreError> + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Receipt<V> {
        let mut operation = Some(operation);
        let run =
            move |connection: &Connection| operation.take().map_or(Err(StoreError::Closed), |run| run(connection));
        self.queue(sync, true, run, then)
    }

    fn queue<V: Send + 'static>(
        &self,
        sync: Sync,
        once: bool,
        operation: impl FnMut(&Connection) -> Result<V, StoreError> + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Receipt<V> {
        let (answer, receiver) = oneshot::channel();
        let operation = Box::new(Queued { operation, result: None, answer, then });
        if let Some(jobs) = &*self.jobs.read().unwrap_or_else(PoisonError::into_inner) {
            // When the thread is gone the job is dropped, and with it the sender: the receipt says `Closed`.
            let _ = jobs.send(Job { sync, once, operation });
        }
        Receipt::new(receiver)
    }

    /// Commits what is queued and ends the thread.
    pub(super) fn stop(&self) {
        self.jobs.write().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread has been printed, and every receipt it owed says `Closed`.
        let _ = thread.map(JoinHandle::join);
    }
}

struct Group {
    connection: Connection,
    counts: Counts,
    /// The file of the write-ahead log.
    log: PathBuf,
    /// How many pages were in the log after the last commit.
    log_pages: Arc<AtomicU32>,
    /// What the connection is set to, when that is known.
    sync: Option<Sync>,
    /// A write or a sync failed: what the log has on disk is not known.
    suspect: bool,
}

impl Group {
    fn work(mut self, inbox: &Receiver<Job>) {
        let mut expected = 0;
        let mut told = Instant::now();
        while let Ok(first) = inbox.recv() {
            let mut jobs = vec![first];
            jobs.extend(inbox.try_iter().take(MAX_GROUP - 1));
            while jobs.len() < expected && told.elapsed() < GATHER {
                std::thread::yield_now();
                jobs.extend(inbox.try_iter().take(MAX_GROUP - jobs.len()));
            }
            let group = jobs.len();
            self.commit(jobs);
            self.empty_log();
            (told, expected) = (Instant::now(), (group + inbox.len()).min(MAX_GROUP));
        }
        if self.suspect {
            // What cannot be trusted is not moved; the next start reads as much of the log as is whole.
            let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }

    fn commit(&mut self, mut jobs: Vec<Job>) {
        let committed = self.write(&mut jobs);
        for job in jobs {
            job.operation.tell(committed.clone());
        }
    }

    fn write(&mut self, jobs: &mut [Job]) -> Result<(), StoreError> {
        if self.suspect {
            self.make_log_certain().map_err(|error| StoreError::Write { source: Arc::new(error) })?;
        }
        let sync = jobs.iter().map(|job| job.sync).max().unwrap_or(Sync::Full);
        self.set_sync(sync).map_err(unwritable)?;
        self.execute("BEGIN IMMEDIATE").map_err(unwritable)?;
        let once = jobs.iter().any(|job| job.once);
        if once || !self.run_together(jobs) {
            if !once {
                self.roll_back();
                self.execute("BEGIN IMMEDIATE").map_err(unwritable)?;
            }
            if let Err(error) = self.run_apart(jobs) {
                self.roll_back();
                return Err(error);
            }
        }
        let committed = self.counts.write(&self.connection).and_then(|()| self.execute("COMMIT"));
        if committed.is_err() {
            self.roll_back();
        }
        if committed.as_ref().is_err_and(is_io_failure) {
            self.suspect = true;
            // At once, because the log may hold the commit that is about to be called a failure: the end of this process
            // would bring it back. Should it fail, the next group tries again.
            let _ = self.make_log_certain();
        }
        committed.map_err(unwritable)
    }

    /// Runs the operations in one go. False when one failed after it had changed something, which only a rollback of all
    /// undoes. It is much faster than keeping each apart, for which SQLite copies every page that an operation touches.
    fn run_together(&self, jobs: &mut [Job]) -> bool {
        jobs.iter_mut().all(|job| {
            let changes = self.connection.total_changes();
            job.operation.run(&self.connection).is_ok()
                || (self.connection.total_changes() == changes && !self.connection.is_autocommit())
        })
    }

    /// Runs each operation so that its failure leaves nothing behind and does not spoil the others of its group.
    fn run_apart(&self, jobs: &mut [Job]) -> Result<(), StoreError> {
        for job in jobs {
            self.execute("SAVEPOINT operation").map_err(unwritable)?;
            let counted = self.counts.so_far();
            if let Err(error) = job.operation.run(&self.connection) {
                if self.connection.is_autocommit() {
                    // It was one that ends the transaction: a full disk or a failed read.
                    return Err(error);
                }
                self.execute("ROLLBACK TO operation").map_err(unwritable)?;
                self.counts.return_to(counted);
            }
            self.execute("RELEASE operation").map_err(unwritable)?;
        }
        Ok(())
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            // Should this fail, the next BEGIN does, and its group is told.
            let _ = self.execute("ROLLBACK");
        }
        self.counts.return_to(Changes::default());
    }

    /// Moves the log into the database when it has become long. What cannot be moved now is moved after a later commit.
    fn empty_log(&mut self) {
        if self.log_pages.load(Ordering::Relaxed) < FULL_LOG || self.suspect {
            return;
        }
        let moved = self.connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)");
        let moved = moved.and_then(|mut statement| statement.query_row([], |_| Ok(())));
        // It begins with a sync of the log. Should that fail, what was committed without one is as uncertain as after a
        // commit that failed.
        self.suspect = moved.as_ref().is_err_and(is_io_failure);
    }

    fn make_log_certain(&mut self) -> Result<(), UncertainLog> {
        let frames = self.connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1));
        let frames = frames.map_err(|source| UncertainLog::Count { source })?;
        rewrite(&self.log, u64::try_from(frames).unwrap_or(0)).map_err(|source| UncertainLog::Rewrite { source })?;
        self.suspect = false;
        Ok(())
    }

    fn set_sync(&mut self, sync: Sync) -> rusqlite::Result<()> {
        if self.sync != Some(sync) {
            let mode = if sync == Sync::Full { FULL } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", mode)?;
            self.sync = Some(sync);
        }
        Ok(())
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }
}

fn is_io_failure(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

/// Why there is no writer.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriterError {
    #[error("the database does not tell of its commits")]
    Hook { source: rusqlite::Error },
    #[error("the database does not tell of its changes")]
    Counts { source: rusqlite::Error },
    #[error("no thread can be started")]
    Thread { source: std::io::Error },
}

/// Why writing cannot go on after a failure.
#[derive(Debug, thiserror::Error)]
enum UncertainLog {
    #[error("a write failed, and the database does not say how long its log is")]
    Count { source: rusqlite::Error },
    #[error("a write failed, and the log of the database cannot be written anew yet")]
    Rewrite { source: log_file::RewriteError },
}
