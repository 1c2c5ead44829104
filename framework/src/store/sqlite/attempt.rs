//! Attempts in SQLite.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::read::{all, one};
use super::write::execute;
use crate::store::record::{attempt_bytes, read_exchanges, write_exchanges, written_as_json};
use crate::store::{
    Attempt, AttemptFilter, AttemptId, AttemptMode, AttemptResult, Event, EventId, Lease, OwnerId, StoreError, Task,
    TaskId, Timestamp, WebhookId,
};

/// Attempts that are returned when a filter names no limit.
const DEFAULT_LIMIT: u32 = 100;

/// The columns that a list shows. `response` and `exchanges` follow.
macro_rules! columns {
    () => {
        "SELECT id, task, event, event_name, owner, webhook, cause, number, mode, queued_at, due_at, started_at, ended_at,
                outcome, status, next_at, plugin, plugin_version, url, detail, "
    };
}

/// The id after the last one, which may be of an attempt that is gone.
macro_rules! next_id {
    () => {
        "(SELECT 1 + max(last_attempt, coalesce((SELECT max(id) FROM attempt), 0)) FROM total)"
    };
}

pub(super) const WHOLE: &str = concat!(columns!(), "response, exchanges FROM attempt");
const LISTED: &str = concat!(columns!(), "NULL, NULL FROM attempt");

/// Writes that a task has been started.
pub(super) fn begin(
    connection: &Connection,
    task: &Task,
    event: Option<&Event>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = concat!(
        "INSERT INTO attempt (task, lease, event, event_name, owner, webhook, cause, number, mode, queued_at, due_at,
               started_at, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ",
        next_id!(),
        ")"
    );
    let values = params![
        task.id.0,
        task.lease.0,
        task.event.as_ref().map(|event| &event.0),
        event.map(|event| &event.name),
        event.map(|event| event.owner.0),
        task.webhook.map(|webhook| webhook.0),
        event.and_then(|event| event.cause).map(|cause| cause.0),
        task.attempts,
        task.attempt_mode().as_str(),
        event.map_or(task.created_at, |event| event.at).0,
        task.run_at.0,
        now.0,
    ];
    execute(connection, sql, values).map(drop)
}

/// Writes how a run has ended.
pub(super) fn end(
    connection: &Connection,
    task: TaskId,
    lease: Lease,
    result: &AttemptResult,
) -> Result<(), StoreError> {
    let exchanges = write_exchanges(&result.exchanges);
    let sql = "UPDATE attempt SET ended_at = ?, outcome = ?, status = ?, detail = ?, url = ?, response = ?, plugin = ?,
               plugin_version = ?, next_at = ?, exchanges = ?, bytes = ? WHERE task = ? AND lease = ?";
    let values = params![
        result.ended_at.0,
        result.outcome,
        result.status,
        result.detail,
        result.url,
        result.response,
        result.plugin,
        result.plugin_version,
        result.next_at.map(|at| at.0),
        exchanges,
        attempt_bytes(result.response.as_deref(), exchanges.as_deref()),
        task.0,
        lease.0,
    ];
    execute(connection, sql, values).map(drop)
}

pub(super) fn insert(connection: &Connection, attempt: &Attempt) -> Result<(), StoreError> {
    let sql = concat!(
        "INSERT INTO attempt (id, task, event, event_name, owner, webhook, cause, number, mode, queued_at, due_at,
               started_at, ended_at, outcome, status, next_at, plugin, plugin_version, url, detail, response, exchanges,
               bytes) VALUES (coalesce(?, ",
        next_id!(),
        "), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    );
    let exchanges = write_exchanges(&attempt.exchanges);
    let values = params![
        // One that has none yet gets the next.
        Some(attempt.id.0).filter(|id| *id != 0),
        attempt.task.map(|task| task.0),
        attempt.event.as_ref().map(|event| &event.0),
        attempt.event_name,
        attempt.owner.map(|owner| owner.0),
        attempt.webhook.map(|webhook| webhook.0),
        attempt.cause.map(|cause| cause.0),
        attempt.number,
        attempt.mode.as_str(),
        attempt.queued_at.map(|at| at.0),
        attempt.due_at.map(|at| at.0),
        attempt.started_at.0,
        attempt.ended_at.map(|at| at.0),
        attempt.outcome,
        attempt.status,
        attempt.next_at.map(|at| at.0),
        attempt.plugin,
        attempt.plugin_version,
        attempt.url,
        attempt.detail,
        attempt.response,
        exchanges,
        attempt_bytes(attempt.response.as_deref(), exchanges.as_deref()),
    ];
    execute(connection, sql, values).map(drop)
}

pub(super) fn of_task(connection: &Connection, task: TaskId) -> Result<Vec<Attempt>, StoreError> {
    all(connection, &format!("{WHOLE} WHERE task = ? ORDER BY id"), params![task.0], read)?.into_iter().collect()
}

pub(super) fn by_id(connection: &Connection, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
    one(connection, &format!("{WHOLE} WHERE id = ?"), params![id.0], read)?.transpose()
}

pub(super) fn find(connection: &Connection, filter: &AttemptFilter) -> Result<Vec<Attempt>, StoreError> {
    let mut sql = format!("{LISTED} WHERE 1");
    let mut values: Vec<Value> = Vec::new();
    let mut add = |clause: &str, given: Option<Value>| {
        if let Some(given) = given {
            sql.push_str(" AND ");
            sql.push_str(clause);
            values.push(given);
        }
    };
    add("webhook = ?", filter.webhook.map(|webhook| webhook.0.into()));
    add("owner = ?", filter.owner.map(|owner| owner.0.into()));
    add("event = ?", filter.event.as_ref().map(|event| event.0.clone().into()));
    add("event_name = ?", filter.event_name.clone().map(Into::into));
    add("task = ?", filter.task.map(|task| task.0.into()));
    add("outcome = ?", filter.outcome.clone().map(Into::into));
    // The comparison that the index of failures has.
    add("outcome <> ? AND outcome <> 'ok'", filter.failed.filter(|failed| *failed).map(|_| String::new().into()));
    add("outcome = ?", filter.failed.filter(|failed| !failed).map(|_| "ok".to_owned().into()));
    add("status = ?", filter.status.map(|status| i64::from(status).into()));
    add("mode = ?", filter.mode.map(|mode| mode.as_str().to_owned().into()));
    add("started_at >= ?", filter.since.map(|since| since.0.into()));
    add("started_at < ?", filter.until.map(|until| until.0.into()));
    if let Some(text) = &filter.text {
        sql.push_str(
            " AND (instr(response, ?) > 0 OR instr(exchanges, ?) > 0 OR instr(detail, ?) > 0 OR instr(url, ?) > 0
              OR EXISTS (SELECT 1 FROM event WHERE event.id = attempt.event AND instr(event.body, CAST(? AS BLOB)) > 0))",
        );
        values.extend([text.clone(), written_as_json(text), text.clone(), text.clone(), text.clone()].map(Value::from));
    }
    let (beyond, order) = if filter.oldest_first { ("id > ?", "id") } else { ("id < ?", "id DESC") };
    let start = if filter.oldest_first { 0 } else { i64::MAX };
    values.push(filter.after.map_or(start, |after| after.0).into());
    values.push(i64::from(if filter.limit == 0 { DEFAULT_LIMIT } else { filter.limit }).into());
    sql.push_str(&format!(" AND {beyond} ORDER BY {order} LIMIT ?"));
    all(connection, &sql, params_from_iter(values), read)?.into_iter().collect()
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Attempt, StoreError>> {
    let id = AttemptId(row.get(0)?);
    let response: Option<String> = row.get(20)?;
    let exchanges: Option<String> = row.get(21)?;
    let exchanges = match exchanges.map(|text| read_exchanges(&text, response.as_ref())).transpose() {
        Ok(exchanges) => exchanges.unwrap_or_default(),
        Err(error) => {
            return Ok(Err(StoreError::Corrupt { record: format!("attempt {id}"), reason: error.to_string() }));
        }
    };
    let time = |index| row.get::<_, Option<i64>>(index).map(|at| at.map(Timestamp));
    Ok(Ok(Attempt {
        id,
        task: row.get::<_, Option<i64>>(1)?.map(TaskId),
        event: row.get::<_, Option<String>>(2)?.map(EventId),
        event_name: row.get(3)?,
        owner: row.get::<_, Option<i64>>(4)?.map(OwnerId),
        webhook: row.get::<_, Option<i64>>(5)?.map(WebhookId),
        cause: row.get::<_, Option<i64>>(6)?.map(TaskId),
        number: row.get(7)?,
        mode: AttemptMode::stored(&row.get::<_, String>(8)?),
        queued_at: time(9)?,
        due_at: time(10)?,
        started_at: Timestamp(row.get(11)?),
        ended_at: time(12)?,
        outcome: row.get(13)?,
        status: row.get(14)?,
        next_at: time(15)?,
        plugin: row.get(16)?,
        plugin_version: row.get(17)?,
        url: row.get(18)?,
        detail: row.get(19)?,
        response,
        exchanges,
    }))
}
