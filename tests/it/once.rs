//! Announcing under an idempotency key.

use std::sync::Barrier;

use serde_json::{Value, json};
use switchboard::{AnnounceError, AnnouncedEvent, FinishError, Notification, Switchboard, WebhookDraft};
use switchboard_tests::{PATIENCE, Receiver, Site};

fn host_with_webhook(receiver: &Receiver) -> (Site, Switchboard) {
    let site = Site::with(&["webhook_none"]);
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let draft =
        WebhookDraft { owner: 62, url: receiver.url("/hook"), method: "none".into(), ..WebhookDraft::default() };
    host.webhooks().add(draft).unwrap();
    (site, host)
}

fn booking(contract: u32, key: &str) -> Notification {
    Notification::new("booking_added", &json!({ "contract_uid": contract })).unwrap().owner(62).idempotency_key(key)
}

fn announce(host: &Switchboard, notifications: Vec<Notification>) -> Vec<AnnouncedEvent> {
    let mut run = host.run().start();
    for notification in notifications {
        run.announce(notification).unwrap();
    }
    run.finish().unwrap().events
}

#[test]
fn an_event_that_is_announced_again_is_accepted_and_delivered_once() {
    let receiver = Receiver::friendly();
    let (site, host) = host_with_webhook(&receiver);
    let first = announce(&host, vec![booking(41, "booking-41")]).remove(0);
    assert!(!first.known && first.tasks.len() == 1);
    host.tasks().wait(&[first.tasks[0].id], PATIENCE).unwrap();
    // In a batch with others, after its body has gone with the delivery, and after a restart.
    drop(host);
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let events = announce(&host, vec![booking(42, "booking-42"), booking(41, "booking-41"), booking(43, "booking-43")]);
    let known: Vec<bool> = events.iter().map(|event| event.known).collect();
    assert_eq!(known, [false, true, false]);
    assert_eq!((&events[1].id, events[1].tasks[0].id), (&first.id, first.tasks[0].id));
    let tasks: Vec<_> = events.iter().flat_map(|event| &event.tasks).map(|task| task.id).collect();
    host.tasks().wait(&tasks, PATIENCE).unwrap();
    let bodies: Vec<Value> =
        receiver.wait_for(3).iter().map(|request| request.json()["data"]["contract_uid"].clone()).collect();
    assert_eq!(bodies.len(), 3, "{bodies:?}");
    let metrics = host.metrics().unwrap();
    let events: Vec<_> = metrics.events.iter().map(|one| (one.labels[0].as_str(), one.count)).collect();
    assert_eq!(events, [("accepted", 2), ("known", 1)]);
    let attempts: Vec<_> = metrics.attempts.iter().map(|one| (one.labels.join(" "), one.count)).collect();
    assert_eq!(attempts, [("webhook_none deferred ok".to_owned(), 2)]);
}

#[test]
fn a_key_that_belongs_to_other_content_is_refused_and_nothing_of_the_run_is_accepted() {
    let (_site, host) = host_with_webhook(&Receiver::friendly());
    let first = announce(&host, vec![booking(41, "k")]).remove(0);
    let mut run = host.run().start();
    run.announce(booking(7, "other")).unwrap();
    match run.announce(booking(42, "k")) {
        Err(AnnounceError::KeyTaken { key, event }) => assert_eq!((key.as_str(), event), ("k", first.id)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(run.announce(booking(8, "other")), Err(AnnounceError::KeyTaken { .. })));
    for wrong in ["", "with blank", "ü", &"x".repeat(256), "nul\0"] {
        assert!(matches!(run.announce(booking(1, wrong)), Err(AnnounceError::Key { .. })), "{wrong:?}");
    }
    // Another owner's key is another key.
    run.announce(booking(42, "k").owner(7)).unwrap();
    assert_eq!(run.finish().unwrap().events.len(), 2);
}

#[test]
fn the_same_event_counts_once_in_a_run_whether_its_key_comes_first_or_last() {
    let (_site, host) = host_with_webhook(&Receiver::friendly());
    let plain =
        |contract: u32| Notification::new("booking_added", &json!({ "contract_uid": contract })).unwrap().owner(62);
    let first = announce(&host, vec![booking(1, "k1"), plain(1)]).remove(0);
    let last = announce(&host, vec![plain(2), booking(2, "k2"), plain(2)]);
    assert_eq!((last.len(), last[0].tasks.len()), (1, 1));
    for again in [vec![plain(1), booking(1, "k1")], vec![booking(1, "k1"), plain(1)], vec![booking(2, "k2")]] {
        let again = announce(&host, again);
        assert!(again.len() == 1 && again[0].known && [&first.id, &last[0].id].contains(&&again[0].id), "{again:?}");
    }
    // Two keys are two events, although they say the same.
    assert_eq!(announce(&host, vec![plain(3), booking(3, "k3"), booking(3, "k4")]).len(), 2);
}

#[test]
fn of_many_that_announce_at_once_under_a_key_one_is_first() {
    let (_site, host) = host_with_webhook(&Receiver::friendly());
    let together = Barrier::new(16);
    let results: Vec<Result<AnnouncedEvent, FinishError>> = std::thread::scope(|scope| {
        let announce = |contract| {
            let (host, together) = (&host, &together);
            scope.spawn(move || {
                let mut run = host.run().start();
                let announced = run.announce(booking(contract, "k"));
                together.wait();
                match announced {
                    Ok(_) => run.finish().map(|mut finished| finished.events.remove(0)),
                    Err(AnnounceError::KeyTaken { key, event }) => Err(FinishError::KeyTaken { key, event }),
                    Err(other) => panic!("{other}"),
                }
            })
        };
        let threads: Vec<_> = (0..16).map(|number| announce(if number % 4 == 3 { 42 } else { 41 })).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let accepted: Vec<_> = results.iter().flatten().collect();
    assert_eq!(accepted.iter().filter(|event| !event.known).count(), 1, "{results:?}");
    assert!(accepted.iter().all(|event| event.id == accepted[0].id && event.tasks.len() == 1));
    let refused = results.iter().filter(|result| matches!(result, Err(FinishError::KeyTaken { .. }))).count();
    assert!((refused, accepted.len()) == (4, 12) || (refused, accepted.len()) == (12, 4), "{results:?}");
}

#[test]
fn the_command_line_announces_once_under_a_key() {
    let site = Site::new();
    let emit = |data: &str| {
        site.run(&["--json", "emit", "booking_added", "--owner", "62", "--data", data, "--idempotency-key", "k"])
    };
    let first = emit(r#"{"a":1,"b":2}"#).ok().json();
    let again = emit(r#"{"b":2, "a":1}"#).ok().json();
    assert_eq!((&again["event_id"], &again["known"]), (&first["event_id"], &json!(true)));
    emit(r#"{"a":2}"#).refused(2, &["`k`", first["event_id"].as_str().unwrap()]);
}
