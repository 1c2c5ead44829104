//! What the process that does a check writes for the one that started it.
//!
//! Each frame is one line of JSON, appended to a file by one write. The last one is a goodbye: a process that ends
//! without it has crashed, whatever its exit status says. Each frame names its process, because a plugin that forks makes
//! a second one that goes on answering.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Finding;

/// Longest text in a frame, in characters: a plugin may well panic with 64 MiB.
const MAX_TEXT: usize = 600;
/// Most findings that are written; a plugin that panics at everything is not described at length.
const MAX_FINDINGS: usize = 20;

#[derive(Debug, Serialize, Deserialize)]
struct Frame {
    process: u32,
    what: What,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// What is done next. When nothing follows, it was too much.
    At(String),
    Finding(Finding),
    Note(String),
    Skip(String),
    /// The process asks to be killed now, as part of the check.
    Kill,
    Goodbye,
}

/// Writes frames.
pub(super) struct Report {
    file: File,
    process: u32,
    findings: usize,
}

impl Report {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { file, process: std::process::id(), findings: 0 })
    }

    fn write(&mut self, what: What) {
        let frame = Frame { process: self.process, what };
        let Ok(mut line) = serde_json::to_vec(&frame) else { return };
        line.push(b'\n');
        // A report that cannot be written has no goodbye, which counts as a crash.
        let _ = self.file.write_all(&line);
    }

    pub(super) fn at(&mut self, step: impl Into<String>) {
        self.write(What::At(cut(step.into())));
    }

    pub(super) fn finding(&mut self, finding: Finding) {
        if self.findings < MAX_FINDINGS {
            self.findings += 1;
            self.write(What::Finding(Finding { found: cut(finding.found), cause: finding.cause.map(cut), ..finding }));
        }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.write(What::Note(cut(note.into())));
    }

    pub(super) fn skip(&mut self, why: impl Into<String>) {
        self.write(What::Skip(cut(why.into())));
    }

    pub(super) fn kill(&mut self) {
        self.write(What::Kill);
    }

    pub(super) fn goodbye(&mut self) {
        // A fork of this process would say goodbye with its parent's number otherwise.
        self.process = std::process::id();
        self.write(What::Goodbye);
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// What a process wrote while it did a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heard {
    /// What it found.
    pub findings: Vec<Finding>,
    /// What else is worth knowing.
    pub note: Option<String>,
    /// Why the check does not apply, when it does not.
    pub skipped: Option<String>,
    /// What it did last.
    pub last_step: Option<String>,
    /// Whether it asked to be killed and the check done once more.
    pub wants_kill: bool,
    /// Whether it came to its end.
    pub goodbye: bool,
    /// Whether more than one process wrote, or one went on after its goodbye: the plugin has forked.
    pub several_processes: bool,
}

impl Heard {
    /// Reads what a process has written so far. A line that is no frame is passed over.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut heard = Self::default();
        let mut process = None;
        let lines = bytes.split(|byte| *byte == b'\n');
        for frame in lines.filter_map(|line| serde_json::from_slice::<Frame>(line).ok()) {
            heard.several_processes |= heard.goodbye || process.is_some_and(|process| process != frame.process);
            process = Some(frame.process);
            match frame.what {
                What::At(step) => heard.last_step = Some(step),
                What::Finding(finding) if !heard.findings.contains(&finding) => heard.findings.push(finding),
                What::Finding(_) => {}
                What::Note(note) => heard.note = Some(note),
                What::Skip(why) => heard.skipped = Some(why),
                What::Kill => heard.wants_kill = true,
                What::Goodbye => heard.goodbye = true,
            }
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(cut("é".repeat(MAX_TEXT)), "é".repeat(MAX_TEXT));
        assert_eq!(cut("é".repeat(MAX_TEXT + 1)), "é".repeat(MAX_TEXT) + "…");
    }

    #[test]
    fn what_is_written_is_what_is_heard_also_when_it_ends_in_the_middle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let finding = Finding::new(Status::Fail, "a\nline", "b");
        let mut report = Report::open(&path).unwrap();
        report.at("one");
        report.at("two");
        report.finding(finding.clone());
        let before = std::fs::read(&path).unwrap();
        let heard = Heard::read(&before[..before.len() - 3]);
        assert_eq!((heard.last_step.as_deref(), heard.goodbye), (Some("two"), false));
        assert_eq!(heard.findings, []);
        report.goodbye();
        let heard = Heard::read(&std::fs::read(&path).unwrap());
        assert!(heard.goodbye && !heard.several_processes, "{heard:?}");
        assert_eq!(heard.findings, [finding]);
        report.goodbye();
        assert!(Heard::read(&std::fs::read(&path).unwrap()).several_processes);
    }
}
