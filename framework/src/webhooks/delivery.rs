//! One delivery: what the auth method's handler is given, and what is written down about how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use switchboard_plugin_api::host::Payload;
use switchboard_plugin_api::{Delivered, Delivery, DeliveryMode, ErrorKind, ImmediateDelivery, PluginError, Trigger};

use super::methods::secret_keys;
use super::{CHANNEL, Planned, Receiver, envelope, manners};
use crate::clock::Clock;
use crate::core::Core;
use crate::deferred::{Ending, Outcome};
use crate::error::Chain;
use crate::metrics::Attempted;
use crate::registry::Minicomponent;
use crate::run::{CallOptions, ImmediateResult, RunState, Transcript};
use crate::store::{
    AttemptId, AttemptResult, NewEvent, RunEnd, SentBody, Started, StoreError, TaskHead, Timestamp, Webhook, WebhookId,
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

/// Returns why nothing is sent to a webhook that is disabled.
pub(crate) fn disabled() -> PluginError {
    PluginError::permanent("the webhook is disabled: enable it and retry the task").with_code("disabled")
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

/// Most runs that make immediate deliveries at once. Whoever comes then does not wait: the deliveries are deferred.
const IMMEDIATE: usize = 16;

/// The place of a run among those that make immediate deliveries.
pub(crate) struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    /// Takes a place; `None` when there is none.
    fn take(core: &'a Core) -> Option<Self> {
        let free = |taken: usize| (taken < IMMEDIATE).then_some(taken + 1);
        core.immediate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok().map(|_| Self(&core.immediate))
    }
}

/// Takes a place for these deliveries. Those that cannot be made at once are deferred: all when there is no place, and those
/// to a webhook that has to wait.
pub(crate) fn admit<'c>(core: &'c Core, planned: Vec<&mut Planned>) -> Option<Place<'c>> {
    let place = if planned.is_empty() { None } else { Place::take(core) };
    for one in planned {
        one.immediate = place.is_some() && !core.is_held(one.webhook.id);
    }
    place
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes an immediate delivery of an event that is committed. It is the first attempt of its task: written down before
/// anything is sent, so that a host that dies meanwhile finds it at its next start, and tried again in the background where
/// the webhook wants that.
pub(crate) fn deliver_now(
    run: &Arc<RunState>,
    event: &NewEvent,
    webhook: WebhookId,
    head: TaskHead,
) -> ImmediateResult {
    let core = &run.core;
    let started = core.store.start(vec![head.id], Timestamp(core.clock.now())).wait();
    let started = match started.and_then(|mut started| started.pop().unwrap_or(Ok(None))) {
        Ok(Some(started)) => started,
        not_started => return leave(core, webhook, head, not_started.err()),
    };
    let handler = run.registry.handler(ImmediateDelivery::NUMBER, &head.name);
    let mut outcome = match (handler, &started.webhook) {
        // Perhaps by the answer to another delivery of this run.
        (_, Some(webhook)) if !webhook.enabled => Outcome::failed(disabled()),
        (Some(handler), Some(webhook)) => call_now(run, handler, event, webhook),
        (None, _) => Outcome::failed(PluginError::permanent("the auth method has gone").with_code("plugin_missing")),
        (_, None) => {
            Outcome::failed(PluginError::permanent("the webhook has been removed").with_code("webhook_removed"))
        }
    };
    if let Some(webhook) = &started.webhook {
        manners::obey(core, webhook, &mut outcome);
    }
    if let Some(deferred) = core.deferred.get() {
        deferred.heard(&started, &outcome);
    }
    let ending = core.ending(&started, &outcome);
    let written = outcome.attempt_result(Timestamp(core.clock.now()), &ending);
    let end = RunEnd { task: head.id, lease: started.lease, ending: ending.clone(), attempt: written.clone() };
    let mut made = ImmediateResult {
        task: None,
        webhook,
        delivered: outcome.result.is_ok(),
        outcome: written.outcome.clone(),
        status: written.status,
        detail: written.detail.clone(),
    };
    let finished = core.store.finish(vec![end]).wait();
    match &finished {
        Ok(applied) if applied.contains(&true) => {}
        Ok(_) => {
            log::warn!(logger: core.log, target: CHANNEL, task = head.id.to_string();
                "a late result was dropped: the task has been run again or ended by hand since");
            return made;
        }
        Err(error) => log::error!(logger: core.log, target: CHANNEL, task = head.id.to_string(),
            error = Chain(error).to_string();
            "how an immediate delivery ended cannot be written down; its task is found at the next start"),
    }
    core.metrics.attempted(&Attempted {
        plugin: handler.map_or("none", |handler| &handler.plugin),
        mode: "immediate",
        written: &written,
        ending: &ending,
        started_at: started.started_at,
        accepted_at: Some(event.at),
    });
    ended(core, &started, &written, &ending);
    if let Ending::Retry { at, .. } = ending
        && finished.is_ok()
    {
        made.task = Some(head.id);
        core.left(TaskHead { run_at: at, attempts: started.task.attempts, ..head }, true);
    }
    made
}

fn call_now(run: &Arc<RunState>, handler: &Arc<Minicomponent>, event: &NewEvent, webhook: &Webhook) -> Outcome {
    let core = &run.core;
    let receiver = match receiver(core, webhook) {
        Ok(receiver) => receiver,
        Err(error) => return Outcome::failed(error),
    };
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

/// Leaves an immediate delivery that cannot be made now to the scheduler.
fn leave(core: &Core, webhook: WebhookId, head: TaskHead, error: Option<StoreError>) -> ImmediateResult {
    let detail = match error {
        Some(error) => format!("the delivery cannot be begun: {}", Chain(&error)),
        None => "somebody else has begun or ended the delivery".to_owned(),
    };
    log::warn!(logger: core.log, target: CHANNEL, task = head.id.to_string(), detail;
        "an immediate delivery is left to the background");
    let task = head.id;
    // Should that fail as well, it is found at the next start.
    if core.store.unhold(vec![task]).wait().is_ok() {
        core.left(head, false);
    }
    let outcome = "not_called".to_owned();
    ImmediateResult { task: Some(task), webhook, delivered: false, outcome, status: None, detail: Some(detail) }
}

/// Notes the end of a delivery.
pub(crate) fn ended(core: &Arc<Core>, started: &Started, written: &AttemptResult, ending: &Ending) {
    let (Some(event), Some(webhook)) = (&started.event, &started.webhook) else { return };
    let line = Line {
        event: &event.name,
        webhook,
        task: started.task.id.0,
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
    task: i64,
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
    let task = line.task.to_string();
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
