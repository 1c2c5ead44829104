//! The host, from inside a handler.

use core::fmt;
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::HostCall;
use crate::http::Http;
use crate::protocol::{self, KeyHead, RunInfo, TextHead, TriggerHead, TriggerReply, TriggerValue};
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
        let message = format!("{number} `{}`: {error}", value.name);
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
