//! What the store knows of schedules.

use super::{AcceptedTask, Receipt, Schedule, StoreError, Timestamp, sealed};

/// Schedules.
pub trait ScheduleStore: Send + Sync + sealed::Sealed {
    /// Adds a schedule, or changes the one of the same name: what it starts and when. What was started last stays known.
    fn put_schedule(&self, schedule: Schedule) -> Receipt<()>;
    /// Removes a schedule. False when there is none of that name. Its tasks stay.
    fn remove_schedule(&self, name: String) -> Receipt<bool>;
    /// Pauses a schedule or lets it go on with `next_at`. False when there is none of that name.
    fn pause_schedule(&self, name: String, paused: bool, next_at: Timestamp, now: Timestamp) -> Receipt<bool>;
    /// Moves a schedule from `slot` to `next_at` and accepts the task of the slot, in one commit. `None`, and nothing is
    /// changed, when the schedule does not stand at `slot`: another host was first, or it was changed, paused or removed.
    fn fire_schedule(
        &self,
        name: String,
        slot: Timestamp,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Receipt<Option<AcceptedTask>>;
    /// Returns all schedules, by name.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn schedules(&self) -> Result<Vec<Schedule>, StoreError>;
}
