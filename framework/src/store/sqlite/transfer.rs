//! Everything that the SQLite store holds, out and in.

use rusqlite::{Connection, Params, Row, params};

use super::write::{HOLDER, number, priority_number};
use super::{attempt, bulk, idempotency, policy, read, schedule, schema, unreadable, unwritable};
use crate::store::record::write_schedule;
use crate::store::{
    AttemptId, AttemptMode, Bulk, BulkId, Event, LastIds, PluginValue, Record, Records, Schedule, StoreError,
    StoredPolicy, Task, TaskId, TaskState, Timestamp, Webhook, WebhookId,
};

/// The tables in which an id is never given twice.
const COUNTED: [&str; 3] = ["task", "webhook", "bulk"];

type Take<'a> = &'a mut dyn FnMut(Record) -> Result<(), StoreError>;

pub(super) fn export(connection: &Connection, take: Take<'_>) -> Result<(), StoreError> {
    // One transaction, so that all queries see the same moment.
    let view = connection.unchecked_transaction().map_err(unreadable)?;
    if let Err(version) = schema::is_of_today(&view).map_err(unreadable)? {
        let known = schema::known_version();
        let reason = format!(
            "the store has schema version {version} and is exported with {known}: any command that opens it, such as \
             `switchboard task list`, brings it forward"
        );
        return Err(StoreError::Refused { reason });
    }
    take(Record::LastIds(last_ids(&view)?))?;
    if let Some(key) = super::webhook::sealing_key(&view)? {
        take(Record::SealingKey(key))?;
    }
    for webhook in read::webhooks(&view, None)? {
        take(Record::Webhook(webhook))?;
    }
    each(&view, &format!("{} ORDER BY rowid", read::EVENT), read::read_event, |event| take(Record::Event(event)))?;
    each(&view, &format!("{} ORDER BY id", read::TASK), read::read_task, |task| take(Record::Task(task?)))?;
    each(&view, &format!("{} ORDER BY id", attempt::WHOLE), attempt::read, |one| take(Record::Attempt(one?)))?;
    for schedule in schedule::all(&view)? {
        take(Record::Schedule(schedule))?;
    }
    for bulk in bulk::all(&view)?.into_iter().rev() {
        take(Record::Bulk(bulk))?;
    }
    let sql = "SELECT key, cap, starts, per_ms, paused, updated_at FROM key_policy ORDER BY key";
    each(&view, sql, read_stored_policy, |policy| take(Record::KeyPolicy(policy)))?;
    let sql = "SELECT plugin, key, value, expires_at FROM plugin_value ORDER BY plugin, key";
    each(&view, sql, read_plugin_value, |value| take(Record::PluginValue(value)))?;
    let sql = "SELECT owner, key, event, fingerprint, expires_at FROM idempotency_key ORDER BY owner, key";
    each(&view, sql, idempotency::read, |key| take(Record::IdempotencyKey(key)))
}

fn each<V>(
    connection: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<V>,
    mut take: impl FnMut(V) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare(sql).map_err(unreadable)?;
    let mut rows = statement.query([]).map_err(unreadable)?;
    while let Some(row) = rows.next().map_err(unreadable)? {
        take(read(row).map_err(unreadable)?)?;
    }
    Ok(())
}

fn last_ids(connection: &Connection) -> Result<LastIds, StoreError> {
    let [task, webhook, bulk] = COUNTED.map(|table| {
        let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?";
        connection.query_row(sql, params![table], |row| row.get::<_, i64>(0)).map_err(unreadable)
    });
    let attempt = "SELECT max(last_attempt, coalesce((SELECT max(id) FROM attempt), 0)) FROM total";
    let attempt = connection.query_row(attempt, [], |row| row.get(0).map(AttemptId)).map_err(unreadable)?;
    Ok(LastIds { task: TaskId(task?), webhook: WebhookId(webhook?), bulk: BulkId(bulk?), attempt })
}

fn read_stored_policy(row: &Row<'_>) -> rusqlite::Result<StoredPolicy> {
    Ok(StoredPolicy { key: row.get(0)?, policy: policy::read_policy(row)?, updated_at: Timestamp(row.get(5)?) })
}

pub(super) fn read_plugin_value(row: &Row<'_>) -> rusqlite::Result<PluginValue> {
    let expires_at: Option<i64> = row.get(3)?;
    let expires_at = expires_at.map(Timestamp);
    Ok(PluginValue { plugin: row.get(0)?, key: row.get(1)?, value: row.get(2)?, expires_at })
}

pub(super) fn import(connection: &Connection, records: Records) -> Result<u64, StoreError> {
    if !is_empty(connection)? {
        let reason = "the store is not empty: an export is imported into a new data folder".to_owned();
        return Err(StoreError::Refused { reason });
    }
    let mut count = 0;
    for record in records {
        insert(connection, record?)?;
        count += 1;
    }
    Ok(count)
}

fn is_empty(connection: &Connection) -> Result<bool, StoreError> {
    let tables =
        ["event", "task", "attempt", "webhook", "schedule", "bulk", "key_policy", "plugin_value", "idempotency_key"];
    let filled = tables.map(|table| format!("EXISTS (SELECT 1 FROM {table})")).join(" OR ");
    connection.query_row(&format!("SELECT NOT ({filled})"), [], |row| row.get(0)).map_err(unwritable)
}

fn insert(connection: &Connection, record: Record) -> Result<(), StoreError> {
    match record {
        Record::LastIds(ids) => set_last_ids(connection, ids),
        Record::SealingKey(key) => super::webhook::insert_sealing_key(connection, &key),
        Record::Webhook(webhook) => insert_webhook(connection, &webhook),
        Record::Event(event) => insert_event(connection, &event),
        Record::Task(task) => insert_task(connection, &task),
        Record::Attempt(attempt) => attempt::insert(connection, &attempt),
        Record::Schedule(one) => insert_schedule(connection, &one),
        Record::Bulk(bulk) => insert_bulk(connection, &bulk),
        Record::KeyPolicy(StoredPolicy { key, policy, updated_at }) => {
            policy::set_key_policy(connection, &key, Some(&policy), updated_at)
        }
        Record::PluginValue(value) => insert_plugin_value(connection, &value),
        Record::IdempotencyKey(key) => idempotency::insert(connection, &key),
    }
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<(), StoreError> {
    super::write::execute(connection, sql, values).map(drop)
}

fn set_last_ids(connection: &Connection, ids: LastIds) -> Result<(), StoreError> {
    for (table, id) in COUNTED.into_iter().zip([ids.task.0, ids.webhook.0, ids.bulk.0]) {
        execute(connection, "DELETE FROM sqlite_sequence WHERE name = ?", params![table])?;
        execute(connection, "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", params![table, id])?;
    }
    execute(connection, "UPDATE total SET last_attempt = ?", params![ids.attempt.0])
}

fn insert_webhook(connection: &Connection, webhook: &Webhook) -> Result<(), StoreError> {
    let sql = "INSERT INTO webhook (id, owner, name, url, method, events, options, secrets, enabled, disabled_reason,
               failing_since, failed_at, failures, warned, created_at, updated_at, version)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let values = params![
        webhook.id.0,
        webhook.owner.0,
        webhook.name,
        webhook.url,
        webhook.method,
        text("webhook", &webhook.events)?,
        text("webhook", &webhook.options)?,
        webhook.secrets.0,
        webhook.enabled,
        webhook.disabled_reason,
        webhook.failing.map(|failing| failing.since.0),
        webhook.failing.map(|failing| failing.last.0),
        webhook.failing.map_or(0, |failing| failing.attempts),
        webhook.failing.is_some_and(|failing| failing.warned),
        webhook.created_at.0,
        webhook.updated_at.0,
        i64::try_from(webhook.version).unwrap_or(i64::MAX),
    ];
    execute(connection, sql, values)
}

/// Writes what is stored as JSON.
fn text(record: &str, value: &impl serde::Serialize) -> Result<String, StoreError> {
    let damaged =
        |error: serde_json::Error| StoreError::Corrupt { record: record.to_owned(), reason: error.to_string() };
    serde_json::to_string(value).map_err(damaged)
}

fn insert_event(connection: &Connection, event: &Event) -> Result<(), StoreError> {
    super::write::insert_event(connection, event)
}

fn insert_task(connection: &Connection, task: &Task) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO task (id, event, webhook, number, name, key, host, payload, state, reason, attempts, crashes,
               run_at, lease, created_at, updated_at, holder, priority, ordered, attempts_before, unique_key, schedule,
               timeout_ms, replay_of, mode, as_sent)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    // A run that went on at the export ends as that of a host that ended.
    let holder = (task.state == TaskState::Running).then_some(HOLDER);
    let values = params![
        task.id.0,
        task.event.as_ref().map(|event| &event.0),
        task.webhook.map(|webhook| webhook.0),
        task.number,
        task.name,
        task.key,
        task.host,
        task.payload,
        number(task.state),
        task.reason,
        task.attempts,
        task.crashes,
        task.run_at.0,
        task.lease.0,
        task.created_at.0,
        task.updated_at.0,
        holder,
        priority_number(task.priority),
        task.ordered,
        task.attempts_before,
        task.unique_key,
        task.schedule.as_deref().map(write_schedule),
        task.timeout.map(|timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)),
        task.replay_of.map(|task| task.0),
        task.mode.map(AttemptMode::as_str),
        task.as_sent.map(|attempt| attempt.0),
    ];
    execute(connection, sql, values)
}

fn insert_schedule(connection: &Connection, one: &Schedule) -> Result<(), StoreError> {
    schedule::put(connection, one)?;
    let sql = "UPDATE schedule SET last_at = ?, last_task = ? WHERE name = ?";
    execute(connection, sql, params![one.last_at.map(|at| at.0), one.last_task.map(|task| task.0), one.name])
}

fn insert_bulk(connection: &Connection, bulk: &Bulk) -> Result<(), StoreError> {
    let sql = "INSERT INTO bulk (id, action, filter, per_second, state, total, seen, changed, cursor, last, by,
               created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let values = params![
        bulk.id.0,
        bulk.action.as_str(),
        text("bulk operation", &bulk.filter)?,
        bulk.per_second,
        bulk.state.as_str(),
        count(bulk.total),
        count(bulk.seen),
        count(bulk.changed),
        bulk.cursor.0,
        bulk.last.0,
        bulk.by,
        bulk.created_at.0,
        bulk.updated_at.0,
    ];
    execute(connection, sql, values)
}

fn insert_plugin_value(connection: &Connection, value: &PluginValue) -> Result<(), StoreError> {
    let sql = "INSERT INTO plugin_value (plugin, key, value, expires_at) VALUES (?, ?, ?, ?)";
    execute(connection, sql, params![value.plugin, value.key, value.value, value.expires_at.map(|at| at.0)])
}
