//! Schedules.

use tokio_postgres::Row;

use super::change::{accept_task, changed};
use super::session::{Failure, Session};
use super::write::text;
use super::{Kind, PostgresStore};
use crate::store::{AcceptedTask, Receipt, Schedule, ScheduleStore, StoreError, TaskId, TaskTemplate, Timestamp};

impl ScheduleStore for PostgresStore {
    fn put_schedule(&self, schedule: Schedule) -> Receipt<()> {
        self.change(Kind::PLANS, async move |session: &Session| put(session, &schedule).await)
    }

    fn remove_schedule(&self, name: String) -> Receipt<bool> {
        self.change(Kind::PLANS, async move |session: &Session| remove(session, &name).await)
    }

    fn pause_schedule(&self, name: String, paused: bool, next_at: Timestamp, now: Timestamp) -> Receipt<bool> {
        self.change(Kind::PLANS, async move |session: &Session| pause(session, &name, paused, next_at, now).await)
    }

    fn fire_schedule(
        &self,
        name: String,
        slot: Timestamp,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Receipt<Option<AcceptedTask>> {
        let host = self.host;
        self.change(Kind::WORK, async move |session: &Session| fire(session, host, &name, slot, next_at, now).await)
    }

    fn schedules(&self) -> Result<Vec<Schedule>, StoreError> {
        self.read(async move |session: &Session| all(session).await)
    }
}

macro_rules! schedule {
    ($rest:literal) => {
        concat!(
            "SELECT name, spec, zone, template, payload, next_at, paused, last_at, last_task, created_at, updated_at
             FROM schedule ",
            $rest
        )
    };
}

pub(super) use schedule;

async fn put(session: &Session, schedule: &Schedule) -> Result<(), Failure> {
    let sql = "INSERT INTO schedule (name, spec, zone, template, payload, next_at, paused, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
               ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, zone = excluded.zone,
               template = excluded.template, payload = excluded.payload, next_at = excluded.next_at,
               paused = excluded.paused, updated_at = excluded.updated_at";
    let Schedule { name, spec, zone, template, next_at, paused, created_at, updated_at, .. } = schedule;
    let written = serde_json::to_string(template).map_err(|error| Failure::Store(damaged(name, &error)))?;
    let (name, spec, zone, written) = (text(name), text(spec), text(zone), text(&written));
    let (next_at, created_at, updated_at) = (next_at.0, created_at.0, updated_at.0);
    let payload = &template.payload;
    session
        .execute(sql, &[&name, &spec, &zone, &written, payload, &next_at, paused, &created_at, &updated_at])
        .await
        .map(drop)
}

fn damaged(name: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { record: format!("schedule `{name}`"), reason: error.to_string() }
}

async fn remove(session: &Session, name: &str) -> Result<bool, Failure> {
    changed(session, "DELETE FROM schedule WHERE name = $1", &[&text(name)]).await
}

async fn pause(
    session: &Session,
    name: &str,
    paused: bool,
    next_at: Timestamp,
    now: Timestamp,
) -> Result<bool, Failure> {
    let sql = "UPDATE schedule SET paused = $2, next_at = $3, updated_at = $4 WHERE name = $1";
    changed(session, sql, &[&text(name), &paused, &next_at.0, &now.0]).await
}

async fn fire(
    session: &Session,
    host: i64,
    name: &str,
    slot: Timestamp,
    next_at: Timestamp,
    now: Timestamp,
) -> Result<Option<AcceptedTask>, Failure> {
    // Another host that starts the same slot waits here, and then finds that the schedule stands elsewhere.
    let sql = schedule!("WHERE name = $1 AND next_at = $2 AND NOT paused FOR UPDATE");
    let name = text(name);
    let Some(row) = session.row(sql, &[&name, &slot.0]).await? else { return Ok(None) };
    let schedule = read(&row).map_err(Failure::Store)?;
    let task = accept_task(session, host, &schedule.template.task(&name, now)).await?;
    let sql = "UPDATE schedule SET next_at = $2, last_at = $3, last_task = $4 WHERE name = $1";
    session.execute(sql, &[&name, &next_at.0, &slot.0, &task.head.id.0]).await?;
    Ok(Some(task))
}

pub(super) async fn all(session: &Session) -> Result<Vec<Schedule>, Failure> {
    let rows = session.query(schedule!("ORDER BY name"), &[]).await?;
    rows.iter().map(read).collect::<Result<_, _>>().map_err(Failure::Store)
}

pub(super) fn read(row: &Row) -> Result<Schedule, StoreError> {
    let name: String = row.get(0);
    let template: TaskTemplate = serde_json::from_str(row.get(3)).map_err(|error| damaged(&name, &error))?;
    Ok(Schedule {
        spec: row.get(1),
        zone: row.get(2),
        template: TaskTemplate { payload: row.get(4), ..template },
        next_at: Timestamp(row.get(5)),
        paused: row.get(6),
        last_at: row.get::<_, Option<i64>>(7).map(Timestamp),
        last_task: row.get::<_, Option<i64>>(8).map(TaskId),
        created_at: Timestamp(row.get(9)),
        updated_at: Timestamp(row.get(10)),
        name,
    })
}
