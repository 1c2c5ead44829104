//! Idempotency keys, in SQLite.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::write::{self, execute};
use super::writer::Sync;
use super::{SqliteStore, unreadable};
use crate::store::{
    Acceptance, EventId, IdempotencyKey, IdempotencyStore, Keyed, OwnerId, Receipt, StoreError, Timestamp,
};

impl IdempotencyStore for SqliteStore {
    fn accept_keyed(&self, acceptance: Acceptance, keys: Vec<IdempotencyKey>, now: Timestamp) -> Receipt<Keyed> {
        self.writer.submit(Sync::Full, move |connection| accept(connection, &acceptance, &keys, now))
    }

    fn idempotency_key(&self, owner: OwnerId, key: &str, now: Timestamp) -> Result<Option<IdempotencyKey>, StoreError> {
        self.read(|connection| find(connection, owner, key, now))
    }
}

fn accept(
    connection: &Connection,
    acceptance: &Acceptance,
    keys: &[IdempotencyKey],
    now: Timestamp,
) -> Result<Keyed, StoreError> {
    let found = keys.iter().map(|one| find(connection, one.owner, &one.key, now));
    let known: Vec<IdempotencyKey> = found.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    if !known.is_empty() {
        return Ok(Keyed::Known(known));
    }
    for key in keys {
        insert(connection, key)?;
    }
    write::accept(connection, acceptance).map(Keyed::Accepted)
}

/// Writes a key down, in place of one that has expired.
pub(super) fn insert(connection: &Connection, key: &IdempotencyKey) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO idempotency_key (owner, key, event, fingerprint, expires_at)
               VALUES (?, ?, ?, ?, ?)";
    let IdempotencyKey { owner, key, event, fingerprint, expires_at } = key;
    execute(connection, sql, params![owner.0, key, event.0, fingerprint, expires_at.0]).map(drop)
}

fn find(
    connection: &Connection,
    owner: OwnerId,
    key: &str,
    now: Timestamp,
) -> Result<Option<IdempotencyKey>, StoreError> {
    let sql = "SELECT owner, key, event, fingerprint, expires_at FROM idempotency_key
               WHERE owner = ? AND key = ? AND expires_at > ?";
    let mut statement = connection.prepare_cached(sql).map_err(unreadable)?;
    statement.query_row(params![owner.0, key, now.0], read).optional().map_err(unreadable)
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<IdempotencyKey> {
    Ok(IdempotencyKey {
        owner: OwnerId(row.get(0)?),
        key: row.get(1)?,
        event: EventId(row.get(2)?),
        fingerprint: row.get(3)?,
        expires_at: Timestamp(row.get(4)?),
    })
}
