//! The queries.

use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, params, params_from_iter};

use super::unreadable;
use super::write::number;
use crate::store::record::read_schedule;
use crate::store::{
    AttemptId, AttemptMode, Event, EventId, Failing, Lane, Lease, OwnerId, Priority, Sealed, StoreError, Task,
    TaskFilter, TaskHead, TaskId, TaskState, Timestamp, Webhook, WebhookId,
};

/// Tasks that are returned when a filter names no limit.
const DEFAULT_LIMIT: u32 = 100;

pub(super) const TASK: &str =
    "SELECT id, event, webhook, number, name, key, host, payload, state, reason, attempts, crashes,
                    run_at, lease, created_at, updated_at, holder IS NOT NULL, priority, ordered, attempts_before,
                    unique_key, schedule, timeout_ms, replay_of, mode, as_sent FROM task";
const HEAD: &str =
    "SELECT id, number, name, key, host, run_at, attempts - attempts_before, priority, ordered FROM task";
pub(super) const EVENT: &str = "SELECT id, name, owner, task, cause, depth, body, at, channel FROM event";
pub(super) const WEBHOOK_COLUMNS: &str =
    "id, owner, url, method, secrets, events, enabled, disabled_reason, created_at, updated_at, name, options,
     failing_since, failed_at, failures, warned, version";

pub(super) fn all<V>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<V>,
) -> Result<Vec<V>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(unreadable)?;
    let rows = statement.query_map(values, read).map_err(unreadable)?;
    rows.collect::<rusqlite::Result<_>>().map_err(unreadable)
}

pub(super) fn one<V>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<V>,
) -> Result<Option<V>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(unreadable)?;
    statement.query_row(values, read).optional().map_err(unreadable)
}

pub(super) fn task(connection: &Connection, id: TaskId) -> Result<Option<Task>, StoreError> {
    let read = one(connection, &format!("{TASK} WHERE id = ?"), params![id.0], read_task);
    read.map_err(|error| damaged(error, id))?.transpose()
}

/// Returns the part that a scheduler needs; none when the row is gone.
pub(super) fn head(connection: &Connection, id: TaskId) -> Result<Option<TaskHead>, StoreError> {
    let read = |row: &Row<'_>| {
        Ok(TaskHead {
            id: TaskId(row.get(0)?),
            number: row.get(1)?,
            name: row.get(2)?,
            key: row.get(3)?,
            host: row.get(4)?,
            run_at: Timestamp(row.get(5)?),
            attempts: row.get(6)?,
            priority: priority_of(row.get(7)?),
            ordered: row.get(8)?,
        })
    };
    one(connection, &format!("{HEAD} WHERE id = ?"), params![id.0], read).map_err(|error| damaged(error, id))
}

/// Tells a row that holds something unreadable from a database that cannot be read.
fn damaged(error: StoreError, id: TaskId) -> StoreError {
    match &error {
        StoreError::Read { source } => match source.downcast_ref::<rusqlite::Error>() {
            Some(
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..),
            ) => StoreError::Corrupt { record: format!("task {id}"), reason: source.to_string() },
            _ => error,
        },
        _ => error,
    }
}

pub(super) fn lanes(connection: &Connection, after: Option<&Lane>, limit: u32) -> Result<Vec<Lane>, StoreError> {
    // One step of the index for each lane, however many tasks are in it. The index is named, here and where tasks are due,
    // because SQLite would rather read and sort every task of the state.
    let sql = "SELECT number, name, key FROM task INDEXED BY task_lane
               WHERE state = 0 AND holder IS NULL AND (number, name, key) > (?, ?, ?)
               ORDER BY number, name, key LIMIT 1";
    let mut lanes: Vec<Lane> = Vec::new();
    while lanes.len() < limit as usize {
        let (number, name, key) =
            lanes.last().or(after).map_or((0, "", ""), |lane| (lane.number, &lane.name, &lane.key));
        let read = |row: &Row<'_>| Ok(Lane { number: row.get(0)?, name: row.get(1)?, key: row.get(2)? });
        let Some(lane) = one(connection, sql, params![number, name, key], read)? else { break };
        lanes.push(lane);
    }
    Ok(lanes)
}

pub(super) fn next_due(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT run_at FROM task INDEXED BY task_due WHERE state = 2 AND holder IS NULL ORDER BY run_at LIMIT 1";
    one(connection, sql, [], |row| row.get(0).map(Timestamp))
}

/// What [`TaskFilter::undelivered`] asks for. An attempt may outlive the task that made it.
const UNDELIVERED: &str = " AND event IS NOT NULL AND webhook IS NOT NULL AND replay_of IS NULL
    AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.event = task.event AND attempt.webhook = task.webhook
        AND attempt.outcome = 'ok')";

/// Writes a filter as a condition.
fn condition(filter: &TaskFilter) -> (String, Vec<Value>) {
    let mut sql = String::from("1");
    let mut values = Vec::new();
    let mut add = |clause: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql.push_str(" AND ");
            sql.push_str(clause);
            values.push(value);
        }
    };
    add("state = ?", filter.state.map(|state| number(state).into()));
    add("webhook = ?", filter.webhook.map(|webhook| webhook.0.into()));
    add("event = ?", filter.event.as_ref().map(|event| event.0.clone().into()));
    add("number = ?", filter.number.map(|number| i64::from(number).into()));
    add("name = ?", filter.name.clone().map(Into::into));
    add("key = ?", filter.key.clone().map(Into::into));
    add("created_at >= ?", filter.since.map(|since| since.0.into()));
    add("created_at < ?", filter.until.map(|until| until.0.into()));
    add(
        "EXISTS (SELECT 1 FROM event WHERE event.id = task.event AND event.name = ?)",
        filter.event_name.clone().map(Into::into),
    );
    add(
        "EXISTS (SELECT 1 FROM event WHERE event.id = task.event AND event.owner = ?)",
        filter.owner.map(|owner| owner.0.into()),
    );
    add("instr(reason, ?) > 0", filter.reason.clone().map(Into::into));
    if filter.undelivered {
        sql.push_str(UNDELIVERED);
    }
    (sql, values)
}

pub(super) fn tasks(connection: &Connection, filter: &TaskFilter) -> Result<Vec<Task>, StoreError> {
    let (condition, values) = page(filter);
    all(connection, &format!("{TASK} WHERE {condition}"), params_from_iter(values), listed_task)
}

pub(super) fn task_ids(connection: &Connection, filter: &TaskFilter) -> Result<Vec<TaskId>, StoreError> {
    let (condition, values) = page(filter);
    let sql = format!("SELECT id FROM task WHERE {condition}");
    all(connection, &sql, params_from_iter(values), |row| row.get(0).map(TaskId))
}

/// Returns one task, when it matches; `after` and `limit` do not count.
pub(super) fn matching(connection: &Connection, filter: &TaskFilter, id: TaskId) -> Result<Option<Task>, StoreError> {
    let (condition, mut values) = condition(filter);
    values.push(id.0.into());
    one(connection, &format!("{TASK} WHERE {condition} AND id = ?"), params_from_iter(values), listed_task)
}

/// Writes a filter as what a page of its tasks is chosen by.
fn page(filter: &TaskFilter) -> (String, Vec<Value>) {
    let (condition, mut values) = condition(filter);
    let (beyond, order) = if filter.newest_first { ("id < ?", "id DESC") } else { ("id > ?", "id") };
    let start = if filter.newest_first { i64::MAX } else { 0 };
    values.push(filter.after.map_or(start, |after| after.0).into());
    values.push(i64::from(if filter.limit == 0 { DEFAULT_LIMIT } else { filter.limit }).into());
    (format!("{condition} AND {beyond} ORDER BY {order} LIMIT ?"), values)
}

pub(super) fn count_tasks(connection: &Connection, filter: &TaskFilter) -> Result<u64, StoreError> {
    let (condition, values) = condition(filter);
    let sql = format!("SELECT count(*) FROM task WHERE {condition}");
    let count: Option<i64> = one(connection, &sql, params_from_iter(values), |row| row.get(0))?;
    Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
}

pub(super) fn event(connection: &Connection, id: &EventId) -> Result<Option<Event>, StoreError> {
    one(connection, &format!("{EVENT} WHERE id = ?"), params![id.0], read_event)
}

pub(super) fn read_event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        id: EventId(row.get(0)?),
        name: row.get(1)?,
        owner: OwnerId(row.get(2)?),
        task: row.get(3)?,
        cause: row.get::<_, Option<i64>>(4)?.map(TaskId),
        depth: row.get(5)?,
        body: row.get(6)?,
        at: Timestamp(row.get(7)?),
        channel: row.get(8)?,
    })
}

pub(super) fn webhook(connection: &Connection, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
    one(connection, &format!("SELECT {WEBHOOK_COLUMNS} FROM webhook WHERE id = ?"), params![id.0], read_webhook)?
        .transpose()
}

pub(super) fn webhooks(connection: &Connection, owner: Option<OwnerId>) -> Result<Vec<Webhook>, StoreError> {
    let owner = owner.map(|owner| owner.0);
    let sql = format!("SELECT {WEBHOOK_COLUMNS} FROM webhook WHERE ?1 IS NULL OR owner = ?1 ORDER BY id");
    all(connection, &sql, params![owner], read_webhook)?.into_iter().collect()
}

pub(super) fn webhooks_for(connection: &Connection, owner: OwnerId) -> Result<Vec<Webhook>, StoreError> {
    let sql = format!("SELECT {WEBHOOK_COLUMNS} FROM webhook WHERE owner IN (0, ?) AND enabled ORDER BY id");
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

fn priority_of(number: i64) -> Priority {
    match number {
        ..=0 => Priority::Low,
        1 => Priority::Normal,
        _ => Priority::High,
    }
}

pub(super) fn read_task(row: &Row<'_>) -> rusqlite::Result<Result<Task, StoreError>> {
    let id = TaskId(row.get(0)?);
    let damaged = |reason: String| Ok(Err(StoreError::Corrupt { record: format!("task {id}"), reason }));
    let state: i64 = row.get(8)?;
    let Some(state) = state_of(state) else { return damaged(format!("{state} is no state")) };
    let schedule = match row.get::<_, Option<String>>(21)?.map(|schedule| read_schedule(&schedule)).transpose() {
        Ok(schedule) => schedule,
        Err(error) => return damaged(format!("its schedule cannot be read: {error}")),
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
        attempts_before: row.get(19)?,
        crashes: row.get(11)?,
        run_at: Timestamp(row.get(12)?),
        lease: Lease(row.get(13)?),
        priority: priority_of(row.get(17)?),
        ordered: row.get(18)?,
        unique_key: row.get(20)?,
        schedule,
        timeout: row.get::<_, Option<u32>>(22)?.map(|timeout| Duration::from_millis(timeout.into())),
        replay_of: row.get::<_, Option<i64>>(23)?.map(TaskId),
        mode: row.get::<_, Option<String>>(24)?.map(|mode| AttemptMode::stored(&mode)),
        as_sent: row.get::<_, Option<i64>>(25)?.map(AttemptId),
        held: row.get(16)?,
        created_at: Timestamp(row.get(14)?),
        updated_at: Timestamp(row.get(15)?),
    }))
}

/// Reads a task for a list, where one that is damaged hides none of the others: of it stands there what can be read.
fn listed_task(row: &Row<'_>) -> rusqlite::Result<Task> {
    let id = TaskId(row.get(0)?);
    let fault = match read_task(row) {
        Ok(Ok(task)) => return Ok(task),
        Ok(Err(fault)) => fault,
        Err(error) => damaged(unreadable(error), id),
    };
    let nothing = Task::damaged(id, &fault);
    let state = row.get(8).ok().and_then(state_of);
    Ok(Task {
        event: row.get::<_, Option<String>>(1).ok().flatten().map(EventId),
        webhook: row.get::<_, Option<i64>>(2).ok().flatten().map(WebhookId),
        number: row.get(3).unwrap_or_default(),
        name: row.get(4).unwrap_or_default(),
        key: row.get(5).unwrap_or_default(),
        state: state.unwrap_or(nothing.state),
        reason: row.get(9).ok().flatten().or(nothing.reason),
        created_at: row.get(14).map_or(nothing.created_at, Timestamp),
        updated_at: row.get(15).map_or(nothing.updated_at, Timestamp),
        ..nothing
    })
}

fn state_of(stored: i64) -> Option<TaskState> {
    TaskState::ALL.into_iter().find(|known| number(*known) == stored)
}

/// Reads `failing_since`, `failed_at`, `failures` and `warned` from column `at`.
pub(super) fn read_failing(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Failing>> {
    let (since, last): (Option<i64>, Option<i64>) = (row.get(at)?, row.get(at + 1)?);
    let Some((since, last)) = since.zip(last) else { return Ok(None) };
    let (attempts, warned) = (row.get(at + 2)?, row.get(at + 3)?);
    Ok(Some(Failing { since: Timestamp(since), last: Timestamp(last), attempts, warned }))
}

pub(super) fn read_webhook(row: &Row<'_>) -> rusqlite::Result<Result<Webhook, StoreError>> {
    let id = WebhookId(row.get(0)?);
    let (options, events): (String, String) = (row.get(11)?, row.get(5)?);
    let damaged =
        |error: serde_json::Error| StoreError::Corrupt { record: format!("webhook {id}"), reason: error.to_string() };
    let (options, events) = match (serde_json::from_str(&options), serde_json::from_str(&events)) {
        (Ok(options), Ok(events)) => (options, events),
        (Err(error), _) | (_, Err(error)) => return Ok(Err(damaged(error))),
    };
    Ok(Ok(Webhook {
        id,
        owner: OwnerId(row.get(1)?),
        name: row.get(10)?,
        url: row.get(2)?,
        method: row.get(3)?,
        events,
        options,
        secrets: Sealed(row.get(4)?),
        enabled: row.get(6)?,
        disabled_reason: row.get(7)?,
        failing: read_failing(row, 12)?,
        version: u64::try_from(row.get::<_, i64>(16)?).unwrap_or(0),
        created_at: Timestamp(row.get(8)?),
        updated_at: Timestamp(row.get(9)?),
    }))
}
