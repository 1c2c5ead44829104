//! What accepting has to know of the scheduler's memory: whether a new task fits.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::store::NewTask;

/// A task that is due later than this is left in the store until its time comes.
pub(super) const HORIZON: Duration = Duration::from_secs(60);

/// Shared between the threads that accept and the scheduler's.
pub(super) struct Intake {
    window: usize,
    held: AtomicUsize,
    /// Keys with tasks in the store that nobody holds: new ones go behind them.
    spilled: RwLock<HashSet<String>>,
}

impl Intake {
    pub(super) fn new(window: usize) -> Self {
        Self { window, held: AtomicUsize::new(0), spilled: RwLock::default() }
    }

    /// Decides whether this host takes a new task into its memory, and counts it when it does.
    pub(super) fn admit(&self, task: &NewTask) -> bool {
        let soon = task.run_at.0.saturating_sub(task.at.0) <= millis(HORIZON);
        let behind = || self.spilled.read().unwrap_or_else(PoisonError::into_inner).contains(&task.key);
        if task.ordered || !soon || behind() {
            return false;
        }
        if self.held.fetch_add(1, Ordering::Relaxed) < self.window {
            return true;
        }
        self.released(1);
        false
    }

    /// Returns how many more tasks fit.
    pub(super) fn room(&self) -> usize {
        self.window.saturating_sub(self.held.load(Ordering::Relaxed))
    }

    /// Counts tasks that were taken into memory.
    pub(super) fn took(&self, count: usize) {
        self.held.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts tasks that have left memory.
    pub(super) fn released(&self, count: usize) {
        self.held.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn set_spilled(&self, key: &str, spilled: bool) {
        let mut keys = self.spilled.write().unwrap_or_else(PoisonError::into_inner);
        if spilled {
            keys.insert(key.to_owned());
        } else {
            keys.remove(key);
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
