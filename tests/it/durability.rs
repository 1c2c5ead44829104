//! What is accepted is delivered: over crashes, stops and receivers that are not there.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use switchboard_tests::{Answer, PATIENCE, Receiver, Site, of_attempts, task_of, wait_until};

use crate::failing_disk::HeldReceiver;

const SETTINGS: &str = "[egress]\nallow = [\"127.0.0.0/8\"]\n\n[deferred]\ntimeout = \"60s\"\n";

/// Makes a data folder whose deliveries may take long, with more lines for `[deferred]`.
fn patient_site(deferred: &str) -> Site {
    let site = Site::with(&["webhook_none", "fixture_probe"]);
    site.settings(&format!("{SETTINGS}{deferred}\n"));
    site
}

/// Starts a receiver that never answers the first request in a test's time, and all later ones with 200.
fn first_hangs() -> Receiver {
    let first = AtomicBool::new(true);
    Receiver::start(move |_| match first.swap(false, Ordering::SeqCst) {
        true => Answer::Late(10 * PATIENCE, 200),
        false => Answer::Status(200),
    })
}

#[test]
fn what_emit_has_printed_is_delivered_although_the_host_is_killed_at_once() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::friendly();
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let mut accepted: Vec<(String, i64)> = Vec::new();
    let times = |id: &str| receiver.requests().iter().filter(|request| request.header("webhook-id") == id).count();
    for round in 0..10 {
        let serving = site.serve();
        wait_until("all of the earlier rounds is delivered", || accepted.iter().all(|(id, _)| times(id) > 0));
        let emitted = site.emit(62, "booking_added", &format!("{{\"round\":{round}}}"));
        serving.kill();
        accepted.push((emitted["event_id"].as_str().unwrap().to_owned(), task_of(&emitted)));
    }
    let _serving = site.serve();
    for (event, task) in &accepted {
        let task = site.wait_for_task(*task, "done");
        let attempts = of_attempts(&task, "outcome").len();
        // A killed attempt may have reached the receiver or not; no request comes without an attempt.
        assert!((1..=attempts).contains(&times(event)), "{} requests for {task}", times(event));
    }
}

#[test]
fn a_delivery_in_flight_when_the_host_is_killed_is_made_again() {
    let site = patient_site("");
    let receiver = first_hangs();
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let serving = site.serve();
    let id = task_of(&site.emit(62, "booking_added", "{}"));
    drop(receiver.wait_for(1));
    serving.kill();
    let _serving = site.serve();
    let task = site.wait_for_task(id, "done");
    assert_eq!(of_attempts(&task, "outcome"), ["unknown", "ok"]);
    assert_eq!(task["crashes"], 1);
    let requests = receiver.requests();
    let attempts: Vec<_> = requests.iter().map(|request| request.header("webhook-attempt")).collect();
    assert_eq!(attempts, ["1", "2"]);
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
}

#[test]
fn a_task_that_was_running_in_three_crashes_is_a_dead_letter() {
    // A schedule of one attempt: a crash is no failure of the receiver and does not use it up.
    let site = patient_site("schedule = [\"0s\"]");
    let receiver = Receiver::start(|_| Answer::Late(10 * PATIENCE, 200));
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let id = task_of(&site.emit(62, "booking_added", "{}"));
    for crash in 1..=3 {
        let serving = site.serve();
        drop(receiver.wait_for(crash));
        serving.kill();
    }
    let _serving = site.serve();
    let task = site.wait_for_task(id, "dead");
    assert!(task["reason"].as_str().unwrap().starts_with("crash"), "{task}");
    assert_eq!(of_attempts(&task, "outcome"), ["unknown"; 3]);
    assert_eq!(receiver.requests().len(), 3);
}

#[test]
fn a_late_result_changes_nothing_and_says_so() {
    let site = patient_site("");
    let held = HeldReceiver::start();
    site.add_webhook(62, &held.receiver.url("slow"), "none", &[]);
    let serving = site.serve();
    let id = task_of(&site.emit(62, "booking_added", "{}"));
    held.arrived.recv_timeout(PATIENCE).unwrap();
    // As if another host had taken it over and run it meanwhile.
    change(&site, "UPDATE task SET lease = lease + 1 WHERE id = ?", id);
    held.release.send(()).unwrap();
    site.wait_for_log("Deferred", "a late result was dropped");
    let task = site.task(id);
    assert_eq!((&task["state"], of_attempts(&task, "outcome")), (&json!("running"), vec![json!(null)]));
    serving.kill();
}

#[test]
fn a_task_whose_record_is_damaged_is_given_up_and_the_others_of_its_key_go_on() {
    let site = patient_site("per_webhook = 1");
    let receiver = Receiver::friendly();
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let [damaged, well] = [(); 2].map(|()| task_of(&site.emit(62, "booking_added", "{}")));
    change(&site, "UPDATE task SET schedule = 'never' WHERE id = ?", damaged);
    let _serving = site.serve();
    drop(site.wait_for_task(well, "done"));
    // Not with a command, which cannot read it either.
    let reason = "SELECT reason FROM task WHERE id = ? AND state = 4";
    let reason = || database(&site).query_row(reason, [damaged], |row| row.get::<_, String>(0)).unwrap_or_default();
    wait_until("it is given up", || reason().starts_with("corrupt: "));
    assert_eq!(receiver.requests().len(), 1);
}

/// Changes a task in the store of a site from outside.
fn change(site: &Site, sql: &str, task: i64) {
    assert_eq!(database(site).execute(sql, [task]).unwrap(), 1);
}

fn database(site: &Site) -> rusqlite::Connection {
    rusqlite::Connection::open(site.path().join("switchboard.db")).unwrap()
}

#[test]
fn a_stop_waits_for_a_delivery_in_flight() {
    let site = patient_site("grace = \"60s\"");
    let receiver = Receiver::start(|_| Answer::Late(std::time::Duration::from_secs(1), 200));
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let serving = site.serve();
    let id = task_of(&site.emit(62, "booking_added", "{}"));
    drop(receiver.wait_for(1));
    assert!(serving.terminate().success());
    let task = site.task(id);
    assert_eq!((&task["state"], &task["attempts"]), (&json!("done"), &json!(1)));
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn a_delivery_that_outlasts_the_grace_is_given_back_and_is_no_attempt() {
    check_given_back("none");
}

#[test]
fn a_synchronous_handler_that_outlasts_the_grace_is_given_back_as_well() {
    check_given_back("probe_sync");
}

fn check_given_back(method: &str) {
    let site = patient_site("grace = \"100ms\"");
    let receiver = first_hangs();
    site.add_webhook(62, &receiver.url("hook"), method, &[]);
    let serving = site.serve();
    let id = task_of(&site.emit(62, "booking_added", "{}"));
    drop(receiver.wait_for(1));
    assert!(serving.terminate().success());
    let task = site.task(id);
    assert_eq!((&task["state"], &task["attempts"], &task["crashes"]), (&json!("ready"), &json!(0), &json!(0)));
    assert_eq!(of_attempts(&task, "outcome"), ["interrupted"]);
    let _serving = site.serve();
    let task = site.wait_for_task(id, "done");
    assert_eq!(of_attempts(&task, "outcome"), ["interrupted", "ok"]);
    assert_eq!(task["attempts"], 1);
    assert_eq!(receiver.requests().len(), 2);
}

#[test]
fn an_event_announced_without_a_running_host_waits_for_the_next() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::friendly();
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let emitted = site.emit(62, "booking_added", "{}");
    let task = site.task(task_of(&emitted));
    assert_eq!((&task["state"], &task["attempts"]), (&json!("ready"), &json!(0)));
    assert!(receiver.requests().is_empty());
    let _serving = site.serve();
    assert_eq!(receiver.wait_for(1)[0].header("webhook-id"), emitted["event_id"].as_str().unwrap());
    drop(site.wait_for_task(task_of(&emitted), "done"));
}

#[test]
fn a_receiver_that_does_not_listen_is_tried_again() {
    let site = patient_site("schedule = [\"0s\", \"1h\"]");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    drop(listener);
    site.add_webhook(62, &url, "none", &[]);
    let emitted = site.emit_and_wait(62, "booking_added", "{}");
    assert_eq!(emitted.code, 3, "{emitted:?}");
    let emitted = emitted.json();
    let outcome = &emitted["tasks"][0];
    assert_eq!((&outcome["state"], &outcome["outcome"]), (&json!("waiting"), &json!("connect")));
    assert_eq!(outcome["status"], json!(null));
    let task = site.task(task_of(&emitted));
    assert_eq!((&task["state"], &task["run_at"]), (&json!("waiting"), &outcome["next_at"]));
}
