//! Schedules, bulk operations and what goes when it is old.

use std::num::NonZeroU32;

use super::webhooks::{all_options, webhook};
use super::*;
use crate::store::{
    AttemptFilter, AttemptId, AttemptMode, BulkAction, BulkId, BulkState, BulkStep, HttpExchange, KeyPolicy, NewBulk,
    NewWebhook, Rate, Record, Retention, Schedule, SentBody, StoreError, TaskTemplate,
};

pub(super) const CASES: &[Case] = &[
    ("a slot of a schedule is started once", schedules),
    ("a schedule that is paused, changed or removed starts nothing", stopped_schedules),
    ("a bulk operation goes over what matched and was there, step by step", bulk_steps),
    ("a bulk operation begins with the number of tasks that was expected", bulk_expectations),
    ("a bulk operation says what the host has to know of tasks in its memory", bulk_holds),
    ("a bulk operation is paused, resumed and cancelled", bulk_states),
    ("a bulk replay leaves out tasks whose input is gone", bulk_replay),
    ("a bulk replay as sent leaves out what is not known to the last byte", bulk_replay_as_sent),
    ("what is old goes in batches, and events with their last task", pruning),
    ("when too many have ended, the first go", pruning_by_count),
    ("when the inputs of what has ended are too much, the first go", pruning_by_inputs),
    ("the filter of a bulk operation is kept as it was given", filters_are_kept),
    ("a store that is well has nothing to tell, and moves only into an empty one", moving),
];

fn schedule(name: &str, next_at: i64) -> Schedule {
    Schedule {
        name: name.into(),
        spec: "every 1m".into(),
        zone: "UTC".into(),
        template: TaskTemplate {
            number: 21_500,
            name: "n".into(),
            key: "k".into(),
            priority: Priority::High,
            payload: Some(b"{}".to_vec()),
            ..TaskTemplate::default()
        },
        next_at: Timestamp(next_at),
        paused: false,
        last_at: None,
        last_task: None,
        created_at: Timestamp(1),
        updated_at: Timestamp(1),
    }
}

fn fire(store: &dyn Store, slot: i64, next_at: i64) -> Option<AcceptedTask> {
    store.fire_schedule("s".into(), Timestamp(slot), Timestamp(next_at), Timestamp(slot + 3)).wait().unwrap()
}

fn schedules(store: &dyn Store) {
    store.put_schedule(schedule("s", 100)).wait().unwrap();
    assert_eq!(store.schedules().unwrap(), [schedule("s", 100)]);
    let first = fire(store, 100, 160).unwrap();
    assert!(!first.known);
    assert!(fire(store, 100, 160).is_none(), "another host was first");
    let task = store.task(first.head.id).unwrap().unwrap();
    assert_eq!(
        (task.priority, task.payload.as_deref(), task.created_at),
        (Priority::High, Some(&b"{}"[..]), Timestamp(103))
    );
    let stored = &store.schedules().unwrap()[0];
    assert_eq!(
        (stored.next_at, stored.last_at, stored.last_task),
        (Timestamp(160), Some(Timestamp(100)), Some(task.id))
    );
    let second = fire(store, 160, 220).unwrap();
    assert!(second.known && second.head.id == task.id, "the task of the slot before has not ended");
    claim(store, 1);
    let lease = start(store, task.id);
    assert!(finish(store, task.id, lease, DONE));
    assert!(!fire(store, 220, 280).unwrap().known);
}

fn stopped_schedules(store: &dyn Store) {
    store.put_schedule(schedule("s", 100)).wait().unwrap();
    let pause =
        |paused, next_at| store.pause_schedule("s".into(), paused, Timestamp(next_at), Timestamp(5)).wait().unwrap();
    assert!(pause(true, 100));
    assert!(fire(store, 100, 160).is_none());
    assert!(pause(false, 130));
    assert!(fire(store, 100, 160).is_none());
    assert!(fire(store, 130, 190).is_some());
    store.put_schedule(schedule("s", 500)).wait().unwrap();
    assert_eq!(store.schedules().unwrap()[0].last_at, Some(Timestamp(130)), "what was started last stays known");
    assert!(store.remove_schedule("s".into()).wait().unwrap());
    assert!(!store.remove_schedule("s".into()).wait().unwrap());
    assert!(fire(store, 500, 560).is_none());
}

pub(super) fn add_bulk(store: &dyn Store, action: BulkAction, filter: TaskFilter) -> crate::store::Bulk {
    let new = NewBulk { action, filter, per_second: 10, expected: None, by: Some("ada".into()) };
    store.add_bulk(new, Timestamp(60)).wait().unwrap().unwrap()
}

fn dead(name: &str) -> TaskFilter {
    TaskFilter { state: Some(TaskState::Dead), name: Some(name.into()), ..TaskFilter::default() }
}

fn bulk_steps(store: &dyn Store) {
    let ids: Vec<_> = (0..5).map(|_| task_in(store, TaskState::Dead)).collect();
    let other = task_in(store, TaskState::Done);
    let bulk = add_bulk(store, BulkAction::Retry, dead("none"));
    assert_eq!((bulk.total, bulk.state, bulk.by.as_deref()), (5, BulkState::Running, Some("ada")));
    let later = task_in(store, TaskState::Dead);
    store.retry_task(ids[3], Timestamp(61)).wait().unwrap();
    let step = |limit| store.bulk_step(bulk.id, limit, Timestamp(62)).wait().unwrap();
    let first = step(2).unwrap();
    assert_eq!((first.bulk.seen, first.bulk.changed, first.lanes.len()), (2, 2, 1));
    assert_eq!(ids_in(store, TaskState::Ready), [ids[0], ids[1], ids[3]]);
    let last = step(9).unwrap().bulk;
    assert_eq!((last.state, last.seen, last.changed), (BulkState::Done, 4, 4));
    assert!(step(9).is_none());
    assert_eq!(ids_in(store, TaskState::Dead), [later], "it came after the operation");
    assert_eq!(state(store, other), TaskState::Done);
    assert_eq!(store.bulks().unwrap(), std::slice::from_ref(&last));
    assert_eq!(store.bulk(last.id).unwrap(), Some(last));
    assert_eq!(store.bulk(BulkId(4711)).unwrap(), None);
}

fn bulk_expectations(store: &dyn Store) {
    let dead = TaskFilter { state: Some(TaskState::Dead), ..TaskFilter::default() };
    task_in(store, TaskState::Dead);
    let add = |expected| {
        let (action, filter) = (BulkAction::Retry, dead.clone());
        let new = NewBulk { action, filter, per_second: 10, expected: Some(expected), by: None };
        store.add_bulk(new, Timestamp(60)).wait().unwrap()
    };
    assert_eq!(add(2), Err(1));
    assert!(store.bulks().unwrap().is_empty(), "nothing was begun");
    assert_eq!(add(1).unwrap().total, 1);
}

fn bulk_holds(store: &dyn Store) {
    let (mine, nobodys) = (task_in(store, TaskState::Waiting), task_in(store, TaskState::Dead));
    assert!(store.task(mine).unwrap().unwrap().held && !store.task(nobodys).unwrap().unwrap().held);
    let step = |action, now| {
        let bulk = add_bulk(store, action, TaskFilter::default());
        store.bulk_step(bulk.id, 10, Timestamp(now)).wait().unwrap().unwrap()
    };
    let BulkStep { lanes, retried, cancelled, .. } = step(BulkAction::Retry, 62);
    assert_eq!((lanes.len(), retried.len(), cancelled), (1, 1, Vec::new()));
    assert_eq!((retried[0].head.id, retried[0].head.run_at, retried[0].held), (mine, Timestamp(62), true));
    let BulkStep { bulk, lanes, retried, cancelled } = step(BulkAction::Cancel, 63);
    assert_eq!((bulk.changed, lanes, retried), (2, Vec::new(), Vec::new()));
    let key = |id| store.task(id).unwrap().unwrap().key;
    assert_eq!(cancelled, [mine, nobodys].map(|id| (id, key(id))));
}

fn bulk_states(store: &dyn Store) {
    for _ in 0..3 {
        accept_one(store, unheld(10, "a"));
    }
    let filter = TaskFilter { key: Some("a".into()), ..TaskFilter::default() };
    let bulk = add_bulk(store, BulkAction::Cancel, filter);
    let set = |state| store.set_bulk_state(bulk.id, state, Timestamp(62)).wait().unwrap();
    let step = || store.bulk_step(bulk.id, 1, Timestamp(63)).wait().unwrap();
    assert!(step().is_some());
    assert!(set(BulkState::Paused));
    assert!(step().is_none());
    assert!(set(BulkState::Running));
    assert!(step().is_some());
    assert!(set(BulkState::Cancelled));
    assert!(step().is_none() && !set(BulkState::Running), "what was ended does not go on");
    assert_eq!((ids_in(store, TaskState::Dead).len(), ids_in(store, TaskState::Ready).len()), (2, 1));
}

fn bulk_replay(store: &dyn Store) {
    let end = |keep_input| {
        let id = accept_one(store, NewTask { hold: true, ..unheld(10, "a") });
        let lease = start(store, id);
        assert!(finish(store, id, lease, Ending::Done { keep_input }));
        id
    };
    let (kept, _gone) = (end(true), end(false));
    let bulk =
        add_bulk(store, BulkAction::Replay, TaskFilter { state: Some(TaskState::Done), ..TaskFilter::default() });
    let step = store.bulk_step(bulk.id, 10, Timestamp(70)).wait().unwrap().unwrap();
    assert_eq!((step.bulk.seen, step.bulk.changed), (2, 1));
    let replays = ids_in(store, TaskState::Ready);
    let replay = store.task(replays[0]).unwrap().unwrap();
    assert_eq!((replays.len(), replay.replay_of, replay.ordered), (1, Some(kept), true));
    assert_eq!(state(store, kept), TaskState::Done, "the original keeps its end");
}

/// A delivery that was given up after it had sent this body.
fn given_up(store: &dyn Store, body: Option<SentBody>) -> TaskId {
    let one = event("a");
    let new = NewTask { hold: true, ..task(&one, Some(1)) };
    let id = accept_tasks(store, vec![one], vec![new])[0].head.id;
    let lease = start(store, id);
    let exchanges = body.map(|body| HttpExchange { body, ..HttpExchange::default() });
    let attempt = AttemptResult { exchanges: exchanges.into_iter().collect(), ..result("http_5xx") };
    let dead = Ending::Dead { reason: "http_5xx".into() };
    assert!(ended(store, id, lease, dead, attempt));
    id
}

/// A delivery that was given up after it had sent its event as it is.
pub(super) fn given_up_event(store: &dyn Store) -> TaskId {
    given_up(store, Some(SentBody { is_event: true, ..SentBody::of(b"x") }))
}

fn bulk_replay_as_sent(store: &dyn Store) {
    let deliver = |body| given_up(store, body);
    let of_event = given_up_event(store);
    let kept = deliver(Some(SentBody { bytes: Some(b"built".to_vec()), ..SentBody::of(b"built") }));
    deliver(Some(SentBody::of(b"not kept")));
    deliver(None);
    let bulk =
        add_bulk(store, BulkAction::ReplayAsSent, TaskFilter { state: Some(TaskState::Dead), ..TaskFilter::default() });
    assert_eq!(store.bulks().unwrap()[0].action, BulkAction::ReplayAsSent);
    let step = store.bulk_step(bulk.id, 10, Timestamp(70)).wait().unwrap().unwrap();
    assert_eq!((step.bulk.seen, step.bulk.changed), (4, 2), "what is not known any more cannot be sent again");
    let replays: Vec<_> = ids_in(store, TaskState::Ready).iter().map(|id| store.task(*id).unwrap().unwrap()).collect();
    let seen: Vec<_> = replays.iter().map(|task| (task.replay_of, task.as_sent, task.mode)).collect();
    let of = |id| (Some(id), Some(store.attempts(id).unwrap()[0].id), Some(AttemptMode::Bulk));
    assert_eq!(seen, [of(of_event), of(kept)]);
}

/// A retention that keeps everything.
pub(crate) const ALL: Retention = Retention {
    done_before: Timestamp(0),
    dead_before: Timestamp(0),
    max_ended: u64::MAX,
    max_input_bytes: None,
    attempts_before: Timestamp(0),
    max_attempt_bytes: u64::MAX,
};

pub(super) fn prune(store: &dyn Store, retention: Retention, limit: u32) -> u32 {
    store.prune(retention, limit).wait().unwrap()
}

fn pruning(store: &dyn Store) {
    // Everything that `result` ends, ends at 50; events are of 1.
    let done = task_in(store, TaskState::Done);
    let gone = store.task(done).unwrap().unwrap();
    let dead = task_in(store, TaskState::Dead);
    let waiting = task_in(store, TaskState::Waiting);
    assert_eq!(prune(store, ALL, 10), 0);
    assert_eq!(prune(store, Retention { done_before: Timestamp(50), ..ALL }, 10), 0, "not yet");
    assert_eq!(prune(store, Retention { done_before: Timestamp(51), ..ALL }, 1), 1);
    assert!(store.task(done).unwrap().is_none() && store.attempts(done).unwrap().len() == 1, "its attempt stays");
    assert!(store.event(&gone.event.clone().unwrap()).unwrap().is_some());
    assert_eq!(prune(store, Retention { done_before: Timestamp(51), ..ALL }, 10), 1, "its event");
    assert!(store.event(&gone.event.unwrap()).unwrap().is_none());
    assert_eq!(state(store, dead), TaskState::Dead);
    assert_eq!(prune(store, Retention { dead_before: Timestamp(51), ..ALL }, 10), 1);
    assert!(store.task(dead).unwrap().is_none());
    assert_eq!(prune(store, Retention { done_before: Timestamp(i64::MAX), ..ALL }, 10), 1, "the event of the dead one");
    assert_eq!(state(store, waiting), TaskState::Waiting, "what has not ended stays, and its event");
    assert!(store.event(&store.task(waiting).unwrap().unwrap().event.unwrap()).unwrap().is_some());
}

fn pruning_by_count(store: &dyn Store) {
    let ids: Vec<_> = (0..5).map(|_| task_in(store, TaskState::Done)).collect();
    assert_eq!(prune(store, Retention { max_ended: 3, ..ALL }, 10), 2);
    assert_eq!(ids_in(store, TaskState::Done), ids[2..]);
}

fn pruning_by_inputs(store: &dyn Store) {
    // Each is the body of its event, of eleven bytes, and no payload.
    let ids: Vec<_> = (0..5).map(|_| task_in(store, TaskState::Done)).collect();
    let events: Vec<_> = ids.iter().map(|id| store.task(*id).unwrap().unwrap().event.unwrap()).collect();
    let bytes = store.event(&events[0]).unwrap().unwrap().body.len() as u64;
    let waiting = task_in(store, TaskState::Waiting);
    assert_eq!(prune(store, Retention { max_input_bytes: Some(5 * bytes), ..ALL }, 10), 0);
    assert_eq!(prune(store, Retention { max_input_bytes: Some(3 * bytes), ..ALL }, 10), 2);
    assert_eq!(ids_in(store, TaskState::Done), ids[2..]);
    let kept: Vec<_> = events.iter().map(|id| store.event(id).unwrap().is_some()).collect();
    assert_eq!(kept, [false, false, true, true, true], "the events go with their tasks");
    assert_eq!(prune(store, Retention { max_input_bytes: Some(0), ..ALL }, 2), 2, "in steps");
    assert_eq!(prune(store, Retention { max_input_bytes: Some(0), ..ALL }, 2), 1);
    assert_eq!(state(store, waiting), TaskState::Waiting, "what has not ended stays");
}

/// Returns everything that a store holds.
fn everything(store: &dyn Store) -> Vec<Record> {
    let mut records = Vec::new();
    let take = &mut |record| {
        records.push(record);
        Ok(())
    };
    store.export(take).unwrap();
    records
}

fn check_well(store: &dyn Store) {
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

/// Gives a store a record of each kind.
fn of_each_kind(store: &dyn Store) {
    for state in TaskState::ALL {
        task_in(store, state);
    }
    let event = NewEvent { body: vec![0, 159, 146, 150], cause: Some(TaskId(3)), ..event("odd") };
    let odd = NewTask {
        mode: Some(AttemptMode::Bulk),
        as_sent: Some(AttemptId(3)),
        priority: Priority::Low,
        ordered: true,
        unique: Some(Unique { key: "u".into(), window: std::time::Duration::ZERO }),
        schedule: Some(vec![std::time::Duration::from_millis(1_500)]),
        timeout: Some(std::time::Duration::from_millis(250)),
        payload: Some(vec![255, 0, 1]),
        run_at: Timestamp(i64::MAX),
        ..unheld(10, "a")
    };
    accept_tasks(store, vec![event], vec![odd]);
    let webhook = NewWebhook { options: all_options(), ..webhook(62) };
    let first = store.add_webhook(webhook.clone(), Timestamp(5)).wait().unwrap();
    let second = store.add_webhook(webhook, Timestamp(6)).wait().unwrap();
    store.webhook_failed(second.id, Timestamp(6)).wait().unwrap();
    store.remove_webhook(first.id, None, Timestamp(7)).wait().unwrap();
    store.put_schedule(schedule("s", 100)).wait().unwrap();
    fire(store, 100, 160);
    add_bulk(store, BulkAction::Cancel, TaskFilter { since: Some(Timestamp(3)), ..dead("none") });
    let rate = Rate { starts: NonZeroU32::MIN, per: std::time::Duration::from_secs(3) };
    let policy = KeyPolicy { cap: NonZeroU32::new(7), rate: Some(rate), paused: true };
    store.set_key_policy("a".into(), Some(policy), Timestamp(8)).wait().unwrap();
    let keep = |key: &str, expires_at| {
        store.set_plugin_value("p".into(), key.into(), Some(b"{}".to_vec()), expires_at, Timestamp(1)).wait().unwrap();
    };
    let named = self::event("named");
    let key = idempotency_key(62, "k", &named, 9_000);
    let acceptance = Acceptance { events: vec![named], tasks: Vec::new() };
    assert!(matches!(store.accept_keyed(acceptance, vec![key], Timestamp(1)).wait().unwrap(), Keyed::Accepted(_)));
    keep("token", Some(Timestamp(9_000)));
    keep("other", None);
    store.record_attempt(super::attempts::immediate("guest_added")).wait().unwrap();
}

fn filters_are_kept(store: &dyn Store) {
    let filter = TaskFilter {
        since: Some(Timestamp(5)),
        until: Some(Timestamp(1_795_000_000_123)),
        event: Some(EventId("msg_1".into())),
        webhook: Some(WebhookId(4)),
        reason: Some("http_5xx".into()),
        event_name: Some("booking_added".into()),
        owner: Some(OwnerId(62)),
        undelivered: true,
        ..dead("none")
    };
    let bulk = add_bulk(store, BulkAction::Retry, filter.clone());
    assert_eq!(store.bulks().unwrap(), [bulk]);
    assert_eq!(store.bulks().unwrap()[0].filter, filter);
}

fn moving(store: &dyn Store) {
    check_well(store);
    of_each_kind(store);
    check_well(store);
    let records = everything(store);
    let lines: Vec<String> = records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    let read: Vec<Record> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Who holds a task is not exported.
    let without_holder = |record: Record| match record {
        Record::Task(task) => Record::Task(crate::store::Task { held: false, ..task }),
        other => other,
    };
    assert_eq!(read, records.into_iter().map(without_holder).collect::<Vec<_>>());
    let refused = store.import(Box::new(read.into_iter().map(Ok))).wait().unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
    assert_eq!(everything(store).len(), lines.len());
}

/// Moves a record of each kind from one store to another, of whatever engines, both empty.
pub(crate) fn move_everything(from: &dyn Store, to: &dyn Store) {
    of_each_kind(from);
    let read = |store| -> Vec<Record> {
        let records = everything(store).iter().map(|record| serde_json::to_string(record).unwrap()).collect::<Vec<_>>();
        records.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let records = read(from);
    let cut_off = records.iter().map(|record| serde_json::to_string(record).unwrap()).collect::<Vec<_>>();
    let cut_off = cut_off.into_iter().map(|line| Ok(serde_json::from_str(&line).unwrap()));
    let failure = StoreError::Refused { reason: "cut off".into() };
    to.import(Box::new(cut_off.chain([Err(failure)]))).wait().unwrap_err();
    assert_eq!(to.count_tasks(&TaskFilter::default()).unwrap(), 0, "all or nothing");
    let count = records.len() as u64;
    assert_eq!(to.import(Box::new(records.into_iter().map(Ok))).wait().unwrap(), count);
    // Of events at the same time, an engine may keep no order.
    let sorted = |store| {
        let mut lines: Vec<_> = read(store).iter().map(|record| serde_json::to_string(record).unwrap()).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(to), sorted(from));
    check_well(to);
    let recovered = to.recover(Timestamp(90), 3).unwrap();
    assert_eq!((recovered.ready, recovered.dead), (1, 0), "what was running counts as interrupted");
    check_well(to);
    let next = |store: &dyn Store| accept_one(store, unheld(95, "z"));
    assert_eq!(next(to), next(from), "ids go on");
    let attempt = |store: &dyn Store| {
        store.record_attempt(super::attempts::immediate("x")).wait().unwrap();
        store.find_attempts(&AttemptFilter { limit: 1, ..AttemptFilter::default() }).unwrap().remove(0).id
    };
    assert_eq!(attempt(to), attempt(from), "and those of attempts");
    let added = [from, to].map(|store| store.add_webhook(webhook(1), Timestamp(96)).wait().unwrap().id);
    assert_eq!(added[0], added[1]);
}
