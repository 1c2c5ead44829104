//! A replay in the foreground, of which one sees every step.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use switchboard_plugin_api::{HandlerKind, PluginError};

use super::{TaskError, Tasks, store};
use crate::channel_log::{Tap, TappedLine};
use crate::deferred::{Ending, Outcome, STORE_RETRY, Work};
use crate::runtime::interrupted;
use crate::store::{
    Acceptance, Attempt, AttemptResult, NewTask, RunEnd, Started, Store, StoreError, Task, TaskHead, TaskId, Timestamp,
};
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
    /// As [`Tasks::replay`], and when the handler cannot be called just now. When the store fails after it has accepted the
    /// replay, that is run or ended in the background all the same.
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
        let head = accepted.into_iter().next().ok_or_else(|| store(StoreError::Closed))?.head;
        let replay = head.id;
        self.log_replay(id, replay, by);
        let started =
            core.store.start(vec![replay], now).wait().and_then(|mut started| started.pop().unwrap_or(Ok(None)));
        let started = match started {
            Ok(started) => started.ok_or_else(|| taken(replay, &task))?,
            Err(source) => {
                self.hand_over(head);
                return Err(TaskError::NotStarted { id: replay, source });
            }
        };
        let (started, tap) = (Arc::new(started), Tap::default());
        let outcome = self.perform(&work, kind, &started, &tap);
        let ending = match &outcome.result {
            Ok(_) => Ending::Done { keep_input: core.live.is_development() },
            Err(error) => Ending::Dead { reason: error.to_string() },
        };
        let written = outcome.attempt_result(Timestamp(core.clock.now()), &ending);
        let end_of_run =
            RunEnd { task: replay, lease: started.lease, ending: ending.clone(), attempt: written.clone() };
        match core.store.finish(vec![end_of_run]).wait() {
            Ok(applied) if applied.contains(&true) => {}
            Ok(_) => return Err(taken(replay, &task)),
            Err(source) => {
                core.runtime.spawn(end(Arc::clone(&core.store), work, started, ending, written));
                return Err(TaskError::NotWritten { id: replay, source });
            }
        }
        tap.during(|| work.ended(&started, &written, &ending));
        let attempt = self.attempts(replay)?.pop().ok_or_else(|| taken(replay, &task))?;
        Ok(TaskTrace { task: self.get(replay)?, attempt, lines: tap.take() })
    }

    /// Gives a replay that this host holds to whoever works on tasks.
    fn hand_over(&self, head: TaskHead) {
        match self.core.deferred.get() {
            Some(deferred) => deferred.adopt(head),
            // Without an answer it is given back when the store is closed.
            None => drop(self.core.store.unhold(vec![head.id])),
        }
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

/// Writes down how a replay ended, again and again until the store takes it. When the host stops before, the next one finds
/// it running.
async fn end(
    store: Arc<dyn Store>,
    work: Arc<TaskWork>,
    started: Arc<Started>,
    ending: Ending,
    written: AttemptResult,
) {
    let run = RunEnd { task: started.task.id, lease: started.lease, ending, attempt: written };
    loop {
        tokio::time::sleep(STORE_RETRY).await;
        match store.finish(vec![run.clone()]).await {
            Ok(applied) if applied.contains(&true) => return work.ended(&started, &run.attempt, &run.ending),
            Ok(_) | Err(StoreError::Closed) => return,
            Err(_) => {}
        }
    }
}

/// The error of a replay that was ended or started by somebody else, as when the database of several hosts was away.
fn taken(replay: TaskId, task: &Task) -> TaskError {
    TaskError::State { id: replay, state: task.state, remedy: "somebody else has ended or started it meanwhile" }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use switchboard_plugin_api::TriggerNumber;
    use switchboard_plugin_api::host::{CallHost, Payload};

    use super::*;
    use crate::store::TaskState;
    use crate::{BuiltIn, DeferOptions, Switchboard, WorkOn};

    const NUMBER: TriggerNumber = TriggerNumber::new(21_500);

    struct Nothing;

    impl BuiltIn for Nothing {
        fn call(&self, _: &dyn CallHost, _: &[u8]) -> Result<Payload, PluginError> {
            Ok(Payload::from(b"null".to_vec()))
        }
    }

    fn host(data: &std::path::Path, work_on: WorkOn) -> Switchboard {
        let builder = Switchboard::builder(data).watch(false).work_on(work_on);
        builder.built_in(NUMBER, "nothing", Arc::new(Nothing)).open().unwrap()
    }

    /// Accepts a task as a replay in the foreground is, and gives it up as one that could not be started.
    fn hand_over(host: &Switchboard) -> TaskId {
        let tasks = host.tasks();
        let (number, name) = (NUMBER.get(), "nothing".to_owned());
        let new =
            NewTask { number, name, key: "k".into(), payload: Some(Vec::new()), hold: true, ..NewTask::default() };
        let accepted = tasks.core.store.accept(Acceptance { events: Vec::new(), tasks: vec![new] }).wait().unwrap();
        let head = accepted[0].head.clone();
        tasks.hand_over(head.clone());
        head.id
    }

    #[test]
    fn a_replay_that_cannot_be_started_in_the_foreground_runs_in_the_background() {
        let data = tempfile::tempdir().unwrap();
        let working = host(data.path(), WorkOn::Everything);
        let id = hand_over(&working);
        let ended = working.tasks().wait(&[id], Duration::from_secs(30)).unwrap();
        assert_eq!(ended[0].state, TaskState::Done);
        // What is counted is counted back: more fits than there was.
        let next = working.defer(NUMBER, "nothing", Vec::new(), DeferOptions::default()).unwrap();
        assert_eq!(working.tasks().wait(&[next.id], Duration::from_secs(30)).unwrap()[0].state, TaskState::Done);
        drop(working);
        let idle = host(data.path(), WorkOn::Nothing);
        let id = hand_over(&idle);
        // In the order of the store's thread.
        idle.tasks().core.store.unhold(Vec::new()).wait().unwrap();
        let task = idle.tasks().get(id).unwrap();
        assert_eq!((task.state, task.held), (TaskState::Ready, false), "for whoever works on the store");
    }
}
