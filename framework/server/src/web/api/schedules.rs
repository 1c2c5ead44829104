//! Schedules: tasks that are started again and again.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with, put_with};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use switchboard::store::{Priority, Schedule as Stored, TaskTemplate};
use switchboard::{ScheduleDraft, ScheduleError, TriggerNumber};

use super::answer::{Answer, Done, Failure};
use super::caller::{Administrate, Call, Caller, Operate, Site};
use super::input::{Json, Path};
use crate::web::App;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/schedules",
            get_with(list, |op| op.id("listSchedules").tag("schedules").summary("List the schedules")),
        )
        .api_route(
            "/schedules/{name}",
            put_with(set, |op| {
                op.id("setSchedule")
                    .tag("schedules")
                    .summary("Start a minicomponent in the background again and again")
                    .description("A schedule of the same name is changed. Its next slot is the first after now.")
            })
            .delete_with(remove, |op| {
                op.id("removeSchedule")
                    .tag("schedules")
                    .summary("Remove a schedule")
                    .description("The tasks that it has started stay.")
            }),
        )
        .api_route(
            "/schedules/{name}/pause",
            post_with(pause, |op| op.id("pauseSchedule").tag("schedules").summary("Let a schedule start nothing")),
        )
        .api_route(
            "/schedules/{name}/resume",
            post_with(resume, |op| op.id("resumeSchedule").tag("schedules").summary("Let a schedule go on")),
        )
}

/// How urgent a task is.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Urgency {
    High,
    #[default]
    Normal,
    Low,
}

impl From<Urgency> for Priority {
    fn from(urgency: Urgency) -> Self {
        match urgency {
            Urgency::High => Self::High,
            Urgency::Normal => Self::Normal,
            Urgency::Low => Self::Low,
        }
    }
}

/// What a schedule is to be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewSchedule {
    /// When: `every 15m`, or five cron fields such as `30 4 * * MON-FRI`.
    when: String,
    /// Time zone of the cron fields, such as `Europe/Berlin`; UTC when left out.
    zone: Option<String>,
    /// Trigger number of the minicomponent, such as `06000`.
    #[schemars(regex(pattern = r"^[0-9]{1,5}$"))]
    number: String,
    /// Its event name.
    handler: String,
    /// Its input; an empty object when left out.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Value>")]
    payload: Option<Box<RawValue>>,
    /// By what its tasks take turns with others; `schedule:` and its name when left out.
    key: Option<String>,
    /// How urgent its tasks are.
    #[serde(default)]
    priority: Urgency,
}

/// A schedule.
#[derive(Serialize, JsonSchema)]
struct Schedule {
    /// Its name.
    name: String,
    /// When it starts a task.
    when: String,
    /// Time zone of the cron fields.
    zone: String,
    /// Trigger number of the minicomponent, five digits.
    number: String,
    /// Its event name.
    handler: String,
    /// By what its tasks take turns with others.
    key: String,
    /// How urgent its tasks are: `high`, `normal` or `low`.
    priority: String,
    /// Whether it starts nothing just now.
    paused: bool,
    /// When it starts the next task; none while it is paused.
    #[schemars(extend("format" = "date-time"))]
    next_at: Option<String>,
    /// When it last started one.
    #[schemars(extend("format" = "date-time"))]
    last_at: Option<String>,
    /// The task that it last started.
    last_task: Option<i64>,
}

impl From<Stored> for Schedule {
    fn from(schedule: Stored) -> Self {
        Self {
            number: format!("{:05}", schedule.template.number),
            handler: schedule.template.name,
            key: schedule.template.key,
            priority: schedule.template.priority.to_string(),
            next_at: (!schedule.paused).then(|| schedule.next_at.to_string()),
            last_at: schedule.last_at.map(|at| at.to_string()),
            last_task: schedule.last_task.map(|task| task.0),
            name: schedule.name,
            when: schedule.spec,
            zone: schedule.zone,
            paused: schedule.paused,
        }
    }
}

/// The path of a schedule.
#[derive(Deserialize, JsonSchema)]
struct SchedulePath {
    /// Its name.
    #[schemars(length(min = 1, max = 100))]
    name: String,
}

fn told(error: ScheduleError) -> Failure {
    let said = switchboard::error::Chain(&error).to_string();
    match &error {
        ScheduleError::Missing { .. } => Failure::missing(said),
        ScheduleError::Store { .. } => Failure::unavailable(&error),
        _ => Failure::refused("invalid_schedule", said),
    }
}

async fn list(caller: Caller<Site>) -> Result<Answer<Vec<Schedule>>, Failure> {
    let all = |call: &Call| Ok(call.host().schedules().list().map_err(told)?.into_iter().map(Schedule::from).collect());
    caller.run(all).await.map(Answer)
}

async fn set(
    caller: Caller<Administrate>,
    Path(SchedulePath { name }): Path<SchedulePath>,
    Json(new): Json<NewSchedule>,
) -> Result<Answer<Schedule>, Failure> {
    let wrong = |error: switchboard::NotATriggerNumber| Failure::refused("invalid_schedule", error.to_string());
    let number: TriggerNumber = new.number.parse().map_err(wrong)?;
    let payload = new.payload.map_or_else(|| "{}".to_owned(), |payload| payload.get().to_owned());
    let task = TaskTemplate {
        number: number.get(),
        name: new.handler,
        key: new.key.unwrap_or_else(|| format!("schedule:{name}")),
        priority: new.priority.into(),
        payload: Some(payload.into_bytes()),
        ..TaskTemplate::default()
    };
    let zone = new.zone.unwrap_or_else(|| "UTC".to_owned());
    let set = caller.run(move |call| {
        let draft = ScheduleDraft { name: name.clone(), spec: new.when, zone, task };
        let schedule = Schedule::from(call.host().schedules().put(draft).map_err(told)?);
        let detail = format!("{} ({}), trigger {} {}", schedule.when, schedule.zone, schedule.number, schedule.handler);
        call.changed("schedule.set", &format!("schedule {name}"), &detail)?;
        Ok(schedule)
    });
    set.await.map(Answer)
}

async fn remove(
    caller: Caller<Administrate>,
    Path(SchedulePath { name }): Path<SchedulePath>,
) -> Result<Done, Failure> {
    let removed = caller.run(move |call| {
        call.host().schedules().remove(&name).map_err(told)?;
        call.changed("schedule.remove", &format!("schedule {name}"), "")
    });
    removed.await.map(|()| Done)
}

fn set_paused(call: &Call, name: &str, paused: bool) -> Result<Schedule, Failure> {
    call.host().schedules().pause(name, paused).map_err(told)?;
    let action = if paused { "schedule.pause" } else { "schedule.resume" };
    call.changed(action, &format!("schedule {name}"), "")?;
    let found = call.host().schedules().list().map_err(told)?.into_iter().find(|schedule| schedule.name == name);
    found.map(Schedule::from).ok_or_else(|| told(ScheduleError::Missing { name: name.to_owned() }))
}

async fn pause(
    caller: Caller<Operate>,
    Path(SchedulePath { name }): Path<SchedulePath>,
) -> Result<Answer<Schedule>, Failure> {
    caller.run(move |call| set_paused(call, &name, true)).await.map(Answer)
}

async fn resume(
    caller: Caller<Operate>,
    Path(SchedulePath { name }): Path<SchedulePath>,
) -> Result<Answer<Schedule>, Failure> {
    caller.run(move |call| set_paused(call, &name, false)).await.map(Answer)
}
