//! Idempotency keys, in PostgreSQL.

use tokio_postgres::Row;

use super::change;
use super::session::{Failure, Session};
use super::write::{self, Events, Tasks, text};
use super::{Kind, PostgresStore};
use crate::store::{
    Acceptance, AcceptedTask, EventId, IdempotencyKey, IdempotencyStore, Keyed, OwnerId, Receipt, StoreError, Timestamp,
};

impl IdempotencyStore for PostgresStore {
    fn accept_keyed(&self, acceptance: Acceptance, keys: Vec<IdempotencyKey>, now: Timestamp) -> Receipt<Keyed> {
        let host = self.host;
        let kind = Kind { holds: acceptance.tasks.iter().any(write::is_held), ..Kind::WORK };
        self.change(kind, async move |session: &Session| accept(session, host, &acceptance, &keys, now).await)
    }

    fn idempotency_key(&self, owner: OwnerId, key: &str, now: Timestamp) -> Result<Option<IdempotencyKey>, StoreError> {
        let key = text(key).into_owned();
        self.read(async move |session: &Session| {
            let known = known(session, &[owner.0], &[key.as_str().into()], now).await?;
            Ok(known.into_iter().next())
        })
    }
}

async fn accept(
    session: &Session,
    host: i64,
    acceptance: &Acceptance,
    keys: &[IdempotencyKey],
    now: Timestamp,
) -> Result<Keyed, Failure> {
    // Another host that announces under the same key waits here, and then finds it.
    let names = keys.iter().map(|one| format!("switchboard idempotency {} {}", one.owner, text(&one.key)));
    let locks: Vec<String> = names.chain(acceptance.tasks.iter().flat_map(write::locks_of)).collect();
    session.query(write::LOCK_KEYS, &[&locks]).await?;
    let owners: Vec<i64> = keys.iter().map(|one| one.owner.0).collect();
    let texts: Vec<_> = keys.iter().map(|one| text(&one.key)).collect();
    let known = known(session, &owners, &texts, now).await?;
    if !known.is_empty() {
        return Ok(Keyed::Known(known));
    }
    for key in keys {
        insert(session, key).await?;
    }
    let mut events = Events::default();
    acceptance.events.iter().for_each(|event| events.push(event));
    session.query(write::ACCEPT_EVENTS, &events.columns()).await?;
    accept_tasks(session, host, acceptance).await.map(Keyed::Accepted)
}

async fn accept_tasks(session: &Session, host: i64, acceptance: &Acceptance) -> Result<Vec<AcceptedTask>, Failure> {
    if acceptance.tasks.iter().any(|task| task.unique.is_some()) {
        let mut accepted = Vec::with_capacity(acceptance.tasks.len());
        for task in &acceptance.tasks {
            accepted.push(change::accept_task(session, host, task).await?);
        }
        return Ok(accepted);
    }
    let mut tasks = Tasks::default();
    acceptance.tasks.iter().for_each(|task| tasks.push(task));
    let rows = session.query(write::ACCEPT_TASKS, &tasks.columns(&host)).await?;
    let mut ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    // Given in the order of the tasks, in whatever order they come back.
    ids.sort_unstable();
    Ok(acceptance.tasks.iter().zip(ids).map(|(task, id)| write::accepted(task, id)).collect())
}

/// Writes a key down, in place of one that has expired.
pub(super) async fn insert(session: &Session, key: &IdempotencyKey) -> Result<(), Failure> {
    let sql = "INSERT INTO idempotency_key (owner, key, event, fingerprint, expires_at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (owner, key) DO UPDATE SET event = excluded.event, fingerprint = excluded.fingerprint,
               expires_at = excluded.expires_at";
    let IdempotencyKey { owner, key, event, fingerprint, expires_at } = key;
    session.execute(sql, &[&owner.0, &text(key), &event.0, fingerprint, &expires_at.0]).await.map(drop)
}

async fn known(
    session: &Session,
    owners: &[i64],
    keys: &[std::borrow::Cow<'_, str>],
    now: Timestamp,
) -> Result<Vec<IdempotencyKey>, Failure> {
    let sql = "SELECT owner, key, event, fingerprint, expires_at FROM idempotency_key
               WHERE (owner, key) IN (SELECT * FROM unnest($1::bigint[], $2::text[])) AND expires_at > $3";
    let rows = session.query(sql, &[&owners, &keys, &now.0]).await?;
    Ok(rows.iter().map(read).collect())
}

pub(super) fn read(row: &Row) -> IdempotencyKey {
    IdempotencyKey {
        owner: OwnerId(row.get(0)),
        key: row.get(1),
        event: EventId(row.get(2)),
        fingerprint: row.get(3),
        expires_at: Timestamp(row.get(4)),
    }
}
