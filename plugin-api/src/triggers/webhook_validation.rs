use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Trigger;
use crate::TriggerNumber;

/// 07305: asks an auth method whether a webhook that somebody saves can work. Since 1.1.
///
/// Fired by name, for the method that the webhook uses, before the webhook is stored. The host's own checks have passed
/// then: the URL obeys the egress rules, and the settings fit the form of 07300. A method that has nothing to add does not
/// register it. [`Context::setting`](crate::Context::setting) reads the settings that are being saved, as in a delivery.
pub struct WebhookValidation;

impl Trigger for WebhookValidation {
    const NUMBER: TriggerNumber = TriggerNumber::new(7_305);
    type Input = ValidationRequest;
    type Output = Validation;
}

/// Input of [`WebhookValidation`]: a webhook as it would be stored.
///
/// The language of the person who saves it is [`Context::language`](crate::Context::language). Settings may be secrets:
/// they belong neither into a log nor into a problem.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ValidationRequest {
    /// URL, or the name that an administrator gave in its place.
    pub url: String,
    /// Settings by the keys of the form, completed with its defaults.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Owner whose events it gets; 0 is the whole site.
    #[serde(default)]
    pub owner: i64,
}

impl core::fmt::Debug for ValidationRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let keys: Vec<_> = self.settings.keys().collect();
        f.debug_struct("ValidationRequest").field("owner", &self.owner).field("settings", &keys).finish_non_exhaustive()
    }
}

/// Output of [`WebhookValidation`]: what keeps the webhook from working. With none it is stored.
///
/// ```
/// use switchboard_plugin_api::prelude::*;
///
/// fn validate(cx: &Context, webhook: ValidationRequest) -> Result<Validation, PluginError> {
///     let mut validation = Validation::new();
///     if !webhook.url.starts_with("https:") {
///         validation = validation.url(cx.text("needs-https"));
///     }
///     if !cx.required_setting("key")?.starts_with("sk_") {
///         validation = validation.setting("key", cx.text("no-secret-key"));
///     }
///     Ok(validation)
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Validation {
    /// The problems, in the order in which they are shown.
    #[serde(default)]
    pub problems: Vec<FieldProblem>,
}

impl Validation {
    /// Returns a validation that has found no problem.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a problem of a setting; see [`FieldProblem`].
    #[must_use]
    pub fn setting(mut self, key: impl Into<String>, message: impl Into<String>) -> Self {
        self.problems.push(FieldProblem { key: Some(key.into()), message: message.into() });
        self
    }

    /// Adds a problem of the URL, or of the webhook as a whole; see [`FieldProblem`].
    #[must_use]
    pub fn url(mut self, message: impl Into<String>) -> Self {
        self.problems.push(FieldProblem { key: None, message: message.into() });
        self
    }
}

/// What is wrong with one field of a webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FieldProblem {
    /// Key of the setting; `None` for the URL or the webhook as a whole.
    #[serde(default)]
    pub key: Option<String>,
    /// What is wrong and what to do, for the person who saves the webhook: translated, without the value itself.
    pub message: String,
}
