//! Idempotency keys, in PostgreSQL.

use std::borrow::Cow;
use std::collections::HashMap;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::PostgresStore;
use super::session::{Failure, Session, pipeline};
use super::write::{self, text};
use super::writer::Operation;
use crate::store::{
    Acceptance, EventId, IdempotencyKey, IdempotencyStore, Keyed, OwnerId, Receipt, StoreError, Timestamp,
};

impl IdempotencyStore for PostgresStore {
    fn accept_keyed(&self, acceptance: Acceptance, keys: Vec<IdempotencyKey>, now: Timestamp) -> Receipt<Keyed> {
        self.submit(|answer| Operation::AcceptKeyed(Box::new(KeyedAcceptance { acceptance, keys, now }), answer))
    }

    fn idempotency_key(&self, owner: OwnerId, key: &str, now: Timestamp) -> Result<Option<IdempotencyKey>, StoreError> {
        let key = text(key).into_owned();
        self.read(async move |session: &Session| {
            let rows = session.query(KNOWN, &[&[owner.0].as_slice(), &[key.as_str()].as_slice()]).await?;
            Ok(rows.iter().map(read).find(|known| known.expires_at > now))
        })
    }
}

/// An acceptance that is made unless one of its keys belongs to an earlier event.
pub(super) struct KeyedAcceptance {
    pub(super) acceptance: Acceptance,
    pub(super) keys: Vec<IdempotencyKey>,
    pub(super) now: Timestamp,
}

/// Of the operations of a group, those that are not done because these of their keys belong to earlier events.
pub(super) type KnownKeys = HashMap<usize, Vec<IdempotencyKey>>;

/// Returns the name under which a key is locked: another host that announces under it waits, and then finds it.
pub(super) fn lock_of(key: &IdempotencyKey) -> String {
    format!("switchboard idempotency {} {}", key.owner, text(&key.key))
}

/// Begins the transaction of a group, locks its keys, and returns which of them are known: the one round trip that a group
/// with keys takes more than another.
pub(super) async fn begin(
    session: &Session,
    begin: &str,
    locks: &Vec<String>,
    keyed: &[(usize, &KeyedAcceptance)],
) -> Result<KnownKeys, Failure> {
    let (lock_keys, look_up) = (session.prepare(write::LOCK_KEYS).await?, session.prepare(KNOWN).await?);
    let keys = || keyed.iter().flat_map(|(_, one)| &one.keys);
    let owners: Vec<i64> = keys().map(|key| key.owner.0).collect();
    let names: Vec<Cow<'_, str>> = keys().map(|key| text(&key.key)).collect();
    let steps = vec![
        session.plain(begin),
        session.step(&lock_keys, vec![locks]),
        session.step(&look_up, vec![&owners, &names]),
    ];
    let rows = pipeline(steps).await?.pop().unwrap_or_default();
    Ok(known_keys(keyed, rows.iter().map(read).collect()))
}

/// Finds out which keys belong to events of the store or of earlier operations.
fn known_keys(keyed: &[(usize, &KeyedAcceptance)], stored: Vec<IdempotencyKey>) -> KnownKeys {
    let mut earlier: HashMap<(OwnerId, Cow<'_, str>), IdempotencyKey> =
        stored.into_iter().map(|key| ((key.owner, key.key.clone().into()), key)).collect();
    let mut known = KnownKeys::new();
    for (index, KeyedAcceptance { keys, now, .. }) in keyed {
        let names = keys.iter().map(|key| (key.owner, text(&key.key)));
        let found = names.clone().filter_map(|name| earlier.get(&name));
        let of_others: Vec<IdempotencyKey> = found.filter(|key| key.expires_at > *now).cloned().collect();
        if of_others.is_empty() {
            earlier.extend(names.zip(keys.iter().cloned()));
        } else {
            known.insert(*index, of_others);
        }
    }
    known
}

/// Writes keys down, each in place of one that has expired.
pub(super) const INSERT: &str = "INSERT INTO idempotency_key (owner, key, event, fingerprint, expires_at)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::bigint[])
    ON CONFLICT (owner, key) DO UPDATE SET event = excluded.event, fingerprint = excluded.fingerprint,
    expires_at = excluded.expires_at";

const KNOWN: &str = "SELECT owner, key, event, fingerprint, expires_at FROM idempotency_key
    WHERE (owner, key) IN (SELECT * FROM unnest($1::bigint[], $2::text[]))";

/// Columns of keys, for [`INSERT`].
#[derive(Default)]
pub(super) struct Keys<'k> {
    owner: Vec<i64>,
    key: Vec<Cow<'k, str>>,
    event: Vec<&'k str>,
    fingerprint: Vec<&'k [u8]>,
    expires_at: Vec<i64>,
}

impl<'k> Keys<'k> {
    pub(super) fn push(&mut self, key: &'k IdempotencyKey) {
        self.owner.push(key.owner.0);
        self.key.push(text(&key.key));
        self.event.push(&key.event.0);
        self.fingerprint.push(&key.fingerprint);
        self.expires_at.push(key.expires_at.0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owner.is_empty()
    }

    pub(super) fn columns(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![&self.owner, &self.key, &self.event, &self.fingerprint, &self.expires_at]
    }
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
