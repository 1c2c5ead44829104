//! Deliveries: what a receiver gets, who gets what, and what happens when a receiver or a plugin fails.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use switchboard::{Notification, Switchboard};
use switchboard_tests::{Answer, Receiver, Request, Site, of_attempts, task_of, wait_until, webhooks_of};

const DATA: &str = r#"{"property_uid":7,"contract_uid":41}"#;

/// Checks the same once on a bare data folder and once beside a running host.
fn without_and_with_serve(plugins: &[&str], check: impl Fn(&Site)) {
    check(&Site::with(plugins));
    let site = Site::with(plugins);
    let _serving = site.serve();
    check(&site);
}

/// Starts a receiver that answers the n-th request with the n-th answer, and all later ones with 200.
fn answering(answers: &'static [Answer]) -> Receiver {
    let count = AtomicUsize::new(0);
    Receiver::start(move |_| answers.get(count.fetch_add(1, Ordering::SeqCst)).cloned().unwrap_or(Answer::Status(200)))
}

#[test]
fn none_posts_the_announced_properties_as_they_are() {
    without_and_with_serve(&["webhook_none"], |site| {
        let receiver = Receiver::friendly();
        site.add_webhook(62, &receiver.url("hook"), "none", &[]);
        let emitted = site.emit_and_wait(62, "booking_added", DATA).ok().json();
        let [request]: [Request; 1] = receiver.wait_for(1).try_into().unwrap();
        assert_eq!((&*request.method, &*request.path), ("POST", "/hook"));
        assert_eq!(
            String::from_utf8(request.body.clone()).unwrap(),
            r#"{"data":{"property_uid":7,"contract_uid":41,"manager_id":62,"task":"booking_added"}}"#
        );
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("webhook-id"), emitted["event_id"].as_str().unwrap());
        assert_eq!(request.header("webhook-event"), "booking_added");
        assert_eq!(request.header("webhook-attempt"), "1");
        assert!(request.header("user-agent").starts_with("Switchboard/"), "{request:?}");
        assert_eq!(request.header("authorization"), "");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let sent: u64 = request.header("webhook-timestamp").parse().unwrap();
        assert!(sent.abs_diff(now) < 3600, "{sent} is not close to {now}");
    });
}

#[test]
fn basic_sends_user_name_and_password_byte_for_byte() {
    without_and_with_serve(&["webhook_basic"], |site| {
        let receiver = Receiver::friendly();
        let password = "p&<>\"'é";
        let set = format!("basic_password={password}");
        let form = ["--set", "basic_username=ada", "--set", &set];
        site.add_webhook(62, &receiver.url("hook"), "basic", &form);
        drop(site.emit_and_wait(62, "booking_added", DATA).ok());
        let request = receiver.wait_for(1).remove(0);
        let credentials = request.header("authorization").strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(credentials).unwrap(), format!("ada:{password}").into_bytes());
    });
}

#[test]
fn an_event_goes_to_the_webhooks_of_its_owner_and_of_the_site() {
    without_and_with_serve(&["webhook_none"], |site| {
        let receiver = Receiver::friendly();
        let add = |owner, path| site.add_webhook(owner, &receiver.url(path), "none", &[]);
        let (all, own, other) = (add(0, "all"), add(62, "own"), add(63, "other"));
        let emitted = site.emit_and_wait(62, "booking_added", DATA).ok().json();
        assert_eq!(webhooks_of(&emitted), [all, own]);
        let emitted = site.emit_and_wait(0, "site_updated", "{}").ok().json();
        assert_eq!(webhooks_of(&emitted), [all]);
        let mut got: Vec<_> = receiver.wait_for(3).into_iter().map(|request| request.path).collect();
        got.sort();
        assert_eq!(got, ["/all", "/all", "/own"]);
        let emitted = site.emit_and_wait(63, "booking_added", DATA).ok().json();
        assert_eq!(webhooks_of(&emitted), [all, other]);
    });
}

#[test]
fn a_disabled_webhook_gets_nothing_until_it_is_enabled() {
    without_and_with_serve(&["webhook_none"], |site| {
        let receiver = Receiver::friendly();
        let id = site.add_webhook(62, &receiver.url("hook"), "none", &[]);
        assert_eq!(site.json(&["webhook", "disable", &id.to_string()])["enabled"], false);
        assert!(webhooks_of(&site.emit_and_wait(62, "missed", "{}").ok().json()).is_empty());
        assert_eq!(site.json(&["webhook", "enable", &id.to_string()])["enabled"], true);
        drop(site.emit_and_wait(62, "wanted", "{}").ok());
        let events: Vec<_> =
            receiver.wait_for(1).iter().map(|request| request.header("webhook-event").to_owned()).collect();
        assert_eq!(events, ["wanted"]);
    });
}

#[test]
fn a_webhook_with_an_event_filter_gets_only_those_events() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::friendly();
    let filter = ["--event", "booking_added", "--event", "booking_cancelled"];
    let id = site.add_webhook(62, &receiver.url("hook"), "none", &filter);
    for (event, expected) in
        [("booking_added", vec![id]), ("booking_add", vec![]), ("guest_added", vec![]), ("booking_cancelled", vec![id])]
    {
        assert_eq!(webhooks_of(&site.emit_and_wait(62, event, "{}").ok().json()), expected, "{event}");
    }
    let events: Vec<_> = receiver.requests().iter().map(|request| request.json()["data"]["task"].clone()).collect();
    assert_eq!(events, ["booking_added", "booking_cancelled"]);
}

#[test]
fn the_same_notification_counts_once_in_a_run_but_once_for_each_owner() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::friendly();
    site.add_webhook(62, &receiver.url("62"), "none", &[]);
    site.add_webhook(63, &receiver.url("63"), "none", &[]);
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let mut run = host.run().owner(62).start();
    let first = run.announce(Notification::from_json("booking_added", r#"{"a":1,"b":{"c":2,"d":3}}"#)).unwrap();
    let again = run.announce(Notification::from_json("booking_added", r#"{ "b": {"d":3,"c":2}, "a":1 }"#)).unwrap();
    assert_eq!(first, again);
    let other = Notification::from_json("booking_added", r#"{"a":1,"b":{"c":2,"d":3}}"#).owner(63);
    assert_ne!(run.announce(other).unwrap(), first);
    let finished = run.finish().unwrap();
    assert_eq!(finished.events.len(), 2);
    let tasks: Vec<_> = finished.events.iter().flat_map(|event| event.tasks.iter().map(|task| task.id)).collect();
    host.tasks().wait(&tasks, switchboard_tests::PATIENCE).unwrap();
    let mut paths: Vec<_> = receiver.requests().into_iter().map(|request| request.path).collect();
    paths.sort();
    assert_eq!(paths, ["/62", "/63"]);
    // In another run it is another event.
    let mut run = host.run().owner(62).start();
    run.announce(Notification::from_json("booking_added", r#"{"a":1,"b":{"c":2,"d":3}}"#)).unwrap();
    assert_ne!(run.finish().unwrap().events[0].id, first);
    drop(receiver.wait_for(3));
}

#[test]
fn secrets_stay_here_and_numbers_keep_their_digits() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::friendly();
    site.add_webhook(0, &receiver.url("hook"), "none", &[]);
    let data = r#"{"user":{"name":"ada","password":"hunter2"},"price":12345678901234567890123.10}"#;
    drop(site.emit_and_wait(0, "user_added", data).ok());
    assert_eq!(
        String::from_utf8(receiver.wait_for(1).remove(0).body).unwrap(),
        r#"{"data":{"user":{"name":"ada","password":"[redacted]"},"price":12345678901234567890123.10,"task":"user_added"}}"#
    );
}

#[test]
fn emit_with_wait_prints_what_became_of_each_delivery() {
    without_and_with_serve(&["webhook_none"], |site| {
        let receiver = Receiver::friendly();
        let id = site.add_webhook(62, &receiver.url("hook"), "none", &[]);
        let emitted = site.emit_and_wait(62, "booking_added", DATA).ok().json();
        let task = &emitted["tasks"][0];
        assert_eq!(
            (&task["state"], &task["status"], &task["outcome"], &task["webhook"]),
            (&json!("done"), &json!(200), &json!("ok"), &json!(id))
        );
    });
}

#[test]
fn a_failed_delivery_is_tried_again_as_the_same_delivery() {
    let site = Site::with(&["webhook_none"]);
    let receiver = answering(&[Answer::Status(503), Answer::Status(503)]);
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let _serving = site.serve();
    let task = task_of(&site.emit(62, "booking_added", DATA));
    let task = site.wait_for_task(task, "done");
    let requests = receiver.requests();
    let attempts: Vec<_> = requests.iter().map(|request| request.header("webhook-attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    for request in &requests {
        assert_eq!(request.header("webhook-id"), requests[0].header("webhook-id"));
        assert_eq!(request.body, requests[0].body);
        assert_ne!(request.header("webhook-timestamp"), "");
    }
    assert_eq!(of_attempts(&task, "number"), [1, 2, 3]);
    assert_eq!(of_attempts(&task, "outcome"), ["http_5xx", "http_5xx", "ok"]);
    assert_eq!(of_attempts(&task, "status"), [503, 503, 200]);
    assert_eq!(task["attempts"], 3);
}

#[test]
fn a_receiver_that_asks_for_a_wait_gets_it() {
    let timestamp = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let site = Site::with(&["webhook_none"]);
    let first = AtomicBool::new(true);
    let receiver = Receiver::start(move |_| match first.swap(false, Ordering::SeqCst) {
        true => Answer::With(503, "retry-after", "2".into()),
        false => Answer::Status(200),
    });
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let emitted = site.emit_and_wait(62, "booking_added", DATA);
    assert_eq!(emitted.code, 3, "{emitted:?}");
    let emitted = emitted.json();
    assert_eq!(emitted["tasks"][0]["state"], "waiting");
    let task = site.task(task_of(&emitted));
    let (ended, next) = (timestamp(&task["attempt_list"][0]["ended_at"]), timestamp(&emitted["tasks"][0]["next_at"]));
    assert!(next.as_millisecond() - ended.as_millisecond() >= 2000, "{ended} to {next}");
    assert_eq!(timestamp(&task["run_at"]), next);
    let _serving = site.serve();
    drop(receiver.wait_for(2));
    let task = site.wait_for_task(task_of(&emitted), "done");
    assert!(timestamp(&task["attempt_list"][1]["started_at"]) >= next);
}

#[test]
fn a_missing_page_is_tried_again() {
    let site = Site::with(&["webhook_none"]);
    let receiver = answering(&[Answer::Status(404)]);
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let _serving = site.serve();
    let task = site.wait_for_task(task_of(&site.emit(62, "booking_added", DATA)), "done");
    assert_eq!(of_attempts(&task, "outcome"), ["http_4xx", "ok"]);
}

#[test]
fn a_receiver_that_is_gone_is_not_called_again() {
    let site = Site::with(&["webhook_none"]);
    let receiver = answering(&[Answer::Status(410)]);
    let id = site.add_webhook(62, &receiver.url("hook"), "none", &[]).to_string();
    let _serving = site.serve();
    let task = site.wait_for_task(task_of(&site.emit(62, "booking_added", DATA)), "dead");
    assert_eq!(of_attempts(&task, "outcome"), ["gone"]);
    assert!(task["reason"].as_str().unwrap().contains("410"), "{task}");
    wait_until("the webhook is disabled", || site.json(&["webhook", "show", &id])["enabled"] == false);
    let webhook = site.json(&["webhook", "show", &id]);
    assert!(webhook["disabled_reason"].as_str().unwrap().contains("410"), "{webhook}");
    assert!(webhooks_of(&site.emit(62, "booking_added", DATA)).is_empty());
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn a_redirect_is_a_failure_and_is_not_followed() {
    let site = Site::with(&["webhook_none"]);
    let elsewhere = Receiver::friendly();
    let target = elsewhere.url("elsewhere");
    let receiver = Receiver::start(move |_| Answer::With(307, "location", target.clone()));
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let emitted = site.emit_and_wait(62, "booking_added", DATA);
    assert_eq!(emitted.code, 3, "{emitted:?}");
    let task = site.task(task_of(&emitted.json()));
    assert_eq!(of_attempts(&task, "outcome")[0], "http_3xx");
    assert_eq!(of_attempts(&task, "status")[0], 307);
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn a_permanent_error_of_a_plugin_makes_a_dead_letter_at_once() {
    without_and_with_serve(&["fixture_probe"], |site| {
        site.add_webhook(62, "http://127.0.0.1:10/", "probe_permanent", &["--set", "probe_permanent_reason=no way"]);
        let emitted = site.emit_and_wait(62, "booking_added", DATA);
        assert_eq!(emitted.code, 3, "{emitted:?}");
        let emitted = emitted.json();
        assert_eq!(emitted["tasks"][0]["state"], "dead");
        let task = site.task(task_of(&emitted));
        assert_eq!((&task["state"], &task["attempts"]), (&json!("dead"), &json!(1)));
        assert!(task["reason"].as_str().unwrap().contains("no way"), "{task}");
        assert_eq!(of_attempts(&task, "outcome"), ["probe_refused"]);
    });
}

#[test]
fn a_plugin_that_panics_is_reported_with_the_place_and_tried_again() {
    let site = Site::with(&["fixture_probe", "webhook_none"]);
    let receiver = Receiver::friendly();
    site.add_webhook(62, "http://127.0.0.1:10/", "probe_panic", &[]);
    site.add_webhook(63, &receiver.url("hook"), "none", &[]);
    let serving = site.serve();
    let id = task_of(&site.emit(62, "booking_added", DATA));
    wait_until("it has been tried twice", || site.task(id)["attempt_list"].as_array().unwrap().len() >= 2);
    let task = site.task(id);
    assert_eq!(of_attempts(&task, "outcome")[0], "plugin_panic");
    let detail = task["attempt_list"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("probe panics on purpose") && detail.contains("lib.rs:"), "{detail}");
    drop(site.emit_and_wait(63, "booking_added", DATA).ok());
    assert_eq!(receiver.requests().len(), 1);
    assert!(serving.terminate().success());
}

#[test]
fn an_immediate_method_delivers_before_emit_returns() {
    without_and_with_serve(&["fixture_probe"], |site| {
        let receiver = Receiver::friendly();
        let form = ["--set", "probe_now_token=s3cret"];
        let id = site.add_webhook(62, &receiver.url("now"), "probe_now", &form);
        let emitted = site.emit(62, "booking_added", DATA);
        let requests = receiver.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].header("x-probe-token"), "s3cret");
        assert_eq!(requests[0].header("webhook-id"), emitted["event_id"].as_str().unwrap());
        assert_eq!(emitted["tasks"], json!([]));
        let immediate = &emitted["immediate"][0];
        assert_eq!(
            (&immediate["webhook"], &immediate["delivered"], &immediate["status"], &immediate["outcome"]),
            (&json!(id), &json!(true), &json!(200), &json!("ok"))
        );
    });
}

#[test]
fn an_immediate_delivery_that_fails_is_reported_and_not_repeated() {
    let site = Site::with(&["fixture_probe"]);
    let receiver = answering(&[Answer::Status(500)]);
    site.add_webhook(62, &receiver.url("now"), "probe_now", &[]);
    let emitted = site.emit_and_wait(62, "booking_added", DATA);
    assert_eq!(emitted.code, 3, "{emitted:?}");
    let immediate = &emitted.json()["immediate"][0];
    assert_eq!((&immediate["delivered"], &immediate["status"]), (&json!(false), &json!(500)));
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn a_synchronous_handler_delivers_in_the_background() {
    without_and_with_serve(&["fixture_probe"], |site| {
        let receiver = Receiver::friendly();
        site.add_webhook(62, &receiver.url("sync"), "probe_sync", &["--set", "probe_sync_token=s3cret"]);
        let emitted = site.emit_and_wait(62, "booking_added", DATA).ok().json();
        assert_eq!(emitted["tasks"][0]["state"], "done");
        assert_eq!(emitted["immediate"], json!([]));
        assert_eq!(receiver.wait_for(1)[0].header("x-probe-token"), "s3cret");
    });
}

#[test]
fn a_delivery_whose_plugin_is_missing_waits_until_it_comes_back() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::friendly();
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let _serving = site.serve();
    let plugins = || site.json(&["plugin", "list"])["plugins"].as_array().unwrap().len();
    for file in fs::read_dir(site.plugins()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    wait_until("the plugin list is empty", || plugins() == 0);
    let id = task_of(&site.emit(62, "booking_added", DATA));
    let task = site.task(id);
    assert_eq!((&task["state"], &task["attempts"]), (&json!("ready"), &json!(0)));
    assert!(receiver.requests().is_empty());
    site.install("webhook_none");
    drop(receiver.wait_for(1));
    let task = site.wait_for_task(id, "done");
    assert_eq!(of_attempts(&task, "outcome"), ["ok"]);
}

#[test]
fn a_task_whose_schedule_is_used_up_is_dead_and_can_be_retried_by_hand() {
    let site = Site::with(&["webhook_none"]);
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[deferred]\nschedule = [\"0s\", \"10ms\"]\n");
    let healthy = Arc::new(AtomicBool::new(false));
    let receiver = Receiver::start({
        let healthy = Arc::clone(&healthy);
        move |_| Answer::Status(if healthy.load(Ordering::SeqCst) { 200 } else { 500 })
    });
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let _serving = site.serve();
    let id = task_of(&site.emit(62, "booking_added", DATA));
    let task = site.wait_for_task(id, "dead");
    assert_eq!(of_attempts(&task, "status"), [500, 500]);
    assert!(task["reason"].as_str().unwrap().contains("the receiver answered 500"), "{task}");
    healthy.store(true, Ordering::SeqCst);
    drop(site.run(&["task", "retry", &id.to_string()]).ok());
    let task = site.wait_for_task(id, "done");
    assert_eq!(of_attempts(&task, "status"), [500, 500, 200]);
    let requests = receiver.requests();
    assert_eq!(requests[2].body, requests[0].body);
    assert_eq!(requests[2].header("webhook-id"), requests[0].header("webhook-id"));
}

#[test]
fn the_log_tells_the_end_of_every_delivery() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::friendly();
    let webhook = site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let task = task_of(&site.emit_and_wait(62, "booking_added", DATA).ok().json());
    let records = site.json(&["log", "show", "Webhooks", "--search", "delivered", "--level", "info"]);
    assert_eq!(records.as_array().unwrap().len(), 1, "{records}");
    assert_eq!(records[0]["level"], "info");
    let message = records[0]["message"].as_str().unwrap();
    let fields = [
        format!("webhook={webhook}"),
        "event=booking_added".into(),
        "status=200".into(),
        "attempt=1".into(),
        "duration_ms=".into(),
        format!("task={task}"),
    ];
    for field in fields {
        assert!(message.contains(&field), "`{field}` is not in `{message}`");
    }
}
