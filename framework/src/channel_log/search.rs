//! Reading the logs: which channels exist, and what stands in one.

use std::io;
use std::path::{Path, PathBuf};

use log::Level;

use super::backwards::Backwards;
use super::{LogFile, files};
use crate::clock::parse_rfc3339;

/// How many records one search returns at most, whatever its `limit`.
const MAX_RECORDS: usize = 10_000;

/// A channel that has a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// The channel, as its file is named.
    pub name: String,
    /// The size of its files.
    pub bytes: u64,
    /// When it was last written to, in milliseconds since the Unix epoch.
    pub modified: i64,
    /// How many files it has: the one that is written to, and those that were rotated.
    pub files: usize,
}

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The channel; `None` looks into all of them.
    pub channel: Option<String>,
    /// A part of the line, in any case; `None` matches every line.
    pub text: Option<String>,
    /// The least severe level to return; `None` returns all.
    pub level: Option<Level>,
    /// Only records about this deferred task, or about a replay of it.
    pub task: Option<i64>,
    /// Only records of this moment or later, in milliseconds since the Unix epoch.
    pub since: Option<i64>,
    /// Only records before this moment, in milliseconds since the Unix epoch.
    pub until: Option<i64>,
    /// How many records to return, the newest that match; at most 10000, default 200.
    pub limit: usize,
    /// Whether the newest record comes first; otherwise they come as they were written.
    pub newest_first: bool,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            channel: None,
            text: None,
            level: None,
            task: None,
            since: None,
            until: None,
            limit: 200,
            newest_first: false,
        }
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
    let mut channels: Vec<ChannelInfo> = Vec::new();
    for file in files::list(folder)? {
        match channels.last_mut().filter(|last| last.name == file.channel) {
            Some(last) => {
                last.bytes += file.bytes;
                last.modified = last.modified.max(file.modified);
                last.files += 1;
            }
            None => {
                channels.push(ChannelInfo { name: file.channel, bytes: file.bytes, modified: file.modified, files: 1 })
            }
        }
    }
    Ok(channels)
}

/// Returns the newest records of `channel` that match `search`, whatever channel that names.
///
/// # Errors
///
/// As [`Logs::search`](super::Logs::search).
pub fn search(folder: &Path, channel: &str, search: &Search) -> Result<Vec<LogRecord>, SearchError> {
    search_all(folder, &Search { channel: Some(channel.to_owned()), ..search.clone() })
}

/// See [`Logs::search`](super::Logs::search).
pub(super) fn search_all(folder: &Path, search: &Search) -> Result<Vec<LogRecord>, SearchError> {
    let mut files = files::list(folder)?;
    if let Some(channel) = &search.channel {
        if !files.iter().any(|file| &file.channel == channel) {
            let channels = channels(folder)?.into_iter().map(|known| known.name).collect();
            return Err(SearchError::UnknownChannel { channel: channel.clone(), channels });
        }
        files.retain(|file| &file.channel == channel);
    }
    let matching = Matching::new(search);
    let mut readers: Vec<ChannelReader<'_>> = Vec::new();
    for of_channel in files.chunk_by(|a, b| a.channel == b.channel) {
        let channel = &of_channel[0].channel;
        readers.push(ChannelReader { folder, channel, files: of_channel, lines: None, next: None });
    }
    for reader in &mut readers {
        reader.advance(&matching)?;
    }
    let limit = search.limit.min(MAX_RECORDS);
    let mut found = Vec::new();
    while found.len() < limit {
        // Times are of one length and form, so that their order is that of their texts.
        let newest = readers.iter_mut().filter(|reader| reader.next.is_some());
        let Some(newest) = newest.max_by(|a, b| time_of(a).cmp(time_of(b))) else { break };
        found.extend(newest.next.take());
        newest.advance(&matching)?;
    }
    if !search.newest_first {
        found.reverse();
    }
    Ok(found)
}

fn time_of<'r>(reader: &'r ChannelReader<'_>) -> &'r str {
    reader.next.as_ref().map_or("", |record| &record.time)
}

/// The records of one channel that match, the newest first, over all of its files.
struct ChannelReader<'a> {
    folder: &'a Path,
    channel: &'a str,
    /// Those that have not been opened yet.
    files: &'a [LogFile],
    lines: Option<Backwards>,
    next: Option<LogRecord>,
}

impl ChannelReader<'_> {
    /// Puts the next record that matches into `next`.
    fn advance(&mut self, matching: &Matching) -> Result<(), SearchError> {
        let failed = |source| SearchError::Read { channel: self.channel.to_owned(), source };
        loop {
            let Some(lines) = &mut self.lines else {
                let Some((file, rest)) = self.files.split_first() else { return Ok(()) };
                self.files = rest;
                // One that has gone meanwhile holds nothing.
                let opened = files::open(self.folder, &file.name).map_err(failed)?;
                self.lines = opened.map(Backwards::new).transpose().map_err(failed)?;
                continue;
            };
            match lines.next_line().map_err(failed)?.map(|line| matching.judge(&line, self.channel)) {
                Some(Judged::Match(record)) => {
                    self.next = Some(record);
                    return Ok(());
                }
                Some(Judged::Other) => {}
                // What stands before it is older still.
                Some(Judged::TooOld) => (self.files, self.lines) = (&[], None),
                None => self.lines = None,
            }
        }
    }
}

/// What a search wants, prepared for many lines.
pub(super) struct Matching {
    needle: Option<Needle>,
    level: Option<Level>,
    tasks: Option<[String; 2]>,
    since: Option<i64>,
    until: Option<i64>,
}

enum Judged {
    Match(LogRecord),
    Other,
    TooOld,
}

impl Matching {
    pub(super) fn new(search: &Search) -> Self {
        Self {
            needle: search.text.as_deref().filter(|text| !text.is_empty()).map(Needle::new),
            level: search.level,
            tasks: search.task.map(|task| [format!("task={task}"), format!("replay_of={task}")]),
            since: search.since,
            until: search.until,
        }
    }

    /// Returns the record of a line when it matches.
    pub(super) fn record(&self, line: &[u8], channel: &str) -> Option<LogRecord> {
        match self.judge(line, channel) {
            Judged::Match(record) => Some(record),
            _ => None,
        }
    }

    fn judge(&self, line: &[u8], channel: &str) -> Judged {
        let Ok(text) = std::str::from_utf8(line) else { return Judged::Other };
        let Some((time, at, level, message)) = parse(text) else { return Judged::Other };
        // A clock that was set back leaves a few lines out of their order, which is not worth reading everything for.
        if self.since.is_some_and(|since| at < since) {
            return Judged::TooOld;
        }
        let other = self.until.is_some_and(|until| at >= until)
            || self.level.is_some_and(|least| level > least)
            || self.needle.as_ref().is_some_and(|needle| !needle.is_in(text))
            || self
                .tasks
                .as_ref()
                .is_some_and(|tasks| !message.split(' ').any(|word| tasks.iter().any(|task| task == word)));
        if other {
            return Judged::Other;
        }
        let (time, channel, message) = (time.to_owned(), channel.to_owned(), message.to_owned());
        Judged::Match(LogRecord { time, level, channel, message })
    }
}

/// Splits a line into time, the same in milliseconds, level and the rest; `None` when it is not a record.
fn parse(line: &str) -> Option<(&str, i64, Level, &str)> {
    let (time, rest) = line.split_once(' ')?;
    let (level, message) = (rest.get(..5)?, rest.get(5..)?);
    let at = parse_rfc3339(time)?;
    Some((time, at, level.trim_end().parse().ok()?, message.strip_prefix(' ')?))
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
