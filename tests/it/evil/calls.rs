//! Faults of handlers after which the host goes on.

use std::process::Stdio;

use serde_json::json;
use switchboard_tests::{Site, of_attempts, task_of, wait_until};

use super::*;

/// Makes a delivery that commits a fault, to a webhook and with an event of its own, and returns its task.
fn deliver(site: &Site, method: &str, fault: u32) -> i64 {
    let (setting, event) = (format!("fault={fault}"), format!("{method}_{fault}"));
    site.add_webhook(0, "https://example.com/", method, &["--set", &setting, "--event", &event]);
    task_of(&site.emit(1, &event, "{}"))
}

fn reported(ends: Ends) -> Option<&'static str> {
    match ends {
        Ends::Reported(says) => Some(says),
        _ => None,
    }
}

#[test]
fn a_call_that_fails_is_reported_and_the_next_one_works() {
    let site = site();
    let serving = site.serve();
    for (fault, says) in faults_of(Place::Call, reported) {
        let output = commit(&site, fault);
        assert_eq!(output.code, 1, "{}", fault.number);
        let fired = output.json();
        assert_eq!((&fired["values"][0]["plugin"], &fired["last"]), (&json!("evil"), &Value::Null), "{}", fault.number);
        check_says(fault, fired["values"][0]["error"].as_str().unwrap(), says);
        let log = site.log("Plugins");
        let mut lines = log.lines().filter(|line| line.contains("handler failed") && line.contains("plugin=evil"));
        assert!(lines.any(|line| line.contains(says)), "{}: `{says}` is not in the log", fault.number);
        check_good(&site, fault);
    }
    check_others(&site, &FAULTS[0]);
    assert!(serving.terminate().success());
}

#[test]
fn what_people_read_of_a_failed_call_moves_no_terminal() {
    let site = site();
    let output = site.run(&["trigger", "06000", "evil", "--payload", r#"{"fault": 27}"#]);
    assert!(output.stdout.contains(r"evil \u{1b}[31mred\u{1b}[0m\r\nERROR forged \u{202e}line"), "{output:?}");
}

#[test]
fn a_delivery_that_gives_nonsense_ends_as_a_dead_letter_that_says_so() {
    let site = site();
    let serving = site.serve();
    for (fault, says) in faults_of(Place::Delivery, reported) {
        let task = site.wait_for_task(deliver(&site, "evil", fault.number), "dead");
        assert_eq!(of_attempts(&task, "outcome"), ["bad_output"], "{}", fault.number);
        check_says(fault, task["reason"].as_str().unwrap(), says);
        check_good(&site, fault);
    }
    let _ = site.wait_for_task(deliver(&site, "evil", 0), "done");
    assert!(serving.terminate().success());
}

#[test]
fn a_future_that_fails_or_ends_too_late_is_reported_and_the_next_one_works() {
    let site = site();
    let serving = site.serve();
    let failing = faults_of(Place::Later, |ends| match ends {
        Ends::Reported(says) | Ends::Late(says) => Some(says),
        _ => None,
    });
    let mut tasks = Vec::new();
    for (fault, says) in failing {
        tasks.push((fault, says, deliver(&site, "evil_async", fault.number)));
        check_good(&site, fault);
    }
    let good = deliver(&site, "evil_async", 0);
    for (fault, says, id) in tasks {
        let mut task = Value::Null;
        wait_until("the attempt has ended", || {
            task = site.task(id);
            task["attempt_list"][0]["outcome"].is_string()
        });
        let expected = match (fault.ends, fault.number) {
            (Ends::Late(_), _) => "timeout_total",
            (_, 70 | 71) => "plugin_panic",
            (_, 76) => "bad_output",
            _ => "plugin_error",
        };
        assert_eq!(of_attempts(&task, "outcome"), [expected], "{}", fault.number);
        check_says(fault, task["attempt_list"][0]["detail"].as_str().unwrap(), says);
    }
    let _ = site.wait_for_task(good, "done");
    // One that never wakes is dropped at its deadline, and its destructor runs.
    site.wait_for_log("Evil", "a future was dropped in the middle");
    assert!(serving.terminate().success());
}

/// Nobody can end a thread: the caller waits until the host ends. Everything else goes on.
#[test]
fn a_call_that_never_returns_holds_its_thread_and_nothing_else() {
    let site = site();
    let serving = site.serve();
    let holds = faults_of(Place::Call, |ends| match ends {
        Ends::Holds(says) => Some(says),
        _ => None,
    });
    let mut waiting = Vec::new();
    for (fault, _) in holds {
        let mut command = site.command(&["--json", "trigger", "06000", "evil", "--payload", &payload(fault)]);
        waiting.push(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        check_good(&site, fault);
    }
    let held = deliver(&site, "evil", 42);
    let _ = site.wait_for_task(held, "running");
    check_others(&site, &FAULTS[0]);
    assert!(serving.terminate().success(), "a host that is told to stop does");
    for child in waiting {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("does not answer"), "{output:?}");
    }
    // The delivery is given back at the stop, and is no crash.
    let task = site.task(held);
    assert_eq!((&task["state"], &task["crashes"]), (&json!("ready"), &json!(0)), "{task}");
}

#[test]
fn a_future_that_blocks_holds_a_thread_and_the_host_goes_on() {
    let site = site();
    let serving = site.serve();
    let holds = faults_of(Place::Later, |ends| match ends {
        Ends::Holds(says) => Some(says),
        _ => None,
    });
    for (fault, _) in holds {
        let held = deliver(&site, "evil_async", fault.number);
        let _ = site.wait_for_task(held, "running");
        let _ = site.wait_for_task(deliver(&site, "evil_async", 0), "done");
        check_good(&site, fault);
        check_others(&site, fault);
    }
    assert!(serving.terminate().success());
}
