//! Who sees and changes what.

use serde_json::json;
use switchboard_tests::{Receiver, Site, has_browser};

use super::{Started, signed_in};

/// Sends a form as a page of the server does, and returns the status of where it leads.
#[track_caller]
fn posted(browser: &switchboard_tests::Browser, path: &str, form: &str) -> serde_json::Value {
    let script = "const done = arguments[0]; fetch(PATH, { method: 'POST', body: new URLSearchParams(FORM) })\
                  .then((answer) => done(answer.status))";
    browser.run_async(&script.replace("PATH", &json!(path).to_string()).replace("FORM", &json!(form).to_string()))
}

#[test]
fn an_owner_sees_and_changes_nothing_of_others() {
    if !has_browser() {
        return;
    }
    let (site, receiver) = (Site::with(&["webhook_none"]), Receiver::friendly());
    let add = |owner, path| site.add_webhook(owner, &receiver.url(path), "none", &[]);
    let (own, other, whole) = (add(62, "own"), add(63, "other"), add(0, "whole"));
    let started = Started::on(&site);
    let browser = signed_in(&site, &started, "olga", &["--role", "operator", "--owner", "62"], "en-GB");
    browser.go("/webhooks");
    browser.wait_for("/own");
    assert!(!browser.text().contains("/other") && !browser.text().contains("/whole"), "{}", browser.text());
    // One event of the owner goes to the owner's webhook and to that of the whole site.
    let _ = site.run(&["emit", "booking_added", "--owner", "62", "--data", "{}", "--wait"]).ok();
    let _ = site.run(&["emit", "booking_added", "--owner", "63", "--data", "{}", "--wait"]).ok();
    let deliveries = site.json(&["delivery", "list"]);
    let of = |webhook: i64| deliveries.as_array().unwrap().iter().filter(move |one| one["webhook"] == webhook);
    browser.go("/deliveries");
    let shown =
        browser.run("return [...document.querySelectorAll('tbody th a')].map((one) => one.textContent)", json!([]));
    let expected: Vec<String> = of(own).map(|one| one["id"].to_string()).collect();
    assert_eq!((shown, expected.len()), (json!(expected), 1));
    assert_eq!(of(other).chain(of(whole)).count(), 3);
    for delivery in of(other).chain(of(whole)) {
        for page in ["", "/preview", "/replay"] {
            browser.go(&format!("/deliveries/{}{page}", delivery["id"]));
            browser.wait_for("Not found");
        }
        assert_eq!(posted(&browser, &format!("/deliveries/{}/replay", delivery["id"]), ""), 404);
    }
    for id in [other, whole] {
        for page in ["", "/edit", "/disable", "/remove", "/rotate"] {
            browser.go(&format!("/webhooks/{id}{page}"));
            browser.wait_for("Not found");
        }
        for change in ["", "/edit", "/disable", "/enable", "/remove", "/rotate", "/test"] {
            assert_eq!(posted(&browser, &format!("/webhooks/{id}{change}"), ""), 404, "{change}");
        }
    }
    // Whatever a form says, an owner's webhook stays the owner's.
    let form = format!("owner=63&method=none&name=taken&url={}", receiver.url("own"));
    assert_eq!(posted(&browser, &format!("/webhooks/{own}"), &form), 200);
    assert_eq!(posted(&browser, "/webhooks", &form), 200);
    let owners: Vec<_> =
        site.json(&["webhook", "list"]).as_array().unwrap().iter().map(|one| one["owner"].clone()).collect();
    assert_eq!(owners, [62, 63, 0, 62]);
    browser.go(&format!("/webhooks/{own}/disable"));
    browser.press("Disable 1 webhook");
    browser.wait_for("is disabled");
    let enabled: Vec<_> = site
        .json(&["webhook", "list"])
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["enabled"].as_bool().unwrap())
        .collect();
    assert_eq!(enabled, [false, true, true, true]);
    // A webhook that changes hands does not take along what it got before.
    let _ = site.run(&["webhook", "edit", &other.to_string(), "--owner", "62"]).ok();
    browser.go(&format!("/webhooks/{other}"));
    browser.wait_for("/other");
    for delivery in of(other) {
        browser.go(&format!("/deliveries/{}", delivery["id"]));
        browser.wait_for("Not found");
    }
    for path in ["/plugins", "/triggers", "/tasks", "/logs", "/languages", "/settings", "/people", "/audit"] {
        browser.go(path);
        browser.wait_for("Not allowed");
    }
}

#[test]
fn a_log_line_leads_to_the_replay_of_its_task() {
    if !has_browser() {
        return;
    }
    let (site, receiver) = (Site::with(&["webhook_none"]), Receiver::friendly());
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[log]\nmode = \"development\"\n");
    site.add_webhook(0, &receiver.url("hook"), "none", &[]);
    let started = Started::on(&site);
    let _ = site.run(&["emit", "booking_added", "--owner", "0", "--data", "{}", "--wait"]).ok();
    let browser = signed_in(&site, &started, "ada", &["--role", "operator"], "en-GB");
    browser.go("/logs?channel=Webhooks");
    browser.click("pre a[href='/tasks/1/replay']");
    browser.press("Replay 1 task");
    browser.wait_for("was replayed as task 2");
    browser.wait_for("delivered");
    let requests = receiver.wait_for(2);
    assert_eq!(requests[0].body, requests[1].body);
    // Somebody who only looks cannot.
    let reader = signed_in(&site, &started, "rita", &["--role", "read-only"], "en-GB");
    reader.go("/tasks/1/replay");
    reader.wait_for("Not allowed");
}
