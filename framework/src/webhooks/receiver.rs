//! What a delivery needs of its webhook at the time of sending.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::{Origin, Url};

use super::secrets::{self, WebhookSecrets};
use crate::egress::{Request, TlsOptions};
use crate::store::Webhook;
use crate::vault::{Vault, VaultError};

/// The receiver of a delivery, with its secrets in the clear.
pub(crate) struct Receiver {
    pub(crate) settings: BTreeMap<String, String>,
    url: Option<Url>,
    headers: Vec<(String, String)>,
    tls: Option<Arc<TlsOptions>>,
}

impl Receiver {
    /// Reads a webhook as it stands now.
    pub(crate) fn of(vault: &Vault, webhook: &Webhook) -> Result<Self, VaultError> {
        let secrets = secrets::open(vault, &webhook.secrets)?;
        let tls = TlsOptions { ca_pem: webhook.options.ca_pem.clone(), identity_pem: secrets.identity_pem };
        Ok(Self {
            settings: secrets.settings,
            url: Url::parse(&webhook.url).ok(),
            headers: secrets.headers,
            tls: (tls != TlsOptions::default()).then(|| Arc::new(tls)),
        })
    }

    /// The receiver of a webhook that is not stored yet.
    pub(super) fn of_draft(url: &str, ca_pem: Option<String>, secrets: &WebhookSecrets) -> Self {
        let tls = TlsOptions { ca_pem, identity_pem: secrets.identity_pem.clone() };
        Self {
            settings: BTreeMap::new(),
            url: Url::parse(url).ok(),
            headers: secrets.headers.clone(),
            tls: (tls != TlsOptions::default()).then(|| Arc::new(tls)),
        }
    }

    /// A receiver of which nothing is known but the settings that are to be tried.
    pub(crate) fn trial(settings: BTreeMap<String, String>) -> Self {
        Self { settings, url: None, headers: Vec::new(), tls: None }
    }

    /// Returns what nobody may see: the settings of these keys, or all of them when they are not known, and the values of
    /// custom headers.
    pub(super) fn secrets(&self, keys: Option<&[String]>) -> Vec<String> {
        let is_secret = |key: &String| keys.is_none_or(|keys| keys.contains(key));
        let settings = self.settings.iter().filter(|(key, _)| is_secret(key)).map(|(_, value)| value);
        settings.chain(self.headers.iter().map(|(_, value)| value)).cloned().collect()
    }

    /// Gives a request the headers and the certificates of the webhook. Only one that goes to the receiver itself: a token
    /// server or anybody else whom the auth method asks is not meant by them.
    pub(crate) fn prepare(&self, request: &mut Request) {
        let origin = |url: &Url| Some(url.origin()).filter(Origin::is_tuple);
        let Some(own) = self.url.as_ref().and_then(origin) else { return };
        if Url::parse(&request.url).ok().as_ref().and_then(origin) != Some(own) {
            return;
        }
        for (name, value) in &self.headers {
            // What the auth method sets itself is its affair.
            if !request.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                request.headers.push((name.clone(), value.clone()));
            }
        }
        request.tls.clone_from(&self.tls);
    }
}
