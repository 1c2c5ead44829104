//! The test host answers as the real one does: one plugin, one list of questions, asked in both.
//!
//! What a service of `protocol.rs` answers stands nowhere here: the two hosts are compared with each other, value by value
//! and error by error. A service without a question fails a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use fixture_services::{Ask, Other, Services, broken, busy};
use serde_json::{Value, json};
use switchboard::config::Config;
use switchboard::store::TaskFilter;
use switchboard::{AccessLevel, Run, Switchboard, Trigger, WorkOn};
use switchboard_test_host::{HttpAnswer, TestHost, TriggerAnswer};
use switchboard_tests::{Answer, Receiver, library};
use tempfile::TempDir;

const SETTINGS: [(&str, &str); 4] = [("greeting", "Moin"), ("empty", ""), ("number", "12"), ("wrong", "many")];
const OWNER: i64 = 62;

/// The questions, each with the service that answers it. They are asked in this order, of one run.
fn questions() -> Vec<(&'static str, Value)> {
    let text = |key: &str, arguments: Value| ("text", json!({ "do": "text", "key": key, "arguments": arguments }));
    let keyed = |service, what: &str, key: &str| (service, json!({ "do": what, "key": key }));
    let valued =
        |service, what: &str, key: &str, value: Value| (service, json!({ "do": what, "key": key, "value": value }));
    let http = |what: &str, path: &str| ("http", json!({ "do": what, "path": path, "body": { "n": 1.5 } }));
    vec![
        text("plain", json!({})),
        text("only-english", json!({})),
        text("no-such-text", json!({})),
        text("guests", json!({ "count": 1, "name": "Ada" })),
        text("guests", json!({ "count": 3, "name": "Ada" })),
        // An argument is missing: the text cannot be formed.
        text("guests", json!({ "count": 3 })),
        text("amount", json!({ "amount": 1234.5, "text": "1234.5" })),
        text("amount", json!({ "amount": 1e16, "text": [1, null] })),
        text("amount", json!({ "amount": 9_007_199_254_740_993_u64, "text": 999_999_999_999_999_u64 })),
        ("run", json!({ "do": "language" })),
        ("run", json!({ "do": "run" })),
        keyed("setting", "setting", "greeting"),
        keyed("setting", "setting", "empty"),
        keyed("setting", "setting", "number"),
        keyed("setting", "setting", "wrong"),
        keyed("setting", "setting", "absent"),
        keyed("showtime_get", "showtime_get", "guest"),
        keyed("showtime_get", "showtime_number", "guest"),
        keyed("showtime_get", "showtime_get", "absent"),
        valued("showtime_set", "showtime_set", "guest", json!([1, "two"])),
        keyed("showtime_get", "showtime_get", "guest"),
        keyed("kept_get", "kept_get", "token"),
        valued("kept_set", "kept_set", "token", json!({ "a": 1 })),
        keyed("kept_get", "kept_get", "token"),
        keyed("kept_get", "kept_number", "token"),
        valued("kept_set", "kept_set", "token", json!(null)),
        keyed("kept_get", "kept_get", "token"),
        ("kept_set", json!({ "do": "kept_set_for", "key": "token", "value": 7, "ms": 3_600_000 })),
        keyed("kept_get", "kept_get", "token"),
        // Expired at once.
        ("kept_set", json!({ "do": "kept_set_for", "key": "token", "value": 8, "ms": 0 })),
        keyed("kept_get", "kept_get", "token"),
        keyed("kept_set", "kept_remove", "token"),
        keyed("kept_set", "kept_remove", "never-there"),
        ("kept_set", json!({ "do": "kept_long_key", "bytes": 200 })),
        ("kept_set", json!({ "do": "kept_long_key", "bytes": 201 })),
        ("kept_set", json!({ "do": "kept_large", "key": "large", "bytes": 65_534 })),
        ("kept_set", json!({ "do": "kept_large", "key": "large", "bytes": 65_535 })),
        ("trigger", json!({ "do": "trigger", "key": "b_echo", "input": { "a": [1, 2.5] } })),
        ("trigger", json!({ "do": "trigger", "key": "absent", "input": 1 })),
        ("trigger", json!({ "do": "trigger", "key": "a_busy", "input": 1 })),
        ("trigger", json!({ "do": "trigger", "key": "c_broken", "input": 1 })),
        ("trigger", json!({ "do": "broadcast", "input": "x" })),
        ("defer", json!({ "do": "defer", "input": { "later": true } })),
        ("defer_with", json!({ "do": "defer_with", "input": { "later": "at night" } })),
        ("defer", json!({ "do": "defer_large", "bytes": (256 << 10) - 2 })),
        ("defer", json!({ "do": "defer_large", "bytes": (256 << 10) - 1 })),
        ("announce", json!({ "do": "announce", "key": "tariffs_updated", "data": { "property_uid": 7 } })),
        ("announce", json!({ "do": "announce", "key": "no name", "data": {} })),
        ("announce", json!({ "do": "announce", "key": "", "data": {} })),
        ("announce", json!({ "do": "announce", "key": "tariffs_updated", "data": [1] })),
        ("announce", json!({ "do": "announce_large", "key": "tariffs_updated", "bytes": 300_000 })),
        http("get", "/200"),
        http("get", "/404"),
        http("get", "/503"),
        http("basic", "/200"),
        http("basic", "/410"),
        http("bearer", "/429"),
        http("bearer", "/302"),
        http("query", "/200"),
        http("query", "/200?lang=en#part"),
        http("deliver", "/204"),
        http("deliver", "/503"),
        ("sleep", json!({ "do": "sleep", "ms": 3 })),
        ("clock", json!({ "do": "clock" })),
        ("-", json!({ "do": "cancelled" })),
        ("-", json!({ "do": "log" })),
    ]
}

/// What the receiver answers in both hosts, by path: status, and a header.
fn receiver_says(path: &str) -> (u16, Option<(&'static str, &'static str)>) {
    match path.split('?').next().unwrap_or_default() {
        "/302" => (302, Some(("location", "https://elsewhere.example/"))),
        "/429" => (429, Some(("retry-after", "30"))),
        path => (path.trim_start_matches('/').parse().unwrap(), None),
    }
}

/// Makes a real host with the plugin's library, in a folder of its own.
fn real_host(receiver: &Receiver) -> (TempDir, Switchboard) {
    let folder = TempDir::new().unwrap();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let file = library("fixture_services");
    fs::copy(file, plugins.join(file.file_name().unwrap())).unwrap();
    let url = receiver.url("").trim_end_matches('/').to_owned();
    let settings = SETTINGS.into_iter().chain([("receiver", url.as_str())]);
    let settings: String = settings.map(|(key, value)| format!("{key} = {value:?}\n")).collect();
    let toml = format!("[egress]\nallow = [\"127.0.0.0/8\"]\n[plugins.services]\n{settings}");
    let config = Config::parse(&toml, Path::new("switchboard.toml")).unwrap();
    let host = Switchboard::builder(folder.path()).config(config).work_on(WorkOn::Nothing).watch(false).open().unwrap();
    (folder, host)
}

fn real_run(host: &Switchboard) -> Run {
    let run = host.run().actor("ada", AccessLevel::ADMINISTRATOR).owner(OWNER).subject("property 7");
    let run = run.task("save_booking").language("de-AT").start();
    run.set_showtime("guest", &json!({ "name": "Ada" })).unwrap();
    run
}

fn test_host() -> TestHost<Services> {
    let other = |name: Option<&str>, input: &[u8]| {
        let answers = [
            ("a_busy", TriggerAnswer::from(busy())),
            ("b_echo", TriggerAnswer::from(serde_json::from_slice::<Value>(input).unwrap())),
            ("c_broken", TriggerAnswer::from(broken())),
        ];
        let wanted = |(other, _): &(&str, TriggerAnswer)| name.is_none_or(|name| name == *other);
        let answers = answers.into_iter().filter(wanted);
        answers.map(|(name, answer)| (name.to_owned(), answer.of_plugin("services"))).collect()
    };
    TestHost::<Services>::start_with(&SETTINGS)
        .setting("receiver", "http://receiver.example")
        .language("de-AT")
        .actor("ada")
        .owner(OWNER)
        .subject("property 7")
        .task("save_booking")
        .showtime("guest", json!({ "name": "Ada" }))
        .on_trigger(Other::NUMBER.get(), other)
        .http(|request| {
            let (status, header) = receiver_says(request.url.trim_start_matches("http://receiver.example"));
            let answer = HttpAnswer::status(status);
            match header {
                Some((name, value)) => answer.header(name, value),
                None => answer,
            }
        })
}

#[test]
fn the_test_host_answers_as_the_real_one() {
    let receiver = Receiver::start(|request| match receiver_says(&request.path) {
        (status, Some((name, value))) => Answer::With(status, name, value.to_owned()),
        (status, None) => Answer::Status(status),
    });
    let (folder, host) = real_host(&receiver);
    let run = real_run(&host);
    let test = test_host();
    for handler in ["sync", "async"] {
        for (_, question) in questions() {
            let real = run.call::<Ask>(handler, &question).unwrap().unwrap();
            let tested = test.call::<Ask>(handler, &question).unwrap();
            assert_eq!(tested, real, "the test host (left) and the real one differ for `{handler}`: {question}");
            assert!(!real.to_string().contains("the fixture cannot do"), "{real}");
        }
    }

    // What was asked of the hosts has arrived in both.
    let tasks = host.tasks().list(&TaskFilter { limit: 100, ..TaskFilter::default() }).unwrap();
    let real: Vec<(u32, String, Value)> = tasks
        .into_iter()
        .map(|task| (task.number, task.name, serde_json::from_slice(&task.payload.unwrap()).unwrap()))
        .collect();
    let tested: Vec<_> = test.deferred().into_iter().map(|task| (task.number.get(), task.name, task.input)).collect();
    assert!(!real.is_empty());
    assert_eq!(tested, real);

    let line = fs::read_to_string(folder.path().join("logs").join("Services.application.log")).unwrap();
    let logs: Vec<_> = test.logs().into_iter().filter(|line| line.channel == "Services").collect();
    assert_eq!(logs.len(), line.lines().count());
    let tested = &logs[0];
    let fields: String = tested.fields.iter().map(|(key, value)| format!(" {key}={value}")).collect();
    let expected = format!("{}{fields} plugin=services", tested.message);
    assert!(line.contains(&expected) && line.contains(tested.level.as_str()), "`{expected}` is not in {line}");

    let events = run.finish().unwrap().events;
    // In one run the same event counts once, which only a run can do.
    let mut names: Vec<_> = test.announced().into_iter().map(|(name, _)| name).collect();
    names.dedup();
    assert_eq!(names, events.iter().map(|event| event.name.clone()).collect::<Vec<_>>());
}

#[test]
fn requests_reach_a_receiver_as_the_test_host_shows_them() {
    /// What a real host adds to a request.
    const ADDED: [&str; 4] = ["accept", "content-length", "host", "user-agent"];
    let receiver = Receiver::start(|request| match receiver_says(&request.path) {
        (status, Some((name, value))) => Answer::With(status, name, value.to_owned()),
        (status, None) => Answer::Status(status),
    });
    let (_folder, host) = real_host(&receiver);
    let (run, test) = (real_run(&host), test_host());
    for (_, question) in questions().into_iter().filter(|(service, _)| *service == "http") {
        let _ = run.call::<Ask>("async", &question).unwrap();
        let _ = test.call::<Ask>("async", &question).unwrap();
    }
    let (real, tested) = (receiver.requests(), test.requests());
    assert_eq!(real.len(), tested.len());
    for (real, tested) in real.iter().zip(&tested) {
        assert_eq!(
            (&tested.method, tested.url.trim_start_matches("http://receiver.example")),
            (&real.method, &*real.path)
        );
        assert_eq!(tested.body, real.body);
        let names: BTreeSet<String> = tested.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let sent: BTreeSet<String> =
            real.headers.keys().filter(|name| !ADDED.contains(&name.as_str())).cloned().collect();
        assert_eq!(names, sent, "{} {}", real.method, real.path);
        for name in names.iter().filter(|name| *name != "webhook-timestamp") {
            assert_eq!(tested.header(name).unwrap(), real.header(name), "{name}");
        }
    }
    let queried: Vec<_> = tested.iter().filter(|request| request.confidential).map(|request| &*request.url).collect();
    let query = "a+b=1%262&c=%C3%A9";
    let expected = [query.to_owned(), format!("lang=en&{query}")];
    assert_eq!(queried, expected.map(|query| format!("http://receiver.example/200?{query}")));
    // The clock of the test host stands still; the real one's goes.
    let stamped = tested.iter().find_map(|request| request.header("webhook-timestamp"));
    assert_eq!(stamped, Some("1767225600"));
}

#[test]
fn a_kept_value_expires_by_the_clock_of_the_test() {
    let test = TestHost::<Services>::start().clock(Duration::from_secs(1_000));
    let ask = |question: Value| test.call::<Ask>("sync", &question).unwrap()["ok"].clone();
    let _ = ask(json!({ "do": "kept_set_for", "key": "token", "value": 7, "ms": 60_000 }));
    test.advance(Duration::from_millis(59_999));
    assert_eq!(
        (ask(json!({ "do": "kept_get", "key": "token" })), test.kept_value("token")),
        (json!(7), Some(json!(7)))
    );
    test.advance(Duration::from_millis(1));
    assert_eq!((ask(json!({ "do": "kept_get", "key": "token" })), test.kept_value("token")), (json!(null), None));
}

#[test]
fn every_service_of_the_protocol_has_a_question() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("plugin-api/src/protocol.rs");
    let source = fs::read_to_string(source).unwrap();
    let constants = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = \""));
    let services: BTreeSet<&str> = constants.map(|(_, value)| value.trim_end_matches("\";")).collect();
    assert!(services.contains("http") && services.len() > 10, "{services:?}");
    let asked: BTreeSet<&str> = questions().iter().map(|(service, _)| *service).filter(|one| *one != "-").collect();
    assert_eq!(asked, services, "a service needs a question here, and an answer in the test host");
}
