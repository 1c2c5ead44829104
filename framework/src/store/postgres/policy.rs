//! Policies of keys.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio_postgres::Row;

use super::session::{Failure, Session};
use super::write::text;
use super::{Kind, PostgresStore};
use crate::store::{KeyCounts, KeyPolicy, PolicyStore, Rate, Receipt, StoreError, Timestamp};

impl PolicyStore for PostgresStore {
    fn key_policies(&self) -> Result<Vec<(String, KeyPolicy)>, StoreError> {
        self.read(async move |session: &Session| key_policies(session).await)
    }

    fn key_policy(&self, key: &str) -> Result<Option<KeyPolicy>, StoreError> {
        let key = key.to_owned();
        self.read(async move |session: &Session| key_policy(session, &key).await)
    }

    fn set_key_policy(&self, key: String, policy: Option<KeyPolicy>, now: Timestamp) -> Receipt<()> {
        self.change(Kind::POLICIES, async move |session: &Session| {
            set_key_policy(session, &key, policy.as_ref(), now).await
        })
    }

    fn key_counts(&self) -> Result<Vec<KeyCounts>, StoreError> {
        self.read(async move |session: &Session| key_counts(session).await)
    }
}

async fn key_policies(session: &Session) -> Result<Vec<(String, KeyPolicy)>, Failure> {
    let rows = session.query("SELECT key, cap, starts, per_ms, paused FROM key_policy ORDER BY key", &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), read_policy(row))).collect())
}

pub(super) fn read_policy(row: &Row) -> KeyPolicy {
    let number = |column| row.get::<_, Option<i64>>(column).and_then(|number| u32::try_from(number).ok());
    let starts = number(2).and_then(NonZeroU32::new);
    let per = number(3).map(|per| Duration::from_millis(per.into()));
    KeyPolicy {
        cap: number(1).and_then(NonZeroU32::new),
        rate: starts.zip(per).map(|(starts, per)| Rate { starts, per }),
        paused: row.get(4),
    }
}

async fn key_policy(session: &Session, key: &str) -> Result<Option<KeyPolicy>, Failure> {
    let sql = "SELECT key, cap, starts, per_ms, paused FROM key_policy WHERE key = $1";
    Ok(session.row(sql, &[&text(key)]).await?.map(|row| read_policy(&row)))
}

pub(super) async fn set_key_policy(
    session: &Session,
    key: &str,
    policy: Option<&KeyPolicy>,
    now: Timestamp,
) -> Result<(), Failure> {
    let key = text(key);
    let Some(policy) = policy else {
        return session.execute("DELETE FROM key_policy WHERE key = $1", &[&key]).await.map(drop);
    };
    let sql = "INSERT INTO key_policy (key, cap, starts, per_ms, paused, updated_at) VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (key) DO UPDATE SET cap = excluded.cap, starts = excluded.starts, per_ms = excluded.per_ms,
               paused = excluded.paused, updated_at = excluded.updated_at";
    let (cap, starts, per_ms) = numbers(policy);
    session.execute(sql, &[&key, &cap, &starts, &per_ms, &policy.paused, &now.0]).await.map(drop)
}

/// Returns cap, starts and milliseconds of a policy as they are stored.
pub(super) fn numbers(policy: &KeyPolicy) -> (Option<i64>, Option<i64>, Option<i64>) {
    let KeyPolicy { cap, rate, .. } = policy;
    let per_ms = rate.map(|rate| i64::from(u32::try_from(rate.per.as_millis()).unwrap_or(u32::MAX)));
    (cap.map(|cap| i64::from(cap.get())), rate.map(|rate| i64::from(rate.starts.get())), per_ms)
}

async fn key_counts(session: &Session) -> Result<Vec<KeyCounts>, Failure> {
    let sql = "SELECT key, count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 1),
               count(*) FILTER (WHERE state = 2) FROM task WHERE state IN (0, 1, 2) GROUP BY key ORDER BY key";
    let rows = session.query(sql, &[]).await?;
    let count = |row: &Row, column| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0);
    let read =
        |row: &Row| KeyCounts { key: row.get(0), ready: count(row, 1), running: count(row, 2), waiting: count(row, 3) };
    Ok(rows.iter().map(read).collect())
}
