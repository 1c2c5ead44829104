//! The logs of a folder, as whoever reads them sees them.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::search::{Search, SearchError};
use super::{Follower, LogFile, LogRecord, files};

/// The logs of a data folder: what files there are, what stands in them, what comes.
///
/// ```
/// use switchboard::channel_log::{ChannelLog, Logs, Search};
///
/// let folder = tempfile::tempdir()?;
/// let log = ChannelLog::open(folder.path(), log::LevelFilter::Info)?;
/// log::info!(logger: log, target: "Webhooks", task = 12; "delivered");
/// log::info!(logger: log, target: "Deferred", task = 13; "given up");
///
/// let logs = Logs::of(folder.path());
/// let found = logs.search(&Search { task: Some(12), ..Search::default() })?;
/// assert_eq!((found.len(), &*found[0].channel), (1, "Webhooks"));
/// let id = logs.files()?[0].id.clone();
/// assert!(logs.open(&id)?.is_some() && logs.open("../../etc/passwd")?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Logs {
    folder: PathBuf,
}

impl Logs {
    /// Returns the logs in `folder`, which need not exist yet.
    #[must_use]
    pub fn of(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns all files, by channel, and the newest first.
    ///
    /// # Errors
    ///
    /// [`SearchError::Folder`] when the folder cannot be listed.
    pub fn files(&self) -> Result<Vec<LogFile>, SearchError> {
        files::list(&self.folder)
    }

    /// Opens a file for reading by its id, for a download; `None` when there is no such file.
    ///
    /// # Errors
    ///
    /// When the folder cannot be listed, or the file cannot be read.
    pub fn open(&self, id: &str) -> Result<Option<(LogFile, File)>, SearchError> {
        let Some(listed) = files::find(&self.folder, id)? else { return Ok(None) };
        let failed = |source| SearchError::Read { channel: listed.channel.clone(), source };
        Ok(files::open(&self.folder, &listed.name).map_err(failed)?.map(|file| (listed, file)))
    }

    /// Returns the newest records that match, of one channel or of all, also those in files that were rotated.
    ///
    /// The files are read from their ends, and no further than is needed: memory is in proportion to what is returned.
    ///
    /// # Errors
    ///
    /// [`SearchError::UnknownChannel`] when a channel is named that has no plain file, [`SearchError::Read`] when a file
    /// cannot be read, [`SearchError::Folder`] when the folder cannot.
    pub fn search(&self, search: &Search) -> Result<Vec<LogRecord>, SearchError> {
        super::search::search_all(&self.folder, search)
    }

    /// Starts to read what comes from now on.
    #[must_use]
    pub fn follow(&self, search: Search) -> Follower {
        Follower::new(&self.folder, search)
    }
}
