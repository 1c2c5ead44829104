//! The commands about tasks and keys, a plugin that comes late, a second signal, and a clock that jumps.

use std::fs;

use serde_json::{Value, json};
use switchboard::{DeferOptions, Switchboard, TriggerNumber, WorkOn};
use switchboard_tests::{Answer, PATIENCE, Receiver, Site, task_of, wait_until};

fn id_of(task: &Value) -> String {
    task["id"].as_i64().unwrap().to_string()
}

fn rows(value: &Value) -> usize {
    value.as_array().unwrap().len()
}

#[test]
fn a_task_is_deferred_with_every_option_and_shown_with_them() {
    let site = Site::with(&["fixture_probe"]);
    let options = [
        "--payload",
        r#"{"a": 1}"#,
        "--key",
        "guest:7",
        "--after",
        "1h",
        "--priority",
        "high",
        "--ordered",
        "--unique",
        "letter",
        "--window",
        "1m",
        "--schedule",
        "0s,9s",
        "--timeout",
        "2s",
    ];
    let command = [&["task", "defer", "21007", "sync"], &options[..]].concat();
    let task = site.json(&command);
    assert_eq!((&task["state"], &task["known"], &task["number"]), (&json!("waiting"), &json!(false), &json!("21007")));
    let again = site.json(&command);
    assert_eq!((&again["id"], &again["known"]), (&task["id"], &json!(true)));
    let shown = site.json(&["task", "show", &id_of(&task)]);
    for (field, value) in [
        ("key", json!("guest:7")),
        ("priority", json!("high")),
        ("ordered", json!(true)),
        ("unique", json!("letter")),
        ("schedule_ms", json!([0, 9_000])),
        ("timeout_ms", json!(2_000)),
        ("payload", json!(r#"{"a": 1}"#)),
        ("waits_for", json!(null)),
    ] {
        assert_eq!(shown[field], value, "{field} of {shown}");
    }
    // A plugin's options are the same, and its keys are its own.
    let by_plugin = site.json(&["trigger", "06000", "put_off", "--payload", "{}"])["last"]["data"].to_string();
    let shown = site.json(&["task", "show", &by_plugin]);
    assert_eq!((&shown["key"], &shown["unique"]), (&json!("plugin:probe:guest:7"), &json!("plugin:probe:letter")));
    assert_eq!((&shown["priority"], &shown["ordered"]), (&json!("high"), &json!(true)));
    assert_eq!((&shown["schedule_ms"], &shown["timeout_ms"]), (&json!([0, 9_000]), &json!(2_000)));
    assert_eq!(shown["state"], "waiting");
}

#[test]
fn what_cannot_be_deferred_is_refused_with_what_is_needed() {
    let site = Site::new();
    let refused = |more: &[&str], texts: &[&str]| {
        site.run(&[&["task", "defer", "21007", "sync"], more].concat()).refused(2, texts);
    };
    refused(&["--payload", "{"], &["`--payload` is no JSON"]);
    refused(&["--priority", "urgent"], &["`--priority urgent` is no priority: it is `low`, `normal` or `high`"]);
    refused(&["--after", "soon"], &["--after: `soon` is not a duration"]);
    refused(&["--at", "tomorrow"], &["`--at tomorrow` is no moment"]);
    refused(&["--schedule", "8d"], &["longer than 7 days"]);
    refused(&["--timeout", "25h"], &["between 1 ms and 24 h"]);
    refused(&["--key", ""], &["the key ``", "1 to 200 bytes"]);
    site.run(&["task", "defer", "7", "x", "--payload", "@/nowhere/at/all"]).refused(1, &["/nowhere/at/all"]);
    site.run(&["task", "defer", "x", "sync"]).refused(2, &["`x` is not a trigger number"]);
    assert_eq!(rows(&site.json(&["task", "list"])), 0);
}

#[test]
fn tasks_are_listed_by_every_filter_counted_and_cancelled() {
    let site = Site::new();
    let defer = |name: &str, key: &str, more: &[&str]| {
        site.json(&[&["task", "defer", "21500", name, "--key", key], more].concat())
    };
    let first = defer("a", "one", &[]);
    let second = defer("a", "two", &[]);
    let third = defer("b", "two", &["--after", "1h"]);
    let list = |more: &[&str]| -> String {
        let listed = site.json(&[&["task", "list"], more].concat());
        listed.as_array().unwrap().iter().map(id_of).collect::<Vec<_>>().join(" ")
    };
    let [one, two, three] = [&first, &second, &third].map(id_of);
    assert_eq!(list(&["--key", "two"]), format!("{two} {three}"));
    assert_eq!(list(&["--name", "b"]), three);
    assert_eq!(list(&["--state", "waiting", "--number", "21500"]), three);
    assert!(list(&["--number", "21501"]).is_empty() && list(&["--event", "msg_none"]).is_empty());
    assert_eq!(list(&["--newest-first", "--limit", "2"]), format!("{three} {two}"));
    assert_eq!(list(&["--newest-first", "--after", &two]), one);
    assert!(list(&["--until", "1h"]).is_empty());
    assert_eq!(list(&["--since", "1h", "--limit", "1"]), one);
    site.run(&["task", "list", "--since", "yesterday"]).refused(2, &["`--since yesterday` is no moment"]);
    let cancelled = site.json(&["task", "cancel", &three]);
    assert_eq!((&cancelled["state"], &cancelled["reason"]), (&json!("dead"), &json!("cancelled")));
    site.run(&["task", "cancel", &three]).refused(1, &[&format!("task {three} is dead")]);
    site.run(&["task", "cancel", "999"]).refused(4, &["there is no task 999"]);
    assert_eq!(list(&["--reason", "cancel"]), three);
    let counts = site.json(&["task", "list", "--count"]);
    assert_eq!(counts, json!({ "ready": 2, "running": 0, "waiting": 0, "done": 0, "dead": 1, "total": 3 }));
    let counts = site.json(&["task", "list", "--count", "--key", "two", "--state", "dead"]);
    assert_eq!(counts, json!({ "dead": 1, "total": 1 }));
    // Nobody has the handler, which is said wherever the task is.
    let why = "no plugin has the handler 21500 `a`";
    assert_eq!(site.json(&["task", "show", &one])["waits_for"], why);
    assert!(site.run(&["task", "list"]).ok().stdout.contains(why));
}

#[test]
fn what_is_set_for_a_key_is_kept_listed_and_cleared() {
    let site = Site::new();
    let set = |more: &[&str]| site.json(&[&["task", "key", "set", "webhook:7"], more].concat())["policy"].clone();
    let rate = json!({ "starts": 10, "per_ms": 60_000 });
    assert_eq!(set(&["--rate", "10/1m"]), json!({ "cap": null, "rate": rate, "paused": false }));
    assert_eq!(set(&["--cap", "2", "--pause"]), json!({ "cap": 2, "rate": rate, "paused": true }));
    let serving = site.serve();
    let keys = site.json(&["task", "key", "list"]);
    assert_eq!((&keys[0]["key"], &keys[0]["policy"]["paused"]), (&json!("webhook:7"), &json!(true)));
    assert_eq!(
        (&keys[0]["breaker"], &keys[0]["held_until"], &keys[0]["queued"]),
        (&json!("closed"), &json!(null), &json!(0))
    );
    assert!(site.run(&["task", "key", "list"]).ok().stdout.contains("2 at once, 10 in 1m, paused"));
    assert_eq!(set(&["--resume"])["paused"], false);
    drop(site.json(&["task", "key", "clear", "webhook:7"]));
    assert_eq!(rows(&site.json(&["task", "key", "list"])), 0);
    drop(serving);
    site.run(&["task", "key", "set", "k", "--rate", "often"]).refused(2, &["`--rate often` is no rate", "10/1m"]);
    site.run(&["task", "key", "set", "k", "--rate", "1/2d"]).refused(2, &["1 ms to 24 h"]);
    site.run(&["task", "key", "set", "", "--cap", "1"]).refused(2, &["the key ``"]);
}

#[test]
fn a_breaker_is_seen_from_outside_and_the_other_webhook_goes_on() {
    let site = Site::with(&["webhook_none"]);
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[deferred]\nschedule = [\"0s\", \"1h\"]\nper_webhook = 1\n");
    let (sick, well) = (Receiver::start(|_| Answer::Status(500)), Receiver::friendly());
    let webhook = site.add_webhook(62, &sick.url("hook"), "none", &[]);
    site.add_webhook(63, &well.url("hook"), "none", &[]);
    let _serving = site.serve();
    let tasks: Vec<i64> = (0..7).map(|_| task_of(&site.emit(62, "booking_added", "{}"))).collect();
    let key = || {
        let keys = site.json(&["task", "key", "list"]);
        keys.as_array().unwrap().iter().find(|key| key["key"] == format!("webhook:{webhook}")).unwrap().clone()
    };
    wait_until("its breaker is open", || key()["breaker"] == "open");
    let state = key();
    assert_eq!((&state["failures"], &state["queued"], &state["waiting"]), (&json!(5), &json!(2), &json!(5)));
    assert!(state["held_until"].is_string(), "{state}");
    assert_eq!(site.emit_and_wait(63, "booking_added", "{}").ok().json()["tasks"][0]["state"], "done");
    assert_eq!((sick.requests().len(), site.task(tasks[6])["attempts"].clone()), (5, json!(0)));
    assert!(site.run(&["task", "key", "list"]).ok().stdout.contains("open after 5 failures"));
}

#[test]
fn a_receiver_that_asks_for_time_is_left_alone_by_every_task() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::start(|_| Answer::With(429, "retry-after", "3600".into()));
    let webhook = site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let _serving = site.serve();
    let first = task_of(&site.emit(62, "booking_added", "{}"));
    drop(site.wait_for_task(first, "waiting"));
    let second = task_of(&site.emit(62, "booking_added", "{}"));
    let keys = site.json(&["task", "key", "list"]);
    let key = keys.as_array().unwrap().iter().find(|key| key["key"] == format!("webhook:{webhook}")).unwrap();
    assert_eq!((&key["one_at_a_time"], &key["breaker"]), (&json!(true), &json!("closed")));
    assert!(key["held_until"].is_string(), "{key}");
    assert_eq!((site.task(second)["attempts"].clone(), receiver.requests().len()), (json!(0), 1));
}

#[test]
fn tasks_of_a_missing_handler_are_flagged_kept_and_run_when_the_plugin_comes() {
    let site = Site::with(&["webhook_none"]);
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[deferred]\nwindow = 64\n");
    // More than fit into memory.
    let host = Switchboard::builder(site.path()).work_on(WorkOn::Nothing).watch(false).open().unwrap();
    for _ in 0..80 {
        host.defer(TriggerNumber::new(21_007), "sync", "{}", DeferOptions::default()).unwrap();
    }
    drop(host);
    let serving = site.serve();
    let present = site.json(&["task", "defer", "21007", "sync", "--key", "other"]);
    let receiver = Receiver::friendly();
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    assert_eq!(site.emit_and_wait(62, "booking_added", "{}").ok().json()["tasks"][0]["state"], "done");
    assert_eq!(site.json(&["task", "show", &id_of(&present)])["waits_for"], "no plugin has the handler 21007 `sync`");
    let counts = || site.json(&["task", "list", "--count", "--number", "21007"]);
    assert_eq!((&counts()["ready"], &counts()["total"]), (&json!(81), &json!(81)));
    site.install("fixture_probe");
    wait_until("all of them have run", || counts()["done"] == 81);
    // A handler that is suspended is a missing one too.
    site.settings("[plugins]\nsuspend_after_panics = 1\n");
    assert!(serving.terminate().success());
    let _serving = site.serve();
    let panics = site.json(&["task", "defer", "21007", "sync", "--payload", r#"{"panic": true}"#]);
    wait_until("it is suspended", || site.json(&["task", "show", &id_of(&panics)])["waits_for"].is_string());
    let why = site.json(&["task", "show", &id_of(&panics)])["waits_for"].clone();
    assert!(why.as_str().unwrap().contains("is suspended") && why.as_str().unwrap().contains("plugin resume"), "{why}");
}

#[test]
fn a_delivery_is_replayed_although_its_webhook_is_disabled() {
    let site = Site::with(&["webhook_none"]);
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[log]\nmode = \"development\"\n");
    let receiver = Receiver::friendly();
    let webhook = site.add_webhook(62, &receiver.url("hook"), "none", &[]).to_string();
    let _serving = site.serve();
    let id = task_of(&site.emit(62, "booking_added", r#"{"property_uid":7}"#));
    drop(site.wait_for_task(id, "done"));
    drop(site.json(&["webhook", "disable", &webhook]));
    let replay = site.json(&["task", "replay", &id.to_string(), "--by", "ada"]);
    let done = site.wait_for_task(replay["id"].as_i64().unwrap(), "done");
    assert_eq!(done["replay_of"], id);
    let requests = receiver.requests();
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    let log = site.log("Deferred");
    assert!(log.contains("a task is replayed") && log.contains("by=ada"), "{log}");
    site.run(&["task", "replay", "999"]).refused(4, &["there is no task 999"]);
}

#[cfg(unix)]
#[test]
fn a_second_signal_stops_serve_at_once() {
    let site = Site::with(&["webhook_none"]);
    let settings = "[egress]\nallow = [\"127.0.0.0/8\"]\n[deferred]\ntimeout = \"60s\"\ngrace = \"10m\"\n";
    site.settings(settings);
    let receiver = Receiver::start(|_| Answer::Late(10 * PATIENCE, 200));
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let serving = site.serve();
    let id = task_of(&site.emit(62, "booking_added", "{}"));
    drop(receiver.wait_for(1));
    serving.signal("TERM");
    wait_until("it no longer listens", || std::net::TcpStream::connect(&serving.address).is_err());
    // By SIGINT or by SIGTERM: a second one is a second one. It would wait ten minutes for the delivery.
    serving.signal("INT");
    assert_eq!(serving.wait().code(), Some(1));
    let _serving = site.serve();
    let task = site.json(&["task", "show", &id.to_string()]);
    assert_eq!((&task["attempt_list"][0]["outcome"], &task["crashes"]), (&json!("unknown"), &json!(1)));
}

/// Where the library lies that shows a process another time.
#[cfg(target_os = "linux")]
fn faketime() -> Option<&'static str> {
    let places = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib64/faketime/libfaketimeMT.so.1",
    ];
    places.into_iter().find(|place| fs::exists(place).unwrap_or(false))
}

#[cfg(target_os = "linux")]
#[test]
fn a_wall_clock_that_jumps_an_hour_causes_neither_a_burst_nor_a_stall() {
    let Some(library) = faketime() else {
        let required = "SWITCHBOARD_TEST_CLOCK_REQUIRED";
        assert!(!switchboard_tests::is_required(required), "{required} is set, and libfaketime is not installed");
        return switchboard_tests::say_skipped("libfaketime is not installed: no clock jumps");
    };
    let site = Site::with(&["fixture_probe"]);
    let clock = site.path().join("clock");
    // Whole before it is there: it is read at any time.
    let jump = |offset: &str| {
        fs::write(site.path().join("clock.part"), offset).unwrap();
        fs::rename(site.path().join("clock.part"), &clock).unwrap();
    };
    for offset in ["+3600", "-3600"] {
        jump("+0");
        let serving = site.serve_with(|command| {
            command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &clock).env("FAKETIME_NO_CACHE", "1");
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        });
        let defer =
            |after: &str| site.json(&["task", "defer", "21007", "sync", "--after", after])["id"].as_i64().unwrap();
        let (before, far) = (defer("3s"), defer("20m"));
        jump(offset);
        // What is new runs, at once and after a moment; what had to wait a moment does; what is far stays far.
        let (now, soon) = (defer("0s"), defer("1s"));
        for task in [now, soon, before] {
            drop(site.wait_for_task(task, "done"));
        }
        site.wait_for_log("Deferred", "the system's clock jumped");
        assert_eq!(site.task(far)["state"], "waiting", "after {offset}");
        let retried = site.json(&["task", "retry", &far.to_string()]);
        assert_eq!(retried["id"], far);
        drop(site.wait_for_task(far, "done"));
        assert!(serving.terminate().success());
        fs::remove_file(site.path().join("logs/Deferred.application.log")).unwrap();
    }
}

#[test]
fn a_replay_with_a_trace_runs_in_the_foreground_and_shows_every_step() {
    let site = Site::with(&["webhook_basic", "fixture_waits"]);
    site.settings(
        "[egress]\nallow = [\"127.0.0.0/8\"]\n[log]\nmode = \"development\"\n[deferred]\nschedule = [\"0s\"]\n",
    );
    let sick = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let fails = std::sync::Arc::clone(&sick);
    let receiver = Receiver::start(move |_| match fails.load(std::sync::atomic::Ordering::SeqCst) {
        true => Answer::Status(500),
        false => Answer::Body(200, "thank you".into()),
    });
    let secret = ["--set", "basic_username=ada", "--set", "basic_password=open-sesame"];
    site.add_webhook(62, &receiver.url("hook"), "basic", &secret);
    let serving = site.serve();
    let id = task_of(&site.emit(62, "booking_added", r#"{"property_uid":7}"#)).to_string();
    drop(site.wait_for_task(id.parse().unwrap(), "done"));
    let traced = site.json(&["task", "replay", &id, "--trace", "--by", "ada"]);
    assert_eq!((&traced["task"]["state"], &traced["task"]["replay_of"].to_string()), (&json!("done"), &id));
    let attempt = &traced["attempt"];
    assert_eq!(
        (&attempt["outcome"], &attempt["mode"], &attempt["status"]),
        (&json!("ok"), &json!("replay"), &json!(200))
    );
    let exchange = &attempt["exchanges"][0];
    assert_eq!(exchange["response"], "thank you");
    assert!(
        exchange["remote"].as_str().unwrap().starts_with("127.0.0.1:") && exchange["total_ms"].is_f64(),
        "{traced}"
    );
    let line = traced["lines"].as_array().unwrap().iter().find(|line| line["channel"] == "Webhooks").unwrap();
    assert!(line["line"].as_str().unwrap().contains("delivered"), "{traced}");
    assert!(!traced.to_string().contains("open-sesame"));
    let requests = receiver.requests();
    assert_eq!((requests.len(), requests[0].body == requests[1].body), (2, true));

    // A failure is one of the command as well, and neither is tried again. Without a host it is the same.
    sick.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(serving.terminate().success());
    let shown = site.run(&["task", "replay", &id, "--trace"]);
    assert_eq!(shown.code, 1, "{shown:?}");
    for step in
        ["07320 `basic` of webhook_basic", "> POST http://127.0.0.1", "> authorization: ", "* connected to 127.0.0.1"]
    {
        assert!(shown.stdout.contains(step), "`{step}` is not in {shown:?}");
    }
    assert!(shown.stdout.contains("< 500") && shown.stdout.contains("Webhooks: "), "{shown:?}");
    assert_eq!(receiver.requests().len(), 3);

    // Any handler will do, in a thread or on the runtime; what it logs is shown.
    let _serving = site.serve();
    for (name, line) in [("timer", "the handler waits"), ("blocking", "the thread waits")] {
        let task = site.json(&["task", "defer", "21020", name, "--payload", "5"])["id"].to_string();
        drop(site.wait_for_task(task.parse().unwrap(), "done"));
        let shown = site.run(&["task", "replay", &task, "--trace"]).ok().stdout;
        assert!(shown.contains(&format!("21020 `{name}` of waits")) && shown.contains(line), "{shown}");
    }
    let gone = site.json(&["task", "defer", "21500", "nobody"])["id"].to_string();
    site.run(&["task", "replay", &gone, "--trace"]).refused(1, &["only a task that is done or dead"]);
    drop(site.json(&["task", "cancel", &gone]));
    site.run(&["task", "replay", &gone, "--trace"]).refused(1, &["21500 `nobody` cannot be called"]);
}
