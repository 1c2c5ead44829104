//! The list of all checks.

use super::worker::Session;
use super::{Check, Level, calls, hygiene, lifecycle, load, texts};

/// How a check is done.
#[derive(Clone, Copy)]
pub(super) enum How {
    /// From the bytes of the file.
    Bytes,
    /// In a process of its own.
    Worker(fn(&mut Session<'_>)),
}

/// Returns all checks, in the order in which they are done: one that another needs comes before it.
pub fn catalogue() -> impl Iterator<Item = Check> {
    CHECKS.iter().map(|(check, _)| *check)
}

/// Returns how the check `id` is done in a process of its own.
pub(super) fn work(id: &str) -> Option<fn(&mut Session<'_>)> {
    CHECKS.iter().find(|(check, _)| check.id == id).and_then(|(_, how)| match how {
        How::Worker(work) => Some(*work),
        How::Bytes => None,
    })
}

const fn bytes(id: &'static str, title: &'static str) -> (Check, How) {
    (Check { id, title, level: Level::Static, needs: None }, How::Bytes)
}

const fn basic(
    id: &'static str,
    title: &'static str,
    needs: Option<&'static str>,
    work: fn(&mut Session<'_>),
) -> (Check, How) {
    (Check { id, title, level: Level::Basic, needs }, How::Worker(work))
}

const fn standard(
    id: &'static str,
    title: &'static str,
    needs: &'static str,
    work: fn(&mut Session<'_>),
) -> (Check, How) {
    (Check { id, title, level: Level::Standard, needs: Some(needs) }, How::Worker(work))
}

const fn strict(id: &'static str, title: &'static str, work: fn(&mut Session<'_>)) -> (Check, How) {
    (Check { id, title, level: Level::Strict, needs: Some("F1") }, How::Worker(work))
}

const CHECKS: &[(Check, How)] = &[
    bytes("A1", "The file is a regular file"),
    bytes("A2", "Only its owner and the administrator can change the file"),
    bytes("A3", "The file is neither empty nor too large"),
    bytes("A4", "The library is built for this platform"),
    bytes("A5", "The file is a dynamic library and no program"),
    bytes("A6", "The file is complete"),
    bytes("A7", "Its segments are in order, and none is writable and executable"),
    bytes("A8", "It exports the entry that `export_plugin!` makes"),
    bytes("A9", "It has the manifest section that `export_plugin!` makes"),
    bytes("A10", "The system libraries that it needs are here, in these versions"),
    bytes("A11", "Only the toolchain's code runs while it is opened"),
    bytes("A12", "It imports no function that changes the whole process"),
    bytes("A13", "It exports the entry and the manifest and nothing else"),
    bytes("A14", "A panic in it is caught"),
    bytes("A15", "The crates that it was built from, for audits"),
    bytes("B1", "The manifest can be read and has every field"),
    bytes("B2", "The plugin id is valid"),
    bytes("B3", "The version is a semantic version"),
    bytes("B4", "This host has what the plugin needs"),
    bytes("B5", "Its trigger numbers and event names are valid, each pair once"),
    bytes("B7", "No other library in the same folder has its id"),
    bytes("B8", "Its capabilities and settings are named once each"),
    basic("D1", "The library loads with every symbol resolved", None, load::loads),
    basic("D3", "The plugin starts, without a word on standard output", Some("D1"), load::starts),
    basic("D2", "Loading and starting take less than 100 ms", Some("D3"), load::is_fast),
    basic("D4", "Loading leaves no thread, file, socket or process behind", Some("D3"), load::leaves_nothing),
    basic("D5", "A second copy loads and starts beside the first", Some("D3"), load::loads_twice),
    basic("D6", "Under a host without services it starts, or says why not", Some("D3"), load::starts_without_services),
    basic("B6", "The manifest is what the library reports", Some("D3"), load::matches_manifest),
    standard("F1", "Every handler answers a sample payload", "D3", calls::samples),
    standard("E1", "It starts and stops three times", "F1", lifecycle::cycles),
    standard("E2", "Two instances, and calls before and after a stop, do no harm", "F1", lifecycle::out_of_order),
    standard("E3", "A second stop does no harm", "D3", lifecycle::stops_twice),
    standard("E4", "Empty, invalid and huge settings give an error with a message", "D3", lifecycle::odd_settings),
    standard("E5", "It stops within two seconds while a call is running", "F1", lifecycle::stops_during_a_call),
    standard("E6", "After its process was killed in a call it starts again", "F1", lifecycle::is_killed),
    standard("F2", "An unknown handler is refused with an error", "D3", calls::unknown_handler),
    standard("F3", "Empty, one-byte, largest and too large payloads do no harm", "F1", calls::sizes),
    standard("F4", "Broken and hostile payloads do no harm", "F1", calls::hostile),
    standard("F5", "Every result has the type of its trigger and a sensible size", "F1", calls::results),
    standard("F6", "The payload in the caller's memory stays as it was", "F1", calls::input_unchanged),
    standard("F7", "The same question gets the same answer", "F1", calls::deterministic),
    standard("F8", "Calls from other threads, also from eight at once, do no harm", "F1", calls::threads),
    standard("F9", "A host without services does no harm", "F1", calls::no_services),
    standard("F10", "Errors and garbage from the host's services do no harm", "F1", calls::failing_services),
    standard("F11", "A call past its deadline, or cancelled, ends", "F1", calls::deadline),
    standard("I1", "Every text can be read", "F1", texts::readable),
    standard("I2", "Every text of en-GB is there in the other languages", "F1", texts::complete),
    standard("I3", "A text has the same arguments in every language", "F1", texts::arguments),
    standard("I4", "Texts hold no markup", "F1", texts::markup),
    strict("F12", "Random payloads do no harm", calls::random),
    strict("H1", "The locale stays as it was", hygiene::locale),
    strict("H2", "Signal handlers and the signal mask stay as they were", hygiene::signals),
    strict("H3", "The working directory stays as it was", hygiene::directory),
    strict("H4", "The umask stays as it was", hygiene::umask),
    strict("H5", "The environment stays as it was", hygiene::environment),
    strict("H6", "The resource limits stay as they were", hygiene::limits),
    strict("H7", "No file or socket stays open, and none of the host's is closed", hygiene::descriptors),
    strict("H8", "No child process is left", hygiene::children),
    strict("H9", "No thread is left after a stop", hygiene::threads),
    strict("H10", "Floating-point arithmetic stays as it was", hygiene::floating_point),
    strict("H11", "The host's panic hook stays as it was", hygiene::panic_hook),
    strict("H12", "Nothing is written to standard output, standard error or the working directory", hygiene::output),
    strict("H13", "Memory does not grow by more than 64 bytes a call", hygiene::memory),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_what_a_check_needs_is_done_before_it() {
        let checks: Vec<_> = catalogue().collect();
        for (index, check) in checks.iter().enumerate() {
            assert!(!checks[..index].iter().any(|other| other.id == check.id), "{}", check.id);
            let needed = check.needs.map(|id| checks[..index].iter().find(|other| other.id == id).unwrap());
            assert!(needed.is_none_or(|needed| needed.level <= check.level), "{}", check.id);
            assert_eq!(work(check.id).is_some(), check.runs_code(), "{}", check.id);
        }
    }
}
