//! The queries.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, params, params_from_iter};

use super::unreadable;
use super::write::number;
use crate::store::{
    Attempt, Event, EventId, Lease, OwnerId, StoreError, Task, TaskCounts, TaskFilter, TaskHead, TaskId, TaskState,
    Timestamp, Webhook, WebhookId,
};

/// Tasks that are returned when a filter names no limit.
const DEFAULT_LIMIT: u32 = 100;

const TASK: &str = "SELECT id, event, webhook, number, name, key, host, payload, state, reason, attempts, crashes,
                    run_at, lease, created_at, updated_at FROM task";
const EVENT: &str = "SELECT id, name, owner, task, cause, depth, body, at FROM event";
const ATTEMPT: &str = "SELECT task, event, webhook, number, mode, started_at, ended_at, outcome, status, detail, url,
                       response FROM attempt";
const WEBHOOK: &str = "SELECT id, owner, url, method, settings, events, enabled, disabled_reason, created_at,
                       updated_at FROM webhook";

fn all<V>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<V>,
) -> Result<Vec<V>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(unreadable)?;
    let rows = statement.query_map(values, read).map_err(unreadable)?;
    rows.collect::<rusqlite::Result<_>>().map_err(unreadable)
}

fn one<V>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<V>,
) -> Result<Option<V>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(unreadable)?;
    statement.query_row(values, read).optional().map_err(unreadable)
}

pub(super) fn task(connection: &Connection, id: TaskId) -> Result<Option<Task>, StoreError> {
    one(connection, &format!("{TASK} WHERE id = ?"), params![id.0], read_task)?.transpose()
}

pub(super) fn tasks(connection: &Connection, filter: &TaskFilter) -> Result<Vec<Task>, StoreError> {
    let mut sql = format!("{TASK} WHERE id > ?");
    let mut values = vec![Value::from(filter.after.map_or(0, |after| after.0))];
    if let Some(state) = filter.state {
        sql.push_str(" AND state = ?");
        values.push(number(state).into());
    }
    if let Some(webhook) = filter.webhook {
        sql.push_str(" AND webhook = ?");
        values.push(webhook.0.into());
    }
    if let Some(event) = &filter.event {
        sql.push_str(" AND event = ?");
        values.push(event.0.clone().into());
    }
    sql.push_str(" ORDER BY id LIMIT ?");
    values.push(i64::from(if filter.limit == 0 { DEFAULT_LIMIT } else { filter.limit }).into());
    all(connection, &sql, params_from_iter(values), read_task)?.into_iter().collect()
}

pub(super) fn pending(connection: &Connection) -> Result<Vec<TaskHead>, StoreError> {
    let sql =
        "SELECT id, number, name, key, host, run_at, attempts FROM task WHERE state IN (0, 2) ORDER BY run_at, id";
    all(connection, sql, [], |row| {
        Ok(TaskHead {
            id: TaskId(row.get(0)?),
            number: row.get(1)?,
            name: row.get(2)?,
            key: row.get(3)?,
            host: row.get(4)?,
            run_at: Timestamp(row.get(5)?),
            attempts: row.get(6)?,
        })
    })
}

pub(super) fn task_counts(connection: &Connection) -> Result<TaskCounts, StoreError> {
    let rows = all(connection, "SELECT state, count(*) FROM task GROUP BY state", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    })?;
    let count = |state| {
        let found = rows.iter().find(|(other, _)| *other == number(state));
        found.map_or(0, |(_, count)| u64::try_from(*count).unwrap_or(0))
    };
    Ok(TaskCounts {
        ready: count(TaskState::Ready),
        running: count(TaskState::Running),
        waiting: count(TaskState::Waiting),
        done: count(TaskState::Done),
        dead: count(TaskState::Dead),
    })
}

pub(super) fn attempts(connection: &Connection, task: TaskId) -> Result<Vec<Attempt>, StoreError> {
    all(connection, &format!("{ATTEMPT} WHERE task = ? ORDER BY id"), params![task.0], |row| {
        Ok(Attempt {
            task: row.get::<_, Option<i64>>(0)?.map(TaskId),
            event: row.get::<_, Option<String>>(1)?.map(EventId),
            webhook: row.get::<_, Option<i64>>(2)?.map(WebhookId),
            number: row.get(3)?,
            mode: row.get(4)?,
            started_at: Timestamp(row.get(5)?),
            ended_at: row.get::<_, Option<i64>>(6)?.map(Timestamp),
            outcome: row.get(7)?,
            status: row.get(8)?,
            detail: row.get(9)?,
            url: row.get(10)?,
            response: row.get(11)?,
        })
    })
}

pub(super) fn event(connection: &Connection, id: &EventId) -> Result<Option<Event>, StoreError> {
    one(connection, &format!("{EVENT} WHERE id = ?"), params![id.0], |row| {
        Ok(Event {
            id: EventId(row.get(0)?),
            name: row.get(1)?,
            owner: OwnerId(row.get(2)?),
            task: row.get(3)?,
            cause: row.get::<_, Option<i64>>(4)?.map(TaskId),
            depth: row.get(5)?,
            body: row.get(6)?,
            at: Timestamp(row.get(7)?),
        })
    })
}

pub(super) fn webhook(connection: &Connection, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
    one(connection, &format!("{WEBHOOK} WHERE id = ?"), params![id.0], read_webhook)?.transpose()
}

pub(super) fn webhooks(connection: &Connection, owner: Option<OwnerId>) -> Result<Vec<Webhook>, StoreError> {
    let owner = owner.map(|owner| owner.0);
    let sql = format!("{WEBHOOK} WHERE ?1 IS NULL OR owner = ?1 ORDER BY id");
    all(connection, &sql, params![owner], read_webhook)?.into_iter().collect()
}

pub(super) fn webhooks_for(connection: &Connection, owner: OwnerId) -> Result<Vec<Webhook>, StoreError> {
    let sql = format!("{WEBHOOK} WHERE owner IN (0, ?) AND enabled ORDER BY id");
    all(connection, &sql, params![owner.0], read_webhook)?.into_iter().collect()
}

pub(super) fn plugin_value(
    connection: &Connection,
    plugin: &str,
    key: &str,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT value FROM plugin_value WHERE plugin = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)";
    one(connection, sql, params![plugin, key, now.0], |row| row.get(0))
}

fn read_task(row: &Row<'_>) -> rusqlite::Result<Result<Task, StoreError>> {
    let id = TaskId(row.get(0)?);
    let state: i64 = row.get(8)?;
    let Some(state) = TaskState::ALL.into_iter().find(|known| number(*known) == state) else {
        let reason = format!("{state} is no state");
        return Ok(Err(StoreError::Corrupt { record: format!("task {id}"), reason }));
    };
    Ok(Ok(Task {
        id,
        event: row.get::<_, Option<String>>(1)?.map(EventId),
        webhook: row.get::<_, Option<i64>>(2)?.map(WebhookId),
        number: row.get(3)?,
        name: row.get(4)?,
        key: row.get(5)?,
        host: row.get(6)?,
        payload: row.get(7)?,
        state,
        reason: row.get(9)?,
        attempts: row.get(10)?,
        crashes: row.get(11)?,
        run_at: Timestamp(row.get(12)?),
        lease: Lease(row.get(13)?),
        created_at: Timestamp(row.get(14)?),
        updated_at: Timestamp(row.get(15)?),
    }))
}

fn read_webhook(row: &Row<'_>) -> rusqlite::Result<Result<Webhook, StoreError>> {
    let id = WebhookId(row.get(0)?);
    let (settings, events): (String, String) = (row.get(4)?, row.get(5)?);
    let damaged =
        |error: serde_json::Error| StoreError::Corrupt { record: format!("webhook {id}"), reason: error.to_string() };
    let (settings, events) = match (serde_json::from_str(&settings), serde_json::from_str(&events)) {
        (Ok(settings), Ok(events)) => (settings, events),
        (Err(error), _) | (_, Err(error)) => return Ok(Err(damaged(error))),
    };
    Ok(Ok(Webhook {
        id,
        owner: OwnerId(row.get(1)?),
        url: row.get(2)?,
        method: row.get(3)?,
        settings,
        events,
        enabled: row.get(6)?,
        disabled_reason: row.get(7)?,
        created_at: Timestamp(row.get(8)?),
        updated_at: Timestamp(row.get(9)?),
    }))
}
