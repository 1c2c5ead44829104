//! Webhooks as an administrator makes and changes them, and what becomes of their secrets.

use std::fs;

use serde_json::json;
use switchboard::store::{Order, WebhookId};
use switchboard::{EventKind, Switchboard};
use switchboard_tests::{Answer, Receiver, Site};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Returns the bytes of everything that the host keeps, but the file of keys and copies of plugins.
fn everything_stored(site: &Site) -> Vec<u8> {
    let files =
        ["switchboard.db", "switchboard.db-wal", "logs/Webhooks.application.log", "logs/Plugins.application.log"];
    files.iter().flat_map(|file| fs::read(site.path().join(file)).unwrap_or_default()).collect()
}

#[track_caller]
fn check_not_stored(site: &Site, secret: &str) {
    let stored = everything_stored(site);
    assert!(!stored.is_empty());
    assert!(!stored.windows(secret.len()).any(|part| part == secret.as_bytes()), "`{secret}` is in the clear");
}

#[test]
fn every_property_of_a_webhook_is_set_shown_and_changed_from_the_command_line() {
    let site = Site::with(&["webhook_none", "webhook_basic"]);
    let options = "--name Mirror --event booking_* --event tariffs_updated --immediate --then-queue no --timeout 9s \
                   --immediate-timeout 2s --dns-timeout 3s --connect-timeout 4s --tls-timeout 5s \
                   --first-byte-timeout 6s --schedule 0s,5s --cap 2 --rate 10/1m --stop-on 400,422 --envelope standard";
    let options: Vec<&str> = options.split_whitespace().chain(["--header", "X-Key: s3cret: x"]).collect();
    let id = site.add_webhook(62, "https://example.com/hook", "none", &options).to_string();
    let shown = site.json(&["webhook", "show", &id]);
    let expected = json!({
        "immediate": true, "then_queue": false, "timeout_ms": 9_000, "immediate_timeout_ms": 2_000,
        "dns_timeout_ms": 3_000, "connect_timeout_ms": 4_000, "tls_timeout_ms": 5_000, "first_byte_timeout_ms": 6_000,
        "schedule_ms": [0, 5_000], "cap": 2, "rate": { "starts": 10, "per_ms": 60_000 }, "order": "none",
        "stop_on": [400, 422], "ca_pem": null, "handshake": false, "envelope": "standard",
    });
    assert_eq!(
        (&shown["options"], &shown["name"], &shown["headers"]),
        (&expected, &json!("Mirror"), &json!(["X-Key"]))
    );
    assert_eq!(shown["events"], json!(["booking_*", "tariffs_updated"]));
    let key = |site: &Site| site.json(&["task", "key", "list"])[0]["policy"].clone();
    assert_eq!(key(&site)["cap"], 2, "the key of its deliveries follows the record");
    let edit =
        ["webhook", "edit", &id, "--timeout", "default", "--cap", "default", "--order", "webhook", "--immediate", "no"];
    let changed = site.json(&[&edit[..], &["--all-events", "--header", "X-Other: 1", "--owner", "63"]].concat());
    assert_eq!(changed["options"]["timeout_ms"], json!(null));
    assert_eq!(
        (&changed["options"]["order"], &changed["options"]["schedule_ms"]),
        (&json!("webhook"), &json!([0, 5_000]))
    );
    assert_eq!((&changed["events"], &changed["owner"]), (&json!([]), &json!(63)));
    assert_eq!(changed["headers"], json!(["X-Key", "X-Other"]));
    assert_eq!(key(&site)["cap"], json!(null));
    drop(site.json(&["webhook", "edit", &id, "--remove-header", "x-key", "--url", "https://example.com/other"]));
    let shown = site.json(&["webhook", "show", &id]);
    assert_eq!((&shown["headers"], &shown["url"]), (&json!(["X-Other"]), &json!("https://example.com/other")));
    drop(site.json(&["webhook", "remove", &id]));
    assert_eq!(site.json(&["task", "key", "list"]), json!([]));
}

#[test]
fn everything_that_is_wrong_with_a_webhook_is_said_by_field_and_at_once() {
    let site = Site::with(&["webhook_basic"]);
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let mut draft = switchboard::WebhookDraft {
        name: "a\nb".into(),
        owner: -1,
        url: "http://10.0.0.1/".into(),
        method: "basic".into(),
        events: vec!["booking added".into()],
        headers: ["Host", "content-type", "Webhook-Id", "proxy-x", "a b"]
            .map(|name| (name.into(), Some("x".into())))
            .into(),
        identity_pem: Some("no PEM".into()),
        ..Default::default()
    };
    draft.headers.push(("X-Kept".into(), None));
    draft.options.timeout = Some(std::time::Duration::from_secs(61));
    draft.options.immediate_timeout = Some(std::time::Duration::from_millis(999));
    draft.options.tls_timeout = Some(std::time::Duration::ZERO);
    draft.options.schedule = Some(vec![std::time::Duration::ZERO; 21]);
    draft.options.cap = std::num::NonZeroU32::new(65);
    draft.options.stop_on = vec![200];
    (draft.options.order, draft.options.immediate) = (Order::Webhook, true);
    let problems = host.webhooks().validate(&draft, None).unwrap();
    let mut fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
    fields.dedup();
    let expected = "settings.basic_username settings.basic_password headers owner name url events headers timeout \
                    immediate_timeout tls_timeout schedule cap stop_on order identity_pem";
    assert_eq!(fields, expected.split_whitespace().collect::<Vec<_>>(), "{problems:?}");
    assert_eq!(problems.iter().filter(|problem| problem.field == "headers").count(), 6);
    assert!(problems.iter().any(|problem| problem.message.contains("egress.allow")), "{problems:?}");
    assert!(host.webhooks().list(None).unwrap().is_empty());
}

#[test]
fn a_webhook_that_moves_takes_no_secret_along() {
    let site = Site::with(&["webhook_basic", "webhook_oauth"]);
    let set = ["--set", "basic_username=ada", "--set", "basic_password=s3cret-word", "--header", "X-Key: op3n-sesame"];
    let id = site.add_webhook(62, "https://example.com/hook", "basic", &set).to_string();
    let edit = |more: &[&str]| site.run(&[&["webhook", "edit", &id], more].concat());
    for url in ["https://example.org/hook", "http://example.com/hook", "https://example.com:8443/hook"] {
        edit(&["--url", url]).refused(2, &["`basic_password`", "the value of `X-Key`", "https://example.com", "again"]);
    }
    assert_eq!(site.json(&["webhook", "show", &id])["url"], "https://example.com/hook", "nothing has changed");
    let _ = edit(&["--url", "https://example.com/another/path?a=1"]).ok();
    let _ = edit(&["--url", "https://EXAMPLE.com:443/"]).ok();
    let again = ["--set", "basic_password=an0ther", "--remove-header", "X-Key"];
    let moved = edit(&[&["--url", "https://example.org/hook"], &again[..]].concat()).ok().stdout;
    assert!(moved.contains("changed"), "{moved}");
    assert_eq!(site.json(&["webhook", "reveal", &id, "basic_password"])["value"], "an0ther");
    assert_eq!(site.json(&["webhook", "show", &id])["settings"]["basic_username"], "ada", "no secret, and it stays");

    // A method's own URL is a place as well.
    let set =
        ["--set", "client_id=a", "--set", "secret=s3cret-word", "--set", "token_url=https://login.example.com/token"];
    let id = site.add_webhook(62, "https://example.com/", "oauth", &set).to_string();
    let elsewhere = site.run(&["webhook", "edit", &id, "--set", "token_url=https://login.example.org/token"]);
    elsewhere.refused(2, &["`secret`", "https://login.example.com", "https://login.example.org"]);
}

#[test]
fn a_change_is_refused_when_somebody_else_has_changed_the_webhook_since_it_was_seen() {
    let site = Site::with(&["webhook_signed"]);
    let set = format!("signed_secret={SECRET}");
    let id = site.add_webhook(62, "https://example.com/", "signed", &["--set", &set]).to_string();
    let version = || site.json(&["webhook", "show", &id])["version"].to_string();
    for change in [&["edit", "--name", "Mirror"][..], &["disable"], &["enable"], &["rotate"], &["remove"]] {
        let seen = version();
        drop(site.json(&["webhook", "edit", &id, "--cap", "3"]));
        let run = |seen: &str| {
            let place = ["webhook", change[0], &id, "--if-version", seen];
            site.run(&[&place[..], &change[1..]].concat())
        };
        run(&seen).refused(1, &["was changed by somebody else meanwhile"]);
        let _ = run(&version()).ok();
    }
    site.run(&["webhook", "enable", &id, "--if-version", "1"]).refused(4, &["no webhook"]);
}

#[test]
fn secrets_are_sealed_on_disk_and_never_shown() {
    let site = Site::with(&["webhook_signed", "webhook_basic"]);
    let set = format!("signed_secret={SECRET}");
    let signed =
        site.add_webhook(62, "https://example.com/", "signed", &["--set", &set, "--header", "X-Key: op3n-sesame"]);
    check_not_stored(&site, SECRET);
    check_not_stored(&site, &SECRET[6..]);
    check_not_stored(&site, "op3n-sesame");
    for command in [vec!["webhook", "list"], vec!["webhook", "show", "1"], vec!["webhook", "edit", "1", "--cap", "3"]] {
        let json = site.run(&[&["--json"], &command[..]].concat()).ok().stdout;
        let text = site.run(&command).ok().stdout;
        for shown in [json, text] {
            assert!(!shown.contains(&SECRET[6..]) && !shown.contains("op3n-sesame"), "{shown}");
        }
    }
    let id = signed.to_string();
    let revealed = site.json(&["webhook", "reveal", &id, "signed_secret", "--by", "ada"]);
    assert_eq!(revealed["value"], SECRET, "an edit without it keeps it");
    assert!(
        site.log("Webhooks").contains("a setting was shown in the clear") && site.log("Webhooks").contains("by=ada")
    );
    let rotated = site.json(&["webhook", "rotate", &id])["secret"].as_str().unwrap().to_owned();
    assert_ne!(rotated, SECRET);
    let setting = |key: &str| site.json(&["webhook", "reveal", &id, key])["value"].as_str().unwrap().to_owned();
    assert_eq!((setting("signed_secret"), setting("signed_old_secrets")), (rotated, SECRET.to_owned()));
    let basic = ["--set", "basic_username=a", "--set", "basic_password=b"];
    let basic = site.add_webhook(62, "https://example.com/", "basic", &basic).to_string();
    site.run(&["webhook", "rotate", &basic]).refused(2, &["`basic` has no secret that can be made here"]);
}

#[test]
fn keys_are_replaced_and_a_lost_one_is_an_error_that_loses_nothing() {
    let site = Site::with(&["webhook_signed"]);
    let set = format!("signed_secret={SECRET}");
    let id = site.add_webhook(62, "https://example.com/", "signed", &["--set", &set]).to_string();
    let first = site.json(&["key", "list"]);
    assert_eq!(
        (&first[0]["current"], &first[0]["webhooks"], first.as_array().unwrap().len()),
        (&json!(true), &json!(1), 1)
    );
    assert_eq!(site.json(&["key", "rotate"]), json!({ "sealed": 1 }));
    let both = site.json(&["key", "list"]);
    assert_eq!((&both[0]["webhooks"], &both[1]["id"], &both[1]["webhooks"]), (&json!(1), &first[0]["id"], &json!(0)));
    let forgotten = site.json(&["key", "re-encrypt", "--forget-unused"]);
    assert_eq!(forgotten, json!({ "sealed": 0, "forgotten": [first[0]["id"]] }));
    assert_eq!(site.json(&["webhook", "reveal", &id, "signed_secret"])["value"], SECRET);

    // Whoever puts another key before the others seals with it from the next start on.
    let (file, away) = (site.path().join("keys/secrets.keys"), site.path().join("away"));
    assert_eq!(site.json(&["key", "rotate"]), json!({ "sealed": 1 }));
    let keys = fs::read_to_string(&file).unwrap();
    fs::write(&file, keys.lines().rev().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")).unwrap();
    let turned = site.json(&["key", "list"]);
    assert_eq!((&turned[0]["id"], &turned[0]["webhooks"]), (&both[0]["id"], &json!(1)), "{turned}");
    assert_eq!((&turned[0]["current"], &turned[1]["current"]), (&json!(true), &json!(false)));
    drop(site.json(&["key", "re-encrypt", "--forget-unused"]));

    fs::rename(&file, &away).unwrap();
    let key = both[0]["id"].as_str().unwrap();
    site.run(&["webhook", "list"]).refused(1, &["are sealed with the key", key, "secrets.keys", "Nothing was changed"]);
    assert!(!file.exists(), "no other key is made in its place");
    fs::rename(&away, &file).unwrap();
    assert_eq!(site.json(&["webhook", "reveal", &id, "signed_secret"])["value"], SECRET);
}

#[test]
fn a_webhook_is_filled_into_a_form_without_its_secrets() {
    let site = Site::with(&["webhook_basic"]);
    let receiver = Receiver::friendly();
    let set = ["--set", "basic_username=ada", "--set", "basic_password=b"];
    let id = WebhookId(site.add_webhook(62, &receiver.url(""), "basic", &set));
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let form = host.webhooks().form("basic", Some(id), "de-DE").unwrap().unwrap();
    let fields: Vec<_> = form.fields.iter().map(|one| (&*one.field.key, one.value.as_deref(), one.is_set)).collect();
    assert_eq!(fields, [("basic_username", Some("ada"), true), ("basic_password", None, true)]);
    let empty = host.webhooks().form("basic", None, "de-DE").unwrap().unwrap();
    assert!(empty.fields.iter().all(|one| !one.is_set));
    assert!(host.webhooks().form("gone", None, "de-DE").unwrap().is_none());
}

#[test]
fn a_receiver_is_asked_for_its_consent_before_the_webhook_is_stored() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::start(|request| match (request.method.as_str(), request.path.as_str()) {
        ("OPTIONS", "/any") => Answer::With(200, "webhook-allowed-origin", "*".into()),
        ("OPTIONS", "/other") => Answer::With(200, "webhook-allowed-origin", "other.example".into()),
        ("OPTIONS", _) => Answer::Status(405),
        _ => Answer::Status(200),
    });
    let add = |path: &str| {
        let url = receiver.url(path);
        site.run(&["webhook", "add", "--owner", "62", "--url", &url, "--method", "none", "--handshake"])
    };
    add("any").refused(2, &["`handshake`", "set `webhooks.origin`"]);
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[webhooks]\norigin = \"hotel.example\"\n");
    add("none").refused(2, &["`handshake`", "does not consent", "405"]);
    add("other").refused(2, &["allows `other.example`, and not `hotel.example`"]);
    assert_eq!(site.json(&["webhook", "list"]), json!([]));
    drop(add("any").ok());
    let asked = receiver.requests().pop().unwrap();
    assert_eq!((&*asked.method, asked.header("webhook-request-origin")), ("OPTIONS", "hotel.example"));
}

#[test]
fn a_test_event_shows_whether_a_webhook_works() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::start(|request| Answer::Status(if request.path == "/bad" { 500 } else { 200 }));
    let good = site.add_webhook(62, &receiver.url("good"), "none", &["--event", "booking_added"]).to_string();
    let bad = site.add_webhook(62, &receiver.url("bad"), "none", &[]).to_string();
    let tested = site.json(&["webhook", "test", &good]);
    assert_eq!((&tested["tasks"][0]["state"], receiver.requests().len()), (&json!("done"), 1), "one webhook only");
    assert_eq!(receiver.requests()[0].header("webhook-event"), "webhook_test");
    assert_eq!(site.run(&["webhook", "test", &bad]).code, 3);
    site.run(&["webhook", "test", "99"]).refused(4, &["no webhook 99"]);
}

#[test]
fn events_are_known_by_name_and_others_are_allowed_and_shown_as_such() {
    let site = Site::with(&["webhook_none"]);
    let known = site.json(&["webhook", "events"]);
    assert!(
        known
            .as_array()
            .unwrap()
            .contains(&json!({ "name": "room_added", "properties": ["property_uid", "room_uid"] }))
    );
    let more = ["--event", "room_*", "--event", "spa_booked", "--event", "room_added"];
    let id = WebhookId(site.add_webhook(62, "https://example.com/", "none", &more));
    let unknown =
        |host: &Switchboard| host.webhooks().shown(&[host.webhooks().get(id).unwrap()])[0].unknown_events.clone();
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    assert_eq!(unknown(&host), ["spa_booked"]);
    drop(host);
    let spa = EventKind::new("spa_booked", &["property_uid", "spa_uid"]);
    let host = Switchboard::builder(site.path()).watch(false).event(spa.clone()).open().unwrap();
    assert!(unknown(&host).is_empty() && host.webhooks().events().contains(&spa));
}

#[test]
fn a_webhook_is_no_way_to_the_host_itself() {
    let site = Site::with(&["webhook_none"]);
    let serving = site.serve();
    let url = format!("http://{}/", serving.address);
    let arguments = ["webhook", "add", "--owner", "62", "--url", &url, "--method", "none"];
    site.run(&arguments).refused(2, &["own_port"]);
}
