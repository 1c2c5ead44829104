//! Webhooks.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::wire;
use super::{KeyPolicy, OwnerId, PluginValue, Rate, Timestamp, WebhookId};

/// A webhook that is to be added, or what an existing one becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWebhook {
    /// Owner whose events it gets; 0 gets everybody's.
    pub owner: OwnerId,
    /// What people call it; may be empty.
    pub name: String,
    /// URL of the receiver; empty where the auth method knows it by itself.
    pub url: String,
    /// Auth method.
    pub method: String,
    /// Names of the events that it gets, in which `*` stands for any characters; all when empty.
    pub events: Vec<String>,
    /// How it is delivered to.
    pub options: WebhookOptions,
    /// Settings of the auth method, values of custom headers and the client certificate.
    pub secrets: Sealed,
}

/// A webhook as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Grows with every change of what somebody has set, so that two who change it at once are told apart.
    pub version: u64,
    /// Owner whose events it gets; 0 gets everybody's.
    pub owner: OwnerId,
    /// What people call it; may be empty.
    pub name: String,
    /// URL of the receiver; empty where the auth method knows it by itself.
    pub url: String,
    /// Auth method.
    pub method: String,
    /// Names of the events that it gets, in which `*` stands for any characters; all when empty.
    pub events: Vec<String>,
    /// How it is delivered to.
    pub options: WebhookOptions,
    /// Settings of the auth method, values of custom headers and the client certificate.
    pub secrets: Sealed,
    /// Whether it gets events.
    pub enabled: bool,
    /// Why it is disabled, when the host did it.
    pub disabled_reason: Option<String>,
    /// Its failures since the last delivery that arrived; `None` when that was the last thing that happened.
    pub failing: Option<Failing>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Webhook {
    /// Returns what it is called among people: its name, else its URL.
    #[must_use]
    pub fn title(&self) -> &str {
        if self.name.is_empty() { &self.url } else { &self.name }
    }

    /// Returns the policy of the key of its deliveries: its own cap and rate, and of the one that is `stored` the pause,
    /// which is set by hand. `None` when that says nothing.
    pub(crate) fn policy(&self, stored: &KeyPolicy) -> Option<KeyPolicy> {
        let WebhookOptions { cap, rate, .. } = self.options;
        Some(KeyPolicy { cap, rate, paused: stored.paused }).filter(|policy| !policy.is_empty())
    }
}

/// Start of the key of the deliveries to a webhook; its id follows, and then, where deliveries about one subject wait for one
/// another, a colon and the subject.
pub(crate) const WEBHOOK_KEY: &str = "webhook:";

/// Returns the key of the deliveries to a webhook.
pub(crate) fn webhook_key(id: WebhookId) -> String {
    format!("{WEBHOOK_KEY}{id}")
}

/// Failures of a webhook without a success between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// When the first attempt failed.
    pub since: Timestamp,
    /// When the last one failed.
    pub last: Timestamp,
    /// How many failed.
    pub attempts: u32,
    /// Whether its owner has been warned.
    pub warned: bool,
}

/// How a webhook is delivered to. What is `None` is as the host's configuration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WebhookOptions {
    /// Whether deliveries are made at once, in the time of whoever announces, where the auth method can.
    pub immediate: bool,
    /// Whether an immediate delivery that fails becomes a deferred one, where the auth method can.
    pub then_queue: bool,
    /// The time for one deferred attempt; 1 s to 60 s.
    #[serde(rename = "timeout_ms", with = "wire::optional_ms")]
    pub timeout: Option<Duration>,
    /// The time for one immediate delivery; 1 s to 10 s.
    #[serde(rename = "immediate_timeout_ms", with = "wire::optional_ms")]
    pub immediate_timeout: Option<Duration>,
    /// The time for the lookup of the receiver's name; 1 s to 60 s, as for the phases below.
    #[serde(rename = "dns_timeout_ms", with = "wire::optional_ms")]
    pub dns_timeout: Option<Duration>,
    /// The time for the connection.
    #[serde(rename = "connect_timeout_ms", with = "wire::optional_ms")]
    pub connect_timeout: Option<Duration>,
    /// The time for the TLS handshake.
    #[serde(rename = "tls_timeout_ms", with = "wire::optional_ms")]
    pub tls_timeout: Option<Duration>,
    /// The time from the connection to the head of the answer.
    #[serde(rename = "first_byte_timeout_ms", with = "wire::optional_ms")]
    pub first_byte_timeout: Option<Duration>,
    /// Wait before each attempt, the first included; 1 to 20 entries, at most 7 days in all.
    #[serde(rename = "schedule_ms", with = "wire::optional_list_of_ms")]
    pub schedule: Option<Vec<Duration>>,
    /// How many deliveries may be under way at once.
    pub cap: Option<NonZeroU32>,
    /// How often one may start.
    pub rate: Option<Rate>,
    /// Which deliveries wait for one another.
    pub order: Order,
    /// Statuses after which a delivery is given up at once.
    pub stop_on: Vec<u16>,
    /// Certificate authorities in PEM that are trusted in place of the machine's.
    pub ca_pem: Option<String>,
    /// Whether the receiver is asked for its consent, as CloudEvents describes, before the webhook is stored.
    pub handshake: bool,
    /// What is around the event's properties in the body.
    pub envelope: Envelope,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self {
            immediate: false,
            then_queue: true,
            timeout: None,
            immediate_timeout: None,
            dns_timeout: None,
            connect_timeout: None,
            tls_timeout: None,
            first_byte_timeout: None,
            schedule: None,
            cap: None,
            rate: None,
            order: Order::None,
            stop_on: Vec::new(),
            ca_pem: None,
            handshake: false,
            envelope: Envelope::Reference,
        }
    }
}

/// Which deliveries to a webhook wait for one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// None: a delivery that fails is overtaken.
    #[default]
    None,
    /// Those to the webhook: one after the other, as they were announced.
    Webhook,
    /// Those about the same subject, such as a property.
    Subject,
}

/// What is around the properties of an event in the body that is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// `{"data":{…,"task":"booking_added"}}`.
    #[default]
    Reference,
    /// That of Standard Webhooks: `{"type":"booking.added","timestamp":"…","data":{…}}`.
    Standard,
}

/// Secrets that are sealed otherwise than they were, each with what was seen of it in the store.
#[derive(Debug, Default)]
pub struct Resealed {
    /// Secrets of webhooks.
    pub webhooks: Vec<(WebhookId, Sealed, Sealed)>,
    /// What plugins keep.
    pub plugin_values: Vec<(PluginValue, Vec<u8>)>,
}

impl Resealed {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.webhooks.is_empty() && self.plugin_values.is_empty()
    }
}

/// Secrets as they are stored: text that only the holder of the key can read. Its `Debug` shows nothing of them.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sealed(pub String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

impl<'de> Deserialize<'de> for Sealed {
    /// Also reads the settings that an export of an earlier version has in the clear; the next start seals them.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Sealed(String),
            Clear(std::collections::BTreeMap<String, String>),
        }
        match Written::deserialize(deserializer)? {
            Written::Sealed(text) => Ok(Self(text)),
            Written::Clear(settings) => serde_json::to_string(&settings).map(Self).map_err(serde::de::Error::custom),
        }
    }
}
