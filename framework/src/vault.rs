//! Secrets at rest: settings of webhooks, headers, client certificates, and what plugins keep.
//!
//! They are sealed with XChaCha20-Poly1305 before they reach the store, which never has a key. Each sealed text says by
//! which key, so that several can be in use while they are replaced. The keys are in a file of their own, or in the
//! environment. What this protects against is in `docs/safety.md`.
//!
//! A sealed text is `sealed1:<key id>:<Base64 of nonce and ciphertext>`.

mod keys;

use std::sync::{PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

pub use keys::{KEYS_VARIABLE, KeyError};
pub(crate) use keys::{KeyRing, Source};

/// Start of a sealed text, with the version of its form.
const MARK: &str = "sealed1:";

/// Length of a nonce, in bytes. It is random: at this length no two are ever the same.
const NONCE_BYTES: usize = 24;

/// Why a secret cannot be read or sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The key is not there.
    #[error(
        "the secret was sealed with the key `{key}`, which is not in {place}: put the file of keys back from a backup, or enter the secret again"
    )]
    KeyMissing {
        /// Id of the key.
        key: String,
        /// Where keys are looked for.
        place: String,
    },
    /// What is stored is not what was sealed.
    #[error("the stored secret is damaged or was sealed for something else: enter it again")]
    Damaged,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random {
        /// What it said.
        source: getrandom::Error,
    },
    /// The keys cannot be read.
    #[error("the keys cannot be read")]
    Keys {
        /// Why.
        source: KeyError,
    },
}

/// Seals and opens secrets with the keys of a host.
pub(crate) struct Vault {
    source: Source,
    state: RwLock<State>,
}

struct State {
    ring: KeyRing,
    /// Id of the key that seals.
    current: String,
}

impl Vault {
    /// Returns a vault that seals with the first key of `ring`.
    pub(crate) fn new(source: Source, ring: KeyRing) -> Self {
        let current = ring.first().to_owned();
        Self { source, state: RwLock::new(State { ring, current }) }
    }

    pub(crate) fn current(&self) -> String {
        self.state.read().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    /// Whether a text was sealed with the key that seals now.
    pub(crate) fn is_current(&self, sealed: &str) -> bool {
        key_of(sealed) == Some(&*self.current())
    }

    /// Seals a secret. `purpose` says what it is for: it can be opened for the same purpose only.
    pub(crate) fn seal(&self, purpose: &str, secret: &[u8]) -> Result<String, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|source| VaultError::Random { source })?;
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let cipher = self.cipher(&state.ring, &state.current)?;
        let payload = Payload { msg: secret, aad: purpose.as_bytes() };
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| VaultError::Damaged)?;
        let text = STANDARD.encode([&nonce[..], &sealed].concat());
        Ok(format!("{MARK}{}:{text}", state.current))
    }

    /// Opens what was sealed for `purpose`.
    pub(crate) fn open(&self, purpose: &str, sealed: &str) -> Result<Vec<u8>, VaultError> {
        let key = key_of(sealed).ok_or(VaultError::Damaged)?;
        let text = &sealed[MARK.len() + key.len() + 1..];
        let bytes = STANDARD.decode(text).map_err(|_| VaultError::Damaged)?;
        let (nonce, secret) = bytes.split_at_checked(NONCE_BYTES).ok_or(VaultError::Damaged)?;
        let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).map_err(|_| VaultError::Damaged)?;
        let payload = Payload { msg: secret, aad: purpose.as_bytes() };
        self.cipher_of(key)?.decrypt(&XNonce::from(nonce), payload).map_err(|_| VaultError::Damaged)
    }

    /// Returns the cipher of a key, which another host that shares the file may just have added.
    fn cipher_of(&self, key: &str) -> Result<XChaCha20Poly1305, VaultError> {
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if let Ok(cipher) = self.cipher(&state.ring, key) {
                return Ok(cipher);
            }
        }
        let ring = self.source.read().map_err(|source| VaultError::Keys { source })?.unwrap_or_default();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.ring.extend(ring);
        self.cipher(&state.ring, key)
    }

    fn cipher(&self, ring: &KeyRing, key: &str) -> Result<XChaCha20Poly1305, VaultError> {
        let missing = || VaultError::KeyMissing { key: key.to_owned(), place: self.source.to_string() };
        ring.key(key).map(|key| XChaCha20Poly1305::new(key.into())).ok_or_else(missing)
    }

    /// Seals with the first key of `ring` from now on.
    pub(crate) fn seal_with(&self, ring: KeyRing) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.current = ring.first().to_owned();
        state.ring.extend(ring);
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }
}

/// Returns the id of the key by which a text was sealed; `None` for one that is not sealed.
pub(crate) fn key_of(sealed: &str) -> Option<&str> {
    sealed.strip_prefix(MARK)?.split_once(':').map(|(key, _)| key)
}

#[cfg(test)]
mod tests;
