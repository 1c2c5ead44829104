//! How many tasks there are and how much the attempts are, counted as they change, so that nobody has to look at all of them.
//!
//! Triggers of the writer's connection tell of each change, whichever statement makes it. The changes are added up in memory
//! and written once for each commit. What runs is not counted here: it is few, and an index finds it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, params};

use super::read::{all, one};
use super::{schema, unreadable};
use crate::store::contradictions::NAMED;
use crate::store::{KeyCounts, StoreError, TaskCounts};

/// The triggers belong to the connection and not to the file, because the functions that they call do. A start is no change:
/// what is ready and what runs counts together.
const WATCH: &str = "
    CREATE TEMP TRIGGER task_added AFTER INSERT ON main.task
        BEGIN SELECT count_task(NULL, new.state, new.key); END;
    CREATE TEMP TRIGGER task_moved AFTER UPDATE OF state ON main.task WHEN max(old.state, 1) <> max(new.state, 1)
        BEGIN SELECT count_task(old.state, new.state, new.key); END;
    CREATE TEMP TRIGGER task_removed AFTER DELETE ON main.task
        BEGIN SELECT count_task(old.state, NULL, old.key); END;
    CREATE TEMP TRIGGER attempt_added AFTER INSERT ON main.attempt WHEN new.bytes <> 0
        BEGIN SELECT count_bytes(new.bytes); END;
    CREATE TEMP TRIGGER attempt_ended AFTER UPDATE OF bytes ON main.attempt
        BEGIN SELECT count_bytes(new.bytes - old.bytes); END;
    CREATE TEMP TRIGGER attempt_removed AFTER DELETE ON main.attempt
        BEGIN SELECT count_bytes(-old.bytes); END;
";

/// What the tasks themselves say, beside what was counted.
const OF_KEYS: &str = "SELECT key, sum(state < 2), sum(state = 2) FROM task WHERE state IN (0, 1, 2) GROUP BY key";
const OF_ALL: &str =
    "SELECT coalesce(sum(state IN (0, 1)), 0), coalesce(sum(state = 2), 0), coalesce(sum(state = 3), 0),
    coalesce(sum(state = 4), 0), (SELECT coalesce(sum(bytes), 0) FROM attempt) FROM task";

/// What has changed since the last commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    keys: BTreeMap<String, Open>,
    done: i64,
    dead: i64,
    attempt_bytes: i64,
}

/// Tasks of a key that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Open {
    /// Ready or running.
    due: i64,
    waiting: i64,
}

impl Changes {
    /// Adds `by` tasks of a state, as it is numbered in the table.
    fn add(&mut self, state: Option<i64>, key: &str, by: i64) {
        match state {
            Some(0 | 1) => self.open(key).due += by,
            Some(2) => self.open(key).waiting += by,
            Some(3) => self.done += by,
            Some(4) => self.dead += by,
            // None, or a damaged one, which `store check` names.
            _ => {}
        }
    }

    fn open(&mut self, key: &str) -> &mut Open {
        self.keys.entry(key.to_owned()).or_default()
    }
}

/// The counts that one connection keeps.
#[derive(Debug)]
pub(super) struct Counts(Arc<Mutex<Changes>>);

impl Counts {
    /// Counts what the connection changes from now on.
    pub(super) fn watch(connection: &Connection) -> rusqlite::Result<Self> {
        let counts = Self(Arc::default());
        let changes = Arc::clone(&counts.0);
        connection.create_scalar_function("count_task", 3, FunctionFlags::SQLITE_UTF8, move |call| {
            let (before, after) = (call.get(0)?, call.get(1)?);
            // A damaged row may have a key that is no text. It is the same one before and after.
            let key = call.get_raw(2).as_str().unwrap_or_default();
            let mut changes = lock(&changes);
            changes.add(before, key, -1);
            changes.add(after, key, 1);
            Ok(None::<bool>)
        })?;
        let changes = Arc::clone(&counts.0);
        connection.create_scalar_function("count_bytes", 1, FunctionFlags::SQLITE_UTF8, move |call| {
            lock(&changes).attempt_bytes += call.get::<i64>(0)?;
            Ok(None::<bool>)
        })?;
        connection.execute_batch(WATCH)?;
        Ok(counts)
    }

    /// Returns what has changed so far, for [`Counts::return_to`].
    pub(super) fn so_far(&self) -> Changes {
        lock(&self.0).clone()
    }

    /// Takes back what was counted since then, because the database has taken it back.
    pub(super) fn return_to(&self, earlier: Changes) {
        *lock(&self.0) = earlier;
    }

    /// Writes what has changed into the transaction that changed it.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Changes { mut keys, done, dead, attempt_bytes } = std::mem::take(&mut *lock(&self.0));
        keys.retain(|_, open| *open != Open::default());
        let (mut due, mut waiting) = (0, 0);
        for (key, open) in &keys {
            due += open.due;
            waiting += open.waiting;
            let sql = "INSERT INTO key_count (key, due, waiting) VALUES (?, ?, ?) ON CONFLICT (key)
                       DO UPDATE SET due = due + excluded.due, waiting = waiting + excluded.waiting
                       RETURNING due = 0 AND waiting = 0";
            let mut count = connection.prepare_cached(sql)?;
            if count.query_row(params![key, open.due, open.waiting], |row| row.get(0))? {
                connection.prepare_cached("DELETE FROM key_count WHERE key = ?")?.execute(params![key])?;
            }
        }
        let changes = [due, waiting, done, dead, attempt_bytes];
        if changes != [0; 5] {
            let sql = "UPDATE total SET due = due + ?, waiting = waiting + ?, done = done + ?, dead = dead + ?,
                       attempt_bytes = attempt_bytes + ?";
            connection.prepare_cached(sql)?.execute(changes)?;
        }
        Ok(())
    }
}

fn lock(changes: &Mutex<Changes>) -> MutexGuard<'_, Changes> {
    changes.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn task_counts(connection: &Connection) -> Result<TaskCounts, StoreError> {
    let counted = match schema::is_of_today(connection).map_err(unreadable)? {
        Ok(()) => "SELECT due, waiting, done, dead FROM total",
        // A file of an earlier version, that is only read.
        Err(_) => "SELECT sum(state IN (0, 1)), sum(state = 2), sum(state = 3), sum(state = 4) FROM task",
    };
    let sql = format!("SELECT counted.*, (SELECT count(*) FROM task WHERE state = 1) FROM ({counted}) AS counted");
    let counts = one(connection, &sql, [], |row| {
        let count =
            |column| row.get::<_, Option<i64>>(column).map(|count| u64::try_from(count.unwrap_or(0)).unwrap_or(0));
        let (due, running) = (count(0)?, count(4)?);
        let ready = due.saturating_sub(running);
        Ok(TaskCounts { ready, running, waiting: count(1)?, done: count(2)?, dead: count(3)? })
    })?;
    Ok(counts.unwrap_or_default())
}

pub(super) fn key_counts(connection: &Connection) -> Result<Vec<KeyCounts>, StoreError> {
    let sql = "SELECT key, due, coalesce(runs, 0), waiting FROM key_count
               LEFT JOIN (SELECT key, count(*) AS runs FROM task WHERE state = 1 GROUP BY key) USING (key) ORDER BY key";
    all(connection, sql, [], |row| {
        let count = |column| row.get::<_, i64>(column).map(|count| u64::try_from(count).unwrap_or(0));
        let (due, running) = (count(1)?, count(2)?);
        Ok(KeyCounts { key: row.get(0)?, ready: due.saturating_sub(running), running, waiting: count(3)? })
    })
}

/// Says where the counts are not what the tasks and attempts say.
pub(super) fn contradictions(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let counted = "SELECT key, due, waiting FROM key_count";
    let sql = format!(
        "SELECT key FROM (SELECT * FROM ({counted} EXCEPT {OF_KEYS}) UNION SELECT * FROM ({OF_KEYS} EXCEPT {counted}))
         GROUP BY key ORDER BY key LIMIT {NAMED}"
    );
    let keys: Vec<String> = all(connection, &sql, [], |row| row.get(0))?;
    let keys = keys.into_iter().map(|key| format!("the tasks of key `{key}` are not as many as were counted"));
    let counted = "SELECT due, waiting, done, dead, attempt_bytes FROM total";
    let differs: Option<bool> =
        one(connection, &format!("SELECT EXISTS ({counted} EXCEPT {OF_ALL})"), [], |row| row.get(0))?;
    let all = differs
        .unwrap_or(true)
        .then(|| "the tasks in all, or the bytes of the attempts, are not as many as were counted".to_owned());
    Ok(keys.chain(all).collect())
}
