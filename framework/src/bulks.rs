//! Bulk operations: something is done with every task that matches a filter.

use std::sync::Arc;

use thiserror::Error;

use crate::core::Core;
use crate::store::{Bulk, BulkId, BulkState, NewBulk, StoreError, TaskFilter, Timestamp};

/// Most tasks a second.
const FASTEST: u32 = 10_000;

/// The bulk operations of one host, or of all hosts of its store.
pub struct Bulks<'a> {
    core: &'a Arc<Core>,
}

/// Why a bulk operation cannot be shown or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BulkError {
    /// The speed is out of range.
    #[error("the speed of a bulk operation is 1 to {FASTEST} tasks a second, not {per_second}")]
    Speed {
        /// What was given.
        per_second: u32,
    },
    /// Another number of tasks matches than was expected; nothing was started.
    #[error("{total} tasks match now, and not {expected}: count them again")]
    OtherCount {
        /// How many match.
        total: u64,
        /// How many were expected.
        expected: u64,
    },
    /// There is no such operation.
    #[error("there is no bulk operation {id}; `switchboard task bulk list` shows them")]
    Missing {
        /// The id.
        id: BulkId,
    },
    /// There is no such operation that could go on.
    #[error("there is no bulk operation {id} that has not ended; `switchboard task bulk list` shows them")]
    Ended {
        /// The id.
        id: BulkId,
    },
    /// The store failed.
    #[error("the bulk operations cannot be read or changed")]
    Store {
        /// Why.
        source: StoreError,
    },
}

impl<'a> Bulks<'a> {
    pub(crate) fn new(core: &'a Arc<Core>) -> Self {
        Self { core }
    }

    /// Counts the tasks that an operation would go over.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn count(&self, filter: &TaskFilter) -> Result<u64, BulkError> {
        self.core.store.count_tasks(filter).map_err(store)
    }

    /// Starts an operation over the tasks that match now. It goes on in the background in small steps, also after a
    /// restart; a host that does not work on the whole store leaves it to one that does.
    ///
    /// # Errors
    ///
    /// When the speed is out of range, another number of tasks matches than the expected one, or the store fails.
    pub fn start(&self, bulk: NewBulk) -> Result<Bulk, BulkError> {
        if !(1..=FASTEST).contains(&bulk.per_second) {
            return Err(BulkError::Speed { per_second: bulk.per_second });
        }
        let expected = bulk.expected.unwrap_or_default();
        let added = self.core.store.add_bulk(bulk, self.now()).wait().map_err(store)?;
        let bulk = added.map_err(|total| BulkError::OtherCount { total, expected })?;
        self.changed();
        Ok(bulk)
    }

    /// Pauses, resumes or cancels an operation.
    ///
    /// # Errors
    ///
    /// When there is none of that id or it has ended, or the store fails.
    pub fn set_state(&self, id: BulkId, state: BulkState) -> Result<(), BulkError> {
        let found = self.core.store.set_bulk_state(id, state, self.now()).wait().map_err(store)?;
        self.changed();
        found.then_some(()).ok_or(BulkError::Ended { id })
    }

    /// Returns all operations, the newest first.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn list(&self) -> Result<Vec<Bulk>, BulkError> {
        self.core.store.bulks().map_err(store)
    }

    /// Returns one operation.
    ///
    /// # Errors
    ///
    /// When there is none of that id, or the store fails.
    pub fn get(&self, id: BulkId) -> Result<Bulk, BulkError> {
        self.core.store.bulk(id).map_err(store)?.ok_or(BulkError::Missing { id })
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.core.clock.now())
    }

    fn changed(&self) {
        if let Some(deferred) = self.core.deferred.get() {
            deferred.housekeeping_changed();
        }
    }
}

fn store(source: StoreError) -> BulkError {
    BulkError::Store { source }
}
