//! The webhooks of a host, as an administrator works with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use switchboard_plugin_api::{FieldProblem, PluginError};
use thiserror::Error;

use super::CHANNEL;
use super::event::is_event_name;
use super::fan_out::webhook_key;
use super::methods::{self, Method, Problem};
use super::validation;
use crate::core::Core;
use crate::egress::{Outlook, Refusal};
use crate::error::Chain;
use crate::run::{RunBuilder, TriggerError};
use crate::store::{NewWebhook, OwnerId, StoreError, Timestamp, Webhook, WebhookId};

/// A webhook to be added.
#[derive(Clone, Default)]
pub struct WebhookDraft {
    /// Owner whose events it gets; 0 is the whole site and gets everybody's.
    pub owner: i64,
    /// URL of the receiver.
    pub url: String,
    /// Id of the auth method.
    pub method: String,
    /// Settings of the auth method by key.
    pub settings: BTreeMap<String, String>,
    /// Names of the events it gets; all when empty.
    pub events: Vec<String>,
    /// Language of the person who adds it, in which the auth method says what is wrong; the host's default when `None`.
    pub language: Option<String>,
}

/// Why a webhook cannot be added or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// There is no such webhook.
    #[error("there is no webhook {id}; `switchboard webhook list` shows them")]
    Missing {
        /// The id.
        id: WebhookId,
    },
    /// The owner is negative.
    #[error("`{owner}` is no owner: 0 is the whole site, owners are positive numbers")]
    Owner {
        /// The number.
        owner: i64,
    },
    /// The URL is refused by the egress rules.
    #[error("the URL `{url}` cannot be used")]
    Url {
        /// The URL as it was given.
        url: String,
        /// The rule.
        source: Refusal,
    },
    /// Nobody offers the auth method.
    #[error(
        "there is no auth method `{method}`; there are: {known}. A method comes with its plugin: place its library into the plugin folder"
    )]
    Method {
        /// The method.
        method: String,
        /// The methods that there are.
        known: String,
    },
    /// A name in the event filter that no event can have.
    #[error("`{name}` is no event name: 1 to 100 of A-Z, a-z, 0-9, `_`, `-` and `.` are needed")]
    Event {
        /// The name.
        name: String,
    },
    /// The settings do not fit the method's form.
    #[error("the settings do not fit")]
    Settings {
        /// What is wrong with them.
        source: Problem,
    },
    /// The auth method itself has found problems.
    #[error("auth method `{method}` cannot work like this: {}", told(problems))]
    Refused {
        /// The method.
        method: String,
        /// Its problems, by field, in the language of whoever adds the webhook.
        problems: Vec<FieldProblem>,
    },
    /// The auth method could not say whether the webhook can work.
    #[error("auth method `{method}` could not check the webhook")]
    Validation {
        /// The method.
        method: String,
        /// Why.
        source: PluginError,
    },
    /// The auth methods cannot be asked.
    #[error("the auth methods cannot be asked for their forms")]
    Methods {
        /// Why.
        source: TriggerError,
    },
    /// The store failed.
    #[error("the webhook cannot be stored or read")]
    Store {
        /// Why.
        source: StoreError,
    },
}

/// The webhooks of one host.
pub struct Webhooks<'a> {
    core: &'a Arc<Core>,
}

impl<'a> Webhooks<'a> {
    pub(crate) fn new(core: &'a Arc<Core>) -> Self {
        Self { core }
    }

    /// Returns the auth methods that the loaded plugins offer, described in `language`.
    ///
    /// # Errors
    ///
    /// When the methods cannot be asked. One that fails on its own is logged and left out.
    pub fn methods(&self, language: &str) -> Result<Vec<Method>, WebhookError> {
        let run = RunBuilder::new(Arc::clone(self.core)).language(language);
        methods::all(run, &self.core.log).map_err(|source| WebhookError::Methods { source })
    }

    /// Adds a webhook, enabled.
    ///
    /// # Errors
    ///
    /// When the owner, the URL, the method or a setting cannot be used, when the auth method itself (07305) has found a
    /// problem or cannot be asked, or the store fails.
    pub fn add(&self, draft: WebhookDraft) -> Result<Webhook, WebhookError> {
        if draft.owner < 0 {
            return Err(WebhookError::Owner { owner: draft.owner });
        }
        if let Some(name) = draft.events.iter().find(|name| !is_event_name(name)) {
            return Err(WebhookError::Event { name: name.escape_debug().to_string() });
        }
        let methods = self.methods(&self.core.config.languages.default)?;
        let Some(method) = methods.iter().find(|method| method.id == draft.method) else {
            let known: Vec<_> = methods.iter().map(|method| method.id.as_str()).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(WebhookError::Method { method: draft.method, known });
        };
        let judged = self.core.egress.judge(&draft.url);
        judged.map(drop).map_err(|source| WebhookError::Url { url: draft.url.escape_debug().to_string(), source })?;
        let settings = methods::complete(method, draft.settings).map_err(|source| WebhookError::Settings { source })?;
        let language = draft.language.as_deref().unwrap_or(&self.core.config.languages.default);
        let webhook = NewWebhook {
            owner: OwnerId(draft.owner),
            url: draft.url,
            method: draft.method,
            settings,
            events: draft.events,
        };
        validation::validate(self.core, &webhook, language)?;
        let webhook = self.core.store.add_webhook(webhook, self.now()).wait().map_err(store)?;
        log::info!(logger: self.core.log, target: CHANNEL, webhook = webhook.id.to_string(), owner = webhook.owner.0,
            method = webhook.method; "webhook added");
        Ok(webhook)
    }

    /// Returns why a request to `url` would not arrive just now although the URL is accepted: its name has no address, or
    /// leads to a refused one. A warning for whoever stores it, since that can heal; each delivery judges it again.
    ///
    /// Waits for the name lookup, `egress.dns_timeout` at most.
    #[must_use]
    pub fn url_warning(&self, url: &str) -> Option<String> {
        let (egress, url) = (self.core.egress.clone(), url.to_owned());
        let outlook = self.core.runtime.wait(async move { egress.foresee(&url).await })?;
        match outlook.ok()? {
            Outlook::Clear => None,
            Outlook::Doubtful(error) => Some(Chain(&error).to_string()),
        }
    }

    /// Returns one webhook.
    ///
    /// # Errors
    ///
    /// When there is none of that id, or the store fails.
    pub fn get(&self, id: WebhookId) -> Result<Webhook, WebhookError> {
        self.core.store.webhook(id).map_err(store)?.ok_or(WebhookError::Missing { id })
    }

    /// Returns the webhooks of an owner, or all.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn list(&self, owner: Option<i64>) -> Result<Vec<Webhook>, WebhookError> {
        self.core.store.webhooks(owner.map(OwnerId)).map_err(store)
    }

    /// Enables or disables a webhook. A task that comes due while its webhook is disabled becomes a dead letter, which can
    /// be retried.
    ///
    /// # Errors
    ///
    /// When there is none of that id, or the store fails.
    pub fn set_enabled(&self, id: WebhookId, enabled: bool) -> Result<Webhook, WebhookError> {
        let found = self.core.store.set_webhook_enabled(id, enabled, None, self.now()).wait().map_err(store)?;
        if !found {
            return Err(WebhookError::Missing { id });
        }
        let state = if enabled { "webhook enabled" } else { "webhook disabled" };
        log::info!(logger: self.core.log, target: CHANNEL, webhook = id.to_string(); "{state}");
        self.get(id)
    }

    /// Removes a webhook. Its tasks that have not ended become dead letters.
    ///
    /// # Errors
    ///
    /// When there is none of that id, or the store fails.
    pub fn remove(&self, id: WebhookId) -> Result<(), WebhookError> {
        if !self.core.store.remove_webhook(id, self.now()).wait().map_err(store)? {
            return Err(WebhookError::Missing { id });
        }
        if let Some(deferred) = self.core.deferred.get() {
            deferred.changed(webhook_key(id));
        }
        log::info!(logger: self.core.log, target: CHANNEL, webhook = id.to_string(); "webhook removed");
        Ok(())
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.core.clock.now())
    }
}

/// Puts the problems of an auth method into one line.
fn told(problems: &[FieldProblem]) -> String {
    let told = problems.iter().map(|problem| {
        // A plugin may write several lines.
        let message = problem.message.split_whitespace().collect::<Vec<_>>().join(" ");
        match &problem.key {
            Some(key) => format!("`{}`: {message}", key.escape_debug()),
            None => message,
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

fn store(source: StoreError) -> WebhookError {
    WebhookError::Store { source }
}
