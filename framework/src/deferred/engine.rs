//! The thread that owns the scheduler, and the threads that run synchronous handlers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use switchboard_plugin_api::HandlerKind;
use tokio::sync::watch;

use super::executor::Ended;
use super::outcomes::Outcomes;
use super::scheduler::{Limits, Scheduler};
use super::{CHANNEL, RetryPolicy, TaskOutcome, Work};
use crate::channel_log::ChannelLog;
use crate::clock::Clock;
use crate::runtime::AsyncRuntime;
use crate::store::{Lease, Store, TaskHead, TaskId};

/// Longest sleep of the scheduler's thread while tasks wait for their time, so that a change of the wall clock is seen.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How the engine works.
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) retry: RetryPolicy,
    /// How long a stop waits for running handlers.
    pub(crate) grace: Duration,
}

impl Settings {
    pub(crate) fn new(config: &crate::config::DeferredConfig) -> Self {
        let limits = Limits {
            concurrency: config.concurrency,
            threads: config.threads,
            per_key: config.per_webhook,
            per_host: config.per_host,
        };
        Self { limits, retry: RetryPolicy::new(config.schedule.clone()), grace: config.grace }
    }
}

/// What all parts of the engine share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) work: Arc<dyn Work>,
    pub(super) retry: RetryPolicy,
    pub(super) log: ChannelLog,
    pub(super) clock: Clock,
    pub(super) outcomes: Outcomes,
    /// The runs of synchronous handlers that go on in threads, which nobody can end.
    pub(super) in_threads: Mutex<HashMap<TaskId, Lease>>,
}

enum Message {
    Ready(Vec<TaskHead>),
    Ended(Ended),
    PluginsChanged,
    Stop,
}

/// The deferred engine of one host.
pub(crate) struct Deferred {
    shared: Arc<Shared>,
    messages: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Deferred {
    /// Starts the engine with the tasks that the store holds.
    pub(crate) fn start(
        settings: Settings,
        store: Arc<dyn Store>,
        work: Arc<dyn Work>,
        runtime: AsyncRuntime,
        log: ChannelLog,
        clock: Clock,
        pending: Vec<TaskHead>,
    ) -> std::io::Result<Self> {
        let Settings { limits, retry, grace } = settings;
        let shared = Arc::new(Shared {
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
            shared: Arc::clone(&shared),
            runtime,
            pool,
            messages: messages.clone(),
            inbox,
            stop: watch::channel(false).0,
            grace,
        };
        let now = engine.shared.clock.now();
        pending.into_iter().for_each(|head| engine.scheduler.add(head, now));
        let thread = std::thread::Builder::new().name("switchboard-scheduler".into()).spawn(move || engine.work())?;
        Ok(Self { shared, messages, thread: Mutex::new(Some(thread)) })
    }

    /// Takes tasks that have been committed.
    pub(crate) fn ready(&self, heads: Vec<TaskHead>) {
        self.send(Message::Ready(heads));
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
            self.scheduler.tick(self.shared.clock.now());
            self.launch();
            match self.next_message() {
                Some(Message::Stop) => break,
                Some(message) => self.handle(message),
                None => {}
            }
        }
        self.wind_down();
    }

    fn launch(&mut self) {
        let work = Arc::clone(&self.shared.work);
        while let Some((head, kind)) = self.scheduler.take(|number, name| work.kind(number, name)) {
            if kind == HandlerKind::Sync {
                self.pool.run(head, self.stop.subscribe());
                continue;
            }
            let task = Arc::clone(&self.shared).run_async(head, self.stop.subscribe());
            let messages = self.messages.clone();
            self.runtime.spawn(async move {
                // The engine outlives its tasks, or has stopped and no longer counts slots.
                let _ = messages.send(Message::Ended(task.await));
            });
        }
    }

    /// Waits for a message or for the next due task.
    fn next_message(&self) -> Option<Message> {
        let Some(due) = self.scheduler.next_due() else {
            // Without senders there is nothing left to wait for; the engine itself holds one.
            return Some(self.inbox.recv().unwrap_or(Message::Stop));
        };
        let wait_ms = u64::try_from(due - self.shared.clock.now()).unwrap_or(0);
        match self.inbox.recv_timeout(Duration::from_millis(wait_ms).min(LONGEST_SLEEP)) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
        }
    }

    fn handle(&mut self, message: Message) {
        let now = self.shared.clock.now();
        match message {
            Message::Ready(heads) => heads.into_iter().for_each(|head| self.scheduler.add(head, now)),
            Message::Ended(ended) => {
                self.scheduler.ended(ended.id);
                if let Some(next) = ended.next {
                    self.scheduler.add(next, now);
                }
            }
            Message::PluginsChanged => self.scheduler.rehome(),
            Message::Stop => {}
        }
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
                Ok(Message::Ended(ended)) => self.scheduler.ended(ended.id),
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
