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
    let quoted = |says: &str| format!("`` {says} ``");
    let (class, says) = match fault.ends {
        Ends::Refused(says) | Ends::Active(says) | Ends::Reported(says) => ("contained", quoted(says)),
        Ends::RefusedLate(says) | Ends::Late(says) => ("contained after its deadline", quoted(says)),
        Ends::Holds(says) => ("holds a thread", says.to_owned()),
        Ends::Unseen(left) => ("not seen", left.to_owned()),
        Ends::Hangs => ("**stops the process**", "nothing".to_owned()),
        Ends::Kills(Death::Exit(code)) => ("**ends the process**", format!("exit code {code}")),
        Ends::Kills(Death::Signal(signal)) => {
            let name = if signal == faults::SIGABRT { "SIGABRT" } else { "SIGSEGV" };
            ("**ends the process**", name.to_owned())
        }
    };
    let check = if fault.check.is_empty() { "-" } else { fault.check };
    format!("| {} | {} | {class} | {says} | {check} |", fault.number, fault.what)
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
        let _ = write!(
            page,
            "\n## {title}\n\n| No. | Fault | Ends | Said, or left | `plugin check` |\n| --- | --- | --- | --- | --- |\n"
        );
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
