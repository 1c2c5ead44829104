use std::num::NonZeroU32;

use super::*;
use crate::store::{Priority, Rate, Timestamp};

pub(super) const LIMITS: Limits = Limits { concurrency: 8, threads: 2, per_key: 2, per_plugin: 5, per_host: 3 };

const BAD: Verdict = Verdict::Bad { busy: false, wait: None };

/// Handlers by name: `sync` is synchronous, `none` is missing.
pub(super) fn kind_of() -> KindOf {
    Box::new(|_, name| match name {
        "none" => None,
        "sync" => Some(HandlerKind::Sync),
        _ => Some(HandlerKind::Async),
    })
}

fn scheduler(limits: Limits) -> Scheduler {
    let mut scheduler = Scheduler::new(limits, kind_of());
    scheduler.tick(0);
    scheduler
}

fn head(id: i64, key: &str) -> TaskHead {
    TaskHead {
        id: TaskId(id),
        number: 7_320,
        name: "async".into(),
        key: key.into(),
        host: None,
        run_at: Timestamp(0),
        attempts: 0,
        priority: Priority::Normal,
        ordered: false,
    }
}

fn retry(id: i64, key: &str) -> TaskHead {
    TaskHead { attempts: 1, ..head(id, key) }
}

fn at(id: i64, key: &str, host: &str) -> TaskHead {
    TaskHead { host: Some(host.into()), ..head(id, key) }
}

fn take_all(scheduler: &mut Scheduler) -> Vec<i64> {
    std::iter::from_fn(|| scheduler.take()).map(|(head, _)| head.id.0).collect()
}

fn end(scheduler: &mut Scheduler, id: i64) {
    scheduler.ended(TaskId(id), Verdict::Good);
}

const NONE: [i64; 0] = [];

#[test]
fn tasks_that_a_plugin_has_put_off_have_a_cap_of_their_own() {
    let mut scheduler = scheduler(LIMITS);
    for id in 0..7 {
        scheduler.add(head(id, "plugin:reports"));
    }
    assert_eq!(take_all(&mut scheduler), [0, 1, 2, 3, 4]);
}

#[test]
fn keys_take_turns_and_one_at_its_cap_does_not_hold_the_others() {
    let mut scheduler = scheduler(LIMITS);
    for id in 0..5 {
        scheduler.add(head(id, "slow"));
    }
    for id in 10..12 {
        scheduler.add(head(id, "quick"));
    }
    assert_eq!(take_all(&mut scheduler), [0, 10, 1, 11]);
    end(&mut scheduler, 10);
    assert_eq!(take_all(&mut scheduler), NONE);
    end(&mut scheduler, 0);
    assert_eq!(take_all(&mut scheduler), [2]);
}

#[test]
fn keys_of_one_host_share_its_cap_and_take_turns_at_it() {
    let mut scheduler = scheduler(LIMITS);
    for id in 0..6 {
        scheduler.add(at(id, &format!("key{id}"), "h:443"));
    }
    scheduler.add(at(9, "other", "i:443"));
    assert_eq!(take_all(&mut scheduler), [0, 1, 2, 9]);
    end(&mut scheduler, 1);
    assert_eq!(take_all(&mut scheduler), [3]);
    end(&mut scheduler, 0);
    end(&mut scheduler, 2);
    assert_eq!(take_all(&mut scheduler), [4, 5]);
}

#[test]
fn a_task_behind_one_whose_host_is_at_its_cap_runs_when_it_needs_another() {
    let mut scheduler = scheduler(LIMITS);
    for id in 0..3 {
        scheduler.add(at(id, &format!("key{id}"), "h:443"));
    }
    assert_eq!(take_all(&mut scheduler), [0, 1, 2]);
    scheduler.add(at(3, "mixed", "h:443"));
    scheduler.add(at(4, "mixed", "i:443"));
    assert_eq!(take_all(&mut scheduler), [4]);
    end(&mut scheduler, 0);
    assert_eq!(take_all(&mut scheduler), [3]);
}

#[test]
fn first_tries_go_before_retries_which_hold_at_most_half_of_the_slots() {
    let mut scheduler = scheduler(Limits { concurrency: 4, threads: 0, per_key: 9, per_plugin: 9, per_host: 9 });
    for id in 0..4 {
        scheduler.add(retry(id, "a"));
    }
    scheduler.add(head(8, "a"));
    assert_eq!(take_all(&mut scheduler), [8, 0, 1]);
    scheduler.add(head(9, "b"));
    assert_eq!(take_all(&mut scheduler), [9]);
    end(&mut scheduler, 0);
    assert_eq!(take_all(&mut scheduler), [2]);
}

#[test]
fn retries_of_synchronous_handlers_leave_half_of_the_threads() {
    let mut scheduler = scheduler(Limits { threads: 4, per_key: 9, ..LIMITS });
    for id in 0..4 {
        scheduler.add(TaskHead { name: "sync".into(), ..retry(id, "a") });
    }
    assert_eq!(take_all(&mut scheduler), [0, 1]);
    scheduler.add(TaskHead { name: "sync".into(), ..head(9, "b") });
    assert_eq!(take_all(&mut scheduler), [9]);
}

#[test]
fn the_higher_priority_goes_first_within_a_key_and_across_keys() {
    let mut scheduler = scheduler(Limits { concurrency: 1, ..LIMITS });
    let with = |id, key, priority| TaskHead { priority, ..head(id, key) };
    scheduler.add(with(1, "a", Priority::Low));
    scheduler.add(with(2, "a", Priority::High));
    scheduler.add(with(3, "b", Priority::Normal));
    scheduler.add(with(4, "b", Priority::High));
    let mut order = Vec::new();
    while let Some((head, _)) = scheduler.take() {
        order.push(head.id.0);
        scheduler.ended(head.id, Verdict::Good);
    }
    assert_eq!(order, [2, 4, 3, 1]);
}

#[test]
fn low_tasks_get_one_start_in_eight_beside_endless_high_ones() {
    let mut scheduler = scheduler(Limits { concurrency: 1, ..LIMITS });
    for id in 0..80 {
        scheduler.add(TaskHead { priority: Priority::High, ..head(id, "a") });
        scheduler.add(TaskHead { priority: Priority::Low, ..head(100 + id, "b") });
    }
    let mut low = 0;
    for _ in 0..64 {
        let (head, _) = scheduler.take().unwrap();
        low += i64::from(head.id.0 >= 100);
        scheduler.ended(head.id, Verdict::Good);
    }
    assert_eq!(low, 8);
}

#[test]
fn a_task_waits_for_its_time_and_for_its_handler() {
    let mut scheduler = scheduler(LIMITS);
    let later = TaskHead { run_at: Timestamp(500), name: "none".into(), ..head(1, "a") };
    scheduler.add(later.clone());
    assert_eq!((take_all(&mut scheduler), scheduler.next_due()), (vec![], Some(500)));
    scheduler.tick(500);
    assert!(scheduler.take().is_none());
    assert_eq!(scheduler.take_homeless(), std::slice::from_ref(&later));
    assert!(scheduler.add(TaskHead { name: "async".into(), ..later.clone() }));
    assert!(!scheduler.add(later), "it is here already");
    assert_eq!(take_all(&mut scheduler), [1]);
}

#[test]
fn tasks_whose_handler_goes_away_while_they_wait_for_a_slot_are_homeless() {
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let kind = Arc::clone(&gone);
    let kind_of =
        move |_: u32, _: &str| (!kind.load(std::sync::atomic::Ordering::Relaxed)).then_some(HandlerKind::Async);
    let mut scheduler = Scheduler::new(LIMITS, Box::new(kind_of));
    scheduler.tick(0);
    for id in 0..4 {
        scheduler.add(head(id, "a"));
    }
    assert_eq!(take_all(&mut scheduler), [0, 1]);
    gone.store(true, std::sync::atomic::Ordering::Relaxed);
    end(&mut scheduler, 0);
    assert_eq!(take_all(&mut scheduler), NONE);
    assert_eq!(scheduler.take_homeless().len(), 2);
    assert_eq!(scheduler.queued("a"), 0);
}

#[test]
fn a_task_on_the_timer_can_be_hastened() {
    let mut scheduler = scheduler(LIMITS);
    scheduler.add(TaskHead { run_at: Timestamp(500), ..head(1, "a") });
    assert!(scheduler.hasten(head(1, "a")));
    assert_eq!(take_all(&mut scheduler), [1]);
    scheduler.tick(500);
    assert_eq!(take_all(&mut scheduler), NONE, "it is not here twice");
    assert!(!scheduler.hasten(head(1, "a")), "it runs");
    assert!(!scheduler.hasten(head(2, "a")), "it is not here");
}

#[test]
fn a_task_is_taken_out_of_its_queue_and_off_the_timer() {
    let mut scheduler = scheduler(LIMITS);
    scheduler.add(head(1, "a"));
    scheduler.add(TaskHead { run_at: Timestamp(500), ..head(2, "a") });
    scheduler.add(head(3, "a"));
    assert!(scheduler.remove(TaskId(1), "a") && scheduler.remove(TaskId(2), "a"));
    assert!(!scheduler.remove(TaskId(1), "a"));
    scheduler.tick(500);
    assert_eq!(take_all(&mut scheduler), [3]);
    assert!(!scheduler.remove(TaskId(3), "a"), "it runs");
}

#[test]
fn synchronous_handlers_wait_for_a_thread_without_holding_asynchronous_ones() {
    let mut scheduler = scheduler(LIMITS);
    let sync = |id, key: &str| TaskHead { name: "sync".into(), ..head(id, key) };
    for id in 0..3 {
        scheduler.add(sync(id, "a"));
    }
    scheduler.add(sync(3, "b"));
    scheduler.add(head(9, "b"));
    assert_eq!(take_all(&mut scheduler), [9, 0, 3], "not behind one of its own key either");
    end(&mut scheduler, 0);
    assert_eq!(take_all(&mut scheduler), [1]);
}

#[test]
fn a_key_that_fails_is_left_alone_and_then_probed_and_the_others_go_on() {
    let mut scheduler = scheduler(Limits { per_key: 1, ..LIMITS });
    for id in 0..8 {
        scheduler.add(head(id, "sick"));
    }
    for id in 0..4 {
        assert_eq!(take_all(&mut scheduler), [id]);
        assert_eq!(scheduler.ended(TaskId(id), BAD), None);
    }
    assert_eq!(take_all(&mut scheduler), [4]);
    assert_eq!(scheduler.ended(TaskId(4), BAD), Some(Change::Opened { until: 30_000, failures: 5 }));
    scheduler.add(head(20, "well"));
    assert_eq!(take_all(&mut scheduler), [20]);
    assert_eq!(scheduler.next_due(), Some(30_000));
    assert!(!scheduler.is_low("sick"), "nothing more of it is needed in memory");
    let view = scheduler.keys().into_iter().find(|view| view.key == "sick").unwrap();
    assert_eq!((view.queued, view.breaker, view.failures), (3, BreakerState::Open, 5));
    assert_eq!(view.held_until, Some(30_000));
    scheduler.tick(30_000);
    assert_eq!(scheduler.take_drained(), ["well", "sick"]);
    assert_eq!(take_all(&mut scheduler), [5], "one probe");
    assert_eq!(scheduler.ended(TaskId(5), BAD), Some(Change::Opened { until: 90_000, failures: 6 }));
    scheduler.tick(90_000);
    assert_eq!(take_all(&mut scheduler), [6]);
    assert_eq!(scheduler.ended(TaskId(6), Verdict::Good), Some(Change::Closed));
    assert_eq!(take_all(&mut scheduler), [7]);
}

#[test]
fn a_receiver_that_asks_for_time_is_left_alone_and_gets_one_request_at_a_time_until_one_succeeds() {
    let mut scheduler = scheduler(LIMITS);
    for id in 0..6 {
        scheduler.add(head(id, "busy"));
    }
    assert_eq!(take_all(&mut scheduler), [0, 1]);
    let wait = Some(std::time::Duration::from_secs(60));
    scheduler.ended(TaskId(0), Verdict::Bad { busy: true, wait });
    scheduler.ended(TaskId(1), Verdict::Neither);
    scheduler.tick(59_999);
    assert_eq!(take_all(&mut scheduler), NONE);
    scheduler.tick(60_000);
    assert_eq!(take_all(&mut scheduler), [2]);
    scheduler.ended(TaskId(2), BAD);
    assert_eq!(take_all(&mut scheduler), [3]);
    end(&mut scheduler, 3);
    assert_eq!(take_all(&mut scheduler), [4, 5]);
}

#[test]
fn a_policy_caps_slows_and_pauses_a_key_at_once() {
    let mut scheduler = scheduler(LIMITS);
    for id in 0..9 {
        scheduler.add(head(id, "a"));
    }
    let paused = KeyPolicy { paused: true, ..KeyPolicy::default() };
    scheduler.set_policy("a", Some(paused));
    assert_eq!((take_all(&mut scheduler), scheduler.next_due()), (vec![], None));
    scheduler.set_policy("a", Some(KeyPolicy { cap: NonZeroU32::new(3), ..KeyPolicy::default() }));
    assert_eq!(take_all(&mut scheduler), [0, 1, 2]);
    let rate = Some(Rate { starts: NonZeroU32::new(2).unwrap(), per: std::time::Duration::from_secs(1) });
    scheduler.set_policy("a", Some(KeyPolicy { cap: NonZeroU32::new(64), rate, paused: false }));
    assert_eq!((take_all(&mut scheduler), scheduler.next_due()), (vec![3, 4], Some(500)));
    scheduler.tick(500);
    assert_eq!(take_all(&mut scheduler), [5]);
    scheduler.set_policy("a", None);
    (0..6).for_each(|id| end(&mut scheduler, id));
    assert_eq!(take_all(&mut scheduler), [6, 7]);
}

#[test]
fn memory_is_taken_back_from_keys_that_may_not_start_and_then_from_long_queues() {
    let mut scheduler = scheduler(LIMITS);
    for id in 0..40 {
        scheduler.add(head(id, "long"));
    }
    scheduler.add(head(100, "paused"));
    scheduler.set_policy("paused", Some(KeyPolicy { paused: true, ..KeyPolicy::default() }));
    let evicted = |scheduler: &mut Scheduler| -> Vec<i64> { scheduler.evict().iter().map(|head| head.id.0).collect() };
    assert_eq!(evicted(&mut scheduler), [100]);
    assert!(scheduler.has_none_of("paused"));
    assert_eq!(evicted(&mut scheduler), (20..40).rev().collect::<Vec<_>>());
    assert_eq!(evicted(&mut scheduler).len(), 10);
    assert!(evicted(&mut scheduler).is_empty(), "short queues are left alone");
    assert_eq!(take_all(&mut scheduler), [0, 1]);
}

#[test]
fn a_key_with_handlers_of_both_kinds_goes_by_urgency_and_then_by_turns() {
    let mut scheduler = scheduler(Limits { per_key: 1, ..LIMITS });
    let sync = |id| TaskHead { name: "sync".into(), ..head(id, "a") };
    for id in 0..4 {
        scheduler.add(head(id, "a"));
        scheduler.add(sync(10 + id));
    }
    scheduler.add(TaskHead { priority: Priority::High, ..sync(20) });
    let mut order = Vec::new();
    while let Some((head, _)) = scheduler.take() {
        order.push(head.id.0);
        scheduler.ended(head.id, Verdict::Good);
    }
    assert_eq!(order, [20, 0, 10, 1, 11, 2, 12, 3, 13]);
}

#[test]
fn deliveries_of_one_webhook_have_one_receiver_whatever_they_are_about() {
    let mut scheduler = scheduler(LIMITS);
    for id in 0..5 {
        scheduler.add(head(id, &format!("webhook:7:property {id}")));
    }
    assert_eq!(take_all(&mut scheduler), [0, 1, 2, 3, 4]);
    let opened: Vec<_> = (0..5).filter_map(|id| scheduler.ended(TaskId(id), BAD)).collect();
    assert_eq!(opened, [Change::Opened { until: 30_000, failures: 5 }], "five failures, of five subjects");
    for id in 10..14 {
        scheduler.add(head(id, &format!("webhook:7:property {id}")));
    }
    scheduler.add(head(20, "webhook:70:property 1"));
    assert_eq!(take_all(&mut scheduler), [20], "another webhook has another receiver");
    let view = |scheduler: &Scheduler| scheduler.keys().into_iter().find(|view| view.key == "webhook:7").unwrap();
    assert_eq!((view(&scheduler).breaker, view(&scheduler).failures), (BreakerState::Open, 5));
    scheduler.tick(30_000);
    let probe = take_all(&mut scheduler);
    assert_eq!(probe.len(), 1, "one probe, and not one of each subject");
    assert_eq!(scheduler.ended(TaskId(probe[0]), Verdict::Good), Some(Change::Closed));
    assert_eq!(take_all(&mut scheduler).len(), 3);
}

#[test]
fn a_receiver_that_asks_for_a_wait_is_left_alone_by_all_subjects_and_then_gets_one_at_a_time() {
    let mut scheduler = scheduler(LIMITS);
    for id in 0..4 {
        scheduler.add(head(id, &format!("webhook:7:property {id}")));
    }
    assert_eq!(scheduler.take().map(|(head, _)| head.id), Some(TaskId(0)));
    let wait = Some(std::time::Duration::from_secs(60));
    scheduler.ended(TaskId(0), Verdict::Bad { busy: true, wait });
    assert_eq!(take_all(&mut scheduler), NONE);
    scheduler.tick(60_000);
    let first = take_all(&mut scheduler);
    assert_eq!(first.len(), 1);
    scheduler.ended(TaskId(first[0]), Verdict::Neither);
    let second = take_all(&mut scheduler);
    assert_eq!(second.len(), 1, "still one at a time");
    end(&mut scheduler, second[0]);
    assert_eq!(take_all(&mut scheduler).len(), 1, "after a success all that are left");
}
