//! Schedules: tasks that are started again and again.

use std::sync::Arc;

use thiserror::Error;

use crate::core::Core;
use crate::deferred::{Recurrence, RecurrenceError};
use crate::store::{Schedule, StoreError, TaskTemplate, Timestamp};

/// The schedules of one host, or of all hosts of its store.
pub struct Schedules<'a> {
    core: &'a Arc<Core>,
}

/// A schedule that is to be added.
#[derive(Clone, Debug)]
pub struct ScheduleDraft {
    /// Its name: 1 to 100 bytes. One that is there already is changed.
    pub name: String,
    /// When: `every 15m`, or a cron expression of five fields (minute, hour, day of month, month, day of week).
    pub spec: String,
    /// Time zone of the cron expression, such as `Europe/Berlin`.
    pub zone: String,
    /// What each slot starts.
    pub task: TaskTemplate,
}

/// Why a schedule cannot be shown or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The name is empty or too long.
    #[error("the name of a schedule has 1 to 100 bytes, `{name}` has {}", name.len())]
    Name {
        /// What was given.
        name: String,
    },
    /// It does not say when.
    #[error("schedule `{name}` has no usable recurrence")]
    Recurrence {
        /// The name.
        name: String,
        /// Why.
        source: Box<RecurrenceError>,
    },
    /// There is no such schedule.
    #[error("there is no schedule `{name}`; `switchboard schedule list` shows them")]
    Missing {
        /// The name.
        name: String,
    },
    /// The store failed.
    #[error("the schedules cannot be read or changed")]
    Store {
        /// Why.
        source: StoreError,
    },
}

impl<'a> Schedules<'a> {
    pub(crate) fn new(core: &'a Arc<Core>) -> Self {
        Self { core }
    }

    /// Returns all schedules, by name.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn list(&self) -> Result<Vec<Schedule>, ScheduleError> {
        self.core.store.schedules().map_err(store)
    }

    /// Adds a schedule, or changes the one of the same name. Its next slot is the first after now. However many hosts work
    /// on the store, each slot is started once; slots that pass while no host runs are made up for by one. A slot whose
    /// predecessor's task has not ended is left out.
    ///
    /// # Errors
    ///
    /// When the name or the recurrence is not usable, or the store fails.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use switchboard::store::TaskTemplate;
    /// use switchboard::{ScheduleDraft, Switchboard};
    ///
    /// let switchboard = Switchboard::open("switchboard-data")?;
    /// switchboard.schedules().put(ScheduleDraft {
    ///     name: "nightly report".into(),
    ///     spec: "30 4 * * *".into(),
    ///     zone: "Europe/Berlin".into(),
    ///     task: TaskTemplate { number: 21_500, name: "report".into(), key: "reports".into(), ..TaskTemplate::default() },
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put(&self, draft: ScheduleDraft) -> Result<Schedule, ScheduleError> {
        let ScheduleDraft { name, spec, zone, task } = draft;
        if name.is_empty() || name.len() > 100 {
            return Err(ScheduleError::Name { name });
        }
        let now = self.now();
        let next_at = next_after(&name, &spec, &zone, now)?;
        let schedule = Schedule {
            name,
            spec,
            zone,
            template: task,
            next_at,
            paused: false,
            last_at: None,
            last_task: None,
            created_at: now,
            updated_at: now,
        };
        self.core.store.put_schedule(schedule.clone()).wait().map_err(store)?;
        self.changed();
        Ok(schedule)
    }

    /// Removes a schedule. The tasks that it has started stay.
    ///
    /// # Errors
    ///
    /// When there is none of that name, or the store fails.
    pub fn remove(&self, name: &str) -> Result<(), ScheduleError> {
        let removed = self.core.store.remove_schedule(name.to_owned()).wait().map_err(store)?;
        removed.then_some(()).ok_or_else(|| ScheduleError::Missing { name: name.to_owned() })
    }

    /// Pauses a schedule, or lets it go on with the first slot after now.
    ///
    /// # Errors
    ///
    /// When there is none of that name, its recurrence is not usable, or the store fails.
    pub fn pause(&self, name: &str, paused: bool) -> Result<(), ScheduleError> {
        let missing = || ScheduleError::Missing { name: name.to_owned() };
        let schedule = self.list()?.into_iter().find(|schedule| schedule.name == name).ok_or_else(missing)?;
        let now = self.now();
        let next_at = if paused { schedule.next_at } else { next_after(name, &schedule.spec, &schedule.zone, now)? };
        let found = self.core.store.pause_schedule(name.to_owned(), paused, next_at, now).wait().map_err(store)?;
        self.changed();
        found.then_some(()).ok_or_else(missing)
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

fn next_after(name: &str, spec: &str, zone: &str, now: Timestamp) -> Result<Timestamp, ScheduleError> {
    let failed = |source| ScheduleError::Recurrence { name: name.to_owned(), source: Box::new(source) };
    let recurrence = Recurrence::parse(spec, zone).map_err(failed)?;
    recurrence.next_after(now).ok_or_else(|| failed(RecurrenceError::Never { spec: spec.to_owned() }))
}

fn store(source: StoreError) -> ScheduleError {
    ScheduleError::Store { source }
}
