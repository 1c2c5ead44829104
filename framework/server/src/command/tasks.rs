//! Commands about deferred tasks and their keys.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard::clock::parse_rfc3339;
use switchboard::config::HumanDuration;
use switchboard::store::{EventId, OwnerId, Priority, Rate, Task, TaskFilter, TaskId, TaskState, Timestamp, WebhookId};
use switchboard::{DeferError, DeferOptions, Switchboard, TaskError, TriggerNumber};

use super::bulk::BulkCommand;
use super::show::tasks as show;
use super::{Reply, failed};
use crate::delivery_options;
use crate::exit::{CommandFailed, FAILED, MISSING, USAGE};

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TaskCommand {
    /// List tasks, the newest last
    List(TaskQuery),
    /// Show a task with its payload and attempts
    Show {
        /// Its id
        id: i64,
    },
    /// Make a dead, done or waiting task ready again
    Retry {
        /// Its id
        id: i64,
    },
    /// Make a ready or waiting task dead
    Cancel {
        /// Its id
        id: i64,
    },
    /// Run a done or dead task once more, as a task of its own with the same input and without retries
    Replay {
        /// Its id
        id: i64,
        /// Who asks, for the log
        #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = "command line")]
        by: String,
        /// Run it in the foreground and show every step: requests, addresses, TLS, times, answers and log lines
        #[arg(long)]
        trace: bool,
    },
    /// Run a minicomponent in the background
    Defer(Box<DeferArgs>),
    /// Do something with every task that matches
    #[command(subcommand)]
    Bulk(BulkCommand),
    /// Work with keys, by which tasks take turns
    #[command(subcommand)]
    Key(KeyCommand),
}

/// Which tasks match.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
pub(crate) struct TaskMatch {
    /// Only tasks in this state: ready, running, waiting, done or dead
    #[arg(long, value_name = "S")]
    state: Option<String>,
    /// Only tasks of this webhook
    #[arg(long, value_name = "ID")]
    webhook: Option<i64>,
    /// Only tasks of this event
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Only tasks of events of this name
    #[arg(long, value_name = "NAME")]
    event_name: Option<String>,
    /// Only tasks of events of this owner
    #[arg(long, value_name = "N")]
    owner: Option<i64>,
    /// Only tasks whose event has never arrived at their webhook
    #[arg(long)]
    undelivered: bool,
    /// Only tasks of this trigger number
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// Only tasks with this event name of the handler
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only tasks with this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only tasks accepted then or later: a moment such as 2026-11-24T02:00:00Z, or a duration ago such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only tasks accepted before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only tasks whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Which tasks to list.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
pub(crate) struct TaskQuery {
    #[command(flatten)]
    #[serde(flatten)]
    matching: TaskMatch,
    /// The newest first
    #[arg(long)]
    newest_first: bool,
    /// Only tasks after this id in the order of the list, for paging
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Count the tasks that match, by state, in place of listing them
    #[arg(long, conflicts_with_all = ["after", "newest_first"])]
    count: bool,
}

#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct DeferArgs {
    /// Trigger number, such as 06000
    number: String,
    /// Event name of the minicomponent
    name: String,
    /// Its input as JSON; @FILE reads a file, - reads standard input
    #[arg(long, default_value = "{}", value_name = "JSON")]
    pub(crate) payload: String,
    /// By what it takes turns with others [default: host]
    #[arg(long)]
    key: Option<String>,
    /// Start no earlier than this from now, such as 10m
    #[arg(long, value_name = "DURATION", conflicts_with = "at")]
    after: Option<String>,
    /// Start no earlier than this moment, such as 2026-11-24T02:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// How urgent it is: high, normal or low
    #[arg(long, default_value = "normal")]
    priority: String,
    /// Wait until every earlier ordered task of the key has ended
    #[arg(long)]
    ordered: bool,
    /// Make no task while there is one of this unique key that has not ended, or is younger than --window
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// See --unique
    #[arg(long, value_name = "DURATION", requires = "unique")]
    window: Option<String>,
    /// Delays before attempt 1, 2, 3, ..., such as 0s,5s,5m
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',')]
    schedule: Option<Vec<String>>,
    /// Time for one attempt, such as 30s
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
}

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyCommand {
    /// Set what holds for a key; what is not named stays as it is
    Set {
        /// The key, such as webhook:12
        key: String,
        /// How many of its tasks run at once
        #[arg(long, value_name = "N")]
        cap: Option<NonZeroU32>,
        /// How often its tasks start, such as 10/1m
        #[arg(long, value_name = "N/DURATION")]
        rate: Option<String>,
        /// Start none of its tasks
        #[arg(long, conflicts_with = "resume")]
        pause: bool,
        /// Start its tasks again
        #[arg(long)]
        resume: bool,
    },
    /// List the keys that have work, a policy or trouble
    List,
    /// Forget what was set for a key
    Clear {
        /// The key
        key: String,
    },
}

pub(super) fn execute(host: &Switchboard, command: TaskCommand) -> Result<Reply> {
    let tasks = host.tasks();
    match command {
        TaskCommand::List(query) if query.count => count(host, &query),
        TaskCommand::List(query) => {
            let found = tasks.list(&filter(host, &query)?).map_err(task_error)?;
            let shown: Vec<_> = found.iter().map(|task| (task, tasks.waits_for(task))).collect();
            let rows: Vec<Value> = shown.iter().map(|(task, waits_for)| show::task_json(task, waits_for)).collect();
            Reply::new(rows, show::tasks(&shown))
        }
        TaskCommand::Show { id } => {
            let task = tasks.get(TaskId(id)).map_err(task_error)?;
            let attempts = tasks.attempts(task.id).map_err(task_error)?;
            let event = tasks.event(&task).map_err(task_error)?;
            let waits_for = tasks.waits_for(&task);
            Reply::new(
                show::whole_task_json(&task, &waits_for, &attempts, event.as_ref()),
                show::whole_task(&task, &waits_for, &attempts, event.as_ref()),
            )
        }
        TaskCommand::Retry { id } => {
            let task = tasks.retry(TaskId(id)).map_err(task_error)?;
            reply(host, &task, format!("task {id} is ready again"))
        }
        TaskCommand::Cancel { id } => {
            let cancelled = tasks.cancel(TaskId(id)).map_err(task_error)?;
            let task = tasks.get(TaskId(id)).map_err(task_error)?;
            if !cancelled {
                let message =
                    format!("task {id} is {}: only a task that is ready or waiting can be cancelled", task.state);
                return Err(CommandFailed { code: FAILED, message }.into());
            }
            reply(host, &task, format!("task {id} is cancelled"))
        }
        TaskCommand::Replay { id, by, trace: true } => trace(host, TaskId(id), &by),
        TaskCommand::Replay { id, by, trace: false } => {
            let task = tasks.replay(TaskId(id), &by).map_err(task_error)?;
            reply(host, &task, format!("task {} replays task {id}", task.id))
        }
        TaskCommand::Defer(args) => defer(host, *args),
        TaskCommand::Bulk(command) => super::bulk::execute(host, command),
        TaskCommand::Key(command) => key(host, command),
    }
}

fn trace(host: &Switchboard, id: TaskId, by: &str) -> Result<Reply> {
    let trace = host.tasks().trace(id, by).map_err(task_error)?;
    let webhooks = host.webhooks();
    let deliveries = webhooks.deliveries();
    let bodies = trace.attempt.exchanges.iter().map(|exchange| deliveries.body(&trace.attempt, exchange));
    let bodies = bodies.collect::<Result<Vec<_>, _>>().map_err(|error| failed(FAILED, &error))?;
    let task = super::show::tasks::task_json(&trace.task, &None);
    let mut reply = Reply::new(
        super::show::deliveries::trace_json(task, &trace, &bodies),
        super::show::deliveries::trace(id, &trace, &bodies),
    )?;
    if trace.attempt.outcome.as_deref() != Some("ok") {
        reply.exit = FAILED;
    }
    Ok(reply)
}

fn reply(host: &Switchboard, task: &Task, text: String) -> Result<Reply> {
    Reply::new(show::task_json(task, &host.tasks().waits_for(task)), text)
}

/// Reads which tasks match.
pub(super) fn matching(host: &Switchboard, query: &TaskMatch) -> Result<TaskFilter> {
    let since = query.since.as_deref().map(|text| ago(host, "--since", text)).transpose()?;
    let until = query.until.as_deref().map(|text| ago(host, "--until", text)).transpose()?;
    Ok(TaskFilter {
        state: query.state.as_deref().map(task_state).transpose()?,
        webhook: query.webhook.map(WebhookId),
        event: query.event.clone().map(EventId),
        event_name: query.event_name.clone(),
        owner: query.owner.map(OwnerId),
        undelivered: query.undelivered,
        number: query.number.as_deref().map(trigger_number).transpose()?.map(TriggerNumber::get),
        name: query.name.clone(),
        key: query.key.clone(),
        since,
        until,
        reason: query.reason.clone(),
        ..TaskFilter::default()
    })
}

fn filter(host: &Switchboard, query: &TaskQuery) -> Result<TaskFilter> {
    Ok(TaskFilter {
        after: query.after.map(TaskId),
        newest_first: query.newest_first,
        limit: query.limit,
        ..matching(host, &query.matching)?
    })
}

fn count(host: &Switchboard, query: &TaskQuery) -> Result<Reply> {
    let filter = filter(host, query)?;
    let mut counts = serde_json::Map::new();
    let mut total = 0;
    for state in TaskState::ALL.into_iter().filter(|state| filter.state.is_none_or(|wanted| wanted == *state)) {
        let found = host.tasks().count(&TaskFilter { state: Some(state), ..filter.clone() }).map_err(task_error)?;
        counts.insert(state.to_string(), found.into());
        total += found;
    }
    counts.insert("total".into(), total.into());
    let counts = Value::Object(counts);
    let text = super::show::fields(&counts);
    Reply::new(counts, text)
}

fn defer(host: &Switchboard, args: DeferArgs) -> Result<Reply> {
    let DeferArgs { number, name, payload, key, after, at, priority, ordered, unique, window, schedule, timeout } =
        args;
    let number = trigger_number(&number)?;
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&payload) {
        return Err(usage(format!("`--payload` is no JSON: {error}")));
    }
    let priority: Priority = priority.parse().map_err(|error| usage(format!("`--priority {priority}` is {error}")))?;
    let mut options = DeferOptions::default().priority(priority).ordered(ordered);
    if let Some(key) = key {
        options = options.key(key);
    }
    if let Some(after) = after {
        options = options.after(duration("--after", &after)?);
    }
    if let Some(at) = at {
        options = options.at(moment("--at", &at)?);
    }
    if let Some(unique) = unique {
        let window = window.map_or(Ok(Duration::ZERO), |window| duration("--window", &window))?;
        options = options.unique(unique, window);
    }
    if let Some(schedule) = schedule {
        let delays: Result<Vec<Duration>> = schedule.iter().map(|delay| duration("--schedule", delay)).collect();
        options = options.schedule(delays?);
    }
    if let Some(timeout) = timeout {
        options = options.timeout(duration("--timeout", &timeout)?);
    }
    let deferred = host.defer(number, &name, payload, options).map_err(defer_error)?;
    let task = host.tasks().get(deferred.id).map_err(task_error)?;
    let text = match deferred.known {
        true => format!("task {} is there already: its unique key is taken", task.id),
        false => format!("task {} is {}", task.id, task.state),
    };
    let mut reply = reply(host, &task, text)?;
    reply.json["known"] = deferred.known.into();
    Ok(reply)
}

fn key(host: &Switchboard, command: KeyCommand) -> Result<Reply> {
    let tasks = host.tasks();
    match command {
        KeyCommand::List => {
            let keys = tasks.keys().map_err(task_error)?;
            let text = show::keys(&keys);
            Reply::new(keys.iter().map(show::key_json).collect::<Vec<_>>(), text)
        }
        KeyCommand::Clear { key } => {
            tasks.set_key_policy(&key, None).map_err(task_error)?;
            Reply::new(json!({ "key": key, "policy": null }), format!("nothing is set for key `{key}` any more"))
        }
        KeyCommand::Set { key, cap, rate, pause, resume } => {
            let known = tasks.key_policies().map_err(task_error)?.into_iter().find(|(other, _)| *other == key);
            let mut policy = known.map(|(_, policy)| policy).unwrap_or_default();
            policy.cap = cap.or(policy.cap);
            policy.rate = rate.as_deref().map(parse_rate).transpose()?.or(policy.rate);
            policy.paused = pause || (policy.paused && !resume);
            tasks.set_key_policy(&key, Some(policy.clone())).map_err(task_error)?;
            let text = format!("key `{key}`: {}", show::policy(&policy));
            Reply::new(json!({ "key": key, "policy": policy }), text)
        }
    }
}

pub(super) fn parse_rate(text: &str) -> Result<Rate> {
    delivery_options::rate(text).map_err(|why| usage(format!("`--rate {text}` {why}")))
}

pub(super) fn duration(option: &str, text: &str) -> Result<Duration> {
    let duration: Result<HumanDuration, _> = text.parse();
    duration.map(|duration| duration.0).map_err(|error| usage(format!("{option}: {error}")))
}

fn moment(option: &str, text: &str) -> Result<Timestamp> {
    parse_rfc3339(text).map(Timestamp).ok_or_else(|| {
        usage(format!("`{option} {text}` is no moment: write it with its offset, such as 2026-11-24T02:00:00Z"))
    })
}

/// Reads a moment, or how long ago it was.
pub(super) fn ago(host: &Switchboard, option: &str, text: &str) -> Result<Timestamp> {
    ago_from(host.now(), option, text)
}

pub(super) fn ago_from(now: Timestamp, option: &str, text: &str) -> Result<Timestamp> {
    match text.parse::<HumanDuration>() {
        Ok(ago) => {
            let ago = i64::try_from(ago.0.as_millis()).unwrap_or(i64::MAX);
            Ok(Timestamp(now.0.saturating_sub(ago)))
        }
        Err(_) => moment(option, text),
    }
}

fn task_state(text: &str) -> Result<TaskState> {
    text.parse()
        .map_err(|_| usage(format!("`{text}` is no state of a task: ready, running, waiting, done or dead is needed")))
}

pub(super) fn trigger_number(text: &str) -> Result<TriggerNumber> {
    text.parse().map_err(|error: switchboard::NotATriggerNumber| usage(error.to_string()))
}

pub(super) fn usage(message: String) -> anyhow::Error {
    CommandFailed { code: USAGE, message }.into()
}

pub(super) fn task_error(error: TaskError) -> anyhow::Error {
    let code = match &error {
        TaskError::Missing { .. } => MISSING,
        TaskError::Key { .. } | TaskError::Rate { .. } => USAGE,
        _ => FAILED,
    };
    failed(code, &error)
}

fn defer_error(error: DeferError) -> anyhow::Error {
    let code = if matches!(error, DeferError::Store { .. }) { FAILED } else { USAGE };
    failed(code, &error)
}
