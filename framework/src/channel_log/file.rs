//! The file of one channel: opened late, kept open, and never the caller's problem.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use super::line;

/// Appends lines to one file.
pub(super) struct ChannelFile {
    path: PathBuf,
    file: Option<File>,
    /// Lines that could not be written since the last that was.
    lost: u64,
    /// Whether the file ends in a part of a line.
    torn: bool,
}

impl ChannelFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, lost: 0, torn: false }
    }

    /// Closes the file; the next line opens it again.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Appends `line`, which ends in a newline, or counts it as lost.
    pub(super) fn write(&mut self, line: &str, now: i64) {
        if self.lost > 0 {
            let notice = line::of_lost(self.lost, now);
            if self.append(&notice).is_err() {
                self.lost += 1;
                return;
            }
            self.lost = 0;
        }
        if self.append(line).is_err() {
            self.lost += 1;
        }
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        let result = self.try_append(line);
        if result.is_err() {
            // What failed may be the handle and not the disk (a share that went away).
            self.file = None;
        }
        result
    }

    fn try_append(&mut self, line: &str) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        if self.torn {
            // The piece of a line that a full disk left must not swallow this one.
            file.write_all(b"\n")?;
            self.torn = false;
        }
        // By hand and not with `write_all`, to learn whether a part was written. Normally this is
        // one write, which is what lets several processes append to one file.
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.file = Some(file);
        Ok(())
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Logs name people and addresses; only the host's user and root read them.
        options.mode(0o600);
    }
    options.open(path)
}
