//! Texts from elsewhere are shown as the texts that they are: names of plugins, language files, log lines, payloads,
//! answers of receivers, errors of plugins, and what users typed.

use serde_json::json;
use switchboard_tests::{Answer, Browser, Receiver, Site, has_browser, library};

use super::{Started, signed_in};

/// As long as the title of the plugin in whose place it comes.
const TITLE: &str = "<img src=x onerror=broken('t')>";
const SCRIPT: &str = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">";

/// Checks that a page shows a text and makes nothing of it.
#[track_caller]
fn check_text(browser: &Browser, path: &str, text: &str) {
    browser.go(path);
    let shown = browser.run("return document.body.textContent", json!([]));
    assert!(shown.as_str().unwrap().contains(text), "{path} does not show `{text}`: {shown}");
    check_nothing_is_made_of_it(browser, path);
}

#[track_caller]
fn check_nothing_is_made_of_it(browser: &Browser, path: &str) {
    let made = "return document.querySelectorAll('main script, img[src=x], [onerror]').length";
    assert_eq!(browser.run(made, json!([])), 0, "{path}");
    assert_ne!(browser.run("return document.title", json!([])), "broken", "{path}");
}

#[test]
fn the_name_of_a_plugin_is_text() {
    if !has_browser() {
        return;
    }
    let site = Site::new();
    let built = std::fs::read(library("webhook_none")).unwrap();
    let title = b"Webhooks without authentication";
    assert_eq!(TITLE.len(), title.len());
    let mut bytes = built.clone();
    for at in (0..built.len() - title.len()).filter(|at| built[*at..].starts_with(title)) {
        bytes[at..at + title.len()].copy_from_slice(TITLE.as_bytes());
    }
    assert_ne!(bytes, built);
    std::fs::write(site.plugins().join(library("webhook_none").file_name().unwrap()), bytes).unwrap();
    let started = Started::on(&site);
    let browser = signed_in(&site, &started, "ada", &["--role", "administrator"], "en-GB");
    for path in ["/plugins", "/plugins/webhook_none", "/plugins/webhook_none/remove"] {
        check_text(&browser, path, TITLE);
    }
}

#[test]
fn texts_of_language_files_are_texts() {
    if !has_browser() {
        return;
    }
    let (site, receiver) = (Site::with(&["webhook_basic"]), Receiver::friendly());
    let folder = site.path().join("languages/webhook_basic");
    std::fs::create_dir_all(&folder).unwrap();
    let keys = ["method", "notes", "basic-username", "basic-username-help", "basic-username-colon"];
    let file: String = keys.map(|key| format!("{key} = {SCRIPT} {key}\n")).concat();
    std::fs::write(folder.join("en-GB.ftl"), file).unwrap();
    let settings = ["--set", "basic_username=ada", "--set", "basic_password=x"];
    site.add_webhook(0, &receiver.url("hook"), "basic", &settings);
    let started = Started::on(&site);
    let browser = signed_in(&site, &started, "ada", &["--role", "administrator"], "en-GB");
    for path in ["/webhooks", "/webhooks/1"] {
        check_text(&browser, path, &format!("{SCRIPT} method"));
    }
    for key in &keys[..4] {
        check_text(&browser, "/webhooks/new", &format!("{SCRIPT} {key}"));
        check_text(&browser, "/languages/webhook_basic", &format!("{SCRIPT} {key}"));
    }
    check_text(&browser, "/languages/webhook_basic/en-GB/notes/remove", &format!("{SCRIPT} notes"));
    browser.go("/languages/webhook_basic/en-GB/notes");
    let typed = browser.run("return document.getElementById('text').value", json!([]));
    assert_eq!(typed, format!("{SCRIPT} notes"));
    check_nothing_is_made_of_it(&browser, "the form of a text");
    // What the auth method says about a mistake comes from its texts as well.
    browser.go("/webhooks/1/edit");
    browser.fill("#set-basic_username", "a:b");
    browser.press("Save the webhook");
    browser.wait_for("basic-username-colon");
    check_nothing_is_made_of_it(&browser, "the form of a webhook");
    // And where a script puts the form of another method into the page.
    browser.go("/webhooks/new");
    browser.run("document.getElementById('method').dispatchEvent(new Event('change'))", json!([]));
    browser.wait_for("is shown.");
    check_nothing_is_made_of_it(&browser, "the form of a new webhook");
}

#[test]
fn payloads_answers_and_names_of_webhooks_are_texts() {
    if !has_browser() {
        return;
    }
    let site = Site::with(&["webhook_none"]);
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[log]\nmode = \"development\"\n");
    let receiver = Receiver::start(|_| Answer::Body(200, SCRIPT.to_owned()));
    site.add_webhook(0, &receiver.url("hook"), "none", &["--name", SCRIPT]);
    let started = Started::on(&site);
    let data = json!({ "guest": SCRIPT }).to_string();
    let _ = site.run(&["emit", "booking_added", "--owner", "0", "--data", &data, "--task", SCRIPT, "--wait"]).ok();
    let browser = signed_in(&site, &started, "ada", &["--role", "administrator"], "en-GB");
    let in_json = SCRIPT.replace('"', "\\\"");
    for (path, text) in [
        ("/webhooks", SCRIPT),
        ("/webhooks/1", SCRIPT),
        ("/webhooks/1/disable", SCRIPT),
        ("/tasks/1", &in_json),
        ("/deliveries/1", &in_json),
        ("/deliveries/1", SCRIPT),
        ("/deliveries/1/preview", &in_json),
    ] {
        check_text(&browser, path, text);
    }
    browser.go("/webhooks/1/edit");
    assert_eq!(browser.run("return document.getElementById('name').value", json!([])), SCRIPT);
    check_nothing_is_made_of_it(&browser, "/webhooks/1/edit");
}

#[test]
fn log_lines_are_texts_also_while_they_are_followed() {
    if !has_browser() {
        return;
    }
    let site = Site::with(&["hello"]);
    let started = Started::on(&site);
    let browser = signed_in(&site, &started, "ada", &["--role", "administrator"], "en-GB");
    let write = |text: &str| {
        let log = site.path().join("logs/Webhooks.application.log");
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        let line = format!("2026-11-24T12:00:00.000Z INFO  {SCRIPT} {text} task=7\n");
        std::io::Write::write_all(&mut log, line.as_bytes()).unwrap();
    };
    write("before");
    check_text(&browser, "/logs", &format!("{SCRIPT} before"));
    browser.press("Follow");
    browser.wait_for("New lines are shown as they come.");
    write("followed");
    browser.wait_for("followed");
    check_nothing_is_made_of_it(&browser, "a followed log");
    let link = "return [...document.querySelectorAll('.log div:last-child a')].map((one) => one.getAttribute('href'))";
    assert_eq!(browser.run(link, json!([])), json!(["/tasks/7", "/tasks/7/replay"]));
}

#[test]
fn errors_of_plugins_and_what_users_type_are_texts() {
    if !has_browser() {
        return;
    }
    let site = Site::with(&["hello", "fixture_probe"]);
    let reason = format!("probe_permanent_reason={SCRIPT}");
    site.add_webhook(0, "https://example.com/", "probe_permanent", &["--set", &reason]);
    let started = Started::on(&site);
    let _ = site.run(&["emit", "booking_added", "--owner", "0", "--wait"]);
    let browser = signed_in(&site, &started, "ada", &["--role", "administrator"], "en-GB");
    for path in ["/tasks/1", "/deliveries/1", "/webhooks/1", "/triggers", "/plugins/probe"] {
        check_text(&browser, path, SCRIPT);
    }
    // Quotation marks have a mark of their own in a line of a log.
    check_text(&browser, "/logs", SCRIPT.split('"').next().unwrap());
    browser.go("/triggers/06000/wait_for_file");
    let payload = json!({ "started": format!("/nowhere/{SCRIPT}"), "path": "/" }).to_string();
    browser.fill("#payload", &payload);
    browser.press("Call 06000 wait_for_file");
    browser.wait_for("it failed");
    browser.wait_for(SCRIPT);
    check_nothing_is_made_of_it(&browser, "an error of a plugin");
    browser.go("/triggers/06000/hello");
    browser.fill("#payload", SCRIPT);
    browser.press("Call 06000 hello");
    browser.wait_for("the payload is no JSON");
    let typed = browser.run("return document.getElementById('payload').value", json!([]));
    assert_eq!(typed, SCRIPT);
    check_nothing_is_made_of_it(&browser, "what was typed");
    let query = "%3Cimg%20src%3Dx%20onerror%3D1%3E";
    for path in [
        "/triggers?q=",
        "/tasks?reason=",
        "/deliveries?text=",
        "/logs?text=",
        "/audit?who=",
        "/plugins/",
        "/languages/",
    ] {
        browser.go(&format!("{path}{query}"));
        check_nothing_is_made_of_it(&browser, path);
    }
}
