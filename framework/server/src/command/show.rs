//! How results look: JSON for programs, text for people.

pub(super) mod deliveries;
pub(super) mod tasks;
pub(super) mod webhooks;

use std::path::Path;

use serde_json::{Value, json};
use switchboard::channel_log::{ChannelInfo, LogFile, LogRecord, printable};
use switchboard::store::Timestamp;
use switchboard::{
    AnnouncedEvent, Broadcast, LoadReport, Method, Minicomponent, PluginState, Registry, Suspension, TaskOutcome,
};

use crate::output::table;

pub(super) fn trigger_json(one: &Minicomponent) -> Value {
    json!({
        "number": one.number.to_string(),
        "name": one.name,
        "plugin": &*one.plugin,
        "tier": one.tier,
        "kind": one.kind,
        "calls": one.counts.calls(),
        "failures": one.counts.failures(),
        "suspended": one.suspension().as_deref().map(suspension_json),
    })
}

pub(super) fn triggers(registry: &Registry) -> String {
    let mut suspended = String::new();
    let rows = registry.iter().map(|one| {
        let state = match one.suspension() {
            Some(suspension) => {
                suspended.push_str(&format!("\nsuspended: {suspension}"));
                "suspended"
            }
            None => "active",
        };
        vec![one.number.to_string(), one.name.clone(), one.plugin.to_string(), one.tier.to_string(), state.into()]
    });
    table(&["NUMBER", "NAME", "PLUGIN", "TIER", "STATE"], rows, "nothing is registered") + &suspended
}

pub(super) fn suspension_json(suspension: &Suspension) -> Value {
    json!({
        "plugin": suspension.plugin,
        "number": suspension.number.to_string(),
        "name": suspension.name,
        "panics": suspension.panics,
        "last_panic": suspension.last_panic,
        "since": suspension.since.to_string(),
        "remedy": suspension.remedy(),
    })
}

pub(super) fn resumed(plugin: &str, resumed: &[Suspension]) -> String {
    if resumed.is_empty() {
        return format!("nothing of plugin `{plugin}` is suspended");
    }
    let lines = resumed.iter().map(|one| format!("{} `{}` of plugin `{plugin}` is called again", one.number, one.name));
    lines.collect::<Vec<_>>().join("\n")
}

pub(super) fn plugins(report: &LoadReport, data: &Path) -> String {
    let rows = report.plugins.iter().map(|plugin| {
        let suspended = report.suspended.iter().filter(|one| Some(&one.plugin) == plugin.id.as_ref()).count();
        let state = match plugin.state {
            PluginState::Active if suspended > 0 => format!("active, {suspended} suspended"),
            state => state.to_string(),
        };
        let dash = || "-".to_owned();
        vec![
            plugin.file.file_name().map_or_else(dash, |name| name.to_string_lossy().escape_debug().to_string()),
            plugin.id.clone().unwrap_or_else(dash),
            plugin.version.clone().unwrap_or_else(dash),
            plugin.tier.to_string(),
            state,
            plugin.reason.clone().unwrap_or_default(),
        ]
    });
    let folder = data.join("plugins");
    let empty = format!("no plugins yet: place a library into {}", folder.display());
    let mut text = table(&["FILE", "PLUGIN", "VERSION", "TIER", "STATE", "REASON"], rows, &empty);
    for collision in &report.collisions {
        text.push_str(&format!("\ncollision: {collision}"));
    }
    for suspension in &report.suspended {
        text.push_str(&format!("\nsuspended: {suspension}"));
    }
    text
}

pub(super) fn plugins_json(report: &LoadReport) -> Value {
    let collisions = report.collisions.iter().map(|collision| {
        json!({
            "number": collision.number.to_string(),
            "name": collision.name,
            "kept": collision.kept,
            "left_out": collision.left_out,
        })
    });
    let suspended = report.suspended.iter().map(suspension_json);
    json!({
        "plugins": report.plugins,
        "collisions": collisions.collect::<Value>(),
        "suspended": suspended.collect::<Value>(),
    })
}

/// The members of an object, one a line.
pub(super) fn fields(json: &Value) -> String {
    let members = json.as_object().into_iter().flatten();
    let lines = members.map(|(key, value)| match value {
        Value::String(text) => format!("{key}: {}", printable(text)),
        other => format!("{key}: {other}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub(super) fn methods(methods: &[Method], data: &Path) -> String {
    if methods.is_empty() {
        return format!("no auth methods: they come with plugins; place one into {}", data.join("plugins").display());
    }
    let mut text = String::new();
    for method in methods {
        text.push_str(&format!("{}  {} ({})\n", method.id, printable(&method.form.title), method.plugin));
        if !method.form.notes.is_empty() {
            text.push_str(&format!("  {}\n", printable(&method.form.notes)));
        }
        for field in &method.form.fields {
            let format = serde_json::to_value(field.format).unwrap_or_default();
            let required = if field.required { ", required" } else { "" };
            let format = format.as_str().unwrap_or_default();
            let title = printable(&field.title);
            text.push_str(&format!("  --set {}=…  {title} ({format}{required})\n", field.key));
        }
    }
    text.trim_end().to_owned()
}

pub(super) fn emitted_json(event: &AnnouncedEvent, outcomes: Option<&[TaskOutcome]>) -> Value {
    let tasks: Vec<Value> = event
        .tasks
        .iter()
        .map(|task| {
            let outcome = outcomes.into_iter().flatten().find(|outcome| outcome.id == task.id);
            let mut json = outcome.map_or_else(
                || json!({ "id": task.id, "state": "ready" }),
                |outcome| serde_json::to_value(outcome).unwrap_or_default(),
            );
            json["webhook"] = json!(task.webhook);
            json
        })
        .collect();
    json!({ "event_id": event.id, "known": event.known, "tasks": tasks, "immediate": event.immediate })
}

pub(super) fn emitted(event: &AnnouncedEvent, outcomes: Option<&[TaskOutcome]>) -> String {
    let said = if event.known { "was accepted before under this key" } else { "accepted" };
    let mut text = format!("{} {said}: {} to deliver", event.id, event.tasks.len());
    for immediate in &event.immediate {
        let state = if immediate.delivered { "delivered" } else { "not delivered" };
        text.push_str(&format!("\nwebhook {}: {state} at once ({})", immediate.webhook, immediate.outcome));
    }
    match outcomes {
        None if !event.tasks.is_empty() => {
            text.push_str("\nthey are delivered in the background while `switchboard serve` runs on this data folder");
        }
        _ => {
            for outcome in outcomes.into_iter().flatten() {
                let webhook =
                    event.tasks.iter().find(|task| task.id == outcome.id).map(|task| task.webhook.to_string());
                let detail =
                    outcome.detail.as_deref().map_or_else(String::new, |detail| format!(": {}", printable(detail)));
                text.push_str(&format!(
                    "\ntask {} for webhook {}: {}{detail}",
                    outcome.id,
                    webhook.unwrap_or_default(),
                    outcome.state
                ));
            }
        }
    }
    text
}

pub(super) fn broadcast_json(broadcast: &Broadcast) -> Value {
    let values: Vec<Value> = broadcast
        .values
        .iter()
        .map(|value| {
            let mut json = json!({ "name": value.name(), "plugin": value.plugin() });
            match &value.result {
                Ok(payload) => json["value"] = payload_json(payload),
                Err(error) => {
                    json["error"] = error.to_string().into();
                    json["suspended"] = value.minicomponent.suspension().is_some().into();
                }
            }
            json
        })
        .collect();
    let last = broadcast.last().map_or(Value::Null, |payload| payload_json(payload));
    json!({ "number": broadcast.number.to_string(), "last": last, "values": values })
}

/// A handler's value: as JSON when it is JSON, else as text.
fn payload_json(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).unwrap_or_else(|_| String::from_utf8_lossy(payload).into_owned().into())
}

pub(super) fn broadcast(broadcast: &Broadcast) -> String {
    if broadcast.values.is_empty() {
        return format!("nothing answers {}", broadcast.number);
    }
    let lines = broadcast.values.iter().map(|value| match &value.result {
        Ok(payload) => format!("{} ({}): {}", value.name(), value.plugin(), payload_json(payload)),
        Err(error) if error.code() == Some("suspended") && value.minicomponent.suspension().is_some() => {
            format!("{} ({}) skipped: {error}", value.name(), value.plugin())
        }
        Err(error) => {
            format!("{} ({}) failed: {}", value.name(), value.plugin(), printable(&error.to_string()))
        }
    });
    let last = broadcast.last().map_or_else(|| "-".into(), |payload| payload_json(payload).to_string());
    format!("{}\nlast value: {last}", lines.collect::<Vec<_>>().join("\n"))
}

pub(super) fn channels_json(channels: &[ChannelInfo]) -> Value {
    let modified = |channel: &ChannelInfo| Timestamp(channel.modified).to_string();
    let rows = channels.iter();
    rows.map(|channel| {
        json!({
            "name": channel.name, "bytes": channel.bytes, "modified": modified(channel), "files": channel.files,
        })
    })
    .collect()
}

pub(super) fn log_files_json(files: &[LogFile]) -> Value {
    let rows = files.iter().map(|file| {
        let rotated = file.rotated.map(|at| Timestamp(at).to_string());
        json!({
            "id": file.id,
            "channel": file.channel,
            "bytes": file.bytes,
            "modified": Timestamp(file.modified).to_string(),
            "rotated": rotated,
        })
    });
    rows.collect()
}

pub(super) fn log_files(files: &[LogFile]) -> String {
    let rows = files.iter().map(|file| {
        let rotated = file.rotated.map_or_else(|| "-".into(), |at| Timestamp(at).to_string());
        let modified = Timestamp(file.modified).to_string();
        vec![file.id.clone(), file.channel.clone(), file.bytes.to_string(), modified, rotated]
    });
    table(&["ID", "CHANNEL", "BYTES", "MODIFIED", "ROTATED"], rows, "no logs yet")
}

pub(super) fn records_json(records: &[LogRecord]) -> Value {
    records.iter().map(record_json).collect()
}

pub(super) fn record_json(record: &LogRecord) -> Value {
    let level = record.level.as_str().to_ascii_lowercase();
    json!({ "time": record.time, "level": level, "channel": record.channel, "message": record.message })
}

pub(super) fn channels(channels: &[ChannelInfo]) -> String {
    let rows =
        channels.iter().map(|channel| vec![channel.name.clone(), channel.bytes.to_string(), channel.files.to_string()]);
    table(&["CHANNEL", "BYTES", "FILES"], rows, "no logs yet")
}

pub(super) fn records(records: &[LogRecord], with_channel: bool) -> String {
    if records.is_empty() {
        return "no records match".into();
    }
    records.iter().map(|one| record(one, with_channel)).collect::<Vec<_>>().join("\n")
}

pub(super) fn record(record: &LogRecord, with_channel: bool) -> String {
    let LogRecord { time, level, channel, message, .. } = record;
    if with_channel { format!("{time} {level:5} {channel}: {message}") } else { format!("{time} {level:5} {message}") }
}
