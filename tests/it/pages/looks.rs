//! Every page as it looks, and whether everybody can use it.

use serde_json::Value;
use switchboard_tests::{Browser, Receiver, Site, has_browser};

use super::{Started, signed_in};

/// The pages, with the name of their picture.
const PAGES: [(&str, &str); 17] = [
    ("/", "overview"),
    ("/plugins", "plugins"),
    ("/plugins/webhook_none", "plugin"),
    ("/triggers", "triggers"),
    ("/triggers/07320/none", "trigger"),
    ("/webhooks", "webhooks"),
    ("/webhooks/1", "webhook"),
    ("/webhooks/1/edit", "webhook-edit"),
    ("/deliveries", "deliveries"),
    ("/deliveries/1", "delivery"),
    ("/tasks", "tasks"),
    ("/tasks/1", "task"),
    ("/logs", "logs"),
    ("/settings", "settings"),
    ("/people", "people"),
    ("/audit", "audit"),
    ("/account", "account"),
];

/// Looks for what keeps people from using a page.
#[track_caller]
fn check_for_everybody(browser: &Browser, path: &str) {
    const AXE: &str = include_str!("../../assets/axe/axe.min.js");
    browser.run(AXE, serde_json::json!([]));
    let found = browser.run_async(
        "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => \
         done(violations.map(({ id, impact, nodes }) => ({ id, impact, where: nodes.map(({ html }) => html).slice(0, 3) }))))",
    );
    let serious: Vec<&Value> = found
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| matches!(one["impact"].as_str(), Some("serious" | "critical" | "moderate")))
        .collect();
    assert!(serious.is_empty(), "{path}: {serious:#?}");
}

#[test]
fn everybody_can_use_every_page_in_light_and_in_dark() {
    if !has_browser() {
        return;
    }
    let (site, receiver) = (Site::with(&["webhook_none", "webhook_basic", "hello"]), Receiver::friendly());
    site.add_webhook(0, &receiver.url("bookings"), "none", &["--event", "booking_added"]);
    site.add_webhook(62, &receiver.url("guests"), "none", &[]);
    let started = Started::on(&site);
    let _ = site.run(&["emit", "booking_added", "--owner", "62", "--data", "{\"contract_uid\": 41}", "--wait"]).ok();
    let browser = Browser::open(&started.address, "en-GB");
    browser.go("/sign-in");
    browser.picture("sign-in");
    check_for_everybody(&browser, "/sign-in");
    drop(browser);
    let browser = signed_in(&site, &started, "ada", &["--role", "administrator"], "en-GB");
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for (path, name) in PAGES {
            browser.go(path);
            browser.picture(&format!("{name}-{scheme}"));
            check_for_everybody(&browser, path);
        }
        browser.go("/webhooks/1/remove");
        browser.picture(&format!("ask-{scheme}"));
        check_for_everybody(&browser, "/webhooks/1/remove");
        browser.go("/webhooks/new");
        check_for_everybody(&browser, "/webhooks/new");
    }
    browser.size(400, 900);
    browser.go("/webhooks");
    browser.picture("webhooks-narrow");
    let wider = browser.run("return document.documentElement.scrollWidth > innerWidth", serde_json::json!([]));
    assert_eq!(wider, false, "the page is wider than a narrow window");
}
