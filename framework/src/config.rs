//! The administrator's file `switchboard.toml`.
//!
//! [`Config::load`] reads it from the data folder. The file may be absent and may be empty; every
//! setting has a default. A setting that does not exist is an error that names file, line and key,
//! because a misspelt limit that is silently ignored is found on the day it was needed.
//!
//! ```toml
//! [egress]
//! allow = ["10.20.0.0/16"]
//!
//! [deferred]
//! timeout = "15s"
//! schedule = ["0s", "5s", "5m"]
//! ```
//!
//! Nothing is watched here and nothing is applied: who reads a new file decides what may change
//! while the host runs. A [`Switchboard`](crate::Switchboard) lets the sections `[log]` and the settings of plugins change.
//! [`Edit`] changes one setting and leaves the rest of the file as it is.

mod check;
mod duration;
mod edit;
mod egress;
mod error;
mod http;
mod origin;
mod plugins;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use log::LevelFilter;
use serde::{Deserialize, Serialize};
use switchboard_plugin_api::TriggerNumber;

pub(crate) use check::schedule_problem;
pub use duration::{DurationError, HumanDuration};
pub use edit::Edit;
pub use egress::EgressConfig;
pub use error::ConfigError;
pub use http::HttpConfig;
pub use origin::{ConfigValue, Origin};
pub use plugins::PluginsConfig;

use crate::channel_log::Rotation;

/// The name of the file inside the data folder.
pub const FILE_NAME: &str = "switchboard.toml";

/// All settings of the framework.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// What the host's HTTP client may reach.
    pub egress: EgressConfig,
    /// Where tasks, events and webhooks are stored.
    pub store: StoreConfig,
    /// How deferred tasks are run and retried.
    pub deferred: DeferredConfig,
    /// When webhooks are given up.
    pub webhooks: WebhooksConfig,
    /// How long things are kept after they have ended.
    pub retention: RetentionConfig,
    /// How plugins are loaded.
    pub loading: LoadingConfig,
    /// What is logged.
    pub log: LogConfig,
    /// Which language texts fall back to.
    pub languages: LanguagesConfig,
    /// Where `switchboard serve` serves its pages and its HTTP API.
    pub http: HttpConfig,
    /// What holds for all plugins, and the settings of each.
    pub plugins: PluginsConfig,
}

/// The section `[store]`.
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StoreConfig {
    /// URL of a PostgreSQL database, `postgres://user:password@host:port/database`, which hosts with data folders of their
    /// own can share. `?schema=` names the schema, `switchboard` by default, and `sslmode=require` asks for TLS. Without a
    /// URL, which is the default, the store is the file `switchboard.db` in the data folder.
    pub url: Option<String>,
}

impl StoreConfig {
    /// Returns a configuration with a URL.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()) }
    }
}

impl fmt::Debug for StoreConfig {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig").field("url", &self.url.as_ref().map(|_| "...")).finish()
    }
}

/// The section `[deferred]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DeferredConfig {
    /// Worker threads for synchronous minicomponents; 1 to 256, default 4.
    pub threads: usize,
    /// Asynchronous attempts in flight at once; 1 to 65536, default 512.
    pub concurrency: usize,
    /// Attempts in flight at once to one webhook; 1 to 65536, default 4.
    pub per_webhook: usize,
    /// Attempts in flight at once to one remote host; 1 to 65536, default 16.
    pub per_host: usize,
    /// Tasks in flight at once that one plugin has put off itself (`cx.defer`); 1 to 65536, default 16.
    pub per_plugin: usize,
    /// Most tasks in memory; 64 to 1000000, default 20000. The others are in the store until their turn comes.
    pub window: usize,
    /// The delays before attempt 1, 2, 3, ...; 1 to 20 entries, at most 7 days in all.
    ///
    /// Default: `0s, 5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 24h`, the example of Standard Webhooks.
    #[serde(deserialize_with = "duration::list", serialize_with = "duration::write_list")]
    pub schedule: Vec<Duration>,
    /// Schedules of trigger numbers that have one of their own, such as `"21500" = ["0s", "1m"]`. None by default.
    #[serde(deserialize_with = "check::schedules", serialize_with = "check::write_schedules")]
    pub schedules: BTreeMap<TriggerNumber, Vec<Duration>>,
    /// The time for one whole deferred attempt; `1s` to `60s`, default `15s`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub timeout: Duration,
    /// The time for one call in the caller's request; `1s` to `10s`, default `3s`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub immediate_timeout: Duration,
    /// How long a shutdown waits for running attempts; `0s` to `10m`, default `20s`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub grace: Duration,
}

impl Default for DeferredConfig {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let delays = [0, 5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self {
            threads: 4,
            concurrency: 512,
            per_webhook: 4,
            per_host: 16,
            per_plugin: 16,
            window: 20_000,
            schedule: delays.map(Duration::from_secs).to_vec(),
            schedules: BTreeMap::new(),
            timeout: Duration::from_secs(15),
            immediate_timeout: Duration::from_secs(3),
            grace: Duration::from_secs(20),
        }
    }
}

/// The section `[webhooks]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WebhooksConfig {
    /// A webhook at which nothing has arrived for so long is disabled; `12h` to `365d`, default `5d`. Its owner is warned
    /// after half of it.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub disable_after: Duration,
    /// So many attempts must have failed as well; 1 to 1000000, default 10.
    pub disable_after_attempts: u32,
    /// DNS name in which receivers are asked for their consent (CloudEvents), such as `hotel.example`. None by default.
    pub origin: Option<String>,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self { disable_after: Duration::from_secs(5 * 24 * 60 * 60), disable_after_attempts: 10, origin: None }
    }
}

/// The section `[retention]`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetentionConfig {
    /// How long done tasks and their events are kept; `1m` to `3650d`, default `7d`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub done: Duration,
    /// How long dead tasks are kept; `1m` to `3650d`, default `30d`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub dead: Duration,
    /// How long an idempotency key keeps an event from being announced a second time; `1m` to `30d`, default `1d`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub idempotency_keys: Duration,
    /// Most tasks that have ended; 0 to 100000000, default 1000000. When there are more, the first to end go. In development
    /// mode, 10000 at most, and the first go when their inputs are more than 512 MiB.
    pub max_tasks: u64,
    /// How long attempts are kept, with what was sent and what came back; `1m` to `3650d`, default `30d`. They outlive their
    /// tasks.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub attempts: Duration,
    /// Most bytes of attempts, 1 MiB to 1 TiB, default 4 GiB; 512 MiB at most in development mode. When there are more, the
    /// first go.
    pub max_attempt_bytes: u64,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        let days = |days| Duration::from_secs(days * DAY);
        Self {
            done: days(7),
            dead: days(30),
            idempotency_keys: days(1),
            max_tasks: 1_000_000,
            attempts: days(30),
            max_attempt_bytes: 4 << 30,
        }
    }
}

/// The section `[loading]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LoadingConfig {
    /// How long a plugin may take to start, and for each handler that is called meanwhile (00005, 07300); `1s` to `10m`,
    /// default `10s`. A plugin that takes longer is refused.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub timeout: Duration,
}

impl Default for LoadingConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10) }
    }
}

/// The section `[log]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LogConfig {
    /// The least severe level that is written: `off`, `error`, `warn`, `info`, `debug` or `trace`.
    /// By default `info` in production and `debug` in development. See [`LogConfig::effective_level`].
    #[serde(deserialize_with = "check::level", serialize_with = "check::write_level")]
    pub level: Option<LevelFilter>,
    /// Whether this host serves real users. Default `production`.
    pub mode: Mode,
    /// Size in bytes at which another file is begun; 0 (never) or 65536 to 1099511627776, default 67108864.
    pub rotate_bytes: u64,
    /// Age at which another file is begun; `1h` to `3650d`, default `1d`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub rotate_age: Duration,
    /// How long a file is kept after another took its place; `1h` to `3650d`, default `30d`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub keep: Duration,
    /// How many such files of a channel are kept; 0 to 100000, default 100.
    pub keep_files: usize,
}

impl LogConfig {
    /// Returns the level to log at: `level`, but nothing below INFO in production.
    ///
    /// DEBUG and TRACE may hold payloads, which do not belong into the logs of real users.
    pub fn effective_level(&self) -> LevelFilter {
        match self.mode {
            Mode::Production => self.level.unwrap_or(LevelFilter::Info).min(LevelFilter::Info),
            Mode::Development => self.level.unwrap_or(LevelFilter::Debug),
        }
    }

    /// Returns when files are rotated.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Rotation {
            bytes: self.rotate_bytes,
            age_ms: ms(self.rotate_age),
            keep_ms: ms(self.keep),
            keep_files: self.keep_files,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            level: None,
            mode: Mode::Production,
            rotate_bytes: 64 << 20,
            rotate_age: Duration::from_secs(DAY),
            keep: Duration::from_secs(30 * DAY),
            keep_files: 100,
        }
    }
}

/// What a host is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// Real users: no DEBUG lines, payloads are removed after success.
    #[default]
    Production,
    /// A developer's machine: DEBUG lines are possible, payloads of finished tasks are kept.
    Development,
}

impl Mode {
    /// Returns the name of the mode as the file has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Development => "development",
        }
    }
}

/// The section `[languages]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LanguagesConfig {
    /// The language texts fall back to, such as `en-GB`, which is the default.
    pub default: String,
}

impl Default for LanguagesConfig {
    fn default() -> Self {
        Self { default: "en-GB".to_owned() }
    }
}

impl Config {
    /// Reads `switchboard.toml` in `data_dir`; defaults when there is no such file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`] when the file exists and cannot be read, otherwise what
    /// [`Config::parse`] returns.
    pub fn load(data_dir: &Path) -> Result<Self, ConfigError> {
        let path = data_dir.join(FILE_NAME);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path, source }),
        }
    }

    /// Returns a setting of a plugin, or `None` when it is not set.
    #[must_use]
    pub fn plugin_setting(&self, plugin: &str, key: &str) -> Option<String> {
        self.plugins.settings.get(plugin)?.get(key).cloned()
    }

    /// Reads `text`; `path` is only named in errors.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Syntax`] when it is not TOML, [`ConfigError::UnknownKey`] for a setting that
    /// does not exist, [`ConfigError::Value`] for a value of the wrong kind or out of its range.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        check::parse(text, path)
    }
}

#[cfg(test)]
mod tests;
