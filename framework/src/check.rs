//! Judges a plugin library: what can be read from its file, and what it does when it is called.
//!
//! [`examine`] reads the file and runs nothing. [`perform`] does one check that loads the library; such a check may end
//! the process that does it, so a caller starts a process of its own for each, reads with [`Heard::read`] what that
//! process wrote, and kills it when it takes too long. `switchboard plugin check` does so.
//!
//! The checks are listed in [`catalogue`]. Ids and titles are stable, so that a report can be compared with an older one.

mod calls;
mod catalogue;
mod frames;
mod host;
mod hygiene;
mod lifecycle;
mod load;
mod manifest;
mod payloads;
mod structure;
mod texts;
mod worker;

use std::path::Path;

use serde::{Deserialize, Serialize};
use switchboard_plugin_api::Manifest;

pub use catalogue::catalogue;
pub use frames::Heard;
pub use worker::{Job, perform};

use crate::plugins::{self, Candidate, Refusal};

/// How much is checked. Each level has all checks of the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// The file is read; nothing in it runs.
    Static,
    /// The library is loaded and the plugin starts.
    Basic,
    /// Its life is played through and its handlers are called.
    Standard,
    /// What it leaves behind in its process is measured, and its handlers are called with random payloads.
    Strict,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// Nothing was found.
    Pass,
    /// It was not done; a note says why.
    Skip,
    /// Something should be better; a host takes the plugin all the same.
    Warn,
    /// Something is wrong.
    Fail,
    /// It took longer than it may and was killed.
    Timeout,
    /// The process in which it was done ended before the check did.
    Crash,
}

impl Status {
    /// Whether what is checked cannot be relied on.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::Timeout | Self::Crash)
    }
}

/// One thing that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// A letter for the group and a number, such as `F4`.
    pub id: &'static str,
    /// What holds when the check passes.
    pub title: &'static str,
    /// The first level that has it.
    pub level: Level,
    /// A check without whose success this one says nothing, and is skipped.
    pub needs: Option<&'static str>,
}

impl Check {
    /// Whether the library is loaded for this check.
    #[must_use]
    pub fn runs_code(&self) -> bool {
        self.level > Level::Static
    }

    /// What the group of the check is about.
    #[must_use]
    pub fn group(&self) -> &'static str {
        match self.id.as_bytes().first() {
            Some(b'A') => "the file",
            Some(b'B') => "the manifest",
            Some(b'D') => "loading",
            Some(b'E') => "its life",
            Some(b'F') => "calls",
            Some(b'H') => "what it leaves behind",
            _ => "texts",
        }
    }
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub status: Status,
    /// What was found, a sentence without its full stop.
    pub found: String,
    /// What to do about it.
    pub advice: String,
    /// What it comes from, when that may come up in other checks as well: a panic, by its handler and place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

impl Finding {
    /// Returns a finding.
    #[must_use]
    pub fn new(status: Status, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status, found: found.into(), advice: advice.into(), cause: None }
    }

    /// Says what it comes from.
    #[must_use]
    pub fn because_of(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The check.
    #[serde(flatten)]
    pub check: Check,
    /// How it ended: as bad as the worst finding.
    pub status: Status,
    /// What else is worth knowing, such as why it was skipped.
    pub note: Option<String>,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Outcome {
    /// Returns the outcome of a check that found this.
    #[must_use]
    pub fn new(check: Check, findings: Vec<Finding>, note: Option<String>) -> Self {
        let status = findings.iter().map(|finding| finding.status).max().unwrap_or(Status::Pass);
        Self { check, status, note, findings }
    }

    /// Returns the outcome of a check that was not done.
    #[must_use]
    pub fn skipped(check: Check, why: impl Into<String>) -> Self {
        Self { check, status: Status::Skip, note: Some(why.into()), findings: Vec::new() }
    }
}

/// What the file says, without running anything in it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Examination {
    /// The checks of level [`Level::Static`].
    pub outcomes: Vec<Outcome>,
    /// The manifest, when it can be read.
    pub manifest: Option<Manifest>,
    /// The bytes that were judged, when a host would load them.
    pub loadable: Option<Vec<u8>>,
}

/// Reads a library file and judges what is in it. Nothing in it runs, and nothing but a regular file is opened.
#[must_use]
pub fn examine(path: &Path) -> Examination {
    let mut sheet = Sheet::default();
    let candidate = Candidate::at(path);
    let bytes = match structure::read(&mut sheet, &candidate) {
        Some(bytes) => bytes,
        None => return sheet.close("the file cannot be read as a library", None, None),
    };
    let readable = structure::judge(&mut sheet, &bytes);
    let manifest = readable.and_then(|()| manifest::judge(&mut sheet, &candidate, &bytes));
    let verdict = plugins::judge(&bytes);
    if let Err(refusal) = &verdict
        && !sheet.is_bad()
    {
        sheet.fail("B4", refusal.to_string(), "correct that, otherwise no host loads the plugin");
    }
    let loadable = verdict.is_ok().then_some(bytes);
    sheet.close("the checks before it say why the file cannot be used", manifest, loadable)
}

/// Reads a library that a host would load: its bytes, and what it says of itself. Nothing in it runs.
///
/// # Errors
///
/// The reason for which a host would refuse it.
pub fn read(path: &Path) -> Result<(Vec<u8>, Manifest), Refusal> {
    let bytes = Candidate::at(path).read()?;
    let manifest = plugins::judge(&bytes)?;
    Ok((bytes, manifest))
}

/// Judges what the process of a check wrote to its standard output and error. Most checks let it pass: one says it.
#[must_use]
pub fn judge_output(check: Check, stdout: &[u8], stderr: &[u8]) -> Vec<Finding> {
    if !matches!(check.id, "D3" | "H12") {
        return Vec::new();
    }
    let written = [(Status::Fail, "output", stdout), (Status::Warn, "error", stderr)];
    let written = written.into_iter().filter(|(.., bytes)| !bytes.is_empty());
    let findings = written.map(|(status, stream, bytes)| {
        let beginning = bytes[..bytes.len().min(80)].escape_ascii();
        Finding::new(
            status,
            format!("it writes to standard {stream}: `{beginning}`"),
            "use the `log` macros: the host's standard streams are not the plugin's",
        )
    });
    findings.collect()
}

/// Collects the outcomes of the static checks.
#[derive(Default)]
struct Sheet {
    done: Vec<(&'static str, Vec<Finding>, Option<String>)>,
    skipped: Vec<(&'static str, String)>,
}

impl Sheet {
    /// Notes that a check is done, whatever it finds.
    fn done(&mut self, id: &'static str) -> &mut (&'static str, Vec<Finding>, Option<String>) {
        let at = self.done.iter().position(|(done, ..)| *done == id).unwrap_or_else(|| {
            self.done.push((id, Vec::new(), None));
            self.done.len() - 1
        });
        &mut self.done[at]
    }

    fn fail(&mut self, id: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.done(id).1.push(Finding::new(Status::Fail, found, advice));
    }

    fn warn(&mut self, id: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.done(id).1.push(Finding::new(Status::Warn, found, advice));
    }

    fn note(&mut self, id: &'static str, note: impl Into<String>) {
        self.done(id).2 = Some(note.into());
    }

    fn skip(&mut self, id: &'static str, why: impl Into<String>) {
        self.skipped.push((id, why.into()));
    }

    fn is_bad(&self) -> bool {
        self.done.iter().flat_map(|(_, findings, _)| findings).any(|finding| finding.status.is_bad())
    }

    /// Makes the outcomes; a check that was neither done nor skipped is skipped because of `otherwise`.
    fn close(mut self, otherwise: &str, manifest: Option<Manifest>, loadable: Option<Vec<u8>>) -> Examination {
        let checks = catalogue().filter(|check| !check.runs_code());
        let outcomes = checks.map(|check| {
            if let Some(at) = self.done.iter().position(|(id, ..)| *id == check.id) {
                let (_, findings, note) = self.done.swap_remove(at);
                return Outcome::new(check, findings, note);
            }
            let why = self.skipped.iter().find(|(id, _)| *id == check.id);
            Outcome::skipped(check, why.map_or(otherwise, |(_, why)| why))
        });
        Examination { outcomes: outcomes.collect(), manifest, loadable }
    }
}

#[cfg(test)]
mod tests;
