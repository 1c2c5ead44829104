//! Bulk operations.

use tokio_postgres::Row;

use super::change::{accept_task, cancel, changed, retry};
use super::session::{Failure, Session};
use super::write::text;
use super::{Kind, PostgresStore, attempt, read};
use crate::store::{
    Attempt, Became, Bulk, BulkAction, BulkId, BulkState, BulkStep, BulkStore, NewBulk, NewTask, Receipt, StoreError,
    Task, TaskFilter, TaskId, TaskState, Timestamp,
};

impl BulkStore for PostgresStore {
    fn add_bulk(&self, bulk: NewBulk, now: Timestamp) -> Receipt<Result<Bulk, u64>> {
        self.change(Kind::PLANS, async move |session: &Session| add(session, &bulk, now).await)
    }

    fn bulk_step(&self, id: BulkId, limit: u32, now: Timestamp) -> Receipt<Option<BulkStep>> {
        let host = self.host;
        let kind = Kind { holds: true, ..Kind::WORK };
        self.change(kind, async move |session: &Session| step(session, host, id, limit, now).await)
    }

    fn set_bulk_state(&self, id: BulkId, state: BulkState, now: Timestamp) -> Receipt<bool> {
        self.change(Kind::PLANS, async move |session: &Session| set_state(session, id, state, now).await)
    }

    fn bulks(&self) -> Result<Vec<Bulk>, StoreError> {
        self.read(async move |session: &Session| all(session).await)
    }

    fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError> {
        self.read(async move |session: &Session| one(session, id).await)
    }
}

macro_rules! columns {
    () => {
        "id, action, filter, per_second, state, total, seen, changed, cursor, last, by, created_at, updated_at"
    };
}

pub(super) use columns;

pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn add(session: &Session, new: &NewBulk, now: Timestamp) -> Result<Result<Bulk, u64>, Failure> {
    let total = read::count_tasks(session, &new.filter).await?;
    if new.expected.is_some_and(|expected| expected != total) {
        return Ok(Err(total));
    }
    let filter = serde_json::to_string(&new.filter)
        .map_err(|error| StoreError::Corrupt { record: "bulk operation".into(), reason: error.to_string() })
        .map_err(Failure::Store)?;
    let sql = concat!(
        "INSERT INTO bulk (action, filter, per_second, state, total, seen, changed, cursor, last, by, created_at,
             updated_at)
         SELECT $1, $2, $3, $4, $5, 0, 0, 0, coalesce(max(id), 0), $6, $7, $7 FROM task RETURNING ",
        columns!()
    );
    let (action, state, total) = (new.action.as_str(), BulkState::Running.as_str(), signed(total));
    let (filter, by, per_second) = (text(&filter), new.by.as_deref().map(text), i64::from(new.per_second));
    let row = session.row(sql, &[&action, &filter, &per_second, &state, &total, &by, &now.0]).await?;
    let row = row.ok_or_else(|| Failure::broken("an insert gave no row"))?;
    read_bulk(&row).map(Ok).map_err(Failure::Store)
}

async fn step(
    session: &Session,
    host: i64,
    id: BulkId,
    limit: u32,
    now: Timestamp,
) -> Result<Option<BulkStep>, Failure> {
    // One host does it, so that it keeps to its speed however many there are; another goes on when that one is silent.
    let sql = concat!(
        "UPDATE bulk SET host = $2, stepped = clock_timestamp() WHERE id = $1 AND state = 'running'
         AND (host IS NULL OR host = $2 OR stepped < clock_timestamp() - interval '10 seconds') RETURNING ",
        columns!()
    );
    let Some(row) = session.row(sql, &[&id.0, &host]).await? else { return Ok(None) };
    let bulk = read_bulk(&row).map_err(Failure::Store)?;
    let filter = TaskFilter { after: Some(bulk.cursor), limit, ..bulk.filter.clone() };
    let tasks: Vec<Task> =
        read::tasks(session, &filter).await?.into_iter().take_while(|task| task.id <= bulk.last).collect();
    let mut step = BulkStep::new(bulk);
    for task in &tasks {
        let became = match apply(session, host, step.bulk.action, task, now).await {
            // Of this one nothing was changed, and it is in the way of no other.
            Err(Failure::Store(StoreError::Corrupt { .. })) => Became::Unchanged,
            became => became?,
        };
        step.note(task.id, became);
    }
    let bulk = &mut step.bulk;
    if tasks.len() < limit as usize {
        bulk.state = BulkState::Done;
    }
    bulk.updated_at = now;
    let sql = "UPDATE bulk SET state = $2, seen = $3, changed = $4, cursor = $5, updated_at = $6 WHERE id = $1";
    let (seen, changed) = (signed(bulk.seen), signed(bulk.changed));
    session.execute(sql, &[&id.0, &bulk.state.as_str(), &seen, &changed, &bulk.cursor.0, &now.0]).await?;
    Ok(Some(step))
}

async fn apply(
    session: &Session,
    host: i64,
    action: BulkAction,
    task: &Task,
    now: Timestamp,
) -> Result<Became, Failure> {
    let ready = match action {
        BulkAction::Retry => retry(session, host, task.id, now).await?,
        BulkAction::Cancel => {
            let cancelled = cancel(session, task.id, now).await?;
            return Ok(if cancelled { Became::Cancelled(task.key.clone()) } else { Became::Unchanged });
        }
        BulkAction::Replay => {
            let ended = matches!(task.state, TaskState::Done | TaskState::Dead);
            if ended && has_input(session, task).await? {
                Some(accept_task(session, host, &NewTask::bulk_replay_of(task, now)).await?)
            } else {
                None
            }
        }
        BulkAction::ReplayAsSent => {
            let ended = matches!(task.state, TaskState::Done | TaskState::Dead);
            let sent = if ended && task.event.is_some() && has_input(session, task).await? {
                attempt::of_task(session, task.id).await?.into_iter().rfind(Attempt::is_repeatable)
            } else {
                None
            };
            match sent {
                Some(sent) => {
                    let replay = NewTask { as_sent: Some(sent.id), ..NewTask::bulk_replay_of(task, now) };
                    Some(accept_task(session, host, &replay).await?)
                }
                None => None,
            }
        }
    };
    Ok(ready.map_or(Became::Unchanged, Became::Ready))
}

async fn has_input(session: &Session, task: &Task) -> Result<bool, Failure> {
    let Some(event) = &task.event else { return Ok(task.payload.is_some()) };
    Ok(read::event_by_id(session, event).await?.is_some_and(|event| !event.body.is_empty()))
}

async fn set_state(session: &Session, id: BulkId, state: BulkState, now: Timestamp) -> Result<bool, Failure> {
    let sql = "UPDATE bulk SET state = $2, updated_at = $3 WHERE id = $1 AND state IN ('running', 'paused')";
    changed(session, sql, &[&id.0, &state.as_str(), &now.0]).await
}

pub(super) async fn all(session: &Session) -> Result<Vec<Bulk>, Failure> {
    let rows = session.query(concat!("SELECT ", columns!(), " FROM bulk ORDER BY id DESC"), &[]).await?;
    rows.iter().map(read_bulk).collect::<Result<_, _>>().map_err(Failure::Store)
}

async fn one(session: &Session, id: BulkId) -> Result<Option<Bulk>, Failure> {
    let row = session.row(concat!("SELECT ", columns!(), " FROM bulk WHERE id = $1"), &[&id.0]).await?;
    row.map(|row| read_bulk(&row)).transpose().map_err(Failure::Store)
}

pub(super) fn read_bulk(row: &Row) -> Result<Bulk, StoreError> {
    let id = BulkId(row.get(0));
    let damaged = |reason: String| StoreError::Corrupt { record: format!("bulk operation {id}"), reason };
    let (action, state): (&str, &str) = (row.get(1), row.get(4));
    let count = |index| u64::try_from(row.get::<_, i64>(index)).unwrap_or(0);
    let known = BulkState::ALL.into_iter().find(|known| known.as_str() == state);
    Ok(Bulk {
        id,
        action: action.parse().map_err(|_| damaged(format!("`{action}` is no action")))?,
        filter: serde_json::from_str(row.get(2)).map_err(|error| damaged(error.to_string()))?,
        per_second: u32::try_from(row.get::<_, i64>(3)).unwrap_or(u32::MAX),
        state: known.ok_or_else(|| damaged(format!("`{state}` is no state")))?,
        total: count(5),
        seen: count(6),
        changed: count(7),
        cursor: TaskId(row.get(8)),
        last: TaskId(row.get(9)),
        by: row.get(10),
        created_at: Timestamp(row.get(11)),
        updated_at: Timestamp(row.get(12)),
    })
}
