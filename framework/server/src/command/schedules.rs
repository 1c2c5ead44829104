//! Commands about schedules.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard::store::{Priority, Schedule, TaskTemplate};
use switchboard::{ScheduleDraft, ScheduleError, Switchboard};

use super::tasks::{trigger_number, usage};
use super::{Reply, failed};
use crate::exit::{FAILED, MISSING, USAGE};
use crate::output::table;

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ScheduleCommand {
    /// List the schedules
    List,
    /// Start a minicomponent in the background again and again; a schedule of the same name is changed
    Set(Box<ScheduleArgs>),
    /// Let a schedule start nothing
    Pause {
        /// Its name
        schedule: String,
    },
    /// Let a schedule go on
    Resume {
        /// Its name
        schedule: String,
    },
    /// Remove a schedule; the tasks that it started stay
    Remove {
        /// Its name
        schedule: String,
    },
}

#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct ScheduleArgs {
    /// Name of the schedule
    pub(super) schedule: String,
    /// When: `every 15m`, or five cron fields such as `30 4 * * MON-FRI`
    when: String,
    /// Trigger number, such as 06000
    number: String,
    /// Event name of the minicomponent
    name: String,
    /// Its input as JSON; @FILE reads a file, - reads standard input
    #[arg(long, default_value = "{}", value_name = "JSON")]
    pub(crate) payload: String,
    /// Time zone of the cron fields
    #[arg(long, default_value = "UTC", value_name = "ZONE")]
    zone: String,
    /// By what its tasks take turns with others [default: schedule:NAME]
    #[arg(long)]
    key: Option<String>,
    /// How urgent its tasks are: high, normal or low
    #[arg(long, default_value = "normal")]
    priority: String,
}

pub(super) fn execute(host: &Switchboard, command: ScheduleCommand) -> Result<Reply> {
    let schedules = host.schedules();
    match command {
        ScheduleCommand::List => {
            let all = schedules.list().map_err(schedule_error)?;
            Reply::new(all.iter().map(schedule_json).collect::<Vec<_>>(), schedule_table(&all))
        }
        ScheduleCommand::Set(args) => set(host, *args),
        ScheduleCommand::Pause { schedule } => {
            schedules.pause(&schedule, true).map_err(schedule_error)?;
            Reply::new(json!({ "name": schedule, "paused": true }), format!("schedule `{schedule}` is paused"))
        }
        ScheduleCommand::Resume { schedule } => {
            schedules.pause(&schedule, false).map_err(schedule_error)?;
            Reply::new(json!({ "name": schedule, "paused": false }), format!("schedule `{schedule}` goes on"))
        }
        ScheduleCommand::Remove { schedule } => {
            schedules.remove(&schedule).map_err(schedule_error)?;
            Reply::new(json!({ "name": schedule, "removed": true }), format!("schedule `{schedule}` removed"))
        }
    }
}

fn set(host: &Switchboard, args: ScheduleArgs) -> Result<Reply> {
    let ScheduleArgs { schedule, when, number, name, payload, zone, key, priority } = args;
    let number = trigger_number(&number)?;
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&payload) {
        return Err(usage(format!("`--payload` is no JSON: {error}")));
    }
    let priority: Priority = priority.parse().map_err(|error| usage(format!("`--priority {priority}` is {error}")))?;
    let task = TaskTemplate {
        number: number.get(),
        name,
        key: key.unwrap_or_else(|| format!("schedule:{schedule}")),
        priority,
        payload: Some(payload.into_bytes()),
        ..TaskTemplate::default()
    };
    let draft = ScheduleDraft { name: schedule, spec: when, zone, task };
    let schedule = host.schedules().put(draft).map_err(schedule_error)?;
    let text = format!("schedule `{}` starts at {}", schedule.name, schedule.next_at);
    Reply::new(schedule_json(&schedule), text)
}

fn schedule_json(schedule: &Schedule) -> Value {
    json!({
        "name": schedule.name,
        "when": schedule.spec,
        "zone": schedule.zone,
        "number": format!("{:05}", schedule.template.number),
        "handler": schedule.template.name,
        "key": schedule.template.key,
        "priority": schedule.template.priority,
        "paused": schedule.paused,
        "next_at": (!schedule.paused).then(|| schedule.next_at.to_string()),
        "last_at": schedule.last_at.map(|at| at.to_string()),
        "last_task": schedule.last_task,
    })
}

fn schedule_table(schedules: &[Schedule]) -> String {
    let rows = schedules.iter().map(|schedule| {
        vec![
            schedule.name.clone(),
            format!("{} ({})", schedule.spec, schedule.zone),
            format!("{:05} {}", schedule.template.number, schedule.template.name),
            if schedule.paused { "paused".into() } else { schedule.next_at.to_string() },
            schedule.last_task.map_or_else(|| "-".into(), |task| task.to_string()),
        ]
    });
    table(&["NAME", "WHEN", "TRIGGER", "NEXT", "LAST TASK"], rows, "no schedules")
}

fn schedule_error(error: ScheduleError) -> anyhow::Error {
    let code = match error {
        ScheduleError::Name { .. } | ScheduleError::Recurrence { .. } => USAGE,
        ScheduleError::Missing { .. } => MISSING,
        _ => FAILED,
    };
    failed(code, &error)
}
