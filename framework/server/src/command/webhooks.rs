//! Commands about webhooks.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;
use switchboard::store::{Envelope, Order, TaskId, TaskState, Webhook, WebhookId, WebhookOptions};
use switchboard::{Switchboard, WebhookDraft, WebhookError};

use super::show::webhooks as show;
use super::tasks::{duration, parse_rate, task_error, usage};
use super::{Reply, failed};
use crate::delivery_options;
use crate::exit::{FAILED, MISSING, NOT_DELIVERED, USAGE};
use crate::output::table;

/// Longest wait for a test event.
const TEST_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WebhookCommand {
    /// Add a webhook
    Add {
        /// Owner whose events it gets; 0 gets everybody's
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        owner: i64,
        #[command(flatten)]
        properties: Box<Properties>,
    },
    /// Change a webhook: what is not named stays as it is
    Edit {
        /// Its id
        id: i64,
        /// Only if it is still of this version, which `webhook show` tells
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
        /// Owner whose events it gets; 0 gets everybody's
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        owner: Option<i64>,
        #[command(flatten)]
        properties: Box<Properties>,
    },
    /// List webhooks
    List {
        /// Only those of this owner
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        owner: Option<i64>,
    },
    /// Show one webhook
    Show {
        /// Its id
        id: i64,
    },
    /// Enable a webhook
    Enable {
        /// Its id
        id: i64,
        /// Only if it is still of this version, which `webhook show` tells
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
    },
    /// Disable a webhook
    Disable {
        /// Its id
        id: i64,
        /// Only if it is still of this version, which `webhook show` tells
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
        /// Why, for whoever looks at it
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Remove a webhook; its unfinished tasks become dead letters
    Remove {
        /// Its id
        id: i64,
        /// Only if it is still of this version, which `webhook show` tells
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
    },
    /// Make a new secret for a webhook that signs, and show once what its receiver needs
    Rotate {
        /// Its id
        id: i64,
        /// Only if it is still of this version, which `webhook show` tells
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
        /// How long the former secret signs beside the new one, up to 7d
        #[arg(long, default_value = "24h", value_name = "DURATION")]
        keep: String,
    },
    /// Show a setting in the clear, also a secret one; the log says who asked
    Reveal {
        /// Its id
        id: i64,
        /// The setting, such as signed_secret
        key: String,
        /// Who asks, for the log
        #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = "command line")]
        by: String,
    },
    /// Send the event webhook_test to one webhook only
    Test {
        /// Its id
        id: i64,
        /// Return at once, and not when the delivery is done, dead or waiting for another try
        #[arg(long)]
        no_wait: bool,
    },
    /// List the events that are known by name, with their properties; any other may be announced as well
    Events,
    /// List the auth methods with their forms
    Methods {
        /// Language, such as de-DE
        #[arg(long)]
        lang: Option<String>,
    },
}

/// What a webhook is to be. Absent is what does not change.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
pub(crate) struct Properties {
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// URL of the receiver; may be left out where there is a name and the auth method knows the receiver by itself
    #[arg(long)]
    url: Option<String>,
    /// Auth method; `webhook methods` lists them
    #[arg(long, value_name = "M")]
    method: Option<String>,
    /// Setting of the auth method; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Event that it gets, in which * stands for any characters, as in booking_*; may be repeated; all without it
    #[arg(long = "event", value_name = "E")]
    events: Vec<String>,
    /// Let it get all events again
    #[arg(long, conflicts_with = "events")]
    all_events: bool,
    /// Deliver at once, in the time of whoever announces, where the method can
    #[arg(long, value_name = "yes|no", num_args = 0..=1, default_missing_value = "yes", value_parser = yes_or_no)]
    immediate: Option<bool>,
    /// Deliver in the background what could not be delivered at once [default: yes]
    #[arg(long, value_name = "yes|no", num_args = 0..=1, default_missing_value = "yes", value_parser = yes_or_no)]
    then_queue: Option<bool>,
    /// Time for one attempt in the background, 1s to 60s; `default` for that of the configuration, here and below
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Time for one delivery at once, 1s to 10s
    #[arg(long, value_name = "DURATION")]
    immediate_timeout: Option<String>,
    /// Time for the lookup of the receiver's name, 1s to 60s
    #[arg(long, value_name = "DURATION")]
    dns_timeout: Option<String>,
    /// Time for the connection, 1s to 60s
    #[arg(long, value_name = "DURATION")]
    connect_timeout: Option<String>,
    /// Time for the TLS handshake, 1s to 60s
    #[arg(long, value_name = "DURATION")]
    tls_timeout: Option<String>,
    /// Time from the connection to the head of the answer, 1s to 60s
    #[arg(long, value_name = "DURATION")]
    first_byte_timeout: Option<String>,
    /// Waits before each attempt, such as 0s,5s,5m,1h
    #[arg(long, value_name = "DURATIONS")]
    schedule: Option<String>,
    /// How many deliveries may be under way at once
    #[arg(long, value_name = "N")]
    cap: Option<String>,
    /// How often one may start, such as 10/1m
    #[arg(long, value_name = "N/DURATION")]
    rate: Option<String>,
    /// Which deliveries wait for one another
    #[arg(long, value_enum)]
    order: Option<OrderName>,
    /// Statuses after which a delivery is given up at once, such as 400,422; `none` for none
    #[arg(long, value_name = "STATUSES")]
    stop_on: Option<String>,
    /// Header that requests to the URL have in addition; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Header that they do not have any more; may be repeated
    #[arg(long = "remove-header", value_name = "NAME")]
    removed_headers: Vec<String>,
    /// File with the certificate authorities, in PEM, that are trusted instead of the machine's; `none` for the machine's
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// File with a client certificate and its private key, in PEM; `none` for none
    #[arg(long, value_name = "FILE")]
    identity: Option<String>,
    /// Ask the receiver for its consent before the webhook is stored, as CloudEvents describes
    #[arg(long, value_name = "yes|no", num_args = 0..=1, default_missing_value = "yes", value_parser = yes_or_no)]
    handshake: Option<bool>,
    /// What is around the event's properties in the body
    #[arg(long, value_enum)]
    envelope: Option<EnvelopeName>,
    /// Language in which the auth method says what is wrong
    #[arg(long)]
    lang: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum, Serialize, Deserialize)]
enum OrderName {
    /// None: one that fails is overtaken
    None,
    /// All of the webhook: one after the other
    Webhook,
    /// Those about the same subject, such as a property
    Subject,
}

#[derive(Clone, Copy, Debug, ValueEnum, Serialize, Deserialize)]
enum EnvelopeName {
    /// {"data":{…,"task":"booking_added"}}
    Reference,
    /// {"type":"booking.added","timestamp":"…","data":{…}}
    Standard,
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "true" | "1" => Ok(true),
        "no" | "false" | "0" => Ok(false),
        _ => Err("write yes or no".into()),
    }
}

impl WebhookCommand {
    /// Reads the files that the command line names, in the process of whoever gives it.
    pub(crate) fn read_files(mut self) -> Result<Self> {
        if let Self::Add { properties, .. } | Self::Edit { properties, .. } = &mut self {
            for (option, file) in [("--ca", &mut properties.ca), ("--identity", &mut properties.identity)] {
                if let Some(file) = file {
                    *file = match file.as_str() {
                        "none" => String::new(),
                        path => {
                            std::fs::read_to_string(path).with_context(|| format!("cannot read {option} `{path}`"))?
                        }
                    };
                }
            }
        }
        Ok(self)
    }
}

pub(super) fn execute(host: &Switchboard, command: WebhookCommand) -> Result<Reply> {
    let webhooks = host.webhooks();
    match command {
        WebhookCommand::Add { owner, properties } => {
            let mut draft = WebhookDraft { owner, ..WebhookDraft::default() };
            if properties.method.is_none() {
                return Err(usage("--method is missing: `switchboard webhook methods` lists them".into()));
            }
            properties.apply(&mut draft)?;
            let webhook = webhooks.add(draft).map_err(webhook_error)?;
            saved(host, &webhook, "added")
        }
        WebhookCommand::Edit { id, if_version, owner, properties } => {
            let mut draft = webhooks.draft(WebhookId(id)).map_err(webhook_error)?;
            draft.owner = owner.unwrap_or(draft.owner);
            properties.apply(&mut draft)?;
            let webhook = webhooks.if_version(if_version).change(WebhookId(id), draft).map_err(webhook_error)?;
            saved(host, &webhook, "changed")
        }
        WebhookCommand::List { owner } => {
            let shown = webhooks.shown(&webhooks.list(owner).map_err(webhook_error)?);
            Reply::new(&shown, show::webhooks(&shown, owner))
        }
        WebhookCommand::Show { id } => {
            let webhook = webhooks.get(WebhookId(id)).map_err(webhook_error)?;
            let text = |shown: &_| show::webhook(shown);
            reply(host, &webhook, text)
        }
        WebhookCommand::Enable { id, if_version } => {
            let webhook = webhooks.if_version(if_version).enable(WebhookId(id)).map_err(webhook_error)?;
            reply(host, &webhook, |_| format!("webhook {id} enabled"))
        }
        WebhookCommand::Disable { id, if_version, reason } => {
            let webhook =
                webhooks.if_version(if_version).disable(WebhookId(id), reason.as_deref()).map_err(webhook_error)?;
            reply(host, &webhook, |_| format!("webhook {id} disabled"))
        }
        WebhookCommand::Remove { id, if_version } => {
            webhooks.if_version(if_version).remove(WebhookId(id)).map_err(webhook_error)?;
            Reply::new(json!({ "id": id, "removed": true }), format!("webhook {id} removed"))
        }
        WebhookCommand::Rotate { id, if_version, keep } => {
            let keep = duration("--keep", &keep)?;
            let told = webhooks.if_version(if_version).rotate_secret(WebhookId(id), keep).map_err(webhook_error)?;
            let text = format!("{told}\ngive this to the receiver of webhook {id}; it is not shown again");
            Reply::new(json!({ "id": id, "secret": told }), text)
        }
        WebhookCommand::Reveal { id, key, by } => {
            let value = webhooks.reveal(WebhookId(id), &key, &by).map_err(webhook_error)?;
            Reply::new(json!({ "id": id, "key": key, "value": value }), value)
        }
        WebhookCommand::Test { id, no_wait } => test(host, WebhookId(id), no_wait),
        WebhookCommand::Events => {
            let events = webhooks.events();
            let rows = events.iter().map(|event| vec![event.name.to_owned(), event.properties.join(", ")]);
            Reply::new(&events, table(&["EVENT", "PROPERTIES"], rows, "no events"))
        }
        WebhookCommand::Methods { lang } => {
            let language = lang.unwrap_or_else(|| host.config().languages.default.clone());
            let methods = webhooks.methods(&language).map_err(webhook_error)?;
            let text = super::show::methods(&methods, host.data());
            Reply::new(methods, text)
        }
    }
}

fn test(host: &Switchboard, id: WebhookId, no_wait: bool) -> Result<Reply> {
    let event = host.webhooks().send_test(id).map_err(webhook_error)?;
    let tasks: Vec<TaskId> = event.tasks.iter().map(|task| task.id).collect();
    let outcomes = match no_wait {
        true => None,
        false => Some(host.tasks().wait(&tasks, TEST_WAIT).map_err(task_error)?),
    };
    let json = super::show::emitted_json(&event, outcomes.as_deref());
    let mut reply = Reply::new(json, super::show::emitted(&event, outcomes.as_deref()))?;
    let delivered = outcomes.iter().flatten().all(|outcome| outcome.state == TaskState::Done)
        && event.immediate.iter().all(|immediate| immediate.delivered);
    if !(no_wait || delivered) {
        reply.exit = NOT_DELIVERED;
    }
    Ok(reply)
}

fn reply(host: &Switchboard, webhook: &Webhook, text: impl Fn(&switchboard::ShownWebhook) -> String) -> Result<Reply> {
    let shown = host.webhooks().shown(std::slice::from_ref(webhook));
    let shown = shown.first().context("a webhook cannot be shown")?;
    Reply::new(shown, text(shown))
}

fn saved(host: &Switchboard, webhook: &Webhook, done: &str) -> Result<Reply> {
    let mut reply = reply(host, webhook, |shown| format!("webhook {} {done}", shown.id))?;
    if let Some(warning) = host.webhooks().url_warning(&webhook.url) {
        reply.text += &format!("\nit would not be delivered just now: {warning}");
        reply.json["warning"] = warning.into();
    }
    Ok(reply)
}

impl Properties {
    fn apply(self, draft: &mut WebhookDraft) -> Result<()> {
        draft.settings = crate::cli::pairs("--set KEY=VALUE", &self.settings)?;
        draft.name = self.name.unwrap_or(std::mem::take(&mut draft.name));
        draft.url = self.url.unwrap_or(std::mem::take(&mut draft.url));
        draft.method = self.method.unwrap_or(std::mem::take(&mut draft.method));
        if self.all_events || !self.events.is_empty() {
            draft.events = self.events;
        }
        for header in self.headers {
            let (name, value) = header
                .split_once(':')
                .ok_or_else(|| usage(format!("`--header {header}` has no `:`: write --header \"NAME: VALUE\"")))?;
            draft.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name.trim()));
            draft.headers.push((name.trim().to_owned(), Some(value.trim().to_owned())));
        }
        let removed = |name: &str| self.removed_headers.iter().any(|removed| removed.eq_ignore_ascii_case(name));
        draft.headers.retain(|(name, _)| !removed(name));
        draft.identity_pem = self.identity;
        draft.language = self.lang;
        let options: &mut WebhookOptions = &mut draft.options;
        options.immediate = self.immediate.unwrap_or(options.immediate);
        options.then_queue = self.then_queue.unwrap_or(options.then_queue);
        options.handshake = self.handshake.unwrap_or(options.handshake);
        if let Some(ca) = self.ca {
            options.ca_pem = Some(ca).filter(|ca| !ca.is_empty());
        }
        set(&mut options.timeout, self.timeout, |text| duration("--timeout", text))?;
        set(&mut options.immediate_timeout, self.immediate_timeout, |text| duration("--immediate-timeout", text))?;
        set(&mut options.dns_timeout, self.dns_timeout, |text| duration("--dns-timeout", text))?;
        set(&mut options.connect_timeout, self.connect_timeout, |text| duration("--connect-timeout", text))?;
        set(&mut options.tls_timeout, self.tls_timeout, |text| duration("--tls-timeout", text))?;
        set(&mut options.first_byte_timeout, self.first_byte_timeout, |text| duration("--first-byte-timeout", text))?;
        set(&mut options.schedule, self.schedule, schedule)?;
        set(&mut options.cap, self.cap, cap)?;
        set(&mut options.rate, self.rate, parse_rate)?;
        if let Some(statuses) = self.stop_on {
            options.stop_on = stop_on(&statuses)?;
        }
        if let Some(order) = self.order {
            options.order = match order {
                OrderName::None => Order::None,
                OrderName::Webhook => Order::Webhook,
                OrderName::Subject => Order::Subject,
            };
        }
        if let Some(envelope) = self.envelope {
            options.envelope = match envelope {
                EnvelopeName::Reference => Envelope::Reference,
                EnvelopeName::Standard => Envelope::Standard,
            };
        }
        Ok(())
    }
}

/// Sets an option that `default` takes away.
fn set<V>(option: &mut Option<V>, text: Option<String>, read: impl Fn(&str) -> Result<V>) -> Result<()> {
    match text.as_deref() {
        None => {}
        Some("default") => *option = None,
        Some(text) => *option = Some(read(text)?),
    }
    Ok(())
}

fn schedule(text: &str) -> Result<Vec<Duration>> {
    text.split(',').map(|delay| duration("--schedule", delay.trim())).collect()
}

fn cap(text: &str) -> Result<NonZeroU32> {
    delivery_options::cap(text).map_err(|why| usage(format!("`--cap {text}` {why}")))
}

fn stop_on(text: &str) -> Result<Vec<u16>> {
    if text == "none" {
        return Ok(Vec::new());
    }
    delivery_options::statuses(text).map_err(|why| usage(format!("`--stop-on {text}` {why}")))
}

pub(super) fn webhook_error(error: WebhookError) -> anyhow::Error {
    let code = match &error {
        WebhookError::Missing { .. } | WebhookError::NoSetting { .. } => MISSING,
        WebhookError::Invalid { .. } | WebhookError::NoRotation { .. } => USAGE,
        _ => FAILED,
    };
    failed(code, &error)
}
