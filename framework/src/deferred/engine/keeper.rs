//! The one thread that owns the scheduler.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, at, never, select};

use super::lanes::STORE_RETRY_MS;
use super::starts::{Launch, Starts};
use super::{Message, Settings, Shared};
use crate::deferred::executor::{Ended, Next};
use crate::deferred::halt::Halt;
use crate::deferred::housekeeping::Housekeeping;
use crate::deferred::paging::Paging;
use crate::deferred::scheduler::{Change, Scheduler, receiver_of};
use crate::deferred::{CHANNEL, Work};
use crate::error::Chain;
use crate::runtime::AsyncRuntime;
use crate::store::{self, AcceptedTask, BulkStep, KeyPolicy, Lane, StoreError, TaskHead, TaskId, Timestamp};

/// Longest sleep of the thread while tasks wait for their time, so that a change of the wall clock is seen.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// A key with this many tasks in its queue leaves further ones in the store.
const KEY_WINDOW: usize = 256;

/// Most messages that are handled before tasks are started again.
const MESSAGES: usize = 256;

/// Most tasks that are started in one commit.
const STARTS: usize = 256;

/// How long a stop waits for handlers that were cancelled.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// How far the host is with giving up what it holds, of which it is not sure any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum GivingUp {
    No,
    Due,
    Asked,
}

pub(super) struct Keeper {
    pub(super) scheduler: Scheduler,
    pub(super) paging: Paging,
    pub(super) whole_store: bool,
    /// When the next task in the store is due that nobody holds.
    pub(super) store_due: Option<i64>,
    pub(super) promoting: bool,
    /// Tasks are being given up to the store to make room.
    pub(super) evicting: bool,
    /// Whether the lanes of the store have to be looked up.
    pub(super) look: bool,
    /// The store failed: it is not asked again before this time.
    pub(super) pause: Option<i64>,
    /// The policies of keys could not be read: they are read again at this time.
    policies_due: Option<i64>,
    /// Tasks that were made ready by hand while their run was ending. Only the store knows how they stand.
    retried: HashSet<TaskId>,
    /// Tasks that were claimed before the end of their last run was heard of: they were made ready by hand at once.
    early: HashMap<TaskId, TaskHead>,
    pub(super) shared: Arc<Shared>,
    runtime: AsyncRuntime,
    starts: Starts,
    messages: Sender<Message>,
    inbox: Receiver<Message>,
    /// What others do to the store.
    changes: Receiver<store::Change>,
    pub(super) housekeeping: Option<Arc<Housekeeping>>,
    /// Whether what this host holds has to be given up.
    pub(super) giving_up: GivingUp,
    halt: Halt,
    grace: Duration,
}

impl Keeper {
    pub(super) fn new(
        settings: &Settings,
        shared: &Arc<Shared>,
        starts: Starts,
        runtime: AsyncRuntime,
        (messages, inbox): (Sender<Message>, Receiver<Message>),
    ) -> Self {
        let work: Arc<dyn Work> = Arc::clone(&shared.work);
        let kind_of = move |number: u32, name: &str| work.kind(number, name);
        let mut scheduler = Scheduler::new(settings.limits, Box::new(kind_of));
        scheduler.tick(shared.steady.now());
        Self {
            scheduler,
            paging: Paging::default(),
            whole_store: settings.whole_store,
            store_due: None,
            promoting: false,
            evicting: false,
            look: settings.whole_store,
            pause: None,
            policies_due: None,
            retried: HashSet::new(),
            early: HashMap::new(),
            shared: Arc::clone(shared),
            runtime,
            starts,
            messages,
            inbox,
            changes: shared.store.changes(),
            housekeeping: None,
            giving_up: GivingUp::No,
            halt: Halt::new(),
            grace: settings.grace,
        }
    }

    pub(super) fn work(&mut self) {
        self.load_policies();
        while !self.shared.stopping.load(Ordering::Acquire) {
            let now = self.tick();
            if self.policies_due.is_some_and(|due| due <= now) {
                self.load_policies();
            }
            self.launch();
            self.give_up_homeless();
            self.page(now);
            let Some(message) = self.next_message(now) else { continue };
            self.tick();
            self.handle(message);
            for _ in 1..MESSAGES {
                let Ok(message) = self.inbox.try_recv() else { break };
                self.handle(message);
            }
        }
        self.wind_down();
    }

    /// Moves the scheduler's time on and returns it.
    fn tick(&mut self) -> i64 {
        let now = self.shared.steady.now();
        self.scheduler.tick(now);
        now
    }

    pub(super) fn now(&self) -> i64 {
        self.shared.steady.now()
    }

    /// Takes the policies of the keys as they are stored.
    fn load_policies(&mut self) {
        self.policies_due = None;
        match self.shared.store.key_policies() {
            Ok(policies) => {
                let mut policies: HashMap<String, KeyPolicy> = policies.into_iter().collect();
                let known: Vec<_> =
                    self.scheduler.policies().map(|(key, policy)| (key.to_owned(), policy.clone())).collect();
                for (key, policy) in known {
                    // One that is as it was keeps what it has counted for its rate.
                    match policies.remove(&key) {
                        Some(stored) if stored == policy => {}
                        stored => self.scheduler.set_policy(&key, stored),
                    }
                }
                policies.into_iter().for_each(|(key, policy)| self.scheduler.set_policy(&key, Some(policy)));
            }
            Err(error) => self.policies_unreadable(&error),
        }
    }

    /// Takes the policy of a key as it is stored. It is read here, in the thread that also hears of the other hosts' policies:
    /// what somebody else has read could be older than what was heard meanwhile.
    fn load_policy(&mut self, key: &str) {
        match self.shared.store.key_policy(key) {
            Ok(policy) => self.scheduler.set_policy(key, policy),
            Err(error) => self.policies_unreadable(&error),
        }
    }

    fn policies_unreadable(&mut self, error: &StoreError) {
        log::error!(logger: self.shared.log, target: CHANNEL, error = Chain(error).to_string();
            "the policies of keys cannot be read; they stay as they are for now, and it is tried again");
        self.policies_due = Some(self.now().saturating_add(STORE_RETRY_MS));
    }

    fn launch(&mut self) {
        let (scheduler, halt) = (&mut self.scheduler, &self.halt);
        let mut next = || scheduler.take().map(|(head, kind)| Launch { head, kind, signal: halt.signal() });
        loop {
            let launches: Vec<Launch> = std::iter::from_fn(&mut next).take(STARTS).collect();
            if launches.is_empty() {
                return;
            }
            self.starts.launch(launches);
        }
    }

    /// Sends the message that `future` gives.
    pub(super) fn later(&self, future: impl Future<Output = Message> + Send + 'static) {
        let messages = self.messages.clone();
        self.runtime.spawn(async move {
            // The thread outlives its tasks, or has stopped and no longer counts slots.
            let _ = messages.send(future.await);
        });
    }

    /// Waits for a message, for the next due task or for what others do to the store.
    fn next_message(&mut self, now: i64) -> Option<Message> {
        let store_due = self.store_due.filter(|_| self.whole_store && !self.promoting && self.pause.is_none());
        let due =
            self.scheduler.next_due().into_iter().chain(store_due).chain(self.pause).chain(self.policies_due).min();
        let wait = due.map(|due| Duration::from_millis(u64::try_from(due - now).unwrap_or(0)).min(LONGEST_SLEEP));
        self.receive(&wait.map_or_else(never, after))
    }

    /// Waits for something, and until `timeout` says so.
    fn receive(&mut self, timeout: &Receiver<Instant>) -> Option<Message> {
        select! {
            // The thread itself holds a sender.
            recv(self.inbox) -> message => message.ok(),
            recv(self.changes) -> change => {
                if change.is_err() {
                    // The store is closed.
                    self.changes = never();
                }
                change.ok().map(Message::Store)
            }
            recv(timeout) -> _ => None,
        }
    }

    fn store_changed(&mut self, change: store::Change) {
        match change {
            store::Change::Work => self.look = self.whole_store,
            store::Change::Plans => self.housekeeping.iter().for_each(|housekeeping| housekeeping.changed()),
            store::Change::Policies => self.load_policies(),
            store::Change::Unsure => self.forget(),
            store::Change::Lost => {
                log::error!(logger: self.shared.log, target: CHANNEL, running = self.scheduler.running();
                    "this host could not reach its database for too long: it stops its tasks, which others may run");
                self.halt.lose();
                self.forget();
            }
        }
    }

    /// Forgets every task that does not run, and gives them up.
    fn forget(&mut self) {
        self.shared.intake.released(self.scheduler.forget_waiting());
        self.shared.intake.forget_spilled();
        self.shared.intake.released(self.early.len());
        self.early.clear();
        self.retried.clear();
        self.paging = Paging::default();
        self.giving_up = GivingUp::Due;
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Accepted(heads) => heads.into_iter().for_each(|head| self.hold(head)),
            Message::Overflow => self.overflow(),
            Message::Ended(ended) => ended.into_iter().for_each(|ended| self.ended(ended)),
            Message::Claimed { lanes, reserved, claimed } => self.claimed(&lanes, reserved, claimed),
            Message::Promoted(lanes) => self.promoted(lanes),
            Message::Unheld { heads, result } => self.unheld(heads, result),
            Message::Retried(task) => self.retried(task),
            Message::Cancelled(id, key) => self.cancelled(id, &key),
            Message::Changed(key) => self.paging.drained(&key),
            Message::Bulk(step) => self.bulk(*step),
            Message::Spilled(lanes) => lanes.into_iter().for_each(|lane| self.spilled(lane)),
            Message::Policy(key) => self.load_policy(&key),
            Message::Heard(key, verdict) => {
                self.scheduler.tick(self.now());
                if let Some(change) = self.scheduler.heard(&key, verdict) {
                    self.tell(&key, change);
                }
            }
            Message::Held(key, reply) => {
                self.scheduler.tick(self.now());
                // Whoever asked may have gone away.
                let _ = reply.send(self.scheduler.is_held(&key));
            }
            Message::Keys(reply) => {
                // Whoever asked may have gone away.
                let _ = reply.send(self.scheduler.keys());
            }
            Message::PluginsChanged => self.paging.rehome(),
            Message::Store(change) => self.store_changed(change),
            Message::GaveUp(result) => self.gave_up(result),
            Message::Wake => {}
        }
    }

    /// Takes a task that is counted already.
    pub(super) fn hold(&mut self, head: TaskHead) {
        if self.retried.remove(&head.id) {
            return self.unhold(vec![head]);
        }
        if self.scheduler.runs(head.id) {
            self.early.insert(head.id, head);
            return;
        }
        let key = head.key.clone();
        if !self.scheduler.add(head) {
            self.shared.intake.released(1);
        }
        if self.scheduler.queued(&key) >= KEY_WINDOW {
            self.shared.intake.set_spilled(&key, true);
        }
    }

    fn spilled(&mut self, lane: Lane) {
        let key = lane.key.clone();
        self.spill(lane);
        // An ordered key may have been waiting for a task that was ended by hand.
        self.paging.drained(&key);
    }

    fn bulk(&mut self, step: BulkStep) {
        step.lanes.into_iter().for_each(|lane| self.spilled(lane));
        step.retried.into_iter().for_each(|task| self.retried(task));
        step.cancelled.into_iter().for_each(|(task, key)| self.cancelled(task, &key));
    }

    /// A task was made ready by hand.
    fn retried(&mut self, task: AcceptedTask) {
        let AcceptedTask { head, held, .. } = task;
        if !held {
            return self.spill(head.lane());
        }
        let (id, now) = (head.id, Timestamp(self.now()));
        if !self.scheduler.hasten(TaskHead { run_at: now, ..head }) {
            // Its end, or its acceptance, has not been heard of yet.
            self.retried.insert(id);
        }
    }

    /// A task was made dead by hand.
    fn cancelled(&mut self, id: TaskId, key: &str) {
        self.retried.remove(&id);
        if self.scheduler.remove(id, key) {
            self.shared.intake.released(1);
        }
        self.paging.drained(key);
    }

    fn ended(&mut self, Ended { head, next, verdict }: Ended) {
        if let Some(change) = self.scheduler.ended(head.id, verdict) {
            self.tell(&head.key, change);
        }
        if let Some(early) = self.early.remove(&head.id) {
            self.hold(early);
        }
        match next {
            Next::Held(head) => return self.hold(head),
            Next::Later(at) => self.due_in_store(at),
            Next::InStore => self.spill(head.lane()),
            Next::Gone => {}
        }
        if self.retried.remove(&head.id) {
            // It is ready in the store, whatever it was when its run ended.
            self.spill(head.lane());
        }
        self.shared.intake.released(1);
        if head.ordered {
            // The next one of its key may run now, whichever lane it is in.
            self.spill(head.lane());
            self.paging.drained(&head.key);
        }
    }

    fn tell(&self, key: &str, change: Change) {
        let key = receiver_of(key);
        match change {
            Change::Opened { until, failures } => {
                log::warn!(logger: self.shared.log, target: CHANNEL, key, failures, until = Timestamp(until).to_string();
                    "a key fails again and again; its tasks wait, and then one of them is tried");
            }
            Change::Closed => log::info!(logger: self.shared.log, target: CHANNEL, key; "a key is well again"),
        }
    }

    fn wind_down(&mut self) {
        if !self.drain(Instant::now() + self.grace) {
            // Asynchronous handlers are dropped now and give their tasks back; synchronous ones are asked to return.
            self.halt.stop();
            self.drain(Instant::now() + LAST_WAIT);
        }
        let left = self.scheduler.running();
        self.shared.give_back();
        if left > 0 {
            log::warn!(logger: self.shared.log, target: CHANNEL, tasks = left;
                "handlers did not end in time; their tasks run again at the next start");
        }
    }

    /// Handles ends until no task runs; false when the deadline comes first.
    fn drain(&mut self, deadline: Instant) -> bool {
        let passed = at(deadline);
        while self.scheduler.running() > 0 {
            match self.receive(&passed) {
                Some(Message::Ended(ended)) => ended.into_iter().for_each(|ended| {
                    self.scheduler.ended(ended.head.id, ended.verdict);
                }),
                Some(Message::Store(store::Change::Lost)) => self.halt.lose(),
                None if Instant::now() >= deadline => return false,
                Some(_) | None => {}
            }
        }
        true
    }
}
