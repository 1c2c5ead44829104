//! Runs one task: start on disk, handler, end on disk.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use switchboard_plugin_api::{ErrorKind, PluginError};

use super::engine::Shared;
use super::halt::{STOPPED, Signal};
use super::retry::asked_wait;
use super::scheduler::Verdict;
use super::{CHANNEL, Ending, Outcome, TaskOutcome};
use crate::error::Chain;
use crate::runtime::INTERRUPTED;
use crate::store::{AttemptResult, Lease, Receipt, Started, StoreError, TaskHead, TaskId, TaskState, Timestamp};

/// Wait between tries to write to a store that fails, for example because its disk is full.
pub(crate) const STORE_RETRY: Duration = Duration::from_secs(1);

/// What the scheduler hears when a task has ended.
pub(super) struct Ended {
    pub(super) head: TaskHead,
    pub(super) next: Next,
    /// What it says about its key.
    pub(super) verdict: Verdict,
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
        Self::silent(head, Next::Gone)
    }

    /// An end that says nothing about its key.
    fn silent(head: TaskHead, next: Next) -> Self {
        Self { head, next, verdict: Verdict::Neither }
    }
}

impl Shared {
    /// Runs the task of an asynchronous handler, until `signal` says that it has to end.
    pub(super) async fn run_async(self: Arc<Self>, head: TaskHead, mut signal: Signal) -> Ended {
        let started = match self.store.start(head.id, self.now()).await {
            Ok(Some(started)) => Arc::new(started),
            Ok(None) => return Ended::gone(head),
            Err(error) => {
                if let Some(quarantine) = self.quarantine(&head, &error) {
                    self.quarantined(&head, quarantine.await);
                    return Ended::gone(head);
                }
                return self.not_started(head, &error);
            }
        };
        let work = Arc::clone(&self.work).run_async(Arc::clone(&started));
        let attempted = tokio::select! {
            biased;
            // The handler's future is dropped.
            why = signal.ended() => Attempted::Interrupted(why),
            outcome = work => outcome.map_or(Attempted::NotCalled, Attempted::Ended),
        };
        let end = self.end(&started, attempted);
        loop {
            match self.store.finish(started.task.id, started.lease, end.ending.clone(), end.written.clone()).await {
                Ok(applied) => return self.told(head, &started, &end, applied),
                Err(error) => {
                    self.cannot_finish(&head, &error);
                    if signal.is_stopped() {
                        return Ended::gone(head);
                    }
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
        }
    }

    /// Runs the task of a synchronous handler in this thread.
    pub(super) fn run_sync(&self, head: TaskHead, signal: &Signal) -> Ended {
        let started = match self.store.start(head.id, self.now()).wait() {
            Ok(Some(started)) => started,
            Ok(None) => return Ended::gone(head),
            Err(error) => {
                if let Some(quarantine) = self.quarantine(&head, &error) {
                    self.quarantined(&head, quarantine.wait());
                    return Ended::gone(head);
                }
                return self.not_started(head, &error);
            }
        };
        self.in_threads().insert(head.id, started.lease);
        let attempted = if signal.is_cancelled() {
            // Whoever gives back what is in the threads may have looked already.
            Attempted::Interrupted(signal.why())
        } else {
            // The handler's own panics are caught in the plugin; this one is for the host's.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.work.run(&started, signal.cancelled())))
                .unwrap_or_else(|_| Some(Outcome::failed(PluginError::retryable("the host failed inside"))));
            outcome.map_or(Attempted::NotCalled, Attempted::Ended)
        };
        self.in_threads().remove(&head.id);
        let attempted = match attempted {
            // A handler that heard of the stop and gave up has made no attempt.
            Attempted::Ended(outcome) if signal.is_cancelled() && outcome.is_interruption() => {
                Attempted::Interrupted(signal.why())
            }
            attempted => attempted,
        };
        let end = self.end(&started, attempted);
        loop {
            match self.store.finish(started.task.id, started.lease, end.ending.clone(), end.written.clone()).wait() {
                Ok(applied) => return self.told(head, &started, &end, applied),
                Err(error) => {
                    self.cannot_finish(&head, &error);
                    if signal.is_stopped() {
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
            let given = self.store.finish(id, lease, Ending::Release, interrupted(self.now(), STOPPED)).wait();
            if let Err(error) = given {
                log::error!(logger: self.log, target: CHANNEL, task = id.to_string(), error = Chain(&error).to_string();
                    "an interrupted task cannot be given back; it is found at the next start");
            }
        }
    }

    fn in_threads(&self) -> MutexGuard<'_, HashMap<TaskId, Lease>> {
        self.in_threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, started: &Started, attempted: Attempted) -> End {
        let now = self.now();
        match attempted {
            Attempted::Ended(outcome) => {
                let ending = self.ending(started, &outcome);
                let verdict = verdict(started, &outcome);
                let written = outcome.attempt_result(now, &ending);
                End { written, ending, verdict, called: true }
            }
            Attempted::Interrupted(why) => End::released(interrupted(now, why), true),
            Attempted::NotCalled => End::released(not_called(now), false),
        }
    }

    fn ending(&self, started: &Started, outcome: &Outcome) -> Ending {
        let after = |delay_ms| self.steady.after(delay_ms);
        let keep_input = self.keep_inputs.load(Ordering::Relaxed);
        match self.retry.ending(started, self.work.schedule(started), outcome, after, keep_input) {
            Ending::Retry { at, reason, hold } => {
                Ending::Retry { at, reason, hold: hold && self.intake.has_room_to_wait() }
            }
            ending => ending,
        }
    }

    fn told(&self, head: TaskHead, started: &Started, end: &End, applied: bool) -> Ended {
        let End { written, ending, verdict, called } = end;
        if !applied {
            log::warn!(logger: self.log, target: CHANNEL, task = head.id.to_string();
                "a late result was dropped: the task has been run again or ended by hand since");
            return Ended::gone(head);
        }
        if !called {
            return Ended::silent(head, Next::InStore);
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
        Ended { head, next, verdict: *verdict }
    }

    /// Gives up a task whose record cannot be read; `None` when the error is of another kind.
    fn quarantine(&self, head: &TaskHead, error: &StoreError) -> Option<Receipt<bool>> {
        let StoreError::Corrupt { reason, .. } = error else { return None };
        log::error!(logger: self.log, target: CHANNEL, task = head.id.to_string(), error = error.to_string();
            "a task cannot be read and is given up");
        Some(self.store.quarantine(head.id, reason.clone(), self.now()))
    }

    fn quarantined(&self, head: &TaskHead, result: Result<bool, StoreError>) {
        // Should it fail, the task is in the way of nobody but its ordered key, and found again at the next start.
        if let Err(error) = result {
            log::error!(logger: self.log, target: CHANNEL, task = head.id.to_string(), error = Chain(&error).to_string();
                "a task that cannot be read cannot be given up; it is found at the next start");
        }
    }

    fn not_started(&self, head: TaskHead, error: &StoreError) -> Ended {
        log::error!(logger: self.log, target: CHANNEL, task = head.id.to_string(), error = Chain(error).to_string();
            "the store cannot start a task; it is tried again");
        let wait_ms = i64::try_from(STORE_RETRY.as_millis()).unwrap_or(i64::MAX);
        let run_at = Timestamp(self.steady.now().saturating_add(wait_ms));
        let next = Next::Held(TaskHead { run_at, ..head.clone() });
        Ended::silent(head, next)
    }

    fn cannot_finish(&self, head: &TaskHead, error: &StoreError) {
        log::error!(logger: self.log, target: CHANNEL, task = head.id.to_string(), error = Chain(error).to_string();
            "the store cannot take the end of a task; it is written again until it does");
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now())
    }
}

/// How a run ends, to be written down.
struct End {
    written: AttemptResult,
    ending: Ending,
    verdict: Verdict,
    /// Whether the handler was called.
    called: bool,
}

impl End {
    fn released(written: AttemptResult, called: bool) -> Self {
        Self { written, ending: Ending::Release, verdict: Verdict::Neither, called }
    }
}

/// Returns what an attempt says about its key. A panic says something about the plugin, which is suspended for it, and a
/// replay is an administrator's experiment.
pub(super) fn verdict(started: &Started, outcome: &Outcome) -> Verdict {
    if started.task.is_trial() {
        return Verdict::Neither;
    }
    match &outcome.result {
        Ok(_) => Verdict::Good,
        Err(error) if error.kind() == ErrorKind::Retryable => {
            // Without an answer it is the handler that wants to wait with this task, and not a receiver with all.
            let wait = asked_wait(outcome).filter(|_| outcome.status.is_some());
            Verdict::Bad { busy: outcome.is_busy(), wait }
        }
        Err(_) => Verdict::Neither,
    }
}

/// What became of an attempt.
enum Attempted {
    Ended(Outcome),
    /// The host cannot wait for it, with the reason.
    Interrupted(&'static str),
    /// The handler was removed or suspended after the scheduler had looked: the task waits for it.
    NotCalled,
}

/// What is written down about an attempt that the host interrupted.
fn interrupted(now: Timestamp, why: &str) -> AttemptResult {
    not_made(now, INTERRUPTED, why)
}

/// What is written down about an attempt whose handler could not be called.
fn not_called(now: Timestamp) -> AttemptResult {
    not_made(now, "not_called", "the handler was removed or suspended before it was called; the task waits for it")
}

fn not_made(now: Timestamp, outcome: &str, detail: &str) -> AttemptResult {
    let (outcome, detail) = (outcome.to_owned(), Some(detail.to_owned()));
    AttemptResult { ended_at: now, outcome, detail, ..AttemptResult::default() }
}
