//! What a command changes, for the audit log.

use serde_json::Value;

use super::bulk::BulkCommand;
use super::deliveries::DeliveryCommand;
use super::keys::KeyCommand as SecretKeyCommand;
use super::schedules::ScheduleCommand;
use super::tasks::KeyCommand;
use super::webhooks::WebhookCommand;
use super::{Command, ConfigCommand, LanguageCommand, Reply, TaskCommand};

/// A change as the audit log names it: what is done, and with what.
pub(crate) type Named = (&'static str, String);

/// Names what did not have an id before the command was done.
pub(crate) fn with_id((action, object): Named, reply: &Reply) -> Named {
    let kind = match action {
        "webhook.add" => "webhook",
        "plugin.install" => "plugin",
        "bulk.retry" | "bulk.cancel" | "bulk.replay" => "bulk operation",
        _ => return (action, object),
    };
    match &reply.json["id"] {
        Value::String(id) => (action, format!("{kind} {id}, {object}")),
        Value::Number(id) => (action, format!("{kind} {id}, {object}")),
        _ => (action, object),
    }
}

impl Command {
    /// Returns what the command changes. One that only shows something changes nothing, and what a host application does
    /// all the time, to announce an event or to put off a task, is no administrator's change.
    pub(crate) fn change(&self) -> Option<Named> {
        Some(match self {
            Self::Emit { .. } | Self::Triggers => return None,
            Self::Trigger { number, name: Some(name), .. } => ("trigger.call", format!("trigger {number} {name}")),
            Self::Trigger { number, name: None, .. } => ("trigger.call", format!("trigger {number}")),
            Self::Plugin(command) => return command.change(),
            Self::Webhook(command) => return of_webhook(command),
            Self::Delivery(command) => return of_delivery(command),
            Self::Key(SecretKeyCommand::List) => return None,
            Self::Key(SecretKeyCommand::Rotate) => ("keys.rotate", "keys of the secrets".to_owned()),
            Self::Key(SecretKeyCommand::ReEncrypt { .. }) => ("keys.re-encrypt", "keys of the secrets".to_owned()),
            Self::Task(command) => return of_task(command),
            Self::Schedule(command) => return of_schedule(command),
            Self::Config(ConfigCommand::Check | ConfigCommand::Show { .. }) => return None,
            Self::Config(ConfigCommand::Set { key, .. }) => ("config.set", format!("setting {key}")),
            Self::Config(ConfigCommand::Unset { key }) => ("config.unset", format!("setting {key}")),
            Self::Language(LanguageCommand::Override { plugin, language, key, text, .. }) => {
                let action = if text.is_some() { "text.override" } else { "text.remove" };
                (action, format!("text {key} of plugin {plugin} in {language}"))
            }
            Self::Language(LanguageCommand::List | LanguageCommand::Show { .. }) => return None,
        })
    }
}

fn of_webhook(command: &WebhookCommand) -> Option<Named> {
    let (action, id) = match command {
        WebhookCommand::List { .. } | WebhookCommand::Show { .. } => return None,
        WebhookCommand::Events | WebhookCommand::Methods { .. } => return None,
        WebhookCommand::Test { id, .. } => ("webhook.test", id),
        WebhookCommand::Add { owner, .. } => return Some(("webhook.add", format!("webhook of owner {owner}"))),
        WebhookCommand::Edit { id, .. } => ("webhook.change", id),
        WebhookCommand::Enable { id, .. } => ("webhook.enable", id),
        WebhookCommand::Disable { id, .. } => ("webhook.disable", id),
        WebhookCommand::Remove { id, .. } => ("webhook.remove", id),
        WebhookCommand::Rotate { id, .. } => ("webhook.rotate", id),
        // Nothing is changed, and somebody knows a secret now.
        WebhookCommand::Reveal { id, .. } => ("webhook.reveal", id),
    };
    Some((action, format!("webhook {id}")))
}

fn of_delivery(command: &DeliveryCommand) -> Option<Named> {
    Some(match command {
        DeliveryCommand::List(_) | DeliveryCommand::Show { .. } => return None,
        DeliveryCommand::Preview { .. } | DeliveryCommand::Curl { .. } => return None,
        DeliveryCommand::Recover { yes: false, .. } => return None,
        DeliveryCommand::Replay { id, .. } => ("delivery.replay", format!("delivery {id}")),
        DeliveryCommand::Recover { webhook, yes: true, .. } => ("delivery.recover", format!("webhook {webhook}")),
    })
}

fn of_task(command: &TaskCommand) -> Option<Named> {
    Some(match command {
        TaskCommand::List(_) | TaskCommand::Show { .. } | TaskCommand::Defer(_) => return None,
        TaskCommand::Retry { id } => ("task.retry", format!("task {id}")),
        TaskCommand::Cancel { id } => ("task.cancel", format!("task {id}")),
        TaskCommand::Replay { id, .. } => ("task.replay", format!("task {id}")),
        TaskCommand::Bulk(command) => match command {
            BulkCommand::List => return None,
            // They are only counted.
            BulkCommand::Retry(args) | BulkCommand::Cancel(args) | BulkCommand::Replay { args, .. }
                if !args.starts() =>
            {
                return None;
            }
            BulkCommand::Retry(_) => ("bulk.retry", "tasks that match".to_owned()),
            BulkCommand::Cancel(_) => ("bulk.cancel", "tasks that match".to_owned()),
            BulkCommand::Replay { .. } => ("bulk.replay", "tasks that match".to_owned()),
            BulkCommand::Pause { id } => ("bulk.pause", format!("bulk operation {id}")),
            BulkCommand::Resume { id } => ("bulk.resume", format!("bulk operation {id}")),
            BulkCommand::Stop { id } => ("bulk.stop", format!("bulk operation {id}")),
        },
        TaskCommand::Key(command) => match command {
            KeyCommand::Set { key, .. } => ("key.set", format!("key {key}")),
            KeyCommand::Clear { key, .. } => ("key.clear", format!("key {key}")),
            KeyCommand::List => return None,
        },
    })
}

fn of_schedule(command: &ScheduleCommand) -> Option<Named> {
    Some(match command {
        ScheduleCommand::List => return None,
        ScheduleCommand::Set(schedule) => ("schedule.set", format!("schedule {}", schedule.schedule)),
        ScheduleCommand::Pause { schedule } => ("schedule.pause", format!("schedule {schedule}")),
        ScheduleCommand::Resume { schedule } => ("schedule.resume", format!("schedule {schedule}")),
        ScheduleCommand::Remove { schedule } => ("schedule.remove", format!("schedule {schedule}")),
    })
}
