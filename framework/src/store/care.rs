//! Care of the store: what goes when it is old.

use super::{Receipt, Timestamp, sealed};

/// What is too old or too much to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Done tasks, events without tasks and immediate deliveries that ended before this time go.
    pub done_before: Timestamp,
    /// Dead tasks that ended before this time go.
    pub dead_before: Timestamp,
    /// When more tasks than this have ended, the ones that did so first go.
    pub max_ended: u64,
}

/// Care of the store.
pub trait Care: Send + Sync + sealed::Sealed {
    /// Removes up to `limit` tasks that need not be kept, with their attempts, and events that no task needs any more.
    /// Returns how many rows of tasks, events and immediate deliveries went; fewer than `limit` when there is no more to do.
    fn prune(&self, retention: Retention, limit: u32) -> Receipt<u32>;
}
