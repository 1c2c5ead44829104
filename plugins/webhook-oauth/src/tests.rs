//! Every way in which a token is come by, and what happens without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use switchboard_test_host::{HttpAnswer, HttpRequest, TestHost, check_contract, delivery};

use super::*;

const SERVER: &str = "https://login.example/token";
const RECEIVER: &str = "https://receiver.example/events";
const BODY_SENT: &str = r#"{"data":{"name":"Zoë"}}"#;
const SETTINGS: [(&str, &str); 3] = [(TOKEN_URL, SERVER), (CLIENT_ID, "hotel"), (SECRET, "s3cret")];

#[test]
fn it_keeps_the_contract_of_plugins() {
    check_contract::<WebhookOauth>();
}

fn plugin(settings: &[(&str, &str)]) -> TestHost<WebhookOauth> {
    let settings = SETTINGS.iter().chain(settings);
    settings.fold(TestHost::<WebhookOauth>::start(), |host, (key, value)| host.setting(*key, *value))
}

fn token_answer(token: &str, expires_in: &str) -> HttpAnswer {
    let answer = format!(r#"{{"access_token":"{token}","token_type":"bearer","expires_in":{expires_in}}}"#);
    HttpAnswer::status(200).body(answer)
}

/// Answers with tokens `t1`, `t2` and so on, and as a receiver that takes those of which `takes` says so.
fn tokens_for(
    host: TestHost<WebhookOauth>,
    expires_in: &'static str,
    takes: impl Fn(&str) -> bool + Send + 'static,
) -> TestHost<WebhookOauth> {
    let mut count = 0;
    host.http(move |request| {
        if request.url == SERVER {
            count += 1;
            return token_answer(&format!("t{count}"), expires_in);
        }
        let token = request.header("authorization").and_then(|header| header.strip_prefix("Bearer ")).unwrap();
        HttpAnswer::status(if takes(token) { 202 } else { 401 })
    })
}

fn deliver(host: &TestHost<WebhookOauth>, webhook: i64) -> Result<Delivered, PluginError> {
    let mut delivery = delivery("booking_added", BODY_SENT);
    delivery.webhook = webhook;
    host.call::<DeferredDelivery>("oauth", &delivery)
}

/// Returns the tokens that the receiver got, in order, and how many requests the token server got.
fn seen(host: &TestHost<WebhookOauth>) -> (Vec<String>, usize) {
    let requests = host.requests();
    let to_receiver = requests.iter().filter(|request| request.url == RECEIVER);
    let tokens: Vec<_> =
        to_receiver.map(|request| request.header("authorization").unwrap().replace("Bearer ", "")).collect();
    let asked = requests.len() - tokens.len();
    (tokens, asked)
}

#[test]
fn the_event_is_sent_with_a_token_that_was_asked_for_in_the_body() {
    let host = tokens_for(plugin(&[(SCOPE, "events write"), (AUDIENCE, "https://api.example/")]), "3600", |_| true);
    assert_eq!(deliver(&host, 1).unwrap().status, Some(202));
    let requests = host.requests();
    let [asked, sent] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((asked.method.as_str(), asked.url.as_str()), ("POST", SERVER));
    assert_eq!(
        asked.text(),
        "grant_type=client_credentials&client_id=hotel&client_secret=s3cret&scope=events+write\
         &audience=https%3A%2F%2Fapi.example%2F"
    );
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(asked.header("authorization"), None);
    assert!(asked.confidential);
    assert_eq!((sent.method.as_str(), sent.url.as_str()), ("POST", RECEIVER));
    assert_eq!(sent.body, BODY_SENT.as_bytes());
    assert_eq!(sent.header("authorization"), Some("Bearer t1"));
    assert_eq!(sent.header("webhook-id"), Some("event-1"));
    assert!(!sent.confidential);
}

#[test]
fn id_and_secret_are_encoded_before_they_go_into_a_header() {
    let settings = [(STYLE, BASIC), (CLIENT_ID, "hôtel:7"), (SECRET, "a+b c")];
    let host = tokens_for(plugin(&settings), "3600", |_| true);
    deliver(&host, 1).unwrap();
    let asked = &host.requests()[0];
    // base64 of `h%C3%B4tel%3A7:a%2Bb+c`.
    assert_eq!(asked.header("authorization"), Some("Basic aCVDMyVCNHRlbCUzQTc6YSUyQmIrYw=="));
    assert_eq!(asked.text(), "grant_type=client_credentials");
}

#[test]
fn a_token_is_used_until_shortly_before_its_end() {
    for (expires_in, good_for) in [("3600", 3540), ("\"3600\"", 3540), ("90", 45), ("30", 15), ("null", 300)] {
        let host = tokens_for(plugin(&[]), expires_in, |_| true);
        deliver(&host, 1).unwrap();
        host.advance(Duration::from_secs(good_for) - Duration::from_millis(1));
        deliver(&host, 1).unwrap();
        assert_eq!(seen(&host), (vec!["t1".into(), "t1".into()], 1), "{expires_in}");
        host.advance(Duration::from_millis(1));
        deliver(&host, 1).unwrap();
        assert_eq!(seen(&host).0[2], "t2", "{expires_in}");
    }
}

#[test]
fn deliveries_at_once_and_later_share_a_token() {
    let host = tokens_for(plugin(&[]), "3600", |_| true);
    host.call::<ImmediateDelivery>("oauth", &delivery("booking_added", BODY_SENT)).unwrap();
    deliver(&host, 1).unwrap();
    assert_eq!(seen(&host), (vec!["t1".into(), "t1".into()], 1));
}

#[test]
fn another_webhook_and_other_settings_have_another_token() {
    let mut host = tokens_for(plugin(&[]), "3600", |_| true);
    deliver(&host, 1).unwrap();
    deliver(&host, 2).unwrap();
    deliver(&host, 1).unwrap();
    assert_eq!(seen(&host), (vec!["t1".into(), "t2".into(), "t1".into()], 2));
    let changes = [(SECRET, "new"), (CLIENT_ID, "inn"), (SCOPE, "all"), (AUDIENCE, "all"), (STYLE, BASIC)];
    for (count, (key, value)) in (3..).zip(changes) {
        host = host.setting(key, value);
        deliver(&host, 1).unwrap();
        assert_eq!(seen(&host).0.last(), Some(&format!("t{count}")), "{key}");
    }
}

#[test]
fn the_kept_value_shows_no_setting() {
    let host = tokens_for(plugin(&[]), "3600", |_| true);
    deliver(&host, 1).unwrap();
    let kept = host.kept_value("token.1").unwrap().to_string();
    assert!(kept.contains("t1") && !kept.contains("s3cret") && !kept.contains("hotel"), "{kept}");
}

#[test]
fn a_refused_token_is_renewed_once_and_the_event_sent_once_more() {
    let host = tokens_for(plugin(&[]), "3600", |token| token != "t1");
    assert_eq!(deliver(&host, 1).unwrap().status, Some(202));
    assert_eq!(seen(&host), (vec!["t1".into(), "t2".into()], 2));
    let requests = host.requests();
    let sent: Vec<&HttpRequest> = requests.iter().filter(|request| request.url == RECEIVER).collect();
    assert_eq!(sent[0].body, sent[1].body);
    assert_eq!(sent[0].header("webhook-id"), sent[1].header("webhook-id"));
    // The new one is kept in its place.
    deliver(&host, 1).unwrap();
    assert_eq!(seen(&host), (vec!["t1".into(), "t2".into(), "t2".into()], 2));
}

#[test]
fn a_receiver_that_refuses_every_token_is_tried_again_later() {
    let host = tokens_for(plugin(&[]), "3600", |_| false);
    let error = deliver(&host, 1).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Retryable, Some("http_4xx")));
    assert_eq!(seen(&host), (vec!["t1".into(), "t2".into()], 2));
    // What another 401 would not heal is not sent twice.
    let host = plugin(&[])
        .http(|request| if request.url == SERVER { token_answer("t", "9") } else { HttpAnswer::status(403) });
    assert_eq!(deliver(&host, 1).unwrap_err().code(), Some("http_4xx"));
    assert_eq!(seen(&host), (vec!["t".into()], 1));
}

#[test]
fn a_new_token_is_kept_although_it_was_refused_as_well() {
    let heals = Arc::new(AtomicBool::new(false));
    let healed = Arc::clone(&heals);
    let host = tokens_for(plugin(&[]), "3600", move |token| healed.load(Ordering::Relaxed) && token == "t2");
    deliver(&host, 1).unwrap_err();
    heals.store(true, Ordering::Relaxed);
    deliver(&host, 1).unwrap();
    assert_eq!(seen(&host), (vec!["t1".into(), "t2".into(), "t2".into()], 2));
}

#[track_caller]
fn check_no_token(answer: HttpAnswer, text: &str) -> PluginError {
    let host = plugin(&[]).http(move |_| answer.clone());
    let error = deliver(&host, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    assert!(error.to_string().contains(text), "{error}");
    let shown = format!("{error:?}{:?}", host.logs());
    assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
    assert_eq!(seen(&host), (vec![], 1));
    error
}

#[test]
fn without_a_token_nothing_is_sent_and_no_secret_is_told() {
    let refused = HttpAnswer::status(401).body(r#"{"error":"invalid_client","error_description":"s3cret is wrong"}"#);
    check_no_token(refused, "401, invalid_client");
    check_no_token(HttpAnswer::status(400).body(r#"{"error":"s3cret"}"#), "answered 400");
    check_no_token(HttpAnswer::status(302).header("location", "https://login.example/?secret=s3cret"), "answered 302");
    let error = check_no_token(HttpAnswer::status(503).header("retry-after", "7").body("s3cret"), "answered 503");
    assert_eq!((error.code(), error.retry_after()), (Some("token"), Some(Duration::from_secs(7))));
    // The receiver is not gone because the token server is.
    assert_eq!(check_no_token(HttpAnswer::status(410), "answered 410").code(), Some("token"));
    for odd in [
        r#"{"access_token":"t0ken","token_type":"mac"}"#,
        r#"{"access_token":"","token_type":"bearer"}"#,
        r#"{"access_token":"t0ken\n","token_type":"bearer"}"#,
        r#"{"token":"t0ken"}"#,
        "t0ken",
    ] {
        check_no_token(HttpAnswer::status(200).body(odd), "no bearer token");
    }
    let error = PluginError::retryable("cannot connect to `login.example`").with_code("connect");
    assert_eq!(check_no_token(HttpAnswer::failed(error), "login.example").code(), Some("connect"));
}

#[track_caller]
fn check_saved(answer: HttpAnswer, problem: Option<(&str, &str)>) {
    let host = plugin(&[]).http(move |_| answer.clone());
    let validation = host.call::<WebhookValidation>("oauth", &ValidationRequest::default()).unwrap();
    let found = validation.problems.first();
    assert_eq!(found.and_then(|found| found.key.as_deref()), problem.map(|(key, _)| key), "{validation:?}");
    if let (Some(found), Some((_, text))) = (found, problem) {
        assert!(found.message.contains(text), "{found:?}");
        assert!(!found.message.contains("s3cret"), "{found:?}");
    }
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn a_webhook_is_saved_unless_the_token_server_refuses_it() {
    let refused = |error: &str| HttpAnswer::status(400).body(format!(r#"{{"error":"{error}"}}"#));
    check_saved(token_answer("t", "3600"), None);
    check_saved(refused("invalid_client"), Some((SECRET, "client id")));
    check_saved(refused("unauthorized_client"), Some((SECRET, "client id")));
    check_saved(refused("invalid_scope"), Some((SCOPE, "scope")));
    check_saved(refused("invalid_request"), Some((TOKEN_URL, "400")));
    check_saved(HttpAnswer::status(404), Some((TOKEN_URL, "404")));
    check_saved(HttpAnswer::status(200).body("<html>s3cret"), Some((TOKEN_URL, "token")));
    let blocked = PluginError::permanent("blocked by rule loopback").with_code("blocked");
    check_saved(HttpAnswer::failed(blocked), Some((TOKEN_URL, "loopback")));
    // What may pass keeps nobody from saving.
    check_saved(HttpAnswer::status(429), None);
    check_saved(HttpAnswer::status(503), None);
    check_saved(HttpAnswer::failed(PluginError::retryable("no answer").with_code("timeout_total")), None);
}
