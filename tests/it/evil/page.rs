//! The page `docs/faults.md` is written from the tables of these tests.

use std::fmt::Write as _;
use std::path::Path;

use super::faults::Death;
use super::*;

/// Environment variable that writes the page anew.
const BLESS: &str = "SWITCHBOARD_BLESS";

/// What stands before the tables.
const INTRODUCTION: &str = include_str!("page.md");

fn row(fault: &Fault) -> String {
    let (class, says) = match fault.ends {
        Ends::Refused(says) | Ends::Active(says) | Ends::Reported(says) => ("contained", says),
        Ends::RefusedLate(says) | Ends::Late(says) => ("contained after its deadline", says),
        Ends::Holds(says) => ("holds a thread", says),
        Ends::Unseen(harm) => ("not seen", harm),
        Ends::Hangs => return format!("| {} | {} | **stops the process** | nothing |", fault.number, fault.what),
        Ends::Kills(Death::Exit(code)) => {
            return format!("| {} | {} | **ends the process** | exit code {code} |", fault.number, fault.what);
        }
        Ends::Kills(Death::Signal(signal)) => {
            let name = if signal == faults::SIGABRT { "SIGABRT" } else { "SIGSEGV" };
            return format!("| {} | {} | **ends the process** | {name} |", fault.number, fault.what);
        }
    };
    let says = if matches!(fault.ends, Ends::Unseen(_)) { says.to_owned() } else { format!("`` {says} ``") };
    format!("| {} | {} | {class} | {says} |", fault.number, fault.what)
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (place, title) in [
        (Place::Start, "While the plugin is started"),
        (Place::Texts, "In 00005"),
        (Place::Form, "In 07300"),
        (Place::Call, "In a synchronous handler"),
        (Place::Delivery, "In a deferred delivery"),
        (Place::Later, "In an asynchronous handler of a deferred delivery"),
        (Place::End, "While the plugin ends"),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n\n| No. | Fault | Ends | Said, or left |\n| --- | --- | --- | --- |\n");
        for fault in FAULTS.iter().filter(|fault| fault.place == place) {
            let _ = writeln!(page, "{}", row(fault));
        }
    }
    page
}

#[test]
fn the_page_about_faults_says_what_the_tests_check() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/faults.md");
    let expected = page();
    if std::env::var_os(BLESS).is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found.lines().eq(expected.lines()), "docs/faults.md is not what the tests check; {BLESS}=1 writes it");
}

#[test]
fn every_fault_has_its_number_and_a_test() {
    assert!(FAULTS.is_sorted_by_key(|fault| fault.number), "the table is in order");
    assert!(FAULTS.windows(2).all(|pair| pair[0].number != pair[1].number));
}
