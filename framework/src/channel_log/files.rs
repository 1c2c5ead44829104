//! Which files a folder of logs has, and opening one of them by an id that says nothing about it.
//!
//! Nothing that comes from outside becomes a path: an id is compared with those of the files that the folder has, and what
//! matches is opened inside the folder without following links.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{FILE_SUFFIX, SearchError, name};
use crate::clock::{from_system_time, parse_rfc3339, rfc3339};

/// How long the id of a log is.
const ID_LENGTH: usize = 16;

/// A file of a log: one that a channel is written to, or one that it was written to before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogFile {
    /// By which [`Logs::open`](super::Logs::open) knows it. It says nothing about the file.
    pub id: String,
    /// The channel.
    pub channel: String,
    /// The size in bytes.
    pub bytes: u64,
    /// When it was last written, in milliseconds since the Unix epoch.
    pub modified: i64,
    /// When another took its place, in milliseconds since the Unix epoch; `None` for the one that is written to.
    pub rotated: Option<i64>,
    /// Its name inside the folder.
    #[serde(skip)]
    pub(super) name: String,
}

/// Returns the name of a file that another takes the place of at `now`; `again` tells those of one moment apart.
pub(super) fn rotated_name(channel: &str, now: i64, again: u32) -> String {
    // 2026-11-24T02:00:00.123Z, without what Windows does not want in a name.
    let stamp: String = rfc3339(now).chars().filter(|c| !matches!(c, ':' | '-' | '.' | 'Z')).collect();
    format!("{channel}{FILE_SUFFIX}.{stamp}-{again}")
}

/// Reads what a file is from its name.
fn parts(name: &str) -> Option<(&str, Option<i64>)> {
    let at = name.find(FILE_SUFFIX)?;
    let (channel, rest) = (&name[..at], &name[at + FILE_SUFFIX.len()..]);
    if name::for_file(channel) != channel {
        return None;
    }
    if rest.is_empty() {
        return Some((channel, None));
    }
    let (stamp, again) = rest.strip_prefix('.')?.split_once('-')?;
    again.parse::<u32>().ok()?;
    let digits = stamp.len() == 18 && stamp.bytes().enumerate().all(|(at, byte)| byte.is_ascii_digit() != (at == 8));
    if !digits {
        return None;
    }
    let part = |range| stamp.get(range);
    let text = format!(
        "{}-{}-{}T{}:{}:{}.{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(9..11)?,
        part(11..13)?,
        part(13..15)?,
        part(15..18)?
    );
    Some((channel, Some(parse_rfc3339(&text)?)))
}

fn id_of(name: &str) -> String {
    let digest = Sha256::new().chain_update("switchboard log\0").chain_update(name).finalize();
    digest.iter().take(ID_LENGTH / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns all files of logs in `folder`: by channel, and the newest first. None when there is no folder. Links and
/// anything that is not a plain file are passed over.
pub(super) fn list(folder: &Path) -> Result<Vec<LogFile>, SearchError> {
    let error = |source| SearchError::Folder { folder: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(error)?;
        let file_name = entry.file_name();
        let Some((channel, rotated)) = file_name.to_str().and_then(parts) else { continue };
        // `DirEntry::metadata` does not follow links. A file may be gone since it was listed.
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        let name = file_name.to_string_lossy().into_owned();
        files.push(LogFile {
            id: id_of(&name),
            channel: channel.to_owned(),
            bytes: metadata.len(),
            modified: metadata.modified().map_or(0, from_system_time),
            rotated,
            name,
        });
    }
    let newest_first = |file: &LogFile| std::cmp::Reverse(file.rotated.unwrap_or(i64::MAX));
    files.sort_by(|a, b| (&a.channel, newest_first(a), &b.name).cmp(&(&b.channel, newest_first(b), &a.name)));
    Ok(files)
}

/// Returns the file with an id; `None` when there is none.
pub(super) fn find(folder: &Path, id: &str) -> Result<Option<LogFile>, SearchError> {
    // What cannot be an id is not even compared.
    if id.len() != ID_LENGTH || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    Ok(list(folder)?.into_iter().find(|file| file.id == id))
}

/// Opens a file that was listed; `None` when it has gone, or is no plain file any more.
#[cfg(unix)]
pub(super) fn open(folder: &Path, name: &str) -> io::Result<Option<File>> {
    use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
    let inside = OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = openat(CWD, folder, inside | OFlags::DIRECTORY, Mode::empty())?;
    // Not a link, and not a FIFO that would be waited for.
    match openat(&folder, name, inside | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
        Ok(file) => {
            let plain = FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::RegularFile;
            Ok(plain.then(|| File::from(file)))
        }
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP | rustix::io::Errno::MLINK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens a file that was listed; `None` when it has gone, or is no plain file any more.
#[cfg(not(unix))]
pub(super) fn open(folder: &Path, name: &str) -> io::Result<Option<File>> {
    let path = folder.join(name);
    match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_file() => File::open(path).map(Some),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes files that another took the place of longer than `keep_ms` ago, and those of a channel beyond the newest
/// `keep_files`.
pub(super) fn tidy(folder: &Path, now: i64, keep_ms: i64, keep_files: usize) -> Vec<PathBuf> {
    let mut removed = Vec::new();
    let mut of_channel = (String::new(), 0);
    for file in list(folder).unwrap_or_default() {
        let Some(rotated) = file.rotated else { continue };
        if of_channel.0 != file.channel {
            of_channel = (file.channel.clone(), 0);
        }
        of_channel.1 += 1;
        if of_channel.1 > keep_files || now.saturating_sub(rotated) > keep_ms {
            let path = folder.join(&file.name);
            // Another process may have been quicker.
            if fs::remove_file(&path).is_ok() {
                removed.push(path);
            }
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_rotated_file_says_when_that_was() {
        let name = rotated_name("Webhooks", 1_795_485_600_123, 2);
        assert_eq!(name, "Webhooks.application.log.20261124T020000123-2");
        assert_eq!(parts(&name), Some(("Webhooks", Some(1_795_485_600_123))));
        assert_eq!(parts("Webhooks.application.log"), Some(("Webhooks", None)));
        for other in
            ["Webhooks.application.log.gz", "Webhooks.application.log.20261124T020000123", "a b.application.log"]
        {
            assert_eq!(parts(other), None, "{other}");
        }
    }
}
