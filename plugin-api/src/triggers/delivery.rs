use serde::{Deserialize, Serialize};

use super::Trigger;
use crate::TriggerNumber;

/// 07310: delivers an event now, while the caller waits. A slow receiver slows the caller, so prefer
/// [`DeferredDelivery`].
pub struct ImmediateDelivery;

impl Trigger for ImmediateDelivery {
    const NUMBER: TriggerNumber = TriggerNumber::new(7_310);
    type Input = Delivery;
    type Output = Delivered;
}

/// 07320: delivers an event as a deferred task, in the background, where the user who caused it neither waits for it
/// nor can stop it.
pub struct DeferredDelivery;

impl Trigger for DeferredDelivery {
    const NUMBER: TriggerNumber = TriggerNumber::new(7_320);
    type Input = Delivery;
    type Output = Delivered;
}

/// Input of [`ImmediateDelivery`] and [`DeferredDelivery`]: one event for one webhook.
///
/// The webhook's settings are read with [`Context::setting`](crate::Context::setting); they are as they stand at the
/// time of sending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Delivery {
    /// Id of the event, the same for every attempt, replay and webhook. Receivers drop duplicates by it.
    pub event_id: String,
    /// Name of the event, such as `booking_added`.
    pub event: String,
    /// Owner whose event it is; 0 is the whole site.
    #[serde(default)]
    pub owner: i64,
    /// Task of the host that caused the event, when it has a name.
    #[serde(default)]
    pub task: Option<String>,
    /// Id of the webhook.
    pub webhook: i64,
    /// URL of the webhook, or the name that an administrator gave in its place.
    pub url: String,
    /// The exact bytes to send: JSON text, built once when the event was announced.
    pub body: String,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Why this attempt is made.
    #[serde(default)]
    pub mode: DeliveryMode,
    /// Id of the deferred task whose handler announced the event, when one did. Since 1.1; `None` from an older host.
    #[serde(default)]
    pub cause: Option<i64>,
    /// When the event was announced, in milliseconds since the Unix epoch. Since 1.1; `None` from an older host.
    #[serde(default)]
    pub queued_at_ms: Option<i64>,
    /// Channel that the change came from, when it came from one: it knows already. Since 1.1; `None` from an older host.
    #[serde(default)]
    pub channel: Option<String>,
}

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeliveryMode {
    /// By the deferred engine.
    #[default]
    Deferred,
    /// In the caller's time.
    Immediate,
    /// A mode that this version does not know.
    #[serde(other)]
    Other,
}

/// Output of [`ImmediateDelivery`] and [`DeferredDelivery`]: the receiver has the event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Delivered {
    /// Status that the receiver answered with, when it speaks HTTP.
    #[serde(default)]
    pub status: Option<u16>,
    /// A sentence for the log.
    #[serde(default)]
    pub note: Option<String>,
}

impl Delivered {
    /// Returns a delivery that the receiver acknowledged with an HTTP status.
    #[must_use]
    pub fn with_status(status: u16) -> Self {
        Self { status: Some(status), note: None }
    }

    /// Returns a delivery that ended well without HTTP, or with nothing to send; `note` says what was done.
    #[must_use]
    pub fn without_http(note: impl Into<String>) -> Self {
        Self { status: None, note: Some(note.into()) }
    }
}
