//! Every change that is made over the HTTP API or on the pages leaves one entry in the audit log, and nothing else does. The command line is
//! looked at in the same way in `every_command`.

use std::collections::BTreeSet;
use std::fs;

use rusqlite::{Connection, OpenFlags, Row};
use serde_json::{Value, json};
use switchboard_tests::{Answered, Client, Receiver, Serving, Site, library, nobody, wait_until};

use crate::pages::Started;

/// Reads the entries that have come since the last look.
pub(crate) struct Audit(i64);

impl Audit {
    pub(crate) fn of(site: &Site) -> Self {
        let mut audit = Self(0);
        let _ = audit.new_entries(site);
        audit
    }

    /// Reads them out of the file itself: a process for each look would be most of the time of these tests.
    pub(crate) fn new_entries(&mut self, site: &Site) -> Vec<Value> {
        let file = site.path().join("server.db");
        if !file.exists() {
            return Vec::new();
        }
        let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let select = "SELECT id, who, via, action, object, detail FROM audit WHERE id > ? ORDER BY id DESC";
        let mut rows = database.prepare(select).unwrap();
        let entry = |row: &Row<'_>| {
            let text = |index| row.get::<_, String>(index);
            let (who, via, action, object, detail) = (text(1)?, text(2)?, text(3)?, text(4)?, text(5)?);
            let id: i64 = row.get(0)?;
            Ok(json!({ "id": id, "who": who, "via": via, "action": action, "object": object, "detail": detail }))
        };
        let new: Vec<Value> = rows.query_map([self.0], entry).unwrap().map(Result::unwrap).collect();
        self.0 = new.first().map_or(self.0, |newest| newest["id"].as_i64().unwrap());
        new
    }

    /// Checks that there is exactly one new entry of this action, or none at all when there is no action.
    #[track_caller]
    pub(crate) fn check(&mut self, site: &Site, what: &str, via: &str, action: &str) {
        let entries = self.new_entries(site);
        let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        let expected: &[&str] = if action.is_empty() { &[] } else { &[action] };
        assert_eq!(actions, expected, "{what}");
        assert!(entries.iter().all(|entry| entry["via"] == via), "{what}: {entries:?}");
        for entry in &entries {
            let text = entry.to_string();
            assert!(
                !["geheim", "pass-word", SECRET].iter().any(|secret| text.contains(secret)),
                "{what}: a secret is in {text}"
            );
        }
    }
}

/// With what the receiver's signatures are made.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One call, its status, and the action that the log names then; none when nothing is changed.
type Step = (&'static str, &'static str, Value, u16, &'static str);

/// A call for each operation that may change something, in an order in which each of them can.
fn steps(receiver: &Receiver) -> Vec<Step> {
    // Neither who signs in at the receiver nor what its query holds is to be in a log.
    let url = format!("{}?key=geheim", receiver.url("hook")).replace("http://", "http://ada:pass-word@");
    let none = || json!({});
    let since = json!({ "since": "2026-01-01T00:00:00Z" });
    let event = json!({ "event": "booking_added", "owner": 0 });
    let when = json!({ "when": "every 15m", "number": "06000", "handler": "hello" });
    let user = json!({ "name": "ada", "password": "geheim, und lang", "role": "operator" });
    let bulk = json!({ "action": "cancel", "tasks": { "number": "06000", "state": "waiting" }, "per_second": 1 });
    vec![
        ("POST", "/webhooks", json!({ "owner": 0, "url": url, "method": "none" }), 422, ""),
        (
            "POST",
            "/webhooks",
            json!({ "owner": 0, "url": "https://example.com/hook?key=geheim", "method": "none" }),
            201,
            "webhook.add",
        ),
        (
            "POST",
            "/webhooks",
            json!({ "owner": 0, "url": receiver.url("hook"), "method": "signed", "settings": { "signed_secret": SECRET } }),
            201,
            "webhook.add",
        ),
        ("PATCH", "/webhooks/2", json!({ "name": "Mirror" }), 200, "webhook.change"),
        ("PATCH", "/webhooks/2", json!({ "url": "gopher://" }), 422, ""),
        ("DELETE", "/webhooks/1", none(), 204, "webhook.remove"),
        ("POST", "/webhooks/2/rotate-secret", none(), 200, "webhook.rotate"),
        ("POST", "/webhooks/2/disable", none(), 200, "webhook.disable"),
        ("POST", "/webhooks/2/enable", none(), 200, "webhook.enable"),
        ("POST", "/webhooks/2/test", none(), 201, "webhook.test"),
        ("POST", "/webhooks/2/recover", since, 201, "delivery.recover"),
        // What a host application does all the time is no administrator's change.
        ("POST", "/events", event.clone(), 201, ""),
        ("POST", "/events/batch", json!({ "events": [event] }), 201, ""),
        ("POST", "/deliveries/{delivery}/replay", none(), 201, "delivery.replay"),
        ("POST", "/tasks/{done}/replay", none(), 201, "task.replay"),
        ("POST", "/tasks/{done}/cancel", none(), 422, ""),
        ("POST", "/tasks/{done}/retry", none(), 200, "task.retry"),
        ("POST", "/tasks/{later}/cancel", none(), 200, "task.cancel"),
        ("POST", "/tasks/{later}/cancel", none(), 422, ""),
        ("POST", "/bulk-operations/count", json!({ "tasks": {} }), 200, ""),
        ("POST", "/bulk-operations", json!({ "action": "retry", "tasks": {}, "expected": 4711 }), 422, ""),
        ("POST", "/bulk-operations", json!({ "action": "retry", "tasks": { "number": "99999999999" } }), 422, ""),
        ("POST", "/bulk-operations", bulk, 201, "bulk.cancel"),
        ("POST", "/bulk-operations/{bulk}/pause", none(), 200, "bulk.pause"),
        ("POST", "/bulk-operations/{bulk}/resume", none(), 200, "bulk.resume"),
        ("POST", "/bulk-operations/{bulk}/stop", none(), 200, "bulk.stop"),
        ("POST", "/bulk-operations/{bulk}/stop", none(), 422, ""),
        ("PUT", "/schedules/nightly", when, 200, "schedule.set"),
        ("PUT", "/schedules/nightly", json!({ "when": "often", "number": "06000", "handler": "hello" }), 422, ""),
        ("POST", "/schedules/nightly/pause", none(), 200, "schedule.pause"),
        ("POST", "/schedules/nightly/resume", none(), 200, "schedule.resume"),
        ("DELETE", "/schedules/nightly", none(), 204, "schedule.remove"),
        ("DELETE", "/schedules/nightly", none(), 404, ""),
        ("POST", "/plugins/rescan", none(), 200, "plugin.rescan"),
        ("POST", "/plugins", none(), 201, "plugin.install"),
        ("POST", "/plugins", none(), 422, ""),
        ("PUT", "/plugins/rival/library", none(), 200, "plugin.upgrade"),
        ("POST", "/plugins/rival/rollback", none(), 200, "plugin.rollback"),
        ("POST", "/plugins/rival/disable", none(), 200, "plugin.disable"),
        ("POST", "/plugins/rival/enable", none(), 200, "plugin.enable"),
        ("POST", "/plugins/rival/resume", none(), 200, "plugin.resume"),
        ("DELETE", "/plugins/rival", none(), 204, "plugin.remove"),
        ("POST", "/plugins/hello/disable", none(), 422, ""),
        ("PATCH", "/plugins/dependent/settings", json!({ "settings": { "token": "geheim" } }), 200, "plugin.set"),
        ("PATCH", "/plugins/dependent/settings", json!({ "settings": { "limit": "many" } }), 422, ""),
        ("POST", "/triggers/06000/fire", json!({ "name": "hello" }), 200, "trigger.call"),
        ("PUT", "/languages/hello/de-DE/greeting", json!({ "text": "Moin { $name }" }), 200, "text.override"),
        ("PUT", "/languages/hello/de-DE/greeting", json!({ "text": "{ $na" }), 422, ""),
        ("DELETE", "/languages/hello/de-DE/greeting", none(), 200, "text.remove"),
        ("DELETE", "/languages/hello/de-DE/greeting", none(), 404, ""),
        ("POST", "/users", user.clone(), 201, "user.add"),
        ("POST", "/users", user, 422, ""),
        ("PUT", "/users/ada/role", json!({ "role": "read-only", "owner": 62 }), 200, "user.role"),
        ("PUT", "/users/ada/role", json!({ "role": "king" }), 422, ""),
        ("PUT", "/users/ada/password", json!({ "password": "geheim, und lang" }), 204, "user.password"),
        ("PUT", "/users/ada/password", json!({ "password": "geheim" }), 422, ""),
        ("DELETE", "/users/ada", none(), 204, "user.remove"),
        ("DELETE", "/users/ada", none(), 404, ""),
        ("POST", "/tokens", json!({ "name": "booking system", "role": "operator" }), 201, "token.create"),
        ("DELETE", "/tokens/2", none(), 204, "token.revoke"),
        ("DELETE", "/tokens/2", none(), 404, ""),
    ]
}

fn call(client: &Client, method: &str, path: &str, body: &Value) -> Answered {
    let sends_library = (method, path) == ("POST", "/plugins") || path.ends_with("/library");
    if sends_library {
        let bytes = fs::read(library("fixture_rival")).unwrap();
        let headers = [("content-type", "application/octet-stream")];
        return client.send(method, &format!("/api/v1{path}"), &headers, &bytes);
    }
    client.call(method, path, (method != "DELETE").then_some(body))
}

fn furnished() -> Site {
    let site = Site::with(&["hello", "webhook_none", "webhook_signed", "fixture_dependent"]);
    site.settings(
        "[egress]\nallow = [\"127.0.0.0/8\"]\n[log]\nmode = \"development\"\n[http]\nplugin_upload = true\n\
         [plugins.dependent]\ntoken = \"x\"\n",
    );
    site
}

fn started() -> (Site, Serving, Client) {
    let site = furnished();
    let serving = site.serve();
    let client = Client::with_token(&site, &serving.address, "administrator", None);
    (site, serving, client)
}

#[test]
fn every_operation_of_the_api_that_changes_something_leaves_one_entry() {
    let (site, _serving, client) = started();
    let receiver = Receiver::friendly();
    let later: Vec<String> =
        (0..5).map(|_| site.json(&["task", "defer", "06000", "hello", "--after", "1h"])["id"].to_string()).collect();
    let done = site.json(&["task", "defer", "06000", "hello"])["id"].to_string();
    let is_done = || client.get(&format!("/tasks/{done}")).json()["task"]["state"] == "done";
    wait_until("the task is done", is_done);
    let document = client.get("/openapi.json").is(200).json();
    let (mut audit, mut bulk, mut tried) = (Audit::of(&site), String::new(), BTreeSet::new());
    for (method, pattern, body, status, action) in steps(&receiver) {
        let mut delivery = Value::Null;
        if pattern.starts_with("/deliveries/") {
            wait_until("the test event is delivered", || {
                let newest = client.get("/deliveries?webhook=2&outcome=ok").json()["items"][0]["id"].clone();
                delivery = newest;
                delivery.is_i64()
            });
        }
        let path = pattern.replace("{done}", &done).replace("{later}", &later[0]).replace("{bulk}", &bulk);
        let path = path.replace("{delivery}", &delivery.to_string());
        let answer = call(&client, method, &path, &body);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        audit.check(&site, &format!("{method} {path}"), "api", action);
        if pattern == "/bulk-operations" && status == 201 {
            bulk = answer.json()["id"].to_string();
        }
        tried.insert(format!("{method} {}", pattern_of(&document, method, &path)));
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in
            item.as_object().unwrap().keys().filter(|key| ["post", "put", "patch", "delete"].contains(&key.as_str()))
        {
            let operation = format!("{} {path}", method.to_uppercase());
            assert!(tried.contains(&operation), "{operation} may change something, and has no row in this test");
        }
    }
}

/// Returns the pattern of the document that a path has.
fn pattern_of(document: &Value, method: &str, path: &str) -> String {
    let fits = |pattern: &String| {
        let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
        pattern.len() == path.len() && pattern.iter().zip(&path).all(|(a, b)| a == b || a.starts_with('{'))
    };
    let paths = document["paths"].as_object().unwrap();
    let mut found: Vec<&String> = paths
        .iter()
        .filter(|(pattern, item)| fits(pattern) && item.get(method.to_lowercase()).is_some())
        .map(|(pattern, _)| pattern)
        .collect();
    // What is written out counts more than what varies.
    found.sort_by_key(|pattern| pattern.matches('{').count());
    found.first().unwrap_or_else(|| panic!("{method} {path} is in no document")).to_string()
}

/// A form for each route of the pages that may change something, the status of its answer, and the action that the log names
/// then; none when nothing is changed.
const FORMS: &[(&str, &str, u16, &str)] = &[
    ("/sign-in", "name=ada&password=correct+horse+battery", 303, "session.start"),
    ("/account/language", "language=de-DE", 303, "user.language"),
    ("/account/language", "language=%3C", 422, ""),
    ("/webhooks/new", "method=signed", 200, ""),
    ("/webhooks", "url=RECEIVER&method=signed&owner=0&set.signed_secret=SECRET", 303, "webhook.add"),
    ("/webhooks", "url=gopher%3A%2F%2F&method=signed&owner=0", 422, ""),
    ("/webhooks/1/edit", "method=none", 200, ""),
    ("/webhooks/1", "url=RECEIVER&method=signed&owner=0&name=Mirror", 303, "webhook.change"),
    ("/webhooks/1", "url=gopher%3A%2F%2F&method=signed&owner=0", 422, ""),
    ("/webhooks/1/rotate", "", 200, "webhook.rotate"),
    ("/webhooks/1/disable", "", 303, "webhook.disable"),
    ("/webhooks/1/enable", "", 303, "webhook.enable"),
    ("/webhooks/1/test", "", 303, "webhook.test"),
    ("/deliveries/{delivery}/replay", "", 303, "delivery.replay"),
    ("/tasks/{done}/replay", "", 303, "task.replay"),
    ("/tasks/{done}/cancel", "", 422, ""),
    ("/tasks/{done}/retry", "", 303, "task.retry"),
    ("/tasks/{later}/cancel", "", 303, "task.cancel"),
    ("/tasks/bulk", "action=cancel&key=few&state=waiting&expected=4711", 422, ""),
    ("/tasks/bulk", "action=cancel&key=few&state=waiting&expected=2", 303, "bulk.cancel"),
    ("/operations/1/resume", "", 303, "bulk.resume"),
    ("/operations/1/pause", "", 303, "bulk.pause"),
    ("/operations/1/stop", "", 303, "bulk.stop"),
    ("/operations/1/stop", "", 422, ""),
    ("/webhooks/1/recover", "since=2026-01-01T00:00", 303, "delivery.recover"),
    ("/webhooks/1/recover", "since=yesterday", 422, ""),
    ("/triggers/06000/hello", "payload=%7B%7D", 200, "trigger.call"),
    ("/triggers/06000/hello", "payload=no", 200, ""),
    ("/languages/hello/de-DE/greeting", "text=Moin", 303, "text.override"),
    ("/languages/hello/de-DE/greeting", "text=%7B", 422, ""),
    ("/languages/hello/de-DE/greeting/remove", "", 303, "text.remove"),
    ("/plugins/rescan", "", 303, "plugin.rescan"),
    ("/plugins/dependent/settings", "set.token=geheim", 303, "plugin.set"),
    ("/plugins/dependent/settings", "set.limit=many", 422, ""),
    ("/plugins/webhook_none/resume", "", 303, "plugin.resume"),
    ("/plugins/webhook_none/disable", "", 303, "plugin.disable"),
    ("/plugins/webhook_none/enable", "", 303, "plugin.enable"),
    ("/plugins/webhook_none/remove", "", 303, "plugin.remove"),
    ("/plugins/nobody/remove", "", 404, ""),
    ("/settings/mode", "mode=production", 303, "settings.mode"),
    ("/settings/mode", "mode=loud", 422, ""),
    ("/people/users", "name=bob&password=geheim,+und+lang&role=operator", 303, "user.add"),
    ("/people/users", "name=bob&password=geheim&role=operator", 422, ""),
    ("/people/users/bob/remove", "", 303, "user.remove"),
    ("/people/tokens", "name=ci&role=operator", 200, "token.create"),
    ("/people/tokens/1/revoke", "", 303, "token.revoke"),
    ("/people/tokens/1/revoke", "", 404, ""),
    ("/webhooks/1/remove", "", 303, "webhook.remove"),
    ("/account/password", "old=wrong&new=another+long+password", 422, ""),
    ("/account/password", "old=correct+horse+battery&new=another+long+password", 303, "user.password"),
    ("/sign-in", "name=ada&password=another+long+password", 303, "session.start"),
    ("/sign-out", "", 303, "session.end"),
];

#[test]
fn every_route_of_the_pages_that_changes_something_leaves_one_entry() {
    const ROUTES: &str = include_str!("../../framework/server/src/web/routes.rs");
    let receiver = Receiver::friendly();
    let site = furnished();
    let started = Started::on(&site);
    let defer = |more: &[&str]| {
        site.json(&[&["task", "defer", "06000", "hello"], more].concat())["id"].as_i64().unwrap().to_string()
    };
    let later = |key: &str| defer(&["--after", "1h", "--key", key]);
    let done = defer(&[]);
    let [cancelled, ..] = ["few"; 3].map(later);
    // An operation that has not ended when its turn comes.
    (0..20).for_each(|_| drop(later("many")));
    let _ = site.run(&["task", "bulk", "cancel", "--key", "many", "--per-second", "1", "--yes"]).ok();
    let _ = site.run(&["task", "bulk", "pause", "1"]).ok();
    let _ = site.wait_for_task(done.parse().unwrap(), "done");
    let client = Client::at(&started.address);
    let mut audit = Audit::of(&site);
    let setup = started.setup.as_deref().unwrap().split("token=").nth(1).unwrap();
    let setup = format!("token={setup}&name=ada&password=correct+horse+battery");
    let own = ("sec-fetch-site", "same-origin");
    client.send("POST", "/setup", &[own], setup.as_bytes()).is(303);
    audit.check(&site, "/setup", "page", "user.add");
    let (mut cookie, mut tried) = (String::new(), BTreeSet::from(["/setup".to_owned()]));
    for (pattern, form, status, action) in FORMS {
        let mut delivery = Value::Null;
        if pattern.starts_with("/deliveries/") {
            wait_until("the test event is delivered", || {
                delivery = site.json(&["delivery", "list", "--webhook", "1"])[0].clone();
                delivery["outcome"] == "ok"
            });
        }
        let path = pattern.replace("{done}", &done).replace("{later}", &cancelled);
        let path = path.replace("{delivery}", &delivery["id"].to_string());
        let url = receiver.url("hook").replace(':', "%3A").replace('/', "%2F");
        let form = form.replace("RECEIVER", &url).replace("SECRET", SECRET);
        let answer = client.send("POST", &path, &[own, ("cookie", &cookie)], form.as_bytes());
        assert_eq!(answer.status, *status, "{path} {form}: {answer:?}");
        audit.check(&site, &format!("{path} {form}"), "page", action);
        if answer.header("set-cookie").contains("switchboard=") {
            cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        }
        tried.insert(path);
    }
    let changing = ROUTES.lines().filter_map(|line| line.trim_start().strip_prefix("change(\"")?.split_once('"'));
    let changing: Vec<&str> = changing.map(|(route, _)| route).collect();
    assert!(changing.len() > 30, "{changing:?}");
    for route in changing {
        let (parts, fits): (Vec<_>, _) =
            (route.split('/').collect(), |(part, word): (&&str, &str)| *part == word || part.starts_with('{'));
        let is_tried = tried
            .iter()
            .any(|path| path.split('/').count() == parts.len() && parts.iter().zip(path.split('/')).all(fits));
        assert!(is_tried, "{route} may change something, and has no row in this test");
    }
}

#[test]
fn whoever_signs_in_or_fails_to_is_in_the_log_under_the_name_that_was_given() {
    let site = Site::new();
    let _ = site
        .run_with_input(&["user", "add", "ada", "--role", "operator", "--password", "-"], "correct horse battery")
        .ok();
    let serving = site.serve();
    let mut audit = Audit::of(&site);
    let client = Client::at(&serving.address);
    let sign_in = |body: &str| {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];
        client.send("POST", "/sign-in", &headers, body.as_bytes()).status
    };
    for (body, status, action, who) in [
        ("name=ada&password=geheim", 422, "session.refuse", "ada"),
        ("name=nobody%0a&password=geheim", 422, "session.refuse", "nobody"),
        ("name=ada&password=correct+horse+battery", 303, "session.start", "ada"),
    ] {
        assert_eq!(sign_in(body), status, "{body}");
        let entries = audit.new_entries(&site);
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!((&entries[0]["action"], &entries[0]["who"]), (&json!(action), &json!(who)));
        assert!(entries[0]["detail"].as_str().unwrap().contains("from 127.0.0.1"), "{entries:?}");
        assert!(!entries[0].to_string().contains("geheim"), "{entries:?}");
    }
}

#[test]
fn a_bulk_operation_over_a_number_that_is_none_is_refused_on_the_page_as_well() {
    let (site, serving, _client) = started();
    let _ = site
        .run_with_input(&["user", "add", "ada", "--role", "operator", "--password", "-"], "correct horse battery")
        .ok();
    let client = Client::at(&serving.address);
    let own = ("sec-fetch-site", "same-origin");
    let signed_in = client.send("POST", "/sign-in", &[own], b"name=ada&password=correct+horse+battery").is(303);
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    for number in ["99999999999", "0", "-1", "x"] {
        let body = format!("action=cancel&number={number}");
        let answer = client.send("POST", "/tasks/bulk", &[own, ("cookie", &cookie)], body.as_bytes());
        assert_eq!(answer.status, 422, "{number}: {answer:?}");
    }
    assert_eq!(site.json(&["task", "bulk", "list"]), json!([]));
}

#[test]
fn an_import_is_in_the_log_of_the_folder_into_which_it_was_made() {
    let (from, into) = (Site::with(&["webhook_none"]), Site::new());
    from.add_webhook(0, "https://example.com/", "none", &[]);
    let export = from.path().join("export.jsonl");
    let _ = from.run(&["store", "export", export.to_str().unwrap()]).ok();
    from.copy_keys(&into);
    let mut audit = Audit::of(&into);
    let _ = into.run(&["store", "import", export.to_str().unwrap()]).ok();
    audit.check(&into, "store import", "cli", "store.import");
}

#[test]
fn the_page_of_a_plugin_says_what_happened_to_it_and_who_changed_it() {
    let (site, serving, client) = started();
    client.post("/plugins/webhook_none/disable", &json!({})).is(200);
    let page = |client: &Client| client.send("GET", "/plugins/webhook_none", &[], b"").is(200).body;
    let shown = page(&client);
    for text in ["plugin active", "plugin=webhook_none version=", "plugin.disable by token:administrator-all"] {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
    // Who changed what is for administrators.
    let reader = Client::with_token(&site, &serving.address, "read-only", None);
    let read = page(&reader);
    assert!(read.contains("plugin active") && !read.contains("plugin.disable by"), "{read}");
}

#[test]
fn the_overview_counts_the_attempts_of_the_last_hour() {
    let receiver = Receiver::friendly();
    let (site, _serving, client) = started();
    let overview = || client.send("GET", "/", &[], b"").is(200).body;
    assert!(overview().contains("No attempts in the last hour."), "{}", overview());
    site.add_webhook(0, &receiver.url("hook"), "none", &[]);
    site.add_webhook(0, &nobody("hook"), "none", &[]);
    let _ = site.run(&["emit", "booking_added", "--owner", "0"]).ok();
    wait_until("both have been tried", || overview().contains("2 attempts in the last hour, 1 of them failed"));
    assert!(overview().contains("<polyline class=\"all\" points=\"0.0,41.0 "), "{}", overview());
}
