//! Schedules in SQLite.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::write::accept_task;
use super::{unreadable, unwritable};
use crate::store::{AcceptedTask, Schedule, StoreError, TaskId, TaskTemplate, Timestamp};

const SCHEDULE: &str = "SELECT name, spec, zone, template, payload, next_at, paused, last_at, last_task, created_at,
                        updated_at FROM schedule";

pub(super) fn put(connection: &Connection, schedule: &Schedule) -> Result<(), StoreError> {
    let sql = "INSERT INTO schedule (name, spec, zone, template, payload, next_at, paused, created_at, updated_at)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, zone = excluded.zone,
               template = excluded.template, payload = excluded.payload, next_at = excluded.next_at,
               paused = excluded.paused, updated_at = excluded.updated_at";
    let Schedule { name, spec, zone, template, next_at, paused, created_at, updated_at, .. } = schedule;
    let text = serde_json::to_string(template).map_err(|error| damaged(name, &error))?;
    let values = params![name, spec, zone, text, template.payload, next_at.0, paused, created_at.0, updated_at.0];
    connection.execute(sql, values).map(drop).map_err(unwritable)
}

fn damaged(name: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { record: format!("schedule `{name}`"), reason: error.to_string() }
}

pub(super) fn remove(connection: &Connection, name: &str) -> Result<bool, StoreError> {
    let removed = connection.execute("DELETE FROM schedule WHERE name = ?", params![name]);
    removed.map(|count| count > 0).map_err(unwritable)
}

pub(super) fn pause(
    connection: &Connection,
    name: &str,
    paused: bool,
    next_at: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "UPDATE schedule SET paused = ?, next_at = ?, updated_at = ? WHERE name = ?";
    let changed = connection.execute(sql, params![paused, next_at.0, now.0, name]);
    changed.map(|count| count > 0).map_err(unwritable)
}

pub(super) fn fire(
    connection: &Connection,
    name: &str,
    slot: Timestamp,
    next_at: Timestamp,
    now: Timestamp,
) -> Result<Option<AcceptedTask>, StoreError> {
    let sql = format!("{SCHEDULE} WHERE name = ? AND next_at = ? AND NOT paused");
    let found = connection.query_row(&sql, params![name, slot.0], read).optional().map_err(unwritable)?;
    let Some(schedule) = found.transpose()? else { return Ok(None) };
    let task = accept_task(connection, &schedule.template.task(name, now))?;
    let sql = "UPDATE schedule SET next_at = ?, last_at = ?, last_task = ? WHERE name = ?";
    connection.execute(sql, params![next_at.0, slot.0, task.head.id.0, name]).map_err(unwritable)?;
    Ok(Some(task))
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Schedule>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SCHEDULE} ORDER BY name")).map_err(unreadable)?;
    let rows = statement.query_map([], read).map_err(unreadable)?;
    rows.map(|row| row.map_err(unreadable)?).collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<Schedule, StoreError>> {
    let (name, template): (String, String) = (row.get(0)?, row.get(3)?);
    let template = match serde_json::from_str::<TaskTemplate>(&template) {
        Ok(template) => TaskTemplate { payload: row.get(4)?, ..template },
        Err(error) => return Ok(Err(damaged(&name, &error))),
    };
    Ok(Ok(Schedule {
        name,
        spec: row.get(1)?,
        zone: row.get(2)?,
        template,
        next_at: Timestamp(row.get(5)?),
        paused: row.get(6)?,
        last_at: row.get::<_, Option<i64>>(7)?.map(Timestamp),
        last_task: row.get::<_, Option<i64>>(8)?.map(TaskId),
        created_at: Timestamp(row.get(9)?),
        updated_at: Timestamp(row.get(10)?),
    }))
}
