//! The scheduler against a model that looks at every task each time.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::tests::kind_of;
use super::*;
use crate::store::{Priority, Rate, Timestamp};

const LIMITS: Limits = Limits { concurrency: 4, threads: 2, per_key: 2, per_plugin: 2, per_host: 2 };

/// Every so much later, whatever was held may start.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Two of the keys have one receiver.
fn name_of(key: u8) -> String {
    match key {
        0 | 1 => format!("webhook:7:{key}"),
        _ => format!("key{key}"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add { key: u8, host: Option<u8>, attempts: u32, delay: i64, priority: usize, name: &'static str },
    Take,
    TakeAll,
    End { index: usize, verdict: Verdict },
    Pass { ms: i64 },
    Policy { key: u8, policy: Option<KeyPolicy> },
    Remove { index: usize },
    Hasten { index: usize },
    Evict,
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let wait = prop_oneof![3 => Just(None), 1 => (1_u64..5_000).prop_map(|ms| Some(Duration::from_millis(ms)))];
    let bad = (any::<bool>(), wait).prop_map(|(busy, wait)| Verdict::Bad { busy, wait });
    prop_oneof![3 => Just(Verdict::Good), 3 => bad, 1 => Just(Verdict::Neither)]
}

fn policy() -> impl Strategy<Value = Option<KeyPolicy>> {
    let rate = (1_u32..4, 1_u64..3_000)
        .prop_map(|(starts, ms)| Rate { starts: NonZeroU32::new(starts).unwrap(), per: Duration::from_millis(ms) });
    let policy = (prop::option::of(1_u32..5), prop::option::of(rate), prop::bool::weighted(0.2))
        .prop_map(|(cap, rate, paused)| KeyPolicy { cap: cap.and_then(NonZeroU32::new), rate, paused });
    prop::option::of(policy)
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop_oneof![6 => Just("async"), 3 => Just("sync"), 1 => Just("none")];
    let add =
        (0_u8..4, prop::option::of(0_u8..2), 0_u32..2, prop_oneof![2 => Just(0), 1 => 0_i64..3_000], 0_usize..3, name)
            .prop_map(|(key, host, attempts, delay, priority, name)| Step::Add {
                key,
                host,
                attempts,
                delay,
                priority,
                name,
            });
    prop_oneof![
        12 => add,
        4 => Just(Step::Take),
        4 => Just(Step::TakeAll),
        10 => (any::<usize>(), verdict()).prop_map(|(index, verdict)| Step::End { index, verdict }),
        4 => prop_oneof![0_i64..50, 0_i64..60_000].prop_map(|ms| Step::Pass { ms }),
        1 => (0_u8..4, policy()).prop_map(|(key, policy)| Step::Policy { key, policy }),
        1 => any::<usize>().prop_map(|index| Step::Remove { index }),
        1 => any::<usize>().prop_map(|index| Step::Hasten { index }),
        1 => Just(Step::Evict),
    ]
}

/// What is known of a key without looking at the scheduler.
#[derive(Default)]
struct ModelKey {
    policy: Option<KeyPolicy>,
    starts: Vec<i64>,
    failures: u32,
    one_at_a_time: bool,
    held_until: i64,
    /// Until when its breaker is open, and how long that was.
    open: Option<(i64, i64)>,
}

impl ModelKey {
    fn cap(&self) -> usize {
        self.policy.as_ref().and_then(|policy| policy.cap).map_or(LIMITS.per_key, |cap| cap.get() as usize)
    }

    fn is_one_at_a_time(&self) -> bool {
        self.one_at_a_time || self.open.is_some()
    }

    fn is_held(&self, now: i64) -> bool {
        self.held_until.max(self.open.map_or(0, |(until, _)| until)) > now
    }

    /// Whether its policy lets it start one, counted from all its starts since it has the policy.
    fn may_start(&self, now: i64) -> bool {
        let paused = self.policy.as_ref().is_some_and(|policy| policy.paused);
        let rate = self.policy.as_ref().and_then(|policy| policy.rate);
        !paused && rate.is_none_or(|rate| self.tokens(rate, now) >= 1.0 - 1e-3)
    }

    fn tokens(&self, rate: Rate, now: i64) -> f64 {
        let (size, mut tokens, mut last) = (f64::from(rate.starts.get()), f64::from(rate.starts.get()), i64::MIN);
        let gained = |from: i64, to: i64| (to.saturating_sub(from)) as f64 * size / rate.per.as_millis() as f64;
        for start in &self.starts {
            tokens = (tokens + gained(last, *start)).min(size) - 1.0;
            last = *start;
        }
        (tokens + gained(last, now)).min(size)
    }

    fn ended(&mut self, verdict: Verdict, probe: bool, now: i64) {
        match verdict {
            Verdict::Neither => {}
            Verdict::Good => (self.failures, self.one_at_a_time, self.open) = (0, false, None),
            Verdict::Bad { busy, wait } => {
                self.failures += 1;
                self.one_at_a_time |= busy;
                let wait = wait.map_or(0, |wait| i64::try_from(wait.as_millis()).unwrap());
                self.held_until = self.held_until.max(now + wait);
                self.open = match self.open {
                    None if self.failures >= 5 => Some((now + 30_000, 30_000)),
                    Some((_, wait)) if probe => Some((now + (2 * wait).min(600_000), (2 * wait).min(600_000))),
                    open => open,
                };
            }
        }
    }
}

struct Model {
    scheduler: Scheduler,
    now: i64,
    next_id: i64,
    keys: BTreeMap<String, ModelKey>,
    waiting: BTreeMap<TaskId, TaskHead>,
    running: Vec<(TaskHead, bool)>,
    added: usize,
    gone: usize,
}

impl Model {
    fn new() -> Self {
        let mut scheduler = Scheduler::new(LIMITS, kind_of());
        scheduler.tick(0);
        Self {
            scheduler,
            now: 0,
            next_id: 1,
            keys: BTreeMap::new(),
            waiting: BTreeMap::new(),
            running: Vec::new(),
            added: 0,
            gone: 0,
        }
    }

    fn startable(&self, head: &TaskHead) -> bool {
        let sync = head.name == "sync";
        let slots = if sync { LIMITS.threads } else { LIMITS.concurrency };
        let count = |like: &dyn Fn(&TaskHead) -> bool| self.running.iter().filter(|(one, _)| like(one)).count();
        let key = self.keys.get(&head.key);
        let receiver = receiver_of(&head.key);
        let of_receiver = |one: &TaskHead| receiver_of(&one.key) == receiver;
        let receiver = self.keys.get(receiver);
        head.run_at.0 <= self.now
            && head.name != "none"
            && count(&|one| (one.name == "sync") == sync) < slots
            && (head.attempts == 0
                || count(&|one| (one.name == "sync") == sync && one.attempts > 0) < (slots / 2).max(1))
            && (head.host.is_none() || count(&|one| one.host == head.host) < LIMITS.per_host)
            && count(&|one| one.key == head.key) < key.map_or(LIMITS.per_key, ModelKey::cap)
            && key.is_none_or(|key| key.may_start(self.now))
            && receiver.is_none_or(|receiver| {
                !receiver.is_held(self.now) && (!receiver.is_one_at_a_time() || count(&of_receiver) == 0)
            })
    }

    fn take(&mut self) -> bool {
        let Some((head, kind)) = self.scheduler.take() else {
            let idle: Vec<_> = self.waiting.values().filter(|head| self.startable(head)).collect();
            assert!(idle.is_empty(), "a due task stands still while a slot is free: {idle:?}");
            return false;
        };
        assert_eq!(kind == HandlerKind::Sync, head.name == "sync");
        assert_eq!(self.waiting.remove(&head.id).as_ref(), Some(&head), "lost, or started twice");
        assert!(self.startable(&head), "{head:?} must not start");
        // Those of other hosts may come a little later: a host's slot is given on when it is looked at.
        let mine = |other: &&TaskHead| {
            (&other.key, &other.host, &other.name) == (&head.key, &head.host, &head.name)
                && (other.priority, other.attempts > 0) == (head.priority, head.attempts > 0)
        };
        let earlier = self.waiting.values().filter(mine).filter(|other| self.startable(other));
        let earlier = earlier.filter(|other| (other.run_at, other.id) < (head.run_at, head.id));
        assert_eq!(earlier.count(), 0, "it was not its turn: {head:?}");
        let key = self.keys.entry(head.key.clone()).or_default();
        key.starts.push(self.now);
        let probe = self.keys.get(receiver_of(&head.key)).is_some_and(|receiver| receiver.open.is_some());
        self.running.push((head, probe));
        true
    }

    fn find(&self, index: usize) -> Option<TaskHead> {
        let count = self.waiting.len();
        (count > 0).then(|| self.waiting.values().nth(index % count).cloned()).flatten()
    }

    fn apply(&mut self, step: &Step) {
        match step.clone() {
            Step::Add { key, host, attempts, delay, priority, name } => {
                let head = TaskHead {
                    id: TaskId(self.next_id),
                    number: 7_320,
                    name: name.into(),
                    key: name_of(key),
                    host: host.map(|host| format!("host{host}")),
                    run_at: Timestamp(self.now + delay),
                    attempts,
                    priority: Priority::ALL[priority],
                    ordered: false,
                };
                self.next_id += 1;
                self.added += 1;
                assert!(self.scheduler.add(head.clone()));
                assert!(!self.scheduler.add(head.clone()), "twice");
                self.waiting.insert(head.id, head);
            }
            Step::Take => drop(self.take()),
            Step::TakeAll => while self.take() {},
            Step::End { index, verdict } => {
                if self.running.is_empty() {
                    return;
                }
                let (head, probe) = self.running.swap_remove(index % self.running.len());
                self.scheduler.ended(head.id, verdict);
                self.keys.entry(receiver_of(&head.key).to_owned()).or_default().ended(verdict, probe, self.now);
                self.gone += 1;
            }
            Step::Pass { ms } => {
                self.now += ms;
                self.scheduler.tick(self.now);
                assert!(self.scheduler.next_due().is_none_or(|due| due > self.now), "a timer that has passed");
            }
            Step::Policy { key, policy } => {
                let name = name_of(key);
                self.scheduler.set_policy(&name, policy.clone());
                let key = self.keys.entry(name).or_default();
                key.policy = policy;
                key.starts.clear();
            }
            Step::Remove { index } => {
                let Some(head) = self.find(index).filter(|head| head.name != "none") else { return };
                assert!(self.scheduler.remove(head.id, &head.key));
                self.waiting.remove(&head.id);
                self.gone += 1;
            }
            Step::Hasten { index } => {
                let Some(head) = self.find(index).filter(|head| head.run_at.0 > self.now) else { return };
                let head = TaskHead { run_at: Timestamp(self.now), ..head };
                assert!(self.scheduler.hasten(head.clone()));
                self.waiting.insert(head.id, head);
            }
            Step::Evict => {
                for head in self.scheduler.evict() {
                    assert_eq!(self.waiting.remove(&head.id), Some(head));
                    self.gone += 1;
                }
            }
        }
        for head in self.scheduler.take_homeless() {
            assert_eq!(head.name, "none");
            assert_eq!(self.waiting.remove(&head.id), Some(head));
            self.gone += 1;
        }
        for key in (0..4).map(name_of) {
            let due = self.waiting.values().filter(|head| head.key == key && head.run_at.0 <= self.now).count();
            assert_eq!(self.scheduler.queued(&key), due);
        }
    }

    /// Lets everything end well and sees that nothing is left.
    fn finish(mut self) {
        for key in 0..4 {
            self.apply(&Step::Policy { key, policy: None });
        }
        for _ in 0..1_000 {
            self.apply(&Step::TakeAll);
            if self.running.is_empty() && self.waiting.is_empty() {
                break;
            }
            while !self.running.is_empty() {
                self.apply(&Step::End { index: 0, verdict: Verdict::Good });
            }
            self.apply(&Step::Pass { ms: DAY_MS });
        }
        // What was taken off the timer goes when its time comes.
        self.apply(&Step::Pass { ms: DAY_MS });
        assert!(self.waiting.is_empty(), "stuck: {:?}", self.waiting);
        assert_eq!(self.gone, self.added);
        assert!(
            self.scheduler.queues.is_empty() && self.scheduler.known.is_empty(),
            "something is remembered for ever"
        );
        assert!(self.scheduler.hosts.is_empty() && self.scheduler.timers.is_empty());
        assert!(self.scheduler.parts_running.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_a_look_at_every_task_would(steps in prop::collection::vec(step(), 1..200)) {
        let mut model = Model::new();
        for step in &steps {
            model.apply(step);
        }
        model.finish();
    }
}
