//! The library, as a host application embeds it.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard::store::{StoreOpenError, TaskFilter, TaskState};
use switchboard::{
    AccessLevel, Arguments, BuiltIn, CallHost, DeferOptions, ErrorKind, Notification, OpenError, Payload, PluginError,
    PublicTask, Switchboard, Tier, Trigger, TriggerError, TriggerNumber, WebhookDraft, WorkOn,
};
use switchboard_tests::{PATIENCE, Receiver, Site, example, library};

/// 21001: every handler of the fixtures answers with its own event name.
struct OwnName;

impl Trigger for OwnName {
    const NUMBER: TriggerNumber = TriggerNumber::new(21_001);
    type Input = Value;
    type Output = String;
}

/// 21002: one handler of three panics.
struct MiddlePanics;

impl Trigger for MiddlePanics {
    const NUMBER: TriggerNumber = TriggerNumber::new(21_002);
    type Input = Value;
    type Output = String;
}

/// 21005: the fixtures `probe` and `rival` answer `same` with their ids.
struct Same;

impl Trigger for Same {
    const NUMBER: TriggerNumber = TriggerNumber::new(21_005);
    type Input = Value;
    type Output = String;
}

/// A minicomponent of the host application.
struct OfTheHost;

impl BuiltIn for OfTheHost {
    fn call(&self, _host: &dyn CallHost, _input: &[u8]) -> Result<Payload, PluginError> {
        Ok(Payload::from(br#""the host""#.to_vec()))
    }
}

#[test]
fn what_a_run_defers_is_accepted_with_its_events_and_not_before() {
    let site = Site::with(&["webhook_none", "hello"]);
    let receiver = Receiver::friendly();
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let mut run = host.run().owner(62).start();
    let once = || DeferOptions::default().key("letters").unique("letter", Duration::ZERO);
    run.defer(TriggerNumber::new(6_000), "hello", "{}", once()).unwrap();
    run.announce(Notification::from_json("booking_added", "{}")).unwrap();
    run.defer_typed::<PublicTask>("hello", &Arguments::default(), once()).unwrap();
    let refused = run.defer(TriggerNumber::new(6_000), "", "{}", DeferOptions::default()).unwrap_err();
    assert!(refused.to_string().starts_with("the event name ``"), "{refused}");
    assert_eq!(host.tasks().list(&TaskFilter::default()).unwrap(), []);
    let finished = run.finish().unwrap();
    let [first, second] = finished.deferred[..] else { panic!("{finished:?}") };
    assert_eq!((first.known, second.known, first.id), (false, true, second.id), "they share a unique key");
    let delivery = finished.events[0].tasks[0].id;
    let ended = host.tasks().wait(&[first.id, delivery], PATIENCE).unwrap();
    assert!(ended.iter().all(|task| task.state == TaskState::Done), "{ended:?}");
    assert_eq!(host.tasks().get(first.id).unwrap().key, "letters");

    // A run that is dropped unfinished keeps what it was told, and one whose store is closed accepts nothing.
    let mut run = host.run().start();
    run.defer(TriggerNumber::new(6_000), "hello", "{}", DeferOptions::default()).unwrap();
    drop(run);
    assert_eq!(host.tasks().list(&TaskFilter::default()).unwrap().len(), 3);
    let mut run = host.run().start();
    run.defer(TriggerNumber::new(6_000), "hello", "{}", DeferOptions::default()).unwrap();
    host.stop();
    let error = run.finish().unwrap_err().to_string();
    assert_eq!(error, "what the run announced and deferred cannot be stored; nothing of it was accepted");
}

#[test]
fn a_call_gives_the_value_of_one_handler() {
    let site = Site::with(&["hello", "fixture_probe"]);
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let run = host.run().actor("ada", AccessLevel::MANAGER).owner(62).task("greet").language("de-DE").start();
    let german = run.call::<PublicTask>("hello", &Arguments::default()).unwrap().unwrap();
    let english = host.run().language("en-GB").start().call::<PublicTask>("hello", &Arguments::default());
    let english = english.unwrap().unwrap();
    assert!(!german.text.is_empty() && !english.text.is_empty());
    assert_ne!(german.text, english.text);
    assert!(run.call::<PublicTask>("nobody_has_this", &Arguments::default()).unwrap().is_none());
    let subject = run.call::<PublicTask>("whoami", &Arguments::default()).unwrap().unwrap().data;
    let said = |key: &str| subject[key].clone();
    assert_eq!(
        [said("actor"), said("owner"), said("task"), said("language")],
        [json!("ada"), json!(62), json!("greet"), json!("de-DE")]
    );
}

#[test]
fn a_handler_that_fails_is_an_error_for_a_call_and_one_of_many_for_a_broadcast() {
    let site = Site::with(&["fixture_probe"]);
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let run = host.run().start();
    match run.call::<MiddlePanics>("m_panics", &Value::Null) {
        Err(TriggerError::Handler { name, plugin, source, .. }) => {
            assert_eq!((&*name, &*plugin, source.kind()), ("m_panics", "probe", ErrorKind::Panic));
        }
        other => panic!("{other:?}"),
    }
    let fired = run.broadcast::<MiddlePanics>(&Value::Null).unwrap();
    let worked: Vec<_> = fired.values.iter().map(|value| (value.name(), value.result.is_ok())).collect();
    assert_eq!(worked, [("a_first", true), ("m_panics", false), ("z_last", true)]);
    assert_eq!(fired.last().unwrap(), "z_last");
    assert_eq!(fired.value("a_first").unwrap(), "a_first");
    assert!(fired.value("m_panics").is_none());
}

#[test]
fn a_broadcast_of_a_number_that_nothing_answers_is_empty() {
    let site = Site::new();
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let run = host.run().start();
    assert!(!run.exists(OwnName::NUMBER));
    let fired = run.broadcast::<OwnName>(&Value::Null).unwrap();
    assert!(fired.values.is_empty() && fired.last().is_none());
}

#[test]
fn a_suppressed_handler_stays_silent_in_its_run_only() {
    let site = Site::with(&["fixture_probe"]);
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let mut run = host.run().start();
    run.suppress(OwnName::NUMBER, "B");
    let names = |run: &switchboard::Run| -> Vec<String> {
        let fired = run.broadcast::<OwnName>(&Value::Null).unwrap();
        fired.values.into_iter().map(|value| value.result.unwrap()).collect()
    };
    assert_eq!(names(&run), ["a_c", "alpha"]);
    assert!(run.call::<OwnName>("B", &Value::Null).unwrap().is_none());
    assert_eq!(names(&host.run().start()), ["B", "a_c", "alpha"]);
}

#[test]
fn an_actor_below_a_numbers_level_may_not_fire_it() {
    let site = Site::new();
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let fire = |level, number| host.run().actor("ada", level).start().trigger(TriggerNumber::new(number), b"{}");
    for (level, number, needed) in [
        (AccessLevel::MANAGER, 16_000, AccessLevel::ADMINISTRATOR),
        (AccessLevel::RECEPTIONIST, 6_002, AccessLevel::MANAGER),
        (AccessLevel::PUBLIC, 6_002, AccessLevel::MANAGER),
    ] {
        match fire(level, number) {
            Err(TriggerError::Denied { number: denied, actor, level: has, needed: needs }) => {
                assert_eq!((denied.get(), &*actor, has, needs), (number, "ada", level.0, needed.0));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(fire(AccessLevel::MANAGER, 6_002).is_ok());
    assert!(fire(AccessLevel::ADMINISTRATOR, 16_000).is_ok());
    assert!(host.run().start().trigger(TriggerNumber::new(16_000), b"{}").is_ok());
}

#[test]
fn a_plugin_replaces_what_is_built_in_and_the_site_replaces_both() {
    let site = Site::new();
    let answers = || {
        let host = Switchboard::builder(site.path())
            .watch(false)
            .built_in(Same::NUMBER, "same", Arc::new(OfTheHost))
            .built_in(Same::NUMBER, "other", Arc::new(OfTheHost))
            .open()
            .unwrap();
        let same = host.registry().handlers(Same::NUMBER).iter().find(|one| one.name == "same").unwrap().tier;
        let fired = host.run().start().broadcast::<Same>(&Value::Null).unwrap();
        let answers = fired.values.into_iter().map(|value| (value.name().to_owned(), value.result.unwrap()));
        (same, answers.collect::<Vec<_>>())
    };
    let other = || ("other".to_owned(), "the host".to_owned());
    let same = |answer: &str| ("same".to_owned(), answer.to_owned());
    assert_eq!(answers(), (Tier::BuiltIn, vec![other(), same("the host")]));
    site.install("fixture_probe");
    assert_eq!(answers(), (Tier::Plugin, vec![other(), same("probe")]));
    let rival = library("fixture_rival");
    fs::copy(rival, site.path().join("overrides").join(rival.file_name().unwrap())).unwrap();
    assert_eq!(answers(), (Tier::Site, vec![other(), same("rival")]));
}

#[test]
fn a_run_that_is_dropped_commits_what_was_announced() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::friendly();
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    add_webhook(&host, &receiver);
    let mut run = host.run().owner(62).task("save_booking").start();
    let event = run.announce(Notification::from_json("booking_added", "{}")).unwrap();
    assert!(receiver.requests().is_empty());
    drop(run);
    assert_eq!(receiver.wait_for(1)[0].header("webhook-id"), event.0);
    site.wait_for_log("Webhooks", "a run was dropped unfinished");
}

#[test]
fn a_run_without_announcements_leaves_nothing() {
    let site = Site::new();
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    drop(host.run().start());
    assert!(host.run().start().finish().unwrap().events.is_empty());
    assert!(!site.log("Webhooks").contains("dropped unfinished"));
}

#[test]
fn a_data_folder_takes_one_host_at_a_time() {
    let site = Site::new();
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    match Switchboard::builder(site.path()).watch(false).open() {
        Err(OpenError::Store { source: StoreOpenError::InUse { .. } }) => {}
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("two hosts are on one folder"),
    }
    drop(host);
    Switchboard::builder(site.path()).watch(false).open().unwrap().stop();
}

#[test]
fn a_host_that_works_on_nothing_leaves_its_tasks_for_the_next() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::friendly();
    let host = Switchboard::builder(site.path()).watch(false).work_on(WorkOn::Nothing).open().unwrap();
    add_webhook(&host, &receiver);
    let mut run = host.run().owner(62).start();
    run.announce(Notification::new("booking_added", &json!({ "property_uid": 7 })).unwrap()).unwrap();
    let task = run.finish().unwrap().events[0].tasks[0].id;
    assert_eq!(host.tasks().get(task).unwrap().state, TaskState::Ready);
    drop(host);
    assert!(receiver.requests().is_empty());

    let host = Switchboard::builder(site.path()).watch(false).work_on(WorkOn::OwnAnnouncements).open().unwrap();
    assert_eq!(host.tasks().get(task).unwrap().state, TaskState::Ready);
    drop(host);
    assert!(receiver.requests().is_empty());

    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    assert_eq!(host.tasks().wait(&[task], PATIENCE).unwrap()[0].state, TaskState::Done);
    assert_eq!(receiver.wait_for(1)[0].json()["data"]["property_uid"], 7);
}

#[test]
fn a_stopped_host_accepts_nothing_and_says_so() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::friendly();
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    add_webhook(&host, &receiver);
    host.stop();
    host.stop();
    let mut run = host.run().owner(62).start();
    run.announce(Notification::from_json("booking_added", "{}")).unwrap();
    assert!(run.finish().is_err());
}

#[test]
fn showtime_values_belong_to_one_run() {
    let site = Site::with(&["fixture_rival"]);
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let guest = |run: &switchboard::Run| {
        let value = run.trigger_named(TriggerNumber::new(21_004), "b_get", b"null").unwrap().unwrap();
        serde_json::from_slice::<Value>(&value).unwrap()
    };
    let run = host.run().start();
    run.set_showtime("guest", &json!({ "name": "Ada" })).unwrap();
    assert_eq!(guest(&run), json!({ "name": "Ada" }));
    assert_eq!(guest(&host.run().start()), Value::Null);
}

/// `framework/examples/own_triggers.rs`: triggers in a crate that the application and its plugins share.
#[test]
fn a_host_fires_triggers_of_its_own_with_their_types() {
    let shown = std::process::Command::new(example("own_triggers")).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let expected = [
        "plugin hotel_long_stay: Active",
        "  group of hotel_long_stay: 5 %, eine Gruppe",
        "  long_stay of hotel_long_stay: 10 %, 8 Nächte und mehr",
        "10 000 cents become 8500",
        "Guten Tag Ada, wir freuen uns auf Ihren Aufenthalt.",
        "  group of hotel_long_stay failed: a stay has at least one guest",
        "  long_stay of hotel_long_stay: 10 %, 8 Nächte und mehr",
        "10 000 cents become 9000",
    ];
    assert_eq!(String::from_utf8(shown.stdout).unwrap().lines().collect::<Vec<_>>(), expected);
}

fn add_webhook(host: &Switchboard, receiver: &Receiver) {
    let (url, method) = (receiver.url("hook"), "none".to_owned());
    let draft = WebhookDraft { owner: 62, url, method, ..WebhookDraft::default() };
    let added = host.webhooks().add(draft);
    assert!(added.is_ok(), "{added:?}");
}

#[test]
fn a_broadcast_to_one_handler_allocates_nothing_in_the_host() {
    const ECHO: TriggerNumber = TriggerNumber::new(22_001);
    let site = Site::with(&["fixture_bench"]);
    let host = Switchboard::builder(site.path()).work_on(WorkOn::Nothing).watch(false).open().unwrap();
    let run = host.run().start();
    // The payload is the plugin's, whose allocator is not this program's.
    let allocations = allocation_counter::measure(|| {
        let fired = run.trigger(ECHO, b"0123456789abcdef").unwrap();
        assert_eq!(**fired.last().unwrap(), *b"fedcba9876543210");
    });
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
}
