//! Attempts: what is kept of them, how they are found, and when they go.

use super::care::{ALL, prune};
use super::{Case, accept_tasks, ended, event, finish, start, started, task, task_in};
use crate::store::{
    Attempt, AttemptFilter, AttemptId, AttemptMode, AttemptResult, Ending, EventId, HttpExchange, NewEvent, NewTask,
    OwnerId, Retention, SentBody, Store, TaskFilter, TaskId, TaskState, Timestamp, WebhookId,
};

pub(super) const CASES: &[Case] = &[
    ("an attempt keeps what was sent and what came back", kept),
    ("attempts are found by whom they are for, how they ended, when, and a text", found),
    ("attempts are listed in pages that do not move when others come", pages),
    ("an attempt says why it was made", modes),
    ("a delivery that has never arrived is found, and not one that a replay has brought", undelivered),
    ("old attempts go, and the first when there are too many", pruned),
];

fn exchanges() -> Vec<HttpExchange> {
    let token =
        HttpExchange { method: "POST".into(), confidential: true, status: Some(200), ..HttpExchange::default() };
    let sent = HttpExchange {
        method: "POST".into(),
        url: "https://example.com/hook?key=***".into(),
        request_headers: vec![("webhook-id".into(), "msg_1".into())],
        body: SentBody { bytes: Some("{\"say\":\"f\u{fc}nf\"}".into()), ..SentBody::of(b"{}") },
        status: Some(503),
        response: Some("try \"later\" \u{0}".into()),
        ..HttpExchange::default()
    };
    vec![token, sent]
}

fn result(outcome: &str) -> AttemptResult {
    let exchanges = exchanges();
    AttemptResult {
        ended_at: Timestamp(50),
        outcome: outcome.into(),
        status: Some(503),
        detail: Some("the receiver answered 503".into()),
        url: Some(exchanges[1].url.clone()),
        response: Some("try \"later\"".into()),
        plugin: Some("webhook_none".into()),
        plugin_version: Some("1.2.3".into()),
        next_at: Some(Timestamp(60)),
        exchanges,
    }
}

/// Returns an attempt that belongs to no task.
pub(super) fn immediate(event_name: &str) -> Attempt {
    Attempt {
        event: Some(EventId::new()),
        event_name: Some(event_name.into()),
        owner: Some(OwnerId(63)),
        webhook: Some(WebhookId(4)),
        number: 1,
        mode: AttemptMode::Immediate,
        started_at: Timestamp(100),
        ..Attempt::of(AttemptResult { response: Some("ok".into()), ..result("ok") })
    }
}

fn kept(store: &dyn Store) {
    let event = NewEvent { cause: Some(TaskId(77)), ..event("booking_added") };
    let new = NewTask { run_at: Timestamp(10), ..task(&event, Some(3)) };
    let id = accept_tasks(store, vec![event.clone()], vec![new])[0].head.id;
    let lease = start(store, id);
    let running = store.attempts(id).unwrap().remove(0);
    let expected = Attempt {
        id: running.id,
        task: Some(id),
        event: Some(event.id.clone()),
        event_name: Some("booking_added".into()),
        owner: Some(OwnerId(62)),
        webhook: Some(WebhookId(3)),
        cause: Some(TaskId(77)),
        number: 1,
        mode: AttemptMode::Deferred,
        queued_at: Some(Timestamp(1)),
        due_at: Some(Timestamp(10)),
        started_at: Timestamp(20),
        ..Attempt::default()
    };
    assert_eq!((&running, running.lag_ms()), (&expected, Some(10)), "before anything is sent");
    let ending = Ending::Retry { at: Timestamp(60), reason: "busy".into(), hold: false };
    assert!(ended(store, id, lease, ending, result("http_5xx")));
    let ended = store.attempt(running.id).unwrap().unwrap();
    let mut exchanges = exchanges();
    exchanges[1].response = Some("try \"later\"".into());
    let expected = Attempt { exchanges, ..Attempt { task: expected.task, ..Attempt::of(result("http_5xx")) } };
    assert_eq!(ended.exchanges, expected.exchanges);
    let of = |one: &Attempt| {
        let words = (one.outcome.clone(), one.detail.clone(), one.url.clone(), one.response.clone());
        (words, one.plugin.clone(), one.plugin_version.clone(), one.next_at, one.status, one.ended_at)
    };
    assert_eq!(of(&ended), of(&expected));
    assert_eq!(store.attempts(id).unwrap(), [ended]);
    assert_eq!(store.attempt(AttemptId(i64::MAX)).unwrap(), None);
}

fn ids(store: &dyn Store, filter: AttemptFilter) -> Vec<i64> {
    let found = store.find_attempts(&filter).unwrap();
    assert!(found.iter().all(|one| one.exchanges.is_empty() && one.response.is_none()), "a list is light");
    found.into_iter().map(|one| one.id.0).collect()
}

fn found(store: &dyn Store) {
    let event = event("booking_added");
    let tasks = vec![task(&event, Some(3)), task(&event, Some(5))];
    let tasks = accept_tasks(store, vec![event.clone()], tasks);
    for (task, outcome) in tasks.iter().zip(["http_5xx", "ok"]) {
        let lease = start(store, task.head.id);
        let dead = Ending::Dead { reason: "x".into() };
        assert!(ended(store, task.head.id, lease, dead, result(outcome)));
    }
    let other = Attempt { response: Some("apples".into()), exchanges: Vec::new(), ..immediate("guest_added") };
    store.record_attempt(Attempt { url: None, detail: None, status: Some(200), ..other }).wait().unwrap();
    let running = start(store, accept_tasks(store, vec![super::event("x")], vec![unrelated()])[0].head.id);
    assert_eq!(running.0, 1);
    let all = ids(store, AttemptFilter::default());
    let [running, immediate, second, first] = all[..] else { panic!("{all:?}") };
    assert!(running > immediate && immediate > second && second > first, "the newest first");
    let check =
        |filter: AttemptFilter, expected: &[i64]| assert_eq!(ids(store, filter.clone()), expected, "{filter:?}");
    let any = AttemptFilter::default;
    check(AttemptFilter { webhook: Some(WebhookId(3)), ..any() }, &[first]);
    check(AttemptFilter { owner: Some(OwnerId(62)), ..any() }, &[second, first]);
    check(AttemptFilter { event: Some(event.id.clone()), webhook: Some(WebhookId(5)), ..any() }, &[second]);
    check(AttemptFilter { event_name: Some("guest_added".into()), ..any() }, &[immediate]);
    check(AttemptFilter { task: Some(tasks[1].head.id), ..any() }, &[second]);
    check(AttemptFilter { outcome: Some("http_5xx".into()), ..any() }, &[first]);
    check(AttemptFilter { failed: Some(true), ..any() }, &[first]);
    check(AttemptFilter { failed: Some(false), ..any() }, &[immediate, second]);
    check(AttemptFilter { status: Some(200), ..any() }, &[immediate]);
    check(AttemptFilter { mode: Some(AttemptMode::Immediate), ..any() }, &[immediate]);
    check(AttemptFilter { since: Some(Timestamp(100)), ..any() }, &[immediate]);
    check(AttemptFilter { until: Some(Timestamp(100)), ..any() }, &[running, second, first]);
    let text = |text: &str| AttemptFilter { text: Some(text.into()), ..any() };
    check(text("apples"), &[immediate]);
    check(text("try \"later"), &[second, first]);
    check(text("\"say\":\"f\u{fc}nf\""), &[second, first]);
    check(text("hook?key="), &[second, first]);
    check(text("answered 503"), &[second, first]);
    check(text("{\"data\":{}}"), &[second, first]);
    check(text("APPLES"), &[]);
    check(text("it's %_ \\"), &[]);
}

fn unrelated() -> NewTask {
    NewTask { number: 21_500, name: "n".into(), key: "k".into(), hold: true, ..NewTask::default() }
}

fn pages(store: &dyn Store) {
    let add = || store.record_attempt(immediate("guest_added")).wait().unwrap();
    (0..5).for_each(|_| add());
    let page = |after: Option<i64>, oldest_first| {
        ids(store, AttemptFilter { after: after.map(AttemptId), oldest_first, limit: 2, ..AttemptFilter::default() })
    };
    let all = ids(store, AttemptFilter::default());
    let first = page(None, false);
    add();
    let second = page(Some(first[1]), false);
    let third = page(Some(second[1]), false);
    assert_eq!([first, second, third].concat(), all);
    let oldest = page(None, true);
    assert_eq!(oldest, [all[4], all[3]]);
    assert_eq!(page(Some(oldest[1]), true), [all[2], all[1]]);
}

fn modes(store: &dyn Store) {
    let event = event("booking_added");
    let plain = || task(&event, Some(3));
    let tasks = vec![
        plain(),
        NewTask { replay_of: Some(TaskId(1)), ..plain() },
        NewTask { replay_of: Some(TaskId(1)), mode: Some(AttemptMode::Bulk), ..plain() },
        NewTask { mode: Some(AttemptMode::Test), as_sent: Some(AttemptId(9)), ..plain() },
    ];
    let modes = accept_tasks(store, vec![event.clone()], tasks).into_iter().map(|accepted| {
        let started = started(store, accepted.head.id, Timestamp(20)).unwrap();
        let written = store.attempts(accepted.head.id).unwrap().remove(0).mode;
        assert_eq!(written, started.task.attempt_mode());
        (written, started.task.is_trial(), started.task.as_sent)
    });
    let expected = [
        (AttemptMode::Deferred, false, None),
        (AttemptMode::Replay, true, None),
        (AttemptMode::Bulk, true, None),
        (AttemptMode::Test, true, Some(AttemptId(9))),
    ];
    assert_eq!(modes.collect::<Vec<_>>(), expected);
}

fn undelivered(store: &dyn Store) {
    let event = event("booking_added");
    let tasks = vec![task(&event, Some(3)), task(&event, Some(5)), task(&event, Some(7)), unrelated()];
    let tasks = accept_tasks(store, vec![event.clone()], tasks);
    for task in &tasks {
        let lease = start(store, task.head.id);
        let dead = Ending::Dead { reason: "x".into() };
        assert!(ended(store, task.head.id, lease, dead, result("http_5xx")));
    }
    let found = |filter: TaskFilter| -> Vec<TaskId> {
        let filter = TaskFilter { undelivered: true, state: Some(TaskState::Dead), ..filter };
        assert_eq!(store.count_tasks(&filter).unwrap(), store.tasks(&filter).unwrap().len() as u64);
        store.tasks(&filter).unwrap().into_iter().map(|task| task.id).collect()
    };
    let id = |index: usize| tasks[index].head.id;
    assert_eq!(found(TaskFilter::default()), [id(0), id(1), id(2)]);
    let replay = NewTask { replay_of: Some(id(1)), mode: Some(AttemptMode::Replay), ..task(&event, Some(5)) };
    let replay = accept_tasks(store, vec![], vec![replay])[0].head.id;
    let lease = start(store, replay);
    assert!(finish(store, replay, lease, super::DONE));
    assert_eq!(found(TaskFilter::default()), [id(0), id(2)]);
    assert_eq!(prune(store, Retention { done_before: Timestamp(i64::MAX), ..ALL }, 10), 1);
    assert_eq!(found(TaskFilter::default()), [id(0), id(2)], "the attempt of the replay is still there");
    assert_eq!(found(TaskFilter { webhook: Some(WebhookId(7)), ..TaskFilter::default() }), [id(2)]);
    let named = |name: &str| TaskFilter { event_name: Some(name.into()), ..TaskFilter::default() };
    assert_eq!((found(named("booking_added")).len(), found(named("guest_added")).len()), (2, 0));
    let owned = |owner| TaskFilter { owner: Some(OwnerId(owner)), ..TaskFilter::default() };
    assert_eq!((found(owned(62)).len(), found(owned(63)).len()), (2, 0));
}

fn pruned(store: &dyn Store) {
    let large = || {
        let large = Attempt { response: Some("x".repeat(10_000)), exchanges: Vec::new(), ..immediate("guest_added") };
        store.record_attempt(large).wait().unwrap();
    };
    let done = task_in(store, TaskState::Done);
    let running = task_in(store, TaskState::Running);
    (0..4).for_each(|_| large());
    let left = || ids(store, AttemptFilter { oldest_first: true, ..AttemptFilter::default() });
    let all = left();
    // The attempts of tasks began at 20, the others at 100.
    assert_eq!(prune(store, Retention { attempts_before: Timestamp(20), ..ALL }, 10), 0);
    assert_eq!(prune(store, Retention { attempts_before: Timestamp(21), ..ALL }, 10), 1);
    assert_eq!(left(), all[1..], "one that goes on stays");
    assert!(store.attempts(done).unwrap().is_empty() && store.attempts(running).unwrap().len() == 1);
    assert_eq!(prune(store, Retention { max_attempt_bytes: 50_000, ..ALL }, 10), 0);
    assert_eq!(prune(store, Retention { max_attempt_bytes: 25_000, ..ALL }, 10), 2);
    assert_eq!(left(), [all[1], all[4], all[5]], "the first go");
    assert_eq!(prune(store, Retention { max_attempt_bytes: 0, ..ALL }, 1), 1, "in steps");
    assert_eq!(prune(store, Retention { max_attempt_bytes: 0, ..ALL }, 10), 1);
    assert_eq!(left(), [all[1]]);
    large();
    assert_eq!(prune(store, Retention { max_attempt_bytes: 25_000, ..ALL }, 10), 0, "what went does not count");
    let last = left()[1];
    assert_eq!(prune(store, Retention { max_attempt_bytes: 0, ..ALL }, 10), 1);
    large();
    assert!(left()[1] > last, "an id is not given twice");
}
