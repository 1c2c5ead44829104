//! `oauth`: tokens of a token server, few of them, and never where somebody could read them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use switchboard_tests::{Answer, Receiver, Request, Site, of_attempts, task_of};

const SECRET: &str = "s3cret-of-a-client";

/// A token server that gives out `t0ken-1`, `t0ken-2` and so on, after `wait`.
fn token_server(wait: Duration) -> Receiver {
    let count = AtomicUsize::new(0);
    Receiver::start(move |request| {
        assert_eq!((&*request.method, &*request.path), ("POST", "/token"));
        std::thread::park_timeout(wait);
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let token = format!(r#"{{"access_token":"t0ken-{number}","token_type":"Bearer","expires_in":3600}}"#);
        Answer::Body(200, token)
    })
}

fn add(site: &Site, receiver: &Receiver, server: &Receiver) -> i64 {
    let (url, secret) = (format!("token_url={}", server.url("token")), format!("secret={SECRET}"));
    let more = ["--set", &url, "--set", "client_id=hotel", "--set", &secret, "--set", "scope=events"];
    site.add_webhook(62, &receiver.url("hook"), "oauth", &more)
}

fn tokens(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(|request| request.header("authorization").strip_prefix("Bearer ").unwrap()).collect()
}

#[track_caller]
fn check_tells_no_secret(site: &Site, task: i64) {
    for shown in [site.task(task).to_string(), site.log("Webhooks"), site.log("Plugins")] {
        assert!(!shown.contains(SECRET) && !shown.contains("t0ken"), "{shown}");
    }
}

#[test]
fn the_event_is_sent_with_a_token_and_the_next_one_with_the_same() {
    let site = Site::with(&["webhook_oauth"]);
    let (receiver, server) = (Receiver::friendly(), token_server(Duration::ZERO));
    add(&site, &receiver, &server);
    // Whether the settings work was asked when the webhook was saved.
    assert_eq!(server.requests().len(), 1);
    // Without a host that runs on: what is kept outlives the process.
    let emitted = site.emit_and_wait(62, "booking_added", r#"{"guest":"Zoë"}"#).ok().json();
    let _serving = site.serve();
    drop(site.emit_and_wait(62, "booking_added", r#"{"guest":"Ada"}"#).ok());
    let requests = receiver.wait_for(2);
    assert_eq!(tokens(&requests), ["t0ken-2", "t0ken-2"]);
    assert_eq!(
        String::from_utf8(requests[0].body.clone()).unwrap(),
        r#"{"data":{"guest":"Zoë","manager_id":62,"task":"booking_added"}}"#
    );
    assert_eq!(requests[0].header("webhook-id"), emitted["event_id"].as_str().unwrap());
    let asked = server.requests();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        String::from_utf8(asked[1].body.clone()).unwrap(),
        format!("grant_type=client_credentials&client_id=hotel&client_secret={SECRET}&scope=events")
    );
    check_tells_no_secret(&site, task_of(&emitted));
}

#[test]
fn deliveries_that_come_together_ask_for_one_token_together() {
    let site = Site::with(&["webhook_oauth"]);
    let receiver = Receiver::friendly();
    let server = token_server(Duration::from_millis(300));
    add(&site, &receiver, &server);
    let _serving = site.serve();
    let tasks: Vec<i64> = (0..8).map(|n| task_of(&site.emit(62, "booking_added", &format!("{{\"n\":{n}}}")))).collect();
    tasks.into_iter().for_each(|task| drop(site.wait_for_task(task, "done")));
    assert_eq!(tokens(&receiver.wait_for(8)), ["t0ken-2"; 8]);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_token_that_was_withdrawn_is_renewed_within_the_attempt() {
    let site = Site::with(&["webhook_oauth"]);
    let server = token_server(Duration::ZERO);
    let receiver = Receiver::start(|request| match request.header("authorization") {
        "Bearer t0ken-2" => Answer::Status(401),
        _ => Answer::Status(200),
    });
    add(&site, &receiver, &server);
    let emitted = site.emit_and_wait(62, "booking_added", "{}").ok().json();
    let requests = receiver.wait_for(2);
    assert_eq!(tokens(&requests), ["t0ken-2", "t0ken-3"]);
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    let task = site.task(task_of(&emitted));
    assert_eq!(of_attempts(&task, "outcome"), ["ok"]);
    check_tells_no_secret(&site, task_of(&emitted));
}

#[test]
fn a_token_server_that_is_gone_does_not_disable_the_webhook() {
    let site = Site::with(&["webhook_oauth"]);
    let receiver = Receiver::friendly();
    let asked = Arc::new(AtomicUsize::new(0));
    // It is there when the webhook is saved.
    let server = Receiver::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Body(200, r#"{"access_token":"t0ken-1","token_type":"Bearer"}"#.into()),
        _ => Answer::Body(410, format!("no {SECRET} any more")),
    });
    let id = add(&site, &receiver, &server);
    let emitted = site.emit_and_wait(62, "booking_added", "{}");
    assert_eq!(emitted.code, 3, "{emitted:?}");
    let task = task_of(&emitted.json());
    assert_eq!(of_attempts(&site.task(task), "outcome"), ["token"]);
    assert_eq!(site.json(&["webhook", "show", &id.to_string()])["enabled"], true);
    assert!(receiver.requests().is_empty());
    check_tells_no_secret(&site, task);
}

#[test]
fn an_attempt_that_ends_after_its_token_came_shows_no_token() {
    let site = Site::with(&["webhook_oauth"]);
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[deferred]\ntimeout = \"1s\"\n");
    let server = token_server(Duration::ZERO);
    let receiver = Receiver::start(|_| Answer::Late(Duration::from_secs(60), 200));
    add(&site, &receiver, &server);
    let emitted = site.emit_and_wait(62, "booking_added", "{}");
    assert_eq!(emitted.code, 3, "{emitted:?}");
    let task = task_of(&emitted.json());
    assert_eq!(of_attempts(&site.task(task), "outcome"), ["timeout_total"]);
    check_tells_no_secret(&site, task);
}

#[test]
fn a_client_that_the_token_server_does_not_know_is_not_stored() {
    let site = Site::with(&["webhook_oauth"]);
    let server = Receiver::start(|_| Answer::Body(401, format!(r#"{{"error":"invalid_client","hint":"{SECRET}"}}"#)));
    let (url, secret) = (format!("token_url={}", server.url("token")), format!("secret={SECRET}"));
    let add = ["webhook", "add", "--owner", "62", "--url", "https://receiver.example/", "--method", "oauth"];
    let more = ["--set", &url, "--set", "client_id=hotel", "--set", &secret];
    let refused = site.run(&[&add[..], &more].concat());
    assert!(!refused.stderr.contains(SECRET), "{refused:?}");
    refused.refused(2, &["`secret`: The token server does not accept this client id with this secret."]);
}
