//! Passwords: what is taken, and how they are hashed and checked.

use std::sync::PoisonError;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

use super::{Accounts, AccountsError, random};

/// Shortest password, in characters.
pub(super) const MIN_LENGTH: usize = 12;
/// Longest password, in bytes: hashing it takes time.
const MAX_BYTES: usize = 1024;

/// A hash of nobody's password, so that a name that does not exist takes as long as a wrong password.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl Accounts {
    /// Hashes a password as argon2id, when it is long enough.
    pub(super) fn hash(&self, password: &str) -> Result<String, AccountsError> {
        if password.chars().count() < MIN_LENGTH {
            return Err(AccountsError::Refused(format!(
                "the password is too short: use {MIN_LENGTH} characters or more"
            )));
        }
        if password.len() > MAX_BYTES {
            return Err(AccountsError::Refused(format!("the password is too long: use {MAX_BYTES} bytes or fewer")));
        }
        let salt = random()?;
        let one_at_a_time = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = Argon2::default()
            .hash_password_with_salt(password.as_bytes(), &salt[..16])
            .map_err(|error| AccountsError::Hash { reason: error.to_string() })?;
        drop(one_at_a_time);
        Ok(hash.to_string())
    }

    /// Whether a password is the one of a hash; without a hash it takes as long and is not.
    pub(super) fn matches(&self, password: &str, hash: Option<&str>) -> bool {
        let Ok(stored) = PasswordHash::new(hash.unwrap_or(NOBODY)) else { return false };
        if password.len() > MAX_BYTES {
            return false;
        }
        let one_at_a_time = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
        let matches = Argon2::default().verify_password(password.as_bytes(), &stored).is_ok();
        drop(one_at_a_time);
        matches && hash.is_some()
    }
}
