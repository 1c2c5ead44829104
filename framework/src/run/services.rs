//! Services of a call that reach the store: kept values, deferred tasks, announced events.

use std::time::Duration;

use switchboard_plugin_api::host::ServiceAnswer;
use switchboard_plugin_api::protocol::{
    AnnounceHead, DeferHead, KeepHead, KeyHead, MAX_KEPT_KEY_BYTES, MAX_KEPT_VALUE_BYTES,
};
use switchboard_plugin_api::{PluginError, TriggerNumber};

use super::RunState;
use super::call::found;
use crate::defer::{self, DeferError, DeferOptions};
use crate::deferred::PLUGIN_KEY;
use crate::error::Chain;
use crate::store::{OwnerId, Priority, StoreError, Timestamp};
use crate::vault::VaultError;
use crate::webhooks;

fn failed(error: &StoreError) -> PluginError {
    PluginError::retryable(Chain(error).to_string()).with_code("store")
}

fn now(run: &RunState) -> Timestamp {
    Timestamp(run.core.clock.now())
}

/// A point in time after `wait_ms`.
fn after(now: Timestamp, wait_ms: u64) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX)))
}

pub(super) fn kept_get(run: &RunState, plugin: &str, head: &[u8]) -> ServiceAnswer {
    let head: KeyHead<'_> = serde_json::from_slice(head)?;
    let value = run.core.store.plugin_value(plugin, &head.key, now(run)).map_err(|error| failed(&error))?;
    let Some(value) = value else { return Ok(found(None)) };
    let sealed = String::from_utf8(value).map_err(|_| unsealed(&VaultError::Damaged))?;
    let opened = run.core.vault.open(&plugin_value_purpose(plugin, &head.key), &sealed);
    Ok(found(Some(opened.map_err(|error| unsealed(&error))?)))
}

/// For what a plugin's value is sealed: no other plugin can be given it.
pub(crate) fn plugin_value_purpose(plugin: &str, key: &str) -> String {
    format!("plugin value {plugin} {key}")
}

fn unsealed(error: &VaultError) -> PluginError {
    PluginError::retryable(Chain(error).to_string()).with_code("secrets")
}

pub(super) fn kept_set(run: &RunState, plugin: &str, head: &[u8], body: &[u8]) -> ServiceAnswer {
    let head: KeepHead<'_> = serde_json::from_slice(head)?;
    if head.key.len() > MAX_KEPT_KEY_BYTES {
        return Err(PluginError::permanent(format!("the key of a kept value has at most {MAX_KEPT_KEY_BYTES} bytes")));
    }
    if body.len() > MAX_KEPT_VALUE_BYTES {
        return Err(PluginError::permanent(format!("a kept value has at most {MAX_KEPT_VALUE_BYTES} bytes")));
    }
    let now = now(run);
    let expires_at = head.expires_ms.map(|wait_ms| after(now, wait_ms));
    let seal = || run.core.vault.seal(&plugin_value_purpose(plugin, &head.key), body);
    let value = (!body.is_empty()).then(seal).transpose().map_err(|error| unsealed(&error))?.map(String::into_bytes);
    let kept = run.core.store.set_plugin_value(plugin.to_owned(), head.key.into_owned(), value, expires_at, now);
    run.core.runtime.blocking(|| kept.wait()).map_err(|error| failed(&error))?;
    Ok((Vec::new(), Vec::new()))
}

pub(super) fn defer(run: &RunState, plugin: &str, head: &[u8], body: &[u8]) -> ServiceAnswer {
    let head: DeferHead<'_> = serde_json::from_slice(head)?;
    let number = TriggerNumber::try_from(head.number).map_err(|error| PluginError::permanent(error.to_string()))?;
    let own = |key: String| format!("{PLUGIN_KEY}{plugin}:{key}");
    let asked = head.options;
    let mut options = DeferOptions::default()
        .after(Duration::from_millis(head.delay_ms))
        .ordered(asked.ordered)
        .priority(match asked.priority {
            switchboard_plugin_api::Priority::High => Priority::High,
            switchboard_plugin_api::Priority::Low => Priority::Low,
            _ => Priority::Normal,
        })
        .key(asked.key.map_or_else(|| format!("{PLUGIN_KEY}{plugin}"), own));
    if let Some(unique) = asked.unique {
        options = options.unique(own(unique), Duration::from_millis(asked.window_ms));
    }
    if let Some(delays) = asked.schedule_ms {
        options = options.schedule(delays.into_iter().map(Duration::from_millis).collect::<Vec<_>>());
    }
    if let Some(timeout_ms) = asked.timeout_ms {
        options = options.timeout(Duration::from_millis(timeout_ms));
    }
    let deferred = run.core.runtime.blocking(|| defer::defer(&run.core, number, &head.name, body.to_vec(), options));
    let task = deferred.map_err(|error| match error {
        DeferError::Store { source } => failed(&source),
        refused => PluginError::permanent(Chain(&refused).to_string()),
    })?;
    Ok((serde_json::to_vec(&Some(task.id))?, Vec::new()))
}

pub(super) fn announce(run: &RunState, head: &[u8], body: &[u8]) -> ServiceAnswer {
    let head: AnnounceHead<'_> = serde_json::from_slice(head)?;
    let owner = head.owner.map_or(run.subject.owner, OwnerId);
    let data = std::str::from_utf8(body).map_err(|_| PluginError::permanent("the event's data is not UTF-8"))?;
    let event = webhooks::event::build(run, &head.event, data, owner)
        .map_err(|error| PluginError::permanent(Chain(&error).to_string()).with_code("bad_event"))?;
    let id = run.with_outbox(|outbox| outbox.announce(event));
    Ok((serde_json::to_vec(&id)?, Vec::new()))
}
