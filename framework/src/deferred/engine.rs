//! The deferred engine of one host: what the rest of the host says to it, and what its parts share.

mod ends;
mod keeper;
mod lanes;
mod pool;
mod starts;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use self::keeper::Keeper;
use self::pool::Pool;
use self::starts::Starts;
use super::executor::{Ended, verdict};
use super::housekeeping::{Housekeeping, Kept, Made};
use super::intake::Intake;
use super::outcomes::Outcomes;
use super::scheduler::{KeyView, Limits, Verdict};
use super::steady::SteadyClock;
use super::{Outcome, RetryPolicies, TaskOutcome, Work};
use crate::channel_log::ChannelLog;
use crate::clock::Clock;
use crate::runtime::AsyncRuntime;
use crate::store::{
    AcceptedTask, BulkStep, Change, Claimed, Ending, Lane, Lease, NewTask, Started, Store, StoreError, TaskHead,
    TaskId, Timestamp,
};

/// How the engine works.
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) retry: RetryPolicies,
    /// How long a stop waits for running handlers.
    pub(crate) grace: Duration,
    /// Most tasks in memory.
    pub(crate) window: usize,
    /// Whether the inputs of tasks that are done stay readable.
    pub(crate) keep_inputs: Arc<AtomicBool>,
    /// Whether tasks that are in the store are worked on, and not only those that are accepted by this host.
    pub(crate) whole_store: bool,
    /// How long things are kept after they have ended.
    pub(crate) kept: Kept,
}

impl Settings {
    pub(crate) fn new(config: &crate::config::Config, keep_inputs: Arc<AtomicBool>, whole_store: bool) -> Self {
        let kept = Kept::new(&config.retention);
        let config = &config.deferred;
        let limits = Limits {
            concurrency: config.concurrency,
            threads: config.threads,
            per_key: config.per_webhook,
            per_plugin: config.per_plugin,
            per_host: config.per_host,
        };
        Self {
            limits,
            retry: RetryPolicies::new(config),
            grace: config.grace,
            window: config.window,
            keep_inputs,
            whole_store,
            kept,
        }
    }
}

/// What all parts of the engine share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) work: Arc<dyn Work>,
    pub(super) retry: RetryPolicies,
    pub(super) log: ChannelLog,
    pub(super) clock: Clock,
    /// By which tasks are due.
    pub(super) steady: SteadyClock,
    pub(super) keep_inputs: Arc<AtomicBool>,
    pub(super) intake: Intake,
    pub(super) outcomes: Outcomes,
    /// The runs of synchronous handlers that go on in threads, which nobody can end.
    pub(super) in_threads: Mutex<HashMap<TaskId, Lease>>,
    pub(super) stopping: AtomicBool,
}

/// What the keeper hears. There are never more messages than tasks in memory, running claims and callers that wait,
/// because what is accepted and left in the store is noted elsewhere.
enum Message {
    /// Tasks were committed that this host holds.
    Accepted(Vec<TaskHead>),
    /// Tasks were committed that nobody holds; the intake has noted which.
    Overflow,
    Ended(Vec<Ended>),
    /// A claim has ended.
    Claimed {
        lanes: Vec<Lane>,
        reserved: usize,
        claimed: Result<Vec<Claimed>, StoreError>,
    },
    /// Waiting tasks in the store were made ready.
    Promoted(Result<Vec<Lane>, StoreError>),
    /// Tasks were given up to the store.
    Unheld {
        heads: Vec<TaskHead>,
        result: Result<(), StoreError>,
    },
    /// A task was made ready by hand.
    Retried(AcceptedTask),
    /// A task was made dead by hand.
    Cancelled(TaskId, String),
    /// Tasks were changed by a bulk operation.
    Bulk(Box<BulkStep>),
    /// Something about a key was changed by hand.
    Changed(String),
    /// The store has ready tasks in these lanes that nobody holds.
    Spilled(Vec<Lane>),
    /// A key has another policy in the store.
    Policy(String),
    /// Something with this key has ended that the scheduler did not start.
    Heard(String, Verdict),
    /// Somebody asks whether a key has to wait.
    Held(String, Sender<bool>),
    /// Somebody asks how the keys stand.
    Keys(Sender<Vec<KeyView>>),
    PluginsChanged,
    /// Others did something to the store.
    Store(Change),
    /// What this host held was given up.
    GaveUp(Result<(), StoreError>),
    /// There is something to see elsewhere: the host stops.
    Wake,
}

/// The deferred engine of one host.
pub(crate) struct Deferred {
    shared: Arc<Shared>,
    messages: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// A host that works only on its own announcements keeps no house.
    housekeeping: Option<Arc<Housekeeping>>,
}

impl Deferred {
    /// Starts the engine.
    pub(crate) fn start(
        settings: Settings,
        store: Arc<dyn Store>,
        work: Arc<dyn Work>,
        runtime: AsyncRuntime,
        log: ChannelLog,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            steady: SteadyClock::new(clock.clone(), log.clone()),
            keep_inputs: Arc::clone(&settings.keep_inputs),
            intake: Intake::new(settings.window),
            store,
            work,
            retry: settings.retry.clone(),
            log,
            clock,
            outcomes: Outcomes::default(),
            in_threads: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let (messages, inbox) = unbounded();
        let (ran, ends) = unbounded();
        ends::start(&shared, ends, messages.clone())?;
        let pool = Pool::start(settings.limits.threads, &shared, &ran)?;
        let starts = Starts::start(&shared, pool, runtime.clone(), ran, messages.clone())?;
        let housekeeping = if settings.whole_store {
            let made = messages.clone();
            let tell = move |one| {
                // After a stop nobody listens: the tasks are in the store and run at the next start.
                let _ = made.send(match one {
                    Made::Accepted(task) => Message::Spilled(vec![task.head.lane()]),
                    Made::Step(step) => Message::Bulk(step),
                });
            };
            Some(Arc::new(Housekeeping::start(Arc::clone(&shared), settings.kept, tell)?))
        } else {
            None
        };
        let mut keeper = Keeper::new(&settings, &shared, starts, runtime, (messages.clone(), inbox));
        keeper.housekeeping.clone_from(&housekeeping);
        let thread = std::thread::Builder::new().name("switchboard-scheduler".into()).spawn(move || keeper.work())?;
        Ok(Self { shared, messages, thread: Mutex::new(Some(thread)), housekeeping })
    }

    /// Decides which of the tasks that are about to be committed this host takes into its memory, and says when they are
    /// due by the clock that the scheduler goes by.
    pub(crate) fn admit(&self, tasks: &mut [NewTask]) {
        for task in tasks.iter_mut().filter(|task| !task.is_immediate()) {
            task.hold = self.shared.intake.admit(task);
            if task.waits() {
                task.later = true;
                task.run_at = Timestamp(self.shared.steady.after(task.run_at.0.saturating_sub(task.at.0)));
            } else {
                task.run_at = Timestamp(self.shared.steady.now()).min(task.at);
            }
        }
    }

    /// Counts back what was admitted and then not committed.
    pub(crate) fn not_accepted(&self, admitted: usize) {
        self.shared.intake.released(admitted);
    }

    /// Takes tasks that have been committed; `waiting` says which of them were accepted for later, and is `None` for one
    /// that is not for the scheduler.
    pub(crate) fn accepted(&self, tasks: &[AcceptedTask], waiting: &[Option<bool>]) {
        let tasks = || tasks.iter().zip(waiting).filter_map(|(task, waits)| Some((task, (*waits)?)));
        let held: Vec<TaskHead> = tasks().filter(|(task, _)| task.held).map(|(task, _)| task.head.clone()).collect();
        if !held.is_empty() {
            self.send(Message::Accepted(held));
        }
        let left = tasks().filter(|(task, _)| !task.held && !task.known);
        if self.shared.intake.overflowed(left.map(|(task, waits)| (&task.head, waits))) {
            self.send(Message::Overflow);
        }
    }

    /// Takes a task that this host holds and nobody has told of.
    pub(crate) fn adopt(&self, head: TaskHead) {
        self.shared.intake.took(1);
        self.send(Message::Accepted(vec![head]));
    }

    /// Decides what becomes of a task after an attempt, by the clock that the scheduler goes by.
    pub(crate) fn ending(
        &self,
        started: &Started,
        schedule: Option<Vec<Duration>>,
        outcome: &Outcome,
        keep_input: bool,
    ) -> Ending {
        let after = |wait_ms| self.shared.steady.after(wait_ms);
        self.shared.retry.ending(started, schedule, outcome, after, keep_input)
    }

    /// Takes in what an attempt that the scheduler did not start says about its key.
    pub(crate) fn heard(&self, started: &Started, outcome: &Outcome) {
        self.send(Message::Heard(started.task.key.clone(), verdict(started, outcome)));
    }

    /// Returns whether the tasks of a key have to wait: they are paused or at their rate, its breaker is open, or its receiver
    /// has asked for time.
    pub(crate) fn is_held(&self, key: String) -> bool {
        let (reply, answer) = bounded(1);
        self.send(Message::Held(key, reply));
        // An engine that has stopped starts nothing, and holds nothing back.
        answer.recv().unwrap_or(false)
    }

    /// Takes a task that was made ready by hand.
    pub(crate) fn retried(&self, task: AcceptedTask) {
        self.send(Message::Retried(task));
    }

    /// Forgets a task that was made dead by hand.
    pub(crate) fn cancelled(&self, task: TaskId, key: String) {
        self.send(Message::Cancelled(task, key));
    }

    /// Looks again at the schedules and the bulk operations.
    pub(crate) fn housekeeping_changed(&self) {
        if let Some(housekeeping) = &self.housekeeping {
            housekeeping.changed();
        }
    }

    /// Looks at a key again, of which something was changed by hand.
    pub(crate) fn changed(&self, key: String) {
        self.send(Message::Changed(key));
    }

    /// Goes by the policy of a key that is in the store now.
    pub(crate) fn policy_changed(&self, key: String) {
        self.send(Message::Policy(key));
    }

    /// Returns how the keys stand that have something in memory; nothing once the engine has stopped.
    pub(crate) fn keys(&self) -> Vec<KeyView> {
        let (reply, answer) = bounded(1);
        self.send(Message::Keys(reply));
        answer.recv().unwrap_or_default()
    }

    /// As [`Deferred::keys`]; `None` when the scheduler does not answer in time.
    pub(crate) fn keys_within(&self, patience: Duration) -> Option<Vec<KeyView>> {
        let (reply, answer) = bounded(1);
        self.send(Message::Keys(reply));
        answer.recv_timeout(patience).ok()
    }

    /// Looks for handlers of tasks that had none.
    pub(crate) fn plugins_changed(&self) {
        self.send(Message::PluginsChanged);
    }

    /// Returns a channel that gets every outcome from now on.
    pub(crate) fn subscribe(&self) -> Receiver<TaskOutcome> {
        self.shared.outcomes.subscribe()
    }

    /// Takes no more tasks, waits for the running ones as long as the grace allows, and gives the others back.
    pub(crate) fn stop(&self) {
        if let Some(housekeeping) = &self.housekeeping {
            housekeeping.stop();
        }
        self.shared.stopping.store(true, Ordering::Release);
        self.send(Message::Wake);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the scheduler's thread has been printed; what it left running is found at the next start.
        let _ = thread.map(JoinHandle::join);
    }

    fn send(&self, message: Message) {
        // After a stop nobody listens: the tasks are in the store and run at the next start.
        let _ = self.messages.send(message);
    }
}
