//! The deferred tasks of a host, as an administrator or an application sees them.

mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde::Serialize;
use switchboard_plugin_api::TriggerNumber;
use thiserror::Error;

pub use trace::TaskTrace;

use crate::core::Core;
use crate::deferred::{BreakerState, CHANNEL, Deferred, TaskOutcome};
use crate::store::{
    Acceptance, Attempt, Event, KeyPolicy, NewTask, StoreError, Task, TaskCounts, TaskFilter, TaskId, TaskState,
    Timestamp,
};

/// In which time a rate may count its starts.
pub(crate) const RATE_TIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);

/// How a key stands.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct KeyState {
    /// The key.
    pub key: String,
    /// Tasks that are ready.
    pub queued: u64,
    /// Tasks that run.
    pub running: u64,
    /// Tasks that wait for their time.
    pub waiting: u64,
    /// Tasks that are due and in this host's memory.
    pub in_memory: u64,
    /// Whether its tasks may start, after they failed.
    pub breaker: BreakerState,
    /// Failures in a row.
    pub failures: u32,
    /// Whether it gets one request at a time until one succeeds.
    pub one_at_a_time: bool,
    /// Until when none of its tasks starts.
    pub held_until: Option<Timestamp>,
    /// What was decided about it.
    pub policy: Option<KeyPolicy>,
}

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
    /// It is not in a state in which that can be done.
    #[error("task {id} is {state}: {remedy}")]
    State {
        /// The id.
        id: TaskId,
        /// Its state.
        state: TaskState,
        /// What can be done.
        remedy: &'static str,
    },
    /// Its handler cannot be called just now.
    #[error(
        "the handler {number:05} `{name}` cannot be called: no plugin has it, or it is suspended; `switchboard triggers` \
         shows what there is"
    )]
    NoHandler {
        /// The trigger number.
        number: u32,
        /// The event name.
        name: String,
    },
    /// What it would be run with is no longer there.
    #[error(
        "the input of task {id} is gone: it is removed when a task is done, except in development mode \
         (`[log] mode = \"development\"`)"
    )]
    InputGone {
        /// The id.
        id: TaskId,
    },
    /// A key cannot be used.
    #[error(transparent)]
    Key {
        /// Why.
        source: crate::defer::DeferError,
    },
    /// A rate cannot be kept.
    #[error("a rate counts its starts in 1 ms to 24 h, this is {per:?}")]
    Rate {
        /// What was asked for.
        per: Duration,
    },
    /// A replay was accepted and cannot be started while somebody waits.
    #[error(
        "the replay {id} is accepted and cannot be started in the foreground just now: it is run in the background, \
         `switchboard task show {id}` shows how it ends"
    )]
    NotStarted {
        /// The replay.
        id: TaskId,
        /// Why.
        source: StoreError,
    },
    /// A replay has run and its end cannot be written down.
    #[error(
        "the replay {id} has run, and how it ended cannot be written down just now: that is done as soon as the store \
         can be written, `switchboard task show {id}` shows it then"
    )]
    NotWritten {
        /// The replay.
        id: TaskId,
        /// Why.
        source: StoreError,
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

    /// Returns how many tasks match; `after` and `limit` do not count.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn count(&self, filter: &TaskFilter) -> Result<u64, TaskError> {
        self.core.store.count_tasks(filter).map_err(store)
    }

    /// Returns a channel that gets the outcome of every attempt from now on. On a host that does not work on tasks it
    /// stays silent.
    ///
    /// Nothing waits for its reader. One that is more than 8,192 outcomes behind is let go: it gets those that it has not
    /// read, and then sees that the channel has ended. It may subscribe again and find in the store what it missed.
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
    /// When there is none of that id, it is ready or running, its input is gone, or the store fails.
    pub fn retry(&self, id: TaskId) -> Result<Task, TaskError> {
        let task = self.get(id)?;
        if task.state == TaskState::Done {
            self.input(&task)?;
        }
        let now = Timestamp(self.core.clock.now());
        let Some(retried) = self.core.store.retry_task(id, now).wait().map_err(store)? else {
            let state = self.get(id)?.state;
            let remedy = "only a task that is done, dead or waiting can be retried";
            return Err(TaskError::State { id, state, remedy });
        };
        if let Some(deferred) = self.core.deferred.get() {
            deferred.retried(retried);
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
        if let Some(deferred) = self.core.deferred.get().filter(|_| cancelled) {
            deferred.cancelled(id, task.key);
        }
        Ok(cancelled)
    }

    /// Runs a task that has ended once more, as a task of its own: with the same handler and input, once, whatever comes of
    /// it. Replays of one task run one after the other. The first task stays as it is, and so do its webhook and its key:
    /// a replay is made although the webhook is disabled, and its failure counts for nothing. `by` is who asks for it, for
    /// the log.
    ///
    /// # Errors
    ///
    /// When there is none of that id, it has not ended, its input is gone, or the store fails.
    pub fn replay(&self, id: TaskId, by: &str) -> Result<Task, TaskError> {
        let task = self.replayable(id)?;
        let new = NewTask::replay_of(&task, Timestamp(self.core.clock.now()));
        let accepted = self.core.accept(Acceptance { events: Vec::new(), tasks: vec![new] }).map_err(store)?;
        let replay = accepted.first().map(|task| task.head.id).ok_or_else(|| store(StoreError::Closed))?;
        self.log_replay(id, replay, by);
        self.get(replay)
    }

    /// Returns a task that can be replayed.
    fn replayable(&self, id: TaskId) -> Result<Task, TaskError> {
        let task = self.get(id)?;
        if !matches!(task.state, TaskState::Done | TaskState::Dead) {
            let remedy = "only a task that is done or dead can be replayed";
            return Err(TaskError::State { id, state: task.state, remedy });
        }
        self.input(&task)?;
        Ok(task)
    }

    fn log_replay(&self, task: TaskId, replay: TaskId, by: &str) {
        log::info!(logger: self.core.log, target: CHANNEL, task = task.to_string(), replay = replay.to_string(), by;
            "a task is replayed");
    }

    /// Fails when what a task is run with is gone.
    fn input(&self, task: &Task) -> Result<(), TaskError> {
        let there = match &task.event {
            Some(_) => self.event(task)?.is_some_and(|event| !event.body.is_empty()),
            None => task.payload.is_some(),
        };
        if there { Ok(()) } else { Err(TaskError::InputGone { id: task.id }) }
    }

    /// Returns what a task that is due waits for, when it is not its turn: a plugin that has its handler, or one that does
    /// not panic.
    #[must_use]
    pub fn waits_for(&self, task: &Task) -> Option<String> {
        if !matches!(task.state, TaskState::Ready | TaskState::Waiting) {
            return None;
        }
        let number = TriggerNumber::checked(task.number)?;
        let registry = self.core.registry.load();
        match registry.handler(number, &task.name) {
            None => Some(format!("no plugin has the handler {number} `{}`", task.name)),
            Some(handler) => handler.suspension().map(|suspension| suspension.to_string()),
        }
    }

    /// Returns how the keys stand that have work, a policy or trouble, in order. What has to do with failures is known
    /// only to a host that works on tasks.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn keys(&self) -> Result<Vec<KeyState>, TaskError> {
        let mut keys: BTreeMap<String, KeyState> = BTreeMap::new();
        let state = |keys: &mut BTreeMap<String, KeyState>, key: &str, set: &dyn Fn(&mut KeyState)| {
            set(keys.entry(key.to_owned()).or_insert_with(|| KeyState { key: key.to_owned(), ..KeyState::default() }));
        };
        for counts in self.core.store.key_counts().map_err(store)? {
            state(&mut keys, &counts.key, &|key| {
                (key.queued, key.running, key.waiting) = (counts.ready, counts.running, counts.waiting);
            });
        }
        for (name, policy) in self.key_policies()? {
            state(&mut keys, &name, &|key| key.policy = Some(policy.clone()));
        }
        for view in self.core.deferred.get().map(Deferred::keys).unwrap_or_default() {
            state(&mut keys, &view.key, &|key| {
                key.in_memory = view.queued as u64;
                key.breaker = view.breaker;
                key.failures = view.failures;
                key.one_at_a_time = view.one_at_a_time;
                key.held_until = view.held_until.map(Timestamp);
            });
        }
        Ok(keys.into_values().collect())
    }

    /// Returns the keys that have a policy, in order.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn key_policies(&self) -> Result<Vec<(String, KeyPolicy)>, TaskError> {
        self.core.store.key_policies().map_err(store)
    }

    /// Sets the policy of a key, or removes it. It holds at once, and after a restart. The key may have no tasks yet.
    ///
    /// # Errors
    ///
    /// When the key or the rate cannot be used, or the store fails.
    pub fn set_key_policy(&self, key: &str, policy: Option<KeyPolicy>) -> Result<(), TaskError> {
        crate::defer::check_name("the key", key).map_err(|source| TaskError::Key { source })?;
        let policy = policy.filter(|policy| !policy.is_empty());
        if let Some(rate) = policy.as_ref().and_then(|policy| policy.rate)
            && !RATE_TIMES.contains(&rate.per)
        {
            return Err(TaskError::Rate { per: rate.per });
        }
        let now = Timestamp(self.core.clock.now());
        self.core.store.set_key_policy(key.to_owned(), policy.clone(), now).wait().map_err(store)?;
        if let Some(deferred) = self.core.deferred.get() {
            deferred.policy_changed(key.to_owned());
        }
        let policy = policy.and_then(|policy| serde_json::to_string(&policy).ok()).unwrap_or_else(|| "none".into());
        log::info!(logger: self.core.log, target: CHANNEL, key, policy; "a key has another policy");
        Ok(())
    }

    /// Waits until each of the tasks is done, dead or waiting, or the timeout passes; returns what is known then.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn wait(&self, ids: &[TaskId], timeout: Duration) -> Result<Vec<TaskOutcome>, TaskError> {
        let deadline = Instant::now() + timeout;
        let ended = |state| matches!(state, TaskState::Done | TaskState::Dead | TaskState::Waiting);
        loop {
            // Subscribed before the store is read, so that no end falls between the two.
            let outcomes = self.core.deferred.get().map(Deferred::subscribe);
            let mut known: Vec<TaskOutcome> = Vec::new();
            for id in ids {
                known.extend(self.outcome(*id)?);
            }
            let Some(outcomes) = outcomes else { return Ok(known) };
            while known.iter().any(|outcome| !ended(outcome.state)) {
                match outcomes.recv_deadline(deadline) {
                    Ok(outcome) => {
                        if let Some(slot) = known.iter_mut().find(|known| known.id == outcome.id && !ended(known.state))
                        {
                            *slot = outcome;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => return Ok(known),
                    // It was too far behind: what it missed is in the store.
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            if known.iter().all(|outcome| ended(outcome.state)) {
                return Ok(known);
            }
        }
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
