//! Tasks and keys.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard::channel_log::printable;
use switchboard::config::HumanDuration;
use switchboard::store::{Attempt, Event, KeyPolicy, Task, TaskState};
use switchboard::{BreakerState, KeyState};

use super::fields;
use crate::output::table;

pub(in crate::command) fn task_json(task: &Task, waits_for: &Option<String>) -> Value {
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    json!({
        "id": task.id,
        "event_id": task.event,
        "webhook": task.webhook,
        "number": format!("{:05}", task.number),
        "name": task.name,
        "state": task.state,
        "reason": task.reason,
        "attempts": task.attempts,
        "crashes": task.crashes,
        "waits_for": waits_for,
        "key": task.key,
        "priority": task.priority,
        "ordered": task.ordered,
        "unique": task.unique_key,
        "replay_of": task.replay_of,
        "schedule_ms": task.schedule.as_ref().map(|delays| delays.iter().copied().map(milliseconds).collect::<Vec<_>>()),
        "timeout_ms": task.timeout.map(milliseconds),
        "run_at": task.run_at.to_string(),
        "created_at": task.created_at.to_string(),
    })
}

pub(in crate::command) fn tasks(tasks: &[(&Task, Option<String>)]) -> String {
    let rows = tasks.iter().map(|(task, waits_for)| {
        vec![
            task.id.to_string(),
            task.state.to_string(),
            format!("{:05} {}", task.number, task.name),
            task.webhook.map_or_else(|| "-".into(), |webhook| webhook.to_string()),
            task.attempts.to_string(),
            if task.state == TaskState::Waiting { task.run_at.to_string() } else { "-".into() },
            waits_for.clone().or_else(|| task.reason.clone()).unwrap_or_default(),
        ]
    });
    table(&["ID", "STATE", "TRIGGER", "WEBHOOK", "ATTEMPTS", "NEXT", "REASON"], rows, "no tasks match")
}

pub(in crate::command) fn whole_task_json(
    task: &Task,
    waits_for: &Option<String>,
    attempts: &[Attempt],
    event: Option<&Event>,
) -> Value {
    let mut json = task_json(task, waits_for);
    json["event"] = event.map_or(Value::Null, |event| event.name.as_str().into());
    json["payload"] = payload(task, event).map_or(Value::Null, Into::into);
    json["attempt_list"] = attempts.iter().map(attempt_json).collect();
    json
}

fn attempt_json(attempt: &Attempt) -> Value {
    json!({
        "id": attempt.id,
        "number": attempt.number,
        "mode": attempt.mode,
        "started_at": attempt.started_at.to_string(),
        "ended_at": attempt.ended_at.map(|at| at.to_string()),
        "outcome": attempt.outcome,
        "status": attempt.status,
        "detail": attempt.detail,
        "url": attempt.url,
        "response": attempt.response,
    })
}

/// The payload as text: the body of the event, or what was deferred.
fn payload(task: &Task, event: Option<&Event>) -> Option<String> {
    let bytes = task.payload.as_ref().or_else(|| event.map(|event| &event.body))?;
    // The body of an event whose deliveries have all succeeded is gone, except in development mode.
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

pub(in crate::command) fn whole_task(
    task: &Task,
    waits_for: &Option<String>,
    attempts: &[Attempt],
    event: Option<&Event>,
) -> String {
    let mut text = fields(&task_json(task, waits_for));
    if let Some(payload) = payload(task, event) {
        text.push_str(&format!("\npayload: {}", printable(&payload)));
    } else if task.state == TaskState::Done {
        text.push_str("\npayload: removed after success; development mode keeps it (`[log] mode = \"development\"`)");
    }
    let rows = attempts.iter().map(|attempt| {
        let took = attempt.ended_at.map_or_else(|| "-".into(), |at| format!("{} ms", at.0 - attempt.started_at.0));
        vec![
            attempt.number.to_string(),
            attempt.started_at.to_string(),
            took,
            attempt.outcome.clone().unwrap_or_else(|| "running".into()),
            attempt.status.map_or_else(|| "-".into(), |status| status.to_string()),
            attempt.detail.clone().unwrap_or_default(),
        ]
    });
    let attempts = table(&["ATTEMPT", "STARTED", "TOOK", "OUTCOME", "STATUS", "DETAIL"], rows, "no attempts yet");
    format!("{text}\n\n{attempts}")
}

pub(in crate::command) fn key_json(key: &KeyState) -> Value {
    let mut json = serde_json::to_value(key).unwrap_or_default();
    json["held_until"] = key.held_until.map_or(Value::Null, |until| until.to_string().into());
    json
}

pub(in crate::command) fn keys(keys: &[KeyState]) -> String {
    let rows = keys.iter().map(|key| {
        vec![
            key.key.clone(),
            key.queued.to_string(),
            key.running.to_string(),
            key.waiting.to_string(),
            match key.breaker {
                BreakerState::Open => format!("open after {} failures", key.failures),
                BreakerState::HalfOpen => "half open".into(),
                _ if key.one_at_a_time => "closed, one at a time".into(),
                _ => "closed".into(),
            },
            key.held_until.map_or_else(|| "-".into(), |until| until.to_string()),
            key.policy.as_ref().map_or_else(|| "-".into(), policy),
        ]
    });
    table(
        &["KEY", "QUEUED", "RUNNING", "WAITING", "BREAKER", "HELD UNTIL", "POLICY"],
        rows,
        "no key has work or a policy",
    )
}

pub(in crate::command) fn policy(policy: &KeyPolicy) -> String {
    let cap = policy.cap.map(|cap| format!("{cap} at once"));
    let rate = policy.rate.map(|rate| format!("{} in {}", rate.starts, HumanDuration(rate.per)));
    let paused = policy.paused.then(|| "paused".to_owned());
    let parts: Vec<String> = [cap, rate, paused].into_iter().flatten().collect();
    if parts.is_empty() { "nothing".into() } else { parts.join(", ") }
}
