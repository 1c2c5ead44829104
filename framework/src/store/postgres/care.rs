//! What goes when it is old, damage, and moving to another store.

use std::path::Path;

use super::session::{Failure, Session};
use super::{Kind, PostgresStore, bulk, read, schedule, transfer};
use crate::store::contradictions::{CONTRADICTIONS, NAMED};
use crate::store::{Care, Receipt, Record, Records, Retention, StoreError};

impl Care for PostgresStore {
    fn prune(&self, retention: Retention, limit: u32) -> Receipt<u32> {
        self.change(Kind::OWN, async move |session: &Session| prune(session, retention, limit).await)
    }

    fn check(&self) -> Result<Vec<String>, StoreError> {
        self.read(async move |session: &Session| check(session).await)
    }

    fn backup(&self, _file: &Path) -> Result<(), StoreError> {
        let reason = "a PostgreSQL database is copied with its own tools, such as `pg_dump`; `switchboard store export` \
                      writes a file that any Switchboard store can import";
        Err(StoreError::Refused { reason: reason.into() })
    }

    fn export(&self, take: &mut dyn FnMut(Record) -> Result<(), StoreError>) -> Result<(), StoreError> {
        transfer::export(self, take)
    }

    fn import(&self, records: Records) -> Receipt<u64> {
        transfer::import(self, records)
    }
}

async fn check(session: &Session) -> Result<Vec<String>, Failure> {
    // One transaction, so that all queries see the same moment.
    session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let found = contradictions(session).await;
    session.batch("ROLLBACK").await?;
    found
}

async fn contradictions(session: &Session) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for (sentence, sql) in CONTRADICTIONS {
        for row in session.query_once(&format!("{sql} LIMIT {NAMED}"), &[]).await? {
            found.push(sentence.replace("{}", &row.get::<_, i64>(0).to_string()));
        }
    }
    let unreadable = [
        read::webhooks(session, None).await.err(),
        schedule::all(session).await.err(),
        bulk::all(session).await.err(),
        read::open_tasks(session).await.err(),
    ];
    for failure in unreadable.into_iter().flatten() {
        match failure {
            Failure::Store(error @ StoreError::Corrupt { .. }) => found.push(error.to_string()),
            failure => return Err(failure),
        }
    }
    Ok(found)
}

async fn prune(session: &Session, retention: Retention, limit: u32) -> Result<u32, Failure> {
    // One host at a time; the others have nothing to do then.
    let sql = "SELECT pg_try_advisory_xact_lock(hashtextextended('switchboard prune ' || current_schema(), 0)),
               (SELECT count(*) FROM task WHERE state >= 3)";
    let Some(row) = session.row(sql, &[]).await? else { return Ok(0) };
    if !row.get::<_, bool>(0) {
        return Ok(0);
    }
    let ended = u64::try_from(row.get::<_, i64>(1)).unwrap_or(0);
    let too_many = i64::try_from(ended.saturating_sub(retention.max_ended)).unwrap_or(i64::MAX);
    let limit = i64::from(limit);
    let (done_before, dead_before) = (retention.done_before.0, retention.dead_before.0);
    // What was retried meanwhile has not ended any more, and stays.
    let sql = "WITH old AS (
            (SELECT id FROM task WHERE state = 3 AND updated_at < $1 ORDER BY updated_at LIMIT $3)
            UNION
            (SELECT id FROM task WHERE state = 4 AND updated_at < $2 ORDER BY updated_at LIMIT $3)
            UNION
            (SELECT id FROM task WHERE state IN (3, 4) ORDER BY updated_at LIMIT least($4, $3))),
        gone AS (DELETE FROM task WHERE id IN (SELECT id FROM old LIMIT $3) AND state IN (3, 4) RETURNING id),
        attempts AS (DELETE FROM attempt WHERE task IN (SELECT id FROM gone))
        SELECT count(*) FROM gone";
    let row = session.row(sql, &[&done_before, &dead_before, &limit, &too_many]).await?;
    let mut gone: i64 = row.map_or(0, |row| row.get(0));
    let sql = "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE at < $1
               AND NOT EXISTS (SELECT 1 FROM task WHERE task.event = event.id) LIMIT $2)";
    gone += count(session.execute(sql, &[&done_before, &(limit - gone)]).await?);
    let sql =
        "DELETE FROM attempt WHERE id IN (SELECT id FROM attempt WHERE task IS NULL AND started_at < $1 LIMIT $2)";
    gone += count(session.execute(sql, &[&done_before, &(limit - gone)]).await?);
    let sql = "DELETE FROM idempotency_key WHERE (owner, key) IN (SELECT owner, key FROM idempotency_key
               WHERE expires_at < $1 LIMIT $2)";
    gone += count(session.execute(sql, &[&done_before, &(limit - gone)]).await?);
    Ok(u32::try_from(gone).unwrap_or(u32::MAX))
}

fn count(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
