//! Which task runs next. Pure: no clock, no thread, no store.
//!
//! Tasks wait in a queue per key. Keys with work and a free slot take turns; a key at its cap, or whose remote host is at
//! its cap, is set aside and comes back when one of its tasks ends, so a slow receiver never costs the others a look.
//! First tries go before retries, and retries hold at most half of the slots. It knows only the tasks that this host
//! holds; [`paging`](super::paging) brings more of a key when it reports that it has little left of it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use switchboard_plugin_api::HandlerKind;

use crate::store::{TaskHead, TaskId};

/// How many tasks may run at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of asynchronous handlers.
    pub(crate) concurrency: usize,
    /// Of synchronous handlers.
    pub(crate) threads: usize,
    /// With the same key.
    pub(crate) per_key: usize,
    /// With the same remote host.
    pub(crate) per_host: usize,
}

/// Why a key is not in the rotation although it has work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Block {
    Key(String),
    Host(String),
    Retries,
    Kind(bool),
}

#[derive(Default)]
struct Queue {
    first: VecDeque<TaskHead>,
    retries: VecDeque<TaskHead>,
    running: usize,
    place: Place,
}

/// Where a key is.
#[derive(Default, PartialEq, Eq)]
enum Place {
    #[default]
    Nowhere,
    Rotation,
    /// Set aside until the block is lifted.
    Behind(Block),
}

impl Queue {
    fn len(&self) -> usize {
        self.first.len() + self.retries.len()
    }

    fn is_idle(&self) -> bool {
        self.first.is_empty() && self.retries.is_empty() && self.running == 0
    }
}

struct Running {
    key: String,
    host: Option<String>,
    retry: bool,
    sync: bool,
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

/// The scheduler of one host.
pub(crate) struct Scheduler {
    limits: Limits,
    queues: HashMap<String, Queue>,
    rotation: VecDeque<String>,
    blocked: HashMap<Block, Vec<String>>,
    timers: BinaryHeap<Reverse<Timer>>,
    /// Tasks whose handler cannot be called just now.
    homeless: Vec<TaskHead>,
    running: HashMap<TaskId, Running>,
    hosts: HashMap<String, usize>,
    running_sync: usize,
    running_retries: usize,
    /// Every task that is here, running or not, so that none is here twice; with its time while it is on the timer.
    known: HashMap<TaskId, Option<i64>>,
    drained: Vec<String>,
}

/// A key that has fewer tasks than this in its queue is reported as drained.
const LOW: usize = 64;

impl Scheduler {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            queues: HashMap::new(),
            rotation: VecDeque::new(),
            blocked: HashMap::new(),
            timers: BinaryHeap::new(),
            homeless: Vec::new(),
            running: HashMap::new(),
            hosts: HashMap::new(),
            running_sync: 0,
            running_retries: 0,
            known: HashMap::new(),
            drained: Vec::new(),
        }
    }

    /// Takes a task: into its queue when it is due at `now` (milliseconds since the Unix epoch), else on the timer. False
    /// when it is here already.
    pub(crate) fn add(&mut self, head: TaskHead, now: i64) -> bool {
        if self.known.contains_key(&head.id) {
            return false;
        }
        self.place(head, now);
        true
    }

    /// Gives a task that waits for its time another time. One that is in its queue or runs stays where it is; false when
    /// it is not here.
    pub(crate) fn reschedule(&mut self, head: TaskHead, now: i64) -> bool {
        match self.known.get(&head.id) {
            Some(Some(_)) => self.place(head, now),
            Some(None) => {}
            None => return false,
        }
        true
    }

    fn place(&mut self, head: TaskHead, now: i64) {
        let due = head.run_at.0;
        if due > now {
            self.known.insert(head.id, Some(due));
            self.timers.push(Reverse(Timer { due, head }));
        } else {
            self.enqueue(head);
        }
    }

    /// Returns how many tasks of a key wait in its queue.
    pub(crate) fn queued(&self, key: &str) -> usize {
        self.queues.get(key).map_or(0, Queue::len)
    }

    /// Returns whether a key has little left in its queue.
    pub(crate) fn is_low(&self, key: &str) -> bool {
        self.queued(key) < LOW
    }

    /// Returns the keys whose queues have become low since this was asked last.
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

    fn enqueue(&mut self, head: TaskHead) {
        self.known.insert(head.id, None);
        let key = head.key.clone();
        let queue = self.queues.entry(key.clone()).or_default();
        let first = head.attempts == 0;
        if first { &mut queue.first } else { &mut queue.retries }.push_back(head);
        match &queue.place {
            Place::Nowhere => {}
            // Only its retries had to wait.
            Place::Behind(Block::Retries) if first => {
                if let Some(keys) = self.blocked.get_mut(&Block::Retries) {
                    keys.retain(|other| *other != key);
                }
            }
            Place::Rotation | Place::Behind(_) => return,
        }
        queue.place = Place::Rotation;
        self.rotation.push_back(key);
    }

    /// Moves the tasks that are due at `now` into their queues.
    pub(crate) fn tick(&mut self, now: i64) {
        while self.timers.peek().is_some_and(|Reverse(timer)| timer.due <= now) {
            // One that was given another time is on the timer twice; only the last counts.
            if let Some(Reverse(timer)) = self.timers.pop()
                && self.known.get(&timer.head.id) == Some(&Some(timer.due))
            {
                self.enqueue(timer.head);
            }
        }
    }

    /// Returns when the next task is due, in milliseconds since the Unix epoch.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.timers.peek().map(|Reverse(timer)| timer.due)
    }

    /// Returns how many tasks run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Returns the tasks that run.
    pub(crate) fn running_ids(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.running.keys().copied()
    }

    /// Takes the next task that may run, and how its handler is called.
    pub(crate) fn take(
        &mut self,
        kind_of: impl Fn(u32, &str) -> Option<HandlerKind>,
    ) -> Option<(TaskHead, HandlerKind)> {
        while let Some(key) = self.rotation.pop_front() {
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            let retry = queue.first.is_empty();
            let Some(head) = queue.first.front().or_else(|| queue.retries.front()) else {
                queue.place = Place::Nowhere;
                if queue.is_idle() {
                    self.queues.remove(&key);
                }
                continue;
            };
            let Some(kind) = kind_of(head.number, &head.name) else {
                let lane = if retry { &mut queue.retries } else { &mut queue.first };
                self.homeless.extend(lane.pop_front());
                self.rotation.push_front(key);
                continue;
            };
            let sync = kind == HandlerKind::Sync;
            if let Some(block) = self.block(&key, retry, sync) {
                if let Some(queue) = self.queues.get_mut(&key) {
                    queue.place = Place::Behind(block.clone());
                }
                self.blocked.entry(block).or_default().push(key);
                continue;
            }
            return self.start(key, retry, sync).map(|head| (head, kind));
        }
        None
    }

    fn block(&self, key: &str, retry: bool, sync: bool) -> Option<Block> {
        let queue = self.queues.get(key)?;
        let head = queue.first.front().or_else(|| queue.retries.front())?;
        let asynchronous = self.running.len() - self.running_sync;
        let slots = self.limits.concurrency + self.limits.threads;
        if queue.running >= self.limits.per_key {
            Some(Block::Key(key.to_owned()))
        } else if head
            .host
            .as_ref()
            .is_some_and(|host| self.hosts.get(host).is_some_and(|n| *n >= self.limits.per_host))
        {
            head.host.clone().map(Block::Host)
        } else if retry && self.running_retries >= (slots / 2).max(1) {
            Some(Block::Retries)
        } else if (sync && self.running_sync >= self.limits.threads)
            || (!sync && asynchronous >= self.limits.concurrency)
        {
            Some(Block::Kind(sync))
        } else {
            None
        }
    }

    fn start(&mut self, key: String, retry: bool, sync: bool) -> Option<TaskHead> {
        let queue = self.queues.get_mut(&key)?;
        let head = if retry { queue.retries.pop_front() } else { queue.first.pop_front() }?;
        queue.running += 1;
        if queue.len() + 1 == LOW || queue.len() == 0 {
            self.drained.push(key.clone());
        }
        if let Some(host) = &head.host {
            *self.hosts.entry(host.clone()).or_default() += 1;
        }
        self.running_sync += usize::from(sync);
        self.running_retries += usize::from(retry);
        self.running.insert(head.id, Running { key: key.clone(), host: head.host.clone(), retry, sync });
        // To the end of the rotation: the other keys come first.
        self.rotation.push_back(key);
        Some(head)
    }

    /// Frees the slot of a task that has ended, and forgets it.
    pub(crate) fn ended(&mut self, id: TaskId) {
        let Some(running) = self.running.remove(&id) else { return };
        self.known.remove(&id);
        self.running_sync -= usize::from(running.sync);
        self.running_retries -= usize::from(running.retry);
        if let Some(queue) = self.queues.get_mut(&running.key) {
            queue.running -= 1;
            if queue.place == Place::Nowhere && queue.is_idle() {
                self.queues.remove(&running.key);
            }
        }
        self.unblock(&Block::Key(running.key));
        self.unblock(&Block::Kind(running.sync));
        if running.retry {
            self.unblock(&Block::Retries);
        }
        if let Some(host) = running.host {
            if let Some(count) = self.hosts.get_mut(&host) {
                *count -= 1;
                if *count == 0 {
                    self.hosts.remove(&host);
                }
            }
            self.unblock(&Block::Host(host));
        }
    }

    fn unblock(&mut self, block: &Block) {
        for key in self.blocked.remove(block).into_iter().flatten() {
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.place = Place::Rotation;
                self.rotation.push_back(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Priority, Timestamp};

    const LIMITS: Limits = Limits { concurrency: 8, threads: 2, per_key: 2, per_host: 3 };

    fn head(id: i64, key: &str, host: Option<&str>, attempts: u32, run_at: i64) -> TaskHead {
        TaskHead {
            id: TaskId(id),
            number: 7_320,
            name: "none".into(),
            key: key.into(),
            host: host.map(Into::into),
            run_at: Timestamp(run_at),
            attempts,
            priority: Priority::Normal,
            ordered: false,
        }
    }

    fn asynchronous(_: u32, _: &str) -> Option<HandlerKind> {
        Some(HandlerKind::Async)
    }

    fn take_all(scheduler: &mut Scheduler) -> Vec<i64> {
        std::iter::from_fn(|| scheduler.take(asynchronous)).map(|(head, _)| head.id.0).collect()
    }

    #[test]
    fn keys_take_turns_and_one_at_its_cap_does_not_hold_the_others() {
        let mut scheduler = Scheduler::new(LIMITS);
        for id in 0..5 {
            scheduler.add(head(id, "slow", None, 0, 0), 0);
        }
        for id in 10..12 {
            scheduler.add(head(id, "quick", None, 0, 0), 0);
        }
        assert_eq!(take_all(&mut scheduler), [0, 10, 1, 11]);
        scheduler.ended(TaskId(10));
        assert_eq!(take_all(&mut scheduler), [] as [i64; 0]);
        scheduler.ended(TaskId(0));
        assert_eq!(take_all(&mut scheduler), [2]);
    }

    #[test]
    fn keys_of_one_host_share_its_cap() {
        let mut scheduler = Scheduler::new(LIMITS);
        for id in 0..6 {
            scheduler.add(head(id, &format!("key{id}"), Some("h:443"), 0, 0), 0);
        }
        scheduler.add(head(9, "other", Some("i:443"), 0, 0), 0);
        assert_eq!(take_all(&mut scheduler), [0, 1, 2, 9]);
        scheduler.ended(TaskId(1));
        assert_eq!(take_all(&mut scheduler), [3]);
    }

    #[test]
    fn first_tries_go_before_retries_which_hold_at_most_half_of_the_slots() {
        let limits = Limits { concurrency: 4, threads: 0, per_key: 9, per_host: 9 };
        let mut scheduler = Scheduler::new(limits);
        for id in 0..4 {
            scheduler.add(head(id, "a", None, 1, 0), 0);
        }
        scheduler.add(head(8, "a", None, 0, 0), 0);
        assert_eq!(take_all(&mut scheduler), [8, 0, 1]);
        scheduler.add(head(9, "b", None, 0, 0), 0);
        assert_eq!(take_all(&mut scheduler), [9]);
        scheduler.ended(TaskId(0));
        assert_eq!(take_all(&mut scheduler), [2]);
    }

    #[test]
    fn a_first_try_behind_blocked_retries_of_its_own_key_runs() {
        let limits = Limits { concurrency: 4, threads: 0, per_key: 9, per_host: 9 };
        let mut scheduler = Scheduler::new(limits);
        for id in 0..3 {
            scheduler.add(head(id, "a", None, 1, 0), 0);
        }
        assert_eq!(take_all(&mut scheduler), [0, 1]);
        scheduler.add(head(7, "a", None, 0, 0), 0);
        assert_eq!(take_all(&mut scheduler), [7]);
    }

    #[test]
    fn a_task_waits_for_its_time_and_for_its_handler() {
        let mut scheduler = Scheduler::new(LIMITS);
        scheduler.add(head(1, "a", None, 0, 500), 0);
        assert_eq!((take_all(&mut scheduler), scheduler.next_due()), (vec![], Some(500)));
        scheduler.tick(500);
        assert!(scheduler.take(|_, _| None).is_none());
        let homeless = scheduler.take_homeless();
        assert_eq!(homeless.len(), 1);
        assert!(scheduler.add(homeless[0].clone(), 500));
        assert!(!scheduler.add(homeless[0].clone(), 500), "it is here already");
        assert_eq!(take_all(&mut scheduler), [1]);
    }

    #[test]
    fn a_task_on_the_timer_can_be_given_another_time() {
        let mut scheduler = Scheduler::new(LIMITS);
        scheduler.add(head(1, "a", None, 0, 500), 0);
        assert!(scheduler.reschedule(head(1, "a", None, 0, 0), 10));
        assert_eq!(take_all(&mut scheduler), [1]);
        scheduler.tick(500);
        assert_eq!(take_all(&mut scheduler), [] as [i64; 0], "it is not here twice");
        assert!(scheduler.reschedule(head(1, "a", None, 0, 0), 500), "it runs and stays as it is");
        assert!(!scheduler.reschedule(head(2, "a", None, 0, 0), 500));
    }

    #[test]
    fn synchronous_handlers_wait_for_a_thread_without_holding_asynchronous_ones() {
        let mut scheduler = Scheduler::new(LIMITS);
        for id in 0..3 {
            scheduler.add(head(id, &format!("s{id}"), None, 0, 0), 0);
        }
        let kind = |_: u32, _: &str| Some(HandlerKind::Sync);
        let taken = std::iter::from_fn(|| scheduler.take(kind)).count();
        assert_eq!(taken, 2);
        scheduler.add(head(9, "a", None, 0, 0), 0);
        assert_eq!(take_all(&mut scheduler), [9]);
        scheduler.ended(TaskId(0));
        assert_eq!(scheduler.take(kind).map(|(head, _)| head.id.0), Some(2));
    }
}
