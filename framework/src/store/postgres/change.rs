//! The changes that come one by one. Each runs inside a transaction that the writer opened.

use tokio_postgres::types::ToSql;

use super::attempt;
use super::read::{self, head_columns};
use super::session::{Failure, Session, pipeline};
use super::write::{self, Tasks, int, text};
use crate::store::{AcceptedTask, Claimed, Lane, NewTask, Recovered, TaskHead, TaskId, Timestamp};

/// Waits for the other claims of the keys that have ordered tasks, so that no two hosts take one of the same key.
const LOCK_ORDERS: &str = "SELECT pg_advisory_xact_lock(lock) FROM (
    SELECT DISTINCT hashtextextended('switchboard order ' || key, 0) AS lock FROM unnest($1::text[]) AS key
    WHERE EXISTS (SELECT 1 FROM task WHERE task.key = key.key AND ordered AND state IN (0, 1, 2))
    ORDER BY lock) AS locks";

/// Takes the most urgent tasks of each lane, and of an ordered key the earliest one that has not ended, when no other one of
/// the key is held.
const CLAIM: &str = concat!(
    "WITH lane AS MATERIALIZED (
        SELECT * FROM unnest($1::integer[], $2::text[], $3::text[]) WITH ORDINALITY AS lane (number, name, key, n)),
    head AS MATERIALIZED (
        SELECT lane.n, taken.id FROM lane, LATERAL (
            SELECT id FROM task WHERE id = (
                SELECT id FROM task WHERE key = lane.key AND ordered AND state IN (0, 1, 2) ORDER BY id LIMIT 1)
            AND state = 0 AND holder IS NULL AND number = lane.number AND name = lane.name
            AND NOT EXISTS (SELECT 1 FROM task AS other WHERE other.key = lane.key AND other.ordered
                AND other.state IN (0, 1, 2) AND other.holder IS NOT NULL)
            FOR UPDATE SKIP LOCKED) AS taken),
    free AS MATERIALIZED (
        SELECT lane.n, taken.id FROM lane, LATERAL (
            SELECT id FROM task WHERE state = 0 AND holder IS NULL AND number = lane.number AND name = lane.name
            AND key = lane.key AND NOT ordered ORDER BY priority DESC, run_at, id LIMIT $4 - (SELECT count(*) FROM head WHERE head.n = lane.n)
            FOR UPDATE SKIP LOCKED) AS taken),
    taken AS (SELECT * FROM free UNION ALL SELECT * FROM head)
    UPDATE task SET holder = $5 FROM taken WHERE task.id = taken.id RETURNING ",
    head_columns!(),
    ", taken.n"
);

/// Says of each lane whether it has ready tasks left that nobody holds.
const MORE: &str = "SELECT EXISTS (SELECT 1 FROM task WHERE state = 0 AND holder IS NULL AND number = lane.number
        AND name = lane.name AND key = lane.key)
    FROM unnest($1::integer[], $2::text[], $3::text[]) WITH ORDINALITY AS lane (number, name, key, n) ORDER BY n";

pub(super) async fn claim(
    session: &Session,
    host: i64,
    lanes: &[Lane],
    per_lane: u32,
) -> Result<Vec<Claimed>, Failure> {
    let numbers: Vec<i32> = lanes.iter().map(|lane| int(lane.number)).collect();
    let names: Vec<_> = lanes.iter().map(|lane| text(&lane.name)).collect();
    let keys: Vec<_> = lanes.iter().map(|lane| text(&lane.key)).collect();
    let limit = i64::from(per_lane);
    let lock = session.prepare(LOCK_ORDERS).await?;
    let claim = session.prepare(CLAIM).await?;
    let more = session.prepare(MORE).await?;
    let mut answers = pipeline(vec![
        session.step(&lock, vec![&keys]),
        session.step(&claim, vec![&numbers, &names, &keys, &limit, &host]),
        session.step(&more, vec![&numbers, &names, &keys]),
    ])
    .await?
    .into_iter()
    .skip(1);
    let mut heads: Vec<Vec<TaskHead>> = vec![Vec::new(); lanes.len()];
    for row in answers.next().unwrap_or_default() {
        if let Some(heads) = heads.get_mut(write::position(row.get(9))) {
            heads.push(read::head(&row));
        }
    }
    let more = answers.next().unwrap_or_default();
    let claimed = lanes.iter().zip(heads).zip(more).map(|((lane, mut heads), more)| {
        heads.sort_by_key(|head| (!head.ordered, std::cmp::Reverse(head.priority), head.run_at, head.id));
        Claimed { lane: lane.clone(), heads, more: more.get(0) }
    });
    Ok(claimed.collect())
}

pub(super) async fn unhold(session: &Session, host: i64, tasks: &[TaskId]) -> Result<(), Failure> {
    let ids: Vec<i64> = tasks.iter().map(|task| task.0).collect();
    let sql = "UPDATE task SET holder = NULL WHERE id = ANY($1) AND holder = $2 AND state IN (0, 2)";
    session.execute(sql, &[&ids, &host]).await.map(drop)
}

pub(super) async fn unhold_all(session: &Session, host: i64) -> Result<(), Failure> {
    let sql = "UPDATE task SET holder = NULL, mode = nullif(mode, 'immediate') WHERE holder = $1 AND state IN (0, 2)";
    session.execute(sql, &[&host]).await.map(drop)
}

pub(super) async fn promote(session: &Session, now: Timestamp, limit: u32) -> Result<Vec<Lane>, Failure> {
    let sql = "WITH due AS MATERIALIZED (SELECT id FROM task WHERE state = 2 AND holder IS NULL AND run_at <= $1
                   ORDER BY run_at LIMIT $2 FOR UPDATE SKIP LOCKED),
               promoted AS (UPDATE task SET state = 0 FROM due WHERE task.id = due.id RETURNING number, name, key)
               SELECT DISTINCT * FROM promoted ORDER BY number, name, key";
    let rows = session.query(sql, &[&now.0, &i64::from(limit)]).await?;
    Ok(rows.iter().map(|row| read::lane(row, 0)).collect())
}

pub(super) async fn retry(
    session: &Session,
    host: i64,
    id: TaskId,
    now: Timestamp,
) -> Result<Option<AcceptedTask>, Failure> {
    let sql = concat!(
        "UPDATE task SET state = 0, reason = NULL, crashes = 0, attempts_before = attempts, run_at = $2, updated_at = $2,
         holder = CASE WHEN holder = $3 THEN holder END
         WHERE id = $1 AND state IN (2, 3, 4) RETURNING ",
        head_columns!(),
        ", holder IS NOT NULL"
    );
    let row = session.row(sql, &[&id.0, &now.0, &host]).await?;
    Ok(row.map(|row| AcceptedTask { head: read::head(&row), held: row.get(9), known: false }))
}

/// Accepts one task in a transaction that does more than this.
pub(super) async fn accept_task(session: &Session, host: i64, task: &NewTask) -> Result<AcceptedTask, Failure> {
    let locks: Vec<String> = write::locks_of(task).collect();
    if !locks.is_empty() {
        session.query(write::LOCK_KEYS, &[&locks]).await?;
    }
    let columns = Tasks::of(task);
    let row = session.row(write::ACCEPT_UNIQUE, &columns.unique_columns(&host)).await?;
    row.map(|row| write::accepted_unique(task, &row)).ok_or_else(|| Failure::broken("an insert gave no row"))
}

/// Runs a change that is about one row at most, and says whether it was there.
pub(super) async fn changed(
    session: &Session,
    sql: &'static str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<bool, Failure> {
    Ok(session.execute(sql, values).await? > 0)
}

pub(super) async fn cancel(session: &Session, id: TaskId, now: Timestamp) -> Result<bool, Failure> {
    let sql = "UPDATE task SET state = 4, reason = 'cancelled', holder = NULL, updated_at = $2
               WHERE id = $1 AND state IN (0, 2)";
    changed(session, sql, &[&id.0, &now.0]).await
}

pub(super) async fn quarantine(session: &Session, id: TaskId, reason: &str, now: Timestamp) -> Result<bool, Failure> {
    let sql = "UPDATE task SET state = 4, reason = $2, holder = NULL, updated_at = $3
               WHERE id = $1 AND state IN (0, 1, 2)";
    let reason = format!("corrupt: {}", text(reason));
    if !changed(session, sql, &[&id.0, &reason, &now.0]).await? {
        return Ok(false);
    }
    let sql = "UPDATE attempt SET ended_at = $3, outcome = 'corrupt', detail = $2 WHERE task = $1 AND ended_at IS NULL";
    session.execute(sql, &[&id.0, &reason, &now.0]).await?;
    Ok(true)
}

/// Takes up what hosts left that have ended.
pub(super) async fn recover(
    session: &Session,
    hosts: &[i64],
    now: Timestamp,
    crash_limit: u32,
) -> Result<Recovered, Failure> {
    let sql = "UPDATE attempt SET ended_at = $2, outcome = 'unknown',
               detail = 'the host ended while the attempt was made; whether it arrived is not known'
               WHERE ended_at IS NULL AND task IN (SELECT id FROM task WHERE holder = ANY($1) AND state = 1)";
    session.execute(sql, &[&hosts, &now.0]).await?;
    let sql = "UPDATE task SET state = 4, crashes = crashes + 1, holder = NULL, updated_at = $2,
               reason = 'crash: the host ended while it was running, too often'
               WHERE holder = ANY($1) AND state = 1 AND crashes + 1 >= $3";
    let dead = session.execute(sql, &[&hosts, &now.0, &int(crash_limit)]).await?;
    let sql = "UPDATE task SET state = 0, crashes = crashes + 1, holder = NULL, updated_at = $2
               WHERE holder = ANY($1) AND state = 1";
    let ready = session.execute(sql, &[&hosts, &now.0]).await?;
    // What a host was to deliver at once is delivered in the background now.
    let sql = "UPDATE task SET holder = NULL, mode = nullif(mode, 'immediate') WHERE holder = ANY($1)";
    session.execute(sql, &[&hosts]).await?;
    Ok(Recovered { ready, dead })
}

/// Takes back starts of which the host was told that they failed, although they may have been committed.
pub(super) async fn undo_starts(session: &Session, host: i64, tasks: &[i64]) -> Result<(), Failure> {
    let sql = "UPDATE attempt SET ended_at = started_at, outcome = 'interrupted',
               detail = 'the connection to the database broke; the handler was not called'
               WHERE ended_at IS NULL AND (task, lease) IN (
                   SELECT id, lease FROM task WHERE id = ANY($1) AND holder = $2 AND state = 1)";
    session.execute(sql, &[&tasks, &host]).await?;
    let sql = "UPDATE task SET state = 0, attempts = attempts - 1, holder = NULL
               WHERE id = ANY($1) AND holder = $2 AND state = 1";
    session.execute(sql, &[&tasks, &host]).await.map(drop)
}

/// Takes back starts of tasks that cannot be read, so that of these nothing is changed.
pub(super) async fn take_back_starts(session: &Session, host: i64, tasks: &[i64]) -> Result<(), Failure> {
    let sql = "WITH back AS (UPDATE task SET state = 0, attempts = attempts - 1
                   WHERE id = ANY($1) AND holder = $2 AND state = 1 RETURNING id, lease)
               DELETE FROM attempt USING back WHERE attempt.task = back.id AND attempt.lease = back.lease";
    session.execute(sql, &[&tasks, &host]).await.map(drop)
}

/// Runs that go on: id, lease and start of each.
#[derive(Default)]
pub(super) struct Runs {
    pub(super) id: Vec<i64>,
    pub(super) lease: Vec<i64>,
    pub(super) at: Vec<i64>,
}

/// Writes down starts of runs that go on where the server has forgotten them: a start is not synced, and the server may
/// have failed since. Only a start makes a lease one higher, so a lease that is one lower is that of before.
pub(super) async fn redo_starts(session: &Session, host: i64, runs: &Runs) -> Result<(), Failure> {
    let sql = concat!(
        "WITH begun AS (
                   UPDATE task SET state = 1, attempts = attempts + 1, lease = run.lease, holder = $4, updated_at = run.at
                   FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS run (id, lease, at)
                   WHERE task.id = run.id AND task.lease = run.lease - 1 AND task.state IN (0, 2)
                       AND (task.holder IS NULL OR task.holder = $4)
                   RETURNING task.*) ",
        attempt::begin!()
    );
    session.execute(sql, &[&runs.id, &runs.lease, &runs.at, &host]).await.map(drop)
}

pub(super) async fn set_plugin_value(
    session: &Session,
    plugin: &str,
    key: &str,
    value: Option<&[u8]>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Failure> {
    let (plugin, key) = (text(plugin), text(key));
    let sql = "DELETE FROM plugin_value WHERE plugin = $1 AND ((key = $2 AND $3) OR expires_at <= $4)";
    session.execute(sql, &[&plugin, &key, &value.is_none(), &now.0]).await?;
    if let Some(value) = value {
        // Two hosts may keep a first value at once: the later one stays.
        let sql = "INSERT INTO plugin_value (plugin, key, value, expires_at) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (plugin, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
        session.execute(sql, &[&plugin, &key, &value, &expires_at.map(|at| at.0)]).await?;
    }
    Ok(())
}
