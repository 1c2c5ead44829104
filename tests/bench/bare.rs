//! The plainest durable queue: one thread that writes the rows of the store's own tables with the same sync, all that has
//! come in the meantime in one commit, and does nothing else.
#![allow(dead_code, clippy::allow_attributes, reason = "each bench uses a part of it")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

/// Most insertions in one commit, as many as in the store's.
const MAX_GROUP: usize = 1024;

/// Tells a producer that its insert is on disk.
type Done = SyncSender<()>;

/// The thread and the way to it.
pub(crate) struct Bare {
    jobs: SyncSender<Done>,
    ended: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

impl Bare {
    /// Starts the thread on a store in which a host has accepted exactly one task, with its event if `with_event`, so that
    /// tables, indexes and rows are the store's.
    pub(crate) fn accepting(folder: &Path, with_event: bool) -> Self {
        let connection = open(folder);
        let mut rows = Rows::sample(&connection, with_event);
        Self::start(move |inbox, _| {
            while let Some(group) = next_group(inbox, true) {
                begin(&connection);
                for _ in &group {
                    rows.insert(&connection);
                }
                commit(&connection);
                group.iter().for_each(|done| done.send(()).unwrap());
            }
            count(&connection)
        })
    }

    /// As [`Bare::accepting`] without events, and works on the tasks as well.
    pub(crate) fn working(folder: &Path) -> Self {
        let connection = open(folder);
        let mut rows = Rows::sample(&connection, false);
        Self::cycling(move |claimed, accepted, new| {
            begin(&connection);
            claimed.iter().for_each(|id| finish(&connection, *id));
            accepted.iter().for_each(|id| claim(&connection, *id));
            let new = (0..new).map(|_| rows.insert(&connection)).collect();
            commit(&connection);
            new
        })
    }

    /// Starts a thread that commits again and again: each commit ends what the last one claimed, claims what the last one
    /// accepted, and accepts as many as are asked for, whose ids it returns. The thread ends when everything is done.
    pub(crate) fn cycling(mut commit: impl FnMut(&[i64], &[i64], usize) -> Vec<i64> + Send + 'static) -> Self {
        Self::start(move |inbox, ended| {
            let (mut accepted, mut claimed): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
            loop {
                let idle = accepted.is_empty() && claimed.is_empty();
                let group = match next_group(inbox, idle) {
                    Some(group) => group,
                    None if idle => return ended.load(Ordering::Relaxed),
                    None => Vec::new(),
                };
                let new = commit(&claimed, &accepted, group.len());
                ended.fetch_add(claimed.len() as u64, Ordering::Relaxed);
                claimed = std::mem::replace(&mut accepted, new);
                group.iter().for_each(|done| done.send(()).unwrap());
            }
        })
    }

    fn start(work: impl FnOnce(&Receiver<Done>, &AtomicU64) -> u64 + Send + 'static) -> Self {
        let (jobs, inbox) = sync_channel(MAX_GROUP);
        let ended = Arc::<AtomicU64>::default();
        let count = Arc::clone(&ended);
        let thread = std::thread::Builder::new().name("bare".into()).spawn(move || work(&inbox, &count)).unwrap();
        Self { jobs, ended, thread }
    }

    /// Returns how many tasks it has brought to their end.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Returns a function that has one acceptance written and waits until it is on disk.
    pub(crate) fn producer(&self) -> impl FnMut() + Send + use<> {
        let jobs = self.jobs.clone();
        let (done, told) = sync_channel(1);
        move || {
            jobs.send(done.clone()).unwrap();
            told.recv().unwrap();
        }
    }

    /// Ends the thread, and returns how many tasks are in its store as they should be at the end.
    pub(crate) fn stop(self) -> u64 {
        drop(self.jobs);
        self.thread.join().unwrap()
    }
}

fn open(folder: &Path) -> Connection {
    let connection = Connection::open(folder.join("switchboard.db")).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    connection.set_prepared_statement_cache_capacity(128);
    connection
}

/// Returns what is asked for, all that has come in the meantime; `None` when nobody can ask any more. Where there is other
/// work it does not wait.
fn next_group(inbox: &Receiver<Done>, wait: bool) -> Option<Vec<Done>> {
    use std::sync::mpsc::TryRecvError;
    let mut group = Vec::new();
    if wait {
        group.push(inbox.recv().ok()?);
    } else {
        match inbox.try_recv() {
            Ok(done) => group.push(done),
            Err(TryRecvError::Empty) => return Some(group),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
    group.extend(inbox.try_iter().take(MAX_GROUP - 1));
    Some(group)
}

fn execute(connection: &Connection, sql: &str, values: impl rusqlite::Params) {
    connection.prepare_cached(sql).unwrap().execute(values).unwrap();
}

fn begin(connection: &Connection) {
    execute(connection, "BEGIN IMMEDIATE", []);
}

fn commit(connection: &Connection) {
    execute(connection, "COMMIT", []);
}

fn claim(connection: &Connection, id: i64) {
    let sql = "UPDATE task SET state = 1, attempts = 1, lease = 1, updated_at = 1 WHERE id = ? AND state = 0";
    execute(connection, sql, params![id]);
    let sql = "INSERT INTO attempt (task, lease, number, mode, started_at) VALUES (?, 1, 1, 'deferred', 1)";
    execute(connection, sql, params![id]);
}

fn finish(connection: &Connection, id: i64) {
    let sql = "UPDATE task SET state = 3, holder = NULL, payload = NULL, updated_at = 2
               WHERE id = ? AND lease = 1 AND state = 1";
    execute(connection, sql, params![id]);
    let sql = "UPDATE attempt SET ended_at = 2, outcome = 'ok' WHERE task = ? AND lease = 1";
    execute(connection, sql, params![id]);
}

fn count(connection: &Connection) -> u64 {
    let tasks: i64 = connection.query_row("SELECT count(*) FROM task", [], |row| row.get(0)).unwrap();
    tasks.unsigned_abs()
}

/// The rows of one acceptance.
struct Rows {
    event: Option<Row>,
    task: Row,
    number: u64,
}

impl Rows {
    fn sample(connection: &Connection, with_event: bool) -> Self {
        let event = with_event.then(|| Row::sample(connection, "event"));
        Self { event, task: Row::sample(connection, "task"), number: 0 }
    }

    /// Inserts them once more, and returns the id of the task.
    fn insert(&mut self, connection: &Connection) -> i64 {
        self.number += 1;
        if let Some(event) = &mut self.event {
            // As long as an event's id, and as well sorted.
            let id = Value::Text(format!("msg_{:026}", self.number));
            event.set("id", id.clone());
            event.insert(connection);
            self.task.set("event", id);
        }
        self.task.set("id", Value::Null);
        self.task.insert(connection);
        connection.last_insert_rowid()
    }
}

/// A row of a table of the store, to be inserted again with another id.
struct Row {
    columns: Vec<String>,
    values: Vec<Value>,
    insert: String,
}

impl Row {
    /// Takes the one row that is in `table`.
    fn sample(connection: &Connection, table: &str) -> Self {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns: Vec<String> = statement.column_names().map(Into::into).collect();
        let values = statement.query_row([], |row| (0..columns.len()).map(|column| row.get(column)).collect()).unwrap();
        let marks = vec!["?"; columns.len()].join(", ");
        let insert = format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "));
        Self { columns, values, insert }
    }

    fn set(&mut self, column: &str, value: Value) {
        let index = self.columns.iter().position(|other| other == column).unwrap();
        self.values[index] = value;
    }

    fn insert(&self, connection: &Connection) {
        connection.prepare_cached(&self.insert).unwrap().execute(params_from_iter(&self.values)).unwrap();
    }
}
