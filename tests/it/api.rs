//! The HTTP API, as a client sees it.

mod administration;
mod document;
mod examples;
mod fuzz;
mod health;
mod journey;
mod roles;

use serde_json::{Value, json};
use switchboard_tests::{Client, Receiver, Serving, Site, nobody, wait_until};

/// A running server with the plugin `webhook_none` and a client that may do everything.
fn served(plugins: &[&str]) -> (Site, Serving, Client) {
    let site = Site::with(plugins);
    let serving = site.serve();
    let client = Client::with_token(&site, &serving.address, "administrator", None);
    (site, serving, client)
}

#[track_caller]
fn add_webhook(client: &Client, owner: i64, url: &str) -> i64 {
    let webhook = json!({ "owner": owner, "url": url, "method": "none" });
    client.post("/webhooks", &webhook).is(201).json()["id"].as_i64().unwrap()
}

fn wait_until_done(client: &Client, task: &Value) {
    let path = format!("/tasks/{task}");
    wait_until("the task is done", || client.get(&path).json()["task"]["state"] == "done");
}

#[test]
fn an_event_announced_again_under_its_key_is_the_first_one() {
    let receiver = Receiver::friendly();
    let (_site, _serving, client) = served(&["webhook_none"]);
    add_webhook(&client, 62, &receiver.url("/hook"));
    let event = json!({ "event": "booking_added", "owner": 62, "data": { "contract_uid": 41 } });
    let send = |event: &Value, key: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        client.send("POST", "/api/v1/events", &headers, event.to_string().as_bytes())
    };
    let first = send(&event, "booking-41").is(201).json();
    assert_eq!((&first["known"], first["tasks"].as_array().unwrap().len()), (&json!(false), 1));
    wait_until_done(&client, &first["tasks"][0]["task"]);
    let again = send(&event, "\"booking-41\"").is(201).json();
    assert_eq!((&again["id"], &again["known"], &again["tasks"]), (&first["id"], &json!(true), &first["tasks"]));
    let other = json!({ "event": "booking_added", "owner": 62, "data": { "contract_uid": 42 } });
    send(&other, "booking-41").is_problem(422, "key_taken");
    send(&other, "with blank").is_problem(422, "invalid_key");
    let shown = client.get(&format!("/events/{}", first["id"].as_str().unwrap())).is(200).json();
    assert_eq!((&shown["event"], &shown["tasks"][0]["state"]), (&json!("booking_added"), &json!("done")));
    assert_eq!(receiver.wait_for(1).len(), 1);
}

#[test]
fn many_events_are_accepted_in_one_commit_or_none() {
    let (site, _serving, client) = served(&["webhook_none"]);
    // Nobody answers there, so that the bodies of the events stay.
    add_webhook(&client, 0, &nobody("hook"));
    let event = |contract: u32| json!({ "event": "booking_added", "owner": 62, "data": { "contract_uid": contract } });
    let accepted = client.post("/events/batch", &json!({ "events": [event(1), event(2), event(3)] })).is(201).json();
    assert_eq!(accepted["events"].as_array().unwrap().len(), 3);
    let count = || site.json(&["task", "list"]).as_array().unwrap().len();
    assert_eq!(count(), 3);
    let wrong = json!({ "event": "no name", "owner": 62 });
    let refused = client.post("/events/batch", &json!({ "events": [event(4), wrong] }));
    refused.is_problem(422, "invalid_event");
    assert!(refused.json()["detail"].as_str().unwrap().contains("Event 1 of 2"), "{refused:?}");
    client.post("/events/batch", &json!({ "events": [] })).is_problem(422, "invalid_body");
    assert_eq!(count(), 3);
    // Numbers stay as they are written.
    let precise = br#"{"event":"booking_added","owner":62,"data":{"price":12345678901234567890123.10}}"#;
    let sent = client.send("POST", "/api/v1/events", &[("content-type", "application/json")], precise).is(201).json();
    let shown = client.get(&format!("/events/{}", sent["id"].as_str().unwrap())).json();
    assert!(shown["body"].as_str().unwrap().contains("12345678901234567890123.10"), "{shown}");
}

#[test]
fn a_list_is_read_to_its_end_in_pages() {
    let receiver = Receiver::friendly();
    let (_site, _serving, client) = served(&["webhook_none"]);
    add_webhook(&client, 62, &receiver.url("/hook"));
    let events: Vec<Value> =
        (0..7).map(|n| json!({ "event": "booking_added", "owner": 62, "data": { "n": n } })).collect();
    client.post("/events/batch", &json!({ "events": events })).is(201);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/tasks?limit=3{cursor}")).is(200).json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|task| task["id"].as_i64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let mut expected = seen.clone();
    expected.sort_unstable_by(|left, right| right.cmp(left));
    expected.dedup();
    assert_eq!((seen.len(), &seen), (7, &expected), "the newest first, each once");
    for query in ["limit=0", "limit=501", "limit=x", "cursor=7", "state=odd", "since=yesterday", "nonsense=1"] {
        client.get(&format!("/tasks?{query}")).is_problem(400, "invalid_query");
    }
}

#[test]
fn what_cannot_be_read_is_a_problem_that_says_why() {
    let (_site, _serving, client) = served(&[]);
    let json = [("content-type", "application/json")];
    let post = |headers: &[(&str, &str)], body: &[u8]| client.send("POST", "/api/v1/events", headers, body);
    post(&json, b"{").is_problem(400, "invalid_json");
    post(&json, b"\xff").is_problem(400, "invalid_json");
    post(&json, b"{}").is_problem(422, "invalid_body");
    post(&json, br#"{"event":"a","unknown":1}"#).is_problem(422, "invalid_body");
    post(&json, br#"{"event":"a","data":[1]}"#).is_problem(422, "invalid_event");
    post(&[("content-type", "text/plain")], br#"{"event":"a"}"#).is_problem(415, "no_json");
    post(&json, &vec![b' '; 5 << 20]).is_problem(413, "too_large");
    let large = json!({ "event": "a", "data": { "x": "x".repeat(300 << 10) } });
    client.post("/events", &large).is_problem(413, "too_large");
    client.call("DELETE", "/events", None).is_problem(405, "wrong_method");
    client.get("/nothing").is_problem(404, "no_route");
    client.get("/tasks/4711").is_problem(404, "not_found");
    let webhook = json!({ "url": "gopher://example.com", "method": "none" });
    client.post("/webhooks", &webhook).is(422);
}

#[test]
fn who_calls_too_often_is_told_when_to_call_again() {
    let site = Site::new();
    site.settings("[http]\napi_calls_per_second = 5\n");
    let serving = site.serve();
    let client = Client::with_token(&site, &serving.address, "administrator", None);
    let answers: Vec<_> = (0..40).map(|_| client.get("/event-names")).collect();
    assert_eq!(answers[0].status, 200);
    let refused = answers.iter().find(|answer| answer.status == 429).expect("40 calls at once are too many");
    refused.is_problem(429, "too_many_calls");
    assert_eq!(refused.header("retry-after"), "1");
    let other = Client::with_token(&site, &serving.address, "read-only", None);
    assert_eq!(other.get("/event-names").status, 200);
}

#[test]
fn every_change_is_in_the_audit_log() {
    let (site, _serving, client) = served(&["webhook_none"]);
    let id = add_webhook(&client, 62, "https://example.com/hook");
    client.post(&format!("/webhooks/{id}/disable"), &json!({})).is(200);
    client.post(&format!("/webhooks/{id}/enable"), &json!({})).is(200);
    client.post("/plugins/rescan", &json!({})).is(200);
    client.call("DELETE", &format!("/webhooks/{id}"), None).is(204);
    let entries = site.json(&["audit"]);
    let made: Vec<_> = entries.as_array().unwrap().iter().filter(|entry| entry["via"] == "api").collect();
    let actions: Vec<_> = made.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["webhook.remove", "plugin.rescan", "webhook.enable", "webhook.disable", "webhook.add"]);
    assert!(made.iter().all(|entry| entry["who"] == "token:administrator-all"), "{made:?}");
}

#[test]
fn a_change_says_which_version_of_a_webhook_it_is_for() {
    let (_site, _serving, client) = served(&["webhook_none"]);
    let id = add_webhook(&client, 62, "https://example.com/hook");
    let path = format!("/webhooks/{id}");
    let version = || client.get(&path).is(200).json()["version"].to_string();
    let seen = version();
    let name = json!({ "name": "Mirror" });
    client.call("PATCH", &format!("{path}?if_version={seen}"), Some(&name)).is(200);
    assert_ne!(version(), seen);
    client.call("PATCH", &format!("{path}?if_version={seen}"), Some(&name)).is_problem(409, "changed_meanwhile");
    for action in ["enable", "disable"] {
        client.post(&format!("{path}/{action}?if_version={seen}"), &json!({})).is_problem(409, "changed_meanwhile");
        client.post(&format!("{path}/{action}?if_version={}", version()), &json!({})).is(200);
    }
    client.call("DELETE", &format!("{path}?if_version={seen}"), None).is_problem(409, "changed_meanwhile");
    client.call("DELETE", &format!("{path}?if_version={}", version()), None).is(204);
}

#[test]
fn a_webhook_is_changed_field_by_field_and_says_what_is_wrong_with_which() {
    let (_site, _serving, client) = served(&["webhook_basic"]);
    let settings = json!({ "basic_username": "ada", "basic_password": "secret" });
    let webhook = json!({ "owner": 62, "url": "https://example.com/in", "method": "basic", "settings": settings });
    let added = client.post("/webhooks", &webhook).is(201).json();
    let path = format!("/webhooks/{}", added["id"]);
    let change = json!({ "name": "Mirror", "events": ["booking_*"], "options": { "cap": 2, "timeout_ms": 5000 } });
    let changed = client.call("PATCH", &path, Some(&change)).is(200).json();
    assert_eq!(
        (&changed["name"], &changed["options"]["cap"], &changed["url"]),
        (&json!("Mirror"), &json!(2), &added["url"])
    );
    assert_eq!(changed["settings"], json!({ "basic_username": "ada", "basic_password": "********" }));
    let change = json!({ "options": { "cap": 0 } });
    client.call("PATCH", &path, Some(&change)).is_problem(422, "invalid_body");
    let moved = client.call("PATCH", &path, Some(&json!({ "url": "https://example.org/in" })));
    moved.is_problem(422, "invalid_webhook");
    assert_eq!(moved.json()["errors"][0]["field"], "settings.basic_password", "a secret does not move: {moved:?}");
    let change = json!({ "url": "gopher://example.com", "settings": { "basic_username": "a:b" } });
    let refused = client.call("PATCH", &path, Some(&change));
    refused.is_problem(422, "invalid_webhook");
    assert!(refused.json()["errors"].as_array().unwrap().iter().any(|error| error["field"] == "url"), "{refused:?}");
    client.call("PATCH", &path, Some(&json!({ "colour": 1 }))).is_problem(422, "invalid_body");
    client.post("/webhooks", &json!({ "url": "https://example.com" })).is_problem(422, "invalid_body");
}
