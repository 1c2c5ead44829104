//! What the store knows of tasks.

use super::{
    Acceptance, AcceptedTask, Attempt, Claimed, Event, EventId, Lane, Receipt, Recovered, RunEnd, Started, StoreError,
    Task, TaskCounts, TaskFilter, TaskId, Timestamp, sealed,
};

/// Events, tasks and attempts.
///
/// A task that has not ended is *held* by one host, which has it in its memory and alone may start it, or by none. Hosts
/// [claim](Self::claim) what nobody holds, lane by lane, so that a long lane does not hide a short one.
pub trait TaskStore: Send + Sync + sealed::Sealed {
    /// Takes events and their tasks in one commit that is on disk when the receipt resolves. The answers are in the order
    /// of the tasks. A task whose unique key is taken is not made; the answer is the earlier one.
    fn accept(&self, acceptance: Acceptance) -> Receipt<Vec<AcceptedTask>>;
    /// Returns the lanes with ready tasks that nobody holds, in order, from the one after `after`; at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn lanes(&self, after: Option<&Lane>, limit: u32) -> Result<Vec<Lane>, StoreError>;
    /// Takes up to `per_lane` ready tasks of each lane into the memory of this host: the most urgent first, then the first
    /// due. Of an ordered key only the earliest task that has not ended can be taken, while no other one is held. A lane of which nothing is taken
    /// although the store has more of it waits for an earlier task of its ordered key. The answers are in the order of the
    /// lanes. The commit survives the end of this process, which does not matter: a host that starts anew holds nothing.
    fn claim(&self, lanes: Vec<Lane>, per_lane: u32) -> Receipt<Vec<Claimed>>;
    /// Gives up tasks that this host holds and does not run.
    fn unhold(&self, tasks: Vec<TaskId>) -> Receipt<()>;
    /// Gives up everything that this host holds and does not run.
    fn unhold_all(&self) -> Receipt<()>;
    /// Makes up to `limit` waiting tasks ready that nobody holds and whose time has come. Returns the lanes that they are in.
    fn promote(&self, now: Timestamp, limit: u32) -> Receipt<Vec<Lane>>;
    /// Returns when the next waiting task is due that nobody holds.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Moves tasks that this host holds to running, counts the attempts and writes their rows. The answers are in the order
    /// of the tasks: `None` for one that is not to be run, because it has ended, is running, is held by another host or by
    /// none, or is gone; [`StoreError::Corrupt`] for one whose record cannot be read. The commit survives the end of this
    /// process, and not a power cut, after which the tasks are still ready.
    fn start(&self, tasks: Vec<TaskId>, now: Timestamp) -> Receipt<Vec<Result<Option<Started>, StoreError>>>;
    /// Ends runs. The answers are in their order: false, and nothing is changed, where the lease is not that of the run that
    /// goes on now.
    fn finish(&self, runs: Vec<RunEnd>) -> Receipt<Vec<bool>>;
    /// Writes down an attempt that belongs to no task.
    fn record_attempt(&self, attempt: Attempt) -> Receipt<()>;
    /// Makes a task that is done, dead or waiting ready by hand; its schedule begins anew. `None` when it is running, ready
    /// or gone. It stays with this host when this host holds it, and is held by nobody otherwise.
    fn retry_task(&self, task: TaskId, now: Timestamp) -> Receipt<Option<AcceptedTask>>;
    /// Makes a ready or waiting task dead by hand. False when it is in another state.
    fn cancel_task(&self, task: TaskId, now: Timestamp) -> Receipt<bool>;
    /// Makes a task that has not ended dead because its record cannot be read. False when it has ended or is gone.
    fn quarantine(&self, task: TaskId, reason: String, now: Timestamp) -> Receipt<bool>;
    /// Takes up what hosts that ended left: what they were running is ready again with one crash more, or dead at
    /// `crash_limit` crashes; what they held is held by nobody. For a host that starts: what is marked as its own counts
    /// as left, too.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or written.
    fn recover(&self, now: Timestamp, crash_limit: u32) -> Result<Recovered, StoreError>;
    /// Returns one task.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError>;
    /// Returns the tasks that match, by id.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn tasks(&self, filter: &TaskFilter) -> Result<Vec<Task>, StoreError>;
    /// Returns how many tasks match; `after` and `limit` do not count.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn count_tasks(&self, filter: &TaskFilter) -> Result<u64, StoreError>;
    /// Returns how many tasks are in each state.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn task_counts(&self) -> Result<TaskCounts, StoreError>;
    /// Returns the attempts of a task, the first first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn attempts(&self, task: TaskId) -> Result<Vec<Attempt>, StoreError>;
    /// Returns one event.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError>;
}
