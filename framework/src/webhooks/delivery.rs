//! One delivery: what the auth method's handler is given, and what is written down about how it ended.

use std::sync::Arc;

use switchboard_plugin_api::host::Payload;
use switchboard_plugin_api::{
    DeferredDelivery, Delivered, Delivery, DeliveryMode, ErrorKind, ImmediateDelivery, PluginError, Trigger,
};

use super::methods::secret_keys;
use super::{CHANNEL, Planned, Receiver, envelope, fan_out, manners};
use crate::clock::Clock;
use crate::core::Core;
use crate::deferred::{Ending, Outcome};
use crate::error::Chain;
use crate::metrics::Attempted;
use crate::registry::Minicomponent;
use crate::run::{CallOptions, ImmediateResult, RunState, Transcript};
use crate::store::{
    Acceptance, Attempt, AttemptId, AttemptMode, AttemptResult, NewEvent, SentBody, Started, TaskId, Timestamp, Webhook,
};

/// Header by which receivers know a delivery. The host adds the time of sending beside it, for every attempt anew, as in
/// Standard Webhooks.
const ID_HEADER: &str = "webhook-id";
const TIMESTAMP_HEADER: &str = "webhook-timestamp";

/// Adds `webhook-timestamp` (seconds since the Unix epoch) to the headers of a delivery.
pub(crate) fn stamped(mut headers: Vec<(String, String)>, clock: &Clock) -> Vec<(String, String)> {
    let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if has(ID_HEADER) && !has(TIMESTAMP_HEADER) {
        headers.push((TIMESTAMP_HEADER.to_owned(), (clock.now() / 1000).to_string()));
    }
    headers
}

/// Returns the input of a delivery.
pub(crate) fn input(
    event: &NewEvent,
    webhook: &Webhook,
    attempt: u32,
    mode: DeliveryMode,
) -> Result<Vec<u8>, PluginError> {
    let mut delivery = Delivery::default();
    delivery.event_id = event.id.to_string();
    delivery.event.clone_from(&event.name);
    delivery.owner = event.owner.0;
    delivery.task.clone_from(&event.task);
    delivery.webhook = webhook.id.0;
    delivery.url = if webhook.url.is_empty() { webhook.name.clone() } else { webhook.url.clone() };
    delivery.channel.clone_from(&event.channel);
    delivery.body = envelope::body(event, webhook.options.envelope).map_err(|reason| {
        PluginError::permanent(format!("the stored body is damaged: {reason}")).with_code("corrupt")
    })?;
    delivery.attempt = attempt;
    delivery.mode = mode;
    delivery.cause = event.cause.map(|task| task.0);
    delivery.queued_at_ms = Some(event.at.0);
    serde_json::to_vec(&delivery).map_err(Into::into)
}

/// Makes the outcome of a delivery from what the handler returned and the requests that it made.
pub(crate) fn outcome(
    result: Result<Payload, PluginError>,
    minicomponent: &Minicomponent,
    transcript: &Transcript,
) -> Outcome {
    let exchanges = transcript.take();
    let status = exchanges.last().and_then(|exchange| exchange.status);
    let delivered = result.and_then(|payload| {
        serde_json::from_slice::<Delivered>(&payload).map_err(|error| {
            PluginError::permanent(format!("the handler gave something else than `Delivered`: {error}"))
                .with_code("bad_output")
        })
    });
    let plugin = Some((minicomponent.plugin.to_string(), minicomponent.version()));
    match delivered {
        Ok(delivered) => {
            let note = delivered.note.map(|note| transcript.text(&note).into_owned());
            Outcome { result: Ok(note), status: delivered.status.or(status), exchanges, plugin }
        }
        Err(error) => Outcome { result: Err(transcript.without_secrets(error)), status, exchanges, plugin },
    }
}

/// Returns the receiver of a delivery, with its secrets.
pub(crate) fn receiver(core: &Core, webhook: &Webhook) -> Result<Receiver, PluginError> {
    let opened = Receiver::of(&core.vault, webhook);
    // The key may come back: the task waits, and is not lost.
    opened.map_err(|error| PluginError::retryable(Chain(&error).to_string()).with_code("secrets"))
}

/// Returns what an attempt sent to the receiver, so that it is sent once more.
pub(crate) fn sent_body(core: &Core, attempt: AttemptId) -> Result<SentBody, PluginError> {
    let found = core.store.attempt(attempt);
    let found = found.map_err(|error| PluginError::retryable(Chain(&error).to_string()).with_code("store"))?;
    let sent = found.and_then(|mut attempt| attempt.exchanges.pop()).filter(|exchange| !exchange.confidential);
    sent.map(|exchange| exchange.body).ok_or_else(|| {
        let message = format!("what attempt {attempt} sent is not known any more; replay it as a rebuild");
        PluginError::permanent(message).with_code("not_as_sent")
    })
}

/// Begins the transcript of a delivery.
pub(crate) fn transcript(run: &RunState, event: &NewEvent, webhook: &Webhook, receiver: &Receiver) -> Transcript {
    let keys = secret_keys(&run.core, &run.registry, &webhook.method);
    Transcript::new(&event.body, &receiver.secrets(keys.as_deref()))
}

/// Performs the immediate deliveries of an event that is committed, one after the other, and writes down how they ended.
pub(crate) fn deliver_immediately(run: &Arc<RunState>, event: &NewEvent, planned: &[Planned]) -> Vec<ImmediateResult> {
    let immediate = planned.iter().filter(|planned| planned.immediate);
    immediate.map(|planned| deliver_now(run, event, &planned.webhook)).collect()
}

fn deliver_now(run: &Arc<RunState>, event: &NewEvent, webhook: &Arc<Webhook>) -> ImmediateResult {
    let core = &run.core;
    let started_at = Timestamp(core.clock.now());
    let handler = run.registry.handler(ImmediateDelivery::NUMBER, &webhook.method);
    let mut outcome = match (handler, receiver(core, webhook)) {
        (None, _) => Outcome::failed(PluginError::permanent("the auth method has gone").with_code("plugin_missing")),
        (_, Err(error)) => Outcome::failed(error),
        (Some(handler), Ok(receiver)) => {
            let transcript = Arc::new(transcript(run, event, webhook, &receiver));
            let options = CallOptions {
                timeout: Some(webhook.options.immediate_timeout.unwrap_or(core.config.deferred.immediate_timeout)),
                receiver: Some(Arc::new(receiver)),
                transcript: Some(Arc::clone(&transcript)),
                ..CallOptions::default()
            };
            let input = input(event, webhook, 1, DeliveryMode::Immediate);
            outcome(input.and_then(|input| run.call(handler, &input, &options)), handler, &transcript)
        }
    };
    manners::obey(core, webhook, &mut outcome);
    let ended_at = Timestamp(core.clock.now());
    let ending = match &outcome.result {
        Ok(_) => Ending::Done { keep_input: core.live.is_development() },
        Err(error) => Ending::Dead { reason: error.to_string() },
    };
    let written = outcome.attempt_result(ended_at, &ending);
    let attempt = Attempt {
        event: Some(event.id.clone()),
        event_name: Some(event.name.clone()),
        owner: Some(event.owner),
        webhook: Some(webhook.id),
        cause: event.cause,
        number: 1,
        mode: AttemptMode::Immediate,
        queued_at: Some(event.at),
        due_at: Some(event.at),
        started_at,
        ..Attempt::of(written.clone())
    };
    if let Err(error) = core.store.record_attempt(attempt).wait() {
        log::error!(logger: core.log, target: CHANNEL, error = Chain(&error).to_string();
            "an immediate delivery cannot be written down");
    }
    let line = Line { event: &event.name, webhook, task: None, attempt: 1, started_at };
    core.metrics.attempted(&Attempted {
        plugin: handler.map_or("none", |handler| &handler.plugin),
        mode: "immediate",
        written: &written,
        ending: &ending,
        started_at,
        accepted_at: Some(event.at),
    });
    log_ending(core, &line, &written, &ending);
    // As it is now: what was planned may be older than its last failure.
    let now = core.store.webhook(webhook.id).ok().flatten();
    manners::ended(core, now.as_ref().unwrap_or(webhook), &written.outcome);
    let task = queue_instead(run, event, webhook, &outcome);
    ImmediateResult {
        task,
        webhook: webhook.id,
        delivered: outcome.result.is_ok(),
        outcome: written.outcome,
        status: written.status,
        detail: written.detail,
    }
}

/// Makes a deferred delivery of one that failed at once, where the webhook wants that and the method can.
fn queue_instead(run: &RunState, event: &NewEvent, webhook: &Arc<Webhook>, outcome: &Outcome) -> Option<TaskId> {
    let failed = outcome.result.as_ref().is_err_and(|error| error.kind() != ErrorKind::Permanent);
    let can = run.registry.exists_named(DeferredDelivery::NUMBER, &webhook.method);
    if !(failed && can && webhook.options.then_queue) {
        return None;
    }
    let planned = Planned { webhook: Arc::clone(webhook), immediate: false, subject: fan_out::subject(run, event) };
    let task = planned.task(event, Timestamp(run.core.clock.now()))?;
    match run.core.accept(Acceptance { events: Vec::new(), tasks: vec![task] }) {
        Ok(accepted) => accepted.first().map(|task| task.head.id),
        Err(error) => {
            log::error!(logger: run.core.log, target: CHANNEL, webhook = webhook.id.to_string(), event = event.name,
                error = Chain(&error).to_string(); "a delivery that failed at once cannot be queued");
            None
        }
    }
}

/// Notes the end of a deferred delivery.
pub(crate) fn ended(core: &Arc<Core>, started: &Started, written: &AttemptResult, ending: &Ending) {
    let (Some(event), Some(webhook)) = (&started.event, &started.webhook) else { return };
    let line = Line {
        event: &event.name,
        webhook,
        task: Some(started.task.id.0),
        attempt: started.task.attempts,
        started_at: started.started_at,
    };
    log_ending(core, &line, written, ending);
    if !started.task.is_trial() && !matches!(ending, Ending::Release) {
        manners::ended(core, webhook, &written.outcome);
    }
}

struct Line<'a> {
    event: &'a str,
    webhook: &'a Webhook,
    task: Option<i64>,
    attempt: u32,
    started_at: Timestamp,
}

fn log_ending(core: &Core, line: &Line<'_>, written: &AttemptResult, ending: &Ending) {
    let (level, message) = match ending {
        Ending::Done { .. } => (log::Level::Info, "delivered"),
        Ending::Retry { .. } => (log::Level::Warn, "not delivered, will be tried again"),
        Ending::Dead { .. } => (log::Level::Error, "not delivered, given up"),
        Ending::Release => (log::Level::Info, "interrupted, will be tried again"),
    };
    let task = line.task.map_or_else(|| "-".into(), |task| task.to_string());
    let status = written.status.map_or_else(|| "-".into(), |status| status.to_string());
    let (webhook, attempt, duration) =
        (line.webhook.id.to_string(), line.attempt, written.ended_at.0 - line.started_at.0);
    let (log, detail) = (&core.log, written.detail.as_deref());
    match (ending, detail) {
        (Ending::Done { .. }, None) => {
            log::info!(logger: log, target: CHANNEL, webhook, event = line.event, status, attempt,
            duration_ms = duration, task; "delivered")
        }
        (Ending::Retry { at, .. }, _) => log::log!(logger: log, target: CHANNEL, level, webhook, event = line.event,
            status, attempt, duration_ms = duration, task, outcome = written.outcome, next = at.to_string(),
            detail = detail.unwrap_or_default(); "{message}"),
        _ => log::log!(logger: log, target: CHANNEL, level, webhook, event = line.event, status, attempt,
            duration_ms = duration, task, outcome = written.outcome, detail = detail.unwrap_or_default();
            "{message}"),
    }
}

impl Outcome {
    /// Returns what is written down about the attempt, which ends like this.
    pub(crate) fn attempt_result(&self, ended_at: Timestamp, ending: &Ending) -> AttemptResult {
        let (code, detail) = match &self.result {
            Ok(note) => ("ok".to_owned(), note.clone()),
            Err(error) => {
                let fallback = if error.kind() == ErrorKind::Panic { "plugin_panic" } else { "plugin_error" };
                (error.code().unwrap_or(fallback).to_owned(), Some(error.to_string()))
            }
        };
        let mut exchanges = self.exchanges.clone();
        if matches!(ending, Ending::Done { keep_input: false }) {
            // What was sent goes with the payload.
            exchanges.iter_mut().for_each(|exchange| exchange.body.bytes = None);
        }
        let last = exchanges.last();
        let (plugin, plugin_version) = self.plugin.clone().map_or((None, None), |(id, version)| (Some(id), version));
        AttemptResult {
            ended_at,
            outcome: code,
            status: self.status,
            detail,
            url: last.map(|exchange| exchange.url.clone()),
            response: last.and_then(|exchange| exchange.response.clone()),
            plugin,
            plugin_version,
            next_at: if let Ending::Retry { at, .. } = ending { Some(*at) } else { None },
            exchanges,
        }
    }
}
