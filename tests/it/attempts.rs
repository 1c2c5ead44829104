//! Attempts: what is kept of each delivery, and deliveries that are made again.

use serde_json::{Value, json};
use switchboard_tests::{Answer, Receiver, Site, say_skipped, task_of, wait_until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ALLOWED: &str = "[egress]\nallow = [\"127.0.0.0/8\"]\n";
const DEVELOPMENT: &str = "[log]\nmode = \"development\"\n[egress]\nallow = [\"127.0.0.0/8\"]\n";

/// Returns the only attempts of a task, the first first.
#[track_caller]
fn attempts_of(site: &Site, task: i64) -> Vec<i64> {
    let listed = site.json(&["delivery", "list", "--task", &task.to_string(), "--oldest-first"]);
    listed.as_array().unwrap().iter().map(|attempt| attempt["id"].as_i64().unwrap()).collect()
}

fn shown(site: &Site, attempt: i64) -> Value {
    site.json(&["delivery", "show", &attempt.to_string()])
}

fn header<'v>(exchange: &'v Value, headers: &str, wanted: &str) -> Option<&'v str> {
    let mut headers = exchange[headers].as_array().unwrap().iter();
    headers.find(|pair| pair[0] == wanted).and_then(|pair| pair[1].as_str())
}

#[test]
fn an_attempt_shows_what_was_sent_and_what_came_back() {
    let site = Site::with(&["webhook_signed"]);
    let receiver = Receiver::start(|_| Answer::Body(503, format!("not now, and not with {SECRET}")));
    let webhook =
        site.add_webhook(62, &receiver.url("hook?key=k3y"), "signed", &["--set", &format!("signed_secret={SECRET}")]);
    let emitted = site.emit_and_wait(62, "booking_added", r#"{"property_uid":7}"#).json();
    let task = task_of(&emitted);
    let request = receiver.wait_for(1).remove(0);
    let attempt = shown(&site, attempts_of(&site, task)[0]);
    let expected = json!({
        "task": task, "event_id": emitted["event_id"], "event": "booking_added", "owner": 62, "webhook": webhook,
        "plugin": "webhook_signed", "mode": "deferred", "number": 1, "outcome": "http_5xx", "status": 503,
        "url": receiver.url("hook?key=***"), "cause": null,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&attempt[field], value, "{field}");
    }
    for field in ["plugin_version", "queued_at", "due_at", "started_at", "ended_at", "detail", "next_at"] {
        assert!(attempt[field].is_string(), "{field} of {attempt}");
    }
    assert!(attempt["lag_ms"].is_i64() && attempt["took_ms"].is_i64(), "{attempt}");
    let exchange = &attempt["exchanges"][0];
    assert_eq!(exchange["body"].as_str().unwrap().as_bytes(), request.body);
    assert_eq!((&exchange["body_bytes"], &exchange["method"]), (&json!(request.body.len()), &json!("POST")));
    assert_eq!(exchange["body_sha256"].as_str().unwrap().len(), 64);
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature", "webhook-attempt", "user-agent"] {
        assert_eq!(header(exchange, "request_headers", name), Some(request.header(name)), "{name}");
    }
    assert_eq!(exchange["signatures"], json!(["v1"]));
    // Which secret it was: `printf %s "$secret" | sha256sum`.
    assert_eq!(exchange["signature_keys"], json!(["96ad2ccd8146"]), "{exchange}");
    assert!(exchange["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{exchange}");
    assert_eq!((&exchange["status"], &exchange["http_version"]), (&json!(503), &json!("HTTP/1.1")));
    assert_eq!((&exchange["response"], &exchange["truncated"]), (&json!("not now, and not with ***"), &json!(false)));
    assert!(header(exchange, "response_headers", "content-length").is_some(), "{exchange}");
    for phase in ["connect_ms", "first_byte_ms", "total_ms"] {
        assert!(exchange[phase].as_f64().unwrap() > 0.0, "{phase} of {exchange}");
    }
    let text = site.run(&["delivery", "show", &attempt["id"].to_string()]).ok().stdout;
    for part in
        ["> POST ", "> webhook-signature: v1,", "< 503", "< not now, and not with ***", "connected to 127.0.0.1"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!format!("{attempt}{text}").contains(SECRET) && !text.contains("k3y"), "{text}");
}

#[test]
fn attempts_are_searched_and_paged_from_the_command_line() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::start(|request| match request.path.as_str() {
        "/good" => Answer::Body(200, "thank you".into()),
        _ => Answer::Body(404, "who are you".into()),
    });
    let good = site.add_webhook(62, &receiver.url("good"), "none", &[]);
    let bad = site.add_webhook(0, &receiver.url("bad"), "none", &[]);
    {
        let _serving = site.serve();
        for n in 0..3 {
            let data = format!("{{\"guest\":\"Zoë {n}\"}}");
            drop(site.emit_and_wait(62, "booking_added", &data));
        }
    }
    let listed = |arguments: &[&str]| -> Vec<i64> {
        let found = site.json(&[&["delivery", "list"], arguments].concat());
        found.as_array().unwrap().iter().map(|attempt| attempt["webhook"].as_i64().unwrap()).collect()
    };
    let (good_id, bad_id) = (good.to_string(), bad.to_string());
    assert_eq!(listed(&["--webhook", &good_id]), [good; 3]);
    let failed = listed(&["--failed"]);
    assert!(failed.len() >= 3 && failed.iter().all(|webhook| *webhook == bad), "{failed:?}");
    assert_eq!(listed(&["--outcome", "ok"]), [good; 3]);
    assert_eq!(listed(&["--search", "thank you"]), [good; 3]);
    assert_eq!(listed(&["--search", "Zoë 1", "--webhook", &bad_id, "--status", "404", "--limit", "1"]), [bad]);
    assert_eq!(listed(&["--owner", "62", "--event", "booking_added", "--since", "1h", "--webhook", &good_id]).len(), 3);
    assert_eq!(listed(&["--until", "1h"]), [0_i64; 0]);
    assert_eq!(listed(&["--owner", "63"]), [0_i64; 0]);
    let page = site.json(&["delivery", "list", "--webhook", &good_id, "--limit", "2"]);
    let last = page[1]["id"].to_string();
    assert_eq!(listed(&["--webhook", &good_id, "--after", &last]), [good]);
    site.run(&["delivery", "list", "--mode", "often"]).refused(2, &["`--mode often`", "bulk"]);
    site.run(&["delivery", "show", "4711"]).refused(4, &["there is no attempt 4711"]);
}

#[test]
fn a_replay_sends_the_same_bytes_under_the_same_id_and_a_rebuild_what_the_method_builds_today() {
    let site = Site::with(&["channel_manager"]);
    site.settings(DEVELOPMENT);
    let receiver = Receiver::friendly();
    let set = ["channel_id=acme", "channel_token=t0ken-of-acme", "channel_properties=7 = HTL-7"];
    let more: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
    let webhook = site.add_webhook(62, &receiver.url("hook"), "channel_manager", &more);
    let _serving = site.serve();
    let emitted = site.emit_and_wait(62, "tariffs_updated", r#"{"property_uid":7}"#).ok().json();
    let first = attempts_of(&site, task_of(&emitted))[0].to_string();
    // Also when nothing else is delivered any more.
    let _ = site.run(&["webhook", "disable", &webhook.to_string()]).ok();
    let replayed = site.json(&["delivery", "replay", &first, "--by", "ada", "--wait"]);
    assert_eq!((&replayed["attempt"]["outcome"], &replayed["attempt"]["mode"]), (&json!("ok"), &json!("replay")));
    let rebuilt = site.json(&["delivery", "replay", &first, "--rebuild", "--wait"]);
    let [sent, again, built] = receiver.wait_for(3).try_into().unwrap();
    assert_eq!((&again.body, again.header("webhook-id")), (&sent.body, sent.header("webhook-id")));
    assert_eq!(again.header("authorization"), "Bearer t0ken-of-acme");
    assert_eq!(built.header("webhook-id"), sent.header("webhook-id"));
    let text = rebuilt["attempt"].to_string();
    assert!(!text.contains("t0ken-of-acme"), "{text}");
    assert_eq!(rebuilt["attempt"]["tries"].as_array().unwrap().len(), 3);
    assert!(site.log("Webhooks").contains("a delivery is replayed"), "{}", site.log("Webhooks"));
    assert!(site.log("Webhooks").contains("by=ada"), "{}", site.log("Webhooks"));
}

#[test]
fn a_replay_that_fails_counts_for_nothing_and_one_whose_body_is_gone_says_so() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::start(|request| match request.header("webhook-attempt") {
        "1" if request.path == "/gone" => Answer::Status(410),
        _ => Answer::Status(200),
    });
    let delivered = site.add_webhook(62, &receiver.url("hook"), "none", &["--event", "booking_added"]);
    let gone = site.add_webhook(62, &receiver.url("gone"), "none", &["--event", "guest_added"]);
    let task = task_of(&site.emit_and_wait(62, "booking_added", "{}").ok().json());
    let attempt = attempts_of(&site, task)[0].to_string();
    site.run(&["delivery", "replay", &attempt]).refused(1, &["the body of attempt", "development mode"]);
    let task = task_of(&site.emit_and_wait(62, "guest_added", "{}").json());
    let enable = || site.json(&["webhook", "enable", &gone.to_string()]);
    assert_eq!(enable()["enabled"], true);
    let attempt = attempts_of(&site, task)[0].to_string();
    let output = site.run(&["--json", "delivery", "replay", &attempt, "--wait"]);
    assert_eq!((output.code, &output.json()["attempt"]["outcome"]), (3, &json!("gone")));
    let shown = site.json(&["webhook", "show", &gone.to_string()]);
    assert_eq!((&shown["enabled"], &shown["disabled_reason"]), (&json!(true), &json!(null)));
    assert_eq!(site.json(&["task", "show", &task.to_string()])["state"], "dead", "the first task stays as it was");
    assert_eq!(site.json(&["webhook", "show", &delivered.to_string()])["enabled"], true);
}

#[test]
fn a_preview_shows_the_request_and_what_would_be_signed_and_sends_nothing() {
    let site = Site::with(&["webhook_signed", "webhook_oauth"]);
    site.settings(DEVELOPMENT);
    let receiver = Receiver::friendly();
    let server = Receiver::start(|_| Answer::Body(200, r#"{"access_token":"t0ken-1","expires_in":3600}"#.into()));
    let set = format!("signed_secret={SECRET}");
    site.add_webhook(62, &receiver.url("signed"), "signed", &["--set", &set, "--event", "booking_added"]);
    let token_url = format!("token_url={}", server.url("token"));
    let more = ["--set", &token_url, "--set", "client_id=hotel", "--set", "secret=s3cret-of-a-client"];
    site.add_webhook(62, &receiver.url("oauth"), "oauth", &[&more[..], &["--event", "guest_added"]].concat());
    let preview = |event: &str| {
        let task = task_of(&site.emit_and_wait(62, event, r#"{"n":1}"#).ok().json());
        site.json(&["delivery", "preview", &attempts_of(&site, task)[0].to_string()])
    };
    let signed = preview("booking_added");
    let request = &signed["requests"][0];
    let part = |name| header(request, "request_headers", name).unwrap();
    let body = request["body"].as_str().unwrap();
    let text = format!("{}.{}.{body}", part("webhook-id"), part("webhook-timestamp"));
    assert_eq!((request["signed"].as_str().unwrap(), &signed["note"]), (text.as_str(), &json!(null)));
    assert!(part("webhook-signature").starts_with("v1,") && part("user-agent").starts_with("Switchboard/"), "{signed}");
    // The delivery has left a token, so the delivery itself is what comes next.
    let oauth = preview("guest_added");
    let request = &oauth["requests"][0];
    assert_eq!(header(request, "request_headers", "authorization"), Some("***"));
    assert_eq!(request["url"], receiver.url("oauth"));
    assert_eq!((receiver.requests().len(), server.requests().len()), (2, 2), "no more than the deliveries needed");
    assert!(!oauth.to_string().contains("t0ken-1") && !oauth.to_string().contains("s3cret"), "{oauth}");
}

#[test]
fn a_request_becomes_a_command_that_sends_the_same_body() {
    let site = Site::with(&["webhook_basic"]);
    site.settings(DEVELOPMENT);
    let receiver = Receiver::friendly();
    let form = ["--set", "basic_username=ada", "--set", "basic_password=hunter22"];
    site.add_webhook(62, &receiver.url("hook"), "basic", &form);
    let emitted = site.emit_and_wait(62, "booking_added", r#"{"say":"it's $HOME `id` \"x\"\\"}"#).ok().json();
    let attempt = attempts_of(&site, task_of(&emitted))[0].to_string();
    let command = site.run(&["delivery", "curl", &attempt]).ok().stdout;
    assert!(command.contains("authorization: ***") && !command.contains("hunter22"), "{command}");
    let there = std::process::Command::new("curl").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        return say_skipped("there is no `curl`");
    }
    let ran = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let [sent, again] = receiver.wait_for(2).try_into().unwrap();
    assert_eq!((&again.body, again.header("webhook-id")), (&sent.body, sent.header("webhook-id")));
}

#[test]
fn what_a_webhook_never_got_is_recovered_and_nothing_else() {
    let site = Site::with(&["webhook_none"]);
    site.settings(&format!("{ALLOWED}[deferred]\nschedule = [\"0s\"]\n"));
    let well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&well);
    let receiver = Receiver::start(move |_| {
        Answer::Status(if seen.load(std::sync::atomic::Ordering::SeqCst) { 200 } else { 500 })
    });
    let webhook = site.add_webhook(62, &receiver.url("hook"), "none", &[]).to_string();
    let _serving = site.serve();
    let tasks: Vec<i64> =
        (0..3).map(|n| task_of(&site.emit_and_wait(62, "booking_added", &format!("{{\"n\":{n}}}")).json())).collect();
    well.store(true, std::sync::atomic::Ordering::SeqCst);
    let first = attempts_of(&site, tasks[0])[0].to_string();
    let _ = site.run(&["delivery", "replay", &first, "--wait"]).ok();
    let recover = ["delivery", "recover", &webhook, "--since", "1h"];
    let counted = site.json(&recover);
    assert_eq!((&counted["total"], &counted["started"]), (&json!(2), &json!(false)));
    let started = site.json(&[&recover[..], &["--yes", "--by", "ada"]].concat());
    assert_eq!((&started["total"], &started["by"]), (&json!(2), &json!("ada")));
    tasks[1..].iter().for_each(|task| drop(site.wait_for_task(*task, "done")));
    wait_until("the operation is done", || site.json(&["task", "bulk", "list"])[0]["state"] == "done");
    assert_eq!(site.json(&["task", "show", &tasks[0].to_string()])["state"], "dead");
    assert_eq!(receiver.requests().len(), 3 + 1 + 2);
    assert_eq!(site.json(&recover)["total"], 0);
    site.run(&["delivery", "recover", "4711", "--since", "1h"]).refused(4, &["there is no webhook 4711"]);
}

#[test]
fn a_delivery_that_is_made_at_once_is_an_attempt_as_well() {
    let site = Site::with(&["fixture_probe"]);
    let receiver = Receiver::friendly();
    site.add_webhook(62, &receiver.url("hook"), "probe_now", &[]);
    let emitted = site.json(&["emit", "booking_added", "--owner", "62", "--data", r#"{"n":1}"#]);
    assert_eq!(emitted["immediate"][0]["outcome"], "ok", "{emitted}");
    let listed = site.json(&["delivery", "list", "--mode", "immediate"]);
    let attempt = shown(&site, listed[0]["id"].as_i64().unwrap());
    assert_eq!(
        (&attempt["task"], &attempt["event"], &attempt["owner"]),
        (&json!(1), &json!("booking_added"), &json!(62))
    );
    // The body itself goes with the delivery, as that of every other.
    assert_eq!(attempt["exchanges"][0]["body_bytes"], receiver.wait_for(1)[0].body.len(), "{attempt}");
    assert_eq!((&attempt["plugin"], &attempt["number"]), (&json!("probe"), &json!(1)));
}
