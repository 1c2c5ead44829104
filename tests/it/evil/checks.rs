//! What `plugin check` says of each fault, before a host ever loads the plugin.

use switchboard_tests::{Site, library};

use super::*;

/// Longest time for one check of a fault that never ends. The others end on their own.
const HASTY: &str = "3";
const PATIENT: &str = "300";

/// Returns a copy of the library that commits the fault wherever it runs.
fn marked(site: &Site, fault: &Fault) -> std::path::PathBuf {
    const MARK: &[u8] = b"the fault of evil is ";
    let mut bytes = fs::read(library("fixture_evil")).unwrap();
    let at = bytes.windows(MARK.len()).position(|window| window == MARK).unwrap() + MARK.len();
    bytes[at..at + 3].copy_from_slice(format!("{:03}", fault.number).as_bytes());
    let file = site.path().join(format!("evil-{}.so", fault.number));
    fs::write(&file, bytes).unwrap();
    file
}

fn check_found(faults: impl Iterator<Item = &'static Fault>) {
    let site = Site::new();
    for fault in faults {
        let Some((id, status)) = fault.check.split_once(' ') else { continue };
        let file = marked(&site, fault);
        let timeout = if status == "timeout" { HASTY } else { PATIENT };
        let arguments = ["plugin", "check", "--only", id, "--timeout", timeout, "--format", "json"];
        let output = site.run(&[&arguments[..], &[file.to_str().unwrap()]].concat());
        let report = output.json();
        let row = report["checks"].as_array().unwrap().iter().find(|row| row["id"] == id);
        assert_eq!(row.unwrap()["status"], status, "{} ({}): {report}", fault.number, fault.what);
        let code = match status {
            "crash" => 3,
            "timeout" => 4,
            "fail" => 1,
            _ => 0,
        };
        assert_eq!(output.code, code, "{}", fault.number);
        fs::remove_file(file).unwrap();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_check_finds_the_faults_of_loading() {
    check_found(FAULTS.iter().filter(|fault| fault.number < 22));
}

#[test]
#[cfg(target_os = "linux")]
fn a_check_finds_the_faults_of_calls() {
    check_found(FAULTS.iter().filter(|fault| (22..45).contains(&fault.number)));
}

#[test]
#[cfg(target_os = "linux")]
fn a_check_finds_the_faults_that_reach_past_the_plugin_and_those_of_futures() {
    check_found(FAULTS.iter().filter(|fault| fault.number >= 45));
}
