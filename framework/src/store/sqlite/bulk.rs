//! Bulk operations in SQLite.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::write::{accept_task, cancel, retry};
use super::{attempt, read, unreadable, unwritable};
use crate::store::{
    Attempt, Became, Bulk, BulkAction, BulkId, BulkState, BulkStep, NewBulk, NewTask, StoreError, Task, TaskFilter,
    TaskId, TaskState, Timestamp,
};

const BULK: &str = "SELECT id, action, filter, per_second, state, total, seen, changed, cursor, last, by, created_at,
                    updated_at FROM bulk";

pub(super) fn add(connection: &Connection, new: NewBulk, now: Timestamp) -> Result<Result<Bulk, u64>, StoreError> {
    let total = read::count_tasks(connection, &new.filter)?;
    if new.expected.is_some_and(|expected| expected != total) {
        return Ok(Err(total));
    }
    let last: i64 =
        connection.query_row("SELECT coalesce(max(id), 0) FROM task", [], |row| row.get(0)).map_err(unwritable)?;
    let filter = serde_json::to_string(&new.filter)
        .map_err(|error| StoreError::Corrupt { record: "bulk operation".into(), reason: error.to_string() })?;
    let sql = "INSERT INTO bulk (action, filter, per_second, state, total, seen, changed, cursor, last, by, created_at,
               updated_at) VALUES (?, ?, ?, ?, ?, 0, 0, 0, ?, ?, ?, ?)";
    let state = BulkState::Running;
    let counted = i64::try_from(total).unwrap_or(i64::MAX);
    let values =
        params![new.action.as_str(), filter, new.per_second, state.as_str(), counted, last, new.by, now.0, now.0];
    connection.execute(sql, values).map_err(unwritable)?;
    Ok(Ok(Bulk {
        id: BulkId(connection.last_insert_rowid()),
        action: new.action,
        filter: new.filter,
        per_second: new.per_second,
        state,
        total,
        seen: 0,
        changed: 0,
        cursor: TaskId(0),
        last: TaskId(last),
        by: new.by,
        created_at: now,
        updated_at: now,
    }))
}

pub(super) fn step(
    connection: &Connection,
    id: BulkId,
    limit: u32,
    now: Timestamp,
) -> Result<Option<BulkStep>, StoreError> {
    let sql = format!("{BULK} WHERE id = ? AND state = 'running'");
    let found = connection.query_row(&sql, params![id.0], read_bulk).optional().map_err(unwritable)?;
    let Some(bulk) = found.transpose()? else { return Ok(None) };
    let filter = TaskFilter { after: Some(bulk.cursor), limit, ..bulk.filter.clone() };
    let tasks: Vec<Task> =
        read::tasks(connection, &filter)?.into_iter().take_while(|task| task.id <= bulk.last).collect();
    let mut step = BulkStep::new(bulk);
    for task in &tasks {
        let became = match apply(connection, step.bulk.action, task, now) {
            // Of this one nothing was changed, and it is in the way of no other.
            Err(StoreError::Corrupt { .. }) => Became::Unchanged,
            became => became?,
        };
        step.note(task.id, became);
    }
    let bulk = &mut step.bulk;
    if tasks.len() < limit as usize {
        bulk.state = BulkState::Done;
    }
    bulk.updated_at = now;
    let sql = "UPDATE bulk SET state = ?, seen = ?, changed = ?, cursor = ?, updated_at = ? WHERE id = ?";
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let values = params![bulk.state.as_str(), count(bulk.seen), count(bulk.changed), bulk.cursor.0, now.0, id.0];
    connection.execute(sql, values).map_err(unwritable)?;
    Ok(Some(step))
}

fn apply(connection: &Connection, action: BulkAction, task: &Task, now: Timestamp) -> Result<Became, StoreError> {
    let ready = match action {
        BulkAction::Retry => retry(connection, task.id, now)?,
        BulkAction::Cancel => {
            let cancelled = cancel(connection, task.id, now)?;
            return Ok(if cancelled { Became::Cancelled(task.key.clone()) } else { Became::Unchanged });
        }
        BulkAction::Replay => {
            let ended = matches!(task.state, TaskState::Done | TaskState::Dead);
            let replayed = ended && has_input(connection, task)?;
            replayed.then(|| accept_task(connection, &NewTask::bulk_replay_of(task, now))).transpose()?
        }
        BulkAction::ReplayAsSent => {
            let ended = matches!(task.state, TaskState::Done | TaskState::Dead);
            let sent = if ended && task.event.is_some() && has_input(connection, task)? {
                attempt::of_task(connection, task.id)?.into_iter().rfind(Attempt::is_repeatable)
            } else {
                None
            };
            let replay = |sent: Attempt| NewTask { as_sent: Some(sent.id), ..NewTask::bulk_replay_of(task, now) };
            sent.map(|sent| accept_task(connection, &replay(sent))).transpose()?
        }
    };
    Ok(ready.map_or(Became::Unchanged, Became::Ready))
}

fn has_input(connection: &Connection, task: &Task) -> Result<bool, StoreError> {
    let Some(event) = &task.event else { return Ok(task.payload.is_some()) };
    Ok(read::event(connection, event)?.is_some_and(|event| !event.body.is_empty()))
}

pub(super) fn set_state(
    connection: &Connection,
    id: BulkId,
    state: BulkState,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "UPDATE bulk SET state = ?, updated_at = ? WHERE id = ? AND state IN ('running', 'paused')";
    connection.execute(sql, params![state.as_str(), now.0, id.0]).map(|count| count > 0).map_err(unwritable)
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Bulk>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{BULK} ORDER BY id DESC")).map_err(unreadable)?;
    let rows = statement.query_map([], read_bulk).map_err(unreadable)?;
    rows.map(|row| row.map_err(unreadable)?).collect()
}

pub(super) fn one(connection: &Connection, id: BulkId) -> Result<Option<Bulk>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{BULK} WHERE id = ?")).map_err(unreadable)?;
    statement.query_row(params![id.0], read_bulk).optional().map_err(unreadable)?.transpose()
}

fn read_bulk(row: &Row<'_>) -> rusqlite::Result<Result<Bulk, StoreError>> {
    let id = BulkId(row.get(0)?);
    let damaged = |reason: String| Ok(Err(StoreError::Corrupt { record: format!("bulk operation {id}"), reason }));
    let (action, filter, state): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(4)?);
    let Ok(action) = action.parse() else { return damaged(format!("`{action}` is no action")) };
    let Some(state) = BulkState::ALL.into_iter().find(|known| known.as_str() == state) else {
        return damaged(format!("`{state}` is no state"));
    };
    let filter = match serde_json::from_str(&filter) {
        Ok(filter) => filter,
        Err(error) => return damaged(error.to_string()),
    };
    let count = |index| row.get::<_, i64>(index).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Ok(Bulk {
        id,
        action,
        filter,
        per_second: row.get(3)?,
        state,
        total: count(5)?,
        seen: count(6)?,
        changed: count(7)?,
        cursor: TaskId(row.get(8)?),
        last: TaskId(row.get(9)?),
        by: row.get(10)?,
        created_at: Timestamp(row.get(11)?),
        updated_at: Timestamp(row.get(12)?),
    }))
}
