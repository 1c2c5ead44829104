//! Keys: those by which tasks take turns, and those that seal the secrets in the store.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use schemars::JsonSchema;
use serde::Serialize;
use switchboard::{KeyState, SecretKey as Stored};

use super::answer::{Answer, Failure};
use super::caller::{Administrate, Caller, Site};
use crate::web::App;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/task-keys",
            get_with(task_keys, |op| {
                op.id("listTaskKeys").tag("keys").summary("List the keys of tasks that have work, a policy or trouble")
            }),
        )
        .api_route(
            "/secret-keys",
            get_with(secret_keys, |op| {
                op.id("listSecretKeys")
                    .tag("keys")
                    .summary("List the keys that seal the secrets in the store, by their ids")
                    .description("The keys themselves never leave the host.")
            }),
        )
}

/// A key by which tasks take turns.
#[derive(Serialize, JsonSchema)]
struct TaskKey {
    /// The key, such as `webhook:12`.
    key: String,
    /// Tasks that are ready.
    ready: u64,
    /// Tasks that run.
    running: u64,
    /// Tasks that wait for their time.
    waiting: u64,
    /// Whether its tasks start: `closed` when they do, `open` when they do not because they failed, `half_open` when one is
    /// tried.
    breaker: String,
    /// Failures in a row.
    failures: u32,
    /// Until when none of its tasks starts.
    #[schemars(extend("format" = "date-time"))]
    held_until: Option<String>,
    /// How many of its tasks may run at once; the host's number when none was set.
    cap: Option<u32>,
    /// Whether none of its tasks is started.
    paused: bool,
}

impl From<KeyState> for TaskKey {
    fn from(state: KeyState) -> Self {
        // As JSON has it elsewhere.
        let breaker = serde_json::to_value(state.breaker).ok().and_then(|state| state.as_str().map(str::to_owned));
        Self {
            key: state.key,
            ready: state.queued,
            running: state.running,
            waiting: state.waiting,
            breaker: breaker.unwrap_or_default(),
            failures: state.failures,
            held_until: state.held_until.map(|at| at.to_string()),
            cap: state.policy.as_ref().and_then(|policy| policy.cap).map(Into::into),
            paused: state.policy.is_some_and(|policy| policy.paused),
        }
    }
}

/// A key that seals secrets.
#[derive(Serialize, JsonSchema)]
struct SecretKey {
    /// Its id.
    id: String,
    /// Whether this host has it.
    here: bool,
    /// Whether it seals.
    current: bool,
    /// How many webhooks have their secrets sealed with it.
    webhooks: u64,
    /// How many values of plugins are sealed with it.
    plugin_values: u64,
}

impl From<Stored> for SecretKey {
    fn from(key: Stored) -> Self {
        Self {
            id: key.id,
            here: key.here,
            current: key.current,
            webhooks: key.webhooks,
            plugin_values: key.plugin_values,
        }
    }
}

async fn task_keys(caller: Caller<Site>) -> Result<Answer<Vec<TaskKey>>, Failure> {
    caller.run(|call| Ok(call.host().tasks().keys()?.into_iter().map(TaskKey::from).collect())).await.map(Answer)
}

async fn secret_keys(caller: Caller<Administrate>) -> Result<Answer<Vec<SecretKey>>, Failure> {
    let keys = caller.run(|call| {
        let keys = call.host().keys().list().map_err(|error| Failure::unavailable(&error))?;
        Ok(keys.into_iter().map(SecretKey::from).collect())
    });
    keys.await.map(Answer)
}
