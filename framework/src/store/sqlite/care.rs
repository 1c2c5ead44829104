//! Looks for damage in SQLite, and makes copies.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, params};

use super::{bulk, read, schedule, schema, unreadable};
use crate::store::new_file::NewFile;
use crate::store::{StoreError, TaskId};

/// Most findings of one kind that are named.
const NAMED: u32 = 20;

/// Queries for what must not be, each with the sentence about the id that it finds. A query gives the id first.
const CONTRADICTIONS: &[(&str, &str)] = &[
    ("task {} is in no state that there is", "SELECT id FROM task WHERE state NOT IN (0, 1, 2, 3, 4)"),
    (
        "task {} runs without an attempt that has begun and not ended",
        "SELECT id FROM task WHERE state = 1
         AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.task = task.id AND ended_at IS NULL)",
    ),
    (
        "task {} does not run and has an attempt that has not ended",
        "SELECT id FROM task WHERE state <> 1
         AND EXISTS (SELECT 1 FROM attempt WHERE attempt.task = task.id AND ended_at IS NULL)",
    ),
    (
        "task {} runs more than once at a time",
        "SELECT task FROM attempt WHERE task IS NOT NULL AND ended_at IS NULL GROUP BY task HAVING count(*) > 1",
    ),
    ("task {} has ended and is held by a host", "SELECT id FROM task WHERE state IN (3, 4) AND holder IS NOT NULL"),
    (
        "task {} has ended well more than once since it was last retried by hand",
        "SELECT task FROM attempt JOIN task ON task.id = attempt.task
         WHERE outcome = 'ok' AND attempt.number > task.attempts_before GROUP BY task HAVING count(*) > 1",
    ),
    (
        "task {} has made more attempts before its last retry by hand than in all",
        "SELECT id FROM task WHERE attempts_before > attempts OR attempts < 0",
    ),
    (
        "task {} has not ended and its event is gone",
        "SELECT id FROM task WHERE state IN (0, 1, 2) AND event IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM event WHERE event.id = task.event)",
    ),
    (
        "the attempts of task {} are there and the task is not",
        "SELECT DISTINCT task FROM attempt WHERE task IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM task WHERE task.id = attempt.task)",
    ),
];

pub(super) fn check(connection: &Connection) -> Result<Vec<String>, StoreError> {
    match look(connection) {
        Err(StoreError::Read { source }) if is_damage(&*source) => Ok(vec![format!("the file is damaged: {source}")]),
        found => found,
    }
}

fn is_damage(error: &(dyn std::error::Error + 'static)) -> bool {
    let code = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn look(connection: &Connection) -> Result<Vec<String>, StoreError> {
    // One transaction, so that all queries see the same moment.
    let view = connection.unchecked_transaction().map_err(unreadable)?;
    let mut found = pages(&view)?;
    // In a damaged file, queries find what is not there.
    if found.is_empty() {
        // Of a file of an earlier version no more is known.
        if schema::is_of_today(&view).map_err(unreadable)?.is_ok() {
            found = records(&view)?;
        }
    }
    Ok(found)
}

fn pages(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare("PRAGMA integrity_check(100)").map_err(unreadable)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(unreadable)?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>().map_err(unreadable)?;
    Ok(rows.into_iter().filter(|row| row != "ok").map(|row| format!("the file is damaged: {row}")).collect())
}

fn records(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for (sentence, sql) in CONTRADICTIONS {
        let mut statement = connection.prepare(&format!("{sql} LIMIT {NAMED}")).map_err(unreadable)?;
        let ids = statement.query_map(params![], |row| row.get::<_, i64>(0)).map_err(unreadable)?;
        for id in ids {
            found.push(sentence.replace("{}", &id.map_err(unreadable)?.to_string()));
        }
    }
    let unreadable_records = [
        read::webhooks(connection, None).err(),
        schedule::all(connection).err(),
        bulk::all(connection).err(),
        tasks(connection)?,
    ];
    for error in unreadable_records.into_iter().flatten() {
        match error {
            StoreError::Corrupt { .. } => found.push(error.to_string()),
            error => return Err(error),
        }
    }
    Ok(found)
}

/// Returns the first task that cannot be read.
fn tasks(connection: &Connection) -> Result<Option<StoreError>, StoreError> {
    let mut statement = connection.prepare("SELECT id FROM task WHERE state IN (0, 1, 2)").map_err(unreadable)?;
    let mut rows = statement.query([]).map_err(unreadable)?;
    while let Some(row) = rows.next().map_err(unreadable)? {
        if let Err(error) = read::task(connection, TaskId(row.get(0).map_err(unreadable)?)) {
            return Ok(Some(error));
        }
    }
    Ok(None)
}

/// Copies in one read transaction, so that a busy host does not make the copy begin anew.
pub(super) fn backup(connection: &Connection, file: &Path) -> Result<(), StoreError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Refused {
        reason: format!("the copy `{}` cannot be written: {}", file.display(), crate::error::Chain(&*error)),
    };
    let new = NewFile::create(file).map_err(|error| failed(error.into()))?;
    let target = new.unfinished().to_str().ok_or_else(|| failed("its name is not UTF-8".into()))?;
    connection.execute("VACUUM INTO ?", params![target]).map_err(|error| failed(error.into()))?;
    new.keep().map_err(|error| failed(error.into()))
}
