//! What a delivery needs of its webhook at the time of sending.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::{Origin, Url};

use super::secrets::{self, WebhookSecrets};
use crate::egress::{Deadlines, Request, TlsOptions};
use crate::store::{Webhook, WebhookOptions};
use crate::vault::{Vault, VaultError};

/// The receiver of a delivery, with its secrets in the clear.
pub(crate) struct Receiver {
    pub(crate) settings: BTreeMap<String, String>,
    url: Option<Url>,
    headers: Vec<(String, String)>,
    tls: Option<Arc<TlsOptions>>,
    /// The times of lookup, connection, TLS and first byte that the webhook has of its own.
    phases: [Option<Duration>; 4],
}

fn phases(options: &WebhookOptions) -> [Option<Duration>; 4] {
    [options.dns_timeout, options.connect_timeout, options.tls_timeout, options.first_byte_timeout]
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
            phases: phases(&webhook.options),
        })
    }

    /// The receiver of a webhook that is not stored yet.
    pub(super) fn of_draft(url: &str, options: &WebhookOptions, secrets: &WebhookSecrets) -> Self {
        let tls = TlsOptions { ca_pem: options.ca_pem.clone(), identity_pem: secrets.identity_pem.clone() };
        Self {
            settings: BTreeMap::new(),
            url: Url::parse(url).ok(),
            headers: secrets.headers.clone(),
            tls: (tls != TlsOptions::default()).then(|| Arc::new(tls)),
            phases: phases(options),
        }
    }

    /// A receiver of which nothing is known but the settings that are to be tried.
    pub(crate) fn trial(settings: BTreeMap<String, String>) -> Self {
        Self { settings, url: None, headers: Vec::new(), tls: None, phases: [None; 4] }
    }

    /// Returns what nobody may see: the settings of these keys, or all of them when they are not known, and the values of
    /// custom headers.
    pub(super) fn secrets(&self, keys: Option<&[String]>) -> Vec<String> {
        let is_secret = |key: &String| keys.is_none_or(|keys| keys.contains(key));
        let settings = self.settings.iter().filter(|(key, _)| is_secret(key)).map(|(_, value)| value);
        settings.chain(self.headers.iter().map(|(_, value)| value)).cloned().collect()
    }

    /// Gives a request the headers, the certificates and the times of the webhook.
    ///
    /// `usual` are the times of the host. Only a request to the receiver itself is changed: a token server or anybody else
    /// whom the auth method asks is not meant by them.
    pub(crate) fn prepare(&self, request: &mut Request, usual: Deadlines) {
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
        let [dns, connect, tls, first_byte] = self.phases;
        request.deadlines = Some(Deadlines {
            dns: dns.unwrap_or(usual.dns),
            connect: connect.unwrap_or(usual.connect),
            tls: tls.unwrap_or(usual.tls),
            first_byte: first_byte.unwrap_or(usual.first_byte),
        });
    }
}
