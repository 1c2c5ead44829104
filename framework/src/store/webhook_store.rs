//! What the store knows of webhooks, and what plugins keep.

use super::{NewWebhook, OwnerId, Receipt, StoreError, Timestamp, Webhook, WebhookId, sealed};

/// Webhooks.
pub trait WebhookStore: Send + Sync + sealed::Sealed {
    /// Adds a webhook, enabled.
    fn add_webhook(&self, webhook: NewWebhook, now: Timestamp) -> Receipt<Webhook>;
    /// Enables a webhook, or disables it with a reason. False when there is none.
    fn set_webhook_enabled(
        &self,
        id: WebhookId,
        enabled: bool,
        reason: Option<String>,
        now: Timestamp,
    ) -> Receipt<bool>;
    /// Removes a webhook; its tasks that have not ended become dead in the same commit. False when there is none.
    fn remove_webhook(&self, id: WebhookId, now: Timestamp) -> Receipt<bool>;
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
    fn webhooks_for(&self, owner: OwnerId) -> Result<Vec<Webhook>, StoreError>;
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
