//! Runs one task: start on disk, handler, end on disk.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use switchboard_plugin_api::PluginError;
use tokio::sync::watch;

use super::engine::Shared;
use super::{CHANNEL, Ending, Outcome, RetryPolicy, TaskOutcome};
use crate::error::Chain;
use crate::runtime::INTERRUPTED;
use crate::store::{AttemptResult, Lease, Started, StoreError, TaskHead, TaskId, TaskState, Timestamp};

/// Wait between tries to write to a store that fails, for example because its disk is full.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// What the scheduler hears when a task has ended.
pub(super) struct Ended {
    pub(super) head: TaskHead,
    pub(super) next: Next,
}

/// What comes of a task whose run has ended.
pub(super) enum Next {
    /// Nothing more: it has ended, or somebody else has it.
    Gone,
    /// It stays in memory, to be started at its time.
    Held(TaskHead),
    /// It is ready, and held by nobody.
    InStore,
    /// It is in the store until this time.
    Later(Timestamp),
}

impl Ended {
    fn gone(head: TaskHead) -> Self {
        Self { head, next: Next::Gone }
    }
}

impl Shared {
    /// Runs the task of an asynchronous handler. `stop` turns true when the host can wait no longer.
    pub(super) async fn run_async(self: Arc<Self>, head: TaskHead, mut stop: watch::Receiver<bool>) -> Ended {
        let started = match self.store.start(head.id, self.now()).await {
            Ok(started) => started,
            Err(error) => return self.not_started(head, &error),
        };
        let Some(started) = started else { return Ended::gone(head) };
        let started = Arc::new(started);
        let work = Arc::clone(&self.work).run_async(Arc::clone(&started));
        let outcome = tokio::select! {
            outcome = work => outcome.map_or(Attempted::NotCalled, Attempted::Ended),
            // The handler's future is dropped.
            _ = stop.wait_for(|stop| *stop) => Attempted::Interrupted,
        };
        let called = !matches!(outcome, Attempted::NotCalled);
        let (written, ending) = self.ending(&started, outcome);
        loop {
            match self.store.finish(started.task.id, started.lease, ending.clone(), written.clone()).await {
                Ok(_) if !called => return Ended { head, next: Next::InStore },
                Ok(applied) => return self.told(head, &started, &written, &ending, applied),
                Err(error) => {
                    self.cannot_finish(&head, &error);
                    if *stop.borrow() {
                        return Ended::gone(head);
                    }
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
        }
    }

    /// Runs the task of a synchronous handler in this thread.
    pub(super) fn run_sync(&self, head: TaskHead, cancelled: &Arc<AtomicBool>, stop: &watch::Receiver<bool>) -> Ended {
        let started = match self.store.start(head.id, self.now()).wait() {
            Ok(started) => started,
            Err(error) => return self.not_started(head, &error),
        };
        let Some(started) = started else { return Ended::gone(head) };
        self.in_threads().insert(head.id, started.lease);
        // The handler's own panics are caught in the plugin; this one is for the host's.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work.run(&started, Arc::clone(cancelled))))
            .unwrap_or_else(|_| Some(Outcome::failed(PluginError::retryable("the host failed inside"))));
        let outcome = outcome.map_or(Attempted::NotCalled, Attempted::Ended);
        self.in_threads().remove(&head.id);
        let outcome = match outcome {
            // A handler that heard of the stop and gave up has made no attempt.
            Attempted::Ended(outcome) if cancelled.load(Ordering::Relaxed) && outcome.is_interruption() => {
                Attempted::Interrupted
            }
            outcome => outcome,
        };
        let called = !matches!(outcome, Attempted::NotCalled);
        let (written, ending) = self.ending(&started, outcome);
        loop {
            match self.store.finish(started.task.id, started.lease, ending.clone(), written.clone()).wait() {
                Ok(_) if !called => return Ended { head, next: Next::InStore },
                Ok(applied) => return self.told(head, &started, &written, &ending, applied),
                Err(error) => {
                    self.cannot_finish(&head, &error);
                    if *stop.borrow() {
                        return Ended::gone(head);
                    }
                    std::thread::park_timeout(STORE_RETRY);
                }
            }
        }
    }

    /// Gives back the tasks of synchronous handlers that do not return. Their results, should they come, are late ones.
    pub(super) fn give_back(&self) {
        let left: Vec<_> = self.in_threads().drain().collect();
        for (id, lease) in left {
            let given = self.store.finish(id, lease, Ending::Release, interrupted(self.now())).wait();
            if let Err(error) = given {
                log::error!(logger: self.log, target: CHANNEL, task = id.to_string(), error = Chain(&error).to_string();
                    "an interrupted task cannot be given back; it is found at the next start");
            }
        }
    }

    fn in_threads(&self) -> MutexGuard<'_, HashMap<TaskId, Lease>> {
        self.in_threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ending(&self, started: &Started, outcome: Attempted) -> (AttemptResult, Ending) {
        let now = self.now();
        match outcome {
            Attempted::Ended(outcome) => {
                let task = &started.task;
                let attempts = task.attempts.saturating_sub(task.attempts_before);
                let policy = task.schedule.clone().map(RetryPolicy::new);
                let policy = policy.as_ref().unwrap_or(&self.retry);
                let due = Timestamp(self.steady.now());
                let ending = policy.ending(&outcome, attempts, due, fastrand::f64(), self.keep_inputs);
                (outcome.attempt_result(now), ending)
            }
            Attempted::Interrupted => (interrupted(now), Ending::Release),
            Attempted::NotCalled => (not_called(now), Ending::Release),
        }
    }

    fn told(
        &self,
        head: TaskHead,
        started: &Started,
        written: &AttemptResult,
        ending: &Ending,
        applied: bool,
    ) -> Ended {
        if !applied {
            log::warn!(logger: self.log, target: CHANNEL, task = head.id.to_string();
                "a late result was dropped: the task has been run again or ended by hand since");
            return Ended::gone(head);
        }
        self.work.ended(started, written, ending);
        let (state, next_at) = match ending {
            Ending::Done { .. } => (TaskState::Done, None),
            Ending::Retry { at, .. } => (TaskState::Waiting, Some(*at)),
            Ending::Dead { .. } => (TaskState::Dead, None),
            Ending::Release => (TaskState::Ready, None),
        };
        self.outcomes.tell(&TaskOutcome {
            id: head.id,
            state,
            attempt: started.task.attempts,
            outcome: written.outcome.clone(),
            status: written.status,
            detail: written.detail.clone(),
            next_at,
        });
        let next = match ending {
            Ending::Retry { at, hold: true, .. } => {
                Next::Held(TaskHead { run_at: *at, attempts: head.attempts + 1, ..head.clone() })
            }
            Ending::Retry { at, .. } => Next::Later(*at),
            _ => Next::Gone,
        };
        Ended { head, next }
    }

    fn not_started(&self, head: TaskHead, error: &StoreError) -> Ended {
        if let StoreError::Corrupt { reason, .. } = error {
            log::error!(logger: self.log, target: CHANNEL, task = head.id.to_string(), error = error.to_string();
                "a task cannot be read and is given up");
            // Not waited for: should it fail, the task is in the way of nobody and found again at the next start.
            drop(self.store.quarantine(head.id, reason.clone(), self.now()));
            return Ended::gone(head);
        }
        log::error!(logger: self.log, target: CHANNEL, task = head.id.to_string(), error = Chain(error).to_string();
            "the store cannot start a task; it is tried again");
        let wait_ms = i64::try_from(STORE_RETRY.as_millis()).unwrap_or(i64::MAX);
        let run_at = Timestamp(self.steady.now().saturating_add(wait_ms));
        let next = Next::Held(TaskHead { run_at, ..head.clone() });
        Ended { head, next }
    }

    fn cannot_finish(&self, head: &TaskHead, error: &StoreError) {
        log::error!(logger: self.log, target: CHANNEL, task = head.id.to_string(), error = Chain(error).to_string();
            "the store cannot take the end of a task; it is written again until it does");
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now())
    }
}

/// What became of an attempt.
enum Attempted {
    Ended(Outcome),
    /// The host stops and cannot wait for it.
    Interrupted,
    /// The handler was removed or suspended after the scheduler had looked: the task waits for it.
    NotCalled,
}

/// What is written down about an attempt that a stop of the host interrupted.
fn interrupted(now: Timestamp) -> AttemptResult {
    not_made(now, INTERRUPTED, "the host stopped while the attempt was made")
}

/// What is written down about an attempt whose handler could not be called.
fn not_called(now: Timestamp) -> AttemptResult {
    not_made(now, "not_called", "the handler was removed or suspended before it was called; the task waits for it")
}

fn not_made(now: Timestamp, outcome: &str, detail: &str) -> AttemptResult {
    let (outcome, detail) = (outcome.to_owned(), Some(detail.to_owned()));
    AttemptResult { ended_at: now, outcome, status: None, detail, url: None, response: None }
}
