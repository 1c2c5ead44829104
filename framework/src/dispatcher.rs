//! Calls handlers: all of a number, or one of a name, each guarded.
//!
//! A handler that fails or panics is logged with number, name and plugin, and the next one still runs. What a handler
//! may ask while it runs is the [`run`](crate::run)'s affair.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use switchboard_plugin_api::host::{CallHost, Payload};
use switchboard_plugin_api::{ErrorKind, HandlerKind, PluginError, TriggerNumber};

use crate::channel_log::ChannelLog;
use crate::registry::{Minicomponent, Target};
use crate::runtime::AsyncRuntime;

/// Channel of everything that has to do with plugins and their calls.
pub(crate) const CHANNEL: &str = "Plugins";

/// What one handler gave.
#[derive(Debug)]
#[non_exhaustive]
pub struct HandlerValue<V = Payload> {
    /// Event name of the minicomponent.
    pub name: String,
    /// Id of its plugin.
    pub plugin: Arc<str>,
    /// Its value, or why it failed.
    pub result: Result<V, PluginError>,
}

/// What a broadcast gave: every handler's value, in firing order.
#[derive(Debug)]
#[non_exhaustive]
pub struct Broadcast<V = Payload> {
    /// The number that was fired.
    pub number: TriggerNumber,
    /// The handlers that ran, in order.
    pub values: Vec<HandlerValue<V>>,
}

impl<V> Broadcast<V> {
    /// Returns the value of the last handler that succeeded.
    #[must_use]
    pub fn last(&self) -> Option<&V> {
        self.values.iter().rev().find_map(|value| value.result.as_ref().ok())
    }

    /// Returns the value of the handler `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&V> {
        self.values.iter().find(|value| value.name == name)?.result.as_ref().ok()
    }
}

impl Broadcast<Payload> {
    /// Reads each value as JSON; one that is of another type counts as failed.
    pub(crate) fn typed<V: DeserializeOwned>(self) -> Broadcast<V> {
        let number = self.number;
        let values = self.values.into_iter().map(|value| HandlerValue {
            result: value.result.and_then(|payload| read_json(number, &value.name, &payload)),
            name: value.name,
            plugin: value.plugin,
        });
        Broadcast { number, values: values.collect() }
    }
}

/// Reads the value of a handler.
pub(crate) fn read_json<V: DeserializeOwned>(number: TriggerNumber, name: &str, json: &[u8]) -> Result<V, PluginError> {
    serde_json::from_slice(json).map_err(|error| {
        PluginError::permanent(format!("the value of {number} `{name}` is of another type: {error}"))
            .with_code("bad_output")
    })
}

/// Writes the input of a trigger.
pub(crate) fn write_json(number: TriggerNumber, input: &impl Serialize) -> Result<Vec<u8>, PluginError> {
    serde_json::to_vec(input)
        .map_err(|error| PluginError::permanent(format!("the input of trigger {number} cannot be written: {error}")))
}

/// Calls one handler while the caller's thread waits. An asynchronous handler runs on the host's runtime and is dropped
/// at the deadline; a synchronous one is on its honour.
pub(crate) fn call(
    minicomponent: &Minicomponent,
    runtime: &AsyncRuntime,
    log: &ChannelLog,
    host: Arc<dyn CallHost>,
    input: &[u8],
) -> Result<Payload, PluginError> {
    let result = match (&minicomponent.target, minicomponent.kind) {
        (Target::BuiltIn(handler), _) => handler.call(&*host, input),
        (Target::Plugin { generation, handler }, HandlerKind::Async) => {
            let time_left = host.time_left();
            let future = generation.running().call_async(*handler, host, input.to_vec());
            runtime
                .wait(within(time_left, future))
                .unwrap_or_else(|| Err(PluginError::retryable("the host is stopping").with_code("interrupted")))
        }
        (Target::Plugin { generation, handler }, _) => generation.running().call(*handler, &*host, input),
    };
    report(minicomponent, log, &result);
    result
}

/// Calls one asynchronous handler; dropping the future cancels it.
pub(crate) async fn call_async(
    minicomponent: &Minicomponent,
    log: &ChannelLog,
    host: Arc<dyn CallHost>,
    input: Vec<u8>,
) -> Result<Payload, PluginError> {
    let result = match (&minicomponent.target, minicomponent.kind) {
        (Target::Plugin { generation, handler }, HandlerKind::Async) => {
            // The generation is held until the call ends, so that its shutdown comes after it.
            let generation = Arc::clone(generation);
            let time_left = host.time_left();
            let result = within(time_left, generation.running().call_async(*handler, host, input)).await;
            drop(generation);
            result
        }
        _ => Err(PluginError::permanent("a synchronous handler was called as an asynchronous one")),
    };
    report(minicomponent, log, &result);
    result
}

async fn within(
    time_left: Duration,
    future: impl Future<Output = Result<Payload, PluginError>>,
) -> Result<Payload, PluginError> {
    match tokio::time::timeout(time_left, future).await {
        Ok(result) => result,
        Err(_) => Err(PluginError::retryable(format!("no result within {time_left:.0?}")).with_code("timeout_total")),
    }
}

fn report(minicomponent: &Minicomponent, log: &ChannelLog, result: &Result<Payload, PluginError>) {
    minicomponent.counts.add(result.is_err());
    let Err(error) = result else { return };
    let level = if error.kind() == ErrorKind::Panic { log::Level::Error } else { log::Level::Warn };
    log::log!(
        logger: log,
        target: CHANNEL,
        level,
        number = minicomponent.number.to_string(),
        name = minicomponent.name,
        plugin = &*minicomponent.plugin,
        error = error.to_string();
        "handler failed"
    );
}
