//! What of a webhook nobody may read but its deliveries.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::store::Sealed;
use crate::vault::{Vault, VaultError, key_of};

/// For what the secrets of webhooks are sealed.
const PURPOSE: &str = "webhook";

/// The secrets of one webhook, in the clear. Its `Debug` shows none of them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WebhookSecrets {
    /// Settings of the auth method. Which of them are secrets only its form says, and that can change.
    pub(crate) settings: BTreeMap<String, String>,
    /// Custom headers.
    pub(crate) headers: Vec<(String, String)>,
    /// Client certificate and its private key, in PEM.
    pub(crate) identity_pem: Option<String>,
}

impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSecrets").finish_non_exhaustive()
    }
}

impl WebhookSecrets {
    pub(crate) fn seal(&self, vault: &Vault) -> Result<Sealed, VaultError> {
        let text = serde_json::to_vec(self).map_err(|_| VaultError::Damaged)?;
        vault.seal(PURPOSE, &text).map(Sealed)
    }
}

/// Opens the secrets of a webhook.
pub(crate) fn open(vault: &Vault, sealed: &Sealed) -> Result<WebhookSecrets, VaultError> {
    if key_of(&sealed.0).is_none() {
        // Settings in the clear, as earlier versions stored them, until the next start seals them.
        let settings = serde_json::from_str(&sealed.0).map_err(|_| VaultError::Damaged)?;
        return Ok(WebhookSecrets { settings, ..WebhookSecrets::default() });
    }
    serde_json::from_slice(&vault.open(PURPOSE, &sealed.0)?).map_err(|_| VaultError::Damaged)
}
