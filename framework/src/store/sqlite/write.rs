//! The changes. Each runs inside a transaction that the writer opened.

use rusqlite::{Connection, OptionalExtension, params};

use super::{read, unwritable};
use crate::store::record::Move;
use crate::store::{
    Acceptance, Attempt, AttemptResult, Ending, Lease, NewEvent, NewTask, NewWebhook, Recovered, Started, StoreError,
    TaskHead, TaskId, TaskState, Timestamp, Webhook, WebhookId,
};

/// Number of a state in the table.
pub(super) fn number(state: TaskState) -> i64 {
    match state {
        TaskState::Ready => 0,
        TaskState::Running => 1,
        TaskState::Waiting => 2,
        TaskState::Done => 3,
        TaskState::Dead => 4,
    }
}

fn execute(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(unwritable)
}

pub(super) fn accept(connection: &Connection, acceptance: &Acceptance) -> Result<Vec<TaskHead>, StoreError> {
    for event in &acceptance.events {
        insert_event(connection, event)?;
    }
    acceptance.tasks.iter().map(|task| insert_task(connection, task)).collect()
}

fn insert_event(connection: &Connection, event: &NewEvent) -> Result<(), StoreError> {
    let sql = "INSERT INTO event (id, name, owner, task, cause, depth, body, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let cause = event.cause.map(|cause| cause.0);
    let values = params![event.id.0, event.name, event.owner.0, event.task, cause, event.depth, event.body, event.at.0];
    execute(connection, sql, values).map(drop)
}

fn insert_task(connection: &Connection, task: &NewTask) -> Result<TaskHead, StoreError> {
    let sql = "INSERT INTO task (event, webhook, number, name, key, host, payload, state, attempts, crashes, run_at,
               lease, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, ?, 0, ?, ?)";
    let event = task.event.as_ref().map(|event| &event.0);
    let webhook = task.webhook.map(|webhook| webhook.0);
    let (number, run_at) = (task.number, task.run_at.0);
    let values = params![event, webhook, number, task.name, task.key, task.host, task.payload, run_at, run_at, run_at];
    execute(connection, sql, values)?;
    Ok(TaskHead {
        id: TaskId(connection.last_insert_rowid()),
        number: task.number,
        name: task.name.clone(),
        key: task.key.clone(),
        host: task.host.clone(),
        run_at: task.run_at,
        attempts: 0,
    })
}

pub(super) fn start(connection: &Connection, id: TaskId, now: Timestamp) -> Result<Option<Started>, StoreError> {
    let Some(mut task) = read::task(connection, id)? else { return Ok(None) };
    let Some(state) = task.state.after(Move::Start) else { return Ok(None) };
    task.state = state;
    task.attempts += 1;
    task.lease = Lease(task.lease.0 + 1);
    task.updated_at = now;
    let sql = "UPDATE task SET state = ?, attempts = ?, lease = ?, updated_at = ? WHERE id = ?";
    execute(connection, sql, params![number(state), task.attempts, task.lease.0, now.0, id.0])?;
    let sql = "INSERT INTO attempt (task, lease, event, webhook, number, mode, started_at)
               VALUES (?, ?, ?, ?, ?, 'deferred', ?)";
    let event = task.event.as_ref().map(|event| &event.0);
    let webhook = task.webhook.map(|webhook| webhook.0);
    execute(connection, sql, params![id.0, task.lease.0, event, webhook, task.attempts, now.0])?;
    let event = task.event.as_ref().map(|event| read::event(connection, event)).transpose()?.flatten();
    let webhook = task.webhook.map(|webhook| read::webhook(connection, webhook)).transpose()?.flatten();
    Ok(Some(Started { lease: task.lease, started_at: now, event, webhook, task }))
}

pub(super) fn finish(
    connection: &Connection,
    id: TaskId,
    lease: Lease,
    ending: &Ending,
    attempt: &AttemptResult,
) -> Result<bool, StoreError> {
    let Some(state) = TaskState::Running.after(ending.step()) else { return Ok(false) };
    let (run_at, reason) = match ending {
        Ending::Retry { at, reason } => (Some(at.0), Some(reason)),
        Ending::Dead { reason } => (None, Some(reason)),
        Ending::Done | Ending::Release => (None, None),
    };
    let not_counted = u32::from(*ending == Ending::Release);
    let sql = "UPDATE task SET state = ?, reason = ?, run_at = coalesce(?, run_at), attempts = attempts - ?,
               updated_at = ? WHERE id = ? AND lease = ? AND state = 1";
    let values = params![number(state), reason, run_at, not_counted, attempt.ended_at.0, id.0, lease.0];
    if execute(connection, sql, values)? == 0 {
        return Ok(false);
    }
    let sql = "UPDATE attempt SET ended_at = ?, outcome = ?, status = ?, detail = ?, url = ?, response = ?
               WHERE task = ? AND lease = ?";
    let AttemptResult { ended_at, outcome, status, detail, url, response } = attempt;
    execute(connection, sql, params![ended_at.0, outcome, status, detail, url, response, id.0, lease.0])?;
    Ok(true)
}

pub(super) fn insert_attempt(connection: &Connection, attempt: &Attempt) -> Result<(), StoreError> {
    let sql = "INSERT INTO attempt (task, event, webhook, number, mode, started_at, ended_at, outcome, status, detail,
               url, response) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let values = params![
        attempt.task.map(|task| task.0),
        attempt.event.as_ref().map(|event| &event.0),
        attempt.webhook.map(|webhook| webhook.0),
        attempt.number,
        attempt.mode,
        attempt.started_at.0,
        attempt.ended_at.map(|at| at.0),
        attempt.outcome,
        attempt.status,
        attempt.detail,
        attempt.url,
        attempt.response,
    ];
    execute(connection, sql, values).map(drop)
}

pub(super) fn retry(connection: &Connection, id: TaskId, now: Timestamp) -> Result<Option<TaskHead>, StoreError> {
    let Some(task) = read::task(connection, id)? else { return Ok(None) };
    let Some(state) = task.state.after(Move::RetryByHand) else { return Ok(None) };
    let sql = "UPDATE task SET state = ?, reason = NULL, crashes = 0, run_at = ?, updated_at = ? WHERE id = ?";
    execute(connection, sql, params![number(state), now.0, now.0, id.0])?;
    Ok(Some(TaskHead {
        id,
        number: task.number,
        name: task.name,
        key: task.key,
        host: task.host,
        run_at: now,
        attempts: task.attempts,
    }))
}

pub(super) fn cancel(connection: &Connection, id: TaskId, now: Timestamp) -> Result<bool, StoreError> {
    let Some(task) = read::task(connection, id)? else { return Ok(false) };
    let Some(state) = task.state.after(Move::Cancel) else { return Ok(false) };
    let sql = "UPDATE task SET state = ?, reason = 'cancelled', updated_at = ? WHERE id = ?";
    execute(connection, sql, params![number(state), now.0, id.0])?;
    Ok(true)
}

pub(super) fn recover(connection: &Connection, now: Timestamp, crash_limit: u32) -> Result<Recovered, StoreError> {
    let sql = "UPDATE attempt SET ended_at = ?, outcome = 'unknown',
               detail = 'the host ended while the attempt was made; whether it arrived is not known'
               WHERE ended_at IS NULL AND task IN (SELECT id FROM task WHERE state = 1)";
    execute(connection, sql, params![now.0])?;
    let sql = "UPDATE task SET state = 4, crashes = crashes + 1, updated_at = ?,
               reason = 'crash: the host ended while it was running, too often'
               WHERE state = 1 AND crashes + 1 >= ?";
    let dead = execute(connection, sql, params![now.0, crash_limit])?;
    let sql = "UPDATE task SET state = 0, crashes = crashes + 1, updated_at = ? WHERE state = 1";
    let ready = execute(connection, sql, params![now.0])?;
    Ok(Recovered { ready: ready as u64, dead: dead as u64 })
}

pub(super) fn add_webhook(connection: &Connection, webhook: NewWebhook, now: Timestamp) -> Result<Webhook, StoreError> {
    let settings = serde_json::to_string(&webhook.settings).map_err(|error| unencodable(&error))?;
    let events = serde_json::to_string(&webhook.events).map_err(|error| unencodable(&error))?;
    let sql = "INSERT INTO webhook (owner, url, method, settings, events, enabled, created_at, updated_at)
               VALUES (?, ?, ?, ?, ?, 1, ?, ?)";
    execute(connection, sql, params![webhook.owner.0, webhook.url, webhook.method, settings, events, now.0, now.0])?;
    Ok(Webhook {
        id: WebhookId(connection.last_insert_rowid()),
        owner: webhook.owner,
        url: webhook.url,
        method: webhook.method,
        settings: webhook.settings,
        events: webhook.events,
        enabled: true,
        disabled_reason: None,
        created_at: now,
        updated_at: now,
    })
}

fn unencodable(error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { record: "webhook".into(), reason: error.to_string() }
}

pub(super) fn set_webhook_enabled(
    connection: &Connection,
    id: WebhookId,
    enabled: bool,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "UPDATE webhook SET enabled = ?, disabled_reason = ?, updated_at = ? WHERE id = ?";
    Ok(execute(connection, sql, params![enabled, reason, now.0, id.0])? > 0)
}

pub(super) fn remove_webhook(connection: &Connection, id: WebhookId, now: Timestamp) -> Result<bool, StoreError> {
    let known = "SELECT 1 FROM webhook WHERE id = ?";
    let known: Option<i64> =
        connection.query_row(known, params![id.0], |row| row.get(0)).optional().map_err(unwritable)?;
    if known.is_none() {
        return Ok(false);
    }
    let sql =
        "UPDATE task SET state = 4, reason = 'webhook removed', updated_at = ? WHERE webhook = ? AND state IN (0, 2)";
    execute(connection, sql, params![now.0, id.0])?;
    execute(connection, "DELETE FROM webhook WHERE id = ?", params![id.0])?;
    Ok(true)
}

pub(super) fn set_plugin_value(
    connection: &Connection,
    plugin: &str,
    key: &str,
    value: Option<&[u8]>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM plugin_value WHERE plugin = ? AND (key = ? OR expires_at <= ?)";
    execute(connection, sql, params![plugin, key, now.0])?;
    if let Some(value) = value {
        let sql = "INSERT INTO plugin_value (plugin, key, value, expires_at) VALUES (?, ?, ?, ?)";
        execute(connection, sql, params![plugin, key, value, expires_at.map(|at| at.0)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_in_the_statements_are_those_of_the_states() {
        let numbers = TaskState::ALL.map(number);
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        // What the bulk statements do by number, the state machine allows.
        for state in [TaskState::Ready, TaskState::Waiting] {
            assert_eq!(state.after(Move::Cancel), Some(TaskState::Dead));
        }
        assert_eq!(TaskState::Running.after(Move::GiveUp), Some(TaskState::Dead));
        assert_eq!(TaskState::Running.after(Move::Release), Some(TaskState::Ready));
    }
}
