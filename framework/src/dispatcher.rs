//! Calls handlers: all of a number, or one of a name, each guarded.
//!
//! A handler that fails or panics is logged with number, name and plugin, and the next one still runs; one that is
//! suspended gives an error without being called. What a handler may ask while it runs is the [`run`](crate::run)'s
//! affair.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;
use switchboard_plugin_api::host::{CallHost, Payload};
use switchboard_plugin_api::{ErrorKind, HandlerKind, PluginError, TriggerNumber};

use crate::core::Core;
use crate::plugins::Generation;
use crate::registry::{Minicomponent, Target};
use crate::run::{Call, OwnedCall};
use crate::runtime::interrupted;
use crate::store::Timestamp;
use crate::suspension;

/// Channel of everything that has to do with plugins and their calls.
pub(crate) const CHANNEL: &str = "Plugins";

/// Largest value that a handler may give, in bytes. It is copied, stored or sent on.
const MAX_VALUE_BYTES: usize = 16 << 20;

/// What one handler gave.
#[derive(Debug)]
#[non_exhaustive]
pub struct HandlerValue<V = Payload> {
    /// The handler.
    pub minicomponent: Arc<Minicomponent>,
    /// Its value, or why it failed.
    pub result: Result<V, PluginError>,
}

impl<V> HandlerValue<V> {
    /// Returns the event name of the minicomponent.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.minicomponent.name
    }

    /// Returns the id of its plugin.
    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.minicomponent.plugin
    }
}

/// What handlers gave, in firing order. Most numbers have one handler, and one value needs no allocation.
pub type Values<V = Payload> = SmallVec<[HandlerValue<V>; 1]>;

/// What a broadcast gave: every handler's value, in firing order.
#[derive(Debug)]
#[non_exhaustive]
pub struct Broadcast<V = Payload> {
    /// The number that was fired.
    pub number: TriggerNumber,
    /// The handlers that ran, in order.
    pub values: Values<V>,
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
        self.values.iter().find(|value| value.name() == name)?.result.as_ref().ok()
    }
}

impl Broadcast<Payload> {
    /// Reads each value as JSON; one that is of another type counts as failed.
    pub(crate) fn typed<V: DeserializeOwned>(self) -> Broadcast<V> {
        let number = self.number;
        let values = self.values.into_iter().map(|value| HandlerValue {
            result: value.result.and_then(|payload| read_json(number, &value.minicomponent.name, &payload)),
            minicomponent: value.minicomponent,
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
///
/// Inlined with all that it does for a synchronous handler, because moving the result costs as much as the call: it is
/// written word by word and copied in pairs of words, for which a processor has to wait.
#[inline(always)]
pub(crate) fn call(call: &Call<'_>, input: &[u8]) -> Result<Payload, PluginError> {
    let minicomponent = call.minicomponent;
    if minicomponent.panics.is_suspended() {
        return Err(suspension::refusal(minicomponent));
    }
    let began = minicomponent.counts.begin();
    let result = match (&minicomponent.target, minicomponent.kind) {
        (Target::Plugin { generation, handler }, HandlerKind::Sync) => generation.running().call(*handler, call, input),
        (Target::Plugin { generation, handler }, _) => wait_for(call, generation, *handler, input),
        (Target::BuiltIn(handler), _) => handler.call(call, input),
    };
    judged(call, began, result)
}

/// Calls an asynchronous handler and waits for it.
#[inline(never)]
fn wait_for(call: &Call<'_>, generation: &Generation, handler: u32, input: &[u8]) -> Result<Payload, PluginError> {
    let future = generation.running().call_async(handler, Arc::new(call.owned()), input.to_vec());
    let waited = call.run.core.runtime.wait(within(call.time_left(), future));
    waited.unwrap_or_else(|| Err(interrupted()))
}

/// Calls one asynchronous handler; dropping the future cancels it.
pub(crate) async fn call_async(call: OwnedCall, input: Vec<u8>) -> Result<Payload, PluginError> {
    // The call is held until the handler ends, and with it the generation, so that its shutdown comes after it.
    let call = Arc::new(call);
    let minicomponent = &call.minicomponent;
    if minicomponent.panics.is_suspended() {
        return Err(suspension::refusal(minicomponent));
    }
    let began = minicomponent.counts.begin();
    let result = match (&minicomponent.target, minicomponent.kind) {
        (Target::Plugin { generation, handler }, HandlerKind::Async) => {
            let host = Arc::<OwnedCall>::clone(&call);
            within(call.time_left(), generation.running().call_async(*handler, host, input)).await
        }
        _ => Err(PluginError::permanent("a synchronous handler was called as an asynchronous one")),
    };
    judged(&call.borrowed(), began, result)
}

async fn within(
    time_left: Duration,
    future: impl Future<Output = Result<Payload, PluginError>>,
) -> Result<Payload, PluginError> {
    match tokio::time::timeout(time_left, future).await {
        Ok(result) => result,
        Err(_) => {
            let whole = Duration::from_millis(u64::try_from(time_left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
            Err(PluginError::retryable(format!("no result within {whole:?}")).with_code("timeout_total"))
        }
    }
}

/// Refuses a value that is too large, counts the call and reports a failure.
#[inline]
fn judged(
    call: &Call<'_>,
    began: Option<Instant>,
    mut result: Result<Payload, PluginError>,
) -> Result<Payload, PluginError> {
    if let Ok(value) = &result
        && value.len() > MAX_VALUE_BYTES
    {
        result = Err(too_large(value.len()));
    }
    let minicomponent = call.minicomponent;
    let failure = result.as_ref().err().filter(|error| !call.ends_preview(error));
    minicomponent.counts.end(began, failure.is_some());
    match failure {
        None => minicomponent.panics.survived(),
        Some(error) => report_failure(minicomponent, &call.run.core, error),
    }
    result
}

#[cold]
fn too_large(bytes: usize) -> PluginError {
    PluginError::permanent(format!("its value has {bytes} bytes, at most {MAX_VALUE_BYTES} are taken"))
        .with_code("bad_output")
}

#[cold]
fn report_failure(minicomponent: &Minicomponent, core: &Core, error: &PluginError) {
    let level = if error.kind() == ErrorKind::Panic { log::Level::Error } else { log::Level::Warn };
    log::log!(
        logger: core.log,
        target: CHANNEL,
        level,
        number = minicomponent.number.to_string(),
        name = minicomponent.name,
        plugin = &*minicomponent.plugin,
        error = error.to_string();
        "handler failed"
    );
    minicomponent.counts.failed(Timestamp(core.clock.now()), &error.to_string());
    core.metrics.failed(&minicomponent.plugin, error);
    suspension::judge(core, minicomponent, error);
}
