//! The one thread that writes. It takes whatever has come in the meantime and commits it together.
//!
//! After a write or a sync that failed, nobody knows what of the log is on disk: the operating system forgets a failed
//! sync, and a second one that succeeds proves nothing. The thread then writes the whole log [anew](rewrite) and syncs that
//! before it commits anything more, and refuses everything as long as that fails.
//!
//! It also moves the log into the database, where SQLite would do so inside a commit and hide that a sync failed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::log_file::{self, rewrite};
use super::unwritable;
use crate::store::{Receipt, StoreError};

/// Most operations in one commit.
const MAX_GROUP: usize = 1024;

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

/// Tells the caller how its operation ended, after the commit.
type Tell = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Runs an operation on an open transaction, or takes the reason why there is none.
type Run = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Tell + Send>;

struct Job {
    sync: Sync,
    run: Run,
}

pub(super) struct Writer {
    jobs: Mutex<Option<Sender<Job>>>,
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
        let log = log_file::of(path);
        let thread = std::thread::Builder::new()
            .name("switchboard-store".into())
            .spawn(move || Group { connection, log, log_pages, sync: None, suspect: false }.work(&inbox))
            .map_err(|source| WriterError::Thread { source })?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// A writer of a store that is only read: every operation says that the store is closed.
    pub(super) fn none() -> Self {
        Self { jobs: Mutex::default(), thread: Mutex::default() }
    }

    /// Queues an operation for the next commit.
    pub(super) fn submit<V: Send + 'static>(
        &self,
        sync: Sync,
        operation: impl FnOnce(&Connection) -> Result<V, StoreError> + Send + 'static,
    ) -> Receipt<V> {
        let (sender, receiver) = oneshot::channel();
        let run = move |transaction: Result<&Connection, StoreError>| -> Tell {
            let result = transaction.and_then(|connection| in_savepoint(connection, operation));
            // A caller that no longer waits does not need the answer.
            Box::new(move |committed| drop(sender.send(committed.and(result))))
        };
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(jobs) = jobs {
            // When the thread is gone the job is dropped, and with it the sender: the receipt says `Closed`.
            let _ = jobs.send(Job { sync, run: Box::new(run) });
        }
        Receipt::new(receiver)
    }

    /// Commits what is queued and ends the thread.
    pub(super) fn stop(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread has been printed, and every receipt it owed says `Closed`.
        let _ = thread.map(JoinHandle::join);
    }
}

/// Runs one operation so that its failure leaves nothing behind and does not spoil the others of its group.
fn in_savepoint<V>(
    connection: &Connection,
    operation: impl FnOnce(&Connection) -> Result<V, StoreError>,
) -> Result<V, StoreError> {
    let execute =
        |sql| connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map_err(unwritable);
    execute("SAVEPOINT operation")?;
    let result = operation(connection);
    if result.is_err() {
        execute("ROLLBACK TO operation")?;
    }
    execute("RELEASE operation")?;
    result
}

struct Group {
    connection: Connection,
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
        while let Ok(first) = inbox.recv() {
            let mut jobs = vec![first];
            jobs.extend(inbox.try_iter().take(MAX_GROUP - 1));
            self.commit(jobs);
            self.empty_log();
        }
        if self.suspect {
            // What cannot be trusted is not moved; the next start reads as much of the log as is whole.
            let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let sync = jobs.iter().map(|job| job.sync).max().unwrap_or(Sync::Full);
        if self.suspect
            && let Err(error) = self.make_log_certain()
        {
            let error = StoreError::Write { source: Arc::new(error) };
            let tells: Vec<Tell> = jobs.into_iter().map(|job| (job.run)(Err(error.clone()))).collect();
            return tells.into_iter().for_each(|tell| tell(Err(error.clone())));
        }
        let begun = self.set_sync(sync).and_then(|()| self.execute("BEGIN IMMEDIATE"));
        let transaction = begun.map(|()| &self.connection).map_err(unwritable);
        let tells: Vec<Tell> = jobs.into_iter().map(|job| (job.run)(transaction.clone())).collect();
        if let Err(error) = transaction {
            tells.into_iter().for_each(|tell| tell(Err(error.clone())));
            return;
        }
        // An I/O error may have ended the transaction; a commit then says so.
        let committed = self.execute("COMMIT");
        if committed.is_err() && !self.connection.is_autocommit() {
            // Should this fail as well, the next BEGIN does, and its group is told.
            let _ = self.execute("ROLLBACK");
        }
        if committed.as_ref().is_err_and(is_io_failure) {
            self.suspect = true;
            // At once, because the log may hold the commit that is about to be called a failure: the end of this process
            // would bring it back. Should it fail, the next group tries again.
            let _ = self.make_log_certain();
        }
        let committed = committed.map_err(unwritable);
        for tell in tells {
            tell(committed.clone());
        }
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
