//! The typed triggers: which number takes what and gives what.
//!
//! A host application can define triggers of its own in a crate that it shares with its plugins. `trigger-table.md` at
//! the top of the repository lists every number that the framework fires or reserves; a test compares it with
//! [`TABLE`].

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TriggerNumber;

mod delivery;
mod language_init;
mod public_task;
mod run_end;
mod webhook_registration;
mod webhook_validation;

pub use delivery::{DeferredDelivery, Delivered, Delivery, DeliveryMode, ImmediateDelivery};
pub use language_init::{LanguageFile, LanguageFiles, LanguageInit, LanguageRequest};
pub use public_task::{Arguments, PublicTask, TaskReply};
pub use run_end::{AfterRun, Announced, EndOfRun, RunEnd};
pub use webhook_registration::{
    AuthMethod, FieldFormat, FieldOption, FormField, RegistrationRequest, Rotation, WebhookRegistration,
};
pub use webhook_validation::{FieldProblem, Validation, ValidationRequest, WebhookValidation};

/// Ties a trigger number to the types that cross the boundary under it.
///
/// Both sides see JSON, so a field that is added with a default later does not break an older plugin.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use switchboard_plugin_api::{Trigger, TriggerNumber};
///
/// #[derive(Serialize, Deserialize)]
/// pub struct Quote {
///     pub nights: u32,
///     #[serde(default)]
///     pub currency: Option<String>,
/// }
///
/// /// 21500: plugins offer a price.
/// pub struct PriceRequest;
///
/// impl Trigger for PriceRequest {
///     const NUMBER: TriggerNumber = TriggerNumber::new(21_500);
///     type Input = Quote;
///     type Output = Option<u64>;
/// }
/// ```
pub trait Trigger: 'static {
    /// The number under which the handlers are registered.
    const NUMBER: TriggerNumber;
    /// What a handler is given.
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// What a handler gives back.
    type Output: Serialize + DeserializeOwned + Send + 'static;
}

/// Who may fire a number by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AccessLevel(pub u8);

impl AccessLevel {
    /// Anybody, logged in or not.
    pub const PUBLIC: Self = Self(0);
    /// Any registered user.
    pub const REGISTERED: Self = Self(1);
    /// A receptionist.
    pub const RECEPTIONIST: Self = Self(50);
    /// A manager of a subject.
    pub const MANAGER: Self = Self(70);
    /// The administrator of the site.
    pub const ADMINISTRATOR: Self = Self(100);
}

/// One row of the trigger table.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TriggerRow {
    /// The number.
    pub number: TriggerNumber,
    /// Name of the type in this crate, or `-` for a reserved number that has none.
    pub name: &'static str,
    /// Lowest level of an actor that may fire it by name; the host itself always may.
    pub access: AccessLevel,
    /// plugin-api version that brought it.
    pub since: &'static str,
}

const fn row(number: u32, name: &'static str, access: AccessLevel) -> TriggerRow {
    TriggerRow { number: TriggerNumber::new(number), name, access, since: "1.0" }
}

impl TriggerRow {
    const fn since(mut self, version: &'static str) -> Self {
        self.since = version;
        self
    }
}

/// Every number that the framework fires or reserves, in order.
pub const TABLE: &[TriggerRow] = &[
    row(LanguageInit::NUMBER.get(), "LanguageInit", AccessLevel::ADMINISTRATOR),
    row(PublicTask::NUMBER.get(), "PublicTask", AccessLevel::PUBLIC),
    row(6_001, "-", AccessLevel::RECEPTIONIST),
    row(6_002, "-", AccessLevel::MANAGER),
    row(6_005, "-", AccessLevel::REGISTERED),
    row(WebhookRegistration::NUMBER.get(), "WebhookRegistration", AccessLevel::ADMINISTRATOR),
    row(WebhookValidation::NUMBER.get(), "WebhookValidation", AccessLevel::ADMINISTRATOR).since("1.1"),
    row(ImmediateDelivery::NUMBER.get(), "ImmediateDelivery", AccessLevel::ADMINISTRATOR),
    row(DeferredDelivery::NUMBER.get(), "DeferredDelivery", AccessLevel::ADMINISTRATOR),
    row(16_000, "-", AccessLevel::ADMINISTRATOR),
    row(AfterRun::NUMBER.get(), "AfterRun", AccessLevel::ADMINISTRATOR),
    row(EndOfRun::NUMBER.get(), "EndOfRun", AccessLevel::ADMINISTRATOR),
];

/// Returns the level that an actor needs to fire `number` by name; numbers outside the table are public.
#[must_use]
pub fn access_level(number: TriggerNumber) -> AccessLevel {
    TABLE.iter().find(|row| row.number == number).map_or(AccessLevel::PUBLIC, |row| row.access)
}
