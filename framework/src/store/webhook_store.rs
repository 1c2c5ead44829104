//! What the store knows of webhooks, and what plugins keep.

use std::sync::Arc;

use super::{
    Acceptance, AcceptedTask, Failing, NewWebhook, OwnerId, PluginValue, Receipt, Resealed, StoreError, Timestamp,
    Webhook, WebhookId, sealed,
};

/// Webhooks.
pub trait WebhookStore: Send + Sync + sealed::Sealed {
    /// Adds a webhook, enabled. The policy of its key follows it in the same commit.
    fn add_webhook(&self, webhook: NewWebhook, now: Timestamp) -> Receipt<Webhook>;
    /// Gives a webhook other properties, and its key another policy. Whether it is enabled and its failures stay. `None`
    /// when there is none, or when it is no longer of the version that whoever changes it has `seen`.
    fn change_webhook(&self, id: WebhookId, seen: u64, webhook: NewWebhook, now: Timestamp)
    -> Receipt<Option<Webhook>>;
    /// Enables a webhook, or disables it with a reason; either way its failures are forgotten. One that is disabled keeps
    /// the reason for which it was. False when there is none, or when it is of another version than was `seen`.
    fn set_webhook_enabled(
        &self,
        id: WebhookId,
        seen: Option<u64>,
        enabled: bool,
        reason: Option<String>,
        now: Timestamp,
    ) -> Receipt<bool>;
    /// Disables a webhook that is enabled, as [`WebhookStore::set_webhook_enabled`] does, and accepts in the same commit
    /// what tells of it. `None`, and nothing is accepted, when it is disabled already or there is none: of those who do it
    /// at once, one is heard.
    fn disable_webhook(
        &self,
        id: WebhookId,
        reason: String,
        told: Acceptance,
        now: Timestamp,
    ) -> Receipt<Option<Vec<AcceptedTask>>>;
    /// Makes the tasks of a webhook dead that are ready or waiting, and returns how many that were.
    fn end_tasks_of_webhook(&self, id: WebhookId, reason: String, now: Timestamp) -> Receipt<u64>;
    /// Counts an attempt that failed, and returns the failures since the last success; `None` when there is no such
    /// webhook.
    fn webhook_failed(&self, id: WebhookId, now: Timestamp) -> Receipt<Option<Failing>>;
    /// Notes that the owner of a webhook that fails has been warned. False when that was noted before, or there is none.
    fn webhook_warned(&self, id: WebhookId) -> Receipt<bool>;
    /// Forgets the failures of a webhook.
    fn webhook_delivered(&self, id: WebhookId) -> Receipt<()>;
    /// Removes a webhook and the policy of its key; its tasks that have not ended become dead in the same commit. False
    /// when there is none, or when it is of another version than was `seen`.
    fn remove_webhook(&self, id: WebhookId, seen: Option<u64>, now: Timestamp) -> Receipt<bool>;
    /// Returns one webhook.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError>;
    /// Returns the webhooks of an owner, or all, by id.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn webhooks(&self, owner: Option<OwnerId>) -> Result<Vec<Webhook>, StoreError>;
    /// Returns the enabled webhooks that an event of `owner` concerns: the owner's and the whole site's.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn webhooks_for(&self, owner: OwnerId) -> Result<Arc<[Arc<Webhook>]>, StoreError>;
}

/// With which key secrets are sealed. The key itself is not in the store.
pub trait SealingStore: Send + Sync + sealed::Sealed {
    /// Returns the id of the key; `None` before anything has been sealed.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn sealing_key(&self) -> Result<Option<String>, StoreError>;
    /// Names another key in place of the one that was `seen`, and returns the id of the one that holds then: another
    /// host may have been first.
    fn set_sealing_key(&self, seen: Option<String>, key: String) -> Receipt<String>;
    /// Returns everything that plugins keep.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn plugin_values(&self) -> Result<Vec<PluginValue>, StoreError>;
    /// Replaces secrets by the same ones, sealed otherwise, and returns how many. Those that have changed since they were
    /// seen stay.
    fn reseal(&self, resealed: Resealed) -> Receipt<u64>;
}

/// What plugins keep.
pub trait PluginValueStore: Send + Sync + sealed::Sealed {
    /// Returns what a plugin keeps under a key, unless it has expired.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn plugin_value(&self, plugin: &str, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError>;
    /// Keeps a value for a plugin until `expires_at`, or for good; `None` removes it. Expired values of the plugin go in
    /// the same commit.
    fn set_plugin_value(
        &self,
        plugin: String,
        key: String,
        value: Option<Vec<u8>>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Receipt<()>;
}
