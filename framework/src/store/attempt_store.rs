//! What the store knows of attempts, besides that it writes them with the moves of their tasks.

use super::{Attempt, AttemptFilter, AttemptId, StoreError, sealed};

/// Attempts, of whatever task and of none.
pub trait AttemptStore: Send + Sync + sealed::Sealed {
    /// Returns one attempt.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError>;
    /// Returns the attempts that match, by id, without their exchanges.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn find_attempts(&self, filter: &AttemptFilter) -> Result<Vec<Attempt>, StoreError>;
}
