//! Runs a Switchboard plugin in an ordinary test, without a library file and without a host.
//!
//! [`TestHost`] calls the plugin through the very table that `export_plugin!` exports, and answers what the plugin asks
//! for from what the test has set. [`check_contract`] checks what every plugin owes its users; one line in each plugin's
//! tests is enough for it.
//!
//! Put the crate into `[dev-dependencies]`. A plugin is built as `cdylib`, which an integration test cannot use, so its
//! tests stand below its code in `#[cfg(test)] mod tests`.
//!
//! ```
//! use switchboard_plugin_api::prelude::*;
//!
//! struct ApiKeyWebhook;
//!
//! impl Plugin for ApiKeyWebhook {
//!     const INFO: PluginInfo = PluginInfo::new("webhook_api_key", env!("CARGO_PKG_VERSION"));
//!     const REGISTRY: Registry<Self> = Registry::new()
//!         .add::<LanguageInit>("api_key", Self::languages)
//!         .add::<WebhookRegistration>("api_key", Self::auth_method)
//!         .add_async::<DeferredDelivery>("api_key", Self::deliver);
//!
//!     fn new(_host: &Host) -> Result<Self, PluginError> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl ApiKeyWebhook {
//!     fn languages(&self, _cx: &Context, _: LanguageRequest) -> Result<LanguageFiles, PluginError> {
//!         Ok(LanguageFiles::new()
//!             .file("en-GB", "method = API key\nkey = Key")
//!             .file("de-DE", "method = API-Schlüssel\nkey = Schlüssel"))
//!     }
//!
//!     fn auth_method(&self, cx: &Context, _: RegistrationRequest) -> Result<AuthMethod, PluginError> {
//!         let key = FormField::new("key", FieldFormat::Password, cx.text("key")).required();
//!         Ok(AuthMethod::new(cx.text("method")).field(key))
//!     }
//!
//!     async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
//!         let key = cx.required_setting("key")?;
//!         cx.http().deliver(&delivery).header("x-api-key", key).send().await?.delivered()
//!     }
//! }
//!
//! export_plugin!(ApiKeyWebhook);
//!
//! // From here on, what stands in `mod tests`.
//! use switchboard_test_host::{HttpAnswer, TestHost, check_contract, delivery};
//!
//! // #[test] fn it_keeps_the_contract()
//! check_contract::<ApiKeyWebhook>();
//!
//! // #[test] fn the_form_is_translated()
//! let host = TestHost::<ApiKeyWebhook>::start().language("de-AT");
//! let form = host.call::<WebhookRegistration>("api_key", &RegistrationRequest::default()).unwrap();
//! assert_eq!(form.fields[0].title, "Schlüssel");
//!
//! // #[test] fn a_delivery_carries_the_key()
//! let host = TestHost::<ApiKeyWebhook>::start().setting("key", "k3y").http(|_| HttpAnswer::status(204));
//! let done = host.call::<DeferredDelivery>("api_key", &delivery("booking_added", "{}")).unwrap();
//! assert_eq!(done.status, Some(204));
//! assert_eq!(host.requests()[0].header("x-api-key"), Some("k3y"));
//!
//! // #[test] fn a_busy_receiver_is_tried_again_later()
//! let host = host.http(|_| HttpAnswer::status(503).header("retry-after", "30"));
//! let error = host.call::<DeferredDelivery>("api_key", &delivery("booking_added", "{}")).unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Retryable);
//! assert_eq!(error.retry_after().unwrap().as_secs(), 30);
//! ```
//!
//! # What it does not do
//!
//! It sends nothing, so the egress rules of a real host do not judge a URL or a header. It stores nothing and retries
//! nothing. It is one process with the plugin: what only a library file shows, such as a missing symbol, shows when a host
//! loads it. Administrators' overrides of texts, and a host's refusal of dangerous Fluent sources, are not simulated.
#![forbid(unsafe_code)]

mod contract;
mod executor;
mod http;
mod logs;
mod services;
mod texts;

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use serde_json::Value;
use switchboard_plugin_api::host::{Module, ModuleError, RunningPlugin};
use switchboard_plugin_api::{
    Delivery, HandlerKind, LanguageFiles, LanguageInit, LanguageRequest, Manifest, Plugin, PluginError, Trigger,
    TriggerNumber,
};

pub use services::{DeferredTask, TriggerAnswer};
use services::{Link, Services};

pub use contract::{check_contract, check_contract_with, contract_violations};
pub use http::{HttpAnswer, HttpRequest};
pub use logs::LogLine;

/// A host for one plugin in one test. It stands for one run: showtime lasts as long as the host.
///
/// Handlers run on the thread that calls them. Dropping the host shuts the plugin down.
///
/// # Logs
///
/// The plugin shares the `log` crate with the whole test program. A record belongs to the host whose call runs on the
/// record's thread; tests may therefore run at the same time. A record from a thread that the plugin started itself is
/// lost. When the test program installs a logger of its own before the first host starts, nothing can be captured, and
/// [`TestHost::logs`] says so.
pub struct TestHost<P> {
    services: Arc<Services>,
    plugin: RunningPlugin,
    manifest: Manifest,
    of: PhantomData<fn() -> P>,
}

impl<P: Plugin> TestHost<P> {
    /// Starts the plugin and loads its texts, in `en-GB` and without settings.
    ///
    /// # Panics
    ///
    /// With the plugin's message when it does not start.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts the plugin with settings that it can read in [`Plugin::new`].
    ///
    /// # Panics
    ///
    /// As [`TestHost::start`].
    #[must_use]
    #[track_caller]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        match Self::try_start_with(settings) {
            Ok(host) => host,
            Err(error) => panic!("the plugin `{}` does not start: {error}", P::INFO.id),
        }
    }

    /// Starts the plugin; see [`TestHost::start`].
    ///
    /// # Errors
    ///
    /// What the constructor or a handler of 00005 returns; a panic of theirs is an error as well.
    pub fn try_start() -> Result<Self, PluginError> {
        Self::try_start_with(&[])
    }

    /// Starts the plugin; see [`TestHost::start_with`].
    ///
    /// # Errors
    ///
    /// As [`TestHost::try_start`].
    pub fn try_start_with(settings: &[(&str, &str)]) -> Result<Self, PluginError> {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let services = Arc::new(Services::new(settings));
        let link = Arc::new(Link(Arc::clone(&services)));
        let started = logs::captured(&services, || Module::linked::<P>().start(link));
        let plugin = started.map_err(|error| match error {
            ModuleError::Start(error) => error,
            other => PluginError::permanent(other.to_string()),
        })?;
        let host = Self { services, plugin, manifest: Manifest::linked::<P>(), of: PhantomData };
        let mut names = host.names(LanguageInit::NUMBER);
        names.sort();
        let mut request = LanguageRequest::default();
        texts::DEFAULT_LANGUAGE.clone_into(&mut request.default_language);
        for name in names {
            let texts: LanguageFiles = host.call::<LanguageInit>(&name, &request)?;
            let mut state = host.services.state();
            for file in texts.files {
                state.texts.add(&file.language, &file.fluent);
            }
        }
        Ok(host)
    }

    /// Sets a setting. There is one set of settings: it is the webhook's in a delivery and the plugin's elsewhere.
    #[must_use]
    pub fn setting(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.services.state().settings.insert(key.into(), value.into());
        self
    }

    /// Sets a value of the run.
    ///
    /// # Panics
    ///
    /// When the value cannot be written as JSON.
    #[must_use]
    pub fn showtime(self, key: impl Into<String>, value: impl Serialize) -> Self {
        let value = serde_json::to_vec(&value).expect("the value of the test can be written as JSON");
        self.services.state().showtime.insert(key.into(), value);
        self
    }

    /// Sets the language of the person who is served, such as `de-DE`.
    #[must_use]
    pub fn language(self, language: impl Into<String>) -> Self {
        self.services.state().run.language = language.into();
        self
    }

    /// Sets the owner for whom the run works; 0, the whole site, unless set.
    #[must_use]
    pub fn owner(self, owner: i64) -> Self {
        self.services.state().run.owner = owner;
        self
    }

    /// Sets the host's task.
    #[must_use]
    pub fn task(self, task: impl Into<String>) -> Self {
        self.services.state().run.task = Some(task.into());
        self
    }

    /// Sets who acts.
    #[must_use]
    pub fn actor(self, actor: impl Into<String>) -> Self {
        self.services.state().run.actor = Some(actor.into());
        self
    }

    /// Sets what the run is about.
    #[must_use]
    pub fn subject(self, subject: impl Into<String>) -> Self {
        self.services.state().run.subject = Some(subject.into());
        self
    }

    /// Sets the time that a call has until its deadline, 30 seconds unless set. Only what the plugin sleeps passes, at
    /// once; scripted answers come even when no time is left.
    #[must_use]
    pub fn time_left(self, time_left: Duration) -> Self {
        self.services.state().time_left = time_left;
        self
    }

    /// Sets the host's clock, as time since the Unix epoch. It stands still unless the plugin sleeps: at
    /// 2026-01-01T00:00:00Z unless set. The plugin sees it, what it keeps expires by it, and deliveries are stamped with it.
    #[must_use]
    pub fn clock(self, since_epoch: Duration) -> Self {
        self.services.state().now_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        self
    }

    /// Lets time pass.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use switchboard_plugin_api::prelude::*;
    /// # use switchboard_test_host::TestHost;
    /// # fn example<Shop: Plugin>() {
    /// let host = TestHost::<Shop>::start();
    /// // … a call that keeps a token for an hour …
    /// host.advance(Duration::from_secs(60 * 60));
    /// assert_eq!(host.kept_value("token"), None);
    /// # }
    /// ```
    pub fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let mut state = self.services.state();
        state.now_ms = state.now_ms.saturating_add_unsigned(by_ms);
    }

    /// Sets whether the host has stopped waiting for the result.
    #[must_use]
    pub fn cancelled(self, cancelled: bool) -> Self {
        self.services.cancelled.store(cancelled, Ordering::Relaxed);
        self
    }

    /// Answers the plugin's requests from now on. Without it, a request fails the test.
    ///
    /// A panic in `script`, such as a failed assertion, fails the test when the call ends.
    #[must_use]
    pub fn http(self, script: impl FnMut(&HttpRequest) -> HttpAnswer + Send + 'static) -> Self {
        self.services.set_http(Box::new(script));
        self
    }

    /// Answers a number that the plugin fires: `script` gets the event name (`None` for a broadcast) and the payload, and
    /// gives each minicomponent's name with its value, or with a failure; see [`TriggerAnswer`]. Without it, nobody answers
    /// the number.
    ///
    /// A panic in `script` fails the test when the call ends.
    #[must_use]
    pub fn on_trigger<A: Into<TriggerAnswer>>(
        self,
        number: u32,
        mut script: impl FnMut(Option<&str>, &[u8]) -> Vec<(String, A)> + Send + 'static,
    ) -> Self {
        let script = move |name: Option<&str>, input: &[u8]| {
            script(name, input).into_iter().map(|(name, answer)| (name, answer.into())).collect()
        };
        self.services.set_trigger(number, Box::new(script));
        self
    }

    /// Calls the handler `name` of trigger `T`, be it synchronous or asynchronous.
    ///
    /// # Errors
    ///
    /// What the handler returns, a panic of its included; or that its output is not `T::Output`.
    ///
    /// # Panics
    ///
    /// As [`TestHost::call_raw`].
    #[track_caller]
    pub fn call<T: Trigger>(&self, name: &str, input: &T::Input) -> Result<T::Output, PluginError> {
        read::<T>(&self.call_raw(T::NUMBER.get(), name, &serde_json::to_vec(input)?)?)
    }

    /// The same as [`TestHost::call`], for tests that want to say that the handler is asynchronous. The future is polled
    /// to its end on the thread of the test.
    ///
    /// # Errors
    ///
    /// As [`TestHost::call`].
    ///
    /// # Panics
    ///
    /// As [`TestHost::call_raw`].
    #[track_caller]
    pub fn call_async<T: Trigger>(&self, name: &str, input: &T::Input) -> Result<T::Output, PluginError> {
        self.call::<T>(name, input)
    }

    /// Calls the handler `name` of trigger `T` with an input that is written as JSON.
    ///
    /// ```
    /// # use switchboard_plugin_api::prelude::*;
    /// # use switchboard_test_host::TestHost;
    /// # fn example<Greeter: Plugin>() {
    /// let reply = TestHost::<Greeter>::start()
    ///     .call_json::<PublicTask>("greet", &serde_json::json!({ "name": "Ada" }));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`TestHost::call`].
    ///
    /// # Panics
    ///
    /// As [`TestHost::call_raw`].
    #[track_caller]
    pub fn call_json<T: Trigger>(&self, name: &str, input: &Value) -> Result<T::Output, PluginError> {
        read::<T>(&self.call_raw(T::NUMBER.get(), name, input.to_string().as_bytes())?)
    }

    /// Calls a handler with bytes.
    ///
    /// # Errors
    ///
    /// What the handler returns, a panic of its included.
    ///
    /// # Panics
    ///
    /// When the plugin has no such handler; when it sends a request that the test does not answer; when a script of the
    /// test panicked; when an asynchronous handler waits for something that does not come.
    #[track_caller]
    pub fn call_raw(&self, number: u32, name: &str, input: &[u8]) -> Result<Vec<u8>, PluginError> {
        let triggers = &self.manifest.triggers;
        let Some(index) = triggers.iter().position(|trigger| trigger.number == number && trigger.name == name) else {
            let has: Vec<_> =
                triggers.iter().map(|trigger| format!("{:05} `{}`", trigger.number, trigger.name)).collect();
            let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
            panic!("the plugin `{}` has no handler {number:05} `{name}`; it has: {has}", self.manifest.id);
        };
        let handler = u32::try_from(index).expect("a plugin has at most 128 handlers");
        let services = Arc::clone(&self.services);
        services.state().slept = Duration::ZERO;
        let result = logs::captured(&self.services, || match triggers[index].kind {
            HandlerKind::Async => executor::block_on(self.plugin.call_async(handler, services, input.to_vec())),
            _ => Some(self.plugin.call(handler, &*services, input)),
        });
        let failure = self.services.state().failure.take();
        if let Some(failure) = failure {
            panic!("{failure}");
        }
        let Some(result) = result else {
            panic!(
                "{number:05} `{name}` waits for something that does not come: only the host's own futures, such as \
                 `send` and `sleep`, are ready in a test"
            );
        };
        result.map(|output| output.to_vec())
    }

    /// Returns how long the plugin has slept in its last call. It has not kept the test waiting.
    #[must_use]
    pub fn slept(&self) -> Duration {
        self.services.state().slept
    }

    /// Returns all requests that the plugin has made, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.services.state().requests.clone()
    }

    /// Returns what the plugin keeps under `key`, unless it has expired by the host's clock.
    #[must_use]
    pub fn kept_value(&self, key: &str) -> Option<Value> {
        let state = self.services.state();
        serde_json::from_slice(state.kept_value(key)?).ok()
    }

    /// Returns the deferred tasks that the plugin has made, in order. They do not run by themselves: call their handler.
    #[must_use]
    pub fn deferred(&self) -> Vec<DeferredTask> {
        self.services.state().deferred.clone()
    }

    /// Returns the events that the plugin has announced, with their properties, in order.
    #[must_use]
    pub fn announced(&self) -> Vec<(String, Value)> {
        self.services.state().announced.clone()
    }

    /// Returns the value of the run under `key`, or `None` when nobody has set it.
    #[must_use]
    pub fn showtime_value(&self, key: &str) -> Option<Value> {
        let state = self.services.state();
        serde_json::from_slice(state.showtime.get(key)?).ok()
    }

    /// Returns the log records of the plugin so far, of every level, its start included.
    ///
    /// # Panics
    ///
    /// When the test program has a logger of its own, or has switched the log off, so that nothing can be captured.
    #[must_use]
    #[track_caller]
    pub fn logs(&self) -> Vec<LogLine> {
        assert!(
            logs::work(&self.services),
            "no log record can be captured: this test program installed a logger of its own before the first `TestHost`, \
             or lowered `log::set_max_level`"
        );
        self.services.logs().clone()
    }

    /// Returns the problems of the plugin's texts, such as a line that is no Fluent. A real host logs them and uses the
    /// rest.
    #[must_use]
    pub fn text_problems(&self) -> Vec<String> {
        self.services.state().texts.problems().to_vec()
    }

    /// Returns the keys that the plugin has asked for and no language could give; people saw the key itself.
    #[must_use]
    pub fn missing_texts(&self) -> Vec<String> {
        self.services.state().missing_texts.iter().cloned().collect()
    }

    /// Shuts the plugin down, as dropping the host does, and returns all its log records.
    ///
    /// # Panics
    ///
    /// As [`TestHost::logs`].
    #[track_caller]
    pub fn shutdown(self) -> Vec<LogLine> {
        let services = Arc::clone(&self.services);
        drop(self);
        assert!(logs::work(&services), "no log record can be captured: see `TestHost::logs`");
        services.logs().clone()
    }

    fn names(&self, number: TriggerNumber) -> Vec<String> {
        let of_number = self.manifest.triggers.iter().filter(|trigger| trigger.number == number.get());
        of_number.map(|trigger| trigger.name.clone()).collect()
    }
}

impl<P> Drop for TestHost<P> {
    fn drop(&mut self) {
        logs::captured(&self.services, || self.plugin.shutdown());
    }
}

impl<P: Plugin> fmt::Debug for TestHost<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHost").field("plugin", &P::INFO.id).finish_non_exhaustive()
    }
}

/// Returns a first attempt to deliver `event` with the bytes of `body`, of event `event-1` for webhook 1 at
/// `https://receiver.example/events`. Its fields can be changed.
#[must_use]
pub fn delivery(event: impl Into<String>, body: impl Into<String>) -> Delivery {
    let mut delivery = Delivery::default();
    delivery.event_id = "event-1".to_owned();
    delivery.event = event.into();
    delivery.webhook = 1;
    delivery.url = "https://receiver.example/events".to_owned();
    delivery.body = body.into();
    delivery.attempt = 1;
    delivery
}

fn read<T: Trigger>(output: &[u8]) -> Result<T::Output, PluginError> {
    serde_json::from_slice(output).map_err(|error| {
        PluginError::permanent(format!("the value of {} is of another type: {error}", T::NUMBER))
            .with_code("bad_output")
    })
}
