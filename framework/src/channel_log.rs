//! One log per channel, in one folder.
//!
//! A channel is a subject an administrator looks for: `Webhooks`, `Plugins`, `Deferred`, `Admin`.
//! Its file is `<channel>.application.log`; one record is one line, whatever it contains:
//!
//! ```text
//! 2026-11-24T02:00:00.123Z INFO  delivered webhook=3 event=booking_added status=200
//! ```
//!
//! A file that is full or old is rotated ([`Rotation`]): it gets the time behind its name, and another is begun.
//!
//! [`ChannelLog`] writes and is a [`log::Log`] whose target is the channel; [`Logs`] reads. Several processes may write to one folder: each record is appended with one
//! write.
//!
//! ```
//! use switchboard::channel_log::{ChannelLog, Search, search};
//!
//! let folder = tempfile::tempdir()?;
//! let log = ChannelLog::open(folder.path(), log::LevelFilter::Info)?;
//! log::info!(logger: log, target: "Webhooks", webhook = 3, status = 200; "delivered");
//!
//! let found = search(folder.path(), "Webhooks", &Search::default())?;
//! assert_eq!(found[0].message, "delivered webhook=3 status=200");
//! assert!(search(folder.path(), "Webhoks", &Search::default()).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It does not install itself as the process's logger and masks nothing: who logs leaves secrets out.

mod backwards;
mod file;
mod files;
mod follow;
mod line;
mod logs;
mod name;
mod search;
mod tap;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::clock::Clock;
use file::ChannelFile;

pub use files::LogFile;
pub use follow::Follower;
pub use line::printable;
pub use logs::Logs;
pub use search::{ChannelInfo, LogRecord, Search, SearchError, channels, search};
pub(crate) use tap::Tap;
pub use tap::TappedLine;

/// How many channels one folder has; what comes later is written to [`OVERFLOW_CHANNEL`], so that
/// a plugin that makes up targets cannot use up the host's file handles.
pub const MAX_CHANNELS: usize = 200;

/// The channel of records that found no free channel.
pub const OVERFLOW_CHANNEL: &str = "Other";

/// What follows the channel in a file's name.
const FILE_SUFFIX: &str = ".application.log";

/// The log of one folder; cheap to clone, all clones write to the same files.
///
/// Writing never fails the caller. While a file cannot be written its records are counted, and
/// their number is logged as soon as writing works again.
#[derive(Clone)]
pub struct ChannelLog(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    clock: Clock,
    /// A `LevelFilter` as a number: a disabled record costs one load and one comparison.
    level: AtomicUsize,
    rotation: RwLock<Rotation>,
    files: RwLock<HashMap<String, Arc<Mutex<ChannelFile>>>>,
}

/// When a file is full or old, and what is kept of those that were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Most bytes of a file; 0 means any number.
    pub bytes: u64,
    /// Most milliseconds from the first record of a file to its last; 0 means any number.
    pub age_ms: i64,
    /// How many milliseconds a file is kept after another took its place.
    pub keep_ms: i64,
    /// How many such files of a channel are kept.
    pub keep_files: usize,
}

impl Default for Rotation {
    /// 64 MiB, a day; 30 days, 100 files.
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
        Self { bytes: 64 << 20, age_ms: DAY_MS, keep_ms: 30 * DAY_MS, keep_files: 100 }
    }
}

/// Why a log folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder does not exist and cannot be created, or is no folder.
    #[error("cannot use `{folder}` as the folder of logs")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ChannelLog {
    /// Opens the log in `folder`, which is created when it is absent; records less severe than
    /// `level` are left out.
    ///
    /// A channel's file is opened when its first record comes. The process-wide `log::max_level` is
    /// raised to `level` when it is lower, since the macros of `log` ask it before any logger.
    ///
    /// # Errors
    ///
    /// [`OpenError::Folder`] when there is no such folder and none can be created.
    pub fn open(folder: &Path, level: LevelFilter) -> Result<Self, OpenError> {
        Self::open_with_clock(folder, level, Clock::system())
    }

    /// Opens the log with the time of `clock`, otherwise as [`ChannelLog::open`].
    ///
    /// # Errors
    ///
    /// As [`ChannelLog::open`].
    pub fn open_with_clock(folder: &Path, level: LevelFilter, clock: Clock) -> Result<Self, OpenError> {
        let error = |source| OpenError::Folder { folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(error)?;
        // Channels of former runs count too, or each restart would allow as many again.
        let known = channels(folder).map_err(|failed| error(failed.into_io()))?;
        raise_max_level(level);
        let files = known.into_iter().take(MAX_CHANNELS).map(|channel| {
            let file = ChannelFile::new(folder, &channel.name);
            (channel.name, Arc::new(Mutex::new(file)))
        });
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            clock,
            level: AtomicUsize::new(level as usize),
            rotation: RwLock::default(),
            files: RwLock::new(files.collect()),
        })))
    }

    /// Returns the level below which records are left out.
    pub fn level(&self) -> LevelFilter {
        let number = self.0.level.load(Ordering::Relaxed);
        LevelFilter::iter().nth(number).unwrap_or(LevelFilter::Info)
    }

    /// Changes the level for all clones, from the next record on.
    pub fn set_level(&self, level: LevelFilter) {
        raise_max_level(level);
        self.0.level.store(level as usize, Ordering::Relaxed);
    }

    /// Says when files are rotated, for all clones and from the next record on.
    pub fn set_rotation(&self, rotation: Rotation) {
        *self.0.rotation.write().unwrap_or_else(PoisonError::into_inner) = rotation;
    }

    /// Returns when files are rotated.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        *self.0.rotation.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes rotated files that are kept no longer. Every rotation does so; a host does it from time to time as well, so
    /// that a channel that has gone quiet is not kept for ever. Returns how many are gone.
    pub fn tidy(&self) -> usize {
        let Rotation { keep_ms, keep_files, .. } = self.rotation();
        files::tidy(&self.0.folder, self.0.clock.now(), keep_ms, keep_files).len()
    }

    /// Returns the folder of the files.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Closes all files; the next record of each channel opens its file again.
    ///
    /// For whoever moved the files away (logrotate).
    pub fn reopen(&self) {
        let files = self.0.files.read().unwrap_or_else(PoisonError::into_inner);
        for file in files.values() {
            lock(file).close();
        }
    }

    fn admits(&self, level: Level) -> bool {
        level as usize <= self.0.level.load(Ordering::Relaxed)
    }

    fn file(&self, channel: &str) -> Arc<Mutex<ChannelFile>> {
        let channel = name::for_file(channel);
        let files = self.0.files.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(channel.as_ref()) {
            return Arc::clone(file);
        }
        drop(files);
        let mut files = self.0.files.write().unwrap_or_else(PoisonError::into_inner);
        let full = files.len() >= MAX_CHANNELS && !files.contains_key(channel.as_ref());
        let channel = if full { OVERFLOW_CHANNEL } else { channel.as_ref() };
        let file = files
            .entry(channel.to_owned())
            .or_insert_with(|| Arc::new(Mutex::new(ChannelFile::new(&self.0.folder, channel))));
        Arc::clone(file)
    }
}

impl Log for ChannelLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.admits(metadata.level())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.admits(record.level()) {
            return;
        }
        // The line is made before any lock is taken: a value's `Display` may log itself.
        let now = self.0.clock.now();
        let line = line::of_record(record, now);
        tap::tell(record.target(), &line);
        let file = self.file(record.target());
        let rotation = self.rotation();
        if lock(&file).write(&line, now, &rotation) {
            self.tidy();
        }
    }

    /// Does nothing: a record has reached the operating system when `log` returns.
    fn flush(&self) {}
}

impl fmt::Debug for ChannelLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelLog")
            .field("folder", &self.0.folder)
            .field("level", &self.level())
            .finish_non_exhaustive()
    }
}

/// Lets records of `level` pass the macros of `log`. It is never lowered: it belongs to the whole
/// process, and another logger may want more than this one.
fn raise_max_level(level: LevelFilter) {
    if log::max_level() < level {
        log::set_max_level(level);
    }
}

fn lock(file: &Mutex<ChannelFile>) -> std::sync::MutexGuard<'_, ChannelFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file_path(folder: &Path, channel: &str) -> PathBuf {
    folder.join(format!("{channel}{FILE_SUFFIX}"))
}

#[cfg(test)]
mod tests;
