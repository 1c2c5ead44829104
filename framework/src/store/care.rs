//! Care of the store: what goes when it is old, damage, copies, and moving from one store to another.

use std::path::Path;

use super::{Receipt, Record, StoreError, Timestamp, sealed};

/// What is too old or too much to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Done tasks, and events without tasks, that ended before this time, and idempotency keys that expired before it, go.
    pub done_before: Timestamp,
    /// Dead tasks that ended before this time go.
    pub dead_before: Timestamp,
    /// When more tasks than this have ended, the ones that did so first go.
    pub max_ended: u64,
    /// When the inputs of tasks that have ended are more than so many bytes, the tasks that ended first go. `None` where
    /// inputs are not kept, so that nobody need add them up.
    pub max_input_bytes: Option<u64>,
    /// Attempts that began before this time go.
    pub attempts_before: Timestamp,
    /// When attempts are more than so many bytes, the first go.
    pub max_attempt_bytes: u64,
}

/// The records that are to be imported, in the order of an export.
pub type Records = Box<dyn Iterator<Item = Result<Record, StoreError>> + Send>;

/// Care of the store.
pub trait Care: Send + Sync + sealed::Sealed {
    /// Removes up to `limit` tasks that need not be kept, events that no task needs any more, and attempts. Attempts outlive
    /// their tasks. Returns how many rows went; fewer than `limit` when there is no more to do.
    fn prune(&self, retention: Retention, limit: u32) -> Receipt<u32>;
    /// Looks through the whole store for damage and for records that contradict each other, as they are at one moment.
    /// Returns a sentence for each of them, at most a few hundred; none when all is well. Other work goes on meanwhile.
    ///
    /// # Errors
    ///
    /// When the store cannot be read at all.
    fn check(&self) -> Result<Vec<String>, StoreError>;
    /// Makes a copy of the store as it is at one moment, in a new file that only its owner can read, while other work goes
    /// on. A host can be started on the copy.
    ///
    /// # Errors
    ///
    /// When there is such a file already, or it cannot be written; none is left then. When the engine leaves copies to
    /// tools of its own: [`StoreError::Refused`] names them.
    fn backup(&self, file: &Path) -> Result<(), StoreError>;
    /// Gives every record to `take`, as they are at one moment, while other work goes on. The order is that in which they
    /// can be imported.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or `take` fails.
    fn export(&self, take: &mut dyn FnMut(Record) -> Result<(), StoreError>) -> Result<(), StoreError>;
    /// Takes the records of an export, all of them or none, and returns how many. Tasks that were running are taken up by
    /// the next start as those of a host that ended.
    ///
    /// # Errors
    ///
    /// As a receipt: when this store has records already ([`StoreError::Refused`]), when `records` fails, or when they
    /// cannot be written.
    fn import(&self, records: Records) -> Receipt<u64>;
}
