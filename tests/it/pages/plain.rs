//! The pages without any script.

use serde_json::json;
use switchboard_tests::{Browser, Receiver, Site, has_browser, wait_until};

use super::{Started, signed_in};

/// Types into fields.
#[track_caller]
fn fill(browser: &Browser, fields: &[(&str, &str)]) {
    fields.iter().for_each(|(selector, text)| browser.fill(selector, text));
}

#[test]
fn everything_is_done_without_scripts() {
    if !has_browser() {
        return;
    }
    let (site, receiver) = (Site::with(&["webhook_none", "webhook_signed", "hello"]), Receiver::friendly());
    // What is replayed is kept in development mode only.
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[log]\nmode = \"development\"\n");
    let started = Started::on(&site);
    let browser = signed_in(&site, &started, "ada", &["--role", "administrator"], "en-GB");
    browser.scripts(false);

    browser.go("/webhooks/new");
    fill(&browser, &[("#url", &receiver.url("plain"))]);
    browser.choose("#method", "signed");
    browser.press("Choose");
    browser.choose("#method", "none");
    browser.press("Choose");
    browser.press("Add the webhook");
    browser.wait_for("Webhook 1 is added and enabled");
    browser.press("Send a test event");
    let _ = receiver.wait_for(1);
    wait_until("the delivery is shown as done", || {
        browser.go("/webhooks/1");
        browser.text().contains("done")
    });
    browser.press("Edit");
    fill(&browser, &[("#name", "Plain")]);
    browser.press("Save the webhook");
    browser.wait_for("Webhook 1 is changed");
    browser.press("Disable");
    browser.press("Disable 1 webhook");
    browser.wait_for("Webhook 1 is disabled");
    browser.press("Enable");
    browser.wait_for("Webhook 1 is enabled");

    browser.go("/deliveries");
    fill(&browser, &[("#filter-webhook", "1")]);
    browser.press("Filter");
    browser.click("tbody th a");
    browser.press("Replay");
    browser.press("Replay 1 delivery");
    browser.wait_for("Replayed as task 2");

    browser.go("/tasks?state=done");
    browser.press("Replay all that match…");
    browser.press("Replay 2 tasks");
    browser.wait_for("replay of 2 tasks has begun");
    let _ = receiver.wait_for(4);

    browser.go("/logs");
    browser.choose("#channel", "Webhooks");
    fill(&browser, &[("#task", "1")]);
    browser.press("Search");
    browser.click("pre a[href='/tasks/1/replay']");
    browser.press("Go back");
    browser.wait_for("Task 1");

    browser.go("/languages/webhook_none?language=de-DE");
    browser.click("a[href='/languages/webhook_none/de-DE/method']");
    fill(&browser, &[("#text", "Ohne alles")]);
    browser.press("Save the text");
    browser.wait_for("Your text of method holds from now on");

    browser.go("/triggers?q=hello");
    browser.click("tbody th a[href='/triggers/06000/hello']");
    browser.press("Call 06000 hello");
    browser.wait_for("it succeeded");
    browser.go("/plugins/hello");
    browser.press("Disable");
    browser.press("Disable 1 plugin");
    browser.wait_for("Plugin hello is disabled");
    browser.go("/settings");
    browser.press("Switch to production mode");
    browser.wait_for("The host is in production mode");
    browser.go("/people");
    fill(&browser, &[("#name", "bob"), ("#password", "another long password")]);
    browser.press("Add the user");
    browser.wait_for("User bob is added");
    browser.go("/people/users/bob/remove");
    browser.press("Remove 1 user");
    browser.wait_for("User bob is removed");
    browser.go("/account");
    fill(&browser, &[("#language", "de-DE")]);
    browser.press("Save");
    browser.wait_for("The language was saved");
    browser.go("/audit");
    for action in
        ["webhook.add", "bulk.replay", "text.override", "trigger.call", "plugin.disable", "settings.mode", "user.add"]
    {
        assert!(browser.text().contains(action), "{action} is not in {}", browser.text());
    }
    // What only a script can do is not offered.
    for path in ["/", "/logs", "/triggers", "/deliveries/1"] {
        browser.go(path);
        let offered = "return [...document.querySelectorAll('[data-pause], [data-copy], [data-follow-button]')]\
                       .filter((one) => one.checkVisibility()).length";
        assert_eq!(browser.run(offered, json!([])), 0, "{path}");
    }
}
