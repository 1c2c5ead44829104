//! The behaviour that every engine has, as one suite.

mod attempts;
pub(crate) mod care;
mod damage;
#[cfg(feature = "postgres")]
pub(crate) mod hosts;
pub(crate) mod webhooks;

pub(crate) use care::move_everything;

use std::collections::HashSet;
use std::num::NonZeroU32;

use super::{
    Acceptance, AcceptedTask, AttemptResult, Ending, EventId, IdempotencyKey, KeyCounts, KeyPolicy, Keyed, Lane, Lease,
    NewEvent, NewTask, OwnerId, Priority, Rate, Retention, RunEnd, Started, Store, TaskFilter, TaskHead, TaskId,
    TaskState, Timestamp, Unique, WebhookId,
};
use crate::store::record::Move;

/// Makes a fresh store, and what runs SQL on its tables behind its back; that holds whatever has to outlive the store.
pub(crate) type Fresh<'a> = &'a dyn Fn() -> (Box<dyn Store>, Box<Sql>);

/// Runs SQL that both engines understand.
pub(crate) type Sql = dyn Fn(&str);

type Case = (&'static str, fn(&dyn Store));

const CASES: &[Case] = &[
    ("every move of a task is one that the state machine allows", moves),
    ("a run goes from ready over running to done, with its attempt", done),
    ("a failed run waits, and is started again with one attempt more", retried),
    ("a late worker cannot overwrite a newer run", stale),
    ("an interrupted run is no attempt", released),
    ("a task that runs in too many crashes is dead", crashes),
    ("a task that has ended is retried and a waiting one cancelled by hand", by_hand),
    ("one operation that fails does not spoil its group", group_failure),
    ("only the host that holds a task starts it", holding),
    ("lanes are claimed in turns, the most urgent and first due first", lanes),
    ("an ordered key gives its tasks one at a time", ordered),
    ("a waiting task is made ready at its time", promotion),
    ("a unique task is accepted once, until it has ended and its window has passed", unique),
    ("the input goes with the last success, unless it is kept", forgotten_input),
    ("the options of a task are kept", options),
    ("many threads get ids of their own", many_threads),
    ("tasks are listed by state, webhook and event, in pages", listing),
    ("an event is accepted once under an idempotency key, until that expires", keyed),
    ("a plugin's values are its own and expire", plugin_values),
    ("policies of keys are kept, replaced and removed", key_policies),
    ("keys are counted by what has not ended", key_counts),
];

/// Runs every case on a fresh store.
pub(crate) fn run(fresh: Fresh<'_>) {
    let run = |name, case: &dyn Fn(&dyn Store, &Sql)| {
        let (store, sql) = fresh();
        let _named = Named(name);
        case(&*store, &*sql);
        // The store first: what outlives it may be its folder or its schema.
        drop(store);
        drop(sql);
    };
    for (name, case) in CASES.iter().chain(care::CASES).chain(webhooks::CASES).chain(attempts::CASES) {
        run(name, &|store, _| case(store));
    }
    for (name, case) in damage::CASES {
        run(name, case);
    }
}

/// Names the case when it fails.
struct Named(&'static str);

impl Drop for Named {
    #[expect(clippy::print_stderr, reason = "the output of a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the case that failed: {}", self.0);
        }
    }
}

fn event(name: &str) -> NewEvent {
    NewEvent {
        id: EventId::new(),
        name: name.into(),
        owner: OwnerId(62),
        task: Some("save".into()),
        cause: None,
        channel: Some("acme".into()),
        depth: 0,
        body: b"{\"data\":{}}".to_vec(),
        at: Timestamp(1),
    }
}

fn task(event: &NewEvent, webhook: Option<i64>) -> NewTask {
    NewTask {
        event: Some(event.id.clone()),
        webhook: webhook.map(WebhookId),
        number: 7_320,
        name: "none".into(),
        key: "webhook:1".into(),
        host: Some("example.com:443".into()),
        at: Timestamp(10),
        run_at: Timestamp(10),
        hold: true,
        ..NewTask::default()
    }
}

/// Accepts one event with `count` tasks.
pub(crate) fn accept(store: &dyn Store, count: usize) -> Vec<TaskHead> {
    let event = event("booking_added");
    let tasks = vec![task(&event, None); count];
    accept_tasks(store, vec![event], tasks).into_iter().map(|task| task.head).collect()
}

fn accept_tasks(store: &dyn Store, events: Vec<NewEvent>, tasks: Vec<NewTask>) -> Vec<AcceptedTask> {
    store.accept(Acceptance { events, tasks }).wait().unwrap()
}

/// Returns the ids of the tasks in a state.
pub(crate) fn ids_in(store: &dyn Store, state: TaskState) -> Vec<TaskId> {
    let filter = TaskFilter { state: Some(state), limit: 1_000, ..TaskFilter::default() };
    store.tasks(&filter).unwrap().iter().map(|task| task.id).collect()
}

const DONE: Ending = Ending::Done { keep_input: true };

fn result(outcome: &str) -> AttemptResult {
    AttemptResult { ended_at: Timestamp(50), outcome: outcome.into(), status: Some(200), ..AttemptResult::default() }
}

/// Starts one task.
pub(crate) fn started(store: &dyn Store, id: TaskId, now: Timestamp) -> Option<Started> {
    store.start(vec![id], now).wait().unwrap().remove(0).unwrap()
}

fn start(store: &dyn Store, id: TaskId) -> Lease {
    started(store, id, Timestamp(20)).unwrap().lease
}

/// Ends one run.
pub(crate) fn ended(store: &dyn Store, task: TaskId, lease: Lease, ending: Ending, attempt: AttemptResult) -> bool {
    store.finish(vec![RunEnd { task, lease, ending, attempt }]).wait().unwrap().remove(0)
}

fn finish(store: &dyn Store, id: TaskId, lease: Lease, ending: Ending) -> bool {
    ended(store, id, lease, ending, result("ok"))
}

fn retry_at(at: i64) -> Ending {
    Ending::Retry { at: Timestamp(at), reason: "busy".into(), hold: true }
}

/// Takes what nobody holds into the memory of this host.
fn claim(store: &dyn Store, per_lane: u32) -> Vec<TaskId> {
    let lanes = store.lanes(None, 100).unwrap();
    let claimed = store.claim(lanes, per_lane).wait().unwrap();
    claimed.into_iter().flat_map(|claimed| claimed.heads).map(|head| head.id).collect()
}

fn state(store: &dyn Store, id: TaskId) -> TaskState {
    store.task(id).unwrap().unwrap().state
}

/// Brings a fresh task into a state.
fn task_in(store: &dyn Store, wanted: TaskState) -> TaskId {
    let id = accept(store, 1)[0].id;
    if wanted != TaskState::Ready {
        let lease = start(store, id);
        let ending = match wanted {
            TaskState::Waiting => Some(retry_at(99)),
            TaskState::Done => Some(DONE),
            TaskState::Dead => Some(Ending::Dead { reason: "no".into() }),
            _ => None,
        };
        if let Some(ending) = ending {
            assert!(finish(store, id, lease, ending));
        }
    }
    assert_eq!(state(store, id), wanted);
    id
}

fn moves(store: &dyn Store) {
    for from in TaskState::ALL {
        for step in Move::ALL {
            let id = task_in(store, from);
            let lease = store.task(id).unwrap().unwrap().lease;
            let now = Timestamp(60);
            let happened = match step {
                Move::Start => started(store, id, now).is_some(),
                Move::Finish => finish(store, id, lease, DONE),
                Move::FailAndRetry => finish(store, id, lease, retry_at(99)),
                Move::GiveUp => finish(store, id, lease, Ending::Dead { reason: "no".into() }),
                Move::Release => finish(store, id, lease, Ending::Release),
                Move::RetryByHand => store.retry_task(id, now).wait().unwrap().is_some(),
                Move::Cancel => store.cancel_task(id, now).wait().unwrap(),
                Move::Due => {
                    store.unhold(vec![id]).wait().unwrap();
                    !store.promote(Timestamp(100), 10).wait().unwrap().is_empty()
                }
                Move::Quarantine => store.quarantine(id, "no".into(), now).wait().unwrap(),
            };
            let expected = from.after(step);
            assert_eq!(happened, expected.is_some(), "{from} {step:?}");
            assert_eq!(state(store, id), expected.unwrap_or(from), "{from} {step:?}");
        }
    }
}

fn done(store: &dyn Store) {
    let head = accept(store, 1).remove(0);
    assert_eq!(ids_in(store, TaskState::Ready), [head.id]);
    let started = started(store, head.id, Timestamp(20)).unwrap();
    assert_eq!((started.task.attempts, started.task.state), (1, TaskState::Running));
    assert_eq!(started.event.unwrap().body, b"{\"data\":{}}");
    let open = store.attempts(head.id).unwrap();
    assert_eq!((open[0].started_at, open[0].outcome.clone()), (Timestamp(20), None));
    assert!(finish(store, head.id, started.lease, DONE));
    let attempts = store.attempts(head.id).unwrap();
    assert_eq!((attempts.len(), attempts[0].outcome.as_deref(), attempts[0].status), (1, Some("ok"), Some(200)));
    assert!(ids_in(store, TaskState::Ready).is_empty());
    assert_eq!(store.task_counts().unwrap().done, 1);
}

fn retried(store: &dyn Store) {
    let id = task_in(store, TaskState::Waiting);
    let waiting = store.task(id).unwrap().unwrap();
    assert_eq!((waiting.run_at, waiting.reason.as_deref()), (Timestamp(99), Some("busy")));
    let lease = start(store, id);
    assert!(finish(store, id, lease, DONE));
    let task = store.task(id).unwrap().unwrap();
    assert_eq!((task.state, task.attempts, task.reason), (TaskState::Done, 2, None));
    let numbers: Vec<u32> = store.attempts(id).unwrap().iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2]);
}

fn stale(store: &dyn Store) {
    let id = task_in(store, TaskState::Running);
    let old = store.task(id).unwrap().unwrap().lease;
    store.recover(Timestamp(30), 3).unwrap();
    claim(store, 1);
    let new = start(store, id);
    assert!(!finish(store, id, old, Ending::Dead { reason: "late".into() }));
    assert_eq!(state(store, id), TaskState::Running);
    assert!(finish(store, id, new, DONE));
    assert!(!finish(store, id, new, Ending::Dead { reason: "twice".into() }));
    assert_eq!(state(store, id), TaskState::Done);
}

fn released(store: &dyn Store) {
    let id = task_in(store, TaskState::Running);
    let lease = store.task(id).unwrap().unwrap().lease;
    assert!(ended(store, id, lease, Ending::Release, result("interrupted")));
    let task = store.task(id).unwrap().unwrap();
    assert_eq!((task.state, task.attempts, task.crashes), (TaskState::Ready, 0, 0));
    assert_eq!(store.attempts(id).unwrap()[0].outcome.as_deref(), Some("interrupted"));
}

fn crashes(store: &dyn Store) {
    let id = accept(store, 1)[0].id;
    for crash in 1..=3 {
        if crash > 1 {
            claim(store, 1);
        }
        start(store, id);
        let recovered = store.recover(Timestamp(30), 3).unwrap();
        assert_eq!((recovered.ready, recovered.dead), if crash < 3 { (1, 0) } else { (0, 1) });
    }
    let task = store.task(id).unwrap().unwrap();
    assert_eq!((task.state, task.crashes), (TaskState::Dead, 3));
    assert!(task.reason.unwrap().starts_with("crash"));
    let outcomes: Vec<_> = store.attempts(id).unwrap().into_iter().filter_map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, ["unknown"; 3]);
}

fn by_hand(store: &dyn Store) {
    let id = task_in(store, TaskState::Dead);
    let retried = store.retry_task(id, Timestamp(70)).wait().unwrap().unwrap();
    assert_eq!((retried.head.run_at, retried.head.attempts, retried.held), (Timestamp(70), 0, false));
    assert_eq!(store.task(id).unwrap().unwrap().attempts, 1, "attempts are counted on, the schedule begins anew");
    assert!(store.cancel_task(id, Timestamp(71)).wait().unwrap());
    assert_eq!(store.task(id).unwrap().unwrap().reason.as_deref(), Some("cancelled"));
}

fn group_failure(store: &dyn Store) {
    let first = event("a");
    let receipts: Vec<_> = [first.clone(), first, event("b")]
        .map(|event| store.accept(Acceptance { tasks: vec![task(&event, None)], events: vec![event] }))
        .into_iter()
        .map(|receipt| receipt.wait().is_ok())
        .collect();
    assert_eq!(receipts, [true, false, true]);
    assert_eq!(ids_in(store, TaskState::Ready).len(), 2);
}

fn unheld(at: i64, key: &str) -> NewTask {
    NewTask {
        number: 21_500,
        name: "n".into(),
        key: key.into(),
        payload: Some(b"{}".to_vec()),
        at: Timestamp(at),
        run_at: Timestamp(at),
        ..NewTask::default()
    }
}

fn accept_one(store: &dyn Store, task: NewTask) -> TaskId {
    accept_tasks(store, Vec::new(), vec![task])[0].head.id
}

fn holding(store: &dyn Store) {
    let id = accept_one(store, unheld(10, "a"));
    assert!(started(store, id, Timestamp(20)).is_none(), "nobody holds it");
    assert_eq!(claim(store, 10), [id]);
    assert!(store.lanes(None, 10).unwrap().is_empty());
    assert!(claim(store, 10).is_empty(), "it is held");
    store.unhold(vec![id]).wait().unwrap();
    assert!(started(store, id, Timestamp(20)).is_none());
    assert_eq!(claim(store, 10), [id]);
    start(store, id);
    store.unhold(vec![id]).wait().unwrap();
    assert_eq!(state(store, id), TaskState::Running, "what runs is not given up");
    store.recover(Timestamp(30), 3).unwrap();
    assert_eq!(claim(store, 10), [id], "a host that ended holds nothing");
}

fn lanes(store: &dyn Store) {
    let tasks = vec![
        unheld(30, "b"),
        unheld(20, "a"),
        NewTask { priority: Priority::High, ..unheld(25, "a") },
        unheld(10, "a"),
        NewTask { number: 21_400, ..unheld(10, "c") },
    ];
    let ids: Vec<_> = accept_tasks(store, Vec::new(), tasks).iter().map(|task| task.head.id).collect();
    let keys = |after: Option<&Lane>, limit| -> Vec<String> {
        store.lanes(after, limit).unwrap().into_iter().map(|lane| lane.key).collect()
    };
    assert_eq!(keys(None, 10), ["c", "a", "b"]);
    let first = store.lanes(None, 2).unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(keys(first.last(), 10), ["b"]);
    let claimed = store.claim(store.lanes(None, 10).unwrap(), 2).wait().unwrap();
    let got: Vec<(Vec<TaskId>, bool)> =
        claimed.iter().map(|one| (one.heads.iter().map(|head| head.id).collect(), one.more)).collect();
    assert_eq!(got, [(vec![ids[4]], false), (vec![ids[2], ids[3]], true), (vec![ids[0]], false)]);
}

fn ordered(store: &dyn Store) {
    let one = || NewTask { ordered: true, hold: true, ..unheld(10, "room") };
    let other_lane = NewTask { name: "m".into(), ..one() };
    let accepted = accept_tasks(store, Vec::new(), vec![one(), other_lane, one()]);
    assert!(accepted.iter().all(|task| !task.held));
    let ids: Vec<_> = accepted.iter().map(|task| task.head.id).collect();
    assert_eq!(claim(store, 10), [ids[0]]);
    assert!(claim(store, 10).is_empty());
    let lease = start(store, ids[0]);
    assert!(finish(store, ids[0], lease, Ending::Retry { at: Timestamp(99), reason: "busy".into(), hold: false }));
    assert!(claim(store, 10).is_empty(), "a failing one blocks its key");
    assert!(store.cancel_task(ids[0], Timestamp(30)).wait().unwrap());
    assert_eq!(claim(store, 10), [ids[1]]);
    let lease = start(store, ids[1]);
    assert!(finish(store, ids[1], lease, DONE));
    assert_eq!(claim(store, 10), [ids[2]]);
    // An earlier one has its place again when it is retried by hand, after the one that is held.
    assert!(store.retry_task(ids[0], Timestamp(40)).wait().unwrap().is_some());
    assert!(claim(store, 10).is_empty());
    let lease = start(store, ids[2]);
    assert!(claim(store, 10).is_empty());
    assert!(finish(store, ids[2], lease, DONE));
    assert_eq!(claim(store, 10), [ids[0]]);
}

fn promotion(store: &dyn Store) {
    let id = accept_one(store, NewTask { run_at: Timestamp(500), ..unheld(10, "a") });
    assert_eq!(state(store, id), TaskState::Waiting);
    assert_eq!(store.next_due().unwrap(), Some(Timestamp(500)));
    assert!(store.promote(Timestamp(499), 10).wait().unwrap().is_empty());
    assert!(claim(store, 10).is_empty());
    let lane = Lane { number: 21_500, name: "n".into(), key: "a".into() };
    assert_eq!(store.promote(Timestamp(500), 10).wait().unwrap(), [lane]);
    assert_eq!((store.next_due().unwrap(), claim(store, 10)), (None, vec![id]));
    accept_one(store, NewTask { run_at: Timestamp(900), hold: true, ..unheld(10, "a") });
    assert_eq!(store.next_due().unwrap(), None, "whoever holds it has the time");
}

fn unique(store: &dyn Store) {
    let one = |at| NewTask {
        unique: Some(Unique { key: "report".into(), window: std::time::Duration::from_millis(100) }),
        hold: true,
        ..unheld(at, "a")
    };
    let first = accept_one(store, one(10));
    let again = accept_tasks(store, Vec::new(), vec![one(11), one(500)]);
    assert!(again.iter().all(|task| task.known && !task.held && task.head.id == first));
    let lease = start(store, first);
    assert!(finish(store, first, lease, DONE));
    assert_eq!(accept_one(store, one(109)), first, "within the window");
    assert_ne!(accept_one(store, one(110)), first);
}

fn forgotten_input(store: &dyn Store) {
    let event = event("a");
    let tasks = vec![task(&event, Some(1)), task(&event, Some(2)), NewTask { hold: true, ..unheld(10, "p") }];
    let id = event.id.clone();
    let ids: Vec<_> = accept_tasks(store, vec![event], tasks).iter().map(|task| task.head.id).collect();
    let end = |task, keep_input| {
        let lease = start(store, task);
        assert!(finish(store, task, lease, Ending::Done { keep_input }));
    };
    let body = || store.event(&id).unwrap().unwrap().body;
    end(ids[0], false);
    assert!(!body().is_empty(), "the other webhook needs it");
    end(ids[1], false);
    assert!(body().is_empty());
    end(ids[2], false);
    assert_eq!(store.task(ids[2]).unwrap().unwrap().payload, None);
    let kept = accept_one(store, NewTask { hold: true, ..unheld(10, "p") });
    end(kept, true);
    assert_eq!(store.task(kept).unwrap().unwrap().payload.as_deref(), Some(&b"{}"[..]));
}

fn options(store: &dyn Store) {
    let delays = vec![std::time::Duration::ZERO, std::time::Duration::from_secs(90)];
    let timeout = Some(std::time::Duration::from_millis(1_500));
    let new = NewTask {
        priority: Priority::Low,
        ordered: true,
        unique: Some(Unique { key: "u".into(), window: std::time::Duration::ZERO }),
        schedule: Some(delays.clone()),
        timeout,
        replay_of: Some(TaskId(7)),
        ..unheld(10, "a")
    };
    let id = accept_one(store, new);
    let task = store.task(id).unwrap().unwrap();
    assert_eq!((task.priority, task.ordered, task.unique_key.as_deref()), (Priority::Low, true, Some("u")));
    assert_eq!((task.schedule, task.timeout, task.replay_of), (Some(delays), timeout, Some(TaskId(7))));
    assert_eq!((task.created_at, task.held), (Timestamp(10), false));
    let key = Some("a".into());
    let filter = TaskFilter { key, number: Some(21_500), name: Some("n".into()), ..TaskFilter::default() };
    assert_eq!(store.count_tasks(&filter).unwrap(), 1);
    assert_eq!(store.count_tasks(&TaskFilter { since: Some(Timestamp(11)), ..filter }).unwrap(), 0);
}

fn many_threads(store: &dyn Store) {
    let ids: Vec<TaskId> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..16).map(|_| scope.spawn(|| (0..20).map(|_| accept(store, 1)[0].id).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 320);
    assert_eq!(ids_in(store, TaskState::Ready).len(), 320);
}

fn listing(store: &dyn Store) {
    let one = event("a");
    let (mine, other) = (task(&one, Some(1)), task(&one, Some(2)));
    let tasks = vec![mine.clone(), other, mine.clone(), mine];
    let heads: Vec<_> = accept_tasks(store, vec![one.clone()], tasks).into_iter().map(|task| task.head).collect();
    let lease = start(store, heads[0].id);
    finish(store, heads[0].id, lease, DONE);
    let list =
        |filter: TaskFilter| -> Vec<TaskId> { store.tasks(&filter).unwrap().iter().map(|task| task.id).collect() };
    assert_eq!(list(TaskFilter { state: Some(TaskState::Done), ..Default::default() }), [heads[0].id]);
    let webhook = Some(WebhookId(1));
    let page = list(TaskFilter { webhook, limit: 2, ..Default::default() });
    assert_eq!(page, [heads[0].id, heads[2].id]);
    assert_eq!(list(TaskFilter { webhook, after: Some(page[1]), ..Default::default() }), [heads[3].id]);
    assert_eq!(list(TaskFilter { event: Some(one.id), ..Default::default() }).len(), 4);
    assert!(list(TaskFilter { event: Some(EventId("msg_x".into())), ..Default::default() }).is_empty());
}

pub(super) fn idempotency_key(owner: i64, key: &str, event: &NewEvent, expires_at: i64) -> IdempotencyKey {
    IdempotencyKey {
        owner: OwnerId(owner),
        key: key.into(),
        event: event.id.clone(),
        fingerprint: vec![0, 159, 146, 150],
        expires_at: Timestamp(expires_at),
    }
}

fn keyed(store: &dyn Store) {
    let accept = |keys: Vec<IdempotencyKey>, event: &NewEvent, now| {
        let acceptance = Acceptance { events: vec![event.clone()], tasks: vec![task(event, None)] };
        store.accept_keyed(acceptance, keys, Timestamp(now)).wait().unwrap()
    };
    let [first, other, third, fourth] = ["a"; 4].map(event);
    let key = idempotency_key(62, "k", &first, 100);
    let Keyed::Accepted(tasks) = accept(vec![key.clone()], &first, 10) else { panic!("the key was free") };
    assert_eq!((tasks.len(), tasks[0].held), (1, true));
    assert_eq!(store.idempotency_key(OwnerId(62), "k", Timestamp(99)).unwrap(), Some(key.clone()));
    let again = [idempotency_key(62, "k", &other, 200), idempotency_key(62, "free", &other, 200)];
    assert_eq!(accept(again.to_vec(), &other, 99), Keyed::Known(vec![key]));
    assert!(store.event(&other.id).unwrap().is_none(), "all or nothing");
    assert_eq!(store.idempotency_key(OwnerId(62), "free", Timestamp(99)).unwrap(), None);
    let of_another = idempotency_key(7, "k", &third, 100);
    assert!(matches!(accept(vec![of_another.clone()], &third, 99), Keyed::Accepted(_)));
    assert_eq!(store.idempotency_key(OwnerId(62), "k", Timestamp(100)).unwrap(), None, "it has expired");
    let replaced = idempotency_key(62, "k", &fourth, 300);
    assert!(matches!(accept(vec![replaced.clone()], &fourth, 100), Keyed::Accepted(_)));
    assert_eq!(store.idempotency_key(OwnerId(62), "k", Timestamp(100)).unwrap(), Some(replaced));
    assert_eq!(ids_in(store, TaskState::Ready).len(), 3);
    let keep_all = care::ALL;
    let before = |at| Retention { done_before: Timestamp(at), ..keep_all };
    assert_eq!(store.prune(before(100), 10).wait().unwrap(), 0, "not yet");
    assert_eq!(store.prune(before(101), 10).wait().unwrap(), 1);
    assert_eq!(store.idempotency_key(OwnerId(7), "k", Timestamp(0)).unwrap(), None);
}

fn plugin_values(store: &dyn Store) {
    let set = |plugin: &str, key: &str, value: Option<&[u8]>, expires_at: Option<i64>, now: i64| {
        let (value, expires_at) = (value.map(<[u8]>::to_vec), expires_at.map(Timestamp));
        store.set_plugin_value(plugin.into(), key.into(), value, expires_at, Timestamp(now)).wait().unwrap();
    };
    let get = |plugin: &str, key: &str, now: i64| store.plugin_value(plugin, key, Timestamp(now)).unwrap();
    set("a", "token", Some(b"1"), Some(100), 0);
    set("b", "token", Some(b"2"), None, 0);
    assert_eq!(get("a", "token", 99), Some(b"1".to_vec()));
    assert_eq!(get("a", "token", 100), None);
    assert_eq!(get("b", "token", i64::MAX), Some(b"2".to_vec()));
    assert_eq!(get("b", "other", 0), None);
    set("a", "token", Some(b"3"), None, 50);
    assert_eq!(get("a", "token", 200), Some(b"3".to_vec()));
    set("a", "token", None, None, 50);
    assert_eq!(get("a", "token", 50), None);
}

fn key_policies(store: &dyn Store) {
    let set =
        |key: &str, policy: Option<KeyPolicy>| store.set_key_policy(key.into(), policy, Timestamp(1)).wait().unwrap();
    let rate = Rate { starts: NonZeroU32::new(10).unwrap(), per: std::time::Duration::from_millis(1_500) };
    let whole = KeyPolicy { cap: NonZeroU32::new(2), rate: Some(rate), paused: true };
    set("b", Some(KeyPolicy { paused: true, ..KeyPolicy::default() }));
    set("b", Some(whole.clone()));
    set("a", Some(KeyPolicy::default()));
    assert_eq!((store.key_policy("b").unwrap(), store.key_policy("z").unwrap()), (Some(whole.clone()), None));
    assert_eq!(store.key_policies().unwrap(), [("a".into(), KeyPolicy::default()), ("b".into(), whole)]);
    set("b", None);
    set("c", None);
    assert_eq!(store.key_policies().unwrap(), [("a".into(), KeyPolicy::default())]);
}

fn key_counts(store: &dyn Store) {
    let later = || NewTask { run_at: Timestamp(500), ..unheld(10, "b") };
    let held = NewTask { hold: true, ..unheld(10, "b") };
    let tasks = vec![unheld(10, "b"), held.clone(), later(), later(), later(), unheld(10, "a"), held];
    let ids: Vec<_> = accept_tasks(store, Vec::new(), tasks).iter().map(|task| task.head.id).collect();
    let _ = start(store, ids[1]);
    let lease = start(store, ids[6]);
    assert!(finish(store, ids[6], lease, DONE));
    let counts = |key: &str, ready, running, waiting| KeyCounts { key: key.into(), ready, running, waiting };
    assert_eq!(store.key_counts().unwrap(), [counts("a", 1, 0, 0), counts("b", 1, 1, 3)]);
}
