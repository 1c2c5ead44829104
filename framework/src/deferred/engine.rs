//! The thread that owns the scheduler, and the threads that run synchronous handlers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use switchboard_plugin_api::HandlerKind;
use tokio::sync::watch;

use super::executor::{Ended, Next};
use super::housekeeping::{Housekeeping, Kept, Made};
use super::intake::Intake;
use super::outcomes::Outcomes;
use super::paging::Paging;
use super::scheduler::{Limits, Scheduler};
use super::steady::SteadyClock;
use super::{CHANNEL, RetryPolicy, TaskOutcome, Work};
use crate::channel_log::ChannelLog;
use crate::clock::Clock;
use crate::error::Chain;
use crate::runtime::AsyncRuntime;
use crate::store::{AcceptedTask, Claimed, Lane, Lease, NewTask, Store, StoreError, TaskHead, TaskId, Timestamp};

/// Longest sleep of the scheduler's thread while tasks wait for their time, so that a change of the wall clock is seen.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// A key with this many tasks in its queue leaves further ones in the store.
const KEY_WINDOW: usize = 256;

/// Tasks that one claim takes of a lane.
const PER_LANE: u32 = 128;

/// Tasks that one step makes ready when their time has come.
const PROMOTIONS: u32 = 1_000;

/// Lanes that are read in one step at the start.
const LANES: u32 = 1_000;

/// Wait before a step that the store refused is tried again, in milliseconds.
const STORE_RETRY_MS: i64 = 1_000;

/// How the engine works.
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) retry: RetryPolicy,
    /// How long a stop waits for running handlers.
    pub(crate) grace: Duration,
    /// Most tasks in memory.
    pub(crate) window: usize,
    /// Whether the inputs of tasks that are done stay readable.
    pub(crate) keep_inputs: bool,
    /// Whether tasks that are in the store are worked on, and not only those that are accepted by this host.
    pub(crate) whole_store: bool,
    /// How long things are kept after they have ended.
    pub(crate) kept: Kept,
}

impl Settings {
    pub(crate) fn new(config: &crate::config::Config, whole_store: bool) -> Self {
        let keep_inputs = config.log.mode == crate::config::Mode::Development;
        let crate::config::RetentionConfig { done, dead, max_tasks } = config.retention;
        let config = &config.deferred;
        let limits = Limits {
            concurrency: config.concurrency,
            threads: config.threads,
            per_key: config.per_webhook,
            per_host: config.per_host,
        };
        Self {
            limits,
            retry: RetryPolicy::new(config.schedule.clone()),
            grace: config.grace,
            window: config.window,
            keep_inputs,
            whole_store,
            kept: Kept { done, dead, max_tasks },
        }
    }
}

/// What all parts of the engine share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) work: Arc<dyn Work>,
    pub(super) retry: RetryPolicy,
    pub(super) log: ChannelLog,
    pub(super) clock: Clock,
    /// By which tasks are due.
    pub(super) steady: SteadyClock,
    pub(super) keep_inputs: bool,
    pub(super) intake: Intake,
    pub(super) outcomes: Outcomes,
    /// The runs of synchronous handlers that go on in threads, which nobody can end.
    pub(super) in_threads: Mutex<HashMap<TaskId, Lease>>,
}

enum Message {
    /// Tasks were committed.
    Accepted(Vec<AcceptedTask>),
    Ended(Ended),
    /// A claim has ended.
    Claimed(Vec<Lane>, Result<Vec<Claimed>, StoreError>),
    /// Waiting tasks in the store were made ready.
    Promoted(Result<Vec<Lane>, StoreError>),
    /// Tasks without a handler were given up to the store.
    Unheld(Vec<TaskHead>, Result<(), StoreError>),
    /// A task was made ready by hand.
    Retried(AcceptedTask),
    /// Something about a key was changed by hand.
    Changed(String),
    /// The store has ready tasks in these lanes that nobody holds.
    Spilled(Vec<Lane>),
    PluginsChanged,
    Stop,
}

/// The deferred engine of one host.
pub(crate) struct Deferred {
    shared: Arc<Shared>,
    messages: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// A host that works only on its own announcements keeps no house.
    housekeeping: Option<Housekeeping>,
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
        let Settings { limits, retry, grace, window, keep_inputs, whole_store, kept } = settings;
        let shared = Arc::new(Shared {
            steady: SteadyClock::new(clock.clone(), log.clone()),
            keep_inputs,
            intake: Intake::new(window),
            store,
            work,
            retry,
            log,
            clock,
            outcomes: Outcomes::default(),
            in_threads: Mutex::default(),
        });
        let (messages, inbox) = unbounded();
        let pool = Pool::start(limits.threads, &shared, &messages)?;
        let mut engine = Engine {
            scheduler: Scheduler::new(limits),
            paging: Paging::default(),
            whole_store,
            store_due: None,
            promoting: false,
            look: whole_store,
            pause: None,
            shared: Arc::clone(&shared),
            runtime,
            pool,
            messages: messages.clone(),
            inbox,
            stop: watch::channel(false).0,
            grace,
        };
        let thread = std::thread::Builder::new().name("switchboard-scheduler".into()).spawn(move || engine.work())?;
        let housekeeping = if whole_store {
            let made = messages.clone();
            let tell = move |one| {
                let message = match one {
                    Made::Accepted(task) => Message::Accepted(vec![task]),
                    Made::Lanes(lanes) => Message::Spilled(lanes),
                };
                // After a stop nobody listens: the tasks are in the store and run at the next start.
                let _ = made.send(message);
            };
            Some(Housekeeping::start(Arc::clone(&shared), kept, tell)?)
        } else {
            None
        };
        Ok(Self { shared, messages, thread: Mutex::new(Some(thread)), housekeeping })
    }

    /// Decides which of the tasks that are about to be committed this host takes into its memory.
    pub(crate) fn admit(&self, tasks: &mut [NewTask]) {
        for task in tasks {
            task.hold = self.shared.intake.admit(task);
        }
    }

    /// Counts back what was admitted and then not committed.
    pub(crate) fn not_accepted(&self, admitted: usize) {
        self.shared.intake.released(admitted);
    }

    /// Takes tasks that have been committed.
    pub(crate) fn accepted(&self, tasks: Vec<AcceptedTask>) {
        self.send(Message::Accepted(tasks));
    }

    /// Takes a task that was made ready by hand.
    pub(crate) fn retried(&self, task: AcceptedTask) {
        self.send(Message::Retried(task));
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
        self.send(Message::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the scheduler's thread has been printed; what it left running is found at the next start.
        let _ = thread.map(JoinHandle::join);
    }

    fn send(&self, message: Message) {
        // After a stop nobody listens: the tasks are in the store and run at the next start.
        let _ = self.messages.send(message);
    }
}

struct Engine {
    scheduler: Scheduler,
    paging: Paging,
    whole_store: bool,
    /// When the next task in the store is due that nobody holds.
    store_due: Option<i64>,
    promoting: bool,
    /// Whether the lanes of the store have to be looked up.
    look: bool,
    /// The store failed: it is not asked again before this time.
    pause: Option<i64>,
    shared: Arc<Shared>,
    runtime: AsyncRuntime,
    pool: Pool,
    messages: Sender<Message>,
    inbox: Receiver<Message>,
    stop: watch::Sender<bool>,
    grace: Duration,
}

impl Engine {
    fn work(&mut self) {
        loop {
            let now = self.now();
            self.scheduler.tick(now);
            self.launch();
            self.give_up_homeless();
            self.page(now);
            match self.next_message(now) {
                Some(Message::Stop) => break,
                Some(message) => self.handle(message),
                None => {}
            }
        }
        self.wind_down();
    }

    fn now(&self) -> i64 {
        self.shared.steady.now()
    }

    fn launch(&mut self) {
        let work = Arc::clone(&self.shared.work);
        while let Some((head, kind)) = self.scheduler.take(|number, name| work.kind(number, name)) {
            if kind == HandlerKind::Sync {
                self.pool.run(head, self.stop.subscribe());
                continue;
            }
            let task = Arc::clone(&self.shared).run_async(head, self.stop.subscribe());
            self.later(async move { Message::Ended(task.await) });
        }
    }

    /// Sends the message that `future` gives.
    fn later(&self, future: impl Future<Output = Message> + Send + 'static) {
        let messages = self.messages.clone();
        self.runtime.spawn(async move {
            // The engine outlives its tasks, or has stopped and no longer counts slots.
            let _ = messages.send(future.await);
        });
    }

    /// Notes every lane of the store, and when the next of its tasks is due.
    fn look_into_store(&mut self) {
        let store = Arc::clone(&self.shared.store);
        let mut after: Option<Lane> = None;
        loop {
            match store.lanes(after.as_ref(), LANES) {
                Ok(lanes) if lanes.is_empty() => break,
                Ok(lanes) => {
                    after = lanes.last().cloned();
                    lanes.into_iter().for_each(|lane| self.spill(lane));
                }
                Err(error) => return self.unreadable(&error),
            }
        }
        self.look = false;
        self.read_store_due();
    }

    fn read_store_due(&mut self) {
        match self.shared.store.next_due() {
            Ok(due) => self.store_due = due.map(|due| due.0),
            Err(error) => {
                self.look = true;
                self.unreadable(&error);
            }
        }
    }

    /// Leaves the store alone for a moment.
    fn unreadable(&mut self, error: &StoreError) {
        log::error!(logger: self.shared.log, target: CHANNEL, error = Chain(error).to_string();
            "the tasks in the store cannot be brought into memory; it is tried again");
        self.pause = Some(self.now().saturating_add(STORE_RETRY_MS));
    }

    fn spill(&mut self, lane: Lane) {
        self.shared.intake.set_spilled(&lane.key, true);
        let fed = !self.scheduler.is_low(&lane.key);
        self.paging.spill(lane, fed);
    }

    /// Tasks whose handler no plugin has go back to the store, where they cost no memory.
    fn give_up_homeless(&mut self) {
        let heads = self.scheduler.take_homeless();
        if heads.is_empty() {
            return;
        }
        let receipt = self.shared.store.unhold(heads.iter().map(|head| head.id).collect());
        self.later(async move { Message::Unheld(heads, receipt.await) });
    }

    /// Brings more of the keys that have little left, and makes ready what is due in the store.
    fn page(&mut self, now: i64) {
        for key in self.scheduler.take_drained() {
            if self.paging.has(&key) {
                self.paging.drained(&key);
            } else {
                self.shared.intake.set_spilled(&key, false);
            }
        }
        self.pause = self.pause.filter(|until| *until > now);
        if !self.whole_store || self.pause.is_some() {
            return;
        }
        if self.look {
            self.look_into_store();
        }
        if self.store_due.is_some_and(|due| due <= now) && !self.promoting {
            self.promoting = true;
            let receipt = self.shared.store.promote(Timestamp(now), PROMOTIONS);
            self.later(async move { Message::Promoted(receipt.await) });
        }
        if self.shared.intake.room() > 0 {
            let work = Arc::clone(&self.shared.work);
            let lanes = self.paging.next_claim(|lane| work.kind(lane.number, &lane.name).is_some());
            if !lanes.is_empty() {
                let receipt = self.shared.store.claim(lanes.clone(), PER_LANE);
                self.later(async move { Message::Claimed(lanes, receipt.await) });
            }
        }
    }

    /// Waits for a message or for the next due task.
    fn next_message(&self, now: i64) -> Option<Message> {
        let store_due = self.store_due.filter(|_| self.whole_store && !self.promoting && self.pause.is_none());
        let Some(due) = self.scheduler.next_due().into_iter().chain(store_due).chain(self.pause).min() else {
            // Without senders there is nothing left to wait for; the engine itself holds one.
            return Some(self.inbox.recv().unwrap_or(Message::Stop));
        };
        let wait_ms = u64::try_from(due - now).unwrap_or(0);
        match self.inbox.recv_timeout(Duration::from_millis(wait_ms).min(LONGEST_SLEEP)) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Accepted(tasks) => tasks.into_iter().for_each(|task| self.accepted(task)),
            Message::Ended(ended) => self.ended(ended),
            Message::Claimed(lanes, claimed) => self.claimed(&lanes, claimed),
            Message::Promoted(lanes) => self.promoted(lanes),
            Message::Unheld(heads, result) => self.unheld(heads, result),
            Message::Retried(task) => self.retried(task),
            Message::Changed(key) => self.paging.drained(&key),
            Message::Spilled(lanes) => {
                for lane in lanes {
                    let key = lane.key.clone();
                    self.spill(lane);
                    // An ordered key may have been waiting for a task that was ended by hand.
                    self.paging.drained(&key);
                }
            }
            Message::PluginsChanged => self.paging.rehome(),
            Message::Stop => {}
        }
    }

    fn accepted(&mut self, task: AcceptedTask) {
        let AcceptedTask { head, held, known } = task;
        let now = self.now();
        if held {
            self.hold(head, now);
        } else if !known && head.run_at.0 > now {
            self.due_in_store(head.run_at);
        } else if !known {
            self.spill(head.lane());
        }
    }

    fn retried(&mut self, task: AcceptedTask) {
        let now = self.now();
        let lane = task.head.lane();
        if !task.held || !self.scheduler.reschedule(task.head, now) {
            self.spill(lane);
        }
    }

    /// Takes a task that is counted already.
    fn hold(&mut self, head: TaskHead, now: i64) {
        let key = head.key.clone();
        if !self.scheduler.add(head, now) {
            self.shared.intake.released(1);
        }
        if self.scheduler.queued(&key) >= KEY_WINDOW {
            self.shared.intake.set_spilled(&key, true);
        }
    }

    fn due_in_store(&mut self, at: Timestamp) {
        self.store_due = Some(self.store_due.map_or(at.0, |due| due.min(at.0)));
    }

    fn ended(&mut self, Ended { head, next }: Ended) {
        self.scheduler.ended(head.id);
        let now = self.now();
        match next {
            Next::Held(head) => return self.hold(head, now),
            Next::Later(at) => self.due_in_store(at),
            Next::InStore => self.spill(head.lane()),
            Next::Gone => {}
        }
        self.shared.intake.released(1);
        if head.ordered {
            // The next one of its key may run now, whichever lane it is in.
            self.spill(head.lane());
            self.paging.drained(&head.key);
        }
    }

    fn claimed(&mut self, lanes: &[Lane], claimed: Result<Vec<Claimed>, StoreError>) {
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                self.unreadable(&error);
                return self.paging.not_claimed(lanes);
            }
        };
        let now = self.now();
        for Claimed { lane, heads, more } in claimed {
            // A lane that gave nothing waits for an earlier task of its ordered key.
            let blocked = heads.is_empty();
            self.shared.intake.took(heads.len());
            heads.into_iter().for_each(|head| self.hold(head, now));
            let fed = blocked || !self.scheduler.is_low(&lane.key);
            if let Some(key) = self.paging.claimed(&lane, more, fed) {
                self.shared.intake.set_spilled(&key, false);
            }
        }
    }

    fn promoted(&mut self, lanes: Result<Vec<Lane>, StoreError>) {
        self.promoting = false;
        match lanes {
            Ok(lanes) => {
                lanes.into_iter().for_each(|lane| self.spill(lane));
                self.read_store_due();
            }
            Err(error) => self.unreadable(&error),
        }
    }

    fn unheld(&mut self, heads: Vec<TaskHead>, result: Result<(), StoreError>) {
        if let Err(error) = result {
            self.unreadable(&error);
            let run_at = Timestamp(self.now().saturating_add(STORE_RETRY_MS));
            let now = self.now();
            return heads.into_iter().for_each(|head| self.hold(TaskHead { run_at, ..head }, now));
        }
        self.shared.intake.released(heads.len());
        heads.iter().for_each(|head| self.spill(head.lane()));
    }

    fn wind_down(&mut self) {
        if !self.drain(Instant::now() + self.grace) {
            // Asynchronous handlers are dropped now and give their tasks back; synchronous ones are asked to return.
            self.stop.send_replace(true);
            self.pool.cancel();
            self.drain(Instant::now() + Duration::from_secs(2));
        }
        let left: Vec<TaskId> = self.scheduler.running_ids().collect();
        self.shared.give_back();
        if !left.is_empty() {
            log::warn!(logger: self.shared.log, target: CHANNEL, tasks = left.len();
                "handlers did not end in time; their tasks run again at the next start");
        }
    }

    /// Handles ends until no task runs; false when the deadline comes first.
    fn drain(&mut self, deadline: Instant) -> bool {
        while self.scheduler.running() > 0 {
            match self.inbox.recv_deadline(deadline) {
                Ok(Message::Ended(ended)) => self.scheduler.ended(ended.head.id),
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// The threads that run synchronous handlers.
struct Pool {
    tasks: Sender<(TaskHead, watch::Receiver<bool>)>,
    cancelled: Arc<AtomicBool>,
}

impl Pool {
    fn start(threads: usize, shared: &Arc<Shared>, messages: &Sender<Message>) -> std::io::Result<Self> {
        // The scheduler hands out as many tasks as there are threads, so the channel never holds back its thread.
        let (tasks, queue) = bounded::<(TaskHead, watch::Receiver<bool>)>(threads);
        let cancelled = Arc::new(AtomicBool::new(false));
        for index in 0..threads {
            let (queue, messages) = (queue.clone(), messages.clone());
            let (shared, cancelled) = (Arc::clone(shared), Arc::clone(&cancelled));
            std::thread::Builder::new().name(format!("switchboard-task-{index}")).spawn(move || {
                for (head, stop) in queue {
                    let ended = shared.run_sync(head, &cancelled, &stop);
                    let _ = messages.send(Message::Ended(ended));
                }
            })?;
        }
        Ok(Self { tasks, cancelled })
    }

    fn run(&self, head: TaskHead, stop: watch::Receiver<bool>) {
        // The threads end only when this sender is dropped.
        let _ = self.tasks.send((head, stop));
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}
