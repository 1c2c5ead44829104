//! A plugin that does everything wrong, one fault at a time: what the host says, and that it goes on.
//!
//! Every fault has a host process of its own, or shares one with faults after which a host is as good as new. Those that
//! end the process are here as well, so that the list of what needs a process of its own stays true.

mod broken;
mod calls;
mod checks;
mod deaths;
mod elf;
mod faults;
mod files;
mod page;
mod process;
mod starts;

use std::fs;

use serde_json::{Value, json};
use switchboard::channel_log::printable;
use switchboard_tests::{Output, Serving, Site};

use faults::{Ends, FAULTS, Fault, Place};

/// Chooses the fault of a process.
const VARIABLE: &str = "SWITCHBOARD_EVIL";

/// Settings under which futures that never end do so soon; good ones end in their first poll.
const SETTINGS: &str = "[deferred]
timeout = \"1s\"
grace = \"0s\"
schedule = [\"0s\", \"1h\"]
";

/// Makes a data folder with `evil` and with `hello`, which stands for all plugins that do nothing wrong.
fn site() -> Site {
    site_with("60s")
}

/// The same with a time in which plugins have to start.
fn site_with(loading: &str) -> Site {
    let site = Site::with(&["fixture_evil", "hello"]);
    site.settings(&format!("{SETTINGS}\n[loading]\ntimeout = \"{loading}\"\n"));
    site
}

/// Returns the faults of a place that end in a way, each with what is said about it.
fn faults_of(
    place: Place,
    says: fn(Ends) -> Option<&'static str>,
) -> impl Iterator<Item = (&'static Fault, &'static str)> {
    let found: Vec<_> = FAULTS
        .iter()
        .filter(|fault| fault.place == place)
        .filter_map(|fault| Some((fault, says(fault.ends)?)))
        .collect();
    assert!(!found.is_empty(), "{place:?} has no such fault");
    found.into_iter()
}

/// Runs a command with a fault.
fn run(site: &Site, fault: &Fault, arguments: &[&str]) -> Output {
    site.run_with(VARIABLE, &fault.number.to_string(), arguments)
}

/// Starts a host with a fault, and waits until it is ready.
fn serve(site: &Site, fault: &Fault) -> Serving {
    site.serve_with(|command| {
        command.env(VARIABLE, fault.number.to_string());
    })
}

/// Calls the fault in the host of a data folder.
fn commit(site: &Site, fault: &Fault) -> Output {
    site.run(&["--json", "trigger", "06000", "evil", "--payload", &payload(fault)])
}

fn payload(fault: &Fault) -> String {
    json!({ "fault": fault.number }).to_string()
}

/// Checks that the host answers, and that the evil plugin does when nothing is asked of it.
#[track_caller]
fn check_good(site: &Site, fault: &Fault) {
    let reply = site.json(&["trigger", "06000", "evil", "--payload", r#"{"fault": 0}"#]);
    assert_eq!(reply["last"]["text"], "good", "after {}: {}", fault.number, fault.what);
}

/// Checks that the host does what others ask of it.
#[track_caller]
fn check_others(site: &Site, fault: &Fault) {
    let reply = site.json(&["trigger", "06000", "hello"]);
    assert_eq!(reply["last"]["text"], "Hello World!", "after {}: {}", fault.number, fault.what);
}

/// Checks that a text is said, in the form in which people see it.
#[track_caller]
fn check_says(fault: &Fault, said: &str, expected: &str) {
    let said = printable(said);
    let shown = &said[..said.floor_char_boundary(20_000)];
    assert!(said.contains(expected), "{} ({}): `{expected}` is not in {shown}", fault.number, fault.what);
    assert!(said.len() < 20_000, "{} ({}): {} bytes are said", fault.number, fault.what, said.len());
}

/// Returns what `plugin list` says of the evil plugin.
fn evil_in(list: &Value) -> &Value {
    let mut rows = list["plugins"].as_array().unwrap().iter();
    rows.find(|row| row["file"].as_str().unwrap().contains("evil")).unwrap()
}

/// Removes what the last host wrote to a log.
fn clear_log(site: &Site, channel: &str) {
    let _ = fs::remove_file(site.path().join("logs").join(format!("{channel}.application.log")));
}
