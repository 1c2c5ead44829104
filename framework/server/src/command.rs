//! What a host can be asked to do, by this process or by another one.

mod bulk;
mod change;
mod config;
mod deliveries;
mod keys;
mod languages;
mod logs;
mod plugins;
mod schedules;
mod show;
mod tasks;
mod webhooks;

use std::time::Duration;

use anyhow::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchboard::error::Chain;
use switchboard::store::{TaskId, TaskState};
use switchboard::{AnnounceError, FinishError, Notification, Run, Switchboard, TriggerNumber};

pub(crate) use self::change::with_id;
pub(crate) use self::config::{ConfigCommand, run as config};
pub(crate) use self::deliveries::DeliveryCommand;
pub(crate) use self::keys::KeyCommand;
pub(crate) use self::languages::LanguageCommand;
pub(crate) use self::logs::{LogCommand, run as log};
pub(crate) use self::plugins::PluginCommand;
pub(crate) use self::schedules::ScheduleCommand;
pub(crate) use self::tasks::TaskCommand;
use self::tasks::task_error;
pub(crate) use self::webhooks::WebhookCommand;
use crate::exit::{CommandFailed, FAILED, MISSING, NOT_DELIVERED, USAGE};

/// One thing to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    Emit {
        event: String,
        owner: i64,
        data: String,
        task: Option<String>,
        #[serde(default)]
        idempotency_key: Option<String>,
        channel: Option<String>,
        wait_seconds: Option<u64>,
    },
    Trigger {
        number: TriggerNumber,
        name: Option<String>,
        payload: String,
        lang: Option<String>,
    },
    Triggers,
    Plugin(PluginCommand),
    Config(ConfigCommand),
    Language(LanguageCommand),
    Webhook(WebhookCommand),
    Key(KeyCommand),
    Task(TaskCommand),
    Delivery(DeliveryCommand),
    Schedule(ScheduleCommand),
}

/// What a command gives: the same for programs and for people.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) json: Value,
    pub(crate) text: String,
    pub(crate) exit: u8,
}

impl Reply {
    pub(crate) fn new(json: impl Serialize, text: impl Into<String>) -> Result<Self> {
        Ok(Self { json: serde_json::to_value(json)?, text: text.into(), exit: 0 })
    }
}

impl Command {
    /// Whether a process that does this on its own has to run deferred tasks.
    pub(crate) fn waits(&self) -> bool {
        match self {
            Self::Emit { wait_seconds, .. } => wait_seconds.is_some(),
            Self::Delivery(command) => command.waits(),
            Self::Webhook(WebhookCommand::Test { no_wait, .. }) => !no_wait,
            _ => false,
        }
    }

    /// Whether a process that does this on its own opens the plugins. What puts a plugin right must not: the plugin may be
    /// what ends the process.
    pub(crate) fn opens_plugins(&self) -> bool {
        !matches!(self, Self::Plugin(command) if command.is_way_in())
    }
}

/// Does a command on an open host.
pub(crate) fn execute(host: &Switchboard, command: Command) -> Result<Reply> {
    match command {
        Command::Emit { event, owner, data, task, channel, idempotency_key, wait_seconds } => {
            let mut run = host.run();
            if let Some(task) = task {
                run = run.task(task);
            }
            if let Some(channel) = channel {
                run = run.channel(channel);
            }
            let mut notification = Notification::from_json(event, data).owner(owner);
            if let Some(key) = idempotency_key {
                notification = notification.idempotency_key(key);
            }
            emit(host, run.start(), notification, wait_seconds.map(Duration::from_secs))
        }
        Command::Trigger { number, name, payload, lang } => trigger(host, number, name.as_deref(), &payload, lang),
        Command::Triggers => {
            let registry = host.registry();
            let rows: Vec<_> = registry.iter().map(|one| show::trigger_json(one)).collect();
            Reply::new(rows, show::triggers(&registry))
        }
        Command::Plugin(command) => plugins::execute(host, command),
        Command::Config(command) => config::execute(host, &command),
        Command::Language(command) => languages::execute(host, command),
        Command::Webhook(command) => webhooks::execute(host, command),
        Command::Key(command) => keys::execute(host, &command),
        Command::Task(command) => tasks::execute(host, command),
        Command::Delivery(command) => deliveries::execute(host, command),
        Command::Schedule(command) => schedules::execute(host, command),
    }
}

fn emit(host: &Switchboard, mut run: Run, notification: Notification, wait: Option<Duration>) -> Result<Reply> {
    run.announce(notification)
        .map_err(|error| failed(if matches!(error, AnnounceError::Store { .. }) { FAILED } else { USAGE }, &error))?;
    let finished = run
        .finish()
        .map_err(|error| failed(if matches!(error, FinishError::KeyTaken { .. }) { USAGE } else { FAILED }, &error))?;
    let Some(event) = finished.events.into_iter().next() else {
        return Err(CommandFailed { code: FAILED, message: "the event was not accepted".into() }.into());
    };
    let ids: Vec<TaskId> = event.tasks.iter().map(|task| task.id).collect();
    let outcomes = match wait {
        Some(timeout) => Some(host.tasks().wait(&ids, timeout).map_err(task_error)?),
        None => None,
    };
    let delivered = outcomes.iter().flatten().all(|outcome| outcome.state == TaskState::Done)
        && event.immediate.iter().all(|immediate| immediate.delivered);
    let mut reply =
        Reply::new(show::emitted_json(&event, outcomes.as_deref()), show::emitted(&event, outcomes.as_deref()))?;
    if wait.is_some() && !delivered {
        reply.exit = NOT_DELIVERED;
    }
    Ok(reply)
}

fn trigger(
    host: &Switchboard,
    number: TriggerNumber,
    name: Option<&str>,
    payload: &str,
    lang: Option<String>,
) -> Result<Reply> {
    let mut run = host.run();
    if let Some(lang) = lang {
        run = run.language(lang);
    }
    let run = run.start();
    let broadcast = match name {
        None => run.trigger(number, payload.as_bytes()).map_err(|error| failed(FAILED, &error))?,
        Some(name) => {
            if !run.exists_named(number, name) {
                let known: Vec<_> = host.registry().handlers(number).iter().map(|one| one.name.clone()).collect();
                let known = if known.is_empty() { "no handler".into() } else { known.join(", ") };
                let message = format!("trigger {number} has no handler `{name}`; it has {known}");
                return Err(CommandFailed { code: MISSING, message }.into());
            }
            run.trigger_one(number, name, payload.as_bytes()).map_err(|error| failed(FAILED, &error))?
        }
    };
    run.finish().map_err(|error| failed(FAILED, &error))?;
    let mut reply = Reply::new(show::broadcast_json(&broadcast), show::broadcast(&broadcast))?;
    if broadcast.values.iter().any(|value| value.result.is_err()) {
        reply.exit = FAILED;
    }
    Ok(reply)
}

fn failed(code: u8, error: &(dyn std::error::Error + 'static)) -> Error {
    CommandFailed { code, message: Chain(error).to_string() }.into()
}
