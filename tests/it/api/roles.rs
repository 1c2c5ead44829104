//! Who may do what: every operation with every kind of caller, and ids that are no ids.

use serde_json::{Value, json};
use switchboard_tests::{Client, Receiver, Site, nobody, wait_until};

use super::{add_webhook, served};

/// An operation of the document.
struct Operation {
    method: String,
    path: String,
    scopes: Vec<String>,
}

fn operations(client: &Client) -> Vec<Operation> {
    let document = client.get("/openapi.json").is(200).json();
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| -> Vec<Operation> {
        let item = item.as_object().unwrap();
        let operation = |(method, operation): (&String, &Value)| Operation {
            method: method.to_uppercase(),
            path: path.clone(),
            scopes: serde_json::from_value(operation["security"][0]["token"].clone()).unwrap_or_default(),
        };
        item.iter().filter(|(key, _)| !["parameters", "summary"].contains(&key.as_str())).map(operation).collect()
    };
    paths.iter().flat_map(of_path).collect()
}

/// Makes a path out of a pattern, with the same text for every part that varies.
fn filled(pattern: &str, with: &str) -> String {
    let parts = pattern.split('/').map(|part| if part.starts_with('{') { with } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Returns a body that is none for an operation; `{}` lacks whatever is needed.
fn empty(method: &str) -> Option<Value> {
    matches!(method, "POST" | "PATCH" | "PUT").then(|| json!({}))
}

/// Who may do what, apart from the code: lowest role, and whether a token that is limited to one owner will do.
const TABLE: &[(&str, &str, &str, bool)] = &[
    ("POST", "/events", "operator", true),
    ("POST", "/events/batch", "operator", true),
    ("GET", "/events/{id}", "read-only", true),
    ("GET", "/event-names", "read-only", true),
    ("GET", "/webhooks", "read-only", true),
    ("POST", "/webhooks", "operator", true),
    ("GET", "/webhooks/{id}", "read-only", true),
    ("PATCH", "/webhooks/{id}", "operator", true),
    ("DELETE", "/webhooks/{id}", "operator", true),
    ("POST", "/webhooks/{id}/rotate-secret", "operator", true),
    ("POST", "/webhooks/{id}/enable", "operator", true),
    ("POST", "/webhooks/{id}/disable", "operator", true),
    ("POST", "/webhooks/{id}/test", "operator", true),
    ("GET", "/webhooks/{id}/recoverable", "read-only", true),
    ("POST", "/webhooks/{id}/recover", "operator", true),
    ("GET", "/deliveries", "read-only", true),
    ("GET", "/deliveries/{id}", "read-only", true),
    ("GET", "/deliveries/{id}/preview", "read-only", true),
    ("GET", "/deliveries/{id}/curl", "read-only", true),
    ("POST", "/deliveries/{id}/replay", "operator", true),
    ("GET", "/auth-methods", "read-only", true),
    ("GET", "/tasks", "read-only", true),
    ("GET", "/tasks/counts", "read-only", false),
    ("GET", "/tasks/{id}", "read-only", true),
    ("POST", "/tasks/{id}/retry", "operator", true),
    ("POST", "/tasks/{id}/cancel", "operator", true),
    ("POST", "/tasks/{id}/replay", "operator", true),
    ("GET", "/bulk-operations", "read-only", true),
    ("POST", "/bulk-operations", "operator", false),
    ("POST", "/bulk-operations/count", "operator", false),
    ("GET", "/bulk-operations/{id}", "read-only", true),
    ("POST", "/bulk-operations/{id}/pause", "operator", true),
    ("POST", "/bulk-operations/{id}/resume", "operator", true),
    ("POST", "/bulk-operations/{id}/stop", "operator", true),
    ("GET", "/schedules", "read-only", false),
    ("PUT", "/schedules/{name}", "administrator", false),
    ("DELETE", "/schedules/{name}", "administrator", false),
    ("POST", "/schedules/{name}/pause", "operator", false),
    ("POST", "/schedules/{name}/resume", "operator", false),
    ("GET", "/plugins", "read-only", false),
    ("POST", "/plugins", "administrator", false),
    ("POST", "/plugins/rescan", "administrator", false),
    ("GET", "/plugins/{id}", "read-only", false),
    ("DELETE", "/plugins/{id}", "administrator", false),
    ("POST", "/plugins/{id}/enable", "administrator", false),
    ("POST", "/plugins/{id}/disable", "administrator", false),
    ("POST", "/plugins/{id}/rollback", "administrator", false),
    ("PATCH", "/plugins/{id}/settings", "administrator", false),
    ("PUT", "/plugins/{id}/library", "administrator", false),
    ("POST", "/plugins/{id}/resume", "operator", false),
    ("GET", "/triggers", "read-only", false),
    ("POST", "/triggers/{number}/fire", "administrator", false),
    ("GET", "/languages", "read-only", false),
    ("GET", "/languages/{plugin}/{language}", "read-only", false),
    ("PUT", "/languages/{plugin}/{language}/{key}", "administrator", false),
    ("DELETE", "/languages/{plugin}/{language}/{key}", "administrator", false),
    ("GET", "/logs", "read-only", false),
    ("GET", "/logs/{id}/download", "read-only", false),
    ("GET", "/log-records", "read-only", false),
    ("GET", "/task-keys", "read-only", false),
    ("GET", "/secret-keys", "administrator", false),
    ("GET", "/users", "administrator", false),
    ("POST", "/users", "administrator", false),
    ("GET", "/users/{name}", "administrator", false),
    ("DELETE", "/users/{name}", "administrator", false),
    ("PUT", "/users/{name}/role", "administrator", false),
    ("PUT", "/users/{name}/password", "administrator", false),
    ("GET", "/tokens", "administrator", false),
    ("POST", "/tokens", "administrator", false),
    ("DELETE", "/tokens/{id}", "administrator", false),
    ("GET", "/audit", "administrator", false),
];

#[test]
fn every_operation_asks_for_what_the_table_says() {
    let (_site, _serving, client) = served(&[]);
    let mut documented: Vec<_> =
        operations(&client).iter().map(|op| format!("{} {} {}", op.method, op.path, op.scopes.join(" "))).collect();
    let mut expected: Vec<_> = TABLE
        .iter()
        .map(|(method, path, role, owner)| format!("{method} {path} {role}{}", if *owner { "" } else { " whole-site" }))
        .collect();
    documented.sort_unstable();
    expected.sort_unstable();
    assert_eq!(documented, expected);
}

#[test]
fn every_operation_lets_in_whom_the_table_names_and_nobody_else() {
    let site = Site::new();
    // Otherwise an upload is forbidden to everybody.
    site.settings("[http]\nplugin_upload = true\n");
    let serving = site.serve();
    let ranks = ["read-only", "operator", "administrator"];
    let rank = |role: &str| ranks.iter().position(|one| *one == role).unwrap();
    let nobody = Client::at(&serving.address);
    let mut callers: Vec<(usize, bool, Client)> = Vec::new();
    for role in ranks {
        callers.push((rank(role), true, Client::with_token(&site, &serving.address, role, None)));
        if role != "administrator" {
            callers.push((rank(role), false, Client::with_token(&site, &serving.address, role, Some(62))));
        }
    }
    for (method, path, role, of_owner) in TABLE {
        // An id that there is not: who may ask is told so, and nothing is changed.
        let path = filled(path, "9999999");
        let body = empty(method);
        let call = |client: &Client| client.call(method, &path, body.as_ref()).status;
        assert_eq!(call(&nobody), 401, "{method} {path} without a token");
        for (level, whole_site, client) in &callers {
            let may = *level >= rank(role) && (*whole_site || *of_owner);
            let status = call(client);
            // A list of tasks or deliveries of all owners is forbidden to a caller with one, who may list those of a webhook.
            let narrowed = *method == "GET" && ["/tasks", "/deliveries"].contains(&path.as_str()) && !whole_site;
            assert_eq!(
                status == 403,
                !may || narrowed,
                "{method} {path}: {status} for level {level}, whole site {whole_site}"
            );
            assert!(status != 401 && status < 500, "{method} {path}: {status}");
        }
    }
    let wrong = nobody.send("GET", "/api/v1/webhooks", &[("authorization", "Bearer swb_0000")], b"");
    wrong.is_problem(401, "unauthorized");
    assert_eq!(wrong.header("www-authenticate"), "Bearer");
}

#[test]
fn an_owner_neither_sees_nor_changes_what_belongs_to_another_or_to_the_site() {
    let (site, serving, everything) = served(&["webhook_none"]);
    let receiver = Receiver::friendly();
    let [own, other, of_site] = [62, 7, 0].map(|owner| add_webhook(&everything, owner, &receiver.url("/hook")));
    let event = json!({ "event": "booking_added", "owner": 7 });
    let event = everything.post("/events", &event).is(201).json();
    let client = Client::with_token(&site, &serving.address, "operator", Some(62));
    let seen: Vec<Value> =
        client.get("/webhooks").json()["items"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(seen, [json!(own)]);
    assert_eq!(client.get("/webhooks?owner=7").json()["items"], json!([]));
    client.get(&format!("/webhooks/{own}")).is(200);
    for id in [other, of_site] {
        client.get(&format!("/webhooks/{id}")).is_problem(404, "not_found");
        client.call("DELETE", &format!("/webhooks/{id}"), None).is_problem(404, "not_found");
        client.post(&format!("/webhooks/{id}/disable"), &json!({})).is_problem(404, "not_found");
        client.get(&format!("/tasks?webhook={id}")).is_problem(404, "not_found");
        client.get(&format!("/deliveries?webhook={id}")).is_problem(404, "not_found");
    }
    client.get(&format!("/events/{}", event["id"].as_str().unwrap())).is_problem(404, "not_found");
    for task in event["tasks"].as_array().unwrap() {
        client.get(&format!("/tasks/{}", task["task"])).is_problem(404, "not_found");
        client.post(&format!("/tasks/{}/replay", task["task"]), &json!({})).is_problem(404, "not_found");
    }
    client.post("/events", &json!({ "event": "booking_added", "owner": 7 })).is_problem(403, "forbidden");
    // An event of its own also goes to the webhook of the whole site, of which it learns nothing.
    let announced = client.post("/events", &json!({ "event": "booking_added", "owner": 62 })).is(201).json();
    let shown = client.get(&format!("/events/{}", announced["id"].as_str().unwrap())).is(200).json();
    let webhooks = |tasks: &Value| -> Vec<Value> {
        tasks.as_array().unwrap().iter().map(|task| task["webhook"].clone()).collect()
    };
    assert_eq!((webhooks(&announced["tasks"]), webhooks(&shown["tasks"])), (vec![json!(own)], vec![json!(own)]));
    let all = everything.get(&format!("/events/{}", announced["id"].as_str().unwrap())).is(200).json();
    assert_eq!(all["tasks"].as_array().unwrap().len(), 2, "{all}");
    let webhook = json!({ "owner": 0, "url": receiver.url("/hook"), "method": "none" });
    client.post("/webhooks", &webhook).is_problem(403, "forbidden");
    let tasks = client.get(&format!("/tasks?webhook={own}")).is(200).json();
    assert_eq!(tasks["items"].as_array().unwrap().len(), 1, "{tasks}");
    // A webhook that changes hands does not take along what it got before.
    let deliveries = format!("/deliveries?webhook={other}");
    let made = || everything.get(&deliveries).is(200).json()["items"][0]["id"].clone();
    wait_until("the other owner's event is delivered", || !made().is_null());
    drop(site.run(&["webhook", "edit", &other.to_string(), "--owner", "62"]).ok());
    assert_eq!(client.get(&deliveries).is(200).json()["items"], json!([]));
    client.get(&format!("/deliveries/{}", made())).is_problem(404, "not_found");
    assert_eq!(client.get(&format!("/tasks?webhook={other}")).is(200).json()["items"], json!([]));
}

#[test]
fn an_owner_sees_and_stops_the_recoveries_of_its_own_webhooks_and_gets_nobody_elses_events_by_one() {
    let (site, serving, everything) = served(&["webhook_none"]);
    let add = |owner: i64| add_webhook(&everything, owner, &nobody("hook"));
    let [own, former, other] = [62, 7, 7].map(add);
    for owner in [62, 7] {
        everything.post("/events", &json!({ "event": "booking_added", "owner": owner })).is(201);
    }
    let given_up = || {
        let tasks = everything.get("/tasks").json();
        for task in tasks["items"].as_array().unwrap() {
            everything.post(&format!("/tasks/{}/cancel", task["id"]), &json!({}));
        }
        everything.get("/tasks/counts").json()["dead"] == 3
    };
    wait_until("all are given up", given_up);
    drop(site.run(&["webhook", "edit", &former.to_string(), "--owner", "62"]).ok());
    let since = "2026-01-01T00:00:00Z";
    let client = Client::with_token(&site, &serving.address, "operator", Some(62));
    let count = |webhook: i64| client.get(&format!("/webhooks/{webhook}/recoverable?since={since}")).is(200).json();
    assert_eq!((&count(own)["total"], &count(former)["total"]), (&json!(1), &json!(0)));
    let recover = |client: &Client, webhook: i64| {
        let what = json!({ "since": since, "per_second": 1 });
        client.post(&format!("/webhooks/{webhook}/recover"), &what).is(201).json()["id"].clone()
    };
    let mine = recover(&client, own);
    let others = recover(&everything, other);
    let path = format!("/bulk-operations/{mine}");
    assert_eq!(client.get(&path).is(200).json()["by"], "token:operator-62");
    let listed = client.get("/bulk-operations").is(200).json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &mine));
    client.get(&format!("/bulk-operations/{others}")).is_problem(404, "not_found");
    client.post(&format!("/bulk-operations/{others}/stop"), &json!({})).is_problem(404, "not_found");
    // The same on the pages.
    let page = |method: &str, path: &str| client.send(method, path, &[], b"");
    let shown = page("GET", &format!("/webhooks/{own}")).is(200).body;
    assert!(shown.contains("Bulk operations, the newest first") && shown.contains("token:operator-62"), "{shown}");
    page("GET", &format!("/operations/{others}/stop")).is(404);
    page("POST", &format!("/operations/{others}/stop")).is(404);
    page("GET", "/operations").is(403);
    let asked = page("GET", &format!("/webhooks/{former}/recover?since=2026-01-01T00:00")).is(422).body;
    assert!(asked.contains("no delivery to webhook 2 was given up"), "{asked}");
    page("GET", &format!("/webhooks/{other}/recover?since=2026-01-01T00:00")).is(404);
    let stopped = client.post(&format!("{path}/stop"), &json!({}));
    // It is over one task and may have ended by itself.
    assert!(stopped.status == 200 || stopped.json()["code"] == "ended", "{stopped:?}");
}

#[test]
fn ids_that_lead_elsewhere_are_refused_in_every_route() {
    let site = Site::new();
    site.settings("[http]\nplugin_upload = true\n");
    let serving = site.serve();
    let client = Client::with_token(&site, &serving.address, "administrator", None);
    let long = "1".repeat(10 << 10);
    let tricks = [
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "%2e%2e%2f",
        "..%5c..%5cwindows",
        "%2fetc%2fpasswd",
        "%00",
        "1%00",
        "Webhooks",
        "Webhooks.application.log",
        "-1",
        "99999999999999999999",
        "%ff%fe",
        "%",
        &long,
    ];
    let operations = operations(&client);
    for operation in operations.iter().filter(|operation| operation.path.contains('{')) {
        for trick in tricks {
            let path = filled(&operation.path, trick);
            let answer = if path.ends_with("/library") {
                let headers = [("content-type", "application/octet-stream")];
                client.send(&operation.method, &format!("/api/v1{path}"), &headers, b"no library")
            } else {
                client.call(&operation.method, &path, empty(&operation.method).as_ref())
            };
            assert!([400, 404, 414, 422].contains(&answer.status), "{} {path:.80}: {answer:?}", operation.method);
            assert_eq!(answer.header("content-type"), "application/problem+json", "{} {path:.80}", operation.method);
            assert!(!answer.body.contains("root:"), "{answer:?}");
        }
    }
    for target in
        ["/api/v1/../../etc/passwd", "/api/v1/logs/../../../etc/passwd", "/api/v1//", "/api/v1/logs/%2e%2e/records"]
    {
        client.send("GET", target, &[], b"").is(404);
    }
}

#[test]
fn a_link_among_the_logs_is_not_followed() {
    let site = Site::with(&["hello"]);
    let serving = site.serve();
    let client = Client::with_token(&site, &serving.address, "administrator", None);
    std::os::unix::fs::symlink("/etc/passwd", site.path().join("logs/Secret.application.log")).unwrap();
    let logs = client.get("/logs").is(200).json();
    let channels: Vec<_> = logs.as_array().unwrap().iter().map(|log| log["channel"].as_str().unwrap()).collect();
    assert!(!channels.contains(&"Secret"), "{channels:?}");
    assert!(!channels.is_empty(), "a host that starts has written a log");
    for log in logs.as_array().unwrap() {
        let id = log["id"].as_str().unwrap();
        let records = client.get(&format!("/log-records?limit=5&log={id}")).is(200).json();
        let records = records.as_array().unwrap();
        assert!(!records.is_empty() && records.iter().all(|record| record["channel"] == log["channel"]), "{records:?}");
        let file = client.get(&format!("/logs/{id}/download")).is(200);
        assert!(file.body.contains(records[0]["message"].as_str().unwrap()), "{file:?}");
        assert!(file.header("content-disposition").starts_with("attachment; filename="), "{file:?}");
    }
    // A file that was listed and is a link since.
    let plain = site.path().join("logs/Plugins.application.log");
    let id = logs.as_array().unwrap().iter().find(|log| log["channel"] == "Plugins").unwrap()["id"].clone();
    std::fs::remove_file(&plain).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &plain).unwrap();
    client.get(&format!("/logs/{}/download", id.as_str().unwrap())).is_problem(404, "not_found");
    for trick in [
        "Secret",
        "../Secret.application.log",
        "..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "%00",
        "Webhooks.application.log",
    ] {
        client.get(&format!("/log-records?log={trick}")).is_problem(404, "not_found");
        client.get(&format!("/logs/{}/download", trick.replace('/', "%2f"))).is_problem(404, "not_found");
    }
}
