//! From the first start to a delivered webhook, and the form that a plugin describes.

use switchboard_tests::{Browser, Receiver, Site, has_browser, library};

use super::{PASSWORD, Started, signed_in};

const ADMINISTRATOR: [&str; 2] = ["--role", "administrator"];

#[test]
fn from_the_first_start_to_a_delivered_webhook_through_the_pages_only() {
    if !has_browser() {
        return;
    }
    let (site, receiver) = (Site::new(), Receiver::friendly());
    let started = Started::on(&site);
    let browser = Browser::open(&started.address, "en-GB");
    browser.go(started.setup.as_deref().unwrap());
    browser.picture("setup");
    browser.fill("#name", "ada");
    browser.fill("#password", PASSWORD);
    browser.press("Make the administrator");
    browser.wait_for("Overview");
    browser.click("nav a[href='/plugins']");
    browser.wait_for("No plugins yet");
    assert!(browser.text().contains(&site.plugins().display().to_string()), "{}", browser.text());
    browser.picture("plugins-empty");
    // Dropped into the folder, as the page says.
    let library = library("webhook_none");
    std::fs::copy(library, site.plugins().join(library.file_name().unwrap())).unwrap();
    browser.press("Rescan now");
    browser.wait_for("webhook_none");
    browser.click("nav a[href='/webhooks']");
    browser.press("New webhook");
    browser.fill("#url", &receiver.url("hook"));
    browser.press("Add the webhook");
    browser.wait_for("is added and enabled");
    browser.click("nav a[href='/triggers']");
    browser.wait_for("07320");
    browser.go("/webhooks/1");
    browser.press("Send a test event");
    browser.wait_for("done");
    let request = receiver.wait_for(1).remove(0);
    assert_eq!(request.path, "/hook");
    // The link is good once.
    browser.go(started.setup.as_deref().unwrap());
    browser.wait_for("not good any more");
    let audit = site.json(&["audit"]);
    let done: Vec<_> = audit.as_array().unwrap().iter().rev().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(done, ["user.add", "plugin.rescan", "webhook.add", "webhook.test"]);
}

#[test]
fn the_drop_down_changes_the_form_in_the_administrators_language() {
    if !has_browser() {
        return;
    }
    let site = Site::with(&["webhook_basic", "webhook_none", "webhook_oauth"]);
    let started = Started::on(&site);
    for (name, language, user, token) in [
        ("ada", "en-GB", "User name", "Address of the token server"),
        ("bob", "de-DE", "Benutzername", "Adresse des Token-Servers"),
    ] {
        let browser = signed_in(&site, &started, name, &ADMINISTRATOR, language);
        browser.go("/webhooks/new");
        browser.fill("#url", "https://hooks.example.com/in");
        browser.choose("#method", "basic");
        browser.wait_for(user);
        browser.picture(&format!("webhook-new-{language}"));
        browser.choose("#method", "oauth");
        browser.wait_for(token);
        let settings = browser.run("return document.getElementById('settings').innerText", serde_json::json!([]));
        assert!(!settings.as_str().unwrap().contains(user), "{settings}");
        let url = browser.run("return document.getElementById('url').value", serde_json::json!([]));
        assert_eq!(url, "https://hooks.example.com/in");
        // The same without any script.
        browser.scripts(false);
        browser.go("/webhooks/new");
        browser.choose("#method", "basic");
        browser.press("Choose");
        browser.wait_for(user);
        browser.scripts(true);
    }
}
