//! Who is invited and who is not, and what Mailchimp may answer.

use switchboard_test_host::{HttpAnswer, TestHost, check_contract, delivery};

use super::*;

const SETTINGS: [(&str, &str); 2] = [(KEY, "0123456789abcdef-us21"), (LIST, "a1b2c3")];
const URL: &str = "https://us21.api.mailchimp.com";
const GUEST: &str = r#"{"data":{"guest_uid":5,"email":"Zoe@Example.com","firstname":"Zoë","surname":"O'Neil"}}"#;
/// The MD5 hash of `zoe@example.com`.
const HASH: &str = "76cec4168e20ad317a8afb3a81ae3fce";

#[test]
fn it_keeps_the_contract_of_plugins() {
    check_contract::<WebhookMailchimp>();
}

fn host_with(settings: &[(&str, &str)]) -> TestHost<WebhookMailchimp> {
    let host = TestHost::<WebhookMailchimp>::start().http(|_| HttpAnswer::status(200).body("{}"));
    settings.iter().fold(host, |host, (key, value)| host.setting(*key, *value))
}

fn guest(event: &str, body: &str) -> Delivery {
    let mut delivery = delivery(event, body);
    delivery.url = URL.to_owned();
    delivery
}

#[test]
fn a_guest_is_invited_and_decides() {
    let host = host_with(&SETTINGS);
    let done = host.call::<DeferredDelivery>("mailchimp", &guest("guest_saved", GUEST)).unwrap();
    assert_eq!(done.status, Some(200));
    let requests = host.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(request.method, "PUT");
    assert_eq!(request.url, format!("{URL}/3.0/lists/a1b2c3/members/{HASH}?skip_merge_validation=true"));
    // base64 of `switchboard:0123456789abcdef-us21`.
    assert_eq!(request.header("authorization"), Some("Basic c3dpdGNoYm9hcmQ6MDEyMzQ1Njc4OWFiY2RlZi11czIx"));
    assert_eq!(
        serde_json::from_slice::<Value>(&request.body).unwrap(),
        json!({
            "email_address": "Zoe@Example.com",
            "status_if_new": "pending",
            "merge_fields": { "FNAME": "Zoë", "LNAME": "O'Neil" },
        })
    );
    assert!(request.confidential);
}

#[test]
fn a_booking_that_tells_its_guest_invites_as_well() {
    let host = host_with(&SETTINGS);
    let body = r#"{"data":{"contract_uid":41,"guest":{"email":" zoe@example.com ","first_name":""}}}"#;
    host.call::<ImmediateDelivery>("mailchimp", &guest("booking_added", body)).unwrap();
    let sent: Value = serde_json::from_slice(&host.requests()[0].body).unwrap();
    assert_eq!(sent, json!({ "email_address": "zoe@example.com", "status_if_new": "pending" }));
}

#[test]
fn whoever_has_no_address_or_does_not_come_is_not_invited() {
    let host = host_with(&SETTINGS);
    for (event, body) in [
        ("guest_deleted", GUEST),
        ("guest_type_saved", GUEST),
        ("guest_checkedin_undone", GUEST),
        ("booking_cancelled", GUEST),
        ("booking_marked_noshow", GUEST),
        ("user_created", GUEST),
        ("tariffs_updated", GUEST),
        ("guest_saved", r#"{"data":{"guest_uid":5}}"#),
        ("guest_saved", r#"{"data":{"email":"nobody"}}"#),
        ("guest_saved", r#"{"data":{"email":"a b@example.com"}}"#),
        ("guest_saved", r#"{"data":{"email":7}}"#),
        ("guest_saved", "[]"),
        ("guest_saved", "no JSON"),
    ] {
        let done = host.call::<DeferredDelivery>("mailchimp", &guest(event, body)).unwrap();
        assert!(done.note.unwrap().starts_with("nothing to do"), "{event} {body}");
    }
    assert_eq!(host.requests(), []);
}

#[test]
fn the_address_of_mailchimp_comes_from_the_url_or_else_from_the_key() {
    let list = |url: &str| list_url(url, "abc-us21", "l1").unwrap();
    assert_eq!(list("https://us21.api.mailchimp.com/3.0/"), "https://us21.api.mailchimp.com/3.0/lists/l1");
    assert_eq!(list("https://proxy.example/mc?x=1"), "https://proxy.example/mc/3.0/lists/l1");
    assert_eq!(list("Our guests"), "https://us21.api.mailchimp.com/3.0/lists/l1");
    assert_eq!(list_url("Our guests", "abc", "l1"), None);
}

#[track_caller]
fn check_answer(answer: HttpAnswer) -> Result<Delivered, PluginError> {
    let host = host_with(&SETTINGS).http(move |_| answer.clone());
    let result = host.call::<DeferredDelivery>("mailchimp", &guest("guest_saved", GUEST));
    let shown = format!("{result:?}{:?}", host.logs());
    assert!(!shown.contains("0123456789abcdef") && !shown.to_lowercase().contains("zoe@"), "{shown}");
    result
}

#[test]
fn a_guest_who_has_left_the_list_is_left_alone() {
    for title in DECLINED {
        let body = format!(r#"{{"title":"{title}","detail":"Zoe@example.com was removed"}}"#);
        let done = check_answer(HttpAnswer::status(400).body(body)).unwrap();
        assert!(done.note.unwrap().starts_with("not invited"));
    }
}

#[test]
fn what_mailchimp_cannot_take_is_not_sent_again_and_all_else_is() {
    let invalid = r#"{"title":"Invalid Resource","detail":"Zoe@example.com looks fake"}"#;
    let error = check_answer(HttpAnswer::status(400).body(invalid)).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permanent, Some("http_4xx")));
    assert!(error.to_string().ends_with("400 Invalid Resource"), "{error}");
    let odd = check_answer(HttpAnswer::status(400).body(r#"{"title":"zoe@example.com"}"#)).unwrap_err();
    assert!(odd.to_string().ends_with("answered 400"), "{odd}");
    for (status, code) in [(401, "http_4xx"), (404, "http_4xx"), (429, "rate_limited"), (500, "http_5xx")] {
        let error = check_answer(HttpAnswer::status(status).body("zoe@example.com")).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Retryable, Some(code)));
    }
}

#[test]
fn settings_that_cannot_work_are_refused_when_they_are_saved() {
    let problems = |settings: &[(&str, &str)], url: &str| {
        let mut webhook = ValidationRequest::default();
        webhook.url = url.to_owned();
        let host = host_with(&SETTINGS).setting(settings[0].0, settings[0].1);
        host.call::<WebhookValidation>("mailchimp", &webhook).unwrap().problems
    };
    for url in [URL, "https://US21.api.mailchimp.com/3.0", "http://127.0.0.1:8000/", "Our guests"] {
        assert_eq!(problems(&SETTINGS, url), [], "{url}");
    }
    for key in ["s3cret", "s3cret-", "-us21", "s3crét-us21"] {
        assert_eq!(problems(&[(KEY, key)], URL)[0].key.as_deref(), Some(KEY), "{key}");
    }
    for list in ["a/b", "a b", "é", &"a".repeat(65)] {
        assert_eq!(problems(&[(LIST, list)], URL)[0].key.as_deref(), Some(LIST), "{list}");
    }
    for url in ["https://us5.api.mailchimp.com", "https://mailchimp.com/", "https://us21.admin.mailchimp.com/lists"] {
        let [problem] = &problems(&SETTINGS, url)[..] else { panic!("{url}") };
        assert_eq!(problem.key, None);
        assert!(problem.message.contains(URL), "{problem:?}");
    }
}

#[test]
fn a_list_that_would_change_the_path_is_not_used() {
    let host = host_with(&[SETTINGS[0], (LIST, "../../x")]);
    let error = host.call::<DeferredDelivery>("mailchimp", &guest("guest_saved", GUEST)).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permanent, Some("bad_settings")));
    assert_eq!(host.requests(), []);
}
