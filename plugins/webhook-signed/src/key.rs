//! One secret and what it signs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{KEYPAIR_LENGTH, SECRET_KEY_LENGTH, Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Shortest and longest secret of HMAC-SHA256 in bytes, as in Standard Webhooks.
const HMAC_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that signs.
pub(crate) enum Key {
    /// `whsec_`: the receiver has the same.
    Hmac(Hmac<Sha256>),
    /// `whsk_`: the receiver has the public half, `whpk_`.
    Ed25519(Box<SigningKey>),
}

impl Key {
    /// Reads a secret. The error is the key of a text that says what is wrong with it.
    pub(crate) fn read(secret: &str) -> Result<Self, &'static str> {
        if secret.starts_with("whpk_") {
            return Err("signed-public");
        }
        if let Some(encoded) = secret.strip_prefix("whsec_") {
            let bytes = STANDARD.decode(encoded).map_err(|_| "signed-base64")?;
            if !HMAC_BYTES.contains(&bytes.len()) {
                return Err("signed-length");
            }
            return Ok(Self::Hmac(Hmac::new_from_slice(&bytes).expect("HMAC takes a key of any length")));
        }
        let encoded = secret.strip_prefix("whsk_").ok_or("signed-prefix")?;
        let bytes = STANDARD.decode(encoded).map_err(|_| "signed-base64")?;
        if let Ok(pair) = <&[u8; KEYPAIR_LENGTH]>::try_from(bytes.as_slice()) {
            return SigningKey::from_keypair_bytes(pair).map(Box::new).map(Self::Ed25519).map_err(|_| "signed-pair");
        }
        let seed = <&[u8; SECRET_KEY_LENGTH]>::try_from(bytes.as_slice()).map_err(|_| "signed-pair")?;
        Ok(Self::Ed25519(Box::new(SigningKey::from_bytes(seed))))
    }

    /// Returns an entry of `webhook-signature`: the version, one comma, the signature.
    pub(crate) fn sign(&self, message: &[u8]) -> String {
        match self {
            Self::Hmac(keyed) => {
                let signature = keyed.clone().chain_update(message).finalize().into_bytes();
                format!("v1,{}", STANDARD.encode(signature))
            }
            Self::Ed25519(key) => format!("v1a,{}", STANDARD.encode(key.sign(message).to_bytes())),
        }
    }
}
