//! Webhooks.

use std::collections::BTreeMap;
use std::fmt;

use super::{OwnerId, Timestamp, WebhookId};

/// A webhook that is to be added.
#[derive(Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Owner whose events it gets; 0 gets everybody's.
    pub owner: OwnerId,
    /// URL of the receiver.
    pub url: String,
    /// Auth method.
    pub method: String,
    /// Settings of the auth method. They may be secrets.
    pub settings: BTreeMap<String, String>,
    /// Names of the events that it gets; all when empty.
    pub events: Vec<String>,
}

/// A webhook as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Owner whose events it gets; 0 gets everybody's.
    pub owner: OwnerId,
    /// URL of the receiver.
    pub url: String,
    /// Auth method.
    pub method: String,
    /// Settings of the auth method. They may be secrets.
    pub settings: BTreeMap<String, String>,
    /// Names of the events that it gets; all when empty.
    pub events: Vec<String>,
    /// Whether it gets events.
    pub enabled: bool,
    /// Why it is disabled, when the host did it.
    pub disabled_reason: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl fmt::Debug for Webhook {
    /// Without the settings, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("id", &self.id)
            .field("owner", &self.owner)
            .field("url", &self.url)
            .field("method", &self.method)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NewWebhook {
    /// Without the settings, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWebhook")
            .field("owner", &self.owner)
            .field("url", &self.url)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}
