//! What holds for several hosts of one database.

use std::sync::Barrier;
use std::time::Duration;

use super::attempts::immediate;
use super::care::ALL;
use super::*;
use crate::store::{Attempt, BulkAction, BulkState, Change, NewBulk, Retention, Schedule};

/// Opens one more host on the database.
pub(crate) type Open<'a> = &'a dyn Fn() -> Box<dyn Store>;

type HostsCase = (&'static str, fn(Open<'_>));

const CASES: &[HostsCase] = &[
    ("hosts that claim at once share the tasks", claims),
    ("of an ordered key one task is held at a time, whichever host asks", order),
    ("ordered tasks that hosts accept at once have one order", order_of_acceptance),
    ("what hosts accept at once under a unique key is accepted once", uniqueness),
    ("only the host that holds a task starts it, and every host may end it by hand", holders),
    ("a host that stops gives back what it holds", leaving),
    ("the bodies of events go when different hosts end their last tasks at once", forgetting),
    ("hosts that fire one slot at once start one task", slots),
    ("one host takes a bulk operation on, and all hosts hold what they held", bulks),
    ("what attempts take counts whichever host made them, also when it is gone", attempt_bytes),
    ("hosts hear of each other's work", news),
];

/// Runs every case on a fresh database.
pub(crate) fn run<D>(fresh: impl Fn() -> D, open: impl Fn(&D) -> Box<dyn Store>) {
    for (name, case) in CASES {
        let database = fresh();
        let _named = Named(name);
        case(&|| open(&database));
    }
}

/// Runs something on both hosts at the same moment.
fn at_once<V: Send>(hosts: [&dyn Store; 2], work: impl Fn(&dyn Store) -> V + Sync) -> [V; 2] {
    let barrier = Barrier::new(2);
    let run = |host| {
        barrier.wait();
        work(host)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run(hosts[1]));
        [run(hosts[0]), other.join().unwrap()]
    })
}

fn claims(open: Open<'_>) {
    let (one, two) = (open(), open());
    let tasks = (0..200).map(|at| unheld(at, if at % 2 == 0 { "a" } else { "b" })).collect();
    let accepted = accept_tasks(&*one, Vec::new(), tasks);
    let [mine, theirs] = at_once([&*one, &*two], |host| {
        let mut got = Vec::new();
        loop {
            let more = claim(host, 7);
            if more.is_empty() && host.lanes(None, 10).unwrap().is_empty() {
                return got;
            }
            got.extend(more);
        }
    });
    let all: HashSet<_> = mine.iter().chain(&theirs).collect();
    assert_eq!((all.len(), mine.len() + theirs.len()), (accepted.len(), accepted.len()));
}

fn ordered_task(key: &str) -> NewTask {
    NewTask { ordered: true, ..unheld(10, key) }
}

fn order(open: Open<'_>) {
    let (one, two) = (open(), open());
    let ids: Vec<_> =
        accept_tasks(&*one, Vec::new(), vec![ordered_task("room"); 6]).iter().map(|t| t.head.id).collect();
    for id in &ids[..5] {
        let [mine, theirs] = at_once([&*one, &*two], |host| claim(host, 10));
        let (holder, got) = if mine.is_empty() { (&two, theirs) } else { (&one, mine) };
        assert_eq!(got, [*id]);
        assert!(claim(&*one, 10).is_empty() && claim(&*two, 10).is_empty());
        let lease = start(&**holder, *id);
        assert!(finish(&**holder, *id, lease, DONE));
    }
    assert_eq!(claim(&*one, 10), [ids[5]]);
    assert!(two.retry_task(ids[0], Timestamp(30)).wait().unwrap().is_some());
    assert!(claim(&*two, 10).is_empty(), "a later one of the key is held");
    let lease = start(&*one, ids[5]);
    assert!(finish(&*one, ids[5], lease, DONE));
    assert_eq!(claim(&*two, 10), [ids[0]]);
}

fn order_of_acceptance(open: Open<'_>) {
    let (one, two) = (open(), open());
    at_once([&*one, &*two], |host| {
        for _ in 0..20 {
            // The newest that is there when this one is accepted comes before it.
            let before = ids_in(host, TaskState::Ready).into_iter().max();
            let id = accept_one(host, ordered_task("room"));
            assert!(before.is_none_or(|before| before < id), "{before:?} {id}");
        }
    });
}

fn uniqueness(open: Open<'_>) {
    let (one, two) = (open(), open());
    for round in 0..20 {
        let task = || {
            let unique = Some(Unique { key: format!("report {round}"), window: Duration::ZERO });
            NewTask { unique, ..unheld(10, "a") }
        };
        let [mine, theirs] = at_once([&*one, &*two], |host| accept_tasks(host, Vec::new(), vec![task()]).remove(0));
        assert_eq!(mine.head.id, theirs.head.id);
        assert_ne!(mine.known, theirs.known);
    }
}

fn holders(open: Open<'_>) {
    let (one, two) = (open(), open());
    let id = accept_one(&*one, NewTask { hold: true, ..unheld(10, "a") });
    assert!(started(&*two, id, Timestamp(20)).is_none());
    two.unhold(vec![id]).wait().unwrap();
    two.unhold_all().wait().unwrap();
    assert!(claim(&*two, 10).is_empty(), "it is not for others to give up");
    assert!(two.cancel_task(id, Timestamp(20)).wait().unwrap());
    assert!(started(&*one, id, Timestamp(21)).is_none());
    let retried = two.retry_task(id, Timestamp(22)).wait().unwrap().unwrap();
    assert!(!retried.held);
    assert_eq!(claim(&*two, 10), [id]);
    let lease = start(&*two, id);
    assert!(finish(&*two, id, lease, retry_at(99)));
    let retried = one.retry_task(id, Timestamp(23)).wait().unwrap().unwrap();
    assert!(!retried.held, "it does not stay with a host that would not know");
    assert!(started(&*two, id, Timestamp(24)).is_none());
}

fn leaving(open: Open<'_>) {
    let (one, two) = (open(), open());
    let ids: Vec<_> = accept(&*one, 3).iter().map(|head| head.id).collect();
    assert!(claim(&*two, 10).is_empty());
    one.close();
    assert_eq!(claim(&*two, 10), ids);
}

fn forgetting(open: Open<'_>) {
    let (one, two) = (open(), open());
    for _ in 0..20 {
        let event = event("a");
        let id = event.id.clone();
        let tasks = vec![NewTask { hold: false, ..task(&event, Some(1)) }; 2];
        accept_tasks(&*one, vec![event], tasks);
        let (mine, theirs) = (claim(&*one, 1)[0], claim(&*two, 1)[0]);
        let mut leases = [(mine, start(&*one, mine)), (theirs, start(&*two, theirs))].into_iter();
        let leases = [leases.next().unwrap(), leases.next().unwrap()];
        at_once([&*one, &*two], |host| {
            let ours = std::ptr::addr_eq(host, &*one);
            let (id, lease) = leases[usize::from(!ours)];
            assert!(finish(host, id, lease, Ending::Done { keep_input: false }));
        });
        assert!(one.event(&id).unwrap().unwrap().body.is_empty());
    }
}

fn slots(open: Open<'_>) {
    let (one, two) = (open(), open());
    let schedule = Schedule {
        name: "s".into(),
        spec: "every 1m".into(),
        zone: "UTC".into(),
        template: crate::store::TaskTemplate { number: 21_500, ..Default::default() },
        next_at: Timestamp(0),
        paused: false,
        last_at: None,
        last_task: None,
        created_at: Timestamp(1),
        updated_at: Timestamp(1),
    };
    one.put_schedule(schedule).wait().unwrap();
    for slot in 0..20 {
        let fired = at_once([&*one, &*two], |host| {
            host.fire_schedule("s".into(), Timestamp(slot), Timestamp(slot + 1), Timestamp(9)).wait().unwrap()
        });
        assert_eq!(fired.iter().flatten().count(), 1);
    }
}

fn bulks(open: Open<'_>) {
    let (one, two) = (open(), open());
    let hosts: [&dyn Store; 2] = [&*one, &*two];
    let waiting = hosts.map(|host| {
        let id = accept_one(host, NewTask { hold: true, ..unheld(10, "a") });
        let lease = start(host, id);
        assert!(finish(host, id, lease, Ending::Retry { at: Timestamp(99), reason: "x".into(), hold: true }));
        id
    });
    let new =
        NewBulk { action: BulkAction::Retry, filter: TaskFilter::default(), per_second: 10, expected: None, by: None };
    let bulk = one.add_bulk(new, Timestamp(60)).wait().unwrap().unwrap();
    for round in 0..2 {
        let stepped = at_once(hosts, |host| host.bulk_step(bulk.id, 1, Timestamp(61)).wait().unwrap());
        // The one that was first goes on; the other keeps away, so that the speed is kept.
        assert_eq!(stepped.iter().flatten().count(), 1, "round {round}");
    }
    let last = hosts.map(|host| host.bulk_step(bulk.id, 1, Timestamp(62)).wait().unwrap());
    let (stepper, step) = last.into_iter().enumerate().find_map(|(host, step)| Some((host, step?))).unwrap();
    assert_eq!((step.bulk.state, step.bulk.seen, step.bulk.changed), (BulkState::Done, 2, 2));
    assert!(ids_in(&*one, TaskState::Waiting).is_empty());
    let held = |id| one.task(id).unwrap().unwrap().held;
    assert!(held(waiting[stepper]) && !held(waiting[1 - stepper]), "another host would not know of it");
    assert!(started(hosts[stepper], waiting[stepper], Timestamp(70)).is_some());
    assert_eq!(claim(hosts[1 - stepper], 10), [waiting[1 - stepper]]);
}

fn attempt_bytes(open: Open<'_>) {
    let (one, two) = (open(), open());
    let large = |host: &dyn Store| {
        let large = Attempt { response: Some("x".repeat(9_600)), exchanges: Vec::new(), ..immediate("guest_added") };
        host.record_attempt(large).wait().unwrap();
    };
    let prune =
        |host: &dyn Store, max_attempt_bytes| host.prune(Retention { max_attempt_bytes, ..ALL }, 10).wait().unwrap();
    // Each takes 10,000 bytes.
    (0..3).for_each(|_| large(&*two));
    (0..3).for_each(|_| large(&*one));
    assert_eq!(prune(&*one, 60_000), 0);
    assert_eq!(prune(&*one, 50_000), 1, "another host's");
    two.close();
    assert_eq!(prune(&*one, 50_000), 0, "what went does not count, whoever removed it");
    assert_eq!(prune(&*one, 40_000), 1, "what a host made that is gone still counts");
    let three = open();
    large(&*three);
    assert_eq!((prune(&*three, 50_000), prune(&*one, 40_000), prune(&*three, 40_000)), (0, 1, 0));
}

fn news(open: Open<'_>) {
    let (one, two) = (open(), open());
    let hearing = two.changes();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let hears = |expected| loop {
        match hearing.recv_deadline(deadline) {
            Ok(change) if change == expected => return,
            change => drop(change.expect("it is told in time")),
        }
    };
    // As a host that has just come it is told to look at everything.
    for change in [Change::Plans, Change::Policies, Change::Work] {
        hears(change);
    }
    one.set_key_policy("a".into(), None, Timestamp(1)).wait().unwrap();
    hears(Change::Policies);
    one.remove_schedule("s".into()).wait().unwrap();
    hears(Change::Plans);
    accept_one(&*one, unheld(10, "a"));
    hears(Change::Work);
}
