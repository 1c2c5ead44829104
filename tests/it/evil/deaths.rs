//! Faults that end the process in which they are committed: what a process of its own is needed for.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use serde_json::json;
use switchboard_tests::{of_attempts, task_of, webhooks_of};

use super::faults::{Death, SIGSEGV};
use super::*;

fn kills(fault: &Fault) -> Option<Death> {
    match fault.ends {
        Ends::Kills(death) => Some(death),
        _ => None,
    }
}

#[track_caller]
fn check_death(fault: &Fault, output: &Output) {
    let found = output.signal.map_or(Death::Exit(output.code), Death::Signal);
    assert_eq!(Some(found), kills(fault), "{} ({}): {output:?}", fault.number, fault.what);
    assert_eq!(output.stdout, "", "{}", fault.number);
}

#[test]
fn the_list_of_faults_that_end_their_process_is_true() {
    let site = site();
    for fault in FAULTS.iter().filter(|fault| kills(fault).is_some()) {
        match fault.place {
            Place::Start => check_death(fault, &run(&site, fault, &["--json", "plugin", "list"])),
            Place::Call => check_death(fault, &commit(&site, fault)),
            place => panic!("{place:?} has no test here"),
        }
        // The data folder is as good as it was.
        check_good(&site, fault);
        check_others(&site, fault);
    }
}

/// The system starts no thread while a library is being opened, so the host cannot even wait for it in another one.
#[test]
fn a_library_that_is_never_open_stops_the_host_until_somebody_kills_it() {
    let site = site();
    for fault in FAULTS.iter().filter(|fault| matches!(fault.ends, Ends::Hangs)) {
        let mut command = site.command(&["plugin", "list"]);
        command.env(VARIABLE, fault.number.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "evil is being opened\n");
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"");
        check_good(&site, fault);
        check_others(&site, fault);
    }
}

/// An `exit(0)` looks like success to whoever started the host, and is a crash for the task all the same.
#[test]
fn a_delivery_that_ends_three_hosts_is_dead_and_all_else_goes_on() {
    for (number, death) in [(35, Death::Signal(SIGSEGV)), (37, Death::Exit(0))] {
        let site = site();
        let setting = format!("fault={number}");
        let evil = site.add_webhook(0, "https://example.com/", "evil", &["--set", &setting, "--event", "evil"]);
        let good = site.add_webhook(0, "https://example.com/", "evil", &["--set", "fault=0", "--event", "good"]);
        let emitted = site.emit(1, "evil", "{}");
        assert_eq!(webhooks_of(&emitted), [evil]);
        for _ in 0..3 {
            let ended = site.command(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap().status;
            assert_eq!(ended.signal().map_or(Death::Exit(ended.code().unwrap_or(-1)), Death::Signal), death);
        }
        let _serving = site.serve();
        let task = site.task(task_of(&emitted));
        assert_eq!((&task["state"], &task["crashes"]), (&json!("dead"), &json!(3)), "{task}");
        assert!(task["reason"].as_str().unwrap().starts_with("crash: "), "{task}");
        assert_eq!(of_attempts(&task, "outcome"), ["unknown"; 3]);
        // The plugin is called as before, and so is everything else.
        let emitted = site.emit(1, "good", "{}");
        assert_eq!(webhooks_of(&emitted), [good]);
        let _ = site.wait_for_task(task_of(&emitted), "done");
    }
}
