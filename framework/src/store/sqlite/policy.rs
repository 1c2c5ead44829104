//! Policies of keys.

use std::num::NonZeroU32;
use std::time::Duration;

use rusqlite::{Connection, Row, params};

use super::read::{all, one};
use super::write::execute;
use super::{SqliteStore, Sync, counts};
use crate::store::{KeyCounts, KeyPolicy, PolicyStore, Rate, Receipt, StoreError, Timestamp};

impl PolicyStore for SqliteStore {
    fn key_policies(&self) -> Result<Vec<(String, KeyPolicy)>, StoreError> {
        self.read(key_policies)
    }

    fn key_policy(&self, key: &str) -> Result<Option<KeyPolicy>, StoreError> {
        self.read(|connection| key_policy(connection, key))
    }

    fn set_key_policy(&self, key: String, policy: Option<KeyPolicy>, now: Timestamp) -> Receipt<()> {
        self.writer.submit(Sync::Full, move |connection| set_key_policy(connection, &key, policy.as_ref(), now))
    }

    fn key_counts(&self) -> Result<Vec<KeyCounts>, StoreError> {
        self.read(counts::key_counts)
    }
}

fn key_policies(connection: &Connection) -> Result<Vec<(String, KeyPolicy)>, StoreError> {
    let sql = "SELECT key, cap, starts, per_ms, paused FROM key_policy ORDER BY key";
    all(connection, sql, [], |row| Ok((row.get(0)?, read_policy(row)?)))
}

/// Returns the policy of one key.
pub(super) fn key_policy(connection: &Connection, key: &str) -> Result<Option<KeyPolicy>, StoreError> {
    let sql = "SELECT key, cap, starts, per_ms, paused FROM key_policy WHERE key = ?";
    one(connection, sql, params![key], read_policy)
}

pub(super) fn read_policy(row: &Row<'_>) -> rusqlite::Result<KeyPolicy> {
    let starts = row.get::<_, Option<u32>>(2)?.and_then(NonZeroU32::new);
    let per = row.get::<_, Option<u32>>(3)?.map(|per| Duration::from_millis(per.into()));
    Ok(KeyPolicy {
        cap: row.get::<_, Option<u32>>(1)?.and_then(NonZeroU32::new),
        rate: starts.zip(per).map(|(starts, per)| Rate { starts, per }),
        paused: row.get(4)?,
    })
}

pub(super) fn set_key_policy(
    connection: &Connection,
    key: &str,
    policy: Option<&KeyPolicy>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(KeyPolicy { cap, rate, paused }) = policy else {
        return execute(connection, "DELETE FROM key_policy WHERE key = ?", params![key]).map(drop);
    };
    let sql =
        "INSERT OR REPLACE INTO key_policy (key, cap, starts, per_ms, paused, updated_at) VALUES (?, ?, ?, ?, ?, ?)";
    let (starts, per) = (rate.map(|rate| rate.starts.get()), rate.map(|rate| rate.per.as_millis()));
    let per = per.map(|per| u32::try_from(per).unwrap_or(u32::MAX));
    execute(connection, sql, params![key, cap.map(NonZeroU32::get), starts, per, paused, now.0]).map(drop)
}
