//! What a plugin can ask of the host: kept values, deferred tasks, events, settings.

use std::fs;

use serde_json::json;
use switchboard_tests::{Receiver, Site, wait_until};

fn keep(site: &Site, payload: &str) -> serde_json::Value {
    site.json(&["trigger", "06000", "keep", "--payload", payload])["last"]["data"].clone()
}

#[test]
fn a_kept_value_is_there_in_the_next_process_and_expires() {
    let site = Site::with(&["fixture_inside"]);
    assert_eq!(keep(&site, r#"{"value": {"token": 1}}"#), json!({ "token": 1 }));
    assert_eq!(keep(&site, "{}"), json!({ "token": 1 }));
    assert_eq!(keep(&site, r#"{"value": null}"#), json!(null));
    assert_eq!(keep(&site, "{}"), json!(null));
    assert_eq!(keep(&site, r#"{"value": 2, "ms": 3600000}"#), json!(2));
    let _ = keep(&site, r#"{"value": 3, "ms": 1}"#);
    wait_until("the value has expired", || keep(&site, "{}").is_null());
}

#[test]
fn a_value_or_a_key_that_is_too_large_is_refused() {
    let site = Site::with(&["fixture_inside"]);
    let large = format!(r#"{{"value": "{}"}}"#, "x".repeat(65_536));
    let refused = site.run_with_input(&["trigger", "06000", "keep", "--payload", "-"], &large);
    assert!(refused.code == 1 && refused.stdout.contains("at most 65536 bytes"), "{refused:?}");
    let long = format!(r#"{{"key": "{}", "value": 1}}"#, "k".repeat(201));
    assert!(site.run(&["trigger", "06000", "keep", "--payload", &long]).stdout.contains("at most 200 bytes"));
}

#[test]
fn a_handler_can_put_work_off() {
    let site = Site::with(&["fixture_inside"]);
    let file = site.path().join("file");
    let payload = json!({ "path": file }).to_string();
    let id = site.json(&["trigger", "06000", "later", "--payload", &payload])["last"]["data"].as_i64().unwrap();
    assert_eq!(site.task(id)["state"], "ready");
    assert!(!file.exists());
    let _serving = site.serve();
    let task = site.wait_for_task(id, "done");
    assert_eq!((&task["number"], &task["name"]), (&json!("21010"), &json!("write_file")));
    assert_eq!(fs::read_to_string(&file).unwrap(), "written");
    // Due later than this test.
    let payload = json!({ "path": site.path().join("other"), "ms": 3_600_000 }).to_string();
    let id = site.json(&["trigger", "06000", "later", "--payload", &payload])["last"]["data"].as_i64().unwrap();
    assert_eq!(site.task(id)["state"], "waiting");
    assert_eq!(site.task(id)["attempts"], 0);
}

#[test]
fn an_event_that_a_handler_announces_is_delivered() {
    let site = Site::with(&["fixture_inside", "webhook_none"]);
    let receiver = Receiver::friendly();
    site.add_webhook(0, &receiver.url("hook"), "none", &[]);
    let _serving = site.serve();
    let payload = r#"{"event": "tariffs_updated", "data": {"property_uid": 7}}"#;
    let id = site.json(&["trigger", "06000", "announce", "--payload", payload])["last"]["text"].clone();
    let request = &receiver.wait_for(1)[0];
    assert_eq!(request.header("webhook-id"), id);
    assert_eq!(request.json(), json!({ "data": { "property_uid": 7, "task": "tariffs_updated" } }));
    let refused = site.run(&["trigger", "06000", "announce", "--payload", r#"{"data": [1]}"#]);
    assert!(refused.code == 1 && refused.stdout.contains("no JSON object"), "{refused:?}");
}

#[test]
fn events_that_cause_one_another_come_to_an_end() {
    let site = Site::with(&["fixture_inside"]);
    let receiver = Receiver::friendly();
    site.add_webhook(0, &receiver.url("hook"), "inside_echo", &[]);
    let _serving = site.serve();
    let _ = site.emit(0, "booking_added", "{}");
    wait_until("the chain has ended", || {
        !site.json(&["task", "list", "--state", "dead"]).as_array().unwrap().is_empty()
    });
    let events: Vec<_> = receiver.requests().iter().map(|request| request.header("webhook-event").to_owned()).collect();
    assert_eq!(events, ["booking_added", "answered", "answered", "answered"]);
    let dead = site.json(&["task", "list", "--state", "dead"]);
    assert!(dead[0]["reason"].as_str().unwrap().contains("chain of causes"), "{dead}");
    let done = site.json(&["task", "list", "--state", "done"]);
    let mut done: Vec<i64> = done.as_array().unwrap().iter().map(|task| task["id"].as_i64().unwrap()).collect();
    done.sort_unstable();
    assert_eq!(done.len(), 3);
    let causes: Vec<_> = receiver.requests().iter().map(|request| request.header("x-cause").to_owned()).collect();
    assert_eq!(causes, [&["null".to_owned()], &*done.iter().map(i64::to_string).collect::<Vec<_>>()].concat());
    let queued: Vec<i64> =
        receiver.requests().iter().map(|request| request.header("x-queued-at").parse().unwrap()).collect();
    assert!(queued.is_sorted() && queued[0] > 1_700_000_000_000, "{queued:?}");
}

#[test]
fn a_plugin_has_settings_of_its_own_and_says_which_one_cannot_be_read() {
    let site = Site::with(&["fixture_inside"]);
    let limit = || site.run(&["--json", "trigger", "06000", "limit"]);
    assert_eq!(limit().ok().json()["last"]["data"], json!(null));
    site.settings("[plugins.inside]\nlimit = \"12\"\n");
    assert_eq!(limit().ok().json()["last"]["data"], json!(12));
    site.settings("[plugins.inside]\nlimit = \"many\"\n");
    assert!(limit().stdout.contains("the setting `limit` cannot be read"));
}
