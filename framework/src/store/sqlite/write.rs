//! The changes. Each runs inside a transaction that the writer opened.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::{attempt, read, unwritable};
use crate::store::record::{Move, write_schedule};
use crate::store::{
    Acceptance, AcceptedTask, AttemptMode, Claimed, Ending, Lane, Lease, NewEvent, NewTask, Priority, Recovered,
    RunEnd, Started, StoreError, TaskHead, TaskId, TaskState, Timestamp, Unique,
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

/// The states from which a move leads to `to`, as SQL has them in a list.
fn states_before(step: Move, to: TaskState) -> String {
    let states = TaskState::ALL.into_iter().filter(|state| state.after(step) == Some(to));
    states.map(|state| number(state).to_string()).collect::<Vec<_>>().join(", ")
}

/// The one host of the file, in the column that says who holds a task.
pub(super) const HOLDER: i64 = 1;

pub(super) fn priority_number(priority: Priority) -> i64 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
    }
}

pub(super) fn execute(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(unwritable)
}

pub(super) fn accept(connection: &Connection, acceptance: &Acceptance) -> Result<Vec<AcceptedTask>, StoreError> {
    for event in &acceptance.events {
        insert_event(connection, event)?;
    }
    acceptance.tasks.iter().map(|task| accept_task(connection, task)).collect()
}

pub(super) fn accept_task(connection: &Connection, task: &NewTask) -> Result<AcceptedTask, StoreError> {
    if let Some(unique) = &task.unique
        && let Some(head) = find_unique(connection, unique, task.at)?
    {
        return Ok(AcceptedTask { head, held: false, known: true });
    }
    let held = task.hold && !task.ordered;
    Ok(AcceptedTask { head: insert_task(connection, task, held)?, held, known: false })
}

fn find_unique(connection: &Connection, unique: &Unique, now: Timestamp) -> Result<Option<TaskHead>, StoreError> {
    let sql = "SELECT id FROM task WHERE unique_key = ? AND (state IN (0, 1, 2) OR created_at > ?)
               ORDER BY id DESC LIMIT 1";
    let since = now.0.saturating_sub(i64::try_from(unique.window.as_millis()).unwrap_or(i64::MAX));
    let mut statement = connection.prepare_cached(sql).map_err(unwritable)?;
    let found = statement.query_row(params![unique.key, since], |row| row.get(0).map(TaskId));
    found.optional().map_err(unwritable)?.map_or(Ok(None), |id| read::head(connection, id))
}

pub(super) fn insert_event(connection: &Connection, event: &NewEvent) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO event (id, name, owner, task, cause, depth, body, at, channel) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let cause = event.cause.map(|cause| cause.0);
    let NewEvent { id, name, owner, task, depth, body, at, channel, .. } = event;
    let values = params![id.0, name, owner.0, task, cause, depth, body, at.0, channel];
    execute(connection, sql, values).map(drop)
}

fn insert_task(connection: &Connection, task: &NewTask, held: bool) -> Result<TaskHead, StoreError> {
    let sql = "INSERT INTO task (event, webhook, number, name, key, host, payload, state, attempts, crashes, run_at,
               lease, created_at, updated_at, holder, priority, ordered, unique_key, schedule, timeout_ms, replay_of, mode,
               as_sent)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, ?9, 0, ?10, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
               ?19)";
    let state = if task.waits() { TaskState::Waiting } else { TaskState::Ready };
    let values = params![
        task.event.as_ref().map(|event| &event.0),
        task.webhook.map(|webhook| webhook.0),
        task.number,
        task.name,
        task.key,
        task.host,
        task.payload,
        number(state),
        task.run_at.0,
        task.at.0,
        held.then_some(HOLDER),
        priority_number(task.priority),
        task.ordered,
        task.unique.as_ref().map(|unique| &unique.key),
        task.schedule.as_deref().map(write_schedule),
        task.timeout.map(|timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)),
        task.replay_of.map(|task| task.0),
        task.mode.map(AttemptMode::as_str),
        task.as_sent.map(|attempt| attempt.0),
    ];
    execute(connection, sql, values)?;
    Ok(TaskHead {
        id: TaskId(connection.last_insert_rowid()),
        number: task.number,
        name: task.name.clone(),
        key: task.key.clone(),
        host: task.host.clone(),
        run_at: task.run_at,
        attempts: 0,
        priority: task.priority,
        ordered: task.ordered,
    })
}

pub(super) fn claim(connection: &Connection, lanes: &[Lane], per_lane: u32) -> Result<Vec<Claimed>, StoreError> {
    lanes.iter().map(|lane| claim_lane(connection, lane, per_lane)).collect()
}

fn claim_lane(connection: &Connection, lane: &Lane, limit: u32) -> Result<Claimed, StoreError> {
    let mut heads = Vec::new();
    loop {
        let mut ids: Vec<TaskId> = free_head_of_order(connection, lane)?.into_iter().collect();
        ids.extend(free_of_lane(connection, lane, limit.saturating_sub(u32::from(!ids.is_empty())))?);
        let found = !ids.is_empty();
        for id in ids {
            execute(connection, "UPDATE task SET holder = ? WHERE id = ?", params![HOLDER, id.0])?;
            match read::head(connection, id) {
                Ok(head) => heads.extend(head),
                Err(StoreError::Corrupt { reason, .. }) => {
                    quarantine(connection, id, &reason, None)?;
                }
                Err(error) => return Err(error),
            }
        }
        // Nothing at all means that the lane waits for its ordered key, and not that its first tasks were damaged.
        if !found || !heads.is_empty() {
            break;
        }
    }
    let sql =
        "SELECT EXISTS (SELECT 1 FROM task WHERE state = 0 AND holder IS NULL AND number = ? AND name = ? AND key = ?)";
    let mut statement = connection.prepare_cached(sql).map_err(unwritable)?;
    let more = statement.query_row(params![lane.number, lane.name, lane.key], |row| row.get(0)).map_err(unwritable)?;
    Ok(Claimed { lane: lane.clone(), heads, more })
}

fn free_of_lane(connection: &Connection, lane: &Lane, limit: u32) -> Result<Vec<TaskId>, StoreError> {
    let sql = "SELECT id FROM task WHERE state = 0 AND holder IS NULL AND number = ? AND name = ? AND key = ?
               AND ordered = 0 ORDER BY priority DESC, run_at, id LIMIT ?";
    let mut statement = connection.prepare_cached(sql).map_err(unwritable)?;
    let rows = statement.query_map(params![lane.number, lane.name, lane.key, limit], |row| row.get(0).map(TaskId));
    rows.and_then(Iterator::collect).map_err(unwritable)
}

/// The earliest ordered task of a key that has not ended, when it is ready, held by nobody and in this lane, and no other
/// one of the key is held: an earlier one that is retried by hand waits for it.
fn free_head_of_order(connection: &Connection, lane: &Lane) -> Result<Option<TaskId>, StoreError> {
    let sql = "SELECT id FROM (SELECT id, state, holder, number, name FROM task
               WHERE key = ? AND ordered = 1 AND state IN (0, 1, 2) ORDER BY id LIMIT 1)
               WHERE state = 0 AND holder IS NULL AND number = ? AND name = ?
               AND NOT EXISTS (SELECT 1 FROM task WHERE key = ? AND ordered = 1 AND holder IS NOT NULL AND state IN (0, 1, 2))";
    let mut statement = connection.prepare_cached(sql).map_err(unwritable)?;
    let found = statement.query_row(params![lane.key, lane.number, lane.name, lane.key], |row| row.get(0).map(TaskId));
    found.optional().map_err(unwritable)
}

pub(super) fn unhold(connection: &Connection, tasks: &[TaskId]) -> Result<(), StoreError> {
    for id in tasks {
        execute(connection, "UPDATE task SET holder = NULL WHERE id = ? AND state IN (0, 2)", params![id.0])?;
    }
    Ok(())
}

pub(super) fn unhold_all(connection: &Connection) -> Result<(), StoreError> {
    execute(
        connection,
        "UPDATE task INDEXED BY task_held SET holder = NULL, mode = nullif(mode, 'immediate')
         WHERE holder IS NOT NULL AND state IN (0, 2)",
        [],
    )
    .map(drop)
}

pub(super) fn promote(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<Lane>, StoreError> {
    let Some(state) = TaskState::Waiting.after(Move::Due) else { return Ok(Vec::new()) };
    let sql = "UPDATE task SET state = ? WHERE id IN (SELECT id FROM task INDEXED BY task_due
               WHERE state = 2 AND holder IS NULL AND run_at <= ? ORDER BY run_at LIMIT ?) RETURNING number, name, key";
    let mut statement = connection.prepare_cached(sql).map_err(unwritable)?;
    let read = |row: &rusqlite::Row<'_>| Ok(Lane { number: row.get(0)?, name: row.get(1)?, key: row.get(2)? });
    let lanes: rusqlite::Result<BTreeSet<Lane>> =
        statement.query_map(params![number(state), now.0, limit], read).and_then(Iterator::collect);
    Ok(lanes.map_err(unwritable)?.into_iter().collect())
}

pub(super) fn start(
    connection: &Connection,
    tasks: &[TaskId],
    now: Timestamp,
) -> Result<Vec<Result<Option<Started>, StoreError>>, StoreError> {
    let start = |id: &TaskId| match start_task(connection, *id, now) {
        // Of this one nothing was changed, and the others are all right.
        Err(error @ StoreError::Corrupt { .. }) => Ok(Err(error)),
        started => started.map(Ok),
    };
    tasks.iter().map(start).collect()
}

fn start_task(connection: &Connection, id: TaskId, now: Timestamp) -> Result<Option<Started>, StoreError> {
    let Some(mut task) = read::task(connection, id)? else { return Ok(None) };
    let Some(state) = task.state.after(Move::Start).filter(|_| task.held) else { return Ok(None) };
    // All that may be damaged is read before anything is changed.
    let event = task.event.as_ref().map(|event| read::event(connection, event)).transpose()?.flatten();
    let webhook = task.webhook.map(|webhook| read::webhook(connection, webhook)).transpose()?.flatten();
    task.state = state;
    task.attempts += 1;
    task.lease = Lease(task.lease.0 + 1);
    task.updated_at = now;
    let sql = "UPDATE task SET state = ?, attempts = ?, lease = ?, updated_at = ? WHERE id = ?";
    execute(connection, sql, params![number(state), task.attempts, task.lease.0, now.0, id.0])?;
    attempt::begin(connection, &task, event.as_ref(), now)?;
    Ok(Some(Started { lease: task.lease, started_at: now, event, webhook, task }))
}

pub(super) fn finish(connection: &Connection, runs: &[RunEnd]) -> Result<Vec<bool>, StoreError> {
    runs.iter().map(|run| finish_run(connection, run)).collect()
}

fn finish_run(connection: &Connection, run: &RunEnd) -> Result<bool, StoreError> {
    let RunEnd { task: TaskId(id), lease, ending, attempt: result } = run;
    let Some(state) = TaskState::Running.after(ending.step()) else { return Ok(false) };
    let (run_at, reason, hold) = match ending {
        Ending::Retry { at, reason, hold } => (Some(at.0), Some(reason), *hold),
        Ending::Dead { reason } => (None, Some(reason), false),
        Ending::Done { .. } | Ending::Release => (None, None, false),
    };
    let not_counted = u32::from(*ending == Ending::Release);
    let forget = *ending == Ending::Done { keep_input: false };
    let sql =
        "UPDATE task SET state = ?, reason = ?, run_at = coalesce(?, run_at), attempts = attempts - ?, holder = ?,
               payload = iif(?, NULL, payload), updated_at = ? WHERE id = ? AND lease = ? AND state = 1
               RETURNING event";
    let holder = hold.then_some(HOLDER);
    let values = params![number(state), reason, run_at, not_counted, holder, forget, result.ended_at.0, id, lease.0];
    let mut statement = connection.prepare_cached(sql).map_err(unwritable)?;
    let ended: Option<Option<String>> = statement.query_row(values, |row| row.get(0)).optional().map_err(unwritable)?;
    let Some(event) = ended else { return Ok(false) };
    if let Some(event) = event.filter(|_| forget) {
        let sql = "UPDATE event SET body = x'' WHERE id = ?1
                   AND NOT EXISTS (SELECT 1 FROM task WHERE event = ?1 AND state <> 3)";
        execute(connection, sql, params![event])?;
    }
    attempt::end(connection, TaskId(*id), *lease, result)?;
    Ok(true)
}

pub(super) fn retry(connection: &Connection, id: TaskId, now: Timestamp) -> Result<Option<AcceptedTask>, StoreError> {
    let Some(task) = read::task(connection, id)? else { return Ok(None) };
    let Some(state) = task.state.after(Move::RetryByHand) else { return Ok(None) };
    let sql = "UPDATE task SET state = ?, reason = NULL, crashes = 0, attempts_before = attempts, run_at = ?,
               updated_at = ? WHERE id = ?";
    execute(connection, sql, params![number(state), now.0, now.0, id.0])?;
    let head = TaskHead { run_at: now, attempts: 0, ..task.head() };
    Ok(Some(AcceptedTask { head, held: task.held, known: false }))
}

pub(super) fn cancel(connection: &Connection, id: TaskId, now: Timestamp) -> Result<bool, StoreError> {
    let from = states_before(Move::Cancel, TaskState::Dead);
    let sql = format!(
        "UPDATE task SET state = 4, reason = 'cancelled', holder = NULL, updated_at = ? WHERE id = ? AND state IN ({from})"
    );
    Ok(execute(connection, &sql, params![now.0, id.0])? > 0)
}

/// `now` is `None` where the time of the last change is kept.
pub(super) fn quarantine(
    connection: &Connection,
    id: TaskId,
    reason: &str,
    now: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let from = states_before(Move::Quarantine, TaskState::Dead);
    let sql = format!(
        "UPDATE task SET state = 4, reason = ?, holder = NULL, updated_at = coalesce(?, updated_at)
         WHERE id = ? AND state IN ({from})"
    );
    let reason = format!("corrupt: {reason}");
    if execute(connection, &sql, params![reason, now.map(|now| now.0), id.0])? == 0 {
        return Ok(false);
    }
    let sql = "UPDATE attempt SET ended_at = coalesce(?, started_at), outcome = 'corrupt', detail = ?
               WHERE task = ? AND ended_at IS NULL";
    execute(connection, sql, params![now.map(|now| now.0), reason, id.0])?;
    Ok(true)
}

pub(super) fn recover(connection: &Connection, now: Timestamp, crash_limit: u32) -> Result<Recovered, StoreError> {
    // The file has one host, and this one runs nothing yet.
    let sql = "UPDATE attempt SET ended_at = ?, outcome = 'unknown',
               detail = 'the host ended while the attempt was made; whether it arrived is not known'
               WHERE ended_at IS NULL AND task IN (SELECT id FROM task WHERE state = 1)";
    execute(connection, sql, params![now.0])?;
    let sql = "UPDATE task SET state = 4, crashes = crashes + 1, holder = NULL, updated_at = ?,
               reason = 'crash: the host ended while it was running, too often'
               WHERE state = 1 AND crashes + 1 >= ?";
    let dead = execute(connection, sql, params![now.0, crash_limit])?;
    let sql = "UPDATE task SET state = 0, crashes = crashes + 1, holder = NULL, updated_at = ?
               WHERE state = 1";
    let ready = execute(connection, sql, params![now.0])?;
    // What was to be delivered at once is delivered in the background now.
    let sql = "UPDATE task SET holder = NULL, mode = nullif(mode, 'immediate') WHERE holder IS NOT NULL";
    execute(connection, sql, [])?;
    Ok(Recovered { ready: ready as u64, dead: dead as u64 })
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
        assert_eq!(states_before(Move::Due, TaskState::Ready), "2");
        assert_eq!(states_before(Move::Cancel, TaskState::Dead), "0, 2");
    }
}
