//! Runs one task that has been started, and says what comes of it when its end is on disk.

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
use crate::store::{AttemptResult, Lease, RunEnd, Started, StoreError, TaskHead, TaskId, TaskState, Timestamp};

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
    pub(super) fn gone(head: TaskHead) -> Self {
        Self::silent(head, Next::Gone)
    }

    /// An end that says nothing about its key.
    fn silent(head: TaskHead, next: Next) -> Self {
        Self { head, next, verdict: Verdict::Neither }
    }
}

/// A task that has been started.
pub(super) struct Run {
    pub(super) head: TaskHead,
    pub(super) started: Arc<Started>,
    pub(super) signal: Signal,
}

/// A run that is over, and how it ended.
pub(super) struct Ran {
    run: Run,
    end: End,
}

impl Ran {
    /// Returns what is written down.
    pub(super) fn end(&self) -> RunEnd {
        let (Started { task, lease, .. }, End { ending, written, .. }) = (&*self.run.started, &self.end);
        RunEnd { task: task.id, lease: *lease, ending: ending.clone(), attempt: written.clone() }
    }

    /// Returns whether nobody waits for it to be written down.
    pub(super) fn is_stopped(&self) -> bool {
        self.run.signal.is_stopped()
    }

    /// Leaves the task as it is, to be found at the next start.
    pub(super) fn given_up(self) -> Ended {
        Ended::gone(self.run.head)
    }
}

impl Shared {
    /// Runs the task of an asynchronous handler, until its signal says that it has to end.
    pub(super) async fn run_async(self: Arc<Self>, mut run: Run) -> Ran {
        let work = Arc::clone(&self.work).run_async(Arc::clone(&run.started));
        let attempted = tokio::select! {
            biased;
            // The handler's future is dropped.
            why = run.signal.ended() => Attempted::Interrupted(why),
            outcome = work => outcome.map_or(Attempted::NotCalled, Attempted::Ended),
        };
        let end = self.end(&run.started, attempted);
        Ran { run, end }
    }

    /// Runs the task of a synchronous handler in this thread.
    pub(super) fn run_sync(&self, run: Run) -> Ran {
        let Run { head, started, signal } = &run;
        self.in_threads().insert(head.id, started.lease);
        let attempted = if signal.is_cancelled() {
            // Whoever gives back what is in the threads may have looked already.
            Attempted::Interrupted(signal.why())
        } else {
            // The handler's own panics are caught in the plugin; this one is for the host's.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.work.run(started, signal.cancelled())))
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
        let end = self.end(started, attempted);
        Ran { run, end }
    }

    /// Gives back the tasks of synchronous handlers that do not return. Their results, should they come, are late ones.
    pub(super) fn give_back(&self) {
        let attempt = interrupted(self.now(), STOPPED);
        let given_back = |(task, lease)| RunEnd { task, lease, ending: Ending::Release, attempt: attempt.clone() };
        let left: Vec<RunEnd> = self.in_threads().drain().map(given_back).collect();
        let count = left.len();
        if count > 0
            && let Err(error) = self.store.finish(left).wait()
        {
            log::error!(logger: self.log, target: CHANNEL, tasks = count, error = Chain(&error).to_string();
                "interrupted tasks cannot be given back; they are found at the next start");
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

    /// Tells whoever wants to know how a run ended, after that is on disk; `applied` says whether it was in time.
    pub(super) fn told(&self, ran: Ran, applied: bool) -> Ended {
        let Ran { run: Run { head, started, .. }, end: End { written, ending, verdict, called } } = ran;
        if !applied {
            log::warn!(logger: self.log, target: CHANNEL, task = head.id.to_string();
                "a late result was dropped: the task has been run again or ended by hand since");
            return Ended::gone(head);
        }
        if !called {
            return Ended::silent(head, Next::InStore);
        }
        // All ends come through one thread, which must outlive a fault in one of them.
        if catch_unwind(AssertUnwindSafe(|| self.work.ended(&started, &written, &ending))).is_err() {
            log::error!(logger: self.log, target: CHANNEL, task = head.id.to_string();
                "the host failed inside while it noted the end of a task; the end itself is stored");
        }
        let (state, next_at) = match ending {
            Ending::Done { .. } => (TaskState::Done, None),
            Ending::Retry { at, .. } => (TaskState::Waiting, Some(at)),
            Ending::Dead { .. } => (TaskState::Dead, None),
            Ending::Release => (TaskState::Ready, None),
        };
        self.outcomes.tell(&TaskOutcome {
            id: head.id,
            state,
            attempt: started.task.attempts,
            outcome: written.outcome,
            status: written.status,
            detail: written.detail,
            next_at,
        });
        let next = match ending {
            Ending::Retry { at, hold: true, .. } => {
                Next::Held(TaskHead { run_at: at, attempts: head.attempts + 1, ..head.clone() })
            }
            Ending::Retry { at, .. } => Next::Later(at),
            _ => Next::Gone,
        };
        Ended { head, next, verdict }
    }

    /// Says what comes of a task that the store could not start. One whose record cannot be read is given up.
    pub(super) fn not_started(&self, head: TaskHead, error: &StoreError) -> Ended {
        if let StoreError::Corrupt { reason, .. } = error {
            log::error!(logger: self.log, target: CHANNEL, task = head.id.to_string(), error = error.to_string();
                "a task cannot be read and is given up");
            self.quarantine(&head, reason);
            return Ended::gone(head);
        }
        log::error!(logger: self.log, target: CHANNEL, task = head.id.to_string(), error = Chain(error).to_string();
            "the store cannot start a task; it is tried again");
        let wait_ms = i64::try_from(STORE_RETRY.as_millis()).unwrap_or(i64::MAX);
        let run_at = Timestamp(self.steady.now().saturating_add(wait_ms));
        let next = Next::Held(TaskHead { run_at, ..head.clone() });
        Ended::silent(head, next)
    }

    fn quarantine(&self, head: &TaskHead, reason: &str) {
        // Should it fail, the task is in the way of nobody but its ordered key, and found again at the next start.
        if let Err(error) = self.store.quarantine(head.id, reason.to_owned(), self.now()).wait() {
            log::error!(logger: self.log, target: CHANNEL, task = head.id.to_string(), error = Chain(&error).to_string();
                "a task that cannot be read cannot be given up; it is found at the next start");
        }
    }

    pub(super) fn cannot_finish(&self, ran: &Ran, error: &StoreError) {
        let task = ran.run.head.id.to_string();
        log::error!(logger: self.log, target: CHANNEL, task, error = Chain(error).to_string();
            "the store cannot take the end of a task; it is written again until it does");
    }

    pub(super) fn now(&self) -> Timestamp {
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
