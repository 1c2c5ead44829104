//! Faults that change the process or leave something behind in it: the host cannot see them, and goes on.

use std::fs;

use switchboard_tests::{Serving, Site, wait_until};

use super::*;

/// How many threads and descriptors the fixture leaves behind.
const LEFT_BEHIND: usize = 100;

/// Returns a field of the system's file about a process.
fn status_of(serving: &Serving, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", serving.pid())).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    value.trim_start_matches(':').trim().to_owned()
}

fn threads(serving: &Serving) -> usize {
    status_of(serving, "Threads").parse().unwrap()
}

fn descriptors(serving: &Serving) -> usize {
    fs::read_dir(format!("/proc/{}/fd", serving.pid())).unwrap().count()
}

fn unseen(number: u32) -> &'static Fault {
    let fault = FAULTS.iter().find(|fault| fault.number == number).unwrap();
    assert!(matches!(fault.ends, Ends::Unseen(_)), "{number}");
    fault
}

/// Commits a fault that succeeds, and checks that the host goes on.
#[track_caller]
fn commit_unseen(site: &Site, number: u32) {
    let fault = unseen(number);
    let reply = commit(site, fault).ok().json();
    assert_eq!(reply["last"]["text"], "good", "{number}");
    check_good(site, fault);
    check_others(site, fault);
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_plugin_leaves_behind_stays_and_the_host_goes_on() {
    let site = site();
    let serving = serve(&site, unseen(5));
    let started = threads(&serving);
    assert!(started > LEFT_BEHIND, "the constructor's threads: {started}");
    commit_unseen(&site, 45);
    commit_unseen(&site, 46);
    assert!(threads(&serving) >= started + LEFT_BEHIND - 10, "some of the host's own threads may have ended");
    let open = descriptors(&serving);
    commit_unseen(&site, 47);
    assert!(descriptors(&serving) >= open + LEFT_BEHIND - 10);
    assert!(serving.terminate().success());
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_plugin_changes_in_the_process_is_changed_and_the_host_goes_on() {
    let site = site();
    // A relative path: the data must not move with the current folder.
    let name = site.path().file_name().unwrap().to_owned();
    let serving = site.serve_with(|command| {
        let relative = std::path::Path::new(&name);
        *command = std::process::Command::new(switchboard_tests::switchboard());
        command.arg("--data").arg(relative).current_dir(site.path().parent().unwrap());
        command.args(["serve", "--listen", "127.0.0.1:0"]);
    });
    commit_unseen(&site, 48);
    commit_unseen(&site, 49);
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", serving.pid())).unwrap(), std::path::Path::new("/"));
    // A file that the host opens only now.
    assert_eq!(site.log("Evil"), "");
    let _ = site.run(&["trigger", "06000", "evil", "--payload", r#"{"fault": 56}"#]).ok();
    assert_ne!(site.log("Evil"), "");
    commit_unseen(&site, 50);
    assert_eq!(status_of(&serving, "Umask"), "0000");
    commit_unseen(&site, 51);
    commit_unseen(&site, 52);
    let ignored = u64::from_str_radix(&status_of(&serving, "SigIgn"), 16).unwrap();
    assert_ne!(ignored & (1 << 14), 0, "SIGTERM is signal 15");
    // Asked in vain; dropping kills it.
    serving.signal("TERM");
    check_good(&site, unseen(52));
}

#[test]
fn what_a_plugin_prints_is_kept_out_of_results() {
    let site = site();
    let started = run(&site, unseen(6), &["--json", "trigger", "06000", "hello"]).ok();
    assert_eq!(started.json()["last"]["text"], "Hello World!");
    assert!(started.stderr.contains("evil prints in its constructor"), "{started:?}");
    let called = commit(&site, unseen(53)).ok();
    assert_eq!(called.json()["last"]["text"], "good");
    for text in ["evil prints to standard output", "evil prints to standard error"] {
        assert!(called.stderr.contains(text), "{called:?}");
    }
    let closed = commit(&site, unseen(54)).ok();
    assert_eq!(closed.json()["last"]["text"], "good");
    let _serving = site.serve();
    commit_unseen(&site, 54);
}

#[test]
fn a_flood_in_the_log_is_cut_off_and_no_line_is_forged() {
    let site = site();
    let serving = site.serve();
    let active = faults_of(Place::Call, |ends| match ends {
        Ends::Active(says) => Some(says),
        _ => None,
    });
    // The flood comes last: what follows it is dropped.
    let mut active: Vec<_> = active.collect();
    active.sort_by_key(|(fault, _)| (fault.number == 55, fault.number));
    for (fault, says) in active {
        assert_eq!(commit(&site, fault).ok().json()["last"]["text"], "good");
        wait_until(says, || site.log("Plugins").contains(says) || site.log("Evil").contains(says));
        check_good(&site, fault);
    }
    let log = site.log("Evil");
    assert!(log.lines().count() < 12_000, "{} lines", log.lines().count());
    let good = |line: &&str| line.len() <= 8 * 1024 && line.starts_with("20") && !line.contains(char::is_control);
    assert!(log.lines().all(|line| good(&line)), "{:?}", log.lines().find(|line| !good(line)));
    let files: Vec<_> =
        fs::read_dir(site.path().join("logs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(files.len() <= 201, "{} channels", files.len());
    assert!(files.iter().any(|name| name.to_string_lossy().starts_with("______switchboard")), "{files:?}");
    assert_eq!(
        fs::read_dir(site.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "log"))
            .count(),
        0
    );
    assert!(serving.terminate().success());
}
