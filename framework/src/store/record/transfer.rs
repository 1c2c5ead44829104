//! Everything that a store holds, one record after the other, as it moves to another store.

use serde::{Deserialize, Serialize};

use super::wire;
use super::{
    Attempt, AttemptId, Bulk, BulkAction, BulkId, BulkState, Event, Failing, IdempotencyKey, KeyPolicy, OwnerId,
    Schedule, Sealed, Task, TaskFilter, TaskId, TaskTemplate, Timestamp, Webhook, WebhookId, WebhookOptions,
};

/// One record of a store.
///
/// The secrets of webhooks and plugins' values come as they are stored: sealed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// The ids that were given last, so that none is used twice. The first record.
    LastIds(LastIds),
    /// The id of the key that the secrets are sealed with.
    SealingKey(String),
    /// A webhook.
    Webhook(#[serde(with = "WebhookFields")] Webhook),
    /// An event.
    Event(Event),
    /// A task. Which host holds it is not exported.
    Task(Task),
    /// An attempt of a task, or an immediate delivery.
    Attempt(Attempt),
    /// A schedule.
    Schedule(#[serde(with = "ScheduleFields")] Schedule),
    /// A bulk operation.
    Bulk(#[serde(with = "BulkFields")] Bulk),
    /// The policy of a key.
    KeyPolicy(StoredPolicy),
    /// What a plugin keeps.
    PluginValue(PluginValue),
    /// An idempotency key.
    IdempotencyKey(IdempotencyKey),
}

/// The policy of a key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPolicy {
    /// The key.
    pub key: String,
    /// Its policy.
    pub policy: KeyPolicy,
    /// When it was set.
    pub updated_at: Timestamp,
}

/// The ids that were given last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastIds {
    /// Of tasks.
    pub task: TaskId,
    /// Of webhooks.
    pub webhook: WebhookId,
    /// Of bulk operations.
    pub bulk: BulkId,
    /// Of attempts.
    #[serde(default)]
    pub attempt: AttemptId,
}

/// What a plugin keeps under one key. It may be a secret.
#[derive(PartialEq, Serialize, Deserialize)]
pub struct PluginValue {
    /// The plugin.
    pub plugin: String,
    /// The key.
    pub key: String,
    /// The value.
    #[serde(with = "wire::bytes")]
    pub value: Vec<u8>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for PluginValue {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginValue").field("plugin", &self.plugin).field("key", &self.key).finish_non_exhaustive()
    }
}

// Here and not on the types themselves, so that nothing else can write out the secrets of a webhook, and because what
// these are in JSON elsewhere is not what has to be kept.

#[derive(Serialize, Deserialize)]
#[serde(remote = "Webhook")]
struct WebhookFields {
    id: WebhookId,
    #[serde(default)]
    version: u64,
    owner: OwnerId,
    #[serde(default)]
    name: String,
    url: String,
    method: String,
    events: Vec<String>,
    #[serde(default)]
    options: WebhookOptions,
    #[serde(alias = "settings")]
    secrets: Sealed,
    enabled: bool,
    disabled_reason: Option<String>,
    #[serde(default)]
    failing: Option<Failing>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Schedule")]
struct ScheduleFields {
    name: String,
    spec: String,
    zone: String,
    #[serde(with = "TemplateFields")]
    template: TaskTemplate,
    next_at: Timestamp,
    paused: bool,
    last_at: Option<Timestamp>,
    last_task: Option<TaskId>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TaskTemplate")]
struct TemplateFields {
    number: u32,
    name: String,
    key: String,
    priority: super::Priority,
    ordered: bool,
    #[serde(with = "wire::optional_list_of_ms")]
    schedule: Option<Vec<std::time::Duration>>,
    #[serde(with = "wire::optional_ms")]
    timeout: Option<std::time::Duration>,
    #[serde(with = "wire::optional_bytes")]
    payload: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Bulk")]
struct BulkFields {
    id: BulkId,
    action: BulkAction,
    filter: TaskFilter,
    per_second: u32,
    state: BulkState,
    total: u64,
    seen: u64,
    changed: u64,
    cursor: TaskId,
    last: TaskId,
    by: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}
