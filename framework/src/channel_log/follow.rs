//! Reading what is written from now on.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::line::MAX_LINE;
use super::search::Matching;
use super::{FILE_SUFFIX, LogRecord, Search, files};

/// Most bytes that are read of one channel at once; the rest comes the next time.
const MAX_READ: u64 = 1 << 20;

/// The records that are written to the logs of a folder, from the moment on at which this was made, whoever writes them.
///
/// Nothing waits here: who follows asks again from time to time.
pub struct Follower {
    folder: PathBuf,
    search: Search,
    channels: HashMap<String, Tail>,
}

/// How far the file of one channel has been read.
struct Tail {
    file: File,
    read: u64,
    /// The piece of a line that has not come to its end.
    rest: Vec<u8>,
}

impl Follower {
    pub(super) fn new(folder: &Path, search: Search) -> Self {
        let mut follower = Self { folder: folder.to_owned(), search, channels: HashMap::new() };
        for file in files::list(folder).unwrap_or_default().into_iter().filter(|file| file.rotated.is_none()) {
            if let Some(tail) = Tail::open(folder, &file.name, true) {
                follower.channels.insert(file.channel, tail);
            }
        }
        follower
    }

    /// Returns the records that match and came since the last time, by their time.
    pub fn new_records(&mut self) -> Vec<LogRecord> {
        let matching = Matching::new(&self.search);
        let mut found = Vec::new();
        let files = files::list(&self.folder).unwrap_or_default();
        for file in files.into_iter().filter(|file| file.rotated.is_none()) {
            if self.search.channel.as_ref().is_some_and(|wanted| *wanted != file.channel) {
                continue;
            }
            let name = format!("{}{FILE_SUFFIX}", file.channel);
            if !self.channels.contains_key(&file.channel) {
                let Some(tail) = Tail::open(&self.folder, &name, false) else { continue };
                self.channels.insert(file.channel.clone(), tail);
            }
            let Some(tail) = self.channels.get_mut(&file.channel) else { continue };
            let mut take = |line: &[u8]| found.extend(matching.record(line, &file.channel));
            tail.read_new(&mut take);
            // Another file has taken its place, and the rest of the old one has been read just now.
            if let Some(mut next) = Tail::open(&self.folder, &name, false).filter(|next| !next.is_same(tail)) {
                next.read_new(&mut take);
                self.channels.insert(file.channel.clone(), next);
            }
        }
        found.sort_by(|a: &LogRecord, b| a.time.cmp(&b.time));
        found
    }
}

impl Tail {
    fn open(folder: &Path, name: &str, at_end: bool) -> Option<Self> {
        let mut file = files::open(folder, name).ok()??;
        let read = if at_end { file.seek(SeekFrom::End(0)).ok()? } else { 0 };
        Some(Self { file, read, rest: Vec::new() })
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self.file.metadata(), other.file.metadata()) {
            (Ok(left), Ok(right)) => same(&left, &right),
            _ => false,
        }
    }

    /// Hands over the whole lines that have come.
    fn read_new(&mut self, take: &mut impl FnMut(&[u8])) {
        // A file that somebody has emptied begins anew.
        if self.file.metadata().is_ok_and(|metadata| metadata.len() < self.read) {
            self.read = 0;
            self.rest.clear();
        }
        let mut bytes = Vec::new();
        let begin = self.file.seek(SeekFrom::Start(self.read));
        // What cannot be read now is read the next time.
        let Ok(count) = begin.and_then(|_| (&self.file).take(MAX_READ).read_to_end(&mut bytes)) else { return };
        self.read += count as u64;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE.saturating_sub(self.rest.len());
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.rest.extend_from_slice(&text[..text.len().min(room)]);
            if piece.ends_with(b"\n") {
                take(&self.rest);
                self.rest.clear();
            }
        }
    }
}

#[cfg(unix)]
fn same(left: &Metadata, right: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (left.dev(), left.ino()) == (right.dev(), right.ino())
}

#[cfg(not(unix))]
fn same(left: &Metadata, right: &Metadata) -> bool {
    left.created().ok() == right.created().ok()
}
