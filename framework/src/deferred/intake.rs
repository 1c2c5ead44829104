//! What accepting has to know of the scheduler's memory: whether a new task fits. Accepting never waits for it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::store::{Lane, NewTask, TaskHead};

/// A task that is due later than this is left in the store until its time comes.
pub(super) const HORIZON: Duration = Duration::from_secs(60);

/// Shared between the threads that accept and the scheduler's.
pub(super) struct Intake {
    window: usize,
    held: AtomicUsize,
    /// Keys with tasks in the store that nobody holds: new ones go behind them.
    spilled: RwLock<HashSet<String>>,
    overflow: Mutex<Overflow>,
}

/// What was accepted and left in the store since the scheduler's thread looked last. However much that is, it is no more
/// than a lane for each handler and key.
#[derive(Default)]
struct Overflow {
    lanes: HashSet<Lane>,
    due: Option<i64>,
    /// Whether the scheduler's thread has been told.
    told: bool,
}

impl Intake {
    pub(super) fn new(window: usize) -> Self {
        Self { window, held: AtomicUsize::new(0), spilled: RwLock::default(), overflow: Mutex::default() }
    }

    /// Decides whether this host takes a new task into its memory, and counts it when it does.
    pub(super) fn admit(&self, task: &NewTask) -> bool {
        let soon = task.run_at.0.saturating_sub(task.at.0) <= millis(HORIZON);
        let behind = || self.spilled.read().unwrap_or_else(PoisonError::into_inner).contains(&task.key);
        if task.ordered || !soon || (task.waits() && !self.has_room_to_wait()) || behind() {
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

    /// Returns whether a task may wait in memory for its time. Half of it is for those that are due, so that tasks which
    /// failed together do not keep out what could run.
    pub(super) fn has_room_to_wait(&self) -> bool {
        self.held.load(Ordering::Relaxed) < self.window / 2
    }

    /// Counts tasks that were taken into memory.
    pub(super) fn took(&self, count: usize) {
        self.held.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts tasks that have left memory.
    pub(super) fn released(&self, count: usize) {
        self.held.fetch_sub(count, Ordering::Relaxed);
    }

    /// Forgets which keys have tasks in the store that nobody holds.
    pub(super) fn forget_spilled(&self) {
        self.spilled.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn set_spilled(&self, key: &str, spilled: bool) {
        let known = self.spilled.read().unwrap_or_else(PoisonError::into_inner).contains(key);
        if known == spilled {
            return;
        }
        let mut keys = self.spilled.write().unwrap_or_else(PoisonError::into_inner);
        if spilled {
            keys.insert(key.to_owned());
        } else {
            keys.remove(key);
        }
    }

    /// Notes tasks that were accepted and left in the store, each with whether it waits for its time. Returns whether the
    /// scheduler's thread has to be told.
    pub(super) fn overflowed<'t>(&self, tasks: impl Iterator<Item = (&'t TaskHead, bool)>) -> bool {
        let mut tasks = tasks.peekable();
        if tasks.peek().is_none() {
            return false;
        }
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        for (head, waits) in tasks {
            if waits {
                let due = head.run_at.0;
                overflow.due = Some(overflow.due.map_or(due, |other| other.min(due)));
            } else {
                overflow.lanes.insert(head.lane());
            }
        }
        !std::mem::replace(&mut overflow.told, true)
    }

    /// Returns the lanes that overflowed since this was asked last, and when the next of their waiting tasks is due.
    pub(super) fn take_overflow(&self) -> (HashSet<Lane>, Option<i64>) {
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        let Overflow { lanes, due, .. } = std::mem::take(&mut *overflow);
        (lanes, due)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Timestamp;

    fn task(key: &str, delay_ms: i64) -> NewTask {
        NewTask { key: key.into(), at: Timestamp(1_000), run_at: Timestamp(1_000 + delay_ms), ..NewTask::default() }
    }

    #[test]
    fn no_more_is_admitted_than_fits_and_waiting_tasks_leave_half_of_the_room() {
        let intake = Intake::new(4);
        assert!(!intake.admit(&task("a", 61_000)), "its time is far");
        assert!(!intake.admit(&NewTask { ordered: true, ..task("a", 0) }));
        assert_eq!([(); 3].map(|()| intake.admit(&task("a", 50))), [true, true, false]);
        assert_eq!(intake.room(), 2);
        assert!(intake.admit(&task("a", 0)) && intake.admit(&task("b", 0)) && !intake.admit(&task("c", 0)));
        intake.released(1);
        assert_eq!(intake.room(), 1);
        intake.set_spilled("a", true);
        assert!(!intake.admit(&task("a", 0)), "others of its key are before it");
        intake.set_spilled("a", false);
        assert!(intake.admit(&task("a", 0)));
    }

    #[test]
    fn what_overflows_is_told_once_until_it_is_taken() {
        let intake = Intake::new(0);
        let head = |key: &str, run_at| TaskHead {
            id: crate::store::TaskId(1),
            number: 21_500,
            name: "n".into(),
            key: key.into(),
            host: None,
            run_at: Timestamp(run_at),
            attempts: 0,
            priority: crate::store::Priority::Normal,
            ordered: false,
        };
        let (now, later, sooner) = (head("a", 0), head("a", 900), head("b", 700));
        assert!(!intake.overflowed(std::iter::empty()));
        assert!(intake.overflowed([(&now, false), (&later, true)].into_iter()));
        assert!(!intake.overflowed([(&now, false), (&sooner, true)].into_iter()));
        let (lanes, due) = intake.take_overflow();
        assert_eq!((lanes.len(), due), (1, Some(700)));
        assert!(intake.overflowed([(&now, false)].into_iter()));
    }
}
