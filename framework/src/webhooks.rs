//! Webhooks: who is told about which event, and how.
//!
//! [`Webhooks`] is what an administrator works with. An announced event is matched with the enabled webhooks of its owner
//! and of the whole site by the watcher, a built-in minicomponent of 99994 that a plugin may replace; each match becomes
//! a deferred task (07320) or, when the auth method knows no other way, an immediate delivery (07310). How a request is
//! signed or authorised is the auth method's affair, and auth methods are plugins.

mod catalogue;
mod curl;
mod deliveries;
pub(crate) mod delivery;
mod draft;
mod envelope;
pub(crate) mod event;
mod fan_out;
mod filter;
mod fingerprint;
mod handshake;
pub(crate) mod manners;
mod methods;
mod moved;
mod receiver;
mod records;
mod rotation;
mod secrets;
mod shown;
mod signers;
mod test_event;
mod validation;

pub(crate) use catalogue::with as catalogue_with;
pub use catalogue::{EventKind, event_catalogue};
pub(crate) use deliveries::with_event;
pub use deliveries::{Deliveries, DeliveryError, Preview, PreviewedRequest, Replay};
pub use draft::{WebhookDraft, WebhookProblem};
pub use event::AnnounceError;
pub(crate) use event::MAX_BODY_BYTES;
pub(crate) use fan_out::{FAN_OUT, Planned, Watcher, fan_out};
pub(crate) use fingerprint::fingerprint;
pub use methods::{Method, Problem};
pub(crate) use methods::{SecretKeys, check_form};
pub(crate) use receiver::Receiver;
pub use records::{WebhookError, Webhooks};
pub(crate) use secrets::open as open_secrets;
pub use shown::{FilledField, Form, ShownFailing, ShownWebhook};
pub(crate) use signers::key_ids;

/// Channel of everything that has to do with webhooks.
pub(crate) const CHANNEL: &str = "Webhooks";
