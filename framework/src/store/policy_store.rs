//! What the store knows of keys.

use super::{KeyCounts, KeyPolicy, Receipt, StoreError, Timestamp, sealed};

/// Policies of keys, and how much work each key has.
pub trait PolicyStore: Send + Sync + sealed::Sealed {
    /// Returns the keys that have a policy, in order.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn key_policies(&self) -> Result<Vec<(String, KeyPolicy)>, StoreError>;
    /// Returns the policy of a key.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn key_policy(&self, key: &str) -> Result<Option<KeyPolicy>, StoreError>;
    /// Sets the policy of a key, or removes it.
    fn set_key_policy(&self, key: String, policy: Option<KeyPolicy>, now: Timestamp) -> Receipt<()>;
    /// Returns the keys with tasks that have not ended, in order.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn key_counts(&self) -> Result<Vec<KeyCounts>, StoreError>;
}
