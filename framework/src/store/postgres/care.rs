//! What goes when it is old, damage, and moving to another store.

use std::path::Path;

use super::session::{Failure, Session};
use super::{Kind, PostgresStore, bulk, read, schedule, transfer};
use crate::store::contradictions::{CONTRADICTIONS, NAMED};
use crate::store::{Care, Receipt, Record, Records, Retention, StoreError};

impl Care for PostgresStore {
    fn prune(&self, retention: Retention, limit: u32) -> Receipt<u32> {
        let host = self.host;
        self.change(Kind::OWN, async move |session: &Session| prune(session, host, retention, limit).await)
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

/// What goes from the tasks. What was retried meanwhile has not ended any more, and stays.
const PRUNE_TASKS: &str = "WITH crowded AS MATERIALIZED (
        (SELECT id FROM task WHERE state IN (3, 4) ORDER BY updated_at LIMIT least($4::bigint, $3::bigint))
        UNION
        (SELECT id FROM (
            SELECT task.id, sum(coalesce(octet_length(payload), 0) + coalesce(octet_length(body), 0))
                    OVER (ORDER BY updated_at DESC, task.id DESC) AS kept
            FROM task LEFT JOIN event ON event.id = task.event WHERE state IN (3, 4) AND $5::bigint IS NOT NULL) AS inputs
         WHERE kept > $5::bigint ORDER BY id LIMIT $3::bigint)),
    old AS MATERIALIZED (
        (SELECT id FROM task WHERE state = 3 AND updated_at < $1::bigint ORDER BY updated_at LIMIT $3::bigint)
        UNION
        (SELECT id FROM task WHERE state = 4 AND updated_at < $2::bigint ORDER BY updated_at LIMIT $3::bigint)
        UNION
        (SELECT id FROM crowded)),
    gone AS (
        DELETE FROM task WHERE id IN (SELECT id FROM old ORDER BY id LIMIT $3::bigint) AND state IN (3, 4) RETURNING id, event)
    SELECT (SELECT count(*) FROM gone),
        ARRAY(SELECT DISTINCT event FROM gone JOIN crowded USING (id) WHERE event IS NOT NULL)";

/// Removes attempts and counts them off. The query gives ids; $1 is the host.
macro_rules! remove_attempts {
    ($ids:literal) => {
        concat!(
            "WITH gone AS (DELETE FROM attempt WHERE ended_at IS NOT NULL AND id IN (",
            $ids,
            ") RETURNING bytes),
             counted AS (
                INSERT INTO attempt_bytes (host, bytes) SELECT $1::bigint, -coalesce(sum(bytes), 0)::bigint FROM gone
                ON CONFLICT (host) DO UPDATE SET bytes = attempt_bytes.bytes + excluded.bytes)
             SELECT count(*) FROM gone"
        )
    };
}

/// Attempts are in the order of their ids, so that only the first have to be looked at.
const OLD_ATTEMPTS: &str = remove_attempts!(
    "SELECT id FROM (SELECT id, started_at FROM attempt ORDER BY id LIMIT $2::bigint) AS first WHERE started_at < $3::bigint"
);
const FIRST_ATTEMPTS: &str = remove_attempts!(
    "SELECT id FROM (
        SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS before
        FROM (SELECT id, bytes FROM attempt WHERE ended_at IS NOT NULL ORDER BY id LIMIT $2::bigint) AS first) AS first
     WHERE before < $3::bigint"
);

/// Takes what hosts that are gone have counted into one row, so that there are no more rows than hosts; $1 is the host.
const GATHER_BYTES: &str = "WITH gone AS (
        DELETE FROM attempt_bytes WHERE host NOT IN (0, $1::bigint) AND host NOT IN (SELECT id FROM host) RETURNING bytes)
    INSERT INTO attempt_bytes (host, bytes) SELECT 0, sum(bytes)::bigint FROM gone HAVING count(*) > 0
    ON CONFLICT (host) DO UPDATE SET bytes = attempt_bytes.bytes + excluded.bytes";

async fn prune(session: &Session, host: i64, retention: Retention, limit: u32) -> Result<u32, Failure> {
    // One host at a time; the others have nothing to do then.
    let sql = "SELECT pg_try_advisory_xact_lock(hashtextextended('switchboard prune ' || current_schema(), 0)),
               (SELECT count(*) FROM task WHERE state >= 3)";
    let Some(row) = session.row(sql, &[]).await? else { return Ok(0) };
    if !row.get::<_, bool>(0) {
        return Ok(0);
    }
    let ended = u64::try_from(row.get::<_, i64>(1)).unwrap_or(0);
    let too_many = signed(ended.saturating_sub(retention.max_ended));
    let limit = i64::from(limit);
    let (done_before, dead_before) = (retention.done_before.0, retention.dead_before.0);
    let inputs = retention.max_input_bytes.map(signed);
    let row = session.row(PRUNE_TASKS, &[&done_before, &dead_before, &limit, &too_many, &inputs]).await?;
    let mut gone: i64 = row.as_ref().map_or(0, |row| row.get(0));
    let crowded: Vec<String> = row.map_or_else(Vec::new, |row| row.get(1));
    if !crowded.is_empty() {
        let sql =
            "DELETE FROM event WHERE id = ANY($1) AND NOT EXISTS (SELECT 1 FROM task WHERE task.event = event.id)";
        session.execute(sql, &[&crowded]).await?;
    }
    let sql = "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE at < $1
               AND NOT EXISTS (SELECT 1 FROM task WHERE task.event = event.id) LIMIT $2)";
    gone += signed(session.execute(sql, &[&done_before, &(limit - gone)]).await?);
    let sql = "DELETE FROM idempotency_key WHERE (owner, key) IN (SELECT owner, key FROM idempotency_key
               WHERE expires_at < $1 LIMIT $2)";
    gone += signed(session.execute(sql, &[&done_before, &(limit - gone)]).await?);
    session.execute(GATHER_BYTES, &[&host]).await?;
    let row = session.row(OLD_ATTEMPTS, &[&host, &(limit - gone), &retention.attempts_before.0]).await?;
    gone += row.map_or(0, |row| row.get::<_, i64>(0));
    let row = session.row("SELECT coalesce(sum(bytes), 0)::bigint FROM attempt_bytes", &[]).await?;
    let bytes = u64::try_from(row.map_or(0, |row| row.get::<_, i64>(0))).unwrap_or(0);
    let excess = signed(bytes.saturating_sub(retention.max_attempt_bytes));
    if excess > 0 {
        let row = session.row(FIRST_ATTEMPTS, &[&host, &(limit - gone), &excess]).await?;
        gone += row.map_or(0, |row| row.get::<_, i64>(0));
    }
    Ok(u32::try_from(gone).unwrap_or(u32::MAX))
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
