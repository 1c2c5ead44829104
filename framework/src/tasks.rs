//! The deferred tasks of a host, as an administrator or an application sees them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use thiserror::Error;

use crate::core::Core;
use crate::deferred::TaskOutcome;
use crate::store::{Attempt, Event, StoreError, Task, TaskCounts, TaskFilter, TaskId, TaskState, Timestamp};

/// The deferred tasks of one host.
pub struct Tasks<'a> {
    core: &'a Arc<Core>,
}

/// Why a task cannot be shown or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TaskError {
    /// There is no such task.
    #[error("there is no task {id}; `switchboard task list` shows them")]
    Missing {
        /// The id.
        id: TaskId,
    },
    /// The store failed.
    #[error("the tasks cannot be read or changed")]
    Store {
        /// Why.
        source: StoreError,
    },
}

impl<'a> Tasks<'a> {
    pub(crate) fn new(core: &'a Arc<Core>) -> Self {
        Self { core }
    }

    /// Returns the tasks that match.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn list(&self, filter: &TaskFilter) -> Result<Vec<Task>, TaskError> {
        self.core.store.tasks(filter).map_err(store)
    }

    /// Returns how many tasks are in each state.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn counts(&self) -> Result<TaskCounts, TaskError> {
        self.core.store.task_counts().map_err(store)
    }

    /// Returns a channel that gets the outcome of every attempt from now on. On a host that does not work on tasks it
    /// stays silent.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<TaskOutcome> {
        match self.core.deferred.get() {
            Some(deferred) => deferred.subscribe(),
            None => crossbeam_channel::never(),
        }
    }

    /// Returns one task.
    ///
    /// # Errors
    ///
    /// When there is none of that id, or the store fails.
    pub fn get(&self, id: TaskId) -> Result<Task, TaskError> {
        self.core.store.task(id).map_err(store)?.ok_or(TaskError::Missing { id })
    }

    /// Returns the attempts of a task, the first first.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn attempts(&self, id: TaskId) -> Result<Vec<Attempt>, TaskError> {
        self.core.store.attempts(id).map_err(store)
    }

    /// Returns the event that a task delivers.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn event(&self, task: &Task) -> Result<Option<Event>, TaskError> {
        match &task.event {
            Some(event) => self.core.store.event(event).map_err(store),
            None => Ok(None),
        }
    }

    /// Makes a task that is done, dead or waiting ready again, now.
    ///
    /// # Errors
    ///
    /// When there is none of that id or it is running, or the store fails.
    pub fn retry(&self, id: TaskId) -> Result<Task, TaskError> {
        let now = Timestamp(self.core.clock.now());
        let task = self.core.store.retry_task(id, now).wait().map_err(store)?.ok_or(TaskError::Missing { id })?;
        if let Some(deferred) = self.core.deferred.get() {
            deferred.retried(task);
        }
        self.get(id)
    }

    /// Makes a task that is ready or waiting dead; false when it runs or has ended.
    ///
    /// # Errors
    ///
    /// When there is none of that id, or the store fails.
    pub fn cancel(&self, id: TaskId) -> Result<bool, TaskError> {
        let task = self.get(id)?;
        let cancelled = self.core.store.cancel_task(id, Timestamp(self.core.clock.now())).wait().map_err(store)?;
        if let Some(deferred) = self.core.deferred.get() {
            deferred.changed(task.key);
        }
        Ok(cancelled)
    }

    /// Waits until each of the tasks is done, dead or waiting, or the timeout passes; returns what is known then.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn wait(&self, ids: &[TaskId], timeout: Duration) -> Result<Vec<TaskOutcome>, TaskError> {
        let deadline = Instant::now() + timeout;
        // Subscribed before the store is read, so that no end falls between the two.
        let outcomes = self.core.deferred.get().map(crate::deferred::Deferred::subscribe);
        let mut known: Vec<TaskOutcome> = Vec::new();
        for id in ids {
            known.extend(self.outcome(*id)?);
        }
        let Some(outcomes) = outcomes else { return Ok(known) };
        let ended = |state| matches!(state, TaskState::Done | TaskState::Dead | TaskState::Waiting);
        while known.iter().any(|outcome| !ended(outcome.state)) {
            let Ok(outcome) = outcomes.recv_deadline(deadline) else { break };
            if let Some(slot) = known.iter_mut().find(|known| known.id == outcome.id && !ended(known.state)) {
                *slot = outcome;
            }
        }
        Ok(known)
    }

    /// Returns how a task stands, from the store.
    fn outcome(&self, id: TaskId) -> Result<Option<TaskOutcome>, TaskError> {
        let Some(task) = self.core.store.task(id).map_err(store)? else { return Ok(None) };
        let last = self.core.store.attempts(id).map_err(store)?.pop();
        Ok(Some(TaskOutcome {
            id,
            state: task.state,
            attempt: task.attempts,
            outcome: last.as_ref().and_then(|last| last.outcome.clone()).unwrap_or_default(),
            status: last.as_ref().and_then(|last| last.status),
            detail: last.and_then(|last| last.detail).or(task.reason),
            next_at: (task.state == TaskState::Waiting).then_some(task.run_at),
        }))
    }
}

fn store(source: StoreError) -> TaskError {
    TaskError::Store { source }
}
