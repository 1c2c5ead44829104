//! A replay in the foreground, of which one sees every step.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use switchboard_plugin_api::{HandlerKind, PluginError};

use super::{TaskError, Tasks, store};
use crate::channel_log::{Tap, TappedLine};
use crate::deferred::{Ending, Outcome, Work};
use crate::runtime::interrupted;
use crate::store::{Acceptance, Attempt, NewTask, Started, StoreError, Task, TaskId, Timestamp};
use crate::work::TaskWork;

/// What a replay in the foreground did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskTrace {
    /// The replay, which has ended.
    pub task: Task,
    /// Its attempt: the handler's plugin, each request with addresses, TLS, times and masked heads, and the outcome.
    pub attempt: Attempt,
    /// What the handler logged, and the host about its end, in order. Records below the level of the log are left out.
    pub lines: Vec<TappedLine>,
}

impl Tasks<'_> {
    /// Runs a task that has ended once more as [`Tasks::replay`] does, but while the caller waits: the same handler with the
    /// same input, in this thread or, when it is asynchronous, on the host's runtime. The attempt is kept like any other.
    /// It does not wait for other replays of the task.
    ///
    /// # Errors
    ///
    /// As [`Tasks::replay`], and when the handler cannot be called just now.
    pub fn trace(&self, id: TaskId, by: &str) -> Result<TaskTrace, TaskError> {
        let core = self.core;
        let task = self.replayable(id)?;
        let work = Arc::new(TaskWork(Arc::downgrade(core)));
        let Some(kind) = work.kind(task.number, &task.name) else {
            return Err(TaskError::NoHandler { number: task.number, name: task.name });
        };
        let now = Timestamp(core.clock.now());
        // Held by this host and not known to its scheduler, so that nobody else starts it.
        let new = NewTask { ordered: false, hold: true, ..NewTask::replay_of(&task, now) };
        let accepted = core.store.accept(Acceptance { events: Vec::new(), tasks: vec![new] }).wait().map_err(store)?;
        let replay = accepted.first().map(|task| task.head.id).ok_or_else(|| store(StoreError::Closed))?;
        self.log_replay(id, replay, by);
        let started = core.store.start(replay, now).wait().map_err(store)?.ok_or_else(|| taken(replay, &task))?;
        let (started, tap) = (Arc::new(started), Tap::default());
        let outcome = self.perform(&work, kind, &started, &tap);
        let ending = match &outcome.result {
            Ok(_) => Ending::Done { keep_input: core.live.is_development() },
            Err(error) => Ending::Dead { reason: error.to_string() },
        };
        let written = outcome.attempt_result(Timestamp(core.clock.now()), &ending);
        let finished = core.store.finish(replay, started.lease, ending.clone(), written.clone());
        if !finished.wait().map_err(store)? {
            return Err(taken(replay, &task));
        }
        tap.during(|| work.ended(&started, &written, &ending));
        let attempt = self.attempts(replay)?.pop().ok_or_else(|| taken(replay, &task))?;
        Ok(TaskTrace { task: self.get(replay)?, attempt, lines: tap.take() })
    }

    fn perform(&self, work: &Arc<TaskWork>, kind: HandlerKind, started: &Arc<Started>, tap: &Tap) -> Outcome {
        let outcome = if kind == HandlerKind::Sync {
            tap.during(|| work.run(started, Arc::new(AtomicBool::new(false))))
        } else {
            let run = Arc::clone(work).run_async(Arc::clone(started));
            let ended = self.core.runtime.wait(tap.while_in(run));
            ended.unwrap_or_else(|| Some(Outcome::failed(interrupted())))
        };
        outcome.unwrap_or_else(|| {
            let error = PluginError::retryable("the handler was removed or suspended before it was called");
            Outcome::failed(error.with_code("not_called"))
        })
    }
}

/// The error of a replay that was ended or started by somebody else, as when the database of several hosts was away.
fn taken(replay: TaskId, task: &Task) -> TaskError {
    TaskError::State { id: replay, state: task.state, remedy: "somebody else has ended or started it meanwhile" }
}
