//! What the plugin may ask of the host, answered from what a test has set.

use core::time::Duration;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use serde_json::{Value, json};
use switchboard_plugin_api::host::{CallHost, PluginHost, ServiceAnswer, ServiceFuture};
use switchboard_plugin_api::protocol::{
    self, AnnounceHead, DeferHead, HttpHead, HttpReply, KeepHead, KeyHead, MAX_DEFERRED_BYTES, MAX_EVENT_BODY_BYTES,
    MAX_EVENT_NAME_BYTES, MAX_KEPT_KEY_BYTES, MAX_KEPT_VALUE_BYTES, RunInfo, SleepHead, TextHead, TriggerHead,
    TriggerReply, TriggerValue,
};
use switchboard_plugin_api::{DeferOptions, ErrorKind, PluginError, TriggerNumber};

use crate::http::{HttpAnswer, HttpRequest};
use crate::logs::{self, LogLine};
use crate::texts::{DEFAULT_LANGUAGE, Texts};

pub(crate) type HttpScript = Box<dyn FnMut(&HttpRequest) -> HttpAnswer + Send>;
pub(crate) type TriggerScript = Box<dyn FnMut(Option<&str>, &[u8]) -> Vec<(String, TriggerAnswer)> + Send>;

/// A deferred task that the plugin has made with [`Context::defer`](switchboard_plugin_api::Context::defer).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeferredTask {
    /// The trigger number.
    pub number: TriggerNumber,
    /// The event name.
    pub name: String,
    /// The input.
    pub input: Value,
    /// After which time it is due.
    pub delay: Duration,
    /// How it is run.
    pub options: DeferOptions,
}

/// What a scripted minicomponent answers: a value, or a failure.
///
/// ```
/// use switchboard_plugin_api::PluginError;
/// use switchboard_plugin_api::serde_json::json;
/// use switchboard_test_host::TriggerAnswer;
///
/// let price = TriggerAnswer::from(json!({ "cents": 4200 }));
/// let broken = TriggerAnswer::from(PluginError::permanent("no price for this")).of_plugin("pricing");
/// ```
#[derive(Clone, Debug)]
pub struct TriggerAnswer {
    result: Result<Value, PluginError>,
    plugin: String,
}

impl TriggerAnswer {
    /// Names the plugin that answers, which the text of a failure holds. Without it the text names none.
    #[must_use]
    pub fn of_plugin(mut self, plugin: impl Into<String>) -> Self {
        self.plugin = plugin.into();
        self
    }

    fn reply(self, name: String) -> Result<TriggerValue, PluginError> {
        let mut reply = TriggerValue { name, plugin: self.plugin, ..TriggerValue::default() };
        match self.result {
            Ok(value) => reply.value = Some(RawValue::from_string(value.to_string())?),
            Err(error) => {
                reply.error = Some(error.to_string());
                reply.permanent = error.kind() == ErrorKind::Permanent;
                reply.code = error.code().map(Into::into);
                reply.retry_after_ms =
                    error.retry_after().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            }
        }
        Ok(reply)
    }
}

impl From<Value> for TriggerAnswer {
    fn from(value: Value) -> Self {
        Self { result: Ok(value), plugin: String::new() }
    }
}

impl From<PluginError> for TriggerAnswer {
    fn from(error: PluginError) -> Self {
        Self { result: Err(error), plugin: String::new() }
    }
}

/// The time of a host that no test has set: 2026-01-01T00:00:00Z, in milliseconds since the Unix epoch.
const START_OF_2026_MS: i64 = 1_767_225_600_000;

/// A value that the plugin keeps.
pub(crate) struct Kept {
    pub(crate) value: Vec<u8>,
    /// Milliseconds since the Unix epoch; never when `None`.
    expires_at_ms: Option<i64>,
}

/// Time until the deadline of a call, unless a test says otherwise.
const TIME_LEFT: Duration = Duration::from_secs(30);

/// One host. The plugin may call it from several threads.
pub(crate) struct Services {
    state: Mutex<State>,
    http_script: Mutex<Option<HttpScript>>,
    trigger_scripts: Mutex<BTreeMap<u32, TriggerScript>>,
    pub(crate) cancelled: AtomicBool,
    logs: Mutex<Vec<LogLine>>,
}

pub(crate) struct State {
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) showtime: BTreeMap<String, Vec<u8>>,
    pub(crate) run: RunInfo,
    pub(crate) time_left: Duration,
    /// What the plugin has slept in this call.
    pub(crate) slept: Duration,
    pub(crate) texts: Texts,
    /// Keys for which no language had a text.
    pub(crate) missing_texts: BTreeSet<String>,
    pub(crate) requests: Vec<HttpRequest>,
    kept: BTreeMap<String, Kept>,
    /// Milliseconds since the Unix epoch. Stands still unless the test moves it.
    pub(crate) now_ms: i64,
    pub(crate) deferred: Vec<DeferredTask>,
    pub(crate) announced: Vec<(String, Value)>,
    /// Why the test has to fail. A panic inside a service would be turned into an error and could be overlooked.
    pub(crate) failure: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Returns what the plugin keeps under `key`, unless it has expired.
    pub(crate) fn kept_value(&self, key: &str) -> Option<&[u8]> {
        let kept = self.kept.get(key)?;
        kept.expires_at_ms.is_none_or(|at| at > self.now_ms).then_some(&kept.value)
    }
}

/// Returns how long the body is that a real host makes of an event.
fn body_bytes(event: &str, data: &Value, owner: i64) -> usize {
    let mut body = data.clone();
    body["task"] = event.into();
    if owner != 0 && body.get("manager_id").is_none() {
        body["manager_id"] = owner.into();
    }
    json!({ "data": body }).to_string().len()
}

impl Services {
    pub(crate) fn new(settings: BTreeMap<String, String>) -> Self {
        let mut run = RunInfo::default();
        DEFAULT_LANGUAGE.clone_into(&mut run.language);
        Self {
            state: Mutex::new(State {
                settings,
                showtime: BTreeMap::new(),
                run,
                time_left: TIME_LEFT,
                slept: Duration::ZERO,
                texts: Texts::default(),
                missing_texts: BTreeSet::new(),
                requests: Vec::new(),
                kept: BTreeMap::new(),
                now_ms: START_OF_2026_MS,
                deferred: Vec::new(),
                announced: Vec::new(),
                failure: None,
            }),
            http_script: Mutex::default(),
            trigger_scripts: Mutex::default(),
            cancelled: AtomicBool::new(false),
            logs: Mutex::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn logs(&self) -> MutexGuard<'_, Vec<LogLine>> {
        lock(&self.logs)
    }

    pub(crate) fn set_http(&self, script: HttpScript) {
        *lock(&self.http_script) = Some(script);
    }

    pub(crate) fn set_trigger(&self, number: u32, script: TriggerScript) {
        lock(&self.trigger_scripts).insert(number, script);
    }

    fn text(&self, head: &[u8]) -> ServiceAnswer {
        let head: TextHead<'_> = serde_json::from_slice(head)?;
        let mut state = self.state();
        let text = state.texts.text(&state.run.language, &head.key, &head.arguments).unwrap_or_else(|| {
            state.missing_texts.insert(head.key.to_string());
            head.key.to_string()
        });
        Ok((Vec::new(), text.into_bytes()))
    }

    fn setting(&self, head: &[u8]) -> ServiceAnswer {
        let head: KeyHead<'_> = serde_json::from_slice(head)?;
        Ok(found(self.state().settings.get(&*head.key).cloned().map(String::into_bytes)))
    }

    fn showtime_get(&self, head: &[u8]) -> ServiceAnswer {
        let head: KeyHead<'_> = serde_json::from_slice(head)?;
        Ok(found(self.state().showtime.get(&*head.key).cloned()))
    }

    fn showtime_set(&self, head: &[u8], body: &[u8]) -> ServiceAnswer {
        let head: KeyHead<'_> = serde_json::from_slice(head)?;
        self.state().showtime.insert(head.key.into_owned(), body.to_vec());
        Ok((Vec::new(), Vec::new()))
    }

    fn kept_get(&self, head: &[u8]) -> ServiceAnswer {
        let head: KeyHead<'_> = serde_json::from_slice(head)?;
        Ok(found(self.state().kept_value(&head.key).map(<[u8]>::to_vec)))
    }

    fn kept_set(&self, head: &[u8], body: &[u8]) -> ServiceAnswer {
        let head: KeepHead<'_> = serde_json::from_slice(head)?;
        let key = head.key.into_owned();
        if key.len() > MAX_KEPT_KEY_BYTES {
            let message = format!("the key of a kept value has at most {MAX_KEPT_KEY_BYTES} bytes");
            return Err(PluginError::permanent(message));
        }
        if body.len() > MAX_KEPT_VALUE_BYTES {
            return Err(PluginError::permanent(format!("a kept value has at most {MAX_KEPT_VALUE_BYTES} bytes")));
        }
        let mut state = self.state();
        let expires_at_ms = head.expires_ms.map(|wait_ms| state.now_ms.saturating_add_unsigned(wait_ms));
        match body {
            [] => state.kept.remove(&key),
            body => state.kept.insert(key, Kept { value: body.to_vec(), expires_at_ms }),
        };
        Ok((Vec::new(), Vec::new()))
    }

    fn defer(&self, head: &[u8], body: &[u8]) -> ServiceAnswer {
        let head: DeferHead<'_> = serde_json::from_slice(head)?;
        let number = TriggerNumber::try_from(head.number).map_err(|error| PluginError::permanent(error.to_string()))?;
        if body.len() > MAX_DEFERRED_BYTES {
            return Err(PluginError::permanent(format!(
                "the input of a deferred task has at most {MAX_DEFERRED_BYTES} bytes, this has {}",
                body.len()
            )));
        }
        let deferred = &mut self.state().deferred;
        deferred.push(DeferredTask {
            number,
            name: head.name.into_owned(),
            input: serde_json::from_slice(body)?,
            delay: Duration::from_millis(head.delay_ms),
            options: head.options,
        });
        Ok((serde_json::to_vec(&deferred.len())?, Vec::new()))
    }

    fn announce(&self, head: &[u8], body: &[u8]) -> ServiceAnswer {
        let head: AnnounceHead<'_> = serde_json::from_slice(head)?;
        let bad = |message: String| Err(PluginError::permanent(message).with_code("bad_event"));
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if !(1..=MAX_EVENT_NAME_BYTES).contains(&head.event.len()) || !head.event.bytes().all(valid) {
            return bad(format!(
                "`{}` is no event name: 1 to 100 of A-Z, a-z, 0-9, `_`, `-` and `.` are needed",
                head.event.escape_debug()
            ));
        }
        let data: Value = serde_json::from_slice(body)?;
        if !data.is_object() {
            return bad("the event's data is no JSON object: write {\"property\": value}".to_owned());
        }
        let mut state = self.state();
        let bytes = body_bytes(&head.event, &data, head.owner.unwrap_or(state.run.owner));
        if bytes > MAX_EVENT_BODY_BYTES {
            return bad(format!(
                "the event's data makes a body of {bytes} bytes, at most {MAX_EVENT_BODY_BYTES} are sent: announce ids, \
                 not content"
            ));
        }
        let announced = &mut state.announced;
        announced.push((head.event.into_owned(), data));
        Ok((serde_json::to_vec(&format!("msg_{}", announced.len()))?, Vec::new()))
    }

    fn trigger(&self, head: &[u8], body: &[u8]) -> ServiceAnswer {
        let head: TriggerHead<'_> = serde_json::from_slice(head)?;
        let number = TriggerNumber::try_from(head.number).map_err(|error| PluginError::permanent(error.to_string()))?;
        let mut scripts = lock(&self.trigger_scripts);
        let Some(script) = scripts.get_mut(&number.get()) else {
            return Ok((serde_json::to_vec(&TriggerReply::default())?, Vec::new()));
        };
        let name = head.name.as_deref();
        let values = self.scripted(&format!("the script of trigger {number}"), || script(name, body))?;
        let values: Result<_, PluginError> = values.into_iter().map(|(name, answer)| answer.reply(name)).collect();
        Ok((serde_json::to_vec(&TriggerReply { values: values? })?, Vec::new()))
    }

    fn http(&self, head: &[u8], body: &[u8]) -> ServiceAnswer {
        let head: HttpHead = serde_json::from_slice(head)?;
        let mut headers = head.headers;
        let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        if has("webhook-id") && !has("webhook-timestamp") {
            headers.push(("webhook-timestamp".to_owned(), (self.state().now_ms / 1000).to_string()));
        }
        let mut request = HttpRequest::new(head.method, head.url, headers, body.to_vec());
        request.confidential = head.confidential;
        self.state().requests.push(request.clone());
        let mut script = lock(&self.http_script);
        let Some(script) = &mut *script else {
            let failure = format!(
                "the plugin sent {} {} and the test has no answer for it: give one with `.http(|request| ..)`",
                request.method, request.url
            );
            return Err(self.fail(failure));
        };
        let answer = self.scripted("the script of `http`", || script(&request))?.0?;
        let head = HttpReply { status: answer.status, headers: answer.headers, truncated: false };
        Ok((serde_json::to_vec(&head)?, answer.body))
    }

    /// Is over at once, and the time with it.
    fn sleep(&self, head: &[u8]) -> ServiceAnswer {
        let head: SleepHead = serde_json::from_slice(head)?;
        let time = Duration::from_millis(head.time_ms);
        if self.is_cancelled() {
            return Err(PluginError::retryable("the host is stopping").with_code("interrupted"));
        }
        let mut state = self.state();
        let left = state.time_left.saturating_sub(state.slept);
        state.slept += time.min(left);
        let passed_ms = u64::try_from(time.min(left).as_millis()).unwrap_or(u64::MAX);
        state.now_ms = state.now_ms.saturating_add_unsigned(passed_ms);
        if time > left { Err(protocol::cut_short(time)) } else { Ok((Vec::new(), Vec::new())) }
    }

    /// Runs code of the test. Its panic, such as a failed assertion, is the test's, not the plugin's.
    fn scripted<R>(&self, who: &str, script: impl FnOnce() -> R) -> Result<R, PluginError> {
        catch_unwind(AssertUnwindSafe(script))
            .map_err(|panic| self.fail(format!("{who} panicked: {}", panic_text(panic.as_ref()))))
    }

    /// Notes why the test fails; the first reason counts.
    fn fail(&self, failure: String) -> PluginError {
        let error = PluginError::permanent(failure.clone());
        self.state().failure.get_or_insert(failure);
        error
    }
}

impl CallHost for Services {
    fn service(&self, name: &str, head: &[u8], body: &[u8]) -> ServiceAnswer {
        match name {
            protocol::TEXT => self.text(head),
            protocol::SETTING => self.setting(head),
            protocol::SHOWTIME_GET => self.showtime_get(head),
            protocol::SHOWTIME_SET => self.showtime_set(head, body),
            protocol::TRIGGER => self.trigger(head, body),
            protocol::RUN => Ok((serde_json::to_vec(&self.state().run)?, Vec::new())),
            protocol::HTTP => self.http(head, body),
            protocol::KEPT_GET => self.kept_get(head),
            protocol::KEPT_SET => self.kept_set(head, body),
            protocol::DEFER | protocol::DEFER_WITH => self.defer(head, body),
            protocol::ANNOUNCE => self.announce(head, body),
            protocol::SLEEP => self.sleep(head),
            protocol::CLOCK => Ok((serde_json::to_vec(&self.state().now_ms)?, Vec::new())),
            _ => Err(PluginError::permanent(format!("this host has no service `{name}`: update Switchboard"))),
        }
    }

    fn service_async(&self, name: &str, head: Vec<u8>, body: Vec<u8>) -> ServiceFuture {
        let answer = self.service(name, &head, &body);
        Box::pin(async { answer })
    }

    fn time_left(&self) -> Duration {
        let state = self.state();
        state.time_left.saturating_sub(state.slept)
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// The host as the plugin knows it outside its calls.
pub(crate) struct Link(pub(crate) Arc<Services>);

impl PluginHost for Link {
    fn log(&self, level: log::Level, channel: &str, message: &str, fields: &[(String, String)]) {
        logs::take(level, channel, message, fields);
    }

    fn log_level(&self) -> log::LevelFilter {
        log::LevelFilter::Trace
    }

    fn service(&self, name: &str, head: &[u8], _body: &[u8]) -> ServiceAnswer {
        match name {
            protocol::SETTING => self.0.setting(head),
            _ => Err(PluginError::permanent(format!("this host has no service `{name}` outside a call"))),
        }
    }
}

fn found(value: Option<Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
    match value {
        Some(value) => (b"true".to_vec(), value),
        None => (b"false".to_vec(), Vec::new()),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a value that is no text".to_owned())
}
