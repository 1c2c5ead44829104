//! A disk that fails on demand, put between a process and its files. See `tests/fixtures/faulty`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{library, say_skipped};

/// Whether processes can be given such a disk here; says so when they cannot.
#[must_use]
pub fn has_faulty_disk() -> bool {
    if !cfg!(target_os = "linux") {
        say_skipped("a failing disk can be put between a process and its files on Linux only");
    }
    cfg!(target_os = "linux")
}

/// What fails of a process's disk just now.
pub struct FaultyDisk {
    control: TempDir,
}

impl Default for FaultyDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultyDisk {
    /// Makes a disk of which nothing fails.
    #[must_use]
    pub fn new() -> Self {
        Self { control: TempDir::new().unwrap() }
    }

    /// Lets a process that is started keep the files of `folder` on this disk.
    pub fn put_before(&self, command: &mut Command, folder: &Path) {
        // The kernel tells the true path of an open file.
        let folder = folder.canonicalize().unwrap();
        command.env("LD_PRELOAD", library("fixture_faulty"));
        command.env("FAULTY_FOLDER", folder).env("FAULTY_CONTROL", self.control.path());
    }

    /// As [`put_before`](Self::put_before), and keeps a journal; returns its file.
    pub fn put_before_with_journal(&self, command: &mut Command, folder: &Path) -> PathBuf {
        self.put_before(command, folder);
        let journal = self.control.path().join("journal");
        command.env("FAULTY_JOURNAL", &journal);
        journal
    }

    /// Kills a process that is started when a moment comes for the `count`-th time; the fixture says which there are.
    pub fn kill_at(command: &mut Command, moment: &str, count: u64) {
        command.env("FAULTY_KILL", format!("{moment}:{count}"));
    }

    /// Lets something fail: `full`, `write`, `sync` or `read`; `text` is what the fixture says of it.
    pub fn fail(&self, what: &str, text: &str) {
        fs::write(self.control.path().join(what), text).unwrap();
    }

    /// Ends a failure.
    pub fn mend(&self, what: &str) {
        fs::remove_file(self.control.path().join(what)).unwrap();
    }
}
