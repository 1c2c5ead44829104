//! Looks for damage in SQLite, and makes copies.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, params};

use super::{bulk, counts, read, schedule, schema, unreadable};
use crate::store::contradictions::{CONTRADICTIONS, NAMED};
use crate::store::new_file::NewFile;
use crate::store::{StoreError, TaskId};

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
    found.extend(counts::contradictions(connection)?);
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
