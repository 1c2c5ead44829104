//! A handler that panics on every call is suspended, its tasks wait, and it is resumed by hand or by a new version.

use std::fs;

use serde_json::{Value, json};
use switchboard_tests::{Receiver, Site, library, task_of, wait_until};

const PANIC: &str = r#"{"panic": true}"#;

/// Makes a data folder with the probe, in which this many panics in a row suspend a handler.
fn site(limit: u32) -> Site {
    let site = Site::with(&["fixture_probe", "webhook_none"]);
    site.settings(&format!(
        "[egress]\nallow = [\"127.0.0.0/8\"]\n[deferred]\nschedule = [\"0s\", \"10ms\", \"1h\"]\n[plugins]\n\
         suspend_after_panics = {limit}\n"
    ));
    site
}

/// Fires one of the handlers that panic at will, and returns what became of it.
fn fire(site: &Site, name: &str, payload: &str) -> Value {
    let fired = site.run(&["--json", "trigger", "21007", name, "--payload", payload]).json();
    fired["values"][0].clone()
}

#[track_caller]
fn error(value: &Value) -> &str {
    value["error"].as_str().unwrap_or_else(|| panic!("no error in {value}"))
}

/// Returns the suspension of a handler, as `switchboard triggers` shows it.
fn suspension(site: &Site, number: &str, name: &str) -> Value {
    let rows = site.json(&["triggers"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["number"] == number && row["name"] == name);
    row.unwrap()["suspended"].clone()
}

fn records<'l>(log: &'l str, text: &str) -> Vec<&'l str> {
    log.lines().filter(|line| line.contains(text)).collect()
}

#[test]
fn a_handler_that_panics_on_every_call_is_suspended_and_a_broadcast_goes_on_without_it() {
    let site = site(5);
    let _serving = site.serve();
    let broadcast = || {
        let output = site.run(&["--json", "trigger", "21002"]);
        assert_eq!(output.code, 1, "{output:?}");
        output.json()["values"].clone()
    };
    for call in 1..=5 {
        let values = broadcast();
        assert!(error(&values[1]).contains("probe panics on purpose"), "{values}");
        assert_eq!(values[1]["suspended"], call == 5);
    }
    let values = broadcast();
    assert_eq!((&values[0]["value"], &values[2]["value"]), (&json!("a_first"), &json!("z_last")));
    let skipped = error(&values[1]);
    for part in
        ["is suspended", "5 panics in a row", "probe/src/lib.rs:", "switchboard plugin resume probe 21002 m_panics"]
    {
        assert!(skipped.contains(part), "`{part}` is not in {skipped}");
    }
    assert!(site.run(&["trigger", "21002"]).stdout.contains("m_panics (probe) skipped: "));

    let shown = suspension(&site, "21002", "m_panics");
    assert_eq!(shown["panics"], 5);
    assert!(shown["last_panic"].as_str().unwrap().contains("probe panics on purpose"), "{shown}");
    let list = site.run(&["plugin", "list"]).ok().stdout;
    assert!(list.contains("active, 1 suspended") && list.contains("suspended: 21002 `m_panics`"), "{list}");
    assert_eq!(site.json(&["plugin", "list"])["suspended"][0]["name"], "m_panics");
    assert!(site.run(&["triggers"]).ok().stdout.contains("suspended: 21002 `m_panics` of plugin `probe`"));

    let log = site.log("Plugins");
    assert_eq!(records(&log, "handler failed").len(), 5, "{log}");
    let told = records(&log, "handler suspended");
    assert_eq!(told.len(), 1, "{log}");
    for part in ["ERROR", "plugin=probe", "number=21002", "name=m_panics", "lib.rs:", "plugin resume probe"] {
        assert!(told[0].contains(part), "`{part}` is not in {}", told[0]);
    }
}

#[test]
fn each_kind_of_handler_is_suspended_by_panics_in_a_row_only() {
    let site = site(2);
    let _serving = site.serve();
    for name in ["sync", "async"] {
        assert!(error(&fire(&site, name, PANIC)).contains("probe/src/lib.rs:"));
        // A call that goes well starts the count anew.
        assert_eq!(fire(&site, name, "{}")["value"], name);
        assert_eq!(fire(&site, name, PANIC)["suspended"], false);
        assert_eq!(fire(&site, name, PANIC)["suspended"], true);
        assert!(error(&fire(&site, name, "{}")).contains("is suspended"));
    }
}

#[test]
fn a_panic_in_a_nested_trigger_counts_for_the_handler_that_panicked() {
    let site = site(2);
    let _serving = site.serve();
    for _ in 0..3 {
        let nested = fire(&site, "through", PANIC);
        assert!(error(&nested).starts_with("21007 `sync` of plugin `probe`: "), "{nested}");
    }
    assert!(suspension(&site, "21007", "through").is_null());
    assert_eq!(suspension(&site, "21007", "sync")["panics"], 2);
}

#[test]
fn a_resumed_handler_is_called_again() {
    let site = site(1);
    let _serving = site.serve();
    let _ = (fire(&site, "sync", PANIC), fire(&site, "async", PANIC));
    let resumed = site.json(&["plugin", "resume", "probe", "21007", "sync"]);
    assert_eq!((&resumed["resumed"][0]["name"], resumed["resumed"].as_array().unwrap().len()), (&json!("sync"), 1));
    assert_eq!(fire(&site, "sync", "{}")["value"], "sync");
    assert!(error(&fire(&site, "async", "{}")).contains("is suspended"));
    assert!(site.run(&["plugin", "resume", "probe"]).ok().stdout.contains("21007 `async` of plugin `probe`"));
    assert_eq!(fire(&site, "async", "{}")["value"], "async");
    assert_eq!(site.run(&["plugin", "resume", "probe"]).ok().stdout, "nothing of plugin `probe` is suspended\n");
    site.run(&["plugin", "resume", "nobody"]).refused(4, &["no active plugin `nobody`", "plugin list"]);
    site.run(&["plugin", "resume", "probe", "21007", "other"]).refused(4, &["no handler 21007 `other`"]);
    site.run(&["plugin", "resume", "probe", "x", "sync"]).refused(2, &["`x` is not a trigger number"]);
}

#[test]
fn a_suspension_outlives_the_host_and_ends_with_another_version() {
    let site = site(1);
    let serving = site.serve();
    let _ = fire(&site, "sync", PANIC);
    wait_until("the suspension is on disk", || !suspension(&site, "21007", "sync").is_null());
    assert!(serving.terminate().success());
    assert!(error(&fire(&site, "sync", "{}")).contains("is suspended"));
    let _serving = site.serve();
    assert!(error(&fire(&site, "sync", "{}")).contains("is suspended"));
    // Bytes behind the end of a library change nothing about it but its hash.
    let file = library("fixture_probe");
    let mut bytes = fs::read(file).unwrap();
    bytes.extend_from_slice(b"another version");
    fs::write(site.path().join("unfinished"), bytes).unwrap();
    fs::rename(site.path().join("unfinished"), site.plugins().join(file.file_name().unwrap())).unwrap();
    wait_until("the new version answers", || fire(&site, "sync", "{}")["value"] == "sync");
    assert!(suspension(&site, "21007", "sync").is_null());
}

#[test]
fn with_a_limit_of_zero_a_handler_is_called_for_ever() {
    let site = site(0);
    let _serving = site.serve();
    for _ in 0..8 {
        let value = fire(&site, "sync", PANIC);
        assert!(error(&value).contains("probe panics at will"), "{value}");
    }
}

#[test]
fn the_tasks_of_a_suspended_handler_wait_and_run_after_its_resumption() {
    let site = site(2);
    let receiver = Receiver::friendly();
    let file = site.path().join("mended");
    let remark = format!("probe_panic_remark={}", file.display());
    site.add_webhook(62, &receiver.url("hook"), "probe_panic", &["--set", &remark]);
    site.add_webhook(63, &receiver.url("other"), "none", &[]);
    let serving = site.serve();
    let first = task_of(&site.emit(62, "booking_added", "{}"));
    wait_until("the handler is suspended", || !suspension(&site, "07320", "probe_panic").is_null());
    let _ = site.wait_for_task(first, "waiting");
    let second = task_of(&site.emit(62, "booking_added", "{}"));
    // The other webhook is not held up, and by then the scheduler has looked at the second task.
    assert_eq!(site.emit_and_wait(63, "booking_added", "{}").ok().json()["tasks"][0]["state"], "done");
    assert_eq!(site.task(second)["attempts"], 0);
    // Due at once, and still not called.
    let _ = site.json(&["task", "retry", &first.to_string()]);
    assert_eq!(site.emit_and_wait(63, "booking_added", "{}").ok().json()["tasks"][0]["state"], "done");
    let waiting = site.task(first);
    assert_eq!((&waiting["state"], &waiting["attempts"]), (&json!("ready"), &json!(2)));
    // Not lost by a host that is killed either.
    serving.kill();
    let _serving = site.serve();
    assert_eq!(site.emit_and_wait(63, "booking_added", "{}").ok().json()["tasks"][0]["state"], "done");
    assert_eq!(site.task(second)["attempts"], 0);
    fs::write(&file, "").unwrap();
    let _ = site.json(&["plugin", "resume", "probe"]);
    assert_eq!(site.wait_for_task(first, "done")["attempts"], 3);
    assert_eq!(site.wait_for_task(second, "done")["attempts"], 1);
}

#[test]
fn a_panic_at_load_is_told_with_the_plugin_its_place_and_what_panicked() {
    for (at, what) in [("new", "cannot be loaded"), ("languages", "00005 `probe`"), ("form", "07300 `probe_panic`")] {
        let site = Site::with(&["fixture_probe"]);
        site.settings(&format!("[plugins.probe]\npanic_at = \"{at}\"\n"));
        let plugin = site.json(&["plugin", "list"])["plugins"][0].clone();
        let reason = plugin["reason"].as_str().unwrap();
        for part in ["plugin `probe`", what, "panicked at ", "probe/src/lib.rs:", &format!("probe panics at {at}")] {
            assert!(reason.contains(part), "`{part}` is not in {reason}");
        }
        let log = site.log("Plugins");
        let record = records(&log, "plugin refused");
        assert!(record.len() == 1 && record[0].contains(&format!("probe panics at {at}")), "{log}");
    }
}

#[test]
fn a_watcher_that_panics_is_reported_and_does_not_undo_the_run() {
    let site = site(5);
    site.settings("[plugins.probe]\npanic_at = \"after_run\"\n");
    assert!(site.emit(62, "booking_added", "{}")["event_id"].is_string());
    let log = site.log("Plugins");
    let record = records(&log, "probe panics at after_run");
    assert_eq!(record.len(), 1, "{log}");
    for part in ["number=99994", "plugin=probe", "probe/src/lib.rs:"] {
        assert!(record[0].contains(part), "`{part}` is not in {}", record[0]);
    }
}
