//! What goes when it is old, or too much, in SQLite.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::unwritable;
use crate::store::{Retention, StoreError};

/// The tasks that have ended, the first to end first, and how many bytes their inputs are.
const INPUTS: &str = "SELECT task.id, coalesce(length(task.payload), 0) + coalesce(length(event.body), 0) AS bytes
    FROM task LEFT JOIN event ON event.id = task.event WHERE task.state >= 3 ORDER BY task.updated_at";

/// What was found to go. It is looked at once more before it does.
pub(super) struct Old {
    tasks: BTreeSet<i64>,
    /// Those of them that are too much, whose events are so as well.
    crowded: BTreeSet<i64>,
    /// Row ids of events without tasks.
    events: BTreeSet<i64>,
}

/// Looks for up to `limit` of everything that is to go.
pub(super) fn look(connection: &Connection, retention: &Retention, limit: u32) -> Result<Old, StoreError> {
    let ended = number(connection, "SELECT done + dead FROM total")?;
    let too_many = ended.saturating_sub(retention.max_ended).min(limit.into());
    let old = "SELECT id FROM task WHERE state = ? AND updated_at < ? ORDER BY updated_at LIMIT ?";
    let mut tasks = ids(connection, old, params![3, retention.done_before.0, limit])?;
    tasks.extend(ids(connection, old, params![4, retention.dead_before.0, limit])?);
    let mut crowded = BTreeSet::new();
    if (tasks.len() as u64) < too_many {
        let first = "SELECT id FROM task WHERE state >= 3 ORDER BY updated_at LIMIT ?";
        let too_many = i64::try_from(too_many).unwrap_or(i64::MAX);
        crowded.extend(ids(connection, first, params![too_many])?);
    }
    if let Some(most) = retention.max_input_bytes {
        crowded.extend(largest_ended(connection, most, limit)?);
    }
    let events = "SELECT rowid FROM event WHERE at < ?
                  AND NOT EXISTS (SELECT 1 FROM task WHERE task.event = event.id) LIMIT ?";
    let events = ids(connection, events, params![retention.done_before.0, limit])?;
    Ok(Old { tasks, crowded, events })
}

/// Removes up to `limit` rows: of what was found, what is still to go, and keys and attempts. Returns how many.
pub(super) fn remove(connection: &Connection, old: &Old, retention: &Retention, limit: u32) -> Result<u32, StoreError> {
    let Old { tasks, crowded, events } = old;
    let mut gone = 0;
    for id in crowded.iter().chain(tasks.difference(crowded)).take(limit as usize) {
        gone += remove_task(connection, *id, crowded.contains(id))?;
    }
    for event in events.iter().take((limit - gone) as usize) {
        let sql = "DELETE FROM event WHERE rowid = ? AND NOT EXISTS (SELECT 1 FROM task WHERE task.event = event.id)";
        gone += execute(connection, sql, params![event])?;
    }
    let keys = "DELETE FROM idempotency_key WHERE (owner, key) IN (SELECT owner, key FROM idempotency_key
                WHERE expires_at < ? LIMIT ?)";
    gone += execute(connection, keys, params![retention.done_before.0, limit.saturating_sub(gone)])?;
    Ok(gone + prune_attempts(connection, retention, limit.saturating_sub(gone))?)
}

/// The first tasks to end whose inputs are beyond `most` bytes in all.
fn largest_ended(connection: &Connection, most: u64, limit: u32) -> Result<Vec<i64>, StoreError> {
    let total = number(connection, &format!("SELECT coalesce(sum(bytes), 0) FROM ({INPUTS})"))?;
    let sql = format!("{INPUTS} LIMIT ?");
    first_of(connection, &sql, params![limit], total.saturating_sub(most))
}

/// Attempts are in the order of their ids, so that only the first have to be looked at. One that goes on stays.
fn prune_attempts(connection: &Connection, retention: &Retention, limit: u32) -> Result<u32, StoreError> {
    let last = number(connection, "SELECT coalesce(max(id), 0) FROM attempt")?;
    let old = "DELETE FROM attempt WHERE id IN (SELECT id FROM (SELECT id, started_at, ended_at FROM attempt
               ORDER BY id LIMIT ?) WHERE started_at < ? AND ended_at IS NOT NULL)";
    let gone = execute(connection, old, params![limit, retention.attempts_before.0])?;
    let bytes = number(connection, "SELECT attempt_bytes FROM total")?;
    let excess = bytes.saturating_sub(retention.max_attempt_bytes);
    let first = "SELECT id, bytes FROM attempt WHERE ended_at IS NOT NULL ORDER BY id LIMIT ?";
    let crowded = first_of(connection, first, params![limit - gone], excess)?;
    for id in &crowded {
        execute(connection, "DELETE FROM attempt WHERE id = ?", params![id])?;
    }
    let gone = gone + u32::try_from(crowded.len()).unwrap_or(u32::MAX);
    if gone > 0 {
        let last = i64::try_from(last).unwrap_or(i64::MAX);
        execute(connection, "UPDATE total SET last_attempt = max(last_attempt, ?)", params![last])?;
    }
    Ok(gone)
}

/// Returns the first rows that are `excess` bytes in all. A query gives ids and bytes.
fn first_of(connection: &Connection, sql: &str, values: impl Params, excess: u64) -> Result<Vec<i64>, StoreError> {
    let mut first = Vec::new();
    let mut left = i64::try_from(excess).unwrap_or(i64::MAX);
    if left == 0 {
        return Ok(first);
    }
    let mut statement = connection.prepare_cached(sql).map_err(unwritable)?;
    let mut rows = statement.query(values).map_err(unwritable)?;
    while left > 0
        && let Some(row) = rows.next().map_err(unwritable)?
    {
        first.push(row.get(0).map_err(unwritable)?);
        left -= row.get::<_, i64>(1).map_err(unwritable)?;
    }
    Ok(first)
}

fn number(connection: &Connection, sql: &str) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(unwritable)?;
    let number: Option<i64> = statement.query_row([], |row| row.get(0)).optional().map_err(unwritable)?;
    Ok(u64::try_from(number.unwrap_or(0)).unwrap_or(0))
}

fn ids(connection: &Connection, sql: &str, values: impl Params) -> Result<BTreeSet<i64>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(unwritable)?;
    let rows = statement.query_map(values, |row| row.get(0)).map_err(unwritable)?;
    rows.collect::<rusqlite::Result<_>>().map_err(unwritable)
}

/// Removes a task that has ended; its event as well when that is `too` much and no other task needs it.
fn remove_task(connection: &Connection, id: i64, too: bool) -> Result<u32, StoreError> {
    let sql = "DELETE FROM task WHERE id = ? AND state >= 3 RETURNING event";
    let mut statement = connection.prepare_cached(sql).map_err(unwritable)?;
    let event: Option<Option<String>> =
        statement.query_row(params![id], |row| row.get(0)).optional().map_err(unwritable)?;
    let Some(event) = event else { return Ok(0) };
    if let Some(event) = event.filter(|_| too) {
        let sql = "DELETE FROM event WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM task WHERE event = ?1)";
        execute(connection, sql, params![event])?;
    }
    Ok(1)
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<u32, StoreError> {
    let count = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
    count.map(|count| u32::try_from(count).unwrap_or(u32::MAX)).map_err(unwritable)
}
