//! What is sent, and what is refused.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use switchboard_test_host::{HttpAnswer, TestHost, check_contract, delivery};

use super::*;

// The vectors of Standard Webhooks, which its Python and JavaScript libraries reproduce.
const FIRST: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const SECOND: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ASYMMETRIC: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const FIRST_SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
const SECOND_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const ASYMMETRIC_SIGNATURE: &str =
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
const SECOND_AT: u64 = 1_614_265_330;

#[test]
fn it_keeps_the_contract_of_plugins() {
    check_contract::<WebhookSigned>();
}

fn host(settings: &[(&str, &str)], at: u64) -> TestHost<WebhookSigned> {
    let host = TestHost::<WebhookSigned>::start().clock(Duration::from_secs(at)).http(|_| HttpAnswer::status(204));
    settings.iter().fold(host, |host, (key, value)| host.setting(*key, *value))
}

fn second_delivery() -> Delivery {
    let mut delivery = delivery("test", r#"{"test": 2432232314}"#);
    delivery.event_id = "msg_p5jXN8AQM9LWM0D4loKWxJek".into();
    delivery
}

/// Delivers the second vector's event at its time and returns the signatures.
#[track_caller]
fn signatures(settings: &[(&str, &str)]) -> String {
    let host = host(settings, SECOND_AT);
    let done = host.call::<DeferredDelivery>("signed", &second_delivery()).unwrap();
    assert_eq!(done.status, Some(204));
    let requests = host.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].body, second_delivery().body.as_bytes());
    assert_eq!(requests[0].header("webhook-timestamp"), Some("1614265330"));
    requests[0].header("webhook-signature").unwrap().to_owned()
}

#[test]
fn the_vectors_of_standard_webhooks_come_out() {
    assert_eq!(signatures(&[(SECRET, SECOND)]), SECOND_SIGNATURE);
    assert_eq!(signatures(&[(SECRET, ASYMMETRIC)]), ASYMMETRIC_SIGNATURE);
    let host = host(&[(SECRET, FIRST)], 1_649_367_553);
    let mut delivery = delivery("test", r#"{"email":"test@example.com","username":"test_user"}"#);
    delivery.event_id = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk".into();
    host.call::<ImmediateDelivery>("signed", &delivery).unwrap();
    assert_eq!(host.requests()[0].header("webhook-signature"), Some(FIRST_SIGNATURE));
}

#[test]
fn a_seed_without_its_public_half_signs_alike() {
    let pair = STANDARD.decode(ASYMMETRIC.strip_prefix("whsk_").unwrap()).unwrap();
    let seed = format!("whsk_{}", STANDARD.encode(&pair[..32]));
    assert_eq!(signatures(&[(SECRET, &seed)]), ASYMMETRIC_SIGNATURE);
}

#[test]
fn each_attempt_is_signed_for_its_own_time() {
    let host = host(&[(SECRET, SECOND)], SECOND_AT);
    host.call::<DeferredDelivery>("signed", &second_delivery()).unwrap();
    host.advance(Duration::from_secs(300));
    host.call::<DeferredDelivery>("signed", &second_delivery()).unwrap();
    let requests = host.requests();
    assert_eq!(requests[1].header("webhook-timestamp"), Some("1614265630"));
    assert_ne!(requests[0].header("webhook-signature"), requests[1].header("webhook-signature"));
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
}

#[test]
fn an_old_secret_signs_beside_the_current_one_until_its_time_comes() {
    let rotated = |old: &str, until: &str| signatures(&[(SECRET, SECOND), (OLD_SECRETS, old), (OLD_UNTIL, until)]);
    let both = format!("{SECOND_SIGNATURE} {ASYMMETRIC_SIGNATURE}");
    // The event is sent at 2021-02-25T15:02:10Z.
    assert_eq!(rotated(ASYMMETRIC, "2021-02-25T15:02:11Z"), both);
    assert_eq!(rotated(ASYMMETRIC, "2021-02-25T16:02:11+01:00"), both);
    assert_eq!(rotated(ASYMMETRIC, "2021-02-25T15:02:10Z"), SECOND_SIGNATURE);
    let two = format!("{ASYMMETRIC} {FIRST}");
    assert_eq!(rotated(&two, "2021-03-01T00:00:00Z").split(' ').count(), 3);
    assert_eq!(rotated(&two, "2021-03-01T00:00:00Z 2021-02-01T00:00:00Z"), both);
}

#[track_caller]
fn check_refused(settings: &[(&str, &str)], setting: &str, text: &str) {
    let host = host(settings, SECOND_AT);
    let validation = host.call::<WebhookValidation>("signed", &ValidationRequest::default()).unwrap();
    let [problem] = validation.problems.as_slice() else { panic!("{validation:?}") };
    assert_eq!(problem.key.as_deref(), Some(setting));
    assert!(problem.message.contains(text), "{problem:?}");
    let error = host.call::<DeferredDelivery>("signed", &second_delivery()).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permanent, Some("bad_settings")));
    assert!(error.to_string().contains(setting), "{error}");
    assert_eq!(host.requests(), []);
}

#[test]
fn a_secret_that_cannot_sign_is_refused_when_it_is_saved_and_when_it_is_used() {
    let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
    for bytes in [24, 64] {
        assert!(signatures(&[(SECRET, &of(bytes))]).starts_with("v1,"));
    }
    check_refused(&[(SECRET, &of(23))], SECRET, "24");
    check_refused(&[(SECRET, &of(65))], SECRET, "64");
    check_refused(&[(SECRET, "s3cret")], SECRET, "whsec_");
    check_refused(&[(SECRET, "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=")], SECRET, "public");
    check_refused(&[(SECRET, "whsec_not base64")], SECRET, "base64");
    check_refused(&[(SECRET, &format!("whsk_{}", STANDARD.encode([7; 31])))], SECRET, "64");
    let mut pair = STANDARD.decode(ASYMMETRIC.strip_prefix("whsk_").unwrap()).unwrap();
    pair[63] ^= 1;
    check_refused(&[(SECRET, &format!("whsk_{}", STANDARD.encode(pair)))], SECRET, "public");
}

#[test]
fn old_secrets_need_a_time_each_or_one_for_all() {
    let rotated = |old: &str, until: &str, setting: &str, text: &str| {
        check_refused(&[(SECRET, SECOND), (OLD_SECRETS, old), (OLD_UNTIL, until)], setting, text);
    };
    let two = format!("{FIRST} {ASYMMETRIC}");
    rotated("s3cret", "2021-02-25T15:02:11Z", OLD_SECRETS, "whsec_");
    rotated(FIRST, "", OLD_UNTIL, "one time");
    rotated(FIRST, "tomorrow", OLD_UNTIL, "2026-12-31");
    rotated(&two, &["2021-02-25T15:02:11Z"; 3].join(" "), OLD_UNTIL, "one time");
    rotated(&[FIRST; 5].join(" "), "2021-02-25T15:02:11Z", OLD_SECRETS, "4");
    // A time without an old secret is left from the last rotation.
    assert_eq!(signatures(&[(SECRET, SECOND), (OLD_UNTIL, "2021-02-25T15:02:11Z")]), SECOND_SIGNATURE);
}

#[test]
fn a_rotation_that_would_take_longer_than_a_week_is_not_saved() {
    let problems = |until: &str| {
        let host = host(&[(SECRET, SECOND), (OLD_SECRETS, FIRST), (OLD_UNTIL, until)], SECOND_AT);
        host.call::<WebhookValidation>("signed", &ValidationRequest::default()).unwrap().problems
    };
    assert_eq!(problems("2021-03-04T15:02:10Z"), []);
    assert_eq!(problems("2021-03-04T15:02:11Z")[0].key.as_deref(), Some(OLD_UNTIL));
    // Its time is over: there is nothing to do for whoever saves the webhook for another reason.
    assert_eq!(problems("2020-01-01T00:00:00Z"), []);
}

#[test]
fn only_a_receiver_that_is_gone_is_never_tried_again() {
    for (status, kind, code) in [
        (401, ErrorKind::Retryable, "http_4xx"),
        (503, ErrorKind::Retryable, "http_5xx"),
        (410, ErrorKind::Permanent, "gone"),
    ] {
        let host = host(&[(SECRET, SECOND)], SECOND_AT).http(move |_| HttpAnswer::status(status));
        let error = host.call::<DeferredDelivery>("signed", &second_delivery()).unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, Some(code)));
    }
}

#[test]
fn an_id_that_would_be_signed_ambiguously_is_not_sent() {
    let host = host(&[(SECRET, SECOND)], SECOND_AT);
    let mut delivery = second_delivery();
    delivery.event_id = "msg_1.2".into();
    let error = host.call::<DeferredDelivery>("signed", &delivery).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert_eq!(host.requests(), []);
}
