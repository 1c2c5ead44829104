//! Bulk operations in SQLite.

use rusqlite::{Connection, Row, params};

use super::write::{accept_task, cancel, retry};
use super::{attempt, read, unreadable, unwritable};
use crate::store::{
    Attempt, Became, Bulk, BulkAction, BulkId, BulkState, BulkStep, NewBulk, NewTask, StoreError, Task, TaskFilter,
    TaskId, TaskState, Timestamp,
};

const BULK: &str = "SELECT id, action, filter, per_second, state, total, seen, changed, cursor, last, by, created_at,
                    updated_at FROM bulk";

/// What an operation goes over.
#[derive(Clone, Copy)]
pub(super) struct Found {
    total: u64,
    /// The last task that there was.
    last: TaskId,
}

pub(super) fn found(connection: &Connection, filter: &TaskFilter) -> Result<Found, StoreError> {
    // One moment for both, so that nothing is gone over that was not counted.
    let view = connection.unchecked_transaction().map_err(unreadable)?;
    let total = read::count_tasks(&view, filter)?;
    let last = read::one(&view, "SELECT coalesce(max(id), 0) FROM task", [], |row| row.get(0).map(TaskId))?;
    Ok(Found { total, last: last.unwrap_or(TaskId(0)) })
}

pub(super) fn add(
    connection: &Connection,
    new: NewBulk,
    Found { total, last }: Found,
    now: Timestamp,
) -> Result<Result<Bulk, u64>, StoreError> {
    if new.expected.is_some_and(|expected| expected != total) {
        return Ok(Err(total));
    }
    let filter = serde_json::to_string(&new.filter)
        .map_err(|error| StoreError::Corrupt { record: "bulk operation".into(), reason: error.to_string() })?;
    let sql = "INSERT INTO bulk (action, filter, per_second, state, total, seen, changed, cursor, last, by, created_at,
               updated_at) VALUES (?, ?, ?, ?, ?, 0, 0, 0, ?, ?, ?, ?)";
    let state = BulkState::Running;
    let counted = i64::try_from(total).unwrap_or(i64::MAX);
    let values =
        params![new.action.as_str(), filter, new.per_second, state.as_str(), counted, last.0, new.by, now.0, now.0];
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
        last,
        by: new.by,
        created_at: now,
        updated_at: now,
    }))
}

/// What a step of an operation deals with.
pub(super) struct Next {
    /// Where the operation was then.
    cursor: TaskId,
    tasks: Vec<TaskId>,
    /// Whether there is nothing behind them.
    all: bool,
}

/// Looks for the tasks of the next step; `None` when the operation does not go on.
pub(super) fn next(connection: &Connection, id: BulkId, limit: u32) -> Result<Option<Next>, StoreError> {
    let Some(bulk) = running(connection, id)? else { return Ok(None) };
    let filter = TaskFilter { after: Some(bulk.cursor), limit, ..bulk.filter };
    let found = read::task_ids(connection, &filter)?;
    let tasks: Vec<TaskId> = found.into_iter().take_while(|task| *task <= bulk.last).collect();
    Ok(Some(Next { cursor: bulk.cursor, all: tasks.len() < limit as usize, tasks }))
}

fn running(connection: &Connection, id: BulkId) -> Result<Option<Bulk>, StoreError> {
    Ok(one(connection, id)?.filter(|bulk| bulk.state == BulkState::Running))
}

pub(super) fn step(
    connection: &Connection,
    id: BulkId,
    next: &Option<Next>,
    now: Timestamp,
) -> Result<Option<BulkStep>, StoreError> {
    let Some(Next { cursor, tasks, all }) = next else { return Ok(None) };
    let Some(bulk) = running(connection, id)?.filter(|bulk| bulk.cursor == *cursor) else { return Ok(None) };
    let mut step = BulkStep::new(bulk);
    for task in tasks {
        let became = match apply(connection, &step.bulk, *task, now) {
            // Of this one nothing was changed, and it is in the way of no other.
            Err(StoreError::Corrupt { .. }) => Became::Unchanged,
            became => became?,
        };
        step.note(*task, became);
    }
    let bulk = &mut step.bulk;
    if *all {
        bulk.state = BulkState::Done;
    }
    bulk.updated_at = now;
    let sql = "UPDATE bulk SET state = ?, seen = ?, changed = ?, cursor = ?, updated_at = ? WHERE id = ?";
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let values = params![bulk.state.as_str(), count(bulk.seen), count(bulk.changed), bulk.cursor.0, now.0, id.0];
    connection.execute(sql, values).map_err(unwritable)?;
    Ok(Some(step))
}

/// Does it with one task, unless that has stopped to match meanwhile.
fn apply(connection: &Connection, bulk: &Bulk, id: TaskId, now: Timestamp) -> Result<Became, StoreError> {
    let Some(task) = &read::matching(connection, &bulk.filter, id)? else { return Ok(Became::Unchanged) };
    let ready = match bulk.action {
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
    read::one(connection, &format!("{BULK} WHERE id = ?"), params![id.0], read_bulk)?.transpose()
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
