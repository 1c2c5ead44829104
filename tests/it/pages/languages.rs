//! The texts of plugins, with the administrator's beside them.

use switchboard_tests::{Receiver, Site, has_browser};

use super::{Started, signed_in};

#[test]
fn a_text_of_ones_own_takes_the_place_of_the_plugins_and_is_taken_away_again() {
    if !has_browser() {
        return;
    }
    let (site, receiver) = (Site::with(&["webhook_basic", "channel_manager"]), Receiver::friendly());
    let settings = ["--set", "basic_username=ada", "--set", "basic_password=x"];
    site.add_webhook(0, &receiver.url("hook"), "basic", &settings);
    let started = Started::on(&site);
    let browser = signed_in(&site, &started, "ada", &["--role", "administrator"], "de-DE");
    browser.go("/languages");
    browser.click("a[href='/languages/webhook_basic?language=de-DE']");
    browser.wait_for("Benutzername und Passwort");
    browser.click("a[href='/languages/webhook_basic/de-DE/method']");
    browser.fill("#text", "Unser { $name }");
    browser.press("Save the text");
    browser.wait_for("uses `$name`, which the plugin does not give: it gives none");
    assert!(!site.path().join("languages/webhook_basic").exists());
    browser.fill("#text", "Unser Empfang");
    browser.press("Save the text");
    browser.wait_for("Your text of method holds from now on");
    let file = std::fs::read_to_string(site.path().join("languages/webhook_basic/de-DE.ftl")).unwrap();
    assert_eq!(file, "method = Unser Empfang\n");
    browser.go("/webhooks/1");
    browser.wait_for("Unser Empfang");
    browser.go("/languages/webhook_basic?language=de-DE");
    browser.click("a[href='/languages/webhook_basic/de-DE/method/remove']");
    browser.wait_for("Then it says again");
    browser.press("Remove 1 text");
    browser.wait_for("Your text of method is removed");
    browser.go("/webhooks/1");
    browser.wait_for("Benutzername und Passwort");
    let audit = site.json(&["audit"]);
    let done: Vec<_> = audit.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(
        done.iter().filter(|action| action.starts_with("text.")).collect::<Vec<_>>(),
        [&"text.remove", &"text.override"]
    );
}

#[test]
fn a_language_shows_what_it_lacks_and_who_only_looks_changes_nothing() {
    if !has_browser() {
        return;
    }
    let site = Site::with(&["webhook_basic"]);
    let folder = site.path().join("languages/webhook_basic");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("sv-SE.ftl"), "method = Namn och lösenord\n").unwrap();
    let started = Started::on(&site);
    let browser = signed_in(&site, &started, "rita", &["--role", "read-only"], "en-GB");
    browser.go("/languages");
    browser.wait_for("6 texts missing");
    browser.go("/languages/webhook_basic");
    browser.fill("#language", "sv_se");
    browser.press("Show");
    browser.wait_for("Namn och lösenord");
    browser.wait_for("missing");
    browser.wait_for("The user name cannot contain a colon.");
    let links = "return document.querySelectorAll('main tbody a').length";
    assert_eq!(browser.run(links, serde_json::json!([])), 0);
    browser.go("/languages/webhook_basic/sv-SE/method");
    browser.wait_for("Not allowed");
    for path in ["/languages/nobody", "/languages/webhook_basic?language=english+please"] {
        browser.go(path);
        browser.wait_for("Not found");
    }
}
