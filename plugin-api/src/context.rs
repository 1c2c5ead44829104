//! The host, from inside a handler.

use core::fmt;
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::HostCall;
use crate::http::Http;
use crate::protocol::{
    self, AnnounceHead, DeferHead, KeepHead, KeyHead, RunInfo, TextHead, TriggerHead, TriggerReply, TriggerValue,
};
use crate::{PluginError, Trigger, TriggerNumber};

/// What one call may ask of the host. A handler gets it as its second argument; it is good for that call only.
///
/// Everything but [`RequestBuilder::send`](crate::RequestBuilder::send) answers at once, from the host's memory, and may
/// be used in asynchronous handlers as well. [`Context::trigger`] and [`Context::broadcast`] take as long as the handlers
/// that they fire.
pub struct Context<'a> {
    host: HostCall<'a>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(host: HostCall<'a>) -> Self {
        Self { host }
    }

    /// Returns the host's HTTP client. Plugins have none of their own: every request passes the host's guard.
    #[must_use]
    pub fn http(&self) -> Http<'_, 'a> {
        Http::new(self)
    }

    /// Returns this plugin's text under `key` in the language of the run, or in the nearest language that has it. A
    /// text that no language has is the key itself.
    #[must_use]
    pub fn text(&self, key: &str) -> String {
        self.text_with(key, &[])
    }

    /// Returns a text with arguments; see [`Context::text`].
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

    /// Returns the values that the minicomponents of this run share.
    #[must_use]
    pub fn showtime(&self) -> Showtime<'_, 'a> {
        Showtime { context: self }
    }

    /// Returns a setting: of the webhook in a delivery, of the plugin everywhere else. `None` when it is not set.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<String> {
        let (found, value) = self.service(protocol::SETTING, &KeyHead { key: key.into() }, &[]).ok()?;
        (&found[..] == b"true").then(|| String::from_utf8_lossy(&value).into_owned())
    }

    /// Returns a setting that the handler cannot do without.
    ///
    /// # Errors
    ///
    /// A permanent error that names the setting when it is absent or empty.
    pub fn required_setting(&self, key: &str) -> Result<String, PluginError> {
        self.setting(key).filter(|value| !value.is_empty()).ok_or_else(|| {
            PluginError::permanent(format!("the setting `{key}` is missing: fill it in and try again"))
                .with_code("bad_settings")
        })
    }

    /// Writes a record into the log of `channel`. The macros of the `log` crate do the same with
    /// `target: "Webhooks"`, and cost next to nothing when the level is off.
    pub fn log(&self, level: log::Level, channel: &str, message: &str) {
        log::log!(target: channel, level, "{message}");
    }

    /// Returns the time until the deadline of this call; zero when it has passed.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.host.time_left()
    }

    /// Returns whether the host no longer waits for this call's result.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.host.is_cancelled()
    }

    /// Returns the language of the person who is served, such as `de-DE`.
    #[must_use]
    pub fn language(&self) -> String {
        self.run().language
    }

    /// Returns who runs, for whom and about what.
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
    /// When the handler fails, or answers with something that is not `T::Output`.
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
    /// When the host refuses the call, for example because triggers are nested too deeply.
    #[expect(clippy::type_complexity, reason = "a list of named results reads better than a type for it")]
    pub fn broadcast<T: Trigger>(
        &self,
        input: &T::Input,
    ) -> Result<Vec<(String, Result<T::Output, PluginError>)>, PluginError> {
        let reply = self.fire(T::NUMBER, None, &serde_json::to_vec(input)?)?;
        Ok(reply.values.into_iter().map(|value| (value.name.clone(), read_value(T::NUMBER, value))).collect())
    }

    /// Returns what this plugin keeps from call to call, such as a token that is good for an hour.
    #[must_use]
    pub fn kept(&self) -> Kept<'_, 'a> {
        Kept { context: self }
    }

    /// Makes a deferred task: the minicomponent `name` of trigger `T` runs in the background, at least once, no earlier
    /// than `delay` from now. It is on disk when this returns. Returns the id of the task.
    ///
    /// # Errors
    ///
    /// When the input cannot be written, is larger than 256 KiB, or the host's store cannot take it (retryable).
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
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let head = DeferHead { number: T::NUMBER.get(), name: name.into(), delay_ms };
        let (reply, _) = self.service(protocol::DEFER, &head, &serde_json::to_vec(input)?)?;
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
    pub fn set(&self, key: &str, value: &impl Serialize) -> Result<(), PluginError> {
        self.keep(key, None, &serde_json::to_vec(value)?)
    }

    /// Keeps a value for a time; see [`Kept::set`].
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
    pub fn remove(&self, key: &str) -> Result<(), PluginError> {
        self.keep(key, None, &[])
    }

    fn keep(&self, key: &str, expires_ms: Option<u64>, value: &[u8]) -> Result<(), PluginError> {
        self.context.service(protocol::KEPT_SET, &KeepHead { key: key.into(), expires_ms }, value).map(drop)
    }
}

/// Values of one run, shared by its minicomponents and gone after it.
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
    /// When the value cannot be written as JSON.
    pub fn set(&self, key: &str, value: &impl Serialize) -> Result<(), PluginError> {
        let value = serde_json::to_vec(value)?;
        self.context.service(protocol::SHOWTIME_SET, &KeyHead { key: key.into() }, &value).map(drop)
    }
}
