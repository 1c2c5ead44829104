//! Which secrets of a webhook have signed a request. Auth methods sign, and a secret that changes says nothing about itself in
//! a signature; so the host looks which of them the signatures are by.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

/// Length of the private half of a pair in bytes; the public half may follow it.
const SEED_BYTES: usize = 32;

/// Bytes of a hash that make the id of a key: enough to tell secrets apart, and none of the secret.
const ID_BYTES: usize = 6;

/// A secret in the form of Standard Webhooks.
enum Signer {
    /// `whsec_`
    Shared(hmac::Key),
    /// `whsk_`, by its public half.
    Pair(Vec<u8>),
}

impl Signer {
    /// Reads a secret; gives its id too, which is made of what the receiver has: the shared secret or the public half.
    fn read(secret: &str) -> Option<(Self, String)> {
        if let Some(encoded) = secret.strip_prefix("whsec_") {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(encoded).ok()?);
            return Some((Self::Shared(key), id(secret)));
        }
        let bytes = STANDARD.decode(secret.strip_prefix("whsk_")?).ok()?;
        let pair = Ed25519KeyPair::from_seed_unchecked(bytes.get(..SEED_BYTES)?).ok()?;
        let public = pair.public_key().as_ref().to_vec();
        let id = id(&format!("whpk_{}", STANDARD.encode(&public)));
        Some((Self::Pair(public), id))
    }

    fn has_made(&self, version: &str, signature: &[u8], message: &[u8]) -> bool {
        match self {
            Self::Shared(key) => version == "v1" && hmac::verify(key, message, signature).is_ok(),
            Self::Pair(public) => {
                version == "v1a" && UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
            }
        }
    }
}

/// Returns the start of a hash, in hexadecimal.
fn id(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the ids of the keys that made the signatures in the value of a `webhook-signature`, in its order; an empty text
/// for one that none of the `settings` has made.
pub(crate) fn key_ids(signatures: &str, message: &[u8], settings: &[String]) -> Vec<String> {
    let signers: Vec<_> = settings.iter().flat_map(|one| one.split_whitespace()).filter_map(Signer::read).collect();
    let by = |entry: &str| {
        let (version, encoded) = entry.split_once(',')?;
        let signature = STANDARD.decode(encoded).ok()?;
        let found = signers.iter().find(|(signer, _)| signer.has_made(version, &signature, message));
        found.map(|(_, id)| id.clone())
    };
    signatures.split(' ').map(|entry| by(entry).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // A vector of Standard Webhooks; see `plugins/webhook-signed`.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const PAIR: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const MESSAGE: &[u8] = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const PAIR_SIGNATURE: &str =
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

    #[test]
    fn it_is_seen_which_secret_has_signed() {
        let settings = ["url".to_owned(), PAIR.to_owned(), format!("whsec_AAAA {SECRET}")];
        let both = format!("{SIGNATURE} {PAIR_SIGNATURE}");
        let public = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
        assert_eq!(key_ids(&both, MESSAGE, &settings), [id(SECRET), id(public)]);
        assert_eq!(id(SECRET).len(), 2 * ID_BYTES);
        assert_eq!(key_ids(SIGNATURE, b"another message", &settings), [""]);
        assert_eq!(key_ids("v2,abc rubbish", MESSAGE, &settings), ["", ""]);
    }
}
