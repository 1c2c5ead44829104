//! The host, from inside a handler.

use core::fmt;
use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::HostCall;
use crate::http::Http;
use crate::protocol::{
    self, AnnounceHead, DeferHead, KeepHead, KeyHead, RunInfo, SleepHead, TextHead, TriggerHead, TriggerReply,
    TriggerValue,
};
use crate::{DeferOptions, PluginError, Trigger, TriggerNumber};

/// What one call may ask of the host. A handler gets it as its second argument; it is good for that call only.
///
/// Everything but [`RequestBuilder::send`](crate::RequestBuilder::send) and [`Context::sleep`] answers at once, from the
/// host's memory, and may be used in asynchronous handlers as well. [`Context::trigger`] and [`Context::broadcast`] take
/// as long as the handlers that they fire.
pub struct Context<'a> {
    host: HostCall<'a>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(host: HostCall<'a>) -> Self {
        Self { host }
    }

    /// Returns the host's HTTP client. Plugins have none of their own: every request passes the host's guard.
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// async fn ask(cx: &Context<'_>) -> Result<String, PluginError> {
    ///     let response = cx.http().get("https://example.com/state").send().await?;
    ///     Ok(response.successful()?.text().into_owned())
    /// }
    /// ```
    #[must_use]
    pub fn http(&self) -> Http<'_, 'a> {
        Http::new(self)
    }

    /// Returns this plugin's text under `key` in the language of the run, or in the nearest language that has it. A
    /// text that no language has is the key itself. It fails for nobody: whoever reads it sees at least the key.
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// fn method(cx: &Context, _: RegistrationRequest) -> Result<AuthMethod, PluginError> {
    ///     Ok(AuthMethod::new(cx.text("method")).notes(cx.text("notes")))
    /// }
    /// ```
    #[must_use]
    pub fn text(&self, key: &str) -> String {
        self.text_with(key, &[])
    }

    /// Returns a text with arguments; see [`Context::text`]. Numbers choose plural forms and are written as the language
    /// writes them; a text whose argument is missing counts as absent in that language.
    ///
    /// ```
    /// # fn show(cx: &switchboard_plugin_api::Context) -> String {
    /// cx.text_with("guests", &[("count", 2.into()), ("name", "Ada".into())])
    /// # }
    /// ```
    #[must_use]
    pub fn text_with(&self, key: &str, arguments: &[(&str, serde_json::Value)]) -> String {
        let arguments = arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let head = TextHead { key: key.into(), arguments };
        match self.service(protocol::TEXT, &head, &[]) {
            Ok((_, text)) => String::from_utf8_lossy(&text).into_owned(),
            Err(_) => key.to_owned(),
        }
    }

    /// Returns the values that the minicomponents of this run share. They are in memory only and gone after the run; what
    /// is to last goes into [`Context::kept`].
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// fn count(cx: &Context) -> Result<u32, PluginError> {
    ///     let seen = cx.showtime().get::<u32>("seen")?.unwrap_or(0) + 1;
    ///     cx.showtime().set("seen", &seen)?;
    ///     Ok(seen)
    /// }
    /// ```
    #[must_use]
    pub fn showtime(&self) -> Showtime<'_, 'a> {
        Showtime { context: self }
    }

    /// Returns a setting: of the webhook in a delivery (07310 and 07320), of the plugin (`[plugins.<id>]` in
    /// `switchboard.toml`) everywhere else. `None` when it is not set. It is read anew by each call, so that a correction
    /// holds at once.
    ///
    /// ```
    /// # fn greeting(cx: &switchboard_plugin_api::Context) -> String {
    /// cx.setting("greeting").unwrap_or_else(|| "Hello".to_owned())
    /// # }
    /// ```
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<String> {
        let (found, value) = self.service(protocol::SETTING, &KeyHead { key: key.into() }, &[]).ok()?;
        (&found[..] == b"true").then(|| String::from_utf8_lossy(&value).into_owned())
    }

    /// Returns a setting that the handler cannot do without.
    ///
    /// # Errors
    ///
    /// A permanent error with the code `bad_settings` that names the setting when it is absent or empty. A deferred task
    /// is a dead letter then, and can be made ready again once the setting is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// async fn deliver(cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
    ///     let key = cx.required_setting("key")?;
    ///     cx.http().deliver(&delivery).header("x-api-key", key).send().await?.delivered()
    /// }
    /// ```
    pub fn required_setting(&self, key: &str) -> Result<String, PluginError> {
        self.setting(key).filter(|value| !value.is_empty()).ok_or_else(|| {
            PluginError::permanent(format!("the setting `{key}` is missing: fill it in and try again"))
                .with_code("bad_settings")
        })
    }

    /// Writes a record into the log of `channel`. The macros of the `log` crate do the same with
    /// `target: "Webhooks"`, and cost next to nothing when the level is off. They take values as well, which the log shows
    /// as `key=value`. Writing never fails for the plugin, and never waits for a disk.
    ///
    /// ```
    /// use switchboard_plugin_api::log;
    ///
    /// # fn record(cx: &switchboard_plugin_api::Context) {
    /// cx.log(log::Level::Info, "Webhooks", "sent");
    /// log::info!(target: "Webhooks", guests = 2, room = "blue"; "sent"); // sent guests=2 room=blue
    /// # }
    /// ```
    pub fn log(&self, level: log::Level, channel: &str, message: &str) {
        log::log!(target: channel, level, "{message}");
    }

    /// Returns the time until the deadline of this call; zero when it has passed. A deferred attempt has
    /// `deferred.timeout` (15 seconds unless configured), an immediate delivery `deferred.immediate_timeout` (3 seconds); a
    /// call without a deadline says an hour.
    ///
    /// An asynchronous handler is dropped at its deadline. A synchronous one is not: it looks here.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// fn sum(cx: &Context, numbers: &[u64]) -> Result<u64, PluginError> {
    ///     let mut sum = 0_u64;
    ///     for chunk in numbers.chunks(10_000) {
    ///         if cx.is_cancelled() || cx.time_left() < Duration::from_millis(50) {
    ///             return Err(PluginError::retryable("not enough time").with_code("timeout_total"));
    ///         }
    ///         sum = chunk.iter().fold(sum, |sum, number| sum.wrapping_add(*number));
    ///     }
    ///     Ok(sum)
    /// }
    /// ```
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.host.time_left()
    }

    /// Returns whether the host no longer waits for this call's result, because it stops. A synchronous handler that works
    /// for long looks here now and then and returns early; see [`Context::time_left`] for an example.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.host.is_cancelled()
    }

    /// Waits for `time` on the host's timer, from an asynchronous handler. No thread is held meanwhile, and dropping the
    /// future ends the wait. The time counts from this call, in milliseconds, not from the first `.await`. Since 1.1.
    ///
    /// # Errors
    ///
    /// A retryable error with the code `timeout_total` at the deadline of the call, when that comes first; a permanent one
    /// from a host that is older than 1.1.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// async fn wait_until_ready(cx: &Context<'_>, url: &str) -> Result<(), PluginError> {
    ///     while cx.http().get(url).send().await?.status() == 202 {
    ///         cx.sleep(Duration::from_secs(1)).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use = "nothing waits before the future is awaited"]
    pub fn sleep(&self, time: Duration) -> impl Future<Output = Result<(), PluginError>> + Send + use<> {
        let answer = sleep_head(time).map(|head| self.host.service_async(protocol::SLEEP, head, Vec::new()));
        async move { answer?.await.map(drop) }
    }

    /// Waits for `time` from a synchronous handler; its thread waits, and is free again as soon as the host stops. Since
    /// 1.1.
    ///
    /// # Errors
    ///
    /// As [`Context::sleep`], and a retryable error with the code `interrupted` when the host no longer waits for this
    /// call's result.
    pub fn sleep_blocking(&self, time: Duration) -> Result<(), PluginError> {
        self.host.service(protocol::SLEEP, &sleep_head(time)?, &[]).map(drop)
    }

    /// Returns the time by the host's clock, the one by which deliveries are stamped and kept values expire. Since 1.1; where
    /// a host does not tell it, as one of 1.0 does not, it is the system's.
    ///
    /// ```
    /// use std::time::UNIX_EPOCH;
    ///
    /// # fn seconds(cx: &switchboard_plugin_api::Context) -> u64 {
    /// cx.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    /// # }
    /// ```
    #[must_use]
    pub fn now(&self) -> SystemTime {
        let told = self.service(protocol::CLOCK, &(), &[]).ok();
        let now_ms = told.and_then(|(head, _)| serde_json::from_slice(&head).ok());
        now_ms.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms))).unwrap_or_else(SystemTime::now)
    }

    /// Returns the language of the person who is served, such as `de-DE`; in the background, the host's default language.
    /// [`Context::text`] uses it by itself.
    ///
    /// ```
    /// # fn right_to_left(cx: &switchboard_plugin_api::Context) -> bool {
    /// matches!(cx.language().split('-').next(), Some("ar" | "fa" | "he"))
    /// # }
    /// ```
    #[must_use]
    pub fn language(&self) -> String {
        self.run().language
    }

    /// Returns who runs, for whom and about what. In a deferred task nobody acts, and the owner is that of the event.
    ///
    /// ```
    /// # fn line(cx: &switchboard_plugin_api::Context) -> String {
    /// let run = cx.run();
    /// format!("{} for owner {}", run.actor.as_deref().unwrap_or("the host"), run.owner)
    /// # }
    /// ```
    #[must_use]
    pub fn run(&self) -> RunInfo {
        self.service(protocol::RUN, &(), &[])
            .ok()
            .and_then(|(head, _)| serde_json::from_slice(&head).ok())
            .unwrap_or_default()
    }

    /// Fires the minicomponent `name` of trigger `T` and returns its value; `None` when there is none of that name.
    ///
    /// # Errors
    ///
    /// When the handler fails: retryable or permanent as that one said, with its code, and with number, name and plugin in
    /// the message; a panic of it is retryable. A permanent error when it answers with something that is not `T::Output`,
    /// or when triggers are nested more than 16 deep.
    ///
    /// # Examples
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// fn greet(cx: &Context, guest: &Arguments) -> Result<String, PluginError> {
    ///     match cx.trigger::<PublicTask>("hello", guest)? {
    ///         Some(reply) => Ok(reply.text),
    ///         None => Ok("nobody greets".to_owned()),
    ///     }
    /// }
    /// ```
    pub fn trigger<T: Trigger>(&self, name: &str, input: &T::Input) -> Result<Option<T::Output>, PluginError> {
        let reply = self.fire(T::NUMBER, Some(name), &serde_json::to_vec(input)?)?;
        match reply.values.into_iter().next() {
            None => Ok(None),
            Some(value) => read_value(T::NUMBER, value).map(Some),
        }
    }

    /// Fires all minicomponents of trigger `T`, in byte order of their names, and returns each name with its value. One
    /// that fails does not stop the others.
    ///
    /// # Errors
    ///
    /// When the input cannot be written, or the host refuses the call. What a single minicomponent fails with is in its
    /// place of the list, as [`Context::trigger`] would return it; one that is suspended is there with the code
    /// `suspended`.
    ///
    /// # Examples
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// fn greetings(cx: &Context) -> Result<Vec<String>, PluginError> {
    ///     let answers = cx.broadcast::<PublicTask>(&Arguments::default())?;
    ///     Ok(answers.into_iter().filter_map(|(_, reply)| Some(reply.ok()?.text)).collect())
    /// }
    /// ```
    #[expect(clippy::type_complexity, reason = "a list of named results reads better than a type for it")]
    pub fn broadcast<T: Trigger>(
        &self,
        input: &T::Input,
    ) -> Result<Vec<(String, Result<T::Output, PluginError>)>, PluginError> {
        let reply = self.fire(T::NUMBER, None, &serde_json::to_vec(input)?)?;
        Ok(reply.values.into_iter().map(|value| (value.name.clone(), read_value(T::NUMBER, value))).collect())
    }

    /// Returns what this plugin keeps from call to call, such as a token that is good for an hour; see [`Kept::get`] for an
    /// example.
    #[must_use]
    pub fn kept(&self) -> Kept<'_, 'a> {
        Kept { context: self }
    }

    /// Makes a deferred task: the minicomponent `name` of trigger `T` runs in the background, at least once, no earlier
    /// than `delay` from now. It is on disk when this returns. Returns the id of the task.
    ///
    /// # Errors
    ///
    /// A permanent error when the input cannot be written or is larger than 256 KiB; a retryable one when the host's store
    /// cannot take it. That nobody answers to the name is none: the task waits until a plugin does.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// fn later(cx: &Context, arguments: &Arguments) -> Result<i64, PluginError> {
    ///     cx.defer::<PublicTask>("send_report", arguments, Duration::from_secs(60 * 60))
    /// }
    /// ```
    pub fn defer<T: Trigger>(&self, name: &str, input: &T::Input, delay: Duration) -> Result<i64, PluginError> {
        self.defer_with::<T>(name, input, &DeferOptions::new().after(delay))
    }

    /// Makes a deferred task as [`Context::defer`] does, with options. With a unique key that is taken, the id is that of
    /// the task that has it. Since 1.1; a host of 1.0 gives a permanent error for every option but the delay.
    ///
    /// # Errors
    ///
    /// As [`Context::defer`], and a permanent one when an option cannot be used.
    ///
    /// # Examples
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// fn in_order(cx: &Context, guest: u64, arguments: &Arguments) -> Result<i64, PluginError> {
    ///     let options = DeferOptions::new().key(format!("guest:{guest}")).ordered();
    ///     cx.defer_with::<PublicTask>("send_letter", arguments, &options)
    /// }
    /// ```
    pub fn defer_with<T: Trigger>(
        &self,
        name: &str,
        input: &T::Input,
        options: &DeferOptions,
    ) -> Result<i64, PluginError> {
        let (delay_ms, options) = (options.delay_ms, options.clone());
        let plain = options == DeferOptions { delay_ms, ..DeferOptions::default() };
        let head = DeferHead { number: T::NUMBER.get(), name: name.into(), delay_ms, options };
        let service = if plain { protocol::DEFER } else { protocol::DEFER_WITH };
        let (reply, _) = self.service(service, &head, &serde_json::to_vec(input)?)?;
        Ok(serde_json::from_slice(&reply)?)
    }

    /// Announces an event to the webhooks of the run's owner and of the whole site. It is committed when the run ends; in
    /// a deferred task, when its handler has succeeded. Returns the id of the event.
    ///
    /// # Errors
    ///
    /// A permanent error when the name cannot be used, the data is no JSON object or larger than 256 KiB, or when too many
    /// events have caused one another (three is the limit).
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    /// use switchboard_plugin_api::serde_json::json;
    ///
    /// fn tell(cx: &Context) -> Result<String, PluginError> {
    ///     cx.announce("tariffs_updated", &json!({ "property_uid": 7 }))
    /// }
    /// ```
    pub fn announce(&self, event: &str, data: &impl Serialize) -> Result<String, PluginError> {
        let head = AnnounceHead { event: event.into(), owner: None };
        let (reply, _) = self.service(protocol::ANNOUNCE, &head, &serde_json::to_vec(data)?)?;
        Ok(serde_json::from_slice(&reply)?)
    }

    /// Returns a setting as a value of another type, such as a number; `None` when it is not set or empty.
    ///
    /// # Errors
    ///
    /// A permanent error that names the setting when its text cannot be read.
    ///
    /// ```
    /// # fn limit(cx: &switchboard_plugin_api::Context) -> Result<u32, switchboard_plugin_api::PluginError> {
    /// Ok(cx.parsed_setting::<u32>("limit")?.unwrap_or(10))
    /// # }
    /// ```
    pub fn parsed_setting<V: core::str::FromStr>(&self, key: &str) -> Result<Option<V>, PluginError> {
        let Some(text) = self.setting(key).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            PluginError::permanent(format!("the setting `{key}` cannot be read: correct it and try again"))
                .with_code("bad_settings")
        })
    }

    fn fire(&self, number: TriggerNumber, name: Option<&str>, input: &[u8]) -> Result<TriggerReply, PluginError> {
        let head = TriggerHead { number: number.get(), name: name.map(Into::into) };
        let (reply, _) = self.service(protocol::TRIGGER, &head, input)?;
        Ok(serde_json::from_slice(&reply)?)
    }

    fn service(&self, name: &str, head: &impl Serialize, body: &[u8]) -> Result<(Vec<u8>, Vec<u8>), PluginError> {
        self.host.service(name, &serde_json::to_vec(head)?, body)
    }

    pub(crate) fn host(&self) -> &HostCall<'a> {
        &self.host
    }
}

fn sleep_head(time: Duration) -> Result<Vec<u8>, PluginError> {
    // Rounded up: a wait is never shorter than it was asked for.
    let time_ms = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Ok(serde_json::to_vec(&SleepHead { time_ms })?)
}

fn read_value<O: DeserializeOwned>(number: TriggerNumber, value: TriggerValue) -> Result<O, PluginError> {
    if let Some(error) = value.error {
        let of_plugin = match value.plugin.as_str() {
            "" => String::new(),
            plugin => format!(" of plugin `{plugin}`"),
        };
        let message = format!("{number} `{}`{of_plugin}: {error}", value.name);
        let mut error = if value.permanent { PluginError::permanent(message) } else { PluginError::retryable(message) };
        if let Some(code) = value.code {
            error = error.with_code(code);
        }
        if let Some(wait) = value.retry_after_ms {
            error = error.with_retry_after(Duration::from_millis(wait));
        }
        return Err(error);
    }
    let json = value.value.as_ref().map_or("null", |value| value.get());
    serde_json::from_str(json).map_err(|error| {
        PluginError::permanent(format!("the value of {number} `{}` is of another type: {error}", value.name))
    })
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("time_left", &self.time_left()).finish_non_exhaustive()
    }
}

/// What a plugin keeps from call to call, on disk. Other plugins do not see it.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'c, 'a> {
    context: &'c Context<'a>,
}

impl Kept<'_, '_> {
    /// Returns the value under `key`; `None` when there is none or it has expired.
    ///
    /// # Errors
    ///
    /// A permanent error when the value is not a `V`; a retryable one when the host's store cannot be read.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// fn token(cx: &Context) -> Result<String, PluginError> {
    ///     if let Some(token) = cx.kept().get("token")? {
    ///         return Ok(token);
    ///     }
    ///     let token = "fetched".to_owned();
    ///     cx.kept().set_for("token", &token, Duration::from_secs(3540))?;
    ///     Ok(token)
    /// }
    /// ```
    pub fn get<V: DeserializeOwned>(&self, key: &str) -> Result<Option<V>, PluginError> {
        let (found, value) = self.context.service(protocol::KEPT_GET, &KeyHead { key: key.into() }, &[])?;
        if &found[..] != b"true" {
            return Ok(None);
        }
        serde_json::from_slice(&value)
            .map(Some)
            .map_err(|error| PluginError::permanent(format!("the kept value `{key}` is of another type: {error}")))
    }

    /// Keeps a value until it is set anew or removed. It is on disk when this returns.
    ///
    /// # Errors
    ///
    /// A permanent error when the key is longer than 200 bytes or the value larger than 64 KiB; a retryable one when the
    /// host's store cannot take it.
    ///
    /// # Examples
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// fn remember(cx: &Context, last: u64) -> Result<(), PluginError> {
    ///     cx.kept().set("last_invoice", &last)
    /// }
    /// ```
    pub fn set(&self, key: &str, value: &impl Serialize) -> Result<(), PluginError> {
        self.keep(key, None, &serde_json::to_vec(value)?)
    }

    /// Keeps a value for a time, in whole milliseconds; see [`Kept::set`], and [`Kept::get`] for an example.
    ///
    /// # Errors
    ///
    /// As [`Kept::set`].
    pub fn set_for(&self, key: &str, value: &impl Serialize, time: Duration) -> Result<(), PluginError> {
        self.keep(key, Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)), &serde_json::to_vec(value)?)
    }

    /// Removes the value under `key`, if there is one.
    ///
    /// # Errors
    ///
    /// A retryable error when the host's store cannot be written.
    ///
    /// # Examples
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// async fn fetch(cx: &Context<'_>, token: String) -> Result<String, PluginError> {
    ///     let response = cx.http().get("https://example.com/").bearer_auth(&token).send().await?;
    ///     if response.status() == 401 {
    ///         cx.kept().remove("token")?; // the next attempt fetches a new one
    ///     }
    ///     Ok(response.successful()?.text().into_owned())
    /// }
    /// ```
    pub fn remove(&self, key: &str) -> Result<(), PluginError> {
        self.keep(key, None, &[])
    }

    fn keep(&self, key: &str, expires_ms: Option<u64>, value: &[u8]) -> Result<(), PluginError> {
        self.context.service(protocol::KEPT_SET, &KeepHead { key: key.into(), expires_ms }, value).map(drop)
    }
}

/// Values of one run, shared by its minicomponents and gone after it. All plugins see the same keys: put the plugin's id
/// in front of those that are nobody else's.
#[derive(Clone, Copy, Debug)]
pub struct Showtime<'c, 'a> {
    context: &'c Context<'a>,
}

impl Showtime<'_, '_> {
    /// Returns the value under `key`, or `None` when nobody has set it in this run.
    ///
    /// # Errors
    ///
    /// A permanent error when the value is not a `V`.
    ///
    /// # Examples
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// fn guest(cx: &Context) -> Result<Option<String>, PluginError> {
    ///     cx.showtime().get("guest")
    /// }
    /// ```
    pub fn get<V: DeserializeOwned>(&self, key: &str) -> Result<Option<V>, PluginError> {
        let (found, value) = self.context.service(protocol::SHOWTIME_GET, &KeyHead { key: key.into() }, &[])?;
        if &found[..] != b"true" {
            return Ok(None);
        }
        serde_json::from_slice(&value)
            .map(Some)
            .map_err(|error| PluginError::permanent(format!("the showtime value `{key}` is of another type: {error}")))
    }

    /// Sets the value under `key` for the rest of this run.
    ///
    /// # Errors
    ///
    /// A permanent error when the value cannot be written as JSON.
    ///
    /// # Examples
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// fn welcome(cx: &Context, guest: &str) -> Result<(), PluginError> {
    ///     cx.showtime().set("guest", &guest)
    /// }
    /// ```
    pub fn set(&self, key: &str, value: &impl Serialize) -> Result<(), PluginError> {
        let value = serde_json::to_vec(value)?;
        self.context.service(protocol::SHOWTIME_SET, &KeyHead { key: key.into() }, &value).map(drop)
    }
}
