//! Which task runs next. Pure: no clock, no thread, no store.
//!
//! Due tasks wait in a queue per key. Keys with a task that may start stand in line, one line for each class of urgency
//! and kind of slot, and take turns. A key leaves the lines while nothing of it may start: at its cap, paused, behind its
//! breaker, at its rate, or while its receiver wants to be left alone; it comes back when one of its tasks ends or its
//! time has come. A task whose remote host is at its cap waits in the line of that host. So nobody who cannot start costs
//! the others a look. It knows only the tasks that this host holds; [`paging`](super::paging) brings more of a key when
//! it reports that it has little left of it.

mod health;
mod queue;
mod rate;
mod turns;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use switchboard_plugin_api::HandlerKind;

use super::PLUGIN_KEY;
use crate::store::{KeyPolicy, TaskHead, TaskId, WEBHOOK_KEY};
pub use health::BreakerState;
use health::Health;
pub(crate) use health::{Change, Verdict};
use queue::Queue;
use rate::Bucket;
use turns::{Class, Key, Turns};

/// How many tasks may run at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of asynchronous handlers.
    pub(crate) concurrency: usize,
    /// Of synchronous handlers.
    pub(crate) threads: usize,
    /// With the same key.
    pub(crate) per_key: usize,
    /// With the same key, when it is that of a plugin's own tasks.
    pub(crate) per_plugin: usize,
    /// With the same remote host.
    pub(crate) per_host: usize,
}

/// A key that has fewer tasks than this in its queue is reported as drained.
const LOW: usize = 64;

/// A queue of this length gives up some of its tasks when memory is full and another key has none.
const LONG: usize = 16;

/// Keys whose failures are remembered at least.
const REMEMBERED: usize = 1_024;

/// For how long a failure is remembered when there are more, in milliseconds.
const MEMORY_MS: i64 = 60 * 60 * 1_000;

struct Running {
    key: Key,
    host: Option<String>,
    retry: bool,
    sync: bool,
    /// Whether it was started while its key's breaker was half open.
    probe: bool,
}

/// A task that is due later.
#[derive(PartialEq, Eq)]
struct Timer {
    due: i64,
    head: TaskHead,
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.head.id).cmp(&(other.due, other.head.id))
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Where a task is.
#[derive(Clone, PartialEq, Eq)]
enum Place {
    Timer(i64),
    Queue,
    Homeless,
    Running,
}

/// The slots of one kind of handler.
#[derive(Default)]
struct Kind {
    lines: Turns<Key>,
    running: usize,
    retries: usize,
}

/// Those who wait for a slot of a remote host stand apart by the slot of this host that they need as well.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot {
    sync: bool,
    retry: bool,
}

impl Slot {
    const COUNT: usize = 4;

    fn index(self) -> usize {
        2 * usize::from(self.sync) + usize::from(self.retry)
    }
}

#[derive(Default)]
struct Host {
    running: usize,
    waiting: [Turns<Key>; Slot::COUNT],
    /// Whether it is in the list of hosts that have a slot and somebody who waits for one.
    open: [bool; Slot::COUNT],
}

impl Host {
    fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.iter().all(Turns::is_empty)
    }
}

struct Policed {
    policy: KeyPolicy,
    bucket: Option<Bucket>,
}

/// Whether something of a key may start.
enum Gate {
    Open,
    /// Not before a task ends or somebody changes its policy.
    Shut,
    /// Not before this time.
    Until(i64),
}

/// What there is to say about a key in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyView {
    pub(crate) key: String,
    pub(crate) queued: usize,
    pub(crate) running: usize,
    pub(crate) breaker: BreakerState,
    pub(crate) failures: u32,
    pub(crate) one_at_a_time: bool,
    pub(crate) held_until: Option<i64>,
}

/// Tells how a handler is called; `None` when it cannot be called just now.
pub(crate) type KindOf = Box<dyn Fn(u32, &str) -> Option<HandlerKind> + Send>;

/// The scheduler of one host. All times are milliseconds since the Unix epoch.
pub(crate) struct Scheduler {
    limits: Limits,
    kind_of: KindOf,
    now: i64,
    queues: HashMap<Key, Queue>,
    /// Of asynchronous and of synchronous handlers.
    kinds: [Kind; 2],
    /// Which kind had the last start.
    last_sync: bool,
    hosts: HashMap<String, Host>,
    /// Hosts that have a slot again and somebody who waits for one.
    open_hosts: [VecDeque<String>; Slot::COUNT],
    timers: BinaryHeap<Reverse<Timer>>,
    /// When keys may start again.
    gates: BinaryHeap<Reverse<(i64, Key)>>,
    /// The earliest time for which a key is in `gates`.
    gate_due: HashMap<Key, i64>,
    policies: HashMap<Key, Policed>,
    /// Of receivers: see [`receiver_of`].
    health: HashMap<Key, Health>,
    /// How many tasks run of those keys of a receiver that are for one subject each.
    parts_running: HashMap<Key, usize>,
    /// The keys of a receiver that wait until it can take more than one task at a time, or until the one has ended.
    apart: HashMap<Key, HashSet<Key>>,
    remembered: usize,
    /// Tasks whose handler cannot be called just now.
    homeless: Vec<TaskHead>,
    running: HashMap<TaskId, Running>,
    /// Every task that is here, so that none is here twice.
    known: HashMap<TaskId, Place>,
    drained: Vec<String>,
}

impl Scheduler {
    pub(crate) fn new(limits: Limits, kind_of: KindOf) -> Self {
        Self {
            limits,
            kind_of,
            now: i64::MIN,
            queues: HashMap::new(),
            kinds: Default::default(),
            last_sync: true,
            hosts: HashMap::new(),
            open_hosts: Default::default(),
            timers: BinaryHeap::new(),
            gates: BinaryHeap::new(),
            gate_due: HashMap::new(),
            policies: HashMap::new(),
            health: HashMap::new(),
            parts_running: HashMap::new(),
            apart: HashMap::new(),
            remembered: REMEMBERED,
            homeless: Vec::new(),
            running: HashMap::new(),
            known: HashMap::new(),
            drained: Vec::new(),
        }
    }

    /// Moves the time to `now`: tasks that are due go into their queues, and keys whose time has come into the lines.
    pub(crate) fn tick(&mut self, now: i64) {
        self.now = self.now.max(now);
        while self.timers.peek().is_some_and(|Reverse(timer)| timer.due <= self.now) {
            // One that was given another time is on the timer twice; only the last counts.
            if let Some(Reverse(timer)) = self.timers.pop()
                && self.known.get(&timer.head.id) == Some(&Place::Timer(timer.due))
            {
                self.enqueue(timer.head);
            }
        }
        while self.gates.peek().is_some_and(|Reverse((due, _))| *due <= self.now) {
            if let Some(Reverse((due, key))) = self.gates.pop()
                && self.gate_due.get(&key) == Some(&due)
            {
                self.gate_due.remove(&key);
                self.reconsider(&key);
                self.feed(&key);
            }
        }
    }

    /// Returns when there is something to do, if nothing else happens before.
    pub(crate) fn next_due(&self) -> Option<i64> {
        let timer = self.timers.peek().map(|Reverse(timer)| timer.due);
        let gate = self.gates.peek().map(|Reverse((due, _))| *due);
        timer.into_iter().chain(gate).min()
    }

    /// Takes a task: into its queue when it is due, else on the timer. False when it is here already.
    pub(crate) fn add(&mut self, head: TaskHead) -> bool {
        if self.known.contains_key(&head.id) {
            return false;
        }
        self.place(head);
        true
    }

    /// Makes a task that waits for its time due now. One that is in its queue or runs stays as it is; false when it is not
    /// here, or runs.
    pub(crate) fn hasten(&mut self, head: TaskHead) -> bool {
        match self.known.get(&head.id) {
            Some(Place::Timer(_)) => self.enqueue(head),
            Some(Place::Queue | Place::Homeless) => {}
            Some(Place::Running) | None => return false,
        }
        true
    }

    /// Takes a task out that does not run; false when it is not here, or runs.
    pub(crate) fn remove(&mut self, id: TaskId, key: &str) -> bool {
        match self.known.get(&id) {
            Some(Place::Timer(_)) => {
                self.known.remove(&id);
                true
            }
            Some(Place::Queue) => {
                let Some(queue) = self.queues.get_mut(key) else { return false };
                let before = queue.len();
                if queue.remove(id).is_none() {
                    return false;
                }
                self.known.remove(&id);
                self.shortened(key, before);
                self.forget_if_idle(key);
                true
            }
            _ => false,
        }
    }

    fn place(&mut self, head: TaskHead) {
        let due = head.run_at.0;
        if due > self.now {
            self.known.insert(head.id, Place::Timer(due));
            self.timers.push(Reverse(Timer { due, head }));
        } else {
            self.enqueue(head);
        }
    }

    fn enqueue(&mut self, head: TaskHead) {
        let Some(kind) = (self.kind_of)(head.number, &head.name) else {
            self.known.insert(head.id, Place::Homeless);
            self.homeless.push(head);
            return;
        };
        self.known.insert(head.id, Place::Queue);
        let sync = kind == HandlerKind::Sync;
        let key: Key = match self.queues.get_key_value(head.key.as_str()) {
            Some((key, _)) => Arc::clone(key),
            None => head.key.as_str().into(),
        };
        let queue = self.queues.entry(Arc::clone(&key)).or_default();
        let (class, parked) = queue.add(head, sync);
        if !parked && !queue.shut {
            list(&mut self.kinds, queue, &key, class, sync);
        }
    }

    /// Returns how many tasks of a key wait in its queue.
    pub(crate) fn queued(&self, key: &str) -> usize {
        self.queues.get(key).map_or(0, Queue::len)
    }

    /// Returns whether a key has little left in its queue and could start more.
    pub(crate) fn is_low(&mut self, key: &str) -> bool {
        if self.queued(key) >= LOW {
            return false;
        }
        match self.gate_of_time(key) {
            Gate::Open => true,
            Gate::Shut => false,
            Gate::Until(due) => {
                let key = key.into();
                self.wait_for_gate(key, due);
                false
            }
        }
    }

    /// Returns whether no task of a key runs or could run soon.
    pub(crate) fn has_none_of(&self, key: &str) -> bool {
        self.queues.get(key).is_none_or(|queue| queue.len() == 0 && queue.running == 0)
    }

    /// Returns the keys that have come to have little left since this was asked last.
    pub(crate) fn take_drained(&mut self) -> Vec<String> {
        std::mem::take(&mut self.drained)
    }

    /// Returns the tasks whose handler no plugin has, and forgets them.
    pub(crate) fn take_homeless(&mut self) -> Vec<TaskHead> {
        let heads = std::mem::take(&mut self.homeless);
        heads.iter().for_each(|head| {
            self.known.remove(&head.id);
        });
        heads
    }

    /// Gives up tasks of a key that cannot use its room in memory: one that may not start anything just now, else the one
    /// with the longest queue.
    pub(crate) fn evict(&mut self) -> Vec<TaskHead> {
        let mut best: Option<((bool, usize), Key)> = None;
        for (key, queue) in self.queues.iter().filter(|(_, queue)| queue.len() > 0) {
            let rank = (!matches!(self.gate_of_time(key), Gate::Open), queue.len());
            if (rank.0 || rank.1 >= LONG) && best.as_ref().is_none_or(|(other, _)| *other < rank) {
                best = Some((rank, Arc::clone(key)));
            }
        }
        let Some(((idle, len), key)) = best else { return Vec::new() };
        let Some(queue) = self.queues.get_mut(&key) else { return Vec::new() };
        let heads = queue.take_last(if idle { len } else { len / 2 });
        for head in &heads {
            self.known.remove(&head.id);
        }
        self.shortened(&key, len);
        self.forget_if_idle(&key);
        heads
    }

    /// Forgets every task that does not run, and returns how many that were.
    pub(crate) fn forget_waiting(&mut self) -> usize {
        let count = self.known.len() - self.running.len();
        let keys: Vec<Key> = self.queues.keys().cloned().collect();
        for key in keys {
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            let len = queue.len();
            drop(queue.take_last(len));
            self.shortened(&key, len);
            self.forget_if_idle(&key);
        }
        self.timers.clear();
        self.homeless.clear();
        self.known.retain(|_, place| *place == Place::Running);
        count
    }

    /// Returns whether a task runs.
    pub(crate) fn runs(&self, id: TaskId) -> bool {
        self.running.contains_key(&id)
    }

    /// Returns how many tasks run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Returns the policies of keys.
    pub(crate) fn policies(&self) -> impl Iterator<Item = (&str, &KeyPolicy)> {
        self.policies.iter().map(|(key, policed)| (&**key, &policed.policy))
    }

    /// Sets what holds for a key.
    pub(crate) fn set_policy(&mut self, key: &str, policy: Option<KeyPolicy>) {
        match policy {
            Some(policy) => {
                let bucket = policy.rate.map(Bucket::new);
                self.policies.insert(key.into(), Policed { policy, bucket });
            }
            None => drop(self.policies.remove(key)),
        }
        self.reconsider(&key.into());
        self.feed(key);
    }

    /// Reports a key that may start again, when it has little left.
    fn feed(&mut self, key: &str) {
        if self.is_low(key) {
            self.drained.push(key.to_owned());
        }
    }

    /// Returns what there is to say about the keys that have something in memory.
    pub(crate) fn keys(&self) -> Vec<KeyView> {
        let mut views: HashMap<&Key, KeyView> = HashMap::new();
        for (key, queue) in &self.queues {
            let view = views.entry(key).or_default();
            (view.queued, view.running) = (queue.len(), queue.running);
        }
        for (key, health) in &self.health {
            let view = views.entry(key).or_default();
            view.breaker = health.breaker(self.now);
            view.failures = health.failures;
            view.one_at_a_time = health.is_one_at_a_time();
            view.held_until = health.held_until(self.now);
        }
        views.into_iter().map(|(key, view)| KeyView { key: key.to_string(), ..view }).collect()
    }

    /// Returns whether time or policy keep a key from starting anything.
    fn gate_of_time(&self, key: &str) -> Gate {
        let policed = self.policies.get(key);
        if policed.is_some_and(|policed| policed.policy.paused) {
            return Gate::Shut;
        }
        let held = self.health.get(receiver_of(key)).and_then(|health| health.held_until(self.now));
        let rated = policed.and_then(|policed| policed.bucket.as_ref()).and_then(|bucket| bucket.empty_until(self.now));
        held.into_iter().chain(rated).max().map_or(Gate::Open, Gate::Until)
    }

    fn cap(&self, key: &str) -> usize {
        let cap = self.policies.get(key).and_then(|policed| policed.policy.cap);
        let usual = if key.starts_with(PLUGIN_KEY) { self.limits.per_plugin } else { self.limits.per_key };
        cap.map_or(usual, |cap| usize::try_from(cap.get()).unwrap_or(usize::MAX))
    }

    fn gate(&self, key: &str, running: usize) -> Gate {
        if running >= self.cap(key) || self.is_taken(receiver_of(key)) { Gate::Shut } else { self.gate_of_time(key) }
    }

    /// Returns whether a receiver that gets one task at a time has one.
    fn is_taken(&self, receiver: &str) -> bool {
        self.health.get(receiver).is_some_and(Health::is_one_at_a_time)
            && (self.parts_running.contains_key(receiver)
                || self.queues.get(receiver).is_some_and(|queue| queue.running > 0))
    }

    fn wait_for_gate(&mut self, key: Key, due: i64) {
        if self.gate_due.get(&key).is_none_or(|other| due < *other) {
            self.gate_due.insert(Arc::clone(&key), due);
            self.gates.push(Reverse((due, key)));
        }
    }

    /// Looks at a key again of which something has changed.
    fn reconsider(&mut self, key: &Key) {
        let running = self.queues.get(key).map_or(0, |queue| queue.running);
        match self.gate(key, running) {
            Gate::Shut => self.set_apart(key),
            Gate::Until(due) => self.wait_for_gate(Arc::clone(key), due),
            Gate::Open => {
                let Some(queue) = self.queues.get_mut(key).filter(|queue| queue.shut) else { return };
                queue.shut = false;
                let turns: Vec<_> =
                    queue.strands.iter().filter(|strand| !strand.parked && !strand.is_empty()).collect();
                let turns: Vec<_> = turns.into_iter().map(|strand| (strand.class, strand.sync)).collect();
                for (class, sync) in turns {
                    list(&mut self.kinds, queue, key, class, sync);
                }
            }
        }
    }

    /// Takes the next task that may run, and how its handler is called.
    pub(crate) fn take(&mut self) -> Option<(TaskHead, HandlerKind)> {
        loop {
            let mut moved = false;
            for sync in [false, true] {
                if let Some(retries) = self.free_slot(sync) {
                    moved |= self.wake_one(Slot { sync, retry: false });
                    moved |= retries && self.wake_one(Slot { sync, retry: true });
                }
            }
            match self.next_kind() {
                Some((sync, retries)) => {
                    let Some((class, key)) = self.kinds[usize::from(sync)].lines.pop(retries) else { continue };
                    if let Some(head) = self.take_of(&key, class, sync) {
                        self.last_sync = sync;
                        return Some((head, if sync { HandlerKind::Sync } else { HandlerKind::Async }));
                    }
                }
                None if moved => {}
                None => return None,
            }
        }
    }

    /// Returns the kind of handler that has the next turn, and whether a retry may have it: that with the more urgent
    /// tasks, because a key may have both; else each in its turn.
    fn next_kind(&self) -> Option<(bool, bool)> {
        let waiting = [false, true].into_iter().filter_map(|sync| {
            let retries = self.free_slot(sync)?;
            let highest = self.kinds[usize::from(sync)].lines.highest(retries)?;
            Some((highest, sync == self.last_sync, sync, retries))
        });
        waiting.min().map(|(.., sync, retries)| (sync, retries))
    }

    /// Returns whether there is a slot for a kind of handler; true when a retry may have it.
    fn free_slot(&self, sync: bool) -> Option<bool> {
        let slots = if sync { self.limits.threads } else { self.limits.concurrency };
        let kind = &self.kinds[usize::from(sync)];
        (kind.running < slots).then(|| kind.retries < (slots / 2).max(1))
    }

    /// Starts a task of a key whose turn it is, unless none of this class may start.
    fn take_of(&mut self, key: &Key, class: Class, sync: bool) -> Option<TaskHead> {
        let queue = self.queues.get_mut(key)?;
        queue.listed &= !class.bit(sync);
        let running = queue.running;
        let gate = self.gate(key, running);
        if !matches!(gate, Gate::Open) {
            self.queues.get_mut(key)?.shut = true;
            self.forget_if_idle(key);
            self.set_apart(key);
            if let Gate::Until(due) = gate {
                self.wait_for_gate(Arc::clone(key), due);
            }
            return None;
        }
        while let Some(index) = self.queues.get(key)?.next(class, sync) {
            let strand = &self.queues.get(key)?.strands[index];
            let Some(head) = strand.first() else { break };
            let kind = (self.kind_of)(head.number, &head.name);
            if kind.map(|kind| kind == HandlerKind::Sync) != Some(sync) {
                self.move_strand(key, index);
                continue;
            }
            if let Some(name) = strand.host.clone() {
                let host = self.hosts.entry(name).or_default();
                if host.running >= self.limits.per_host {
                    let slot = Slot { sync, retry: class.is_retry() };
                    host.waiting[slot.index()].push(class, Arc::clone(key));
                    self.queues.get_mut(key)?.strands[index].parked = true;
                    continue;
                }
            }
            return self.start(key, index, class, sync);
        }
        self.forget_if_idle(key);
        None
    }

    /// Moves the tasks of a strand whose handler has gone, or is of another kind now.
    fn move_strand(&mut self, key: &Key, index: usize) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        let before = queue.len();
        let heads = queue.take_strand(index);
        heads.into_iter().for_each(|head| self.enqueue(head));
        self.shortened(key, before);
    }

    fn start(&mut self, key: &Key, index: usize, class: Class, sync: bool) -> Option<TaskHead> {
        let queue = self.queues.get_mut(key)?;
        let before = queue.len();
        let head = queue.take(index)?;
        queue.running += 1;
        if queue.next(class, sync).is_some() {
            // To the end of the line: the other keys come first.
            list(&mut self.kinds, queue, key, class, sync);
        }
        if let Some(host) = &head.host {
            self.hosts.entry(host.clone()).or_default().running += 1;
        }
        let retry = class.is_retry();
        let kind = &mut self.kinds[usize::from(sync)];
        kind.lines.served(class);
        kind.running += 1;
        kind.retries += usize::from(retry);
        if let Some(bucket) = self.policies.get_mut(key).and_then(|policed| policed.bucket.as_mut()) {
            bucket.take(self.now);
        }
        let receiver = receiver_of(key);
        if receiver != &**key {
            *self.parts_running.entry(receiver.into()).or_default() += 1;
        }
        let probe = self.is_half_open(receiver);
        self.known.insert(head.id, Place::Running);
        self.running.insert(head.id, Running { key: Arc::clone(key), host: head.host.clone(), retry, sync, probe });
        self.shortened(key, before);
        Some(head)
    }

    /// Reports a key whose queue was `before` tasks long and has become low or empty.
    fn shortened(&mut self, key: &str, before: usize) {
        let len = self.queued(key);
        if (len < LOW && before >= LOW) || (len == 0 && before > 0) {
            self.drained.push(key.to_owned());
        }
    }

    fn forget_if_idle(&mut self, key: &str) {
        if self.queues.get(key).is_some_and(Queue::is_idle) {
            self.queues.remove(key);
        }
    }

    /// Frees the slot of a task that has ended, forgets the task, and takes in what its end says about its key.
    pub(crate) fn ended(&mut self, id: TaskId, verdict: Verdict) -> Option<Change> {
        let running = self.running.remove(&id)?;
        self.known.remove(&id);
        let kind = &mut self.kinds[usize::from(running.sync)];
        kind.running -= 1;
        kind.retries -= usize::from(running.retry);
        if let Some(queue) = self.queues.get_mut(&running.key) {
            queue.running -= 1;
        }
        if let Some(host) = running.host {
            self.leave_host(host);
        }
        let receiver = receiver_of(&running.key);
        let is_part = receiver != &*running.key;
        let receiver = if is_part { receiver.into() } else { Arc::clone(&running.key) };
        if is_part && let Some(count) = self.parts_running.get_mut(&receiver) {
            *count -= 1;
            if *count == 0 {
                self.parts_running.remove(&receiver);
            }
        }
        let change = self.take_in(&running.key, &receiver, verdict, running.probe);
        self.forget_if_idle(&running.key);
        change
    }

    /// Takes in how something ended that has a key and was not started here.
    pub(crate) fn heard(&mut self, key: &str, verdict: Verdict) -> Option<Change> {
        let receiver: Key = receiver_of(key).into();
        let probe = self.is_half_open(&receiver);
        self.take_in(&key.into(), &receiver, verdict, probe)
    }

    /// Returns whether a task of a key has to wait for some time, or until somebody changes its policy.
    pub(crate) fn is_held(&self, key: &str) -> bool {
        !matches!(self.gate_of_time(key), Gate::Open)
    }

    fn is_half_open(&self, receiver: &str) -> bool {
        self.health.get(receiver).is_some_and(|health| health.breaker(self.now) == BreakerState::HalfOpen)
    }

    fn take_in(&mut self, key: &Key, receiver: &Key, verdict: Verdict, probe: bool) -> Option<Change> {
        let change = self.judge(receiver, verdict, probe);
        self.reconsider(key);
        if change == Some(Change::Closed) {
            self.feed(key);
        }
        self.reconsider_apart(receiver);
        change
    }

    /// Notes a key that is shut and may start something when a task of another key of its receiver ends.
    fn set_apart(&mut self, key: &Key) {
        let receiver = receiver_of(key);
        if self.is_taken(receiver) && self.queues.get(key).is_some_and(|queue| queue.shut) {
            self.apart.entry(receiver.into()).or_default().insert(Arc::clone(key));
        }
    }

    /// Looks again at the keys of a receiver that could not start anything.
    fn reconsider_apart(&mut self, receiver: &Key) {
        for key in self.apart.remove(receiver).unwrap_or_default() {
            self.reconsider(&key);
        }
    }

    fn judge(&mut self, key: &Key, verdict: Verdict, probe: bool) -> Option<Change> {
        let now = self.now;
        if matches!(verdict, Verdict::Bad { .. }) && !self.health.contains_key(key) {
            if self.health.len() >= self.remembered {
                self.health.retain(|_, health| {
                    health.held_until(now).is_some() || health.failed_at > now.saturating_sub(MEMORY_MS)
                });
                self.remembered = REMEMBERED.max(2 * self.health.len());
            }
            self.health.insert(Arc::clone(key), Health::default());
        }
        let health = self.health.get_mut(key)?;
        let change = health.ended(verdict, probe, now);
        if health.is_good(now) {
            self.health.remove(key);
        }
        change
    }

    fn leave_host(&mut self, name: String) {
        let Some(host) = self.hosts.get_mut(&name) else { return };
        host.running -= 1;
        for (index, waiting) in host.waiting.iter().enumerate() {
            if !waiting.is_empty() && !std::mem::replace(&mut host.open[index], true) {
                self.open_hosts[index].push_back(name.clone());
            }
        }
        if host.is_idle() {
            self.hosts.remove(&name);
        }
    }

    /// Lets one key that waits for a slot of its remote host stand in line again; false when no host has one for anybody.
    fn wake_one(&mut self, slot: Slot) -> bool {
        while let Some(name) = self.open_hosts[slot.index()].pop_front() {
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            let waiting = &mut host.waiting[slot.index()];
            let next = if host.running < self.limits.per_host { waiting.pop(true) } else { None };
            let Some((class, key)) = next else {
                host.open[slot.index()] = false;
                if host.is_idle() {
                    self.hosts.remove(&name);
                }
                continue;
            };
            waiting.served(class);
            if let Some(queue) = self.queues.get_mut(&key) {
                if queue.unpark(class, slot.sync, &name) && !queue.shut {
                    list(&mut self.kinds, queue, &key, class, slot.sync);
                }
                self.forget_if_idle(&key);
            }
            self.open_hosts[slot.index()].push_back(name);
            return true;
        }
        false
    }
}

/// Returns the key under which the failures of a key are counted: that of its webhook, whatever its deliveries are about,
/// because there is one receiver behind them.
pub(crate) fn receiver_of(key: &str) -> &str {
    let subject = key.strip_prefix(WEBHOOK_KEY).and_then(|rest| rest.find(':'));
    subject.map_or(key, |at| &key[..WEBHOOK_KEY.len() + at])
}

/// Puts a key in line for a class and a kind of slot, unless it stands there already.
fn list(kinds: &mut [Kind; 2], queue: &mut Queue, key: &Key, class: Class, sync: bool) {
    let bit = class.bit(sync);
    if queue.listed & bit == 0 {
        queue.listed |= bit;
        kinds[usize::from(sync)].lines.push(class, Arc::clone(key));
    }
}
