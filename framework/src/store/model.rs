//! Random sequences of operations, on a store and on a simple model of it, which have to agree after each of them.
//!
//! The model says what `docs/deferred-tasks.md` says and knows nothing of tables. `PROPTEST_CASES` sets how many sequences
//! are tried; a failure prints the shortest sequence that was found and how to repeat it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use super::conformance::{Fresh, ended, started};
use super::record::Move;
use super::{
    Acceptance, AttemptResult, Ending, KeyCounts, Lane, Lease, NewTask, NewWebhook, OwnerId, Priority, Sealed, Store,
    TaskId, TaskState, Timestamp, Unique, WebhookId, WebhookOptions,
};

/// Sequences, where `PROPTEST_CASES` does not say otherwise.
const CASES: u32 = 48;
/// Operations in a sequence.
const LENGTH: usize = 60;
const CRASH_LIMIT: u32 = 3;

#[derive(Clone, Debug)]
enum Operation {
    Accept(Vec<Draft>),
    Claim { per_lane: u32 },
    Unhold(Index),
    Promote,
    Start(Index),
    Finish { task: Index, ending: End, stale: bool },
    Retry(Index),
    Cancel(Index),
    Quarantine(Index),
    Recover,
    AddWebhook,
    RemoveWebhook(u8),
    Wait(u8),
}

#[derive(Clone, Debug)]
struct Draft {
    key: u8,
    name: u8,
    ordered: bool,
    after: u8,
    unique: Option<(u8, u8)>,
    hold: bool,
    priority: Priority,
    webhook: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Done,
    Retry { after: u8, hold: bool },
    Dead,
    Release,
}

fn draft() -> impl Strategy<Value = Draft> {
    let priority = prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)];
    let after = prop_oneof![3 => Just(0), 1 => 1..40_u8];
    let unique = proptest::option::weighted(0.3, (0..2_u8, prop_oneof![Just(0), Just(30)]));
    let webhook = proptest::option::weighted(0.3, 0..3_u8);
    (0..3_u8, 0..2_u8, any::<bool>(), after, unique, any::<bool>(), priority, webhook).prop_map(
        |(key, name, ordered, after, unique, hold, priority, webhook)| Draft {
            key,
            name,
            ordered,
            after,
            unique,
            hold,
            priority,
            webhook,
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    let index = any::<Index>;
    let end = prop_oneof![
        3 => Just(End::Done),
        3 => (0..40_u8, any::<bool>()).prop_map(|(after, hold)| End::Retry { after, hold }),
        1 => Just(End::Dead),
        1 => Just(End::Release),
    ];
    prop_oneof![
        4 => proptest::collection::vec(draft(), 1..4).prop_map(Operation::Accept),
        4 => (1..4_u32).prop_map(|per_lane| Operation::Claim { per_lane }),
        1 => index().prop_map(Operation::Unhold),
        2 => Just(Operation::Promote),
        8 => index().prop_map(Operation::Start),
        8 => (index(), end, proptest::bool::weighted(0.1))
            .prop_map(|(task, ending, stale)| Operation::Finish { task, ending, stale }),
        2 => index().prop_map(Operation::Retry),
        1 => index().prop_map(Operation::Cancel),
        1 => index().prop_map(Operation::Quarantine),
        1 => Just(Operation::Recover),
        1 => Just(Operation::AddWebhook),
        1 => (0..3_u8).prop_map(Operation::RemoveWebhook),
        3 => (1..40_u8).prop_map(Operation::Wait),
    ]
}

/// Tries random sequences on fresh stores.
pub(crate) fn run(fresh: Fresh<'_>) {
    let cases = Config { failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let cases =
        Config { cases: if std::env::var_os("PROPTEST_CASES").is_some() { cases.cases } else { CASES }, ..cases };
    let sequence = proptest::collection::vec(operation(), 1..LENGTH);
    let tried = TestRunner::new(cases).run(&sequence, |sequence| {
        let (store, alive) = fresh();
        let mut both = Both { store: &*store, model: Model::default() };
        for operation in sequence {
            both.perform(&operation)?;
            both.compare()?;
        }
        both.check()?;
        // The store first: what outlives it may be its folder or its schema.
        drop(store);
        drop(alive);
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
}

/// A task as the model knows it.
#[derive(Clone, Debug, PartialEq)]
struct ModelTask {
    lane: Lane,
    ordered: bool,
    priority: Priority,
    unique: Option<String>,
    webhook: Option<WebhookId>,
    state: TaskState,
    held: bool,
    reason: Option<String>,
    attempts: u32,
    attempts_before: u32,
    crashes: u32,
    lease: i64,
    run_at: i64,
    created_at: i64,
    outcomes: Vec<Option<String>>,
}

impl ModelTask {
    fn has_ended(&self) -> bool {
        matches!(self.state, TaskState::Done | TaskState::Dead)
    }

    fn make(&mut self, step: Move) -> bool {
        let Some(state) = self.state.after(step) else { return false };
        self.state = state;
        true
    }

    fn end_attempt(&mut self, outcome: &str) {
        self.outcomes.iter_mut().filter(|one| one.is_none()).for_each(|one| *one = Some(outcome.to_owned()));
    }

    fn die(&mut self, reason: &str) {
        self.reason = Some(reason.to_owned());
        self.held = false;
    }
}

#[derive(Debug, Default)]
struct Model {
    now: i64,
    tasks: BTreeMap<i64, ModelTask>,
    last_task: i64,
    webhooks: BTreeSet<i64>,
    last_webhook: i64,
}

impl Model {
    fn key_counts(&self) -> Vec<KeyCounts> {
        let mut keys: BTreeMap<&str, KeyCounts> = BTreeMap::new();
        for task in self.tasks.values().filter(|task| !task.has_ended()) {
            let key = &task.lane.key;
            let counts = keys.entry(key).or_insert_with(|| KeyCounts { key: key.clone(), ..KeyCounts::default() });
            match task.state {
                TaskState::Ready => counts.ready += 1,
                TaskState::Running => counts.running += 1,
                _ => counts.waiting += 1,
            }
        }
        keys.into_values().collect()
    }

    fn accept(&mut self, draft: &Draft) -> (i64, bool, bool) {
        let unique = draft.unique.map(|(key, _)| key.to_string());
        if let Some((_, window)) = draft.unique {
            let same = self.tasks.iter().rev().find(|(_, task)| {
                task.unique == unique && (!task.has_ended() || task.created_at > self.now - i64::from(window))
            });
            if let Some((id, _)) = same {
                return (*id, false, true);
            }
        }
        self.last_task += 1;
        let id = self.last_task;
        let held = draft.hold && !draft.ordered;
        let task = ModelTask {
            lane: draft.lane(),
            ordered: draft.ordered,
            priority: draft.priority,
            unique,
            webhook: draft.webhook.map(|webhook| WebhookId(webhook.into())),
            state: if draft.after > 0 { TaskState::Waiting } else { TaskState::Ready },
            held,
            reason: None,
            attempts: 0,
            attempts_before: 0,
            crashes: 0,
            lease: 0,
            run_at: self.now + i64::from(draft.after),
            created_at: self.now,
            outcomes: Vec::new(),
        };
        self.tasks.insert(id, task);
        (id, held, false)
    }

    fn is_free(task: &ModelTask) -> bool {
        task.state == TaskState::Ready && !task.held
    }

    fn lanes(&self) -> Vec<Lane> {
        let free = self.tasks.values().filter(|task| Self::is_free(task));
        free.map(|task| task.lane.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn claim(&mut self, lane: &Lane, per_lane: u32) -> (Vec<i64>, bool) {
        let free = |task: &ModelTask| Self::is_free(task) && task.lane == *lane;
        let first = self.tasks.iter().find(|(_, task)| task.ordered && task.lane.key == lane.key && !task.has_ended());
        // An earlier one that is retried by hand waits for the one that is held.
        let held = |task: &ModelTask| task.ordered && task.lane.key == lane.key && task.held && !task.has_ended();
        let first = first.filter(|_| !self.tasks.values().any(held));
        let mut ids: Vec<i64> = first.filter(|(_, task)| free(task)).map(|(id, _)| *id).into_iter().collect();
        let others = self.tasks.iter().filter(|(_, task)| free(task) && !task.ordered);
        let mut others: Vec<i64> = others.map(|(id, _)| *id).collect();
        others.sort_by_key(|id| (std::cmp::Reverse(self.tasks[id].priority), self.tasks[id].run_at, *id));
        ids.extend(others);
        ids.truncate(per_lane as usize);
        for id in &ids {
            self.task(*id).held = true;
        }
        (ids, self.tasks.values().any(free))
    }

    fn task(&mut self, id: i64) -> &mut ModelTask {
        self.tasks.get_mut(&id).unwrap()
    }

    fn promote(&mut self) -> Vec<Lane> {
        let now = self.now;
        let due = |task: &&mut ModelTask| task.state == TaskState::Waiting && !task.held && task.run_at <= now;
        let due = self.tasks.values_mut().filter(due);
        let lanes: BTreeSet<Lane> = due.filter_map(|task| task.make(Move::Due).then(|| task.lane.clone())).collect();
        lanes.into_iter().collect()
    }

    fn next_due(&self) -> Option<i64> {
        let waiting = self.tasks.values().filter(|task| task.state == TaskState::Waiting && !task.held);
        waiting.map(|task| task.run_at).min()
    }

    fn start(&mut self, id: i64) -> Option<i64> {
        let task = self.task(id);
        if !task.held || !task.make(Move::Start) {
            return None;
        }
        task.attempts += 1;
        task.lease += 1;
        task.outcomes.push(None);
        Some(task.lease)
    }

    fn finish(&mut self, id: i64, lease: i64, end: End) -> bool {
        let now = self.now;
        let task = self.task(id);
        let step = match end {
            End::Done => Move::Finish,
            End::Retry { .. } => Move::FailAndRetry,
            End::Dead => Move::GiveUp,
            End::Release => Move::Release,
        };
        if task.lease != lease || !task.make(step) {
            return false;
        }
        task.end_attempt("ended");
        task.reason = None;
        task.held = false;
        match end {
            End::Done => {}
            End::Retry { after, hold } => {
                task.run_at = now + i64::from(after);
                task.reason = Some("busy".into());
                task.held = hold;
            }
            End::Dead => task.reason = Some("no".into()),
            End::Release => task.attempts -= 1,
        }
        true
    }

    fn retry(&mut self, id: i64) -> bool {
        let now = self.now;
        let task = self.task(id);
        if !task.make(Move::RetryByHand) {
            return false;
        }
        task.reason = None;
        task.crashes = 0;
        task.attempts_before = task.attempts;
        task.run_at = now;
        true
    }

    fn cancel(&mut self, id: i64) -> bool {
        let task = self.task(id);
        let happens = task.make(Move::Cancel);
        if happens {
            task.die("cancelled");
        }
        happens
    }

    fn quarantine(&mut self, id: i64) -> bool {
        let task = self.task(id);
        let happens = task.make(Move::Quarantine);
        if happens {
            task.die("corrupt: odd");
            task.end_attempt("corrupt");
        }
        happens
    }

    fn recover(&mut self) -> (u64, u64) {
        let (mut ready, mut dead) = (0, 0);
        for task in self.tasks.values_mut() {
            task.held = false;
            if task.state != TaskState::Running {
                continue;
            }
            task.crashes += 1;
            task.end_attempt("unknown");
            if task.crashes < CRASH_LIMIT {
                assert!(task.make(Move::Release));
                ready += 1;
            } else {
                assert!(task.make(Move::GiveUp));
                task.die("crash: the host ended while it was running, too often");
                dead += 1;
            }
        }
        (ready, dead)
    }

    fn remove_webhook(&mut self, id: i64) -> bool {
        if !self.webhooks.remove(&id) {
            return false;
        }
        let tasks = self.tasks.values_mut().filter(|task| task.webhook == Some(WebhookId(id)));
        tasks.filter_map(|task| task.make(Move::Cancel).then_some(task)).for_each(|task| task.die("webhook removed"));
        true
    }
}

impl Draft {
    fn lane(&self) -> Lane {
        Lane { number: 21_500, name: format!("name_{}", self.name), key: format!("key_{}", self.key) }
    }

    fn task(&self, now: i64) -> NewTask {
        let Lane { number, name, key } = self.lane();
        let window = |ms: u8| Duration::from_millis(ms.into());
        NewTask {
            number,
            name,
            key,
            webhook: self.webhook.map(|webhook| WebhookId(webhook.into())),
            payload: Some(b"{}".to_vec()),
            at: Timestamp(now),
            run_at: Timestamp(now + i64::from(self.after)),
            priority: self.priority,
            ordered: self.ordered,
            unique: self.unique.map(|(key, ms)| Unique { key: key.to_string(), window: window(ms) }),
            hold: self.hold,
            ..NewTask::default()
        }
    }
}

/// A store and its model.
struct Both<'a> {
    store: &'a dyn Store,
    model: Model,
}

impl Both<'_> {
    fn pick(&self, index: &Index) -> Option<i64> {
        let ids: Vec<i64> = self.model.tasks.keys().copied().collect();
        (!ids.is_empty()).then(|| *index.get(&ids))
    }

    fn perform(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        let (store, now) = (self.store, Timestamp(self.model.now));
        match operation {
            Operation::Accept(drafts) => {
                let tasks = drafts.iter().map(|draft| draft.task(now.0)).collect();
                let accepted = store.accept(Acceptance { events: Vec::new(), tasks }).wait().unwrap();
                let accepted: Vec<_> = accepted.iter().map(|one| (one.head.id.0, one.held, one.known)).collect();
                let expected: Vec<_> = drafts.iter().map(|draft| self.model.accept(draft)).collect();
                prop_assert_eq!(accepted, expected);
            }
            Operation::Claim { per_lane } => {
                let lanes = self.model.lanes();
                let claimed = store.claim(lanes.clone(), *per_lane).wait().unwrap();
                let claimed: Vec<_> = claimed
                    .iter()
                    .map(|one| (one.heads.iter().map(|head| head.id.0).collect::<Vec<_>>(), one.more))
                    .collect();
                let expected: Vec<_> = lanes.iter().map(|lane| self.model.claim(lane, *per_lane)).collect();
                prop_assert_eq!(claimed, expected);
            }
            Operation::Promote => {
                prop_assert_eq!(store.promote(now, 1_000).wait().unwrap(), self.model.promote());
            }
            Operation::Recover => {
                let recovered = store.recover(now, CRASH_LIMIT).unwrap();
                prop_assert_eq!((recovered.ready, recovered.dead), self.model.recover());
            }
            Operation::AddWebhook => {
                let webhook = NewWebhook {
                    owner: OwnerId(1),
                    name: String::new(),
                    url: "https://example.com".into(),
                    method: "none".into(),
                    events: Vec::new(),
                    options: WebhookOptions::default(),
                    secrets: Sealed::default(),
                };
                let id = store.add_webhook(webhook, now).wait().unwrap().id.0;
                prop_assert!(id > self.model.last_webhook, "an id was given twice");
                self.model.last_webhook = id;
                self.model.webhooks.insert(id);
            }
            Operation::RemoveWebhook(webhook) => {
                let id = i64::from(*webhook);
                prop_assert_eq!(
                    store.remove_webhook(WebhookId(id), None, now).wait().unwrap(),
                    self.model.remove_webhook(id)
                );
            }
            Operation::Wait(time) => self.model.now += i64::from(*time),
            Operation::Unhold(index)
            | Operation::Start(index)
            | Operation::Finish { task: index, .. }
            | Operation::Retry(index)
            | Operation::Cancel(index)
            | Operation::Quarantine(index) => {
                if let Some(id) = self.pick(index) {
                    self.perform_on(id, operation)?;
                }
            }
        }
        Ok(())
    }

    fn perform_on(&mut self, number: i64, operation: &Operation) -> Result<(), TestCaseError> {
        let (store, now, id) = (self.store, Timestamp(self.model.now), TaskId(number));
        match operation {
            Operation::Unhold(_) => {
                store.unhold(vec![id]).wait().unwrap();
                let task = self.model.task(number);
                task.held &= task.state == TaskState::Running;
            }
            Operation::Start(_) => {
                let started = started(store, id, now);
                prop_assert_eq!(started.map(|started| started.lease.0), self.model.start(number));
            }
            Operation::Finish { ending, stale, .. } => {
                let lease = self.model.task(number).lease - i64::from(*stale);
                let attempt = AttemptResult { ended_at: now, outcome: "ended".into(), ..AttemptResult::default() };
                let finished = ended(store, id, Lease(lease), ending.ending(now), attempt);
                prop_assert_eq!(finished, self.model.finish(number, lease, *ending));
            }
            Operation::Retry(_) => {
                let retried = store.retry_task(id, now).wait().unwrap();
                prop_assert_eq!(retried.is_some(), self.model.retry(number));
                if let Some(retried) = retried {
                    prop_assert_eq!((retried.held, retried.head.attempts), (self.model.task(number).held, 0));
                }
            }
            Operation::Cancel(_) => {
                prop_assert_eq!(store.cancel_task(id, now).wait().unwrap(), self.model.cancel(number));
            }
            Operation::Quarantine(_) => {
                let quarantined = store.quarantine(id, "odd".into(), now).wait().unwrap();
                prop_assert_eq!(quarantined, self.model.quarantine(number));
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares everything that can be seen.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        for (id, expected) in &self.model.tasks {
            let task = self.store.task(TaskId(*id)).unwrap().unwrap();
            let attempts = self.store.attempts(TaskId(*id)).unwrap();
            let seen = ModelTask {
                lane: task.head().lane(),
                ordered: task.ordered,
                priority: task.priority,
                unique: task.unique_key,
                webhook: task.webhook,
                state: task.state,
                held: task.held,
                reason: task.reason,
                attempts: task.attempts,
                attempts_before: task.attempts_before,
                crashes: task.crashes,
                lease: task.lease.0,
                run_at: task.run_at.0,
                created_at: task.created_at.0,
                outcomes: attempts.into_iter().map(|attempt| attempt.outcome).collect(),
            };
            prop_assert_eq!(&seen, expected, "task {}", id);
        }
        prop_assert_eq!(self.store.lanes(None, 1_000).unwrap(), self.model.lanes());
        prop_assert_eq!(self.store.next_due().unwrap().map(|due| due.0), self.model.next_due());
        let counts = self.store.task_counts().unwrap();
        let count = |state| self.model.tasks.values().filter(|task| task.state == state).count() as u64;
        let expected = TaskState::ALL.map(count);
        prop_assert_eq!([counts.ready, counts.running, counts.waiting, counts.done, counts.dead], expected);
        prop_assert_eq!(self.store.key_counts().unwrap(), self.model.key_counts());
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.store.check().unwrap(), Vec::<String>::new());
        Ok(())
    }
}

impl End {
    fn ending(self, now: Timestamp) -> Ending {
        match self {
            Self::Done => Ending::Done { keep_input: true },
            Self::Retry { after, hold } => {
                Ending::Retry { at: Timestamp(now.0 + i64::from(after)), reason: "busy".into(), hold }
            }
            Self::Dead => Ending::Dead { reason: "no".into() },
            Self::Release => Ending::Release,
        }
    }
}
