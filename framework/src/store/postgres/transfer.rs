//! Everything that the database holds, out and in.

use std::rc::Rc;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::readers::Readers;
use super::session::{Failure, Session, pipeline};
use super::write::{int, number, priority_number, text};
use super::{PostgresStore, attempt, bulk, idempotency, policy, read, schedule};
use crate::store::record::write_schedule;
use crate::store::{
    AttemptId, AttemptMode, Bulk, BulkId, Event, LastIds, PluginValue, Receipt, Record, Records, Schedule, StoreError,
    StoredPolicy, Task, TaskId, TaskState, Timestamp, Webhook, WebhookId,
};

/// Records that are moved at a time.
const BATCH: usize = 500;

/// The tables in which an id is never given twice.
const COUNTED: [&str; 4] = ["task", "webhook", "bulk", "attempt"];

/// The tables that are moved.
const TABLES: [&str; 9] =
    ["event", "task", "attempt", "webhook", "schedule", "bulk", "key_policy", "plugin_value", "idempotency_key"];

type ReadRecord = fn(&Row) -> Result<Record, StoreError>;

/// Where each kind of record is read: how it is done, and the query, in the order in which they are imported.
const QUERIES: &[(ReadRecord, &str)] = &[
    (|row| Ok(Record::SealingKey(row.get(0))), "SELECT id FROM sealing_key"),
    (
        |row| read::webhook(row, 0).map(Record::Webhook),
        concat!("SELECT ", read::webhook_columns!("webhook"), " FROM webhook ORDER BY id"),
    ),
    (
        |row| Ok(Record::Event(read::event(row, 0))),
        concat!("SELECT ", read::event_columns!("event"), " FROM event ORDER BY at, id"),
    ),
    (
        |row| read::task(row).map(Record::Task),
        concat!("SELECT ", read::task_columns!("task"), " FROM task ORDER BY id"),
    ),
    (|row| attempt::read(row).map(Record::Attempt), attempt::whole!("ORDER BY id")),
    (|row| schedule::read(row).map(Record::Schedule), schedule::schedule!("ORDER BY name")),
    (|row| bulk::read_bulk(row).map(Record::Bulk), concat!("SELECT ", bulk::columns!(), " FROM bulk ORDER BY id")),
    (read_policy, "SELECT key, cap, starts, per_ms, paused, updated_at FROM key_policy ORDER BY key"),
    (read_plugin_value, "SELECT plugin, key, value, expires_at FROM plugin_value ORDER BY plugin, key"),
    (
        |row| Ok(Record::IdempotencyKey(idempotency::read(row))),
        "SELECT owner, key, event, fingerprint, expires_at FROM idempotency_key ORDER BY owner, key",
    ),
];

fn read_policy(row: &Row) -> Result<Record, StoreError> {
    let policy = StoredPolicy { key: row.get(0), policy: policy::read_policy(row), updated_at: Timestamp(row.get(5)) };
    Ok(Record::KeyPolicy(policy))
}

fn read_plugin_value(row: &Row) -> Result<Record, StoreError> {
    let expires_at = row.get::<_, Option<i64>>(3).map(Timestamp);
    Ok(Record::PluginValue(PluginValue { plugin: row.get(0), key: row.get(1), value: row.get(2), expires_at }))
}

type Batch = Result<Vec<Record>, StoreError>;

/// Gives every record to `take` in the caller's thread, while another batch is fetched in the store's.
pub(super) fn export(
    store: &PostgresStore,
    take: &mut dyn FnMut(Record) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let (ask, asked) = unbounded_channel::<()>();
    let (batches, given) = crossbeam_channel::unbounded::<Batch>();
    let database = store.database.clone();
    store.ask(Box::new(move |readers: Rc<Readers>| {
        Box::pin(async move {
            let exported = fetch_all(&readers, asked, &batches).await;
            if let Err(failure) = exported {
                let _ = batches.send(Err(failure.of_read(&database)));
            }
        })
    }));
    // When the caller fails, nobody asks any more, which ends the other side.
    let _ = ask.send(());
    while let Ok(batch) = given.recv() {
        let _ = ask.send(());
        batch?.into_iter().try_for_each(&mut *take)?;
    }
    Ok(())
}

async fn fetch_all(
    readers: &Readers,
    mut asked: UnboundedReceiver<()>,
    batches: &crossbeam_channel::Sender<Batch>,
) -> Result<(), Failure> {
    let session = readers.connect("export").await?;
    // One transaction, so that all queries see the same moment.
    session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let mut next = vec![Record::LastIds(last_ids(&session).await?)];
    for (read, query) in QUERIES {
        session.batch(&format!("DECLARE records NO SCROLL CURSOR FOR {query}")).await?;
        loop {
            if !next.is_empty() {
                if asked.recv().await.is_none() {
                    return Ok(());
                }
                let _ = batches.send(Ok(std::mem::take(&mut next)));
            }
            let rows = session.query_once(&format!("FETCH {BATCH} FROM records"), &[]).await?;
            if rows.is_empty() {
                break;
            }
            next = rows.iter().map(read).collect::<Result<_, _>>().map_err(Failure::Store)?;
        }
        session.batch("CLOSE records").await?;
    }
    Ok(())
}

async fn last_ids(session: &Session) -> Result<LastIds, Failure> {
    let mut ids = [0_i64; COUNTED.len()];
    for (table, id) in COUNTED.into_iter().zip(&mut ids) {
        let sql = "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence($1, 'id')::regclass), 0)";
        *id = session.row(sql, &[&table]).await?.map_or(0, |row| row.get(0));
    }
    let [task, webhook, bulk, attempt] = ids;
    Ok(LastIds { task: TaskId(task), webhook: WebhookId(webhook), bulk: BulkId(bulk), attempt: AttemptId(attempt) })
}

/// Takes the records on a connection of its own: it may take its time, and the others have something to do meanwhile.
pub(super) fn import(store: &PostgresStore, records: Records) -> Receipt<u64> {
    let (answer, receiver) = oneshot::channel();
    let (host, database) = (store.host, store.database.clone());
    store.ask(Box::new(move |readers: Rc<Readers>| {
        Box::pin(async move {
            let imported = insert_all(&readers, host, records).await;
            // A caller that no longer waits does not need the answer.
            let _ = answer.send(imported.map_err(|failure| failure.of_write(&database)));
        })
    }));
    Receipt::new(receiver)
}

async fn insert_all(readers: &Readers, host: i64, mut records: Records) -> Result<u64, Failure> {
    let session = readers.connect("import").await?;
    session.batch("BEGIN").await?;
    // Until the end nobody else writes: the store has to be empty, and to stay so.
    session.batch(&format!("LOCK TABLE {} IN EXCLUSIVE MODE", TABLES.join(", "))).await?;
    let filled = TABLES.map(|table| format!("EXISTS (SELECT 1 FROM {table})")).join(" OR ");
    let rows = session.query_once(&format!("SELECT {filled}"), &[]).await?;
    if rows.first().is_some_and(|row| row.get(0)) {
        let reason = "the store is not empty: an export is imported into a new database, or a new schema of it";
        return Err(Failure::Store(StoreError::Refused { reason: reason.into() }));
    }
    let mut count = 0;
    loop {
        let batch: Vec<Record> = records.by_ref().take(BATCH).collect::<Result<_, _>>().map_err(Failure::Store)?;
        if batch.is_empty() {
            session.batch("COMMIT").await?;
            return Ok(count);
        }
        count += batch.len() as u64;
        insert(&session, host, &batch).await?;
    }
}

type Values<'r> = Vec<Box<dyn ToSql + Sync + 'r>>;

/// Inserts records, each with a statement, all sent at once.
async fn insert(session: &Session, host: i64, batch: &[Record]) -> Result<(), Failure> {
    let mut rows = Vec::with_capacity(batch.len());
    for record in batch {
        if let Record::LastIds(ids) = record {
            set_last_ids(session, *ids).await?;
            continue;
        }
        let (sql, values) = row_of(record, host).map_err(Failure::Store)?;
        rows.push((session.prepare(sql).await?, values));
    }
    let step = |(statement, values)| {
        let values: &Values<'_> = values;
        let values = values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
        session.step(statement, values)
    };
    pipeline(rows.iter().map(|(statement, values)| step((statement, values))).collect()).await.map(drop)
}

async fn set_last_ids(session: &Session, ids: LastIds) -> Result<(), Failure> {
    for (table, id) in COUNTED.into_iter().zip([ids.task.0, ids.webhook.0, ids.bulk.0, ids.attempt.0]) {
        let sql = "SELECT setval(pg_get_serial_sequence($1, 'id')::regclass, greatest($2::bigint, 1), $2::bigint > 0)";
        session.query(sql, &[&table, &id]).await?;
    }
    Ok(())
}

macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$(Box::new($value) as Box<dyn ToSql + Sync + '_>),*] };
}

/// Returns how a record is inserted.
fn row_of(record: &Record, host: i64) -> Result<(&'static str, Values<'_>), StoreError> {
    Ok(match record {
        // Set elsewhere.
        Record::LastIds(_) => ("SELECT 1", Vec::new()),
        Record::SealingKey(key) => {
            let sql =
                "INSERT INTO sealing_key (one, id) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET id = excluded.id";
            (sql, values![text(key)])
        }
        Record::Webhook(webhook) => webhook_row(webhook)?,
        Record::Event(event) => event_row(event),
        Record::Task(task) => task_row(task, host),
        Record::Attempt(one) => (attempt::INSERT, attempt::values_of(one, host)),
        Record::Schedule(one) => schedule_row(one)?,
        Record::Bulk(bulk) => bulk_row(bulk)?,
        Record::KeyPolicy(policy) => policy_row(policy),
        Record::PluginValue(value) => {
            let sql = "INSERT INTO plugin_value (plugin, key, value, expires_at) VALUES ($1, $2, $3, $4)";
            let expires_at = value.expires_at.map(|at| at.0);
            (sql, values![text(&value.plugin), text(&value.key), &value.value[..], expires_at])
        }
        Record::IdempotencyKey(key) => {
            let sql = "INSERT INTO idempotency_key (owner, key, event, fingerprint, expires_at)
                       VALUES ($1, $2, $3, $4, $5)";
            (sql, values![key.owner.0, text(&key.key), text(&key.event.0), &key.fingerprint[..], key.expires_at.0])
        }
    })
}

/// Writes what is stored as JSON.
fn json(record: &str, value: &impl serde::Serialize) -> Result<String, StoreError> {
    let damaged =
        |error: serde_json::Error| StoreError::Corrupt { record: record.to_owned(), reason: error.to_string() };
    serde_json::to_string(value).map_err(damaged)
}

fn webhook_row(webhook: &Webhook) -> Result<(&'static str, Values<'_>), StoreError> {
    let sql = "INSERT INTO webhook (id, owner, name, url, method, events, options, secrets, enabled, disabled_reason,
               failing_since, failed_at, failures, warned, created_at, updated_at, version)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
    let values = values![
        webhook.id.0,
        webhook.owner.0,
        text(&webhook.name),
        text(&webhook.url),
        text(&webhook.method),
        json("webhook", &webhook.events)?,
        json("webhook", &webhook.options)?,
        text(&webhook.secrets.0),
        webhook.enabled,
        webhook.disabled_reason.as_deref().map(text),
        webhook.failing.map(|failing| failing.since.0),
        webhook.failing.map(|failing| failing.last.0),
        webhook.failing.map_or(0, |failing| i64::from(failing.attempts)),
        webhook.failing.is_some_and(|failing| failing.warned),
        webhook.created_at.0,
        webhook.updated_at.0,
        i64::try_from(webhook.version).unwrap_or(i64::MAX),
    ];
    Ok((sql, values))
}

fn event_row(event: &Event) -> (&'static str, Values<'_>) {
    let sql = "INSERT INTO event (id, name, owner, task, cause, depth, body, at, channel)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let values = values![
        text(&event.id.0),
        text(&event.name),
        event.owner.0,
        event.task.as_deref().map(text),
        event.cause.map(|cause| cause.0),
        int(event.depth),
        &event.body[..],
        event.at.0,
        event.channel.as_deref().map(text),
    ];
    (sql, values)
}

fn task_row(task: &Task, host: i64) -> (&'static str, Values<'_>) {
    let sql = "INSERT INTO task (id, event, webhook, number, name, key, host, payload, state, reason, attempts,
               attempts_before, crashes, run_at, lease, created_at, updated_at, holder, priority, ordered, unique_key,
               schedule, timeout_ms, replay_of, mode, as_sent)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
               $22, $23, $24, $25, $26)";
    let values = values![
        task.id.0,
        task.event.as_ref().map(|event| text(&event.0)),
        task.webhook.map(|webhook| webhook.0),
        int(task.number),
        text(&task.name),
        text(&task.key),
        task.host.as_deref().map(text),
        task.payload.as_deref(),
        number(task.state),
        task.reason.as_deref().map(text),
        int(task.attempts),
        int(task.attempts_before),
        int(task.crashes),
        task.run_at.0,
        task.lease.0,
        task.created_at.0,
        task.updated_at.0,
        // A run that went on at the export ends as that of a host that ended.
        (task.state == TaskState::Running).then_some(host),
        priority_number(task.priority),
        task.ordered,
        task.unique_key.as_deref().map(text),
        task.schedule.as_deref().map(write_schedule),
        task.timeout.map(|timeout| i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX)),
        task.replay_of.map(|task| task.0),
        task.mode.map(AttemptMode::as_str),
        task.as_sent.map(|attempt| attempt.0),
    ];
    (sql, values)
}

fn schedule_row(one: &Schedule) -> Result<(&'static str, Values<'_>), StoreError> {
    let sql =
        "INSERT INTO schedule (name, spec, zone, template, payload, next_at, paused, last_at, last_task, created_at,
               updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let values = values![
        text(&one.name),
        text(&one.spec),
        text(&one.zone),
        json("schedule", &one.template)?,
        one.template.payload.as_deref(),
        one.next_at.0,
        one.paused,
        one.last_at.map(|at| at.0),
        one.last_task.map(|task| task.0),
        one.created_at.0,
        one.updated_at.0,
    ];
    Ok((sql, values))
}

fn bulk_row(bulk: &Bulk) -> Result<(&'static str, Values<'_>), StoreError> {
    let sql = "INSERT INTO bulk (id, action, filter, per_second, state, total, seen, changed, cursor, last, by,
               created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let values = values![
        bulk.id.0,
        bulk.action.as_str(),
        json("bulk operation", &bulk.filter)?,
        i64::from(bulk.per_second),
        bulk.state.as_str(),
        bulk::signed(bulk.total),
        bulk::signed(bulk.seen),
        bulk::signed(bulk.changed),
        bulk.cursor.0,
        bulk.last.0,
        bulk.by.as_deref().map(text),
        bulk.created_at.0,
        bulk.updated_at.0,
    ];
    Ok((sql, values))
}

fn policy_row(stored: &StoredPolicy) -> (&'static str, Values<'_>) {
    let sql = "INSERT INTO key_policy (key, cap, starts, per_ms, paused, updated_at) VALUES ($1, $2, $3, $4, $5, $6)";
    let (cap, starts, per_ms) = policy::numbers(&stored.policy);
    (sql, values![text(&stored.key), cap, starts, per_ms, stored.policy.paused, stored.updated_at.0])
}
