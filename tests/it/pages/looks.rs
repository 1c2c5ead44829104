//! Every page as it looks, and whether everybody can use it: with a reader of the screen, with a keyboard, in light and in
//! dark, on a narrow window, without scripts.

use serde_json::{Value, json};
use switchboard_tests::{Answer, Browser, Receiver, Site, has_browser};

use super::{Started, signed_in};

/// The pages that are looked at, with the route of each and the name of its picture.
const PAGES: [(&str, &str, &str); 40] = [
    ("/", "/", "overview"),
    ("/account", "/account", "account"),
    ("/audit", "/audit", "audit"),
    ("/deliveries", "/deliveries", "deliveries"),
    ("/deliveries/{id}", "/deliveries/1", "delivery"),
    ("/deliveries/{id}/preview", "/deliveries/1/preview", "delivery-preview"),
    ("/deliveries/{id}/replay", "/deliveries/1/replay", "delivery-replay"),
    ("/languages", "/languages", "languages"),
    ("/languages/{plugin}", "/languages/webhook_basic?language=de-DE", "texts"),
    ("/languages/{plugin}/{language}/{key}", "/languages/webhook_basic/de-DE/method", "text"),
    ("/languages/{plugin}/{language}/{key}/remove", "/languages/webhook_basic/de-DE/method/remove", "text-remove"),
    ("/logs", "/logs", "logs"),
    ("/operations", "/operations", "operations"),
    ("/operations/{id}/stop", "/operations/1/stop", "operation-stop"),
    ("/people", "/people", "people"),
    ("/people/tokens/{id}/revoke", "/people/tokens/1/revoke", "token-revoke"),
    ("/people/users/{name}/remove", "/people/users/ada/remove", "user-remove"),
    ("/plugins", "/plugins", "plugins"),
    ("/plugins/{plugin}", "/plugins/webhook_none", "plugin"),
    ("/plugins/{plugin}/disable", "/plugins/webhook_none/disable", "plugin-disable"),
    ("/plugins/{plugin}/remove", "/plugins/webhook_none/remove", "plugin-remove"),
    ("/settings", "/settings", "settings"),
    ("/tasks", "/tasks", "tasks"),
    ("/tasks/bulk", "/tasks/bulk?action=retry&state=done", "tasks-bulk"),
    ("/tasks/{id}", "/tasks/1", "task"),
    ("/tasks/{id}/cancel", "/tasks/3/cancel", "task-cancel"),
    ("/tasks/{id}/replay", "/tasks/1/replay", "task-replay"),
    ("/triggers", "/triggers", "triggers"),
    ("/triggers/{number}/{name}", "/triggers/06000/hello", "trigger"),
    ("/webhooks", "/webhooks", "webhooks"),
    ("/webhooks/new", "/webhooks/new", "webhook-new"),
    ("/webhooks/{id}", "/webhooks/3", "webhook"),
    ("/webhooks/{id}", "/webhooks/4", "webhook-of-options"),
    ("/webhooks/{id}/disable", "/webhooks/1/disable", "webhook-disable"),
    ("/webhooks/{id}/edit", "/webhooks/4/edit", "webhook-edit"),
    ("/webhooks/{id}/recover", "/webhooks/2/recover?since=2026-01-01T00:00", "webhook-recover"),
    ("/webhooks/{id}/remove", "/webhooks/1/remove", "webhook-remove"),
    ("/webhooks/{id}/rotate", "/webhooks/4/rotate", "webhook-rotate"),
    ("/webhooks/{id}", "/webhooks/999", "problem"),
    ("/logs", "/logs?text=background", "logs-search"),
];

/// Routes that are no pages, and those that show nothing to somebody who is signed in.
const NO_PAGES: [&str; 6] = ["/livez", "/assets/{file}", "/logs/follow", "/logs/files/{id}", "/setup", "/sign-in"];

/// A host with something of everything, and a browser in which an administrator is signed in.
struct Furnished {
    site: Site,
    started: Started,
    _receiver: Receiver,
}

impl Furnished {
    fn new() -> Self {
        let site = Site::with(&["webhook_none", "webhook_basic", "webhook_signed", "hello"]);
        let settings = "[egress]\nallow = [\"127.0.0.0/8\"]\n[deferred]\nschedule = [\"0s\", \"1h\"]\n[log]\nmode = \"development\"\n";
        site.settings(settings);
        let receiver = Receiver::start(|request| match request.path.as_str() {
            "/failing" => Answer::Body(500, "{\"error\":\"the booking system is being mended\"}".into()),
            _ => Answer::Body(200, "{\"ok\":true}".into()),
        });
        let started = Started::on(&site);
        site.add_webhook(0, &receiver.url("bookings"), "none", &["--event", "booking_added"]);
        site.add_webhook(62, &receiver.url("guests"), "none", &["--name", "Guests to the mailing list"]);
        site.add_webhook(
            0,
            &receiver.url("failing"),
            "basic",
            &["--set", "basic_username=ada", "--set", "basic_password=x"],
        );
        let options = [
            "--name",
            "Signed, with options of its own",
            "--set",
            "signed_secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "--timeout",
            "20s",
            "--schedule",
            "0s,1m,1h",
            "--cap",
            "2",
            "--rate",
            "30/1m",
            "--stop-on",
            "400,422",
            "--envelope",
            "standard",
            "--header",
            "X-Site: hotel",
            "--event",
            "guest_*",
        ];
        site.add_webhook(0, &receiver.url("signed"), "signed", &options);
        let data = json!({ "contract_uid": 41, "property_uid": 7, "guest": "Zoë Fremd" }).to_string();
        let emitted = site.json(&["emit", "booking_added", "--owner", "62", "--data", &data]);
        assert_eq!(emitted["tasks"].as_array().unwrap().len(), 3, "{emitted}");
        for (task, state) in [(1, "done"), (2, "done"), (3, "waiting")] {
            let _ = site.wait_for_task(task, state);
        }
        for _ in 0..3 {
            let _ = site.run(&["task", "defer", "06000", "hello", "--after", "1h"]).ok();
        }
        let cancel =
            ["task", "bulk", "cancel", "--number", "06000", "--state", "waiting", "--per-second", "1", "--yes"];
        let _ = site.run(&cancel).ok();
        let _ = site.run(&["task", "bulk", "pause", "1"]).ok();
        let _ = site.run(&["language", "override", "webhook_basic", "de-DE", "method", "Unser Empfang"]).ok();
        let _ = site.run(&["token", "create", "booking system", "--role", "operator"]).ok();
        let _ = site.run(&["trigger", "06000", "hello"]).ok();
        Self { site, started, _receiver: receiver }
    }

    fn administrator(&self) -> Browser {
        signed_in(&self.site, &self.started, "ada", &["--role", "administrator"], "en-GB")
    }
}

/// Looks for what keeps people from using a page.
#[track_caller]
fn check_for_everybody(browser: &Browser, path: &str) {
    let looked_at = axe(browser, path, "");
    assert!(looked_at > 10, "{path}: hardly anything was looked at");
}

/// Looks at what depends on colours alone: all else of a page is the same in light and in dark.
#[track_caller]
fn check_colours(browser: &Browser, path: &str) {
    let looked_at = axe(browser, path, "runOnly: ['color-contrast', 'link-in-text-block'],");
    assert!(looked_at > 0, "{path}: nothing was looked at");
}

/// Checks that axe finds nothing, and returns how many of its rules have found something to look at.
#[track_caller]
fn axe(browser: &Browser, path: &str, options: &str) -> u64 {
    const AXE: &str = include_str!("../../assets/axe/axe.min.js");
    browser.run(AXE, json!([]));
    let found = browser.run_async(&format!(
        "const done = arguments[0]; const options = {{ {options} resultTypes: ['violations'] }}; \
         axe.run(document, options).then(({{ violations, passes }}) => \
         done([passes.length, violations.map(({{ id, impact, nodes }}) => \
         ({{ id, impact, where: nodes.map(({{ html }}) => html).slice(0, 3) }}))]))"
    ));
    assert_eq!(found[1], json!([]), "{path}: {:#}", found[1]);
    found[0].as_u64().unwrap()
}

#[track_caller]
fn check_that_it_fits(browser: &Browser, path: &str) {
    let wide = "return [...document.querySelectorAll('body *')].filter((one) => !one.closest('.scroll, pre, .hidden, .skip') \
                && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 200)).slice(0, 3)";
    assert_eq!(browser.run(wide, json!([])), json!([]), "{path} is wider than the window");
}

#[test]
fn every_page_of_the_table_of_routes_is_looked_at() {
    const ROUTES: &str = include_str!("../../../framework/server/src/web/routes.rs");
    let routes: Vec<&str> = ROUTES
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("show(\"")?.split_once('"'))
        .map(|(path, _)| path)
        .filter(|path| !path.is_empty())
        .collect();
    assert!(routes.len() > 30, "{routes:?}");
    let left_out: Vec<_> =
        routes.iter().filter(|route| !NO_PAGES.contains(route) && !PAGES.iter().any(|(of, ..)| of == *route)).collect();
    assert!(left_out.is_empty(), "add these pages to the table of this test: {left_out:?}");
}

#[test]
fn everybody_can_use_every_page_in_light_and_in_dark() {
    if !has_browser() {
        return;
    }
    let furnished = Furnished::new();
    let outside = Browser::open(&furnished.started.address, "en-GB");
    let browser = furnished.administrator();
    for (scheme, check) in [("light", check_for_everybody as fn(&Browser, &str)), ("dark", check_colours)] {
        outside.scheme(scheme);
        outside.go("/sign-in");
        outside.picture(&format!("sign-in-{scheme}"));
        check(&outside, "/sign-in");
        browser.scheme(scheme);
        for (_, path, name) in PAGES {
            browser.go(path);
            browser.picture(&format!("{name}-{scheme}"));
            check(&browser, path);
            check_that_it_fits(&browser, path);
        }
    }
}

#[test]
fn every_page_fits_a_narrow_window() {
    if !has_browser() {
        return;
    }
    let furnished = Furnished::new();
    let browser = furnished.administrator();
    browser.size(390, 844);
    for (_, path, name) in PAGES {
        browser.go(path);
        browser.picture(&format!("{name}-narrow"));
        check_that_it_fits(&browser, path);
    }
}

#[test]
fn pages_that_are_shown_once_or_say_what_is_wrong_can_be_used_by_everybody() {
    if !has_browser() {
        return;
    }
    let furnished = Furnished::new();
    let browser = furnished.administrator();
    let look = |name: &str| {
        browser.picture(name);
        check_for_everybody(&browser, name);
        check_that_it_fits(&browser, name);
    };
    browser.go("/webhooks/4/rotate");
    browser.press("Make a new secret for 1 webhook");
    browser.wait_for("It is not shown again");
    look("secret");
    browser.go("/people");
    browser.fill("#token-name", "booking system");
    browser.press("Make the token");
    browser.wait_for("Authorization: Bearer");
    look("token");
    browser.go("/people");
    browser.run("document.querySelectorAll('form').forEach((form) => { form.noValidate = true; })", json!([]));
    browser.press("Add the user");
    browser.wait_for("Users and tokens");
    look("people-wrong");
    browser.go("/triggers/06000/hello");
    browser.press("Call 06000 hello");
    browser.wait_for("it succeeded");
    look("trigger-tried");
    browser.go("/webhooks/new");
    browser.choose("#method", "none");
    browser.wait_for("The event is sent as it is.");
    browser.fill("#url", "ftp://example.com");
    browser.press("Add the webhook");
    browser.wait_for("It was not saved");
    look("webhook-wrong");
    let _ = furnished.site.run(&["user", "add", "bob", "--password", "-", "--role", "operator"]);
    browser.go("/account");
    browser.fill("#old", "wrong");
    browser.fill("#new", "another long password");
    browser.press("Change the password");
    browser.wait_for("The present password is wrong");
    look("account-wrong");
}

#[test]
fn empty_pages_say_what_to_do_in_which_folder() {
    if !has_browser() {
        return;
    }
    let site = Site::new();
    let started = Started::on(&site);
    let browser = signed_in(&site, &started, "ada", &["--role", "administrator"], "en-GB");
    let folder = |name: &str| site.path().join(name).display().to_string();
    for (path, title, shown) in [
        ("/plugins", "No plugins yet", folder("plugins")),
        ("/languages", "No texts yet", folder("plugins")),
        ("/webhooks", "No webhooks yet", folder("plugins")),
        ("/webhooks/new", "No auth methods yet", folder("plugins")),
        ("/deliveries", "No deliveries match", "sends a test event".into()),
        ("/tasks", "No tasks match", site.path().display().to_string()),
        ("/triggers?q=nothing", "No handlers", "Show all".into()),
        ("/logs?text=nothing-says-this", "No records match", folder("logs")),
        ("/audit?who=no-such-user", "No changes match", "stands here".into()),
    ] {
        browser.go(path);
        browser.picture(&format!("empty{}", path.split('?').next().unwrap().replace('/', "-")));
        for text in [title, &shown] {
            assert!(browser.text().contains(text), "{path}: `{text}` is not in {}", browser.text());
        }
        check_for_everybody(&browser, path);
        check_that_it_fits(&browser, path);
    }
}

/// The key Tab, as WebDriver names it.
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';

#[test]
fn a_keyboard_reaches_everything_in_order_and_is_nowhere_caught() {
    if !has_browser() {
        return;
    }
    let furnished = Furnished::new();
    let browser = furnished.administrator();
    for (_, path, _) in PAGES {
        browser.go(path);
        let script = "const can = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex=\"0\"]';
            window.reachable = [...document.querySelectorAll(can)].filter((one) => one.checkVisibility() && !one.disabled);
            window.reached = [];
            document.addEventListener('focusin', ({ target }) => {
              const [style, place] = [getComputedStyle(target), target.getBoundingClientRect()];
              const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
                && place.width > 0 && place.right > 0 && place.bottom > 0 && place.top < innerHeight;
              reached.push([reachable.indexOf(target), seen, target.outerHTML.slice(0, 120)]);
            });
            document.activeElement.blur();
            return [reachable.length, reachable.filter((one) => one.type === 'datetime-local').length]";
        let counts = browser.run(script, json!([]));
        // A field for a moment has several parts, each of which the key goes through.
        let (count, moments) = (counts[0].as_u64().unwrap(), counts[1].as_u64().unwrap());
        browser.key(TAB, usize::try_from(count + 7 * moments).unwrap());
        let reached = browser.run("return reached", json!([]));
        let reached = reached.as_array().unwrap();
        let mut order: Vec<i64> = reached.iter().map(|one| one[0].as_i64().unwrap()).collect();
        order.dedup();
        order.truncate(usize::try_from(count).unwrap());
        assert_eq!(order, (0..i64::try_from(count).unwrap()).collect::<Vec<_>>(), "{path}: {reached:#?}");
        let unseen: Vec<&Value> = reached.iter().filter(|one| one[1] == false).collect();
        assert!(unseen.is_empty(), "{path}: the focus cannot be seen on {unseen:#?}");
        assert!(reached[0][2].as_str().unwrap().contains("Skip to the content"), "{path}");
    }
    // The first stop leads past the navigation.
    browser.go("/webhooks");
    browser.key(TAB, 1);
    browser.key(ENTER, 1);
    browser.key(TAB, 1);
    let focused = "return [document.activeElement.closest('main') !== null, document.activeElement.textContent]";
    assert_eq!(browser.run(focused, json!([])), json!([true, "New webhook"]));
    // What is asked before something is done is answered with the keyboard as well.
    browser.go("/webhooks/1/disable");
    browser.run("document.getElementById('content').focus()", json!([]));
    browser.key(TAB, 1);
    browser.key(ENTER, 1);
    browser.wait_for("Webhook 1 is disabled");
}
