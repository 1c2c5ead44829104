//! What the store knows of bulk operations.

use super::{Bulk, BulkId, BulkState, BulkStep, NewBulk, Receipt, StoreError, Timestamp, sealed};

/// Bulk operations.
pub trait BulkStore: Send + Sync + sealed::Sealed {
    /// Counts the tasks that match and adds the operation, running. When another number than the expected one matches, it
    /// is not added, and that number is the error.
    fn add_bulk(&self, bulk: NewBulk, now: Timestamp) -> Receipt<Result<Bulk, u64>>;
    /// Does the next step of a running operation with up to `limit` tasks, in one commit with its progress. `None` when it
    /// does not run.
    fn bulk_step(&self, id: BulkId, limit: u32, now: Timestamp) -> Receipt<Option<BulkStep>>;
    /// Pauses, resumes or cancels an operation that has not ended. False when it has, or there is none.
    fn set_bulk_state(&self, id: BulkId, state: BulkState, now: Timestamp) -> Receipt<bool>;
    /// Returns all operations, the newest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn bulks(&self) -> Result<Vec<Bulk>, StoreError>;
    /// Returns one operation.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError>;
}
