//! What an auth method says about a webhook that is saved (07305).

use std::collections::BTreeMap;

use switchboard::{ErrorKind, Switchboard, WebhookDraft, WebhookError};
use switchboard_tests::{Answer, Receiver, Site};

/// Saves a webhook of the fixture `probe` with a verdict for its judge.
fn save(host: &Switchboard, url: String, verdict: &str) -> Result<(), WebhookError> {
    let settings = BTreeMap::from([("probe_judge_verdict".to_owned(), verdict.to_owned())]);
    let language = Some("fr-FR".to_owned());
    let draft = WebhookDraft { owner: 62, url, method: "probe_judge".into(), settings, language, ..Default::default() };
    host.webhooks().add(draft).map(drop)
}

#[test]
fn a_webhook_is_stored_when_its_method_finds_no_problem_and_only_then() {
    let site = Site::with(&["fixture_probe"]);
    let receiver = Receiver::friendly();
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    match save(&host, receiver.url(""), "both") {
        Err(WebhookError::Invalid { problems }) => {
            let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
            assert_eq!(fields, ["url", "settings.probe_judge_verdict"]);
            assert_eq!(problems[1].message, "not in fr-FR");
        }
        other => panic!("{other:?}"),
    }
    assert!(host.webhooks().list(None).unwrap().is_empty());
    save(&host, receiver.url(""), "none").unwrap();
    assert_eq!(host.webhooks().list(None).unwrap().len(), 1);
}

#[test]
fn a_method_can_ask_the_receiver_before_the_webhook_is_stored() {
    let site = Site::with(&["fixture_probe"]);
    let receiver =
        Receiver::start(|request| Answer::Status(if request.path.starts_with("/wrong") { 401 } else { 200 }));
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let refused = save(&host, receiver.url("wrong/"), "ask").unwrap_err();
    assert_eq!(refused.to_string(), "`url`: the receiver does not know us");
    save(&host, receiver.url("right/"), "ask").unwrap();
    let paths: Vec<_> = receiver.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/wrong/owner/62", "/right/owner/62"]);
}

#[test]
fn a_method_that_cannot_say_whether_a_webhook_works_keeps_it_from_being_stored() {
    let site = Site::with(&["fixture_probe"]);
    let receiver = Receiver::friendly();
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    for (verdict, kind) in [("fail", ErrorKind::Retryable), ("panic", ErrorKind::Panic)] {
        match save(&host, receiver.url(""), verdict) {
            Err(WebhookError::Validation { source, .. }) => assert_eq!(source.kind(), kind),
            other => panic!("{other:?}"),
        }
    }
    assert!(host.webhooks().list(None).unwrap().is_empty());
}

#[test]
fn the_command_line_shows_the_problems_in_one_line_and_in_the_language_that_is_asked_for() {
    let site = Site::with(&["webhook_basic", "fixture_probe"]);
    let add = |method: &str, more: &[&str]| {
        let url = "https://receiver.example/";
        let arguments = ["webhook", "add", "--owner", "62", "--url", url, "--method", method];
        site.run(&[&arguments[..], more].concat())
    };
    let basic = ["--set", "basic_username=a:b", "--set", "basic_password=s3cret", "--lang", "de-DE"];
    add("basic", &basic).refused(2, &["`basic_username`: Der Benutzername darf keinen Doppelpunkt enthalten."]);
    add("probe_judge", &["--set", "probe_judge_verdict=both"])
        .refused(2, &["another URL is needed; `probe_judge_verdict`: not in en-GB"]);
    add("probe_judge", &["--set", "probe_judge_verdict=fail"]).refused(1, &["could not check", "nobody to ask"]);
    assert_eq!(site.json(&["webhook", "list"]), serde_json::json!([]));
}
