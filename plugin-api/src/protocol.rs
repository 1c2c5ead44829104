//! What a [`Context`](crate::Context) asks of the host, as the host sees it. Plugin authors do not need this module.
//!
//! Each service has a name, a JSON head and, where bytes are involved, a body beside it. Names and fields are only ever
//! added; a host answers an unknown name with an error that says so.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::DeferOptions;

use crate::PluginError;

/// `http`: sends a request through the host's guarded client.
pub const HTTP: &str = "http";
/// `text`: a translated text of the calling plugin.
pub const TEXT: &str = "text";
/// `setting`: a setting of the call (of the webhook in a delivery, else of the plugin). The reply's head is `true` and
/// its body the value, or `false` when it is not set.
pub const SETTING: &str = "setting";
/// `showtime_get`: a value of the run. The reply's head is `true` and its body the value's JSON, or `false` when there is
/// none.
pub const SHOWTIME_GET: &str = "showtime_get";
/// `showtime_set`: stores the body (JSON) under a key of the run.
pub const SHOWTIME_SET: &str = "showtime_set";
/// `trigger`: fires a number with the body as payload.
pub const TRIGGER: &str = "trigger";
/// `kept_get`: a value that the plugin keeps. The reply's head is `true` and its body the value's JSON, or `false`.
pub const KEPT_GET: &str = "kept_get";
/// `kept_set`: keeps the body (JSON) under a key; an empty body removes it.
pub const KEPT_SET: &str = "kept_set";
/// `defer`: makes a deferred task with the body as payload; the reply's head is its id.
pub const DEFER: &str = "defer";
/// `announce`: announces an event with the body (a JSON object) as its properties; the reply's head is its id.
pub const ANNOUNCE: &str = "announce";
/// `run`: who runs, for whom, in which language.
pub const RUN: &str = "run";
/// `defer_with`: as [`DEFER`], with more options than the delay. A service of its own, so that a host that does not know the
/// options refuses the task in place of running it otherwise than was asked for. Since 1.1.
pub const DEFER_WITH: &str = "defer_with";
/// `sleep`: answers when a time is over. Since 1.1.
pub const SLEEP: &str = "sleep";
/// `clock`: the time by the host's clock; the reply's head is in milliseconds since the Unix epoch. Since 1.1.
pub const CLOCK: &str = "clock";

/// Longest key of [`KEPT_GET`] and [`KEPT_SET`], in bytes.
pub const MAX_KEPT_KEY_BYTES: usize = 200;
/// Largest value of [`KEPT_SET`], in bytes of its JSON.
pub const MAX_KEPT_VALUE_BYTES: usize = 64 << 10;
/// Largest payload of [`DEFER`] and [`DEFER_WITH`], in bytes.
pub const MAX_DEFERRED_BYTES: usize = 256 << 10;
/// Largest body that an event of [`ANNOUNCE`] makes, in bytes.
pub const MAX_EVENT_BODY_BYTES: usize = 256 << 10;
/// Longest name of an event, in bytes.
pub const MAX_EVENT_NAME_BYTES: usize = 100;

/// Head of [`TEXT`].
#[derive(Debug, Serialize, Deserialize)]
pub struct TextHead<'a> {
    /// Key of the text.
    #[serde(borrow)]
    pub key: std::borrow::Cow<'a, str>,
    /// Arguments by name.
    #[serde(default)]
    pub arguments: Vec<(String, serde_json::Value)>,
}

/// Head of [`SETTING`], [`SHOWTIME_GET`] and [`SHOWTIME_SET`].
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyHead<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: std::borrow::Cow<'a, str>,
}

/// Head of [`TRIGGER`].
#[derive(Debug, Serialize, Deserialize)]
pub struct TriggerHead<'a> {
    /// The number.
    pub number: u32,
    /// The event name, or `None` for a broadcast.
    #[serde(borrow, default)]
    pub name: Option<std::borrow::Cow<'a, str>>,
}

/// Reply to [`TRIGGER`]: what each handler gave, in firing order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct TriggerReply {
    /// The handlers that ran.
    pub values: Vec<TriggerValue>,
}

/// What one handler gave.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct TriggerValue {
    /// The event name.
    pub name: String,
    /// Its plugin; empty from a host that does not tell.
    #[serde(default)]
    pub plugin: String,
    /// Its value as JSON, when it succeeded and gave JSON.
    #[serde(default)]
    pub value: Option<Box<RawValue>>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// Whether the failure is for good.
    #[serde(default)]
    pub permanent: bool,
    /// Outcome code of the failure.
    #[serde(default)]
    pub code: Option<String>,
    /// Wait that the failure asks for.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}

/// Head of [`KEPT_SET`].
#[derive(Debug, Serialize, Deserialize)]
pub struct KeepHead<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: std::borrow::Cow<'a, str>,
    /// After how many milliseconds the value expires; never when `None`.
    #[serde(default)]
    pub expires_ms: Option<u64>,
}

/// Head of [`DEFER`] and [`DEFER_WITH`].
#[derive(Debug, Serialize, Deserialize)]
pub struct DeferHead<'a> {
    /// The number.
    pub number: u32,
    /// The event name.
    #[serde(borrow)]
    pub name: std::borrow::Cow<'a, str>,
    /// After how many milliseconds it is due.
    #[serde(default)]
    pub delay_ms: u64,
    /// How it is run, in [`DEFER_WITH`]. Since 1.1.
    #[serde(default)]
    pub options: DeferOptions,
}

/// Head of [`ANNOUNCE`].
#[derive(Debug, Serialize, Deserialize)]
pub struct AnnounceHead<'a> {
    /// Name of the event.
    #[serde(borrow)]
    pub event: std::borrow::Cow<'a, str>,
    /// Owner whose event it is; the run's when `None`.
    #[serde(default)]
    pub owner: Option<i64>,
}

/// Head of [`SLEEP`].
#[derive(Debug, Serialize, Deserialize)]
pub struct SleepHead {
    /// The time in milliseconds.
    pub time_ms: u64,
}

/// Returns the error of a [`SLEEP`] of `time` that the deadline of its call has cut short.
#[must_use]
pub fn cut_short(time: Duration) -> PluginError {
    let message = format!("the deadline of the call came before the wait of {time:?} was over");
    PluginError::retryable(message).with_code("timeout_total")
}

/// Head of [`HTTP`]; the request's body is beside it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct HttpHead {
    /// Method, upper case.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Headers in sending order.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Wait for the whole answer in milliseconds; the call's own deadline holds as well.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Whether the answer is a secret, which the host neither logs nor stores. Since 1.1; an older host does not know.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub confidential: bool,
}

/// Reply to [`HTTP`]; the response's body is beside it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HttpReply {
    /// Status code.
    pub status: u16,
    /// Headers as received, names in lower case; a value that is not UTF-8 is shown with replacement characters.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Whether the body was cut at the host's limit.
    #[serde(default)]
    pub truncated: bool,
}

/// Reply to [`RUN`]: who runs, for whom and about what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunInfo {
    /// Language of the person who is served, such as `de-DE`.
    #[serde(default)]
    pub language: String,
    /// Task of the host, when it has a name.
    #[serde(default)]
    pub task: Option<String>,
    /// Owner for whom the run works; 0 is the whole site.
    #[serde(default)]
    pub owner: i64,
    /// Who acts, when known.
    #[serde(default)]
    pub actor: Option<String>,
    /// What the run is about, such as a property, when known.
    #[serde(default)]
    pub subject: Option<String>,
    /// Channel that the change comes from, when it comes from one. Since 1.1; `None` from an older host.
    #[serde(default)]
    pub channel: Option<String>,
}
