//! The queries.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::session::{Failure, Session};
use super::write::{int, number, text};
use crate::store::record::read_schedule;
use crate::store::{
    AttemptId, AttemptMode, Event, EventId, Failing, Lane, Lease, OwnerId, Priority, Sealed, StoreError, Task,
    TaskCounts, TaskFilter, TaskHead, TaskId, TaskState, Timestamp, Webhook, WebhookId,
};

/// Tasks that are returned when a filter names no limit.
const DEFAULT_LIMIT: u32 = 100;

/// Columns of a task, of the table or what stands for it.
macro_rules! task_columns {
    ($table:literal) => {
        concat!(
            $table,
            ".id, ",
            $table,
            ".event, ",
            $table,
            ".webhook, ",
            $table,
            ".number, ",
            $table,
            ".name, ",
            $table,
            ".key, ",
            $table,
            ".host, ",
            $table,
            ".payload, ",
            $table,
            ".state, ",
            $table,
            ".reason, ",
            $table,
            ".attempts, ",
            $table,
            ".attempts_before, ",
            $table,
            ".crashes, ",
            $table,
            ".run_at, ",
            $table,
            ".lease, ",
            $table,
            ".priority, ",
            $table,
            ".ordered, ",
            $table,
            ".unique_key, ",
            $table,
            ".schedule, ",
            $table,
            ".timeout_ms, ",
            $table,
            ".replay_of, ",
            $table,
            ".holder IS NOT NULL, ",
            $table,
            ".created_at, ",
            $table,
            ".updated_at, ",
            $table,
            ".mode, ",
            $table,
            ".as_sent"
        )
    };
}
pub(super) use task_columns;

macro_rules! event_columns {
    ($table:literal) => {
        concat!(
            $table, ".id, ", $table, ".name, ", $table, ".owner, ", $table, ".task, ", $table, ".cause, ", $table,
            ".depth, ", $table, ".body, ", $table, ".at, ", $table, ".channel"
        )
    };
}
pub(super) use event_columns;

macro_rules! webhook_columns {
    ($table:literal) => {
        concat!(
            $table,
            ".id, ",
            $table,
            ".owner, ",
            $table,
            ".url, ",
            $table,
            ".method, ",
            $table,
            ".secrets, ",
            $table,
            ".events, ",
            $table,
            ".enabled, ",
            $table,
            ".disabled_reason, ",
            $table,
            ".created_at, ",
            $table,
            ".updated_at, ",
            $table,
            ".name, ",
            $table,
            ".options, ",
            $table,
            ".failing_since, ",
            $table,
            ".failed_at, ",
            $table,
            ".failures, ",
            $table,
            ".warned, ",
            $table,
            ".version"
        )
    };
}
pub(super) use webhook_columns;

/// How many columns `task_columns!` are.
pub(super) const TASK_COLUMNS: usize = 26;
/// How many columns `event_columns!` are.
pub(super) const EVENT_COLUMNS: usize = 9;
/// How many columns `webhook_columns!` are.
pub(super) const WEBHOOK_COLUMNS: usize = 17;

/// Columns of a [`TaskHead`].
macro_rules! head_columns {
    () => {
        "task.id, task.number, task.name, task.key, task.host, task.run_at, task.attempts - task.attempts_before,
         task.priority, task.ordered"
    };
}
pub(super) use head_columns;

/// Returns a number that the schema keeps from being negative.
pub(super) fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn priority_of(number: i16) -> Priority {
    match number {
        ..=0 => Priority::Low,
        1 => Priority::Normal,
        _ => Priority::High,
    }
}

/// Reads `head_columns!`, the first of a row.
pub(super) fn head(row: &Row) -> TaskHead {
    TaskHead {
        id: TaskId(row.get(0)),
        number: count(row.get(1)),
        name: row.get(2),
        key: row.get(3),
        host: row.get(4),
        run_at: Timestamp(row.get(5)),
        attempts: count(row.get(6)),
        priority: priority_of(row.get(7)),
        ordered: row.get(8),
    }
}

/// Reads `task_columns!`, the first of a row.
pub(super) fn task(row: &Row) -> Result<Task, StoreError> {
    let id = TaskId(row.get(0));
    let damaged = |reason: String| StoreError::Corrupt { record: format!("task {id}"), reason };
    let state: i16 = row.get(8);
    let schedule = row.get::<_, Option<&str>>(18).map(read_schedule).transpose();
    Ok(Task {
        id,
        event: row.get::<_, Option<String>>(1).map(EventId),
        webhook: row.get::<_, Option<i64>>(2).map(WebhookId),
        number: count(row.get(3)),
        name: row.get(4),
        key: row.get(5),
        host: row.get(6),
        payload: row.get(7),
        state: state_of(state).ok_or_else(|| damaged(format!("{state} is no state")))?,
        reason: row.get(9),
        attempts: count(row.get(10)),
        attempts_before: count(row.get(11)),
        crashes: count(row.get(12)),
        run_at: Timestamp(row.get(13)),
        lease: Lease(row.get(14)),
        priority: priority_of(row.get(15)),
        ordered: row.get(16),
        unique_key: row.get(17),
        schedule: schedule.map_err(|error| damaged(format!("its schedule cannot be read: {error}")))?,
        timeout: row.get::<_, Option<i64>>(19).map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        replay_of: row.get::<_, Option<i64>>(20).map(TaskId),
        held: row.get(21),
        created_at: Timestamp(row.get(22)),
        updated_at: Timestamp(row.get(23)),
        mode: row.get::<_, Option<&str>>(24).map(AttemptMode::stored),
        as_sent: row.get::<_, Option<i64>>(25).map(AttemptId),
    })
}

/// Reads a task for a list, where one that is damaged hides none of the others: of it stands there what can be read.
fn listed_task(row: &Row) -> Task {
    let fault = match task(row) {
        Ok(task) => return task,
        Err(fault) => fault,
    };
    let nothing = Task::damaged(TaskId(row.get(0)), &fault);
    Task {
        event: row.get::<_, Option<String>>(1).map(EventId),
        webhook: row.get::<_, Option<i64>>(2).map(WebhookId),
        number: count(row.get(3)),
        name: row.get(4),
        key: row.get(5),
        state: state_of(row.get(8)).unwrap_or(nothing.state),
        reason: row.get::<_, Option<String>>(9).or(nothing.reason),
        created_at: Timestamp(row.get(22)),
        updated_at: Timestamp(row.get(23)),
        ..nothing
    }
}

fn state_of(stored: i16) -> Option<TaskState> {
    TaskState::ALL.into_iter().find(|known| number(*known) == stored)
}

/// Reads `event_columns!` from column `at`.
pub(super) fn event(row: &Row, at: usize) -> Event {
    Event {
        id: EventId(row.get(at)),
        name: row.get(at + 1),
        owner: OwnerId(row.get(at + 2)),
        task: row.get(at + 3),
        cause: row.get::<_, Option<i64>>(at + 4).map(TaskId),
        depth: count(row.get(at + 5)),
        body: row.get(at + 6),
        at: Timestamp(row.get(at + 7)),
        channel: row.get(at + 8),
    }
}

/// Reads `failing_since`, `failed_at`, `failures` and `warned` from column `at`.
pub(super) fn failing(row: &Row, at: usize) -> Option<Failing> {
    let (since, last): (Option<i64>, Option<i64>) = (row.get(at), row.get(at + 1));
    let (since, last) = (since.map(Timestamp)?, last.map(Timestamp)?);
    let attempts = u32::try_from(row.get::<_, i64>(at + 2)).unwrap_or(u32::MAX);
    Some(Failing { since, last, attempts, warned: row.get(at + 3) })
}

/// Reads `webhook_columns!` from column `at`.
pub(super) fn webhook(row: &Row, at: usize) -> Result<Webhook, StoreError> {
    let id = WebhookId(row.get(at));
    let damaged =
        |error: serde_json::Error| StoreError::Corrupt { record: format!("webhook {id}"), reason: error.to_string() };
    Ok(Webhook {
        id,
        owner: OwnerId(row.get(at + 1)),
        url: row.get(at + 2),
        method: row.get(at + 3),
        name: row.get(at + 10),
        options: serde_json::from_str(row.get(at + 11)).map_err(damaged)?,
        secrets: Sealed(row.get(at + 4)),
        failing: failing(row, at + 12),
        version: u64::try_from(row.get::<_, i64>(at + 16)).unwrap_or(0),
        events: serde_json::from_str(row.get(at + 5)).map_err(damaged)?,
        enabled: row.get(at + 6),
        disabled_reason: row.get(at + 7),
        created_at: Timestamp(row.get(at + 8)),
        updated_at: Timestamp(row.get(at + 9)),
    })
}

pub(super) async fn task_by_id(session: &Session, id: TaskId) -> Result<Option<Task>, Failure> {
    let sql = concat!("SELECT ", task_columns!("task"), " FROM task WHERE id = $1");
    session.row(sql, &[&id.0]).await?.map(|row| task(&row)).transpose().map_err(Failure::Store)
}

/// Reads the tasks that have not ended, to see whether all of them can be read.
pub(super) async fn open_tasks(session: &Session) -> Result<(), Failure> {
    let sql = concat!(
        "SELECT ",
        task_columns!("task"),
        " FROM task WHERE state IN (0, 1, 2) AND id > $1 ORDER BY id LIMIT 1000"
    );
    let mut after = 0_i64;
    loop {
        let rows = session.query(sql, &[&after]).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.get(0);
        rows.iter().try_for_each(|row| task(row).map(drop)).map_err(Failure::Store)?;
    }
}

/// One step of the index for each lane, however many tasks are in it.
pub(super) async fn lanes(session: &Session, after: Option<&Lane>, limit: u32) -> Result<Vec<Lane>, Failure> {
    let sql = "WITH RECURSIVE lane AS (
        (SELECT number, name, key FROM task WHERE state = 0 AND holder IS NULL AND (number, name, key) > ($1, $2, $3)
         ORDER BY number, name, key LIMIT 1)
        UNION ALL
        SELECT next.* FROM lane, LATERAL (
            SELECT number, name, key FROM task WHERE state = 0 AND holder IS NULL
            AND (number, name, key) > (lane.number, lane.name, lane.key) ORDER BY number, name, key LIMIT 1) AS next
        ) SELECT * FROM lane LIMIT $4";
    let (number, name, key) = after.map_or((-1, "", ""), |lane| (int(lane.number), &lane.name, &lane.key));
    let rows = session.query(sql, &[&number, &text(name), &text(key), &i64::from(limit)]).await?;
    Ok(rows.iter().map(|row| lane(row, 0)).collect())
}

/// Reads number, name and key from column `at`.
pub(super) fn lane(row: &Row, at: usize) -> Lane {
    Lane { number: count(row.get(at)), name: row.get(at + 1), key: row.get(at + 2) }
}

pub(super) async fn next_due(session: &Session) -> Result<Option<Timestamp>, Failure> {
    let sql = "SELECT run_at FROM task WHERE state = 2 AND holder IS NULL ORDER BY run_at LIMIT 1";
    Ok(session.row(sql, &[]).await?.map(|row| Timestamp(row.get(0))))
}

/// Values of a statement that was put together.
pub(super) type Owned = Vec<Box<dyn ToSql + Sync>>;

/// What [`TaskFilter::undelivered`] asks for. An attempt may outlive the task that made it.
const UNDELIVERED: &str = " AND event IS NOT NULL AND webhook IS NOT NULL AND replay_of IS NULL
    AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.event = task.event AND attempt.webhook = task.webhook
        AND attempt.outcome = 'ok')";

/// Writes a filter as a condition.
fn condition(filter: &TaskFilter) -> (String, Owned) {
    let mut sql = String::from("true");
    let mut values = Owned::new();
    let mut add = |clause: &str, value: Option<Box<dyn ToSql + Sync>>| {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(" AND ");
            sql.push_str(&clause.replace('?', &format!("${}", values.len())));
        }
    };
    let owned = |given: &String| -> Box<dyn ToSql + Sync> { Box::new(text(given).into_owned()) };
    add("state = ?", filter.state.map(|state| Box::new(number(state)) as _));
    add("webhook = ?", filter.webhook.map(|webhook| Box::new(webhook.0) as _));
    add("event = ?", filter.event.as_ref().map(|event| owned(&event.0)));
    add("number = ?", filter.number.map(|number| Box::new(int(number)) as _));
    add("name = ?", filter.name.as_ref().map(owned));
    add("key = ?", filter.key.as_ref().map(owned));
    add("created_at >= ?", filter.since.map(|since| Box::new(since.0) as _));
    add("created_at < ?", filter.until.map(|until| Box::new(until.0) as _));
    add(
        "EXISTS (SELECT 1 FROM event WHERE event.id = task.event AND event.name = ?)",
        filter.event_name.as_ref().map(owned),
    );
    add(
        "EXISTS (SELECT 1 FROM event WHERE event.id = task.event AND event.owner = ?)",
        filter.owner.map(|owner| Box::new(owner.0) as _),
    );
    add("strpos(reason, ?) > 0", filter.reason.as_ref().map(owned));
    if filter.undelivered {
        sql.push_str(UNDELIVERED);
    }
    (sql, values)
}

pub(super) async fn filtered(session: &Session, sql: &str, values: &Owned) -> Result<Vec<Row>, Failure> {
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value).collect();
    session.query_once(sql, &values).await
}

pub(super) async fn tasks(session: &Session, filter: &TaskFilter) -> Result<Vec<Task>, Failure> {
    let (condition, mut values) = condition(filter);
    let (beyond, order) = if filter.newest_first { ("<", "DESC") } else { (">", "") };
    let start = if filter.newest_first { i64::MAX } else { 0 };
    values.push(Box::new(filter.after.map_or(start, |after| after.0)));
    values.push(Box::new(i64::from(if filter.limit == 0 { DEFAULT_LIMIT } else { filter.limit })));
    let (after, limit) = (values.len() - 1, values.len());
    let columns = task_columns!("task");
    let sql = format!(
        "SELECT {columns} FROM task WHERE {condition} AND id {beyond} ${after} ORDER BY id {order} LIMIT ${limit}"
    );
    let rows = filtered(session, &sql, &values).await?;
    Ok(rows.iter().map(listed_task).collect())
}

pub(super) async fn count_tasks(session: &Session, filter: &TaskFilter) -> Result<u64, Failure> {
    let (condition, values) = condition(filter);
    let rows = filtered(session, &format!("SELECT count(*) FROM task WHERE {condition}"), &values).await?;
    Ok(rows.first().map_or(0, |row| u64::try_from(row.get::<_, i64>(0)).unwrap_or(0)))
}

pub(super) async fn task_counts(session: &Session) -> Result<TaskCounts, Failure> {
    let rows = session.query("SELECT state, count(*) FROM task GROUP BY state", &[]).await?;
    let count = |state| {
        let found = rows.iter().find(|row| row.get::<_, i16>(0) == number(state));
        found.map_or(0, |row| u64::try_from(row.get::<_, i64>(1)).unwrap_or(0))
    };
    Ok(TaskCounts {
        ready: count(TaskState::Ready),
        running: count(TaskState::Running),
        waiting: count(TaskState::Waiting),
        done: count(TaskState::Done),
        dead: count(TaskState::Dead),
    })
}

pub(super) async fn event_by_id(session: &Session, id: &EventId) -> Result<Option<Event>, Failure> {
    let sql = concat!("SELECT ", event_columns!("event"), " FROM event WHERE id = $1");
    Ok(session.row(sql, &[&text(&id.0)]).await?.map(|row| event(&row, 0)))
}

pub(super) async fn webhook_by_id(session: &Session, id: WebhookId) -> Result<Option<Webhook>, Failure> {
    let sql = concat!("SELECT ", webhook_columns!("webhook"), " FROM webhook WHERE id = $1");
    session.row(sql, &[&id.0]).await?.map(|row| webhook(&row, 0)).transpose().map_err(Failure::Store)
}

fn all_webhooks(rows: &[Row]) -> Result<Vec<Webhook>, Failure> {
    rows.iter().map(|row| webhook(row, 0)).collect::<Result<_, _>>().map_err(Failure::Store)
}

pub(super) async fn webhooks(session: &Session, owner: Option<OwnerId>) -> Result<Vec<Webhook>, Failure> {
    let sql = concat!(
        "SELECT ",
        webhook_columns!("webhook"),
        " FROM webhook WHERE $1::bigint IS NULL OR owner = $1 ORDER BY id"
    );
    all_webhooks(&session.query(sql, &[&owner.map(|owner| owner.0)]).await?)
}

pub(super) async fn webhooks_for(session: &Session, owner: OwnerId) -> Result<Vec<Webhook>, Failure> {
    let sql =
        concat!("SELECT ", webhook_columns!("webhook"), " FROM webhook WHERE owner IN (0, $1) AND enabled ORDER BY id");
    all_webhooks(&session.query(sql, &[&owner.0]).await?)
}

pub(super) async fn plugin_value(
    session: &Session,
    plugin: &str,
    key: &str,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, Failure> {
    let sql =
        "SELECT value FROM plugin_value WHERE plugin = $1 AND key = $2 AND (expires_at IS NULL OR expires_at > $3)";
    Ok(session.row(sql, &[&text(plugin), &text(key), &now.0]).await?.map(|row| row.get(0)))
}
