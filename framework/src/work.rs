//! What a deferred task does: the call of its handler, in a run of its own.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use switchboard_plugin_api::host::Payload;
use switchboard_plugin_api::{
    DeferredDelivery, DeliveryMode, HandlerKind, ImmediateDelivery, PluginError, Trigger, TriggerNumber,
};

use crate::core::Core;
use crate::deferred::{CHANNEL, Ending, Outcome, Work};
use crate::dispatcher;
use crate::error::Chain;
use crate::metrics::Attempted;
use crate::registry::{Minicomponent, Registry};
use crate::run::{self, CallOptions, OwnedCall, RunState, Subject, Transcript};
use crate::store::{AttemptResult, Started};
use crate::webhooks::{self, delivery, manners};

/// The tasks of one host. It does not keep the host alive.
pub(crate) struct TaskWork(pub(crate) Weak<Core>);

/// Everything that a task's handler is called with.
struct Prepared {
    run: Arc<RunState>,
    minicomponent: Arc<Minicomponent>,
    input: Vec<u8>,
    options: CallOptions,
    transcript: Arc<Transcript>,
}

impl TaskWork {
    /// Puts together what the handler is called with; `None` when it cannot be called just now.
    fn prepare(&self, started: &Started) -> Result<Option<Prepared>, PluginError> {
        let core = self.0.upgrade().ok_or_else(|| PluginError::retryable("the host is stopping"))?;
        let task = &started.task;
        let number = TriggerNumber::try_from(task.number)
            .map_err(|error| PluginError::permanent(error.to_string()).with_code("corrupt"))?;
        let mut subject = Subject::host(&core);
        if let Some(event) = &started.event {
            subject.owner = event.owner;
            subject.task.clone_from(&event.task);
            subject.channel.clone_from(&event.channel);
        }
        let timeout = task.timeout.unwrap_or(core.config.deferred.timeout);
        let mut run = RunState::new(core, subject);
        run.cause = Some((task.id, started.event.as_ref().map_or(0, |event| event.depth)));
        let Some(minicomponent) = callable(&run.registry, number, &task.name).cloned() else { return Ok(None) };
        let mut options = CallOptions { timeout: Some(timeout), ..CallOptions::default() };
        let mut transcript = Arc::<Transcript>::default();
        let input = match (&started.event, &started.webhook) {
            (Some(_), Some(webhook)) if !webhook.enabled && !task.is_trial() => {
                return Err(delivery::disabled());
            }
            // The body went with the last success, and somebody made the task ready by hand.
            (Some(event), Some(_)) if event.body.is_empty() => return Err(input_gone()),
            (Some(event), Some(webhook)) => {
                let receiver = delivery::receiver(&run.core, webhook)?;
                let as_sent = task.as_sent.map(|attempt| delivery::sent_body(&run.core, attempt)).transpose()?;
                let as_sent = as_sent.map(|sent| webhooks::with_event(sent, event));
                transcript = Arc::new(delivery::transcript(&run, event, webhook, &receiver).sending(as_sent));
                options.transcript = Some(Arc::clone(&transcript));
                options.receiver = Some(Arc::new(receiver));
                options.timeout = task.timeout.or(webhook.options.timeout).or(options.timeout);
                delivery::input(event, webhook, task.attempts, DeliveryMode::Deferred)?
            }
            (Some(_), None) => {
                return Err(PluginError::permanent("the webhook has been removed").with_code("webhook_removed"));
            }
            _ => task.payload.clone().ok_or_else(input_gone)?,
        };
        tell(&run.core, started);
        Ok(Some(Prepared { run: Arc::new(run), minicomponent, input, options, transcript }))
    }
}

/// In development mode, says how this very dispatch can be had again, and keeps its payload for a text editor.
fn tell(core: &Core, started: &Started) {
    if !core.live.is_development() {
        return;
    }
    let task = &started.task;
    let number = format!("{:05}", task.number);
    let replay = format!("switchboard task replay {}", task.id);
    let event = started.event.as_ref().map_or("-", |event| event.name.as_str());
    let page = core.pages.get().map_or_else(|| "-".to_owned(), |pages| format!("{pages}/tasks/{}", task.id));
    log::debug!(logger: core.log, target: CHANNEL, task = task.id.0, number, name = task.name, event,
        attempt = task.attempts, key = task.key, replay, page; "background task dispatched");
    let payload = started.event.as_ref().map(|event| &event.body).or(task.payload.as_ref());
    let (now, age) = (core.clock.now(), core.config.retention.done);
    let kept = payload.map_or(Ok(()), |payload| core.payload_files.keep(task.id, payload, now, age));
    if let Err(error) = kept {
        log::warn!(logger: core.log, target: CHANNEL, task = task.id.0, error = error.to_string();
            "the payload cannot be written to its file");
    }
}

fn input_gone() -> PluginError {
    PluginError::permanent("the input of the task is gone: it was removed when the task was done")
        .with_code("input_gone")
}

/// Returns a handler unless there is none or it is suspended.
fn callable<'r>(registry: &'r Registry, number: TriggerNumber, name: &str) -> Option<&'r Arc<Minicomponent>> {
    registry.handler(number, name).filter(|one| !one.panics.is_suspended())
}

impl Work for TaskWork {
    fn kind(&self, number: u32, name: &str) -> Option<HandlerKind> {
        let registry = self.0.upgrade()?.registry.load_full();
        callable(&registry, TriggerNumber::checked(number)?, name).map(|minicomponent| minicomponent.kind)
    }

    fn run(&self, started: &Started, cancelled: Arc<AtomicBool>) -> Option<Outcome> {
        let Prepared { run, minicomponent, input, mut options, transcript } = match self.prepare(started) {
            Ok(prepared) => prepared?,
            Err(error) => return Some(Outcome::failed(error)),
        };
        options.cancelled = Some(cancelled);
        let result = run.call(&minicomponent, &input, &options);
        Some(outcome(&run, &minicomponent, started, result, &transcript))
    }

    fn run_async(self: Arc<Self>, started: Arc<Started>) -> Pin<Box<dyn Future<Output = Option<Outcome>> + Send>> {
        Box::pin(async move {
            let Prepared { run, minicomponent, input, options, transcript } = match self.prepare(&started) {
                Ok(prepared) => prepared?,
                Err(error) => return Some(Outcome::failed(error)),
            };
            let call = OwnedCall::new(Arc::clone(&run), Arc::clone(&minicomponent), options);
            let result = dispatcher::call_async(call, input).await;
            Some(outcome(&run, &minicomponent, &started, result, &transcript))
        })
    }

    fn schedule(&self, started: &Started) -> Option<Vec<Duration>> {
        started.webhook.as_ref()?.options.schedule.clone()
    }

    fn ended(&self, started: &Started, written: &AttemptResult, ending: &Ending) {
        if let Some(core) = self.0.upgrade() {
            let task = &started.task;
            let registry = core.registry.load();
            let handler = TriggerNumber::checked(task.number).and_then(|number| registry.handler(number, &task.name));
            core.metrics.attempted(&Attempted {
                plugin: handler.map_or("none", |handler| &handler.plugin),
                mode: if task.replay_of.is_some() { "replay" } else { "deferred" },
                written,
                ending,
                started_at: started.started_at,
                accepted_at: (task.attempts == 1).then_some(task.created_at.max(task.run_at)),
            });
            delivery::ended(&core, started, written, ending);
        }
    }
}

/// Commits what the handler announced, when it succeeded, and makes the outcome of the attempt.
fn outcome(
    run: &Arc<RunState>,
    minicomponent: &Minicomponent,
    started: &Started,
    result: Result<Payload, PluginError>,
    transcript: &Transcript,
) -> Outcome {
    let result = result.and_then(|value| {
        if run.with_outbox(|outbox| outbox.is_empty()) {
            return Ok(value);
        }
        let finished = run.core.runtime.blocking(|| run::finish(run));
        finished.map(|_| value).map_err(|error| PluginError::retryable(Chain(&error).to_string()).with_code("store"))
    });
    let delivers = [ImmediateDelivery::NUMBER, DeferredDelivery::NUMBER].contains(&minicomponent.number);
    match result {
        // Only deliveries give `Delivered`; what another trigger gives is nobody's business here.
        Ok(_) if !delivers => {
            let plugin = Some((minicomponent.plugin.to_string(), minicomponent.version()));
            Outcome { result: Ok(None), status: None, exchanges: Vec::new(), plugin }
        }
        result => {
            let mut outcome = delivery::outcome(result, minicomponent, transcript);
            if let Some(webhook) = started.webhook.as_ref().filter(|_| !started.task.is_trial()) {
                manners::obey(&run.core, webhook, &mut outcome);
            }
            outcome
        }
    }
}
