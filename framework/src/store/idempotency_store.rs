//! What the store knows of idempotency keys.

use super::{Acceptance, IdempotencyKey, Keyed, OwnerId, Receipt, StoreError, Timestamp, sealed};

/// Idempotency keys.
pub trait IdempotencyStore: Send + Sync + sealed::Sealed {
    /// Takes events, their tasks and their keys in one commit that is on disk when the receipt resolves. When one of the
    /// keys belongs to an earlier event and has not expired at `now`, nothing is taken, and the answer says which. The
    /// keys are different from one another.
    fn accept_keyed(&self, acceptance: Acceptance, keys: Vec<IdempotencyKey>, now: Timestamp) -> Receipt<Keyed>;
    /// Returns what was announced under a key that has not expired at `now`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn idempotency_key(&self, owner: OwnerId, key: &str, now: Timestamp) -> Result<Option<IdempotencyKey>, StoreError>;
}
