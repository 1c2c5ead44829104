//! What goes when it is old, in SQLite.

use std::collections::BTreeSet;

use rusqlite::{Connection, Params, params};

use super::unwritable;
use crate::store::{Retention, StoreError};

pub(super) fn prune(connection: &Connection, retention: Retention, limit: u32) -> Result<u32, StoreError> {
    let ended: i64 =
        connection.query_row("SELECT count(*) FROM task WHERE state >= 3", [], |row| row.get(0)).map_err(unwritable)?;
    let too_many = u64::try_from(ended).unwrap_or(0).saturating_sub(retention.max_ended).min(limit.into());
    let old = "SELECT id FROM task WHERE state = ? AND updated_at < ? ORDER BY updated_at LIMIT ?";
    let mut ids = ids(connection, old, params![3, retention.done_before.0, limit])?;
    ids.extend(self::ids(connection, old, params![4, retention.dead_before.0, limit])?);
    if (ids.len() as u64) < too_many {
        let first = "SELECT id FROM task WHERE state >= 3 ORDER BY updated_at LIMIT ?";
        let too_many = i64::try_from(too_many).unwrap_or(i64::MAX);
        ids.extend(self::ids(connection, first, params![too_many])?);
    }
    let mut gone = 0;
    for id in ids.into_iter().take(limit as usize) {
        remove_task(connection, id)?;
        gone += 1;
    }
    let left = limit - gone;
    let events = "DELETE FROM event WHERE rowid IN (SELECT rowid FROM event WHERE at < ?
                  AND NOT EXISTS (SELECT 1 FROM task WHERE task.event = event.id) LIMIT ?)";
    gone += execute(connection, events, params![retention.done_before.0, left])?;
    let immediate = "DELETE FROM attempt WHERE id IN (SELECT id FROM attempt WHERE task IS NULL AND started_at < ?
                     LIMIT ?)";
    gone += execute(connection, immediate, params![retention.done_before.0, limit.saturating_sub(gone)])?;
    let keys = "DELETE FROM idempotency_key WHERE (owner, key) IN (SELECT owner, key FROM idempotency_key
                WHERE expires_at < ? LIMIT ?)";
    gone += execute(connection, keys, params![retention.done_before.0, limit.saturating_sub(gone)])?;
    Ok(gone)
}

fn ids(connection: &Connection, sql: &str, values: impl Params) -> Result<BTreeSet<i64>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(unwritable)?;
    let rows = statement.query_map(values, |row| row.get(0)).map_err(unwritable)?;
    rows.collect::<rusqlite::Result<_>>().map_err(unwritable)
}

fn remove_task(connection: &Connection, id: i64) -> Result<(), StoreError> {
    execute(connection, "DELETE FROM attempt WHERE task = ?", params![id])?;
    execute(connection, "DELETE FROM task WHERE id = ?", params![id]).map(drop)
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<u32, StoreError> {
    let count = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
    count.map(|count| u32::try_from(count).unwrap_or(u32::MAX)).map_err(unwritable)
}
