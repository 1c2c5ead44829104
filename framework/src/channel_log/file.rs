//! The file of one channel: opened late, kept open, and never the caller's problem.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{Rotation, files, line};
use crate::clock::parse_rfc3339;

/// How often a file that is open is compared with the one of its name, in milliseconds: another process may have rotated
/// it.
const LOOK_EVERY_MS: i64 = 1_000;

/// Appends lines to one file.
pub(super) struct ChannelFile {
    path: PathBuf,
    channel: String,
    file: Option<Opened>,
    /// Lines that could not be written since the last that was.
    lost: u64,
    /// Whether the file ends in a part of a line.
    torn: bool,
}

struct Opened {
    file: File,
    bytes: u64,
    /// When its first record was written.
    begun: i64,
    looked: i64,
}

impl ChannelFile {
    pub(super) fn new(folder: &Path, channel: &str) -> Self {
        Self { path: super::file_path(folder, channel), channel: channel.to_owned(), file: None, lost: 0, torn: false }
    }

    /// Closes the file; the next line opens it again.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Appends `line`, which ends in a newline, or counts it as lost. Returns whether another file was begun for it.
    pub(super) fn write(&mut self, line: &str, now: i64, rotation: &Rotation) -> bool {
        let rotated = self.rotate(line.len() as u64, now, rotation);
        if self.lost > 0 {
            let notice = line::of_lost(self.lost, now);
            if self.append(&notice, now).is_err() {
                self.lost += 1;
                return rotated;
            }
            self.lost = 0;
        }
        if self.append(line, now).is_err() {
            self.lost += 1;
        }
        rotated
    }

    /// Lets another file take the place of this one when it is full or old. When that fails, the old one goes on.
    fn rotate(&mut self, more: u64, now: i64, rotation: &Rotation) -> bool {
        if self.file.as_ref().is_some_and(|opened| now.saturating_sub(opened.looked) >= LOOK_EVERY_MS) {
            let there = self.file.as_ref().is_some_and(|opened| is_at(&opened.file, &self.path));
            self.file = self.file.take().filter(|_| there).map(|opened| Opened { looked: now, ..opened });
        }
        if self.file.is_none() {
            // Whatever keeps it from being opened is found again, and reported, when the line is written.
            self.file = open(&self.path, now).ok();
        }
        let Some(opened) = &self.file else { return false };
        let full = rotation.bytes > 0 && opened.bytes > 0 && opened.bytes.saturating_add(more) > rotation.bytes;
        let old = rotation.age_ms > 0 && opened.bytes > 0 && now.saturating_sub(opened.begun) >= rotation.age_ms;
        if !full && !old {
            return false;
        }
        let Some(folder) = self.path.parent() else { return false };
        let free = (0..1_000).map(|again| folder.join(files::rotated_name(&self.channel, now, again)));
        let Some(free) = free.into_iter().find(|path| path.symlink_metadata().is_err()) else { return false };
        let renamed = is_at(&opened.file, &self.path) && fs::rename(&self.path, free).is_ok();
        if renamed {
            self.file = None;
        }
        renamed
    }

    fn append(&mut self, line: &str, now: i64) -> io::Result<()> {
        let result = self.try_append(line, now);
        if result.is_err() {
            // What failed may be the handle and not the disk (a share that went away).
            self.file = None;
        }
        result
    }

    fn try_append(&mut self, line: &str, now: i64) -> io::Result<()> {
        let mut opened = match self.file.take() {
            Some(opened) => opened,
            None => open(&self.path, now)?,
        };
        let file = &mut opened.file;
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
        opened.bytes += line.len() as u64;
        self.file = Some(opened);
        Ok(())
    }
}

fn open(path: &Path, now: i64) -> io::Result<Opened> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Logs name people and addresses; only the host's user and root read them.
        options.mode(0o600);
    }
    let file = options.open(path)?;
    let bytes = file.metadata()?.len();
    let begun = if bytes == 0 { now } else { first_time(path).unwrap_or(now) };
    Ok(Opened { file, bytes, begun, looked: now })
}

/// Returns when the first record of a file was written.
fn first_time(path: &Path) -> Option<i64> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(64).read_to_end(&mut start).ok()?;
    let end = start.iter().position(|byte| *byte == b' ')?;
    parse_rfc3339(std::str::from_utf8(&start[..end]).ok()?)
}

/// Whether an open file is the one that has a name now.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Whether an open file is the one that has a name now; a name stays with its file here as long as that is open.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}
