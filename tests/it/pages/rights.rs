//! Who sees what, and that texts from elsewhere are shown as texts.

use switchboard_tests::{Answer, Receiver, Site, has_browser};

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

const SCRIPT: &str = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">";

#[test]
fn texts_from_elsewhere_are_shown_as_texts() {
    if !has_browser() {
        return;
    }
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::start(|_| Answer::Body(200, SCRIPT.to_owned()));
    site.add_webhook(0, &receiver.url("hook"), "none", &["--name", SCRIPT]);
    let started = Started::on(&site);
    let data = serde_json::json!({ "guest": SCRIPT }).to_string();
    let _ = site.run(&["emit", "booking_added", "--owner", "0", "--data", &data, "--task", SCRIPT, "--wait"]).ok();
    let mut log =
        std::fs::OpenOptions::new().append(true).open(site.path().join("logs/Webhooks.application.log")).unwrap();
    let line = format!("2026-11-24T12:00:00.000Z INFO  {SCRIPT} task=1\n");
    std::io::Write::write_all(&mut log, line.as_bytes()).unwrap();
    let browser = signed_in(&site, &started, "ada", &["--role", "administrator"], "en-GB");
    for (path, shown) in [
        ("/webhooks", true),
        ("/webhooks/1", true),
        ("/webhooks/1/edit", false),
        ("/deliveries/1", true),
        ("/tasks/1", true),
        ("/logs", true),
        ("/audit", false),
    ] {
        browser.go(path);
        let text = browser.text();
        assert!(text.contains("<img src=x onerror=") || !shown, "{path}: {text}");
        let title = browser.run("return document.title", serde_json::json!([]));
        assert_ne!(title, "broken", "{path}");
        let strange = "return document.querySelectorAll('main script, main img[src=x]').length";
        assert_eq!(browser.run(strange, serde_json::json!([])), 0, "{path}");
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
