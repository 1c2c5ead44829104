//! The secrets of a webhook: the current one, and those that receivers may still have.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use switchboard_plugin_api::Context;

use crate::key::Key;

pub(crate) const SECRET: &str = "signed_secret";
pub(crate) const OLD_SECRETS: &str = "signed_old_secrets";
pub(crate) const OLD_UNTIL: &str = "signed_old_until";

/// Most old secrets. More are a sign that none is ever taken out.
const MAX_OLD: usize = 4;

/// What is wrong with a setting, as the key of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) setting: &'static str,
    pub(crate) text: &'static str,
}

/// All secrets of a webhook.
pub(crate) struct Secrets {
    current: Key,
    /// Each with the time from which on it does not sign any more.
    old: Vec<(Key, SystemTime)>,
}

impl Secrets {
    /// Reads the settings as they stand.
    pub(crate) fn read(cx: &Context<'_>) -> Result<Self, Problem> {
        let setting = |key| cx.setting(key).unwrap_or_default();
        Self::parse(&setting(SECRET), &setting(OLD_SECRETS), &setting(OLD_UNTIL))
    }

    fn parse(current: &str, old: &str, until: &str) -> Result<Self, Problem> {
        let problem = |setting| move |text| Problem { setting, text };
        let current = Key::read(current.trim()).map_err(problem(SECRET))?;
        let keys: Vec<Key> = read_all(old, Key::read).map_err(problem(OLD_SECRETS))?;
        if keys.is_empty() {
            return Ok(Self { current, old: Vec::new() });
        }
        if keys.len() > MAX_OLD {
            return Err(problem(OLD_SECRETS)("signed-too-many"));
        }
        let time = |text: &str| text.parse::<Timestamp>().map(SystemTime::from).map_err(|_| "signed-until-format");
        let mut times: Vec<SystemTime> = read_all(until, time).map_err(problem(OLD_UNTIL))?;
        if let [all] = *times.as_slice() {
            times.resize(keys.len(), all);
        }
        if times.len() != keys.len() {
            return Err(problem(OLD_UNTIL)("signed-until-count"));
        }
        Ok(Self { current, old: keys.into_iter().zip(times).collect() })
    }

    /// Returns how long after `now` the last of the old secrets still signs.
    pub(crate) fn overlap_after(&self, now: SystemTime) -> Duration {
        let ends = self.old.iter().map(|(_, until)| until.duration_since(now).unwrap_or_default());
        ends.max().unwrap_or_default()
    }

    /// Returns the value of `webhook-signature`: one entry for each secret that holds at `now`, the current one first.
    pub(crate) fn sign(&self, id: &str, timestamp: &str, body: &[u8], now: SystemTime) -> String {
        let message = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        let old = self.old.iter().filter(|(_, until)| now < *until).map(|(key, _)| key);
        let signatures: Vec<_> = std::iter::once(&self.current).chain(old).map(|key| key.sign(&message)).collect();
        signatures.join(" ")
    }
}

fn read_all<T>(list: &str, read: impl Fn(&str) -> Result<T, &'static str>) -> Result<Vec<T>, &'static str> {
    list.split_whitespace().map(read).collect()
}
