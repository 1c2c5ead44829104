//! Reads the text in three steps, each with better words than the next: TOML, keys, values.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use log::LevelFilter;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor, value};
use serde::forward_to_deserialize_any;
use serde::{Deserialize, Serializer};
use switchboard_plugin_api::TriggerNumber;
use toml::de::{DeTable, DeValue};
use unic_langid::LanguageIdentifier;

use super::{
    Config, ConfigError, DeferredConfig, EgressConfig, HttpConfig, HumanDuration, LanguagesConfig, LoadingConfig,
    LogConfig, RetentionConfig, StoreConfig, WebhooksConfig, duration,
};

const MAX_SCHEDULE: usize = 20;
const MAX_SCHEDULE_SUM: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Longest time for which something that has ended is kept.
const MAX_AGE: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Longest time for which an idempotency key is kept.
const MAX_KEY_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Reads `text` of the file `path`.
pub(super) fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let source = Source { text, path };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: source.line(error.span()),
        reason: error.message().to_owned(),
    })?;
    source.check_keys(table.get_ref())?;
    let config: Config = toml::from_str(text).map_err(|error| {
        let key = source.key_at(table.get_ref(), error.span());
        ConfigError::Value {
            path: path.to_owned(),
            line: source.line(error.span()),
            key,
            reason: format!("has a wrong value: {}", error.message().trim_end()),
        }
    })?;
    source.check_ranges(table.get_ref(), &config)?;
    Ok(config)
}

/// Reads a level by the name `log` gives it, in any case.
pub(super) fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LevelFilter>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|_| {
        D::Error::custom(format_args!(
            "`{text}` is not a level, use one of `off`, `error`, `warn`, `info`, `debug`, `trace`"
        ))
    })
}

/// Reads a list of networks; a single address is the network that holds only it.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let list = Vec::<String>::deserialize(deserializer)?;
    list.iter()
        .map(|text| {
            let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| {
                D::Error::custom(format_args!("`{text}` is not a network, write for example `10.20.0.0/16`"))
            })
        })
        .collect()
}

/// Writes a level as it is read.
pub(super) fn write_level<S: Serializer>(level: &Option<LevelFilter>, serializer: S) -> Result<S::Ok, S::Error> {
    match level {
        Some(level) => serializer.serialize_str(&level.as_str().to_ascii_lowercase()),
        None => serializer.serialize_none(),
    }
}

/// Writes networks as they are read.
pub(super) fn write_networks<S: Serializer>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(networks.iter().map(ToString::to_string))
}

/// Writes the schedules of trigger numbers as they are read.
pub(super) fn write_schedules<S: Serializer>(
    schedules: &BTreeMap<TriggerNumber, Vec<Duration>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let shown = |delays: &Vec<Duration>| -> Vec<String> {
        delays.iter().map(|delay| HumanDuration(*delay).to_string()).collect()
    };
    serializer.collect_map(schedules.iter().map(|(number, delays)| (number.to_string(), shown(delays))))
}

/// Reads the schedules of trigger numbers.
pub(super) fn schedules<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<TriggerNumber, Vec<Duration>>, D::Error> {
    let schedules = BTreeMap::<String, Schedule>::deserialize(deserializer)?;
    let number = |text: &str| text.parse::<TriggerNumber>().map_err(D::Error::custom);
    schedules.into_iter().map(|(text, Schedule(delays))| Ok((number(&text)?, delays))).collect()
}

#[derive(Deserialize)]
struct Schedule(#[serde(deserialize_with = "duration::list")] Vec<Duration>);

struct Source<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Source<'_> {
    /// Returns the line, counted from 1, in which `span` starts.
    fn line(&self, span: Option<Range<usize>>) -> usize {
        let start = span.map_or(0, |span| span.start).min(self.text.len());
        1 + self.text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count()
    }

    fn check_keys(&self, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (section, value) in table {
            let name: &str = section.get_ref();
            if name == PLUGINS {
                continue;
            }
            let Some(keys) = keys_of_section(name) else {
                return Err(self.unknown(name.to_owned(), section.span(), "", name));
            };
            let Some(values) = value.get_ref().as_table() else {
                continue;
            };
            for key in values.keys() {
                let key_name: &str = key.get_ref();
                if !keys.contains(&key_name) {
                    let full = format!("{name}.{key_name}");
                    return Err(self.unknown(full, key.span(), name, key_name));
                }
            }
        }
        Ok(())
    }

    fn unknown(&self, key: String, span: Range<usize>, section: &str, name: &str) -> ConfigError {
        ConfigError::UnknownKey {
            path: self.path.to_owned(),
            line: self.line(Some(span)),
            key,
            suggestion: suggestion(section, name),
        }
    }

    /// Returns the full name of the key whose value contains `span`.
    fn key_at(&self, table: &DeTable<'_>, span: Option<Range<usize>>) -> String {
        span.and_then(|span| key_in(table, &span)).unwrap_or_else(|| FALLBACK_KEY.to_owned())
    }

    fn check_ranges(&self, table: &DeTable<'_>, config: &Config) -> Result<(), ConfigError> {
        let egress = &config.egress;
        let deferred = &config.deferred;
        let seconds = Duration::from_secs;
        let phase = Duration::from_millis(100)..=seconds(60);
        let schedules = deferred.schedules.values().find_map(|delays| schedule_problem(delays));
        let problems = [
            ("egress.allow_hosts", egress.host_problem()),
            ("egress.proxy", egress.proxy_problem()),
            ("egress.dns_timeout", outside_time(egress.dns_timeout, phase.clone())),
            ("egress.connect_timeout", outside_time(egress.connect_timeout, phase.clone())),
            ("egress.tls_timeout", outside_time(egress.tls_timeout, phase.clone())),
            ("egress.first_byte_timeout", outside_time(egress.first_byte_timeout, phase)),
            ("egress.response_limit_bytes", outside(egress.response_limit_bytes, 0..=16 * 1024 * 1024)),
            ("http.hosts", config.http.host_problem()),
            (
                if config.http.tls_key.is_some() { "http.tls_key" } else { "http.tls_certificate" },
                config.http.tls_problem(),
            ),
            ("http.api_calls_per_second", outside(config.http.api_calls_per_second.get(), 1..=1_000_000)),
            ("store.url", foreign_url(config.store.url.as_deref())),
            ("deferred.threads", outside(deferred.threads, 1..=256)),
            ("deferred.concurrency", outside(deferred.concurrency, 1..=65_536)),
            ("deferred.per_webhook", outside(deferred.per_webhook, 1..=65_536)),
            ("deferred.per_host", outside(deferred.per_host, 1..=65_536)),
            ("deferred.per_plugin", outside(deferred.per_plugin, 1..=65_536)),
            ("deferred.window", outside(deferred.window, 64..=1_000_000)),
            ("deferred.schedule", schedule_problem(&deferred.schedule)),
            ("deferred.schedules", schedules),
            ("deferred.timeout", outside_time(deferred.timeout, seconds(1)..=seconds(60))),
            ("deferred.immediate_timeout", outside_time(deferred.immediate_timeout, seconds(1)..=seconds(10))),
            ("deferred.grace", outside_time(deferred.grace, seconds(0)..=seconds(600))),
            (
                "webhooks.disable_after",
                outside_time(config.webhooks.disable_after, seconds(12 * 60 * 60)..=seconds(365 * 24 * 60 * 60)),
            ),
            ("webhooks.disable_after_attempts", outside(config.webhooks.disable_after_attempts, 1..=1_000_000)),
            ("retention.done", outside_time(config.retention.done, seconds(60)..=MAX_AGE)),
            ("retention.dead", outside_time(config.retention.dead, seconds(60)..=MAX_AGE)),
            ("retention.idempotency_keys", outside_time(config.retention.idempotency_keys, seconds(60)..=MAX_KEY_AGE)),
            ("retention.attempts", outside_time(config.retention.attempts, seconds(60)..=MAX_AGE)),
            ("retention.max_attempt_bytes", outside(config.retention.max_attempt_bytes, 1 << 20..=1 << 40)),
            ("retention.max_tasks", outside(config.retention.max_tasks, 0..=100_000_000)),
            ("loading.timeout", outside_time(config.loading.timeout, seconds(1)..=seconds(600))),
            (
                "log.rotate_bytes",
                (config.log.rotate_bytes > 0).then(|| outside(config.log.rotate_bytes, 65_536..=1 << 40)).flatten(),
            ),
            ("log.rotate_age", outside_time(config.log.rotate_age, seconds(3_600)..=MAX_AGE)),
            ("log.keep", outside_time(config.log.keep, seconds(3_600)..=MAX_AGE)),
            ("log.keep_files", outside(config.log.keep_files, 0..=100_000)),
            (
                "languages.default",
                config.languages.default.parse::<LanguageIdentifier>().is_err().then(|| {
                    format!("is `{}`, which is not a language code such as `en-GB`", config.languages.default)
                }),
            ),
        ];
        let Some((key, reason)) = problems.into_iter().find_map(|(key, problem)| Some((key, problem?))) else {
            return Ok(());
        };
        Err(ConfigError::Value {
            path: self.path.to_owned(),
            line: self.line(span_of(table, key)),
            key: key.to_owned(),
            reason,
        })
    }
}

/// Returns why delays cannot be a schedule.
pub(crate) fn schedule_problem(delays: &[Duration]) -> Option<String> {
    let add = |sum: Duration, delay: &Duration| sum.checked_add(*delay).filter(|sum| *sum <= MAX_SCHEDULE_SUM);
    let wrong = outside(delays.len(), 1..=MAX_SCHEDULE);
    wrong.map(|reason| format!("has a wrong number of entries, it {reason}")).or_else(|| {
        let sum = delays.iter().try_fold(Duration::ZERO, add);
        sum.is_none().then(|| "is longer than 7 days in all".to_owned())
    })
}

fn foreign_url(url: Option<&str>) -> Option<String> {
    let known = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
    // Not the value itself: it may hold a password.
    url.filter(|url| !known(url)).map(|_| "is no URL that begins with `postgres://`".to_owned())
}

/// Returns the name, inside `table`, of the innermost key whose value contains `span`.
fn key_in(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        // The place of a table with a header is its header, and what it holds stands elsewhere.
        let inside = value.get_ref().as_table().and_then(|table| key_in(table, span));
        let here = value.span().start <= span.start && span.end <= value.span().end;
        match inside {
            Some(inside) => Some(format!("{}.{inside}", key.get_ref())),
            None => here.then(|| key.get_ref().to_string()),
        }
    })
}

/// Stands for the key when an error has no place, which the parser does not do today.
const FALLBACK_KEY: &str = "(unknown)";

fn span_of(table: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    let (section, key) = key.split_once('.')?;
    let DeValue::Table(values) = table.get(section)?.get_ref() else {
        return None;
    };
    Some(values.get(key)?.span())
}

fn outside<T: PartialOrd + Display>(value: T, range: RangeInclusive<T>) -> Option<String> {
    (!range.contains(&value)).then(|| format!("is {value}, it must be {} to {}", range.start(), range.end()))
}

fn outside_time(value: Duration, range: RangeInclusive<Duration>) -> Option<String> {
    let (start, end) = range.into_inner();
    outside(HumanDuration(value), HumanDuration(start)..=HumanDuration(end))
}

/// Returns the full names of all settings, without those of plugins.
pub(super) fn all_keys() -> Vec<String> {
    let sections = keys_of::<Config>().iter();
    let of_section = |section: &&str| {
        let keys = keys_of_section(section).unwrap_or_default();
        keys.iter().map(|key| format!("{section}.{key}")).collect::<Vec<_>>()
    };
    sections.flat_map(of_section).chain(["plugins.suspend_after_panics".to_owned()]).collect()
}

/// The section whose keys are the plugins' affair.
const PLUGINS: &str = "plugins";

fn keys_of_section(section: &str) -> Option<&'static [&'static str]> {
    match section {
        "egress" => Some(keys_of::<EgressConfig>()),
        "deferred" => Some(keys_of::<DeferredConfig>()),
        "webhooks" => Some(keys_of::<WebhooksConfig>()),
        "retention" => Some(keys_of::<RetentionConfig>()),
        "loading" => Some(keys_of::<LoadingConfig>()),
        "log" => Some(keys_of::<LogConfig>()),
        "languages" => Some(keys_of::<LanguagesConfig>()),
        "http" => Some(keys_of::<HttpConfig>()),
        "store" => Some(keys_of::<StoreConfig>()),
        _ => None,
    }
}

/// Returns the existing key that `name` in `section` was probably meant to be.
fn suggestion(section: &str, name: &str) -> Option<String> {
    let sections = keys_of::<Config>();
    if section.is_empty() {
        // A setting without its section is the likelier mistake than a section's name misspelt.
        return setting_elsewhere(name).or_else(|| closest(name, sections).map(str::to_owned));
    }
    closest(name, keys_of_section(section)?).map(|key| format!("{section}.{key}")).or_else(|| setting_elsewhere(name))
}

fn setting_elsewhere(name: &str) -> Option<String> {
    keys_of::<Config>()
        .iter()
        .find(|section| keys_of_section(section).is_some_and(|keys| keys.contains(&name)))
        .map(|section| format!("{section}.{name}"))
}

fn closest<'k>(name: &str, keys: &[&'k str]) -> Option<&'k str> {
    // One slip in three letters; with more, a guess is more often wrong than right.
    let limit = 1.max(name.chars().count() / 3);
    keys.iter()
        .map(|key| (distance(name, key), *key))
        .min()
        .filter(|(distance, _)| *distance <= limit)
        .map(|(_, key)| key)
}

/// The number of letters to insert, remove or replace to come from `a` to `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Returns the names of the fields of `T` as serde knows them, so that no second list of them
/// exists that could be forgotten.
fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The deserializer below ends every attempt with an error; only the names matter.
    let _ = T::deserialize(FieldNames(&mut names));
    names
}

struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, value::Error> {
        *self.0 = fields;
        Err(value::Error::custom("only the names are wanted"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("not a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
