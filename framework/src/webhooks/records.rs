//! The webhooks of a host, as an administrator works with them.

use std::sync::Arc;
use std::time::Duration;

use switchboard_plugin_api::PluginError;
use thiserror::Error;

use super::catalogue::EventKind;
use super::draft::{self, WebhookDraft, WebhookProblem};
use super::event::AnnounceError;
use super::handshake;
use super::methods::{self, Method};
use super::receiver::Receiver;
use super::rotation;
use super::secrets::{self, WebhookSecrets};
use super::shown::{Form, ShownWebhook};
use super::{CHANNEL, validation};
use crate::core::Core;
use crate::egress::Outlook;
use crate::error::Chain;
use crate::run::{FinishError, RunBuilder, TriggerError};
use crate::store::{NewWebhook, OwnerId, StoreError, Timestamp, Webhook, WebhookId, webhook_key};
use crate::vault::VaultError;

/// Why a webhook cannot be added, changed or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// There is no such webhook.
    #[error("there is no webhook {id}; `switchboard webhook list` shows them")]
    Missing {
        /// The id.
        id: WebhookId,
    },
    /// It cannot be stored like this.
    #[error("{}", told(problems))]
    Invalid {
        /// What is wrong, by field.
        problems: Vec<WebhookProblem>,
    },
    /// Somebody else has changed it meanwhile.
    #[error("webhook {id} was changed by somebody else meanwhile: look at it and try again")]
    Changed {
        /// The id.
        id: WebhookId,
    },
    /// It has no secret that the host can make.
    #[error("auth method `{method}` has no secret that can be made here: change its settings by hand")]
    NoRotation {
        /// The method.
        method: String,
    },
    /// It has no setting of that name.
    #[error("webhook {id} has no setting `{key}`")]
    NoSetting {
        /// The id.
        id: WebhookId,
        /// The key.
        key: String,
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
    /// Its secrets cannot be opened or sealed.
    #[error("the secrets of the webhook cannot be read or sealed")]
    Secrets {
        /// Why.
        source: VaultError,
    },
    /// The test event cannot be announced.
    #[error("the test event cannot be announced")]
    Announce {
        /// Why.
        source: AnnounceError,
    },
    /// The test event cannot be accepted.
    #[error("the test event was not accepted")]
    Test {
        /// Why.
        source: Box<FinishError>,
    },
    /// The store failed.
    #[error("the webhook cannot be stored or read")]
    Store {
        /// Why.
        source: StoreError,
    },
}

/// The webhooks of one host.
///
/// ```no_run
/// use switchboard::{Switchboard, WebhookDraft};
///
/// let switchboard = Switchboard::open("switchboard-data")?;
/// let webhooks = switchboard.webhooks();
/// let added = webhooks.add(WebhookDraft {
///     name: "Booking mirror".into(),
///     owner: 62,
///     url: "https://hooks.example.com/in".into(),
///     method: "none".into(),
///     events: vec!["booking_*".into()],
///     ..WebhookDraft::default()
/// })?;
///
/// // What is not said again stays: secrets are written, and never read.
/// let mut draft = webhooks.draft(added.id)?;
/// draft.options.cap = std::num::NonZeroU32::new(2);
/// for problem in webhooks.validate(&draft, Some(added.id))? {
///     println!("{}: {}", problem.field, problem.message);
/// }
/// webhooks.change(added.id, draft)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Webhooks<'a> {
    pub(super) core: &'a Arc<Core>,
    seen: Option<u64>,
}

/// A draft that has been looked at.
struct Examined {
    secrets: WebhookSecrets,
    problems: Vec<WebhookProblem>,
}

impl<'a> Webhooks<'a> {
    pub(crate) fn new(core: &'a Arc<Core>) -> Self {
        Self { core, seen: None }
    }

    /// Lets a change, by whichever of the operations below, be made only to a webhook that is still of the `version` that
    /// somebody has seen ([`ShownWebhook::version`]); of whichever it is now when `None`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use switchboard::Switchboard;
    /// use switchboard::store::WebhookId;
    ///
    /// let switchboard = Switchboard::open("switchboard-data")?;
    /// let seen = switchboard.webhooks().get(WebhookId(3))?;
    /// // Refused with `WebhookError::Changed` when somebody has changed it meanwhile.
    /// switchboard.webhooks().if_version(Some(seen.version)).disable(seen.id, Some("moved"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn if_version(self, version: Option<u64>) -> Self {
        Self { seen: version, ..self }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        self.core
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

    /// Returns the events that are known by name: those of the reference, and those that the host application has named.
    /// Others may be announced as well.
    #[must_use]
    pub fn events(&self) -> Vec<EventKind> {
        self.core.events.clone()
    }

    /// Returns the form of an auth method in `language`, filled with what the webhook `id` has, or with the defaults. Of
    /// passwords it only says whether there is one. `None` when no plugin offers the method just now.
    ///
    /// # Errors
    ///
    /// When the methods cannot be asked, there is no such webhook, its secrets cannot be opened, or the store fails.
    pub fn form(&self, method: &str, id: Option<WebhookId>, language: &str) -> Result<Option<Form>, WebhookError> {
        let methods = self.methods(language)?;
        let Some(method) = methods.into_iter().find(|one| one.id == method) else { return Ok(None) };
        let settings = match id {
            None => None,
            Some(id) => {
                let webhook = self.get(id)?;
                Some(self.secrets(&webhook)?.settings).filter(|_| webhook.method == method.id)
            }
        };
        Ok(Some(Form::new(method, settings.as_ref())))
    }

    /// Returns what is wrong with a draft, by field: nothing when it can be stored as a new webhook, or in place of `id`.
    /// The auth method itself (07305) is asked when nothing else is wrong.
    ///
    /// # Errors
    ///
    /// When there is no webhook `id`, its secrets cannot be opened, the methods cannot be asked, or the store fails.
    pub fn validate(&self, draft: &WebhookDraft, id: Option<WebhookId>) -> Result<Vec<WebhookProblem>, WebhookError> {
        let before = id.map(|id| self.get(id)).transpose()?;
        Ok(self.examine(draft, before.as_ref())?.problems)
    }

    fn examine(&self, draft: &WebhookDraft, before: Option<&Webhook>) -> Result<Examined, WebhookError> {
        let methods = self.methods(draft.language.as_deref().unwrap_or(&self.core.config.languages.default))?;
        let method = methods.iter().find(|method| method.id == draft.method);
        let mut problems = Vec::new();
        if method.is_none() {
            let known: Vec<_> = methods.iter().map(|method| method.id.as_str()).collect();
            let known =
                if known.is_empty() { "there is none yet".into() } else { format!("there are: {}", known.join(", ")) };
            problems.push(WebhookProblem::new("method", format_args!(
                "there is no auth method `{}`; {known}. A method comes with its plugin: place its library into the plugin folder",
                draft.method.escape_debug()
            )));
        }
        let old = before.map(|webhook| Ok((webhook, self.secrets(webhook)?))).transpose()?;
        let secrets = draft::merge(draft, method, old, &mut problems);
        draft::check(draft, &secrets, &self.core.egress, &mut problems);
        if problems.is_empty() {
            problems = validation::validate(self.core, draft, &secrets.settings)?;
        }
        Ok(Examined { secrets, problems })
    }

    /// Adds a webhook, enabled.
    ///
    /// # Errors
    ///
    /// [`WebhookError::Invalid`] with everything that is wrong with the draft, [`WebhookError::Validation`] when the auth
    /// method cannot be asked; or the secrets cannot be sealed, or the store fails.
    pub fn add(&self, draft: WebhookDraft) -> Result<Webhook, WebhookError> {
        let new = self.checked(draft, None)?;
        let webhook = self.core.store.add_webhook(new, self.now()).wait().map_err(store)?;
        self.policy_changed(webhook.id);
        log::info!(logger: self.core.log, target: CHANNEL, webhook = webhook.id.to_string(), owner = webhook.owner.0,
            method = webhook.method; "webhook added");
        Ok(webhook)
    }

    /// Returns a webhook as a draft, to be changed: without its secrets, which stay as they are unless the draft has
    /// others.
    ///
    /// # Errors
    ///
    /// When there is none of that id, its secrets cannot be opened, or the store fails.
    pub fn draft(&self, id: WebhookId) -> Result<WebhookDraft, WebhookError> {
        let webhook = self.get(id)?;
        let headers = self.secrets(&webhook)?.headers.into_iter().map(|(name, _)| (name, None)).collect();
        Ok(WebhookDraft {
            name: webhook.name,
            owner: webhook.owner.0,
            url: webhook.url,
            method: webhook.method,
            events: webhook.events,
            options: webhook.options,
            headers,
            ..WebhookDraft::default()
        })
    }

    /// Gives a webhook the properties of a draft. Deliveries that wait go by the new ones.
    ///
    /// # Errors
    ///
    /// As [`Webhooks::add`]; and when there is none of that id, or somebody else changed it at the same time.
    pub fn change(&self, id: WebhookId, draft: WebhookDraft) -> Result<Webhook, WebhookError> {
        let before = self.seen(id)?;
        let new = self.checked(draft, Some(&before))?;
        self.replace(&before, new)
    }

    /// Returns a webhook that is to be changed, unless it has changed since it was seen.
    fn seen(&self, id: WebhookId) -> Result<Webhook, WebhookError> {
        let webhook = self.get(id)?;
        if self.seen.is_some_and(|seen| seen != webhook.version) {
            return Err(WebhookError::Changed { id });
        }
        Ok(webhook)
    }

    /// Returns why the store has refused a change.
    fn not_changed<V>(&self, id: WebhookId) -> Result<V, WebhookError> {
        self.get(id)?;
        Err(WebhookError::Changed { id })
    }

    fn replace(&self, before: &Webhook, new: NewWebhook) -> Result<Webhook, WebhookError> {
        let id = before.id;
        let changed = self.core.store.change_webhook(id, before.version, new, self.now());
        let Some(webhook) = changed.wait().map_err(store)? else { return self.not_changed(id) };
        self.policy_changed(id);
        log::info!(logger: self.core.log, target: CHANNEL, webhook = id.to_string(), owner = webhook.owner.0,
            method = webhook.method; "webhook changed");
        Ok(webhook)
    }

    fn checked(&self, mut draft: WebhookDraft, before: Option<&Webhook>) -> Result<NewWebhook, WebhookError> {
        let Examined { secrets, problems } = self.examine(&draft, before)?;
        if !problems.is_empty() {
            return Err(WebhookError::Invalid { problems });
        }
        if draft.options.handshake {
            let receiver = Receiver::of_draft(&draft.url, &draft.options, &secrets);
            let allowed = handshake::ask(self.core, &draft, &receiver);
            let allowed = allowed.and_then(|allowed| handshake::keepable(allowed, draft.options.order));
            let allowed = allowed.map_err(|problem| WebhookError::Invalid { problems: vec![problem] })?;
            draft.options.rate = handshake::slower(draft.options.rate, allowed);
        }
        Ok(NewWebhook {
            owner: draft::owner(&draft),
            name: draft.name,
            url: draft.url,
            method: draft.method,
            events: draft.events,
            options: draft.options,
            secrets: secrets.seal(&self.core.vault).map_err(sealing)?,
        })
    }

    /// Lets the scheduler know of the policy of a webhook's key, which followed the record in its commit.
    fn policy_changed(&self, id: WebhookId) {
        if let Some(deferred) = self.core.deferred.get() {
            deferred.policy_changed(webhook_key(id));
        }
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

    /// Returns webhooks as people and programs may see them: with marks in place of their secrets. That is every password
    /// field, the values of custom headers, and every setting of a method that no plugin describes just now.
    #[must_use]
    pub fn shown(&self, webhooks: &[Webhook]) -> Vec<ShownWebhook> {
        let methods = self.methods(&self.core.config.languages.default).unwrap_or_default();
        let show = |webhook: &Webhook| {
            let method = methods.iter().find(|method| method.id == webhook.method);
            let known = |name: &str| self.core.events.iter().any(|event| event.name == name);
            ShownWebhook::new(webhook, &secrets::open(&self.core.vault, &webhook.secrets), method, known)
        };
        webhooks.iter().map(show).collect()
    }

    /// Returns a setting of a webhook in the clear, also a secret one, and notes in the log that `by` has read it.
    ///
    /// # Errors
    ///
    /// When there is no such webhook or setting, its secrets cannot be opened, or the store fails.
    pub fn reveal(&self, id: WebhookId, key: &str, by: &str) -> Result<String, WebhookError> {
        let webhook = self.get(id)?;
        let value = self.secrets(&webhook)?.settings.remove(key);
        let value = value.ok_or_else(|| WebhookError::NoSetting { id, key: key.to_owned() })?;
        log::warn!(logger: self.core.log, target: CHANNEL, webhook = id.to_string(), setting = key, by;
            "a setting was shown in the clear");
        Ok(value)
    }

    /// Enables a webhook. Its failures are forgotten, so that it has all the time again until it is disabled by itself.
    ///
    /// # Errors
    ///
    /// When there is none of that id, it has changed since it was seen ([`Webhooks::if_version`]), or the store fails.
    pub fn enable(&self, id: WebhookId) -> Result<Webhook, WebhookError> {
        self.set_enabled(id, true, None)
    }

    /// Disables a webhook, for a `reason` that is shown; one that is disabled already keeps its first reason. A task that
    /// comes due meanwhile becomes a dead letter, which can be retried.
    ///
    /// # Errors
    ///
    /// When there is none of that id, it has changed since it was seen ([`Webhooks::if_version`]), or the store fails.
    pub fn disable(&self, id: WebhookId, reason: Option<&str>) -> Result<Webhook, WebhookError> {
        self.set_enabled(id, false, reason)
    }

    fn set_enabled(&self, id: WebhookId, enabled: bool, reason: Option<&str>) -> Result<Webhook, WebhookError> {
        let reason = reason.map(str::to_owned);
        if !self.core.store.set_webhook_enabled(id, self.seen, enabled, reason, self.now()).wait().map_err(store)? {
            return self.not_changed(id);
        }
        let state = if enabled { "webhook enabled" } else { "webhook disabled" };
        log::info!(logger: self.core.log, target: CHANNEL, webhook = id.to_string(); "{state}");
        self.get(id)
    }

    /// Removes a webhook. Its tasks that have not ended become dead letters.
    ///
    /// # Errors
    ///
    /// When there is none of that id, it has changed since it was seen ([`Webhooks::if_version`]), or the store fails.
    pub fn remove(&self, id: WebhookId) -> Result<(), WebhookError> {
        if !self.core.store.remove_webhook(id, self.seen, self.now()).wait().map_err(store)? {
            return self.not_changed(id);
        }
        let key = webhook_key(id);
        if let Some(deferred) = self.core.deferred.get() {
            deferred.policy_changed(key.clone());
            deferred.changed(key);
        }
        log::info!(logger: self.core.log, target: CHANNEL, webhook = id.to_string(); "webhook removed");
        Ok(())
    }

    /// Makes a new secret for a webhook that signs, and lets the former one sign beside it for the time `keep`, at most
    /// seven days. Returns the new secret, or the public half of a pair, which is what the receiver needs; it is not shown
    /// again.
    ///
    /// # Errors
    ///
    /// When there is none of that id, it has changed since it was seen ([`Webhooks::if_version`]), its method has no such
    /// secret, it cannot be stored, or the store fails.
    pub fn rotate_secret(&self, id: WebhookId, keep: Duration) -> Result<String, WebhookError> {
        let before = self.seen(id)?;
        let methods = self.methods(&self.core.config.languages.default)?;
        let method = methods.iter().find(|method| method.id == before.method);
        let no_rotation = || WebhookError::NoRotation { method: before.method.clone() };
        let settings = self.secrets(&before)?.settings;
        let rotated = method.and_then(|method| rotation::rotate(&method.form, &settings, self.now(), keep));
        let rotated = rotated.ok_or_else(no_rotation)?;
        let draft = WebhookDraft { settings: rotated.settings, ..self.draft(id)? };
        let new = self.checked(draft, Some(&before))?;
        self.replace(&before, new)?;
        log::info!(logger: self.core.log, target: CHANNEL, webhook = id.to_string(); "webhook has a new secret");
        Ok(rotated.told)
    }

    fn secrets(&self, webhook: &Webhook) -> Result<WebhookSecrets, WebhookError> {
        secrets::open(&self.core.vault, &webhook.secrets).map_err(sealing)
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.core.clock.now())
    }
}

/// Puts problems into one line.
fn told(problems: &[WebhookProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn store(source: StoreError) -> WebhookError {
    WebhookError::Store { source }
}

fn sealing(source: VaultError) -> WebhookError {
    WebhookError::Secrets { source }
}
