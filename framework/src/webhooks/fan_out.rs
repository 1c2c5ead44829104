//! Which webhooks an event goes to.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_plugin_api::host::{CallHost, Payload, ServiceAnswer};
use switchboard_plugin_api::{DeferredDelivery, ImmediateDelivery, PluginError, Trigger, TriggerNumber};

use super::{CHANNEL, filter, manners};
use crate::registry::{BuiltIn, Registry};
use crate::run::RunState;
use crate::store::{AttemptMode, NewEvent, NewTask, Order, StoreError, Timestamp, Webhook, webhook_key};

/// Service `fan_out`: plans the deliveries of one announced event of this run. The built-in watcher asks for it; so may
/// a plugin that takes the watcher's place.
pub(crate) const FAN_OUT: &str = "fan_out";

#[derive(Serialize, Deserialize)]
struct FanOutHead {
    event_id: String,
}

/// The part of a [`RunEnd`](switchboard_plugin_api::RunEnd) that the watcher goes by.
#[derive(Deserialize)]
struct AnnouncedIds {
    announced: Vec<FanOutHead>,
}

/// The built-in minicomponent 99994 `webhook_watcher`.
pub(crate) struct Watcher;

impl Watcher {
    pub(crate) const NAME: &str = "webhook_watcher";
}

impl BuiltIn for Watcher {
    fn call(&self, host: &dyn CallHost, input: &[u8]) -> Result<Payload, PluginError> {
        let end: AnnouncedIds = serde_json::from_slice(input)?;
        for announced in end.announced {
            host.service(FAN_OUT, &serde_json::to_vec(&announced)?, &[])?;
        }
        Ok(Payload::from(b"null".to_vec()))
    }
}

/// One delivery that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) webhook: Arc<Webhook>,
    /// Whether it is made in the time of whoever announces.
    pub(crate) immediate: bool,
    /// Which handler of the auth method its task has.
    number: TriggerNumber,
    /// What the event is about, by which its deliveries may be kept in order.
    pub(crate) subject: Option<Arc<str>>,
}

impl Planned {
    /// Plans a delivery to a webhook, whatever events it gets.
    pub(crate) fn alone(run: &RunState, webhook: Webhook) -> Self {
        Self::new(run, Arc::new(webhook), None)
    }

    fn new(run: &RunState, webhook: Arc<Webhook>, subject: Option<Arc<str>>) -> Self {
        let (immediate, number) = kind(run, &webhook);
        Self { webhook, immediate, number, subject }
    }

    /// Returns the task of the delivery. That of an immediate one is held by this host and not given to its scheduler:
    /// should the host die in the middle, the next start finds it.
    pub(crate) fn task(&self, event: &NewEvent, now: Timestamp) -> NewTask {
        NewTask {
            event: Some(event.id.clone()),
            webhook: Some(self.webhook.id),
            number: self.number.get(),
            name: self.webhook.method.clone(),
            key: self.key(),
            host: remote_host(&self.webhook.url),
            // What is made at once waits for nothing.
            ordered: self.webhook.options.order != Order::None && !self.immediate,
            at: now,
            run_at: now,
            // What is made at once and not queued is tried once.
            schedule: (self.number == ImmediateDelivery::NUMBER).then(|| vec![Duration::ZERO]),
            mode: self.immediate.then_some(AttemptMode::Immediate),
            hold: self.immediate,
            ..NewTask::default()
        }
    }

    fn key(&self) -> String {
        let key = webhook_key(self.webhook.id);
        match &self.subject {
            Some(subject) if self.webhook.options.order == Order::Subject => format!("{key}:{subject}"),
            _ => key,
        }
    }
}

/// Longest part of a subject that is in a key, in characters. What is longer is in order with what begins the same.
const MAX_SUBJECT_CHARS: usize = 60;

/// Returns what an event is about: what its run says, else the property that it names.
fn subject(run: &RunState, event: &NewEvent) -> Option<Arc<str>> {
    let named = || {
        let body: serde_json::Value = serde_json::from_slice(&event.body).ok()?;
        match &body["data"]["property_uid"] {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    };
    let subject = run.subject.subject.clone().or_else(named)?;
    let safe = subject.chars().filter(|one| !one.is_control());
    Some(safe.take(MAX_SUBJECT_CHARS).collect::<String>().into())
}

pub(super) fn remote_host(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// Answers [`FAN_OUT`].
pub(crate) fn fan_out(run: &RunState, head: &[u8]) -> ServiceAnswer {
    let head: FanOutHead = serde_json::from_slice(head)?;
    let planned = run.with_outbox(|outbox| outbox.plan(&head.event_id, |event| plan(run, event)));
    let planned = planned.map_err(|error| PluginError::retryable(crate::error::Chain(&error).to_string()))?;
    let count =
        planned.ok_or_else(|| PluginError::permanent(format!("this run has not announced `{}`", head.event_id)))?;
    Ok((serde_json::to_vec(&count)?, Vec::new()))
}

fn plan(run: &RunState, event: &NewEvent) -> Result<Vec<Planned>, StoreError> {
    let webhooks = run.core.store.webhooks_for(event.owner)?;
    let wants =
        |webhook: &&Arc<Webhook>| filter::matches(&webhook.events, &event.name) && !manners::is_about(event, webhook);
    let wanted: Vec<&Arc<Webhook>> = webhooks.iter().filter(wants).collect();
    let by_subject = wanted.iter().any(|webhook| webhook.options.order == Order::Subject);
    let subject = if by_subject { subject(run, event) } else { None };
    let planned = wanted.into_iter().map(|webhook| Planned::new(run, Arc::clone(webhook), subject.clone()));
    Ok(planned.collect())
}

/// Returns whether a delivery is made at once, and which handler its task has. A method with both kinds is deferred unless
/// the webhook says otherwise, and so delivers once. A method that nobody performs just now is deferred too: its task waits
/// for the plugin to come back.
fn kind(run: &RunState, webhook: &Webhook) -> (bool, TriggerNumber) {
    let registry: &Registry = &run.registry;
    let performs = |number| registry.exists_named(number, &webhook.method);
    let (at_once, deferred) = (performs(ImmediateDelivery::NUMBER), performs(DeferredDelivery::NUMBER));
    let immediate = at_once && (webhook.options.immediate || !deferred);
    if !at_once && !deferred {
        log::warn!(logger: run.core.log, target: CHANNEL, webhook = webhook.id.to_string(), method = webhook.method;
            "no plugin performs the auth method; the delivery waits for one");
    }
    let queued = deferred && webhook.options.then_queue;
    let number = if immediate && !queued { ImmediateDelivery::NUMBER } else { DeferredDelivery::NUMBER };
    (immediate, number)
}
