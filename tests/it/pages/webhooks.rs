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
    assert_eq!((request.path.as_str(), &request.json()["data"]["task"]), ("/hook", &serde_json::json!("webhook_test")));
    browser.click("nav a[href='/deliveries']");
    browser.click("tbody th a");
    browser.wait_for("webhook_test");
    browser.wait_for("200");
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

#[test]
fn options_headers_and_certificates_are_set_in_the_form_and_secrets_stay_when_nothing_is_typed() {
    if !has_browser() {
        return;
    }
    let (site, receiver) = (Site::with(&["webhook_none"]), Receiver::friendly());
    let started = Started::on(&site);
    let browser = signed_in(&site, &started, "ada", &ADMINISTRATOR, "en-GB");
    browser.go("/webhooks/new");
    browser.fill("#url", &receiver.url("hook"));
    browser.click("form > details > summary");
    browser.fill("#opt-timeout", "90s");
    browser.fill("#opt-cap", "0");
    browser.press("Add the webhook");
    browser.wait_for("`0` is no number from 1");
    browser.fill("#opt-cap", "2");
    browser.press("Add the webhook");
    browser.wait_for("1 to 60 seconds");
    let marked = browser
        .run("return document.getElementById('opt-timeout').getAttribute('aria-invalid')", serde_json::json!([]));
    assert_eq!(marked, "true");
    browser.fill("#opt-timeout", "20s");
    browser.fill("#opt-tls_timeout", "3s");
    browser.fill("#opt-schedule", "0s, 1m");
    browser.fill("#opt-stop_on", "400,422");
    browser.fill("#opt-headers", "X-Secret: first");
    browser.choose("#opt-order", "webhook");
    browser.choose("#opt-envelope", "standard");
    browser.press("Add the webhook");
    browser.wait_for("is added and enabled");
    browser.wait_for("0s, 1m");
    browser.press("Edit");
    let headers = browser.run("return document.getElementById('opt-headers').value", serde_json::json!([]));
    assert_eq!(headers, "X-Secret:\n", "a secret is never sent to a browser");
    browser.fill("#name", "Renamed");
    browser.press("Save the webhook");
    browser.wait_for("is changed");
    let shown = site.json(&["webhook", "show", "1"]);
    let options = &shown["options"];
    let expected =
        serde_json::json!([20_000, 3_000, [0, 60_000], 2, [400, 422], "webhook", "standard", ["X-Secret"], "Renamed"]);
    let found = serde_json::json!([
        options["timeout_ms"],
        options["tls_timeout_ms"],
        options["schedule_ms"],
        options["cap"],
        options["stop_on"],
        options["order"],
        options["envelope"],
        shown["headers"],
        shown["name"],
    ]);
    assert_eq!(found, expected);
    browser.press("Send a test event");
    let request = receiver.wait_for(1).remove(0);
    assert_eq!((request.header("x-secret"), &request.json()["type"]), ("first", &serde_json::json!("webhook.test")));
}

#[test]
fn a_change_that_somebody_else_made_meanwhile_is_shown_and_not_overwritten() {
    if !has_browser() {
        return;
    }
    let (site, receiver) = (Site::with(&["webhook_none"]), Receiver::friendly());
    site.add_webhook(0, &receiver.url("hook"), "none", &["--name", "Before"]);
    let started = Started::on(&site);
    let browser = signed_in(&site, &started, "ada", &ADMINISTRATOR, "en-GB");
    browser.go("/webhooks/1/edit");
    let _ = site.run(&["webhook", "edit", "1", "--name", "Theirs", "--cap", "3"]).ok();
    browser.fill("#name", "Mine");
    browser.press("Save the webhook");
    browser.wait_for("Somebody else has changed this webhook");
    browser.wait_for("Name: now “Theirs”");
    browser.wait_for("Most deliveries at a time: now “3”");
    browser.picture("webhook-meanwhile");
    assert_eq!(site.json(&["webhook", "show", "1"])["name"], "Theirs");
    let typed = browser.run("return document.getElementById('name').value", serde_json::json!([]));
    assert_eq!(typed, "Mine");
    browser.press("Save the webhook");
    browser.wait_for("Webhook 1 is changed");
    let shown = site.json(&["webhook", "show", "1"]);
    assert_eq!((&shown["name"], &shown["options"]["cap"]), (&"Mine".into(), &serde_json::Value::Null));
}

#[test]
fn a_webhook_shows_its_health_and_gets_a_new_secret() {
    if !has_browser() {
        return;
    }
    let (site, receiver) =
        (Site::with(&["webhook_signed"]), Receiver::start(|_| switchboard_tests::Answer::Status(500)));
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[deferred]\nschedule = [\"0s\", \"1h\"]\n");
    let secret = "signed_secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    site.add_webhook(0, &receiver.url("hook"), "signed", &["--set", secret]);
    let started = Started::on(&site);
    let browser = signed_in(&site, &started, "ada", &ADMINISTRATOR, "en-GB");
    browser.go("/webhooks/1");
    browser.wait_for("nothing waits");
    browser.press("Send a test event");
    let _ = receiver.wait_for(1);
    switchboard_tests::wait_until("the failure is counted", || {
        browser.go("/webhooks/1");
        browser.text().contains("1 failure in a row, 1 wait")
    });
    browser.wait_for("0 under way, 0 to make now, 1 to try later");
    browser.wait_for("1; it is disabled when there are 10 in 5d");
    browser.press("New secret");
    browser.press("Make a new secret for 1 webhook");
    browser.wait_for("It is not shown again");
    let secret = browser.run("return document.getElementById('secret').textContent", serde_json::json!([]));
    let secret = secret.as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert_eq!(site.json(&["webhook", "reveal", "1", "signed_secret"])["value"], secret);
    browser.press("Back to the webhook");
    assert!(!browser.text().contains(secret));
}
