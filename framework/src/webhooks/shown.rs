//! Webhooks as people and programs may see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use switchboard_plugin_api::{FieldFormat, FormField};

use super::methods::Method;
use super::secrets::WebhookSecrets;
use crate::error::Chain;
use crate::store::{Failing, Webhook, WebhookId, WebhookOptions};
use crate::vault::VaultError;

/// What stands in the place of a secret.
const MASK: &str = "********";

/// A webhook without its secrets.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ShownWebhook {
    /// Its id.
    pub id: WebhookId,
    /// Grows with every change; see [`Webhooks::if_version`](super::Webhooks::if_version).
    pub version: u64,
    /// Owner whose events it gets; 0 gets everybody's.
    pub owner: i64,
    /// What people call it; may be empty.
    pub name: String,
    /// URL of the receiver; may be empty.
    pub url: String,
    /// Auth method.
    pub method: String,
    /// Settings of the auth method, with marks in place of secrets.
    pub settings: BTreeMap<String, String>,
    /// Names of the events that it gets, in which `*` stands for any characters; all when empty.
    pub events: Vec<String>,
    /// Those of them that no catalogue names. They are allowed, and may be mistakes.
    pub unknown_events: Vec<String>,
    /// How it is delivered to.
    pub options: WebhookOptions,
    /// Names of its custom headers.
    pub headers: Vec<String>,
    /// Whether it has a client certificate.
    pub has_identity: bool,
    /// Whether it gets events.
    pub enabled: bool,
    /// Why it is disabled, when the host did it.
    pub disabled_reason: Option<String>,
    /// Its failures since the last delivery that arrived.
    pub failing: Option<ShownFailing>,
    /// Why its secrets cannot be opened, so that nothing can be delivered to it.
    pub secrets_problem: Option<String>,
    /// When it was added.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
}

/// Failures of a webhook without a success between them.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ShownFailing {
    /// When the first attempt failed.
    pub since: String,
    /// When the last one failed.
    pub last: String,
    /// How many failed.
    pub attempts: u32,
}

impl ShownWebhook {
    pub(super) fn new(
        webhook: &Webhook,
        secrets: &Result<WebhookSecrets, VaultError>,
        method: Option<&Method>,
        known: impl Fn(&str) -> bool,
    ) -> Self {
        let none = WebhookSecrets::default();
        let (secrets, problem) = match secrets {
            Ok(secrets) => (secrets, None),
            Err(error) => (&none, Some(Chain(error).to_string())),
        };
        let shown = |key: &str| method.and_then(|method| method.field(key)).is_some_and(|field| !is_secret(field));
        let value = |key: &str, value: &str| match value {
            "" => String::new(),
            value if shown(key) => value.to_owned(),
            _ => MASK.to_owned(),
        };
        Self {
            id: webhook.id,
            version: webhook.version,
            owner: webhook.owner.0,
            name: webhook.name.clone(),
            url: webhook.url.clone(),
            method: webhook.method.clone(),
            settings: secrets.settings.iter().map(|(key, text)| (key.clone(), value(key, text))).collect(),
            events: webhook.events.clone(),
            unknown_events: webhook.events.iter().filter(|name| !name.contains('*') && !known(name)).cloned().collect(),
            options: webhook.options.clone(),
            headers: secrets.headers.iter().map(|(name, _)| name.clone()).collect(),
            has_identity: secrets.identity_pem.is_some(),
            enabled: webhook.enabled,
            disabled_reason: webhook.disabled_reason.clone(),
            failing: webhook.failing.map(|Failing { since, last, attempts, .. }| ShownFailing {
                since: since.to_string(),
                last: last.to_string(),
                attempts,
            }),
            secrets_problem: problem,
            created_at: webhook.created_at.to_string(),
            updated_at: webhook.updated_at.to_string(),
        }
    }

    /// Returns what it is called among people: its name, else its URL.
    #[must_use]
    pub fn title(&self) -> &str {
        if self.name.is_empty() { &self.url } else { &self.name }
    }
}

/// The form of an auth method, filled.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Form {
    /// Id of the method.
    pub method: String,
    /// Plugin that performs it.
    pub plugin: Arc<str>,
    /// Name of the method for people, translated.
    pub title: String,
    /// What a person should know before choosing it, translated.
    pub notes: String,
    /// Its fields, in the order in which they are shown.
    pub fields: Vec<FilledField>,
}

/// A field of a form and what is in it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FilledField {
    /// The field.
    #[serde(flatten)]
    pub field: FormField,
    /// Its value; `None` for a secret, which is written and never read.
    pub value: Option<String>,
    /// Whether it has a value: of a secret this is all that is told.
    pub is_set: bool,
}

impl Form {
    pub(super) fn new(method: Method, settings: Option<&BTreeMap<String, String>>) -> Self {
        let fill = |field: FormField| {
            let value = settings.and_then(|settings| settings.get(&field.key)).unwrap_or(&field.default).clone();
            let is_set = !value.is_empty();
            FilledField { value: (!is_secret(&field)).then_some(value), is_set, field }
        };
        Self {
            method: method.id,
            plugin: method.plugin,
            title: method.form.title,
            notes: method.form.notes,
            fields: method.form.fields.into_iter().map(fill).collect(),
        }
    }
}

fn is_secret(field: &FormField) -> bool {
    field.format == FieldFormat::Password
}
