//! Schedules and bulk operations, as an administrator works with them.

use std::time::{Duration, Instant};

use serde_json::json;
use switchboard::{DeferOptions, Switchboard, TriggerNumber, WorkOn};
use switchboard_tests::{Site, wait_until};

#[track_caller]
fn carry_out(site: &Site, arguments: &[&str]) {
    assert!(site.json(arguments).is_object());
}

#[test]
fn a_schedule_starts_its_task_again_and_again_until_it_is_paused() {
    let site = Site::with(&["fixture_inside"]);
    let file = site.path().join("file");
    let payload = json!(file).to_string();
    let set = site.json(&["schedule", "set", "tick", "every 1s", "21010", "write_file", "--payload", &payload]);
    assert_eq!((&set["name"], &set["key"], &set["paused"]), (&json!("tick"), &json!("schedule:tick"), &json!(false)));
    assert!(!file.exists(), "a command works on no tasks");
    let _serving = site.serve();
    let last = || site.json(&["schedule", "list"])[0]["last_task"].as_i64();
    wait_until("the first slot", || last().is_some());
    let first = last();
    wait_until("another slot", || last() != first);
    wait_until("its work", || file.exists());
    carry_out(&site, &["schedule", "pause", "tick"]);
    assert_eq!(site.json(&["schedule", "list"])[0]["next_at"], json!(null));
    carry_out(&site, &["schedule", "resume", "tick"]);
    carry_out(&site, &["schedule", "remove", "tick"]);
    assert_eq!(site.json(&["schedule", "list"]), json!([]));
    site.run(&["schedule", "remove", "tick"]).refused(4, &["there is no schedule `tick`"]);
}

#[test]
fn a_schedule_that_says_no_time_is_refused_with_what_to_write() {
    let site = Site::new();
    let set = |when: &str, zone: &str| site.run(&["schedule", "set", "s", when, "21010", "x", "--zone", zone]);
    set("every now", "UTC").refused(2, &["does not say how often"]);
    set("61 * * * *", "UTC").refused(2, &["no recurrence", "30 4 * * MON-FRI"]);
    set("0 4 * * *", "Middle/Earth").refused(2, &["Middle/Earth"]);
    assert_eq!(site.json(&["schedule", "list"]), json!([]));
}

#[test]
fn a_bulk_operation_is_counted_first_and_then_goes_over_what_matches() {
    let site = Site::new();
    // Nobody has the handler, so the tasks wait.
    for key in ["a", "a", "a", "b"] {
        carry_out(&site, &["task", "defer", "21010", "nobody", "--key", key]);
    }
    let counted = site.json(&["task", "bulk", "cancel", "--key", "a"]);
    assert_eq!(counted, json!({ "action": "cancel", "total": 3, "started": false }));
    let _serving = site.serve();
    let started = site.json(&["task", "bulk", "cancel", "--key", "a", "--per-second", "1000", "--by", "ada", "--yes"]);
    assert_eq!((&started["total"], &started["by"]), (&json!(3), &json!("ada")));
    wait_until("the operation to end", || site.json(&["task", "bulk", "list"])[0]["state"] == "done");
    let bulk = &site.json(&["task", "bulk", "list"])[0];
    assert_eq!((&bulk["seen"], &bulk["changed"]), (&json!(3), &json!(3)));
    let counts = |key| site.json(&["task", "list", "--key", key, "--count"]);
    assert_eq!((&counts("a")["dead"], &counts("b")["ready"]), (&json!(3), &json!(1)));
    let id = bulk["id"].to_string();
    site.run(&["task", "bulk", "pause", &id]).refused(4, &["has not ended"]);
    site.run(&["task", "bulk", "retry", "--per-second", "0", "--yes"]).refused(2, &["1 to 10000 tasks a second"]);
}

#[test]
fn a_bulk_operation_is_obeyed_by_what_a_host_holds_in_memory() {
    let site = Site::with(&["fixture_probe"]);
    let _serving = site.serve();
    // Soon enough to wait in memory.
    let defer = |key| site.json(&["task", "defer", "21007", "sync", "--key", key, "--after", "55s"]);
    let (retried, cancelled) = (defer("a"), defer("b"));
    for (action, key) in [("retry", "a"), ("cancel", "b")] {
        carry_out(&site, &["task", "bulk", action, "--key", key, "--yes"]);
    }
    let done = site.wait_for_task(retried["id"].as_i64().unwrap(), "done");
    drop(site.wait_for_task(cancelled["id"].as_i64().unwrap(), "dead"));
    let moment = |value: &serde_json::Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let waited = moment(&done["attempt_list"][0]["started_at"]).duration_since(moment(&done["created_at"]));
    assert!(waited.as_secs() < 55, "it waited for the time that the retry was to replace: {done}");
    let keys = site.json(&["task", "key", "list"]);
    assert_eq!(keys, json!([]), "nothing of them is in memory");
}

#[test]
fn a_bulk_operation_keeps_to_its_speed_and_goes_on_where_it_was_when_its_host_is_killed() {
    let site = Site::new();
    let host = Switchboard::builder(site.path()).work_on(WorkOn::Nothing).watch(false).open().unwrap();
    for _ in 0..1_000 {
        host.defer(TriggerNumber::new(21_010), "nobody", "{}", DeferOptions::default().key("a")).unwrap();
    }
    drop(host);
    let bulk = || site.json(&["task", "bulk", "list"])[0].clone();
    let seen = || bulk()["seen"].as_u64().unwrap();
    let serving = site.serve();
    let begun = Instant::now();
    let id = site.json(&["task", "bulk", "cancel", "--key", "a", "--per-second", "4", "--yes"])["id"].to_string();
    wait_until("a few of them", || seen() >= 5);
    // The first goes at once, each of the others a quarter of a second after the one before: no sooner, however fast all is.
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    serving.kill();
    let before = seen();
    let _serving = site.serve();
    wait_until("it goes on", || {
        assert!(seen() >= before, "it began anew");
        seen() > before
    });
    carry_out(&site, &["task", "bulk", "stop", &id]);
    let bulk = bulk();
    assert_eq!((&bulk["state"], &bulk["total"], &bulk["changed"]), (&json!("cancelled"), &json!(1_000), &bulk["seen"]));
    assert_eq!(site.json(&["task", "list", "--key", "a", "--count"])["dead"], bulk["changed"]);
}

#[test]
fn a_bulk_operation_goes_on_after_a_restart_and_can_be_stopped() {
    let site = Site::new();
    for _ in 0..3 {
        carry_out(&site, &["task", "defer", "21010", "nobody", "--key", "a"]);
    }
    // Without a host that works on the store it only waits.
    let id = site.json(&["task", "bulk", "cancel", "--key", "a", "--yes"])["id"].to_string();
    assert_eq!(site.json(&["task", "bulk", "list"])[0]["state"], "running");
    carry_out(&site, &["task", "bulk", "pause", &id]);
    let serving = site.serve();
    assert_eq!(site.json(&["task", "list", "--key", "a", "--count"])["ready"], 3);
    carry_out(&site, &["task", "bulk", "resume", &id]);
    wait_until("the operation to end", || site.json(&["task", "bulk", "list"])[0]["state"] == "done");
    drop(serving);
    assert_eq!(site.json(&["task", "list", "--key", "a", "--count"])["dead"], 3);
    let second = site.json(&["task", "bulk", "retry", "--key", "a", "--yes"])["id"].to_string();
    carry_out(&site, &["task", "bulk", "stop", &second]);
    let _serving = site.serve();
    assert_eq!(site.json(&["task", "bulk", "list"])[0]["state"], "cancelled");
    assert_eq!(site.json(&["task", "list", "--key", "a", "--count"])["dead"], 3);
}
