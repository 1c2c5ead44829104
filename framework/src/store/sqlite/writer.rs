//! The one thread that writes. It takes whatever has come in the meantime and commits it together.
//!
//! After a commit that failed while it was written or synced, nobody knows what of the log is on disk: the operating system
//! forgets a failed sync, and a second one that succeeds proves nothing. The thread then refuses everything until it has
//! opened the file anew and moved the whole log into it, with syncs that succeed, so that a new log begins.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::{schema, unwritable};
use crate::store::{Receipt, StoreError};

/// Most operations in one commit.
const MAX_GROUP: usize = 1024;

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
    pub(super) fn start(connection: Connection, path: PathBuf) -> std::io::Result<Self> {
        let (jobs, inbox) = bounded(MAX_GROUP);
        let thread = std::thread::Builder::new()
            .name("switchboard-store".into())
            .spawn(move || Group { connection, path, sync: Sync::Full, suspect: false }.work(&inbox))?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
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
    path: PathBuf,
    /// What the connection is set to.
    sync: Sync,
    /// A write or a sync failed: what the log has on disk is not known.
    suspect: bool,
}

impl Group {
    fn work(mut self, inbox: &Receiver<Job>) {
        while let Ok(first) = inbox.recv() {
            let mut jobs = vec![first];
            jobs.extend(inbox.try_iter().take(MAX_GROUP - 1));
            self.commit(jobs);
        }
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let sync = jobs.iter().map(|job| job.sync).max().unwrap_or(Sync::Full);
        if self.suspect
            && let Err(error) = self.begin_new_log()
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
        self.suspect = committed.as_ref().is_err_and(|error| {
            matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt))
        });
        let committed = committed.map_err(unwritable);
        if committed.is_err() && !self.connection.is_autocommit() {
            // Should this fail as well, the next BEGIN does, and its group is told.
            let _ = self.execute("ROLLBACK");
        }
        for tell in tells {
            tell(committed.clone());
        }
    }

    /// Opens the file anew and moves the whole log into it.
    fn begin_new_log(&mut self) -> Result<(), NewLogError> {
        let connection = schema::reopen(&self.path).map_err(|source| NewLogError::Open { source })?;
        let busy: bool = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|source| NewLogError::Checkpoint { source })?;
        if busy {
            return Err(NewLogError::Busy);
        }
        self.connection = connection;
        self.sync = Sync::Full;
        self.suspect = false;
        Ok(())
    }

    fn set_sync(&mut self, sync: Sync) -> rusqlite::Result<()> {
        if self.sync != sync {
            let mode = if sync == Sync::Full { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", mode)?;
            self.sync = sync;
        }
        Ok(())
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }
}

/// Why writing cannot go on after a failed sync.
#[derive(Debug, thiserror::Error)]
enum NewLogError {
    #[error("a write failed, and the database cannot be opened anew")]
    Open { source: rusqlite::Error },
    #[error("a write failed, and the log cannot be moved into the database")]
    Checkpoint { source: rusqlite::Error },
    #[error("a write failed, and the log cannot be moved into the database while another program reads it")]
    Busy,
}
