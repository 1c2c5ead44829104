//! What a receiver may ask for, and when a webhook is given up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use rusqlite::Connection;
use serde_json::{Value, json};
use switchboard_tests::{Answer, Receiver, Site, task_of, wait_until};

const DATA: &str = r#"{"property_uid":7,"contract_uid":41}"#;

fn site() -> Site {
    Site::with(&["webhook_none"])
}

fn states(site: &Site) -> Vec<(Value, Value)> {
    let tasks = site.json(&["task", "list"]);
    tasks.as_array().unwrap().iter().map(|task| (task["state"].clone(), task["reason"].clone())).collect()
}

#[test]
fn a_receiver_that_is_gone_takes_what_waits_for_it_along_and_its_owner_hears_elsewhere() {
    let site = site();
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[deferred]\nper_webhook = 1\n");
    let (gone, other) = (Receiver::start(|_| Answer::Status(410)), Receiver::friendly());
    let id = site.add_webhook(62, &gone.url("hook"), "none", &["--name", "Mirror"]);
    let events = ["--event", "webhook_*"];
    site.add_webhook(62, &other.url("told"), "none", &events);
    (0..3).for_each(|_| drop(site.emit(62, "booking_added", DATA)));
    let _serving = site.serve();
    wait_until("all are dead", || {
        states(&site).iter().filter(|(state, _)| state == "dead").count() == 3 && !other.requests().is_empty()
    });
    assert_eq!(states(&site).iter().filter(|(_, reason)| reason == "gone").count(), 2, "{:?}", states(&site));
    assert_eq!(gone.requests().len(), 1, "once is enough");
    let told = other.wait_for(1).remove(0);
    assert_eq!(told.header("webhook-event"), "webhook_disabled");
    let body: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!((&body["data"]["webhook_id"], &body["data"]["webhook_name"]), (&json!(id), &json!("Mirror")));
    assert!(body["data"]["reason"].as_str().unwrap().contains("410"), "{body}");
}

#[test]
fn of_two_answers_that_disable_a_webhook_at_once_its_owner_hears_once_and_the_first_reason_stays() {
    let site = site();
    let both = Barrier::new(2);
    let gone = Receiver::start(move |_| {
        both.wait();
        Answer::Status(410)
    });
    let other = Receiver::friendly();
    let id = site.add_webhook(62, &gone.url("hook"), "none", &[]).to_string();
    site.add_webhook(62, &other.url("told"), "none", &["--event", "webhook_*"]);
    (0..2).for_each(|_| drop(site.emit(62, "booking_added", DATA)));
    let serving = site.serve();
    wait_until("both are dead", || states(&site).iter().filter(|(state, _)| state == "dead").count() == 2);
    wait_until("it is disabled", || site.json(&["webhook", "show", &id])["enabled"] == false);
    drop(other.wait_for(1));
    drop(site.json(&["webhook", "disable", &id, "--reason", "we moved"]));
    let reason = site.json(&["webhook", "show", &id])["disabled_reason"].clone();
    assert!(reason.as_str().unwrap().contains("answered 410"), "{reason}");
    assert!(serving.terminate().success());
    let told = site.json(&["delivery", "list", "--event", "webhook_disabled"]);
    assert_eq!(told.as_array().unwrap().len(), 1, "{told}");
}

#[test]
fn a_receiver_says_by_a_header_that_it_wants_an_event_or_all_no_more() {
    let site = site();
    for (word, outcome, enabled) in [("abort-message", "aborted", true), ("disable", "gone", false)] {
        let receiver = Receiver::start(move |_| Answer::With(503, "webhook-delivery", word.into()));
        let id = site.add_webhook(62, &receiver.url("hook"), "none", &[]).to_string();
        let serving = site.serve();
        let task = site.wait_for_task(task_of(&site.emit(62, "booking_added", DATA)), "dead");
        assert_eq!(task["attempt_list"][0]["outcome"], outcome, "{task}");
        assert_eq!(receiver.requests().len(), 1);
        wait_until("it is as it asked for", || site.json(&["webhook", "show", &id])["enabled"] == enabled);
        drop(site.json(&["webhook", "remove", &id]));
        assert!(serving.terminate().success());
    }
}

#[test]
fn a_delivery_is_given_up_at_the_statuses_that_the_webhook_names_and_goes_by_its_own_schedule() {
    let site = site();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let receiver = Receiver::start(move |_| Answer::Status([500, 500, 422][counted.fetch_add(1, Ordering::SeqCst)]));
    site.add_webhook(62, &receiver.url(""), "none", &["--stop-on", "422", "--schedule", "0s,1ms,1ms,1ms,1ms"]);
    let _serving = site.serve();
    let task = site.wait_for_task(task_of(&site.emit(62, "booking_added", DATA)), "dead");
    assert_eq!(task["attempts"], 3, "{task}");
    assert!(task["reason"].as_str().unwrap().contains("gives up at 422"), "{task}");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[test]
fn nothing_arriving_for_days_disables_a_webhook_after_a_warning_and_enabling_it_begins_anew() {
    let site = site();
    let (broken, other) = (Receiver::start(|_| Answer::Status(500)), Receiver::friendly());
    let schedule = ["--schedule", "0s"];
    let id = site.add_webhook(62, &broken.url(""), "none", &schedule).to_string();
    site.add_webhook(62, &other.url(""), "none", &["--event", "webhook_*"]);
    // The store itself: nobody waits for days.
    let failing_for = |hours: i64, failures: i64| {
        let store = Connection::open(site.path().join("switchboard.db")).unwrap();
        let sql = "UPDATE webhook SET failing_since = unixepoch() * 1000 - ? * 3600000, failed_at = failing_since,
                   failures = ? WHERE id = ?";
        assert_eq!(store.execute(sql, rusqlite::params![hours, failures, id]).unwrap(), 1);
    };
    let fail = || {
        let serving = site.serve();
        drop(site.wait_for_task(task_of(&site.emit(62, "booking_added", DATA)), "dead"));
        serving
    };
    let failing = || site.json(&["webhook", "show", &id])["failing"]["attempts"].clone();
    let told = |count: usize, event: &str| {
        assert_eq!(other.wait_for(count)[count - 1].header("webhook-event"), event);
    };
    let serving = fail();
    wait_until("it is counted", || failing() == 1);
    assert!(serving.terminate().success());
    failing_for(61, 5);
    let serving = fail();
    told(1, "webhook_failing");
    assert_eq!(site.json(&["webhook", "show", &id])["enabled"], true);
    assert!(site.log("Webhooks").contains("it will be disabled when that goes on"));
    assert!(serving.terminate().success());
    failing_for(121, 9);
    let _serving = fail();
    told(2, "webhook_disabled");
    wait_until("it is disabled", || site.json(&["webhook", "show", &id])["enabled"] == false);
    let shown = site.json(&["webhook", "show", &id]);
    assert!(shown["disabled_reason"].as_str().unwrap().contains("in 10 attempts"), "{shown}");
    let enabled = site.json(&["webhook", "enable", &id]);
    assert_eq!((&enabled["failing"], &enabled["disabled_reason"]), (&json!(null), &json!(null)));
    assert_eq!(broken.requests().len(), 3, "what it is told about itself does not go to it");
}

#[test]
fn a_delivery_that_fails_at_once_is_queued_under_the_same_id_unless_the_webhook_says_otherwise() {
    let site = site();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let receiver =
        Receiver::start(move |_| Answer::Status(if counted.fetch_add(1, Ordering::SeqCst) == 0 { 500 } else { 200 }));
    let id = site.add_webhook(62, &receiver.url(""), "none", &["--immediate"]).to_string();
    let _serving = site.serve();
    let emitted = site.emit(62, "booking_added", DATA);
    let immediate = &emitted["immediate"][0];
    assert_eq!((&immediate["delivered"], &immediate["status"]), (&json!(false), &json!(500)), "{emitted}");
    let queued = immediate["task"].as_i64().unwrap_or_else(|| panic!("{emitted} {}", site.log("Webhooks")));
    let task = site.wait_for_task(queued, "done");
    let tries = task["attempt_list"].as_array().unwrap();
    let tries: Vec<_> = tries.iter().map(|one| (&one["mode"], &one["outcome"])).collect();
    assert_eq!(tries, [(&json!("immediate"), &json!("http_5xx")), (&json!("deferred"), &json!("ok"))], "{task}");
    let log = site.log("Webhooks");
    assert!(log.contains("not delivered, will be tried again") && !log.contains("given up"), "{log}");
    let ids: Vec<_> = receiver.wait_for(2).iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert_eq!(ids[0], ids[1]);
    calls.store(0, Ordering::SeqCst);
    drop(site.json(&["webhook", "edit", &id, "--then-queue", "no"]));
    assert_eq!(site.emit(62, "booking_added", DATA)["immediate"][0]["task"], json!(null));
    let now = site.emit(62, "booking_added", DATA);
    assert_eq!((&now["immediate"][0]["delivered"], &now["tasks"]), (&json!(true), &json!([])), "once, and at once");
}

#[test]
fn a_webhook_has_headers_and_an_envelope_of_its_own() {
    let site = site();
    let receiver = Receiver::friendly();
    let more = ["--header", "X-Tenant: 62", "--header", "User-Agent: hotel/1", "--envelope", "standard"];
    site.add_webhook(62, &receiver.url(""), "none", &more);
    let _serving = site.serve();
    drop(site.emit(62, "booking_added", DATA));
    let request = receiver.wait_for(1).remove(0);
    assert_eq!((request.header("x-tenant"), request.header("user-agent")), ("62", "hotel/1"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["type"], "booking.added");
    assert_eq!(body["data"], json!({ "property_uid": 7, "contract_uid": 41, "manager_id": 62 }));
}

#[test]
fn deliveries_about_one_subject_wait_for_one_another_and_for_no_other() {
    let site = site();
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[deferred]\nschedule = [\"0s\", \"1h\"]\n");
    let receiver = Receiver::start(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        Answer::Status(if body["data"]["property_uid"] == 1 { 500 } else { 200 })
    });
    site.add_webhook(62, &receiver.url(""), "none", &["--order", "subject"]);
    let _serving = site.serve();
    let emit = |property: u8| task_of(&site.emit(62, "tariffs_updated", &format!("{{\"property_uid\":{property}}}")));
    let failing = emit(1);
    drop(site.wait_for_task(failing, "waiting"));
    let (behind, free) = (emit(1), emit(2));
    drop(site.wait_for_task(free, "done"));
    assert_eq!(site.task(behind)["attempts"], 0, "it waits for the one before");
    drop(site.json(&["task", "cancel", &failing.to_string()]));
    drop(site.wait_for_task(behind, "waiting"));
}
