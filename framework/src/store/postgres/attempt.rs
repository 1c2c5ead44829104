//! Attempts.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::PostgresStore;
use super::read::{Owned, count, filtered};
use super::session::{Failure, Session};
use super::write::{int, text};
use crate::store::record::{attempt_bytes, read_exchanges, write_exchanges, written_as_json};
use crate::store::{
    Attempt, AttemptFilter, AttemptId, AttemptMode, AttemptStore, EventId, OwnerId, StoreError, TaskId, Timestamp,
    WebhookId,
};

/// Attempts that are returned when a filter names no limit.
const DEFAULT_LIMIT: u32 = 100;

impl AttemptStore for PostgresStore {
    fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
        self.read(async move |session: &Session| by_id(session, id).await)
    }

    fn find_attempts(&self, filter: &AttemptFilter) -> Result<Vec<Attempt>, StoreError> {
        let filter = filter.clone();
        self.read(async move |session: &Session| find(session, &filter).await)
    }
}

/// The columns that a list shows. `response` and `exchanges` follow.
macro_rules! columns {
    () => {
        "SELECT id, task, event, event_name, owner, webhook, cause, number, mode, queued_at, due_at, started_at, ended_at,
                outcome, status, next_at, plugin, plugin_version, url, detail, "
    };
}

/// Writes the attempts of the tasks `begun`, which have just been started.
macro_rules! begin {
    () => {
        "INSERT INTO attempt (task, lease, event, webhook, number, mode, started_at, event_name, owner, cause, queued_at,
             due_at)
         SELECT begun.id, lease, event, webhook, attempts,
                CASE WHEN mode = 'immediate' AND attempts > 1 THEN 'deferred'
                     ELSE coalesce(mode, CASE WHEN replay_of IS NULL THEN 'deferred' ELSE 'replay' END) END,
                updated_at, event.name,
                event.owner, event.cause, coalesce(event.at, created_at), run_at
         FROM begun LEFT JOIN event ON event.id = begun.event"
    };
}

/// Attempts with everything.
macro_rules! whole {
    ($rest:literal) => {
        concat!($crate::store::postgres::attempt::columns!(), "response, exchanges FROM attempt ", $rest)
    };
}
pub(super) use {begin, columns, whole};

const LISTED: &str = concat!(columns!(), "NULL::text, NULL::text FROM attempt");

async fn by_id(session: &Session, id: AttemptId) -> Result<Option<Attempt>, Failure> {
    let row = session.row(whole!("WHERE id = $1"), &[&id.0]).await?;
    row.map(|row| read(&row)).transpose().map_err(Failure::Store)
}

pub(super) async fn of_task(session: &Session, task: TaskId) -> Result<Vec<Attempt>, Failure> {
    let rows = session.query(whole!("WHERE task = $1 ORDER BY id"), &[&task.0]).await?;
    rows.iter().map(read).collect::<Result<_, _>>().map_err(Failure::Store)
}

async fn find(session: &Session, filter: &AttemptFilter) -> Result<Vec<Attempt>, Failure> {
    let mut sql = format!("{LISTED} WHERE true");
    let mut values = Owned::new();
    let mut add = |clause: &str, value: Option<Box<dyn ToSql + Sync>>| {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(" AND ");
            sql.push_str(&clause.replace('?', &format!("${}", values.len())));
        }
    };
    let owned = |given: &String| -> Box<dyn ToSql + Sync> { Box::new(text(given).into_owned()) };
    add("webhook = ?", filter.webhook.map(|webhook| Box::new(webhook.0) as _));
    add("owner = ?", filter.owner.map(|owner| Box::new(owner.0) as _));
    add("event = ?", filter.event.as_ref().map(|event| owned(&event.0)));
    add("event_name = ?", filter.event_name.as_ref().map(owned));
    add("task = ?", filter.task.map(|task| Box::new(task.0) as _));
    add("outcome = ?", filter.outcome.as_ref().map(owned));
    add("outcome <> ?", filter.failed.filter(|failed| *failed).map(|_| Box::new("ok") as _));
    add("outcome = ?", filter.failed.filter(|failed| !failed).map(|_| Box::new("ok") as _));
    add("status = ?", filter.status.map(|status| Box::new(i32::from(status)) as _));
    add("mode = ?", filter.mode.map(|mode| Box::new(mode.as_str()) as _));
    add("started_at >= ?", filter.since.map(|since| Box::new(since.0) as _));
    add("started_at < ?", filter.until.map(|until| Box::new(until.0) as _));
    if let Some(wanted) = &filter.text {
        let wanted = text(wanted).into_owned();
        let at = values.len();
        sql.push_str(&format!(
            " AND (strpos(response, ${0}) > 0 OR strpos(exchanges, ${1}) > 0 OR strpos(detail, ${0}) > 0
              OR strpos(url, ${0}) > 0 OR EXISTS (SELECT 1 FROM event WHERE event.id = attempt.event
                  AND position(${2} in event.body) > 0))",
            at + 1,
            at + 2,
            at + 3,
        ));
        let bytes = wanted.clone().into_bytes();
        values.extend([Box::new(wanted.clone()) as Box<dyn ToSql + Sync>, Box::new(written_as_json(&wanted))]);
        values.push(Box::new(bytes));
    }
    let (beyond, order) = if filter.oldest_first { (">", "") } else { ("<", "DESC") };
    let start = if filter.oldest_first { 0 } else { i64::MAX };
    values.push(Box::new(filter.after.map_or(start, |after| after.0)));
    values.push(Box::new(i64::from(if filter.limit == 0 { DEFAULT_LIMIT } else { filter.limit })));
    let (after, limit) = (values.len() - 1, values.len());
    sql.push_str(&format!(" AND id {beyond} ${after} ORDER BY id {order} LIMIT ${limit}"));
    let rows = filtered(session, &sql, &values).await?;
    rows.iter().map(read).collect::<Result<_, _>>().map_err(Failure::Store)
}

/// Reads the columns of an attempt, the first of a row.
pub(super) fn read(row: &Row) -> Result<Attempt, StoreError> {
    let id = AttemptId(row.get(0));
    let response: Option<String> = row.get(20);
    let exchanges = row.get::<_, Option<&str>>(21).map(|text| read_exchanges(text, response.as_ref())).transpose();
    let time = |index| row.get::<_, Option<i64>>(index).map(Timestamp);
    Ok(Attempt {
        id,
        task: row.get::<_, Option<i64>>(1).map(TaskId),
        event: row.get::<_, Option<String>>(2).map(EventId),
        event_name: row.get(3),
        owner: row.get::<_, Option<i64>>(4).map(OwnerId),
        webhook: row.get::<_, Option<i64>>(5).map(WebhookId),
        cause: row.get::<_, Option<i64>>(6).map(TaskId),
        number: count(row.get(7)),
        mode: AttemptMode::stored(row.get(8)),
        queued_at: time(9),
        due_at: time(10),
        started_at: Timestamp(row.get(11)),
        ended_at: time(12),
        outcome: row.get(13),
        status: row.get::<_, Option<i32>>(14).and_then(|status| u16::try_from(status).ok()),
        next_at: time(15),
        plugin: row.get(16),
        plugin_version: row.get(17),
        url: row.get(18),
        detail: row.get(19),
        response,
        exchanges: exchanges
            .map_err(|error| StoreError::Corrupt { record: format!("attempt {id}"), reason: error.to_string() })?
            .unwrap_or_default(),
    })
}

/// Inserts an attempt; one without an id gets the next. Every host counts what it inserts.
pub(super) const INSERT: &str = "WITH new AS (
        INSERT INTO attempt (id, task, event, event_name, owner, webhook, cause, number, mode, queued_at, due_at, started_at,
            ended_at, outcome, status, next_at, plugin, plugin_version, url, detail, response, exchanges, bytes)
        VALUES (coalesce($1::bigint, nextval(pg_get_serial_sequence('attempt', 'id'))), $2, $3, $4, $5, $6, $7, $8, $9, $10,
            $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23) RETURNING bytes)
    INSERT INTO attempt_bytes (host, bytes) SELECT $24, bytes FROM new
    ON CONFLICT (host) DO UPDATE SET bytes = attempt_bytes.bytes + excluded.bytes";

pub(super) async fn insert(session: &Session, host: i64, attempt: &Attempt) -> Result<(), Failure> {
    let values = values_of(attempt, host);
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
    session.execute(INSERT, &values).await.map(drop)
}

/// Returns the values of [`INSERT`].
pub(super) fn values_of(attempt: &Attempt, host: i64) -> Vec<Box<dyn ToSql + Sync + '_>> {
    let optional = |given: &'_ Option<String>| given.as_deref().map(|given| text(given).into_owned());
    let exchanges = write_exchanges(&attempt.exchanges);
    let bytes = attempt_bytes(attempt.response.as_deref(), exchanges.as_deref());
    vec![
        Box::new(Some(attempt.id.0).filter(|id| *id != 0)),
        Box::new(attempt.task.map(|task| task.0)),
        Box::new(attempt.event.as_ref().map(|event| text(&event.0).into_owned())),
        Box::new(optional(&attempt.event_name)),
        Box::new(attempt.owner.map(|owner| owner.0)),
        Box::new(attempt.webhook.map(|webhook| webhook.0)),
        Box::new(attempt.cause.map(|cause| cause.0)),
        Box::new(int(attempt.number)),
        Box::new(attempt.mode.as_str()),
        Box::new(attempt.queued_at.map(|at| at.0)),
        Box::new(attempt.due_at.map(|at| at.0)),
        Box::new(attempt.started_at.0),
        Box::new(attempt.ended_at.map(|at| at.0)),
        Box::new(optional(&attempt.outcome)),
        Box::new(attempt.status.map(i32::from)),
        Box::new(attempt.next_at.map(|at| at.0)),
        Box::new(optional(&attempt.plugin)),
        Box::new(optional(&attempt.plugin_version)),
        Box::new(optional(&attempt.url)),
        Box::new(optional(&attempt.detail)),
        Box::new(optional(&attempt.response)),
        Box::new(exchanges),
        Box::new(bytes),
        Box::new(host),
    ]
}
