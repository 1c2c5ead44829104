//! What one call of a handler may ask of the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use switchboard_plugin_api::host::{CallHost, ServiceAnswer, ServiceFuture};
use switchboard_plugin_api::protocol::{
    self, HttpHead, HttpReply, KeyHead, RunInfo, SleepHead, TextHead, TriggerHead, TriggerReply, TriggerValue,
};
use switchboard_plugin_api::{ErrorKind, PluginError, TriggerNumber};

use super::transcript::{PREVIEWED, Transcript};
use super::{RunState, UNLIMITED, services};
use crate::dispatcher::HandlerValue;
use crate::egress::{EgressError, Request, Sent};
use crate::language::Argument;
use crate::registry::Minicomponent;
use crate::runtime::interrupted;
use crate::webhooks::{self, Receiver};

/// Code of the error that a preview gives in place of what would change something.
const NO_PREVIEW: &str = "no_preview";

/// How often a wait looks whether its call has been cancelled.
const CANCEL_LOOK: Duration = Duration::from_millis(50);

/// How a handler is called.
#[derive(Clone, Default)]
pub(crate) struct CallOptions {
    /// Time until the deadline; `None` when there is no deadline, and each wait may take an hour.
    pub(crate) timeout: Option<Duration>,
    /// Who gets a delivery.
    pub(crate) receiver: Option<Arc<Receiver>>,
    /// Where to write down the HTTP exchanges of the call.
    pub(crate) transcript: Option<Arc<Transcript>>,
    /// Set when nobody waits for the call any more.
    pub(crate) cancelled: Option<Arc<AtomicBool>>,
}

impl CallOptions {
    /// The options of a call that nothing limits: those of a trigger.
    pub(crate) const NONE: Self = Self { timeout: None, receiver: None, transcript: None, cancelled: None };

    /// Returns the deadline of a call that starts now.
    fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| Instant::now() + timeout)
    }
}

/// One call, as long as the caller waits for it.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) run: &'a Arc<RunState>,
    pub(crate) minicomponent: &'a Arc<Minicomponent>,
    /// How many triggers lie around this one.
    depth: u32,
    options: &'a CallOptions,
    /// `None` when nothing limits it.
    deadline: Option<Instant>,
}

/// One call that may outlive its caller: that of an asynchronous handler.
pub(crate) struct OwnedCall {
    pub(crate) run: Arc<RunState>,
    pub(crate) minicomponent: Arc<Minicomponent>,
    depth: u32,
    options: CallOptions,
    deadline: Option<Instant>,
}

impl OwnedCall {
    pub(crate) fn new(run: Arc<RunState>, minicomponent: Arc<Minicomponent>, options: CallOptions) -> Self {
        let deadline = options.deadline();
        Self { run, minicomponent, depth: 0, options, deadline }
    }

    pub(crate) fn borrowed(&self) -> Call<'_> {
        let Self { run, minicomponent, depth, options, deadline } = self;
        Call { run, minicomponent, depth: *depth, options, deadline: *deadline }
    }
}

impl CallHost for OwnedCall {
    fn service(&self, name: &str, head: &[u8], body: &[u8]) -> ServiceAnswer {
        self.borrowed().service(name, head, body)
    }

    fn service_async(&self, name: &str, head: Vec<u8>, body: Vec<u8>) -> ServiceFuture {
        self.borrowed().service_async(name, head, body)
    }

    fn time_left(&self) -> Duration {
        self.borrowed().time_left()
    }

    fn is_cancelled(&self) -> bool {
        self.borrowed().is_cancelled()
    }
}

impl<'a> Call<'a> {
    #[inline]
    pub(crate) fn new(
        run: &'a Arc<RunState>,
        minicomponent: &'a Arc<Minicomponent>,
        depth: u32,
        options: &'a CallOptions,
    ) -> Self {
        Self { run, minicomponent, depth, options, deadline: options.deadline() }
    }

    pub(crate) fn owned(&self) -> OwnedCall {
        OwnedCall {
            run: Arc::clone(self.run),
            minicomponent: Arc::clone(self.minicomponent),
            depth: self.depth,
            options: self.options.clone(),
            deadline: self.deadline,
        }
    }

    fn text(&self, head: &[u8]) -> ServiceAnswer {
        let head: TextHead<'_> = serde_json::from_slice(head)?;
        let arguments: Vec<(&str, Argument)> =
            head.arguments.iter().map(|(name, value)| (name.as_str(), argument(value))).collect();
        let text =
            self.run.core.languages.text(&self.minicomponent.plugin, &self.run.subject.language, &head.key, &arguments);
        Ok((Vec::new(), text.into_bytes()))
    }

    fn setting(&self, head: &[u8]) -> ServiceAnswer {
        let head: KeyHead<'_> = serde_json::from_slice(head)?;
        let value = match &self.options.receiver {
            Some(receiver) => receiver.settings.get(&*head.key).cloned(),
            None => self.run.core.live.plugin_setting(&self.minicomponent.plugin, &head.key),
        };
        Ok(found(value.map(String::into_bytes)))
    }

    fn showtime_get(&self, head: &[u8]) -> ServiceAnswer {
        let head: KeyHead<'_> = serde_json::from_slice(head)?;
        Ok(found(self.run.showtime(&head.key)))
    }

    fn showtime_set(&self, head: &[u8], body: &[u8]) -> ServiceAnswer {
        let head: KeyHead<'_> = serde_json::from_slice(head)?;
        self.run.set_showtime(&head.key, body.to_vec());
        Ok((Vec::new(), Vec::new()))
    }

    fn run_reply(&self) -> ServiceAnswer {
        let subject = &self.run.subject;
        let mut reply = RunInfo::default();
        reply.language.clone_from(&subject.language);
        reply.task.clone_from(&subject.task);
        reply.owner = subject.owner.0;
        reply.actor.clone_from(&subject.actor);
        reply.subject.clone_from(&subject.subject);
        reply.channel.clone_from(&subject.channel);
        Ok((serde_json::to_vec(&reply)?, Vec::new()))
    }

    fn trigger(&self, head: &[u8], body: &[u8]) -> ServiceAnswer {
        let head: TriggerHead<'_> = serde_json::from_slice(head)?;
        let number = TriggerNumber::try_from(head.number).map_err(|error| PluginError::permanent(error.to_string()))?;
        let depth = self.depth + 1;
        let values = self.run.core.runtime.blocking(|| match &head.name {
            Some(name) => self.run.named(number, name, body, depth).into_iter().collect(),
            None => self.run.broadcast(number, body, depth).values,
        });
        let reply = TriggerReply { values: values.into_iter().map(trigger_value).collect() };
        Ok((serde_json::to_vec(&reply)?, Vec::new()))
    }

    fn http(
        &self,
        head: &[u8],
        body: Vec<u8>,
    ) -> Result<impl Future<Output = ServiceAnswer> + Send + 'static, PluginError> {
        let head: HttpHead = serde_json::from_slice(head)?;
        let time_left = self.time_left();
        let timeout = head.timeout_ms.map_or(time_left, |wanted| time_left.min(Duration::from_millis(wanted)));
        let headers = webhooks::delivery::stamped(head.headers.clone(), &self.run.core.clock);
        let transcript = self.options.transcript.clone();
        let body = match &transcript {
            Some(transcript) => transcript.body_to_send(&head, body)?,
            None => body,
        };
        let mut request = Request { headers, body, ..Request::new(&head.method, &head.url, timeout) };
        if let Some(receiver) = &self.options.receiver {
            receiver.prepare(&mut request, self.run.core.egress.deadlines());
        }
        let noted = transcript.map(|transcript| (transcript.note(&head, &request.headers, &request.body), transcript));
        let sent_bytes = request.body.len();
        let core = Arc::clone(&self.run.core);
        Ok(async move {
            let noted = match noted {
                Some((noted, transcript)) if transcript.is_preview() => {
                    let drafted = core.egress.draft(&request);
                    return Err(transcript.previewed(noted, &request.headers, &request.body, drafted));
                }
                noted => noted,
            };
            let Sent { result, trace, .. } = core.egress.send(request).await;
            core.metrics.exchanged(sent_bytes, result.as_ref().map_or(0, |response| response.body.len()));
            if let Some((noted, transcript)) = noted {
                transcript.end(noted, &result, trace);
            }
            let response = result.map_err(|error| egress_error(&error))?;
            let head = HttpReply { status: response.status, headers: response.headers, truncated: response.truncated };
            Ok((serde_json::to_vec(&head)?, response.body))
        })
    }

    /// Answers when the time or the call is over, whichever is first.
    fn sleep(&self, head: &[u8]) -> Result<impl Future<Output = ServiceAnswer> + Send + 'static, PluginError> {
        let head: SleepHead = serde_json::from_slice(head)?;
        let (wanted, time_left) = (Duration::from_millis(head.time_ms), self.time_left());
        let until = Instant::now() + wanted.min(time_left);
        let cancelled = self.options.cancelled.clone();
        Ok(async move {
            loop {
                if cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed)) {
                    return Err(interrupted());
                }
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                tokio::time::sleep(if cancelled.is_some() { left.min(CANCEL_LOOK) } else { left }).await;
            }
            if wanted > time_left { Err(protocol::cut_short(wanted)) } else { Ok((Vec::new(), Vec::new())) }
        })
    }

    /// Whether a handler gives an error because it was only asked what it would do: the host has refused to do it.
    #[cold]
    pub(crate) fn ends_preview(&self, error: &PluginError) -> bool {
        self.is_preview() && matches!(error.code(), Some(PREVIEWED | NO_PREVIEW))
    }

    fn is_preview(&self) -> bool {
        self.options.transcript.as_ref().is_some_and(|transcript| transcript.is_preview())
    }

    /// Answers what would change something, or send, in a call that must not. `None` for everything else.
    fn in_preview(&self, name: &str) -> Option<ServiceAnswer> {
        if !self.is_preview() {
            return None;
        }
        match name {
            protocol::KEPT_SET => Some(Ok((Vec::new(), Vec::new()))),
            protocol::TRIGGER | protocol::DEFER | protocol::DEFER_WITH | protocol::ANNOUNCE => {
                let message = format!("a preview changes nothing, and the auth method uses `{name}`");
                Some(Err(PluginError::permanent(message).with_code(NO_PREVIEW)))
            }
            _ => None,
        }
    }

    /// Runs a service on the host's runtime while this thread waits.
    fn wait(&self, answer: impl Future<Output = ServiceAnswer> + Send + 'static) -> ServiceAnswer {
        self.run.core.runtime.wait(answer).unwrap_or_else(|| Err(interrupted()))
    }
}

impl CallHost for Call<'_> {
    fn service(&self, name: &str, head: &[u8], body: &[u8]) -> ServiceAnswer {
        if let Some(answer) = self.in_preview(name) {
            return answer;
        }
        match name {
            protocol::TEXT => self.text(head),
            protocol::SETTING => self.setting(head),
            protocol::SHOWTIME_GET => self.showtime_get(head),
            protocol::SHOWTIME_SET => self.showtime_set(head, body),
            protocol::TRIGGER => self.trigger(head, body),
            protocol::RUN => self.run_reply(),
            protocol::CLOCK => Ok((serde_json::to_vec(&self.run.core.clock.now())?, Vec::new())),
            protocol::KEPT_GET => services::kept_get(self.run, &self.minicomponent.plugin, head),
            protocol::KEPT_SET => services::kept_set(self.run, &self.minicomponent.plugin, head, body),
            protocol::DEFER | protocol::DEFER_WITH => services::defer(self.run, &self.minicomponent.plugin, head, body),
            protocol::ANNOUNCE => services::announce(self.run, head, body),
            webhooks::FAN_OUT => webhooks::fan_out(self.run, head),
            protocol::HTTP => self.wait(self.http(head, body.to_vec())?),
            protocol::SLEEP => self.wait(self.sleep(head)?),
            _ => Err(PluginError::permanent(format!("this host has no service `{name}`: update Switchboard"))),
        }
    }

    fn service_async(&self, name: &str, head: Vec<u8>, body: Vec<u8>) -> ServiceFuture {
        match name {
            protocol::HTTP => started(self.http(&head, body)),
            protocol::SLEEP => started(self.sleep(&head)),
            // The other services answer at once.
            _ => {
                let answer = self.service(name, &head, &body);
                Box::pin(async { answer })
            }
        }
    }

    fn time_left(&self) -> Duration {
        self.deadline.map_or(UNLIMITED, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn is_cancelled(&self) -> bool {
        self.options.cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
    }
}

fn started(service: Result<impl Future<Output = ServiceAnswer> + Send + 'static, PluginError>) -> ServiceFuture {
    match service {
        Ok(future) => Box::pin(future),
        Err(error) => Box::pin(async { Err(error) }),
    }
}

pub(super) fn found(value: Option<Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
    match value {
        Some(value) => (b"true".to_vec(), value),
        None => (b"false".to_vec(), Vec::new()),
    }
}

fn argument(value: &serde_json::Value) -> Argument {
    match value {
        serde_json::Value::String(text) => Argument::Text(text.clone()),
        serde_json::Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() || float.abs() < EXACT => Argument::Number(float),
            // A large integer keeps its digits.
            _ => Argument::Text(number.to_string()),
        },
        other => Argument::Text(other.to_string()),
    }
}

/// Integers below this are exact as floating-point numbers, with room to spare.
const EXACT: f64 = 1e15;

fn trigger_value(value: HandlerValue) -> TriggerValue {
    let (name, plugin) = (value.name().to_owned(), value.plugin().to_owned());
    let mut reply = TriggerValue { name, plugin, ..TriggerValue::default() };
    match value.result {
        Ok(payload) => {
            let json = std::str::from_utf8(&payload).ok().and_then(|json| RawValue::from_string(json.into()).ok());
            if json.is_none() {
                reply.error = Some("its value is not JSON".into());
                reply.permanent = true;
            }
            reply.value = json;
        }
        Err(error) => {
            reply.error = Some(error.to_string());
            reply.permanent = error.kind() == ErrorKind::Permanent;
            reply.code = error.code().map(Into::into);
            reply.retry_after_ms = error.retry_after().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        }
    }
    reply
}

fn egress_error(error: &EgressError) -> PluginError {
    let message = crate::error::Chain(error).to_string();
    let error_of = if error.is_retryable() { PluginError::retryable } else { PluginError::permanent };
    error_of(message).with_code(error.code())
}
