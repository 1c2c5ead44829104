//! Deliveries in the time of whoever announces.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use switchboard_tests::{Answer, PATIENCE, Receiver, Site, wait_until};

const DATA: &str = r#"{"property_uid":7}"#;

/// A receiver that answers its first request much later than anybody waits, and all others at once.
fn asleep_at_first() -> Receiver {
    let calls = AtomicUsize::new(0);
    Receiver::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Late(PATIENCE, 200),
        _ => Answer::Status(200),
    })
}

fn modes_and_outcomes(site: &Site, task: &Value) -> Vec<(Value, Value)> {
    let attempts = site.json(&["delivery", "list", "--task", &task.to_string()]);
    let seen = attempts.as_array().unwrap().iter().rev();
    seen.map(|attempt| (attempt["mode"].clone(), attempt["outcome"].clone())).collect()
}

/// Announces, kills the host while the receiver has the request, starts it again, and returns the task when it is done.
fn killed_while_delivering(site: &Site, receiver: &Receiver) -> Value {
    let serving = site.serve();
    thread::scope(|scope| {
        // It hears nothing more from the host.
        scope.spawn(|| site.run(&["emit", "booking_added", "--owner", "62", "--data", DATA]));
        assert_eq!(receiver.wait_for(1).len(), 1);
        serving.kill();
    });
    let _serving = site.serve();
    let id = site.json(&["task", "list"])[0]["id"].as_i64().unwrap();
    let task = site.wait_for_task(id, "done");
    let ids: Vec<_> = receiver.wait_for(2).iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert_eq!(ids[0], ids[1], "the same event");
    task
}

#[test]
fn a_host_that_dies_in_the_middle_of_an_immediate_delivery_makes_it_after_its_next_start() {
    let site = Site::with(&["webhook_none"]);
    let receiver = asleep_at_first();
    let wait = ["--immediate", "--immediate-timeout", "10s"];
    site.add_webhook(62, &receiver.url(""), "none", &wait);
    let task = killed_while_delivering(&site, &receiver);
    assert_eq!((&task["number"], &task["crashes"]), (&json!("07320"), &json!(1)), "{task}");
    let expected = [("immediate", "unknown"), ("deferred", "ok")].map(|(mode, outcome)| (json!(mode), json!(outcome)));
    assert_eq!(modes_and_outcomes(&site, &task["id"]), expected);
}

#[test]
fn a_method_that_only_delivers_at_once_loses_nothing_either() {
    let site = Site::with(&["fixture_probe"]);
    let receiver = asleep_at_first();
    site.add_webhook(62, &receiver.url(""), "probe_now", &["--immediate-timeout", "10s"]);
    let task = killed_while_delivering(&site, &receiver);
    assert_eq!((&task["number"], &task["crashes"]), (&json!("07310"), &json!(1)), "{task}");
}

#[test]
fn an_immediate_delivery_is_written_down_before_anything_is_sent() {
    let site = Site::with(&["webhook_none"]);
    let receiver = asleep_at_first();
    site.add_webhook(62, &receiver.url(""), "none", &["--immediate", "--immediate-timeout", "10s"]);
    let serving = site.serve();
    thread::scope(|scope| {
        scope.spawn(|| site.run(&["emit", "booking_added", "--owner", "62", "--data", DATA]));
        assert_eq!(receiver.wait_for(1).len(), 1);
        let attempts = site.json(&["delivery", "list", "--mode", "immediate"]);
        assert_eq!((&attempts[0]["event"], &attempts[0]["outcome"]), (&json!("booking_added"), &json!(null)));
        serving.kill();
    });
}

#[test]
fn more_immediate_deliveries_than_there_are_places_for_wait_in_the_background() {
    const PLACES: usize = 16;
    let site = Site::with(&["webhook_none"]);
    let together = std::sync::Arc::new(Barrier::new(PLACES + 1));
    let meeting = std::sync::Arc::clone(&together);
    let receiver = Receiver::start(move |request| {
        if request.path == "/meet" {
            meeting.wait();
        }
        Answer::Status(200)
    });
    let id = site.add_webhook(62, &receiver.url("meet"), "none", &["--immediate", "--immediate-timeout", "10s"]);
    let _serving = site.serve();
    let emit = || site.emit(62, "booking_added", DATA);
    thread::scope(|scope| {
        let places: Vec<_> = (0..PLACES).map(|_| scope.spawn(emit)).collect();
        let running = || site.json(&["delivery", "list", "--mode", "immediate"]).as_array().unwrap().len();
        wait_until("all places are taken", || running() == PLACES);
        drop(site.json(&["webhook", "edit", &id.to_string(), "--url", &receiver.url("free")]));
        let behind = emit();
        assert_eq!((behind["immediate"].as_array().unwrap().len(), behind["tasks"].as_array().unwrap().len()), (0, 1));
        drop(site.wait_for_task(behind["tasks"][0]["id"].as_i64().unwrap(), "done"));
        together.wait();
        for place in places {
            assert_eq!(place.join().unwrap()["immediate"][0]["delivered"], true);
        }
    });
    assert_eq!(emit()["immediate"][0]["delivered"], true, "there is a place again");
}

#[test]
fn a_receiver_that_asks_for_time_gets_it_from_immediate_deliveries_too() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::start(|_| Answer::With(503, "retry-after", "3600".into()));
    site.add_webhook(62, &receiver.url(""), "none", &["--immediate"]);
    let _serving = site.serve();
    let first = site.emit(62, "booking_added", DATA);
    assert_eq!(first["immediate"][0]["status"], 503, "{first}");
    let second = site.emit(62, "booking_added", DATA);
    assert_eq!((&second["immediate"], second["tasks"].as_array().unwrap().len()), (&json!([]), 1), "{second}");
    let key = &site.json(&["task", "key", "list"])[0];
    assert!(key["held_until"].is_string(), "{key}");
    assert_eq!(receiver.requests().len(), 1, "the first answer holds for all");
}
