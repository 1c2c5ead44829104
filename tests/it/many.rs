//! Ten thousand handlers that wait at once, in one process.
#![cfg(target_os = "linux")]

use std::fs;

use serde_json::{Value, json};
use switchboard_tests::{Crowd, Site, open_files, say_skipped, wait_until};

/// How many handlers wait at once.
const HANDLERS: usize = 10_000;

/// Files that a process needs besides its connections.
const OTHER_FILES: usize = 500;

/// Most threads: those of the host with nothing to do, and a few for commands that are answered meanwhile.
const MAX_THREADS: usize = 32;

const SETTINGS: &str = "[egress]
allow = [\"127.0.0.0/8\"]
connect_timeout = \"60s\"

[deferred]
concurrency = 10000
per_plugin = 10000
timeout = \"60s\"
schedule = [\"0s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\"]
";

fn threads_of(pid: u32) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    line.trim().parse().unwrap()
}

fn task(site: &Site, name: &str, arguments: &Value) -> Value {
    site.json(&["trigger", "06000", name, "--payload", &arguments.to_string()])["last"]["data"].clone()
}

#[test]
fn ten_thousand_handlers_wait_on_timers_and_on_http_in_one_process_with_few_threads() {
    // Half of them on HTTP, where the files that may be open suffice.
    let requests = (HANDLERS / 2).min(open_files().saturating_sub(OTHER_FILES));
    if requests < HANDLERS / 2 {
        say_skipped(&format!(
            "{} of the handlers wait on timers in place of HTTP: `ulimit -n`",
            HANDLERS / 2 - requests
        ));
    }
    let site = Site::with(&["fixture_waits"]);
    site.settings(SETTINGS);
    let crowd = Crowd::start();
    let timers = HANDLERS - requests;
    // Before there is a host that works on them, so that all begin at once.
    let _ = task(&site, "waits_hold", &json!({ "timers": timers, "requests": requests, "url": crowd.url() }));

    let serving = site.serve();
    let waiting = || usize::try_from(task(&site, "waits_state", &json!({}))["waiting"].as_u64().unwrap()).unwrap();
    // The plugin counts all of them, the receiver those whose requests have arrived.
    wait_until("all handlers wait at once", || crowd.waiting() == requests && waiting() == HANDLERS);
    let threads = threads_of(serving.pid());
    assert!(threads <= MAX_THREADS, "{threads} threads for {HANDLERS} handlers");

    crowd.answer();
    let _ = task(&site, "waits_release", &json!({}));
    let none = |state: &str| site.json(&["task", "list", "--state", state, "--limit", "1"]) == json!([]);
    wait_until("all handlers have ended", || ["running", "ready", "waiting"].into_iter().all(none));
    assert!(none("dead"));
}
