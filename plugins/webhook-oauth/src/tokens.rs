//! Tokens that are kept until shortly before their end, one for each webhook.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use switchboard_plugin_api::{Context, PluginError, log};
use tokio::sync::Mutex as AsyncMutex;

use crate::client::Client;

/// A token as it is kept, under the webhook's id.
#[derive(Serialize, Deserialize)]
struct KeptToken {
    /// The settings that it was fetched with.
    client: String,
    token: String,
}

/// Fetches tokens, one at a time for each webhook.
#[derive(Default)]
pub(crate) struct Tokens {
    /// Who fetches at this moment, by webhook. A lock that nobody holds any more is taken out by the next that comes.
    fetching: Mutex<HashMap<i64, Weak<AsyncMutex<()>>>>,
}

impl Tokens {
    /// Returns the token of a webhook: the kept one, unless it is `refused` or was fetched with other settings, or a new
    /// one. Deliveries that come while one is fetched wait for it and use it as well.
    pub(crate) async fn token(
        &self,
        cx: &Context<'_>,
        webhook: i64,
        client: &Client,
        refused: Option<&str>,
    ) -> Result<String, PluginError> {
        let (key, fingerprint) = (format!("token.{webhook}"), client.fingerprint());
        let kept = || {
            // One that cannot be read is fetched anew.
            let kept = cx.kept().get::<KeptToken>(&key).ok().flatten().filter(|kept| kept.client == fingerprint);
            kept.map(|kept| kept.token).filter(|token| Some(token.as_str()) != refused)
        };
        if let Some(token) = kept() {
            return Ok(token);
        }
        let lock = self.lock(webhook);
        let _fetching = lock.lock().await;
        // Whoever held the lock may have fetched it meanwhile.
        if let Some(token) = kept() {
            return Ok(token);
        }
        let fetched = client.fetch(cx).await?;
        let token = KeptToken { client: fingerprint.clone(), token: fetched.value };
        if let Err(error) = cx.kept().set_for(&key, &token, fetched.good_for) {
            // The delivery has its token; the next one fetches another.
            log::warn!(target: "Webhooks", webhook, error = error.to_string(); "the token cannot be kept");
        }
        Ok(token.token)
    }

    fn lock(&self, webhook: i64) -> Arc<AsyncMutex<()>> {
        // Each change is one call, so what a panic leaves is whole.
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = fetching.get(&webhook).and_then(Weak::upgrade) {
            return lock;
        }
        fetching.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::<AsyncMutex<()>>::default();
        fetching.insert(webhook, Arc::downgrade(&lock));
        lock
    }
}
