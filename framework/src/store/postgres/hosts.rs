//! The hosts of one database: who lives, and who takes over from whom that does not.
//!
//! Each host has a row and renews it. A row that was not renewed for its lease, by the clock of the server, is taken away
//! by any other host together with what its host held. A host that cannot renew its row knows that before the others do,
//! by its own monotonic clock, and says that it is lost.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, sleep, sleep_until, timeout};

use super::change;
use super::listen::{Calm, News};
use super::session::{Failure, Session};
use super::{Identity, Inside};
use crate::store::{CRASH_LIMIT, Change, Recovered, Timestamp};

/// Wait before the connection is made again.
const RECONNECT: Duration = Duration::from_millis(500);

/// Adds the row of a host, and returns its id.
pub(super) async fn enter(session: &Session, identity: &Identity, lease: Duration) -> Result<i64, Failure> {
    let sql = "INSERT INTO host (name, pid, folder, lease_ms) VALUES ($1, $2, $3, $4) RETURNING id";
    let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
    let pid = i64::from(std::process::id());
    let row = session.row(sql, &[&identity.name, &pid, &identity.folder, &lease_ms]).await?;
    row.map(|row| row.get(0)).ok_or_else(|| Failure::broken("an insert gave no row"))
}

/// Gives everything back that this host holds, and takes its row away.
pub(super) async fn leave(inside: &Inside) -> Result<(), Failure> {
    let session = inside.connector.connect(&inside.purpose("leaving"), None).await?;
    session.batch("BEGIN").await?;
    change::unhold_all(&session, inside.host).await?;
    // What it still runs is held by nobody that lives; the next host to look takes that for a crash.
    session.execute("DELETE FROM host WHERE id = $1", &[&inside.host]).await?;
    notify(&session, inside).await?;
    session.batch("COMMIT").await
}

async fn notify(session: &Session, inside: &Inside) -> Result<(), Failure> {
    let payload = News::Work.payload(inside.host);
    session.query("SELECT pg_notify($1, $2)", &[&inside.channel, &payload]).await.map(drop)
}

/// Takes up what hosts that ended left, and what a host of the same data folder left, which has ended as well: this one
/// has the lock of the folder. Runs inside a transaction.
pub(super) async fn recover(
    session: &Session,
    host: i64,
    now: Timestamp,
    crash_limit: u32,
) -> Result<Recovered, Failure> {
    let sql = "DELETE FROM host WHERE id IN (SELECT id FROM host WHERE id <> $1
               AND folder = (SELECT folder FROM host WHERE id = $1) FOR UPDATE SKIP LOCKED)";
    session.execute(sql, &[&host]).await?;
    let mut gone = bury(session, host).await?;
    // A host that starts holds nothing.
    gone.push(host);
    change::recover(session, &gone, now, crash_limit).await
}

/// Removes the rows of hosts that are dead, and returns everybody who holds tasks and has no row.
async fn bury(session: &Session, host: i64) -> Result<Vec<i64>, Failure> {
    // A server that was away itself gives every host its lease anew.
    let sql = "DELETE FROM host WHERE id IN (SELECT id FROM host WHERE id <> $1
               AND greatest(renewed, pg_postmaster_start_time()) < clock_timestamp() - lease_ms * interval '1 millisecond'
               FOR UPDATE SKIP LOCKED)";
    session.execute(sql, &[&host]).await?;
    // One step of the index for each host, however many tasks it holds.
    let sql = "WITH RECURSIVE holding AS (
                   (SELECT holder FROM task WHERE holder IS NOT NULL ORDER BY holder LIMIT 1)
                   UNION ALL
                   SELECT next.holder FROM holding, LATERAL (SELECT holder FROM task
                       WHERE holder IS NOT NULL AND holder > holding.holder ORDER BY holder LIMIT 1) AS next)
               SELECT holder FROM holding WHERE holder NOT IN (SELECT id FROM host)";
    let rows = session.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Takes up what dead hosts left, one host at a time.
async fn reap(session: &Session, inside: &Inside) -> Result<(), Failure> {
    session.batch("BEGIN").await?;
    let lock = "SELECT pg_try_advisory_xact_lock(hashtextextended('switchboard hosts ' || $1, 0)),
                (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let Some(row) = session.row(lock, &[&inside.channel]).await? else { return session.batch("ROLLBACK").await };
    if !row.get::<_, bool>(0) {
        return session.batch("ROLLBACK").await;
    }
    let gone = bury(session, inside.host).await?;
    if !gone.is_empty() {
        change::recover(session, &gone, Timestamp(row.get(1)), CRASH_LIMIT).await?;
        notify(session, inside).await?;
        inside.changes.tell(Change::Work);
    }
    session.batch("COMMIT").await
}

/// When this host renewed its row last, by its own monotonic clock.
#[derive(Clone)]
pub(super) struct Renewed(Rc<Cell<Instant>>);

impl Renewed {
    pub(super) fn now() -> Self {
        Self(Rc::new(Cell::new(Instant::now())))
    }
}

/// Says that this host is lost when it could not renew its row for too long.
pub(super) async fn watch(inside: Rc<Inside>, renewed: Renewed) {
    let patience = inside.connector.target.give_up_after();
    loop {
        let last = renewed.0.get();
        sleep_until(last + patience).await;
        if renewed.0.get() == last {
            inside.changes.tell(Change::Lost);
        }
        while renewed.0.get() == last {
            sleep(RECONNECT).await;
        }
    }
}

/// Renews the row, takes over from the dead, and listens to the others, over a connection of its own.
pub(super) async fn live(inside: Rc<Inside>, renewed: Renewed) {
    loop {
        let (heard, mut hearing) = unbounded_channel();
        let purpose = inside.purpose("host");
        if let Ok(session) = inside.connector.connect(&purpose, Some(heard)).await {
            // Whatever ends it, the next connection is made; who is lost meanwhile is watched elsewhere.
            let _ = live_on(&inside, &renewed, &session, &mut hearing).await;
        }
        sleep(RECONNECT).await;
    }
}

async fn live_on(
    inside: &Inside,
    renewed: &Renewed,
    session: &Session,
    hearing: &mut UnboundedReceiver<String>,
) -> Result<(), Failure> {
    session.batch(&format!("LISTEN {}", inside.channel)).await?;
    let every = inside.connector.target.renew_every();
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calm = Calm::new();
    // Nobody told this host what was done while it could not listen.
    inside.changes.tell(Change::Plans);
    inside.changes.tell(Change::Policies);
    loop {
        let look = calm.next();
        tokio::select! {
            _ = beat.tick() => {
                let silent = |_| Failure::broken("the server did not answer in time");
                timeout(every * 2, renew(inside, renewed, session)).await.map_err(silent)??;
                timeout(every * 6, reap(session, inside)).await.map_err(silent)??;
                // A look now and then, in case a notification was lost.
                calm.ask();
            }
            heard = hearing.recv() => match heard.map(|heard| News::read(&heard, inside.host)) {
                None => return Err(Failure::broken("the connection was closed")),
                Some(Some(News::Work)) => calm.ask(),
                Some(Some(news)) => inside.changes.tell(news.change()),
                Some(None) => {}
            },
            () = sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => {
                calm.looked();
                inside.changes.tell(Change::Work);
            }
        }
    }
}

async fn renew(inside: &Inside, renewed: &Renewed, session: &Session) -> Result<(), Failure> {
    // The time before the question: the row is renewed no earlier.
    let now = Instant::now();
    let sql = "UPDATE host SET renewed = clock_timestamp() WHERE id = $1";
    if session.execute(sql, &[&inside.host]).await? == 0 {
        // Taken for dead. What this host held may be another's now; it begins anew.
        let sql = "INSERT INTO host (id, name, pid, folder, lease_ms) VALUES ($1, $2, $3, $4, $5)";
        let lease_ms = i64::try_from(inside.connector.target.lease.as_millis()).unwrap_or(i64::MAX);
        let identity = &inside.identity;
        let (pid, host) = (i64::from(std::process::id()), inside.host);
        session.execute(sql, &[&host, &identity.name, &pid, &identity.folder, &lease_ms]).await?;
        inside.changes.tell(Change::Lost);
    }
    renewed.0.set(now);
    Ok(())
}
