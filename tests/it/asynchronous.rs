//! Handlers that wait: deadlines, a host that stops, panics inside a poll, destructors, ten thousand at once.

use serde_json::json;
use switchboard::store::{TaskId, TaskState};
use switchboard::{Switchboard, TriggerError, TriggerNumber};
use switchboard_tests::{PATIENCE, Site, wait_until};

/// 21020: waits for a time in milliseconds.
const WAIT: TriggerNumber = TriggerNumber::new(21_020);

/// Settings with which a task has one second and one attempt.
const ONE_SECOND: &str = "[deferred]\ntimeout = \"1s\"\nschedule = [\"0s\"]\n";

fn site(settings: &str) -> Site {
    let site = Site::with(&["fixture_waits"]);
    site.settings(settings);
    site
}

fn open(site: &Site) -> Switchboard {
    Switchboard::builder(site.path()).watch(false).open().unwrap()
}

/// Defers 21020 `name`.
fn defer(host: &Switchboard, name: &str, time_ms: u64) -> TaskId {
    let arguments = json!({ "name": name, "ms": time_ms }).to_string();
    let run = host.run().start();
    let reply = run.trigger_named(TriggerNumber::new(6_000), "waits_later", arguments.as_bytes()).unwrap().unwrap();
    let reply: serde_json::Value = serde_json::from_slice(&reply).unwrap();
    TaskId(reply["data"].as_i64().unwrap())
}

/// Runs 21020 `name` as a task with one second and one attempt, and returns how that ended.
fn attempt(site: &Site, name: &str, time_ms: u64) -> (String, String) {
    let host = open(site);
    let task = defer(&host, name, time_ms);
    host.tasks().wait(&[task], PATIENCE).unwrap();
    let attempt = host.tasks().attempts(task).unwrap().remove(0);
    (attempt.outcome.unwrap(), attempt.detail.unwrap_or_default())
}

#[test]
fn a_handler_waits_on_the_hosts_timer_in_a_call_and_in_a_task() {
    let site = site(ONE_SECOND);
    let host = open(&site);
    let run = host.run().start();
    for name in ["timer", "blocking"] {
        let value = run.trigger_named(WAIT, name, b"20").unwrap().unwrap();
        assert_eq!(&*value, b"20");
    }
    let task = defer(&host, "timer", 20);
    assert_eq!(host.tasks().wait(&[task], PATIENCE).unwrap()[0].state, TaskState::Done);
}

#[test]
fn a_wait_ends_at_the_deadline_with_an_error_that_says_so() {
    let site = site(ONE_SECOND);
    for name in ["timer", "blocking"] {
        let (outcome, detail) = attempt(&site, name, 3_600_000);
        assert_eq!(outcome, "timeout_total");
        assert_eq!(detail, "the deadline of the call came before the wait of 3600s was over");
    }
}

#[test]
fn a_handler_that_waits_for_nothing_is_dropped_at_its_deadline() {
    let site = site(ONE_SECOND);
    let (outcome, detail) = attempt(&site, "for_ever", 0);
    assert_eq!((outcome.as_str(), detail.as_str()), ("timeout_total", "no result within 1s"));
    site.wait_for_log("Waits", "the handler's future is dropped");
}

#[test]
fn a_panic_inside_a_poll_is_reported_with_message_place_and_plugin_and_the_next_call_works() {
    let site = site(ONE_SECOND);
    let host = open(&site);
    let run = host.run().start();
    for time in ["0", "20"] {
        match run.trigger_named(WAIT, "panics", time.as_bytes()) {
            Err(TriggerError::Handler { plugin, source, .. }) => {
                assert_eq!(&*plugin, "waits");
                let text = source.to_string();
                assert!(text.contains("a poll panics on purpose") && text.contains("waits/src/lib.rs:"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(&*run.trigger_named(WAIT, "timer", b"0").unwrap().unwrap(), b"0");
    }
    let log = site.log("Plugins");
    assert!(log.contains("plugin=waits") && log.contains("a poll panics on purpose"), "{log}");
    drop((run, host));
    assert_eq!(attempt(&site, "panics", 20).0, "plugin_panic");
}

#[test]
fn a_destructor_that_panics_stays_in_the_plugin() {
    let site = site(ONE_SECOND);
    assert_eq!(attempt(&site, "drops_badly", 0).0, "timeout_total");
    let (outcome, detail) = attempt(&site, "ends_badly", 20);
    assert_eq!(outcome, "plugin_panic");
    assert!(detail.contains("a destructor panics on purpose"), "{detail}");
    assert_eq!(attempt(&site, "timer", 0).0, "ok");
}

#[test]
fn a_host_that_stops_drops_what_waits_and_gives_the_task_back() {
    let site = site("[deferred]\ntimeout = \"60s\"\ngrace = \"0s\"\n");
    let host = open(&site);
    let tasks = [defer(&host, "timer", 3_600_000), defer(&host, "for_ever", 0), defer(&host, "blocking", 3_600_000)];
    let running = || tasks.iter().all(|task| host.tasks().get(*task).unwrap().state == TaskState::Running);
    wait_until("all of them run", running);
    site.wait_for_log("Waits", "the thread waits");
    host.stop();
    let log = site.log("Waits");
    assert_eq!(log.matches("the handler's future is dropped").count(), 2, "{log}");
    drop(host);

    site.settings(ONE_SECOND);
    let host = open(&site);
    for task in host.tasks().wait(&tasks, PATIENCE).unwrap() {
        assert_eq!(task.state, TaskState::Dead, "it ran again, and its second was over");
    }
    let attempts = host.tasks().attempts(tasks[0]).unwrap();
    let outcomes: Vec<_> = attempts.into_iter().map(|attempt| attempt.outcome.unwrap()).collect();
    assert_eq!(outcomes, ["interrupted", "timeout_total"]);
}

#[test]
fn a_call_that_waits_while_the_host_stops_ends_with_that_reason() {
    let site = site(ONE_SECOND);
    let host = open(&site);
    let run = host.run().start();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run.trigger_named(WAIT, "timer", b"3600000"));
        site.wait_for_log("Waits", "the handler waits");
        host.stop();
        match waiting.join().unwrap() {
            Err(TriggerError::Handler { source, .. }) => assert_eq!(source.code(), Some("interrupted"), "{source}"),
            other => panic!("{other:?}"),
        }
    });
}
