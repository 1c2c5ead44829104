//! Who sees what, and that texts from elsewhere are shown as texts.

use switchboard_tests::{Receiver, Site, has_browser};

use super::{Started, signed_in};

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
    for id in [other, whole] {
        for page in ["", "/disable", "/remove"] {
            browser.go(&format!("/webhooks/{id}{page}"));
            browser.wait_for("Not found");
        }
        let script = "const done = arguments[0]; fetch(`/webhooks/ID/disable`, { method: 'POST' }).then((answer) => done(answer.status))";
        assert_eq!(browser.run_async(&script.replace("ID", &id.to_string())), 404);
    }
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
    assert_eq!(enabled, [false, true, true]);
    for path in ["/plugins", "/triggers"] {
        browser.go(path);
        browser.wait_for("Not allowed");
    }
}
