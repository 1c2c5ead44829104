//! Which keys seal the secrets in the store: at the start of a host, and when they are replaced.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use crate::channel_log::ChannelLog;
use crate::core::Core;
use crate::dispatcher::CHANNEL;
use crate::error::Chain;
use crate::run::plugin_value_purpose;
use crate::store::{PluginValue, Resealed, Store, StoreError};
use crate::suspension::is_the_hosts_own;
use crate::vault::{KeyError, KeyRing, Source, Vault, VaultError, key_of};
use crate::webhooks;

/// Why the secrets in the store cannot be sealed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SealingError {
    /// The keys cannot be used.
    #[error("the keys of the secrets cannot be used")]
    Keys {
        /// Why.
        source: KeyError,
    },
    /// The store failed.
    #[error("the secrets in the store cannot be read or sealed")]
    Store {
        /// Why.
        source: StoreError,
    },
}

impl From<KeyError> for SealingError {
    fn from(source: KeyError) -> Self {
        Self::Keys { source }
    }
}

impl From<StoreError> for SealingError {
    fn from(source: StoreError) -> Self {
        Self::Store { source }
    }
}

/// How one key stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SecretKey {
    /// Its id.
    pub id: String,
    /// Whether this host has it.
    pub here: bool,
    /// Whether it seals.
    pub current: bool,
    /// How many webhooks have their secrets sealed with it.
    pub webhooks: u64,
    /// How many values of plugins are sealed with it.
    pub plugin_values: u64,
}

/// The keys that seal the secrets of one host.
pub struct Keys<'a> {
    core: &'a Arc<Core>,
}

/// Opens the keys for a store, and makes one where neither has any. The first one seals, as whoever set them has decided.
pub(crate) fn open(file: PathBuf, store: &dyn Store) -> Result<Vault, SealingError> {
    let source = Source::of(file);
    let named = store.sealing_key()?;
    let ring = match (source.read()?, &named) {
        (Some(ring), _) => ring,
        (None, None) => source.add_key()?,
        (None, Some(key)) => return Err(wrong(key, &source).into()),
    };
    name_first(&ring, named, &source, store)?;
    Ok(Vault::new(source, ring))
}

/// Names the first key of a ring in the store, in place of the one that is `named` there. That one has to be among the
/// ring's, or another host has added it to the file since: else these are not the keys of this store.
fn name_first(ring: &KeyRing, named: Option<String>, source: &Source, store: &dyn Store) -> Result<(), SealingError> {
    let check = |key: &String| {
        let is_known = ring.ids().contains(key) || source.read()?.is_some_and(|ring| ring.ids().contains(key));
        if is_known { Ok(()) } else { Err(wrong(key, source)) }
    };
    named.as_ref().map_or(Ok(()), check)?;
    if named.as_deref() != Some(ring.first()) {
        // Another host may have been first, and has to have the same keys.
        check(&store.set_sealing_key(named, ring.first().to_owned()).wait()?)?;
    }
    Ok(())
}

fn wrong(key: &str, source: &Source) -> KeyError {
    KeyError::Wrong { key: key.to_owned(), place: source.to_string() }
}

/// Seals what an earlier version or another key has left, all in one commit, and returns how much that was.
///
/// It goes by what it finds: what somebody changes meanwhile is sealed by whoever changes it.
pub(crate) fn bring_forward(vault: &Vault, store: &dyn Store, log: &ChannelLog) -> Result<u64, StoreError> {
    let mut resealed = Resealed::default();
    let lost = |what: &str, error: &VaultError| {
        log::error!(logger: log, target: CHANNEL, what, error = Chain(error).to_string(); "a secret cannot be opened");
    };
    for webhook in store.webhooks(None)? {
        if vault.is_current(&webhook.secrets.0) {
            continue;
        }
        let sealed = webhooks::open_secrets(vault, &webhook.secrets).and_then(|secrets| secrets.seal(vault));
        match sealed {
            Ok(sealed) => resealed.webhooks.push((webhook.id, webhook.secrets, sealed)),
            Err(error) => lost(&format!("webhook {}", webhook.id), &error),
        }
    }
    for value in values_of_plugins(store)? {
        let text = std::str::from_utf8(&value.value).ok().filter(|text| key_of(text).is_some());
        if text.is_some_and(|text| vault.is_current(text)) {
            continue;
        }
        let purpose = plugin_value_purpose(&value.plugin, &value.key);
        let clear = text.map_or_else(|| Ok(value.value.clone()), |text| vault.open(&purpose, text));
        match clear.and_then(|clear| vault.seal(&purpose, &clear)) {
            Ok(sealed) => resealed.plugin_values.push((value, sealed.into_bytes())),
            Err(error) => lost(&format!("`{}` of plugin `{}`", value.key, value.plugin), &error),
        }
    }
    if resealed.is_empty() { Ok(0) } else { store.reseal(resealed).wait() }
}

/// Returns what plugins keep. What the host keeps beside it is no secret and is read as it stands.
fn values_of_plugins(store: &dyn Store) -> Result<Vec<PluginValue>, StoreError> {
    let mut values = store.plugin_values()?;
    values.retain(|value| !is_the_hosts_own(&value.plugin));
    Ok(values)
}

impl<'a> Keys<'a> {
    pub(crate) fn new(core: &'a Arc<Core>) -> Self {
        Self { core }
    }

    /// Returns the keys that this host has or that something is sealed with, the one that seals first.
    ///
    /// # Errors
    ///
    /// When the store or the keys cannot be read.
    pub fn list(&self) -> Result<Vec<SecretKey>, SealingError> {
        let (vault, store) = (&self.core.vault, &self.core.store);
        let current = vault.current();
        let mut keys: BTreeMap<String, SecretKey> = BTreeMap::new();
        let mut state = |id: &str, change: &dyn Fn(&mut SecretKey)| {
            let new =
                || SecretKey { id: id.into(), here: false, current: id == current, webhooks: 0, plugin_values: 0 };
            change(keys.entry(id.to_owned()).or_insert_with(new));
        };
        for id in vault.source().read()?.unwrap_or_default().ids() {
            state(id, &|key| key.here = true);
        }
        for webhook in store.webhooks(None)? {
            state(key_of(&webhook.secrets.0).unwrap_or("none"), &|key| key.webhooks += 1);
        }
        for value in values_of_plugins(&**store)? {
            let text = String::from_utf8_lossy(&value.value);
            state(key_of(&text).unwrap_or("none"), &|key| key.plugin_values += 1);
        }
        let mut keys: Vec<SecretKey> = keys.into_values().collect();
        keys.sort_by_key(|key| !key.current);
        Ok(keys)
    }

    /// Makes a new key, seals with it from now on, and seals everything anew. Returns how much that was.
    ///
    /// The new key is in the file before anything is sealed with it, and the old one stays until [`Keys::forget_unused`].
    /// Cut off at any point, [`Keys::reseal`] and the next start of a host go on with it.
    ///
    /// # Errors
    ///
    /// When the keys come from the environment, or the keys or the store cannot be written.
    pub fn rotate(&self) -> Result<u64, SealingError> {
        let (vault, store) = (&self.core.vault, &self.core.store);
        let ring = vault.source().add_key()?;
        name_first(&ring, store.sealing_key()?, vault.source(), &**store)?;
        vault.seal_with(ring);
        let current = vault.current();
        log::info!(logger: self.core.log, target: CHANNEL, key = current; "secrets are sealed with a new key");
        self.reseal()
    }

    /// Seals with the current key what is sealed with another, and returns how much that was.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn reseal(&self) -> Result<u64, SealingError> {
        let core = self.core;
        Ok(bring_forward(&core.vault, &*core.store, &core.log)?)
    }

    /// Takes the keys out of the file that nothing is sealed with, and returns their ids. Copies of the store that were
    /// made before need them. So does a host of the same database that runs since before the rotation: it seals with the
    /// key that was the first one when it started.
    ///
    /// # Errors
    ///
    /// When the keys come from the environment, or the keys or the store cannot be read or written.
    pub fn forget_unused(&self) -> Result<Vec<String>, SealingError> {
        let (states, named) = (self.list()?, self.core.store.sealing_key()?);
        let used = |id: &str| {
            let sealed = |key: &SecretKey| key.current || key.webhooks + key.plugin_values > 0;
            // One that another host has added since is about to be used.
            named.as_deref() == Some(id) || states.iter().find(|key| key.id == id).is_none_or(sealed)
        };
        Ok(self.core.vault.source().retain(used)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{SealingStore, SqliteStore};

    #[test]
    fn two_hosts_that_rotate_at_once_know_each_others_keys() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("switchboard.db")).unwrap();
        let source = Source::File(folder.path().join("secrets.keys"));
        let first = source.add_key().unwrap();
        name_first(&first, None, &source, &store).unwrap();
        let [of_one, of_another] = [(); 2].map(|()| source.add_key().unwrap());
        let rotate = |ring: &KeyRing| name_first(ring, store.sealing_key().unwrap(), &source, &store);
        rotate(&of_another).unwrap();
        // It was made before the key that is named now.
        rotate(&of_one).unwrap();
        assert_eq!(store.sealing_key().unwrap().as_deref(), Some(of_one.first()));
        let foreign = Source::File(folder.path().join("other.keys"));
        let ring = foreign.add_key().unwrap();
        let refused = name_first(&ring, store.sealing_key().unwrap(), &foreign, &store).unwrap_err();
        assert!(matches!(refused, SealingError::Keys { .. }), "{refused}");
    }
}
