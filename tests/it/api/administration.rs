//! What an administrator does over the API: bulk operations, schedules, plugins, texts, logs, keys, a closer look at deliveries.

use std::fs;

use serde_json::{Value, json};
use switchboard_tests::{Client, Receiver, Site, library, nobody, wait_until};

use super::{add_webhook, served, wait_until_done};

const DEVELOPMENT: &str = "[egress]\nallow = [\"127.0.0.0/8\"]\n[log]\nmode = \"development\"\n";

fn names(rows: &Value, key: &str) -> Vec<String> {
    rows.as_array().unwrap().iter().map(|row| row[key].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_delivery_is_previewed_printed_for_curl_and_made_again_as_sent_and_rebuilt() {
    let receiver = Receiver::friendly();
    let site = Site::with(&["webhook_signed"]);
    site.settings(DEVELOPMENT);
    let serving = site.serve();
    let client = Client::with_token(&site, &serving.address, "administrator", None);
    let settings = json!({ "signed_secret": crate::audit::SECRET });
    let webhook = json!({ "url": receiver.url("hook"), "method": "signed", "settings": settings });
    let webhook = client.post("/webhooks", &webhook).is(201).json()["id"].clone();
    let event = json!({ "event": "booking_added", "data": { "contract_uid": 41 } });
    let task = client.post("/events", &event).is(201).json()["tasks"][0]["task"].clone();
    wait_until_done(&client, &task);

    let preview = client.get("/deliveries/1/preview").is(200).json();
    let request = &preview["requests"][0];
    let sent = receiver.wait_for(1).remove(0);
    assert_eq!(request["body"].as_str().unwrap().as_bytes(), sent.body);
    let id = sent.header("webhook-id");
    let signed = request["signed"].as_str().unwrap();
    assert!(signed.starts_with(&format!("{id}.")) && signed.ends_with(request["body"].as_str().unwrap()), "{signed}");
    for curl in [&request["curl"], &client.get("/deliveries/1/curl").is(200).json()["curl"]] {
        let curl = curl.as_str().unwrap();
        assert!(curl.starts_with("curl ") && curl.contains(&receiver.url("hook")) && curl.contains(id), "{curl}");
        assert!(!curl.contains(crate::audit::SECRET), "{curl}");
    }
    for rebuild in [false, true] {
        let again = client.post("/deliveries/1/replay", &json!({ "rebuild": rebuild })).is(201).json();
        wait_until_done(&client, &again["id"]);
    }
    let test = client.post(&format!("/webhooks/{webhook}/test"), &json!({})).is(201).json();
    assert_eq!(test["event"], "webhook_test");
    let requests = receiver.wait_for(4);
    assert!(requests[..3].iter().all(|request| request.body == sent.body), "a preview sends nothing");
    assert_eq!(requests[3].json()["data"]["webhook"], webhook);
}

#[test]
fn a_bulk_operation_is_counted_first_shows_how_far_it_is_and_goes_on_after_a_restart() {
    let site = Site::with(&["hello"]);
    let client = |address: &str| Client::with_token(&site, address, "operator", None);
    let tasks = json!({ "number": "06000", "state": "waiting" });
    let bulk = {
        let serving = site.serve();
        let client = client(&serving.address);
        for _ in 0..6 {
            let _ = site.run(&["task", "defer", "06000", "hello", "--after", "1h"]).ok();
        }
        let count = client.post("/bulk-operations/count", &json!({ "tasks": tasks })).is(200).json();
        assert_eq!(count["total"], 6);
        let new = |expected: u32| json!({ "action": "cancel", "tasks": tasks, "per_second": 1, "expected": expected });
        client.post("/bulk-operations", &new(5)).is_problem(422, "other_count");
        let bulk = client.post("/bulk-operations", &new(6)).is(201).json();
        assert_eq!((&bulk["total"], &bulk["by"]), (&json!(6), &json!("token:operator-all")));
        let path = format!("/bulk-operations/{}", bulk["id"]);
        assert_eq!(client.post(&format!("{path}/pause"), &json!({})).is(200).json()["state"], "paused");
        bulk["id"].clone()
    };
    let serving = site.serve();
    let client = client(&serving.address);
    let path = format!("/bulk-operations/{bulk}");
    let shown = client.get(&path).is(200).json();
    assert!(shown["state"] == "paused" && shown["seen"].as_u64().unwrap() < 6, "{shown}");
    client.post(&format!("{path}/resume"), &json!({})).is(200);
    wait_until("the operation is done", || client.get(&path).json()["state"] == "done");
    let done = client.get(&path).json();
    assert_eq!((&done["seen"], &done["changed"]), (&json!(6), &json!(6)));
    assert_eq!(client.get("/tasks/counts").is(200).json()["dead"], 6);
    client.post(&format!("{path}/resume"), &json!({})).is_problem(422, "ended");
    client.post("/bulk-operations/4711/stop", &json!({})).is_problem(404, "not_found");
}

#[test]
fn a_schedule_is_set_shown_and_removed() {
    let (_site, _serving, client) = served(&["hello"]);
    let new = json!({
        "when": "every 1s", "number": "06000", "handler": "hello", "payload": { "name": "Ada" }, "priority": "high",
    });
    let set = client.call("PUT", "/schedules/often", Some(&new)).is(200).json();
    assert_eq!(
        (&set["key"], &set["zone"], &set["priority"]),
        (&json!("schedule:often"), &json!("UTC"), &json!("high"))
    );
    wait_until("it has started a task", || client.get("/schedules").json()[0]["last_task"].is_i64());
    let task = client.get("/schedules").json()[0]["last_task"].clone();
    assert_eq!(client.get(&format!("/tasks/{task}")).is(200).json()["task"]["key"], "schedule:often");
    let paused = client.post("/schedules/often/pause", &json!({})).is(200).json();
    assert_eq!((&paused["paused"], &paused["next_at"]), (&json!(true), &Value::Null));
    client.call("DELETE", "/schedules/often", None).is(204);
    assert_eq!(client.get("/schedules").is(200).json(), json!([]));
    for (field, wrong) in [("when", "often"), ("zone", "Moon/Tycho"), ("number", "0"), ("priority", "urgent")] {
        let mut schedule = new.clone();
        schedule["when"] = "30 4 * * *".into();
        schedule[field] = wrong.into();
        assert_eq!(client.call("PUT", "/schedules/x", Some(&schedule)).status, 422, "{field}");
    }
    client.call("PUT", &format!("/schedules/{}", "x".repeat(101)), Some(&new)).is_problem(422, "invalid_schedule");
}

#[test]
fn a_plugin_comes_over_the_api_only_where_that_is_allowed_and_is_tried_out_before() {
    let send = |client: &Client, method: &str, path: &str, bytes: &[u8]| {
        client.send(method, &format!("/api/v1{path}"), &[("content-type", "application/octet-stream")], bytes)
    };
    let rival = fs::read(library("fixture_rival")).unwrap();
    let (site, serving, client) = served(&["hello"]);
    send(&client, "POST", "/plugins", &rival).is_problem(403, "upload_off");
    send(&client, "PUT", "/plugins/hello/library", &rival).is_problem(403, "upload_off");
    drop(serving);
    site.settings("[http]\nplugin_upload = true\n[plugins.dependent]\nstart = \"abort\"\ntoken = \"x\"\n");
    let serving = site.serve();
    let client = Client::with_token(&site, &serving.address, "administrator", None);
    let before: Vec<_> = fs::read_dir(site.plugins()).unwrap().map(|entry| entry.unwrap().path()).collect();
    send(&client, "POST", "/plugins", b"a note").is_problem(422, "unusable_library");
    client.post("/plugins", &json!({})).is_problem(415, "no_library");
    send(&client, "POST", "/plugins", &vec![0; (64 << 20) + 1]).is_problem(413, "too_large");
    let deadly = send(&client, "POST", "/plugins", &fs::read(library("fixture_dependent")).unwrap());
    deadly.is_problem(422, "unusable_library");
    assert!(deadly.json()["detail"].as_str().unwrap().contains("it would end or hang the host"), "{deadly:?}");
    send(&client, "PUT", "/plugins/hello/library", &rival).is_problem(422, "refused");
    let after: Vec<_> = fs::read_dir(site.plugins()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(before, after, "what was refused has left nothing");

    let installed = send(&client, "POST", "/plugins", &rival).is(201).json();
    assert_eq!((&installed["id"], &installed["state"]), (&json!("rival"), &json!("active")));
    send(&client, "POST", "/plugins", &rival).is_problem(422, "refused");
    let shown = client.get("/plugins/rival").is(200).json();
    assert_eq!((&shown["files"][0]["state"], &shown["previous"]), (&json!("active"), &json!(false)));
    send(&client, "PUT", "/plugins/rival/library", &rival).is(200);
    assert_eq!(client.get("/plugins/rival").json()["previous"], true);
    client.post("/plugins/rival/disable", &json!({})).is(200);
    assert_eq!(client.get("/plugins/rival").json()["files"][0]["state"], "disabled");
    client.call("DELETE", "/plugins/rival", None).is(204);
    client.get("/plugins/rival").is_problem(404, "not_found");
}

#[test]
fn texts_logs_and_keys_are_there() {
    let receiver = Receiver::friendly();
    let (site, _serving, client) = served(&["hello", "webhook_none"]);
    let languages = client.get("/languages").is(200).json();
    assert!(names(&languages, "language").contains(&"de-DE".to_owned()), "{languages}");
    let path = "/languages/hello/de-DE/greeting";
    let set = client.call("PUT", path, Some(&json!({ "text": "Moin { $name }!" }))).is(200).json();
    assert_eq!((&set["override_text"], &set["own"]), (&json!("Moin { $name }!"), &json!("Hallo { $name }!")));
    let fire = || client.post("/triggers/06000/fire", &json!({ "name": "hello", "language": "de-DE" })).is(200).json();
    assert!(fire()["values"][0]["value"]["text"].as_str().unwrap().starts_with("Moin "), "{}", fire());
    assert_eq!(client.call("DELETE", path, None).is(200).json()["override_text"], Value::Null);
    assert!(fire()["values"][0]["value"]["text"].as_str().unwrap().starts_with("Hallo "));
    client.get("/languages/nobody/de-DE").is_problem(404, "not_found");

    add_webhook(&client, 0, &receiver.url("hook"));
    let task = client.post("/events", &json!({ "event": "booking_added" })).is(201).json()["tasks"][0]["task"].clone();
    wait_until_done(&client, &task);
    site.wait_for_log("Webhooks", "delivered webhook=1");
    let logs = client.get("/logs").is(200).json();
    let log = logs.as_array().unwrap().iter().find(|log| log["channel"] == "Webhooks").unwrap();
    let file = client.get(&format!("/logs/{}/download", log["id"].as_str().unwrap())).is(200);
    assert!(file.body.contains("delivered webhook=1"), "{file:?}");
    assert_eq!(file.header("content-type"), "text/plain; charset=utf-8");

    let keys = client.get("/secret-keys").is(200).json();
    assert_eq!(
        (keys.as_array().unwrap().len(), &keys[0]["current"], &keys[0]["here"]),
        (1, &json!(true), &json!(true))
    );
    let secret = fs::read_to_string(site.path().join("keys/secrets.keys")).unwrap();
    let secret =
        secret.lines().last().unwrap().rsplit([' ', ':', '=']).find(|part| part.len() > 20).unwrap().to_owned();
    assert!(!keys.to_string().contains(&secret), "{keys}");
    let _ = site.run(&["task", "key", "set", "slow", "--cap", "3", "--pause"]).ok();
    let keys = client.get("/task-keys").is(200).json();
    let slow = keys.as_array().unwrap().iter().find(|key| key["key"] == "slow").unwrap();
    assert_eq!((&slow["cap"], &slow["paused"], &slow["breaker"]), (&json!(3), &json!(true), &json!("closed")));
}

#[test]
fn what_a_webhook_has_never_got_is_counted_and_made_again() {
    let (_site, _serving, client) = served(&["webhook_none"]);
    let webhook = add_webhook(&client, 62, &nobody("hook"));
    let task = client.post("/events", &json!({ "event": "booking_added", "owner": 62 })).is(201).json();
    let task = task["tasks"][0]["task"].clone();
    wait_until("it waits for another try", || client.post(&format!("/tasks/{task}/cancel"), &json!({})).status == 200);
    let path = format!("/webhooks/{webhook}");
    let since = "2026-01-01T00:00:00Z";
    let count = || client.get(&format!("{path}/recoverable?since={since}")).is(200).json()["total"].clone();
    assert_eq!(count(), 1);
    assert_eq!(client.get(&format!("{path}/recoverable?since=2100-01-01T00:00:00Z")).is(200).json()["total"], 0);
    let bulk = client.post(&format!("{path}/recover"), &json!({ "since": since })).is(201).json();
    assert_eq!((&bulk["action"], &bulk["total"]), (&json!("retry"), &json!(1)));
    wait_until("it is not given up any more", || count() == 0);
    client.get(&format!("{path}/recoverable")).is_problem(400, "invalid_query");
    client.post(&format!("{path}/recover"), &json!({ "since": "yesterday" })).is_problem(422, "invalid_body");
}

#[test]
fn users_and_tokens_come_and_go_over_the_api_and_who_changed_what_is_read_in_pages() {
    let (_site, serving, client) = served(&[]);
    let password = "correct horse battery";
    let user = |name: &str, role: &str| json!({ "name": name, "password": password, "role": role });
    let ada = client.post("/users", &user("ada", "administrator")).is(201).json();
    assert_eq!((&ada["name"], &ada["role"], &ada["owner"]), (&json!("ada"), &json!("administrator"), &Value::Null));
    client.post("/users", &user("Ada", "operator")).is_problem(422, "refused");
    client.post("/users", &user("a b", "operator")).is_problem(422, "refused");
    client.post("/users", &user("eve", "king")).is_problem(422, "invalid_body");
    client
        .post("/users", &json!({ "name": "eve", "password": "short", "role": "operator" }))
        .is_problem(422, "refused");
    let sign_in = |password: &str| {
        let form = format!("name=ada&password={}", password.replace(' ', "+"));
        let browser = Client::at(&serving.address);
        browser.send("POST", "/sign-in", &[("sec-fetch-site", "same-origin")], form.as_bytes()).status
    };
    assert_eq!(sign_in(password), 303);
    client.call("PUT", "/users/ada/password", Some(&json!({ "password": "another long one" }))).is(204);
    assert_eq!((sign_in(password), sign_in("another long one")), (422, 303));
    let demoted = client.call("PUT", "/users/ada/role", Some(&json!({ "role": "read-only" })));
    demoted.is_problem(422, "refused");
    assert!(demoted.json()["detail"].as_str().unwrap().contains("the only administrator"), "{demoted:?}");
    let missing = client.get("/users/nobody");
    missing.is_problem(404, "not_found");
    assert!(missing.json()["detail"].as_str().unwrap().contains("`GET /users`"), "{missing:?}");

    let new = json!({ "name": "booking system", "role": "operator", "owner": 62, "expires_in_seconds": 3600 });
    let made = client.post("/tokens", &new).is(201).json();
    let with = |token: &Value| {
        let header = format!("Bearer {}", token.as_str().unwrap());
        Client::at(&serving.address).send("GET", "/api/v1/webhooks", &[("authorization", &header)], b"").status
    };
    assert_eq!(with(&made["secret"]), 200);
    let first = client.get("/tokens?limit=1").is(200).json();
    let cursor = first["next"].as_str().unwrap();
    let second = client.get(&format!("/tokens?limit=1&cursor={cursor}")).is(200).json();
    assert_eq!((&second["items"][0]["id"], &second["next"]), (&made["token"]["id"], &Value::Null));
    assert!(second["items"][0]["used_at"].is_string(), "{second}");
    for list in [&first, &second] {
        assert!(!list.to_string().contains("swb_"), "{list}");
    }
    client.call("DELETE", &format!("/tokens/{}", made["token"]["id"]), None).is(204);
    assert_eq!(with(&made["secret"]), 401);
    for seconds in [0, 4_000_000_000_u64] {
        let new = json!({ "name": "x", "role": "operator", "expires_in_seconds": seconds });
        client.post("/tokens", &new).is_problem(422, "invalid_body");
    }

    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/audit?limit=2&who=token:administrator-all{cursor}")).is(200).json();
        seen.extend(names(&page["items"], "action"));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["token.revoke", "token.create", "user.password", "user.add"]);
    let found = client.get("/audit?text=USER.Add").is(200).json();
    assert_eq!(names(&found["items"], "object"), ["user ada"]);
    client.get("/audit?limit=0").is_problem(400, "invalid_query");
}
