//! Reading the logs: which channels exist, and what stands in one.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use log::Level;

use super::{FILE_SUFFIX, file_path, name};
use crate::clock::{from_system_time, parse_rfc3339};

/// How many records one search returns at most, whatever its `limit`.
const MAX_RECORDS: usize = 10_000;

/// A channel that has a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// The channel, as its file is named.
    pub name: String,
    /// The size of its file.
    pub bytes: u64,
    /// When its file was last written, in milliseconds since the Unix epoch.
    pub modified: i64,
}

/// What to look for in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// A part of the line, in any case; `None` matches every line.
    pub text: Option<String>,
    /// The least severe level to return; `None` returns all.
    pub level: Option<Level>,
    /// How many records to return, the newest that match; at most 10000, default 200.
    pub limit: usize,
    /// Whether the newest record comes first; otherwise they come as they stand in the file.
    pub newest_first: bool,
}

impl Default for Search {
    fn default() -> Self {
        Self { text: None, level: None, limit: 200, newest_first: false }
    }
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRecord {
    /// When it was written, as RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// Its level.
    pub level: Level,
    /// The channel it stands in.
    pub channel: String,
    /// The message and its `key=value` pairs, escaped as they stand in the line.
    pub message: String,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The folder cannot be listed.
    #[error("cannot list the folder of logs `{folder}`")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No file of that name exists, or it is not a plain file.
    #[error("there is no channel `{channel}`, {}", existing(.channels))]
    UnknownChannel {
        /// The channel that was asked for.
        channel: String,
        /// The channels that exist.
        channels: Vec<String>,
    },
    /// The channel's file cannot be read.
    #[error("cannot read the log of channel `{channel}`")]
    Read {
        /// The channel.
        channel: String,
        /// What the system said.
        source: io::Error,
    },
}

impl SearchError {
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Folder { source, .. } | Self::Read { source, .. } => source,
            Self::UnknownChannel { .. } => io::ErrorKind::NotFound.into(),
        }
    }
}

fn existing(channels: &[String]) -> String {
    if channels.is_empty() {
        return "nothing has been logged yet".to_owned();
    }
    let quoted: Vec<String> = channels.iter().map(|name| format!("`{name}`")).collect();
    format!("existing channels are {}", quoted.join(", "))
}

/// Returns the channels that have a file in `folder`, by name; none when there is no folder.
///
/// Links and anything that is not a plain file are passed over.
///
/// # Errors
///
/// [`SearchError::Folder`] when the folder cannot be listed.
pub fn channels(folder: &Path) -> Result<Vec<ChannelInfo>, SearchError> {
    let error = |source| SearchError::Folder { folder: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut channels = Vec::new();
    for entry in entries {
        let entry = entry.map_err(error)?;
        let file_name = entry.file_name();
        let Some(channel) = file_name.to_str().and_then(|name| name.strip_suffix(FILE_SUFFIX)) else {
            continue;
        };
        // `DirEntry::metadata` does not follow links. A file may be gone since it was listed.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if name::for_file(channel) != channel || !metadata.is_file() {
            continue;
        }
        channels.push(ChannelInfo {
            name: channel.to_owned(),
            bytes: metadata.len(),
            modified: metadata.modified().map_or(0, from_system_time),
        });
    }
    channels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(channels)
}

/// Returns the newest records of `channel` that match `search`.
///
/// Reads the file once from its start and holds no more than the records it returns, so it takes
/// time in proportion to the file, but not memory. Lines that are not records are passed over.
///
/// # Errors
///
/// [`SearchError::UnknownChannel`] when the channel has no plain file, [`SearchError::Read`] when
/// that file cannot be read, [`SearchError::Folder`] when the folder cannot.
pub fn search(folder: &Path, channel: &str, search: &Search) -> Result<Vec<LogRecord>, SearchError> {
    let error = |source| SearchError::Read { channel: channel.to_owned(), source };
    let Some(file) = open(folder, channel).map_err(error)? else {
        let channels = channels(folder)?.into_iter().map(|known| known.name).collect();
        return Err(SearchError::UnknownChannel { channel: channel.to_owned(), channels });
    };
    let needle = search.text.as_deref().filter(|text| !text.is_empty()).map(Needle::new);
    let limit = search.limit.min(MAX_RECORDS);
    let mut found: VecDeque<LogRecord> = VecDeque::new();
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut line = Vec::new();
    while limit > 0 && next_line(&mut reader, &mut line).map_err(error)? {
        let Ok(text) = std::str::from_utf8(&line) else {
            continue;
        };
        let Some((time, level, message)) = parse(text) else {
            continue;
        };
        if search.level.is_some_and(|least| level > least) || needle.as_ref().is_some_and(|needle| !needle.is_in(text))
        {
            continue;
        }
        if found.len() == limit {
            found.pop_front();
        }
        found.push_back(LogRecord {
            time: time.to_owned(),
            level,
            channel: channel.to_owned(),
            message: message.to_owned(),
        });
    }
    if search.newest_first {
        found.make_contiguous().reverse();
    }
    Ok(found.into())
}

/// Opens the file of `channel`; `None` when there is none, or none that may be read.
fn open(folder: &Path, channel: &str) -> io::Result<Option<File>> {
    // Only names this log could have made: a name from a page never becomes a path.
    if name::for_file(channel) != channel {
        return Ok(None);
    }
    let path = file_path(folder, channel);
    let listed = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !listed.is_file() {
        return Ok(None);
    }
    let file = File::open(&path)?;
    // Between the two calls the file could have been replaced by a link.
    Ok(is_same(&listed, &file.metadata()?).then_some(file))
}

#[cfg(unix)]
fn is_same(listed: &Metadata, opened: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (listed.dev(), listed.ino()) == (opened.dev(), opened.ino())
}

#[cfg(not(unix))]
fn is_same(_listed: &Metadata, opened: &Metadata) -> bool {
    opened.is_file()
}

/// Reads the next line into `line` without its newline; of a line that is longer than any this log
/// writes only the start. Returns false at the end.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let piece = &buffer[..newline.unwrap_or(buffer.len())];
        let room = super::line::MAX_LINE.saturating_sub(line.len());
        line.extend_from_slice(&piece[..piece.len().min(room)]);
        let used = newline.map_or(buffer.len(), |at| at + 1);
        reader.consume(used);
        if newline.is_some() {
            return Ok(true);
        }
    }
}

/// Splits a line into time, level and the rest; `None` when it is not a record.
fn parse(line: &str) -> Option<(&str, Level, &str)> {
    let (time, rest) = line.split_once(' ')?;
    let (level, message) = (rest.get(..5)?, rest.get(5..)?);
    parse_rfc3339(time)?;
    Some((time, level.trim_end().parse().ok()?, message.strip_prefix(' ')?))
}

/// A text to find in any case.
enum Needle {
    /// Compared byte by byte, without a copy of each line.
    Ascii(Vec<u8>),
    Unicode(String),
}

impl Needle {
    fn new(text: &str) -> Self {
        if text.is_ascii() { Self::Ascii(text.as_bytes().to_vec()) } else { Self::Unicode(text.to_lowercase()) }
    }

    fn is_in(&self, line: &str) -> bool {
        match self {
            Self::Ascii(text) => line.as_bytes().windows(text.len()).any(|part| part.eq_ignore_ascii_case(text)),
            Self::Unicode(text) => line.to_lowercase().contains(text),
        }
    }
}
