//! The secret of the link with which the first user is made.

use std::sync::{Mutex, PoisonError};

use crate::accounts::{AccountsError, SecretToken};

/// Holds the secret while the link is good.
#[derive(Default)]
pub(super) struct Setup(Mutex<Option<SecretToken>>);

impl Setup {
    /// Makes a new secret; an earlier one is not good any more.
    pub(super) fn open(&self) -> Result<String, AccountsError> {
        let secret = SecretToken::new()?;
        let shown = secret.reveal().to_owned();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret);
        Ok(shown)
    }

    /// Whether the secret is that of the link.
    pub(super) fn is(&self, given: &str) -> bool {
        let secret = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        secret.as_ref().is_some_and(|secret| crate::control::same(secret.reveal().as_bytes(), given.as_bytes()))
    }

    /// Lets the link be good no more.
    pub(super) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
