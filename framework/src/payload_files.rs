//! In development mode, the payload of each deferred task as a file that is named by the task's id, for a text editor.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::from_system_time;
use crate::store::TaskId;

/// Most files; when there are more, the oldest go.
const MAX_FILES: usize = 10_000;
/// Longest payload that is written, in bytes. The store has it whole.
const MAX_BYTES: usize = 1 << 20;
/// After how many files the folder is looked through.
const TIDY_EVERY: u32 = 200;

/// The folder `deferred_tasks` of a data folder.
#[derive(Debug)]
pub(crate) struct PayloadFiles {
    folder: PathBuf,
    /// Held while a file is written, so that none comes after they were removed.
    wanted: Mutex<bool>,
    written: AtomicU32,
}

impl PayloadFiles {
    /// Returns the folder. What an earlier host left there goes, unless files are `wanted`.
    pub(crate) fn new(folder: PathBuf, wanted: bool) -> Self {
        let files = Self { folder, wanted: Mutex::new(wanted), written: AtomicU32::new(0) };
        files.set_wanted(wanted);
        files
    }

    /// Says whether payloads are written from now on. When they are not, those that were written go.
    pub(crate) fn set_wanted(&self, wanted: bool) {
        let mut current = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        *current = wanted;
        if !wanted {
            self.clear();
        }
    }

    /// Writes the payload of a task, whole or not at all, while files are wanted. What is too old goes from time to time.
    pub(crate) fn keep(&self, task: TaskId, payload: &[u8], now: i64, age: Duration) -> io::Result<()> {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if !*wanted {
            return Ok(());
        }
        make_private(&self.folder)?;
        let path = self.folder.join(task.0.to_string());
        let unfinished = path.with_extension("part");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        // Payloads name people.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&unfinished)?.write_all(&payload[..payload.len().min(MAX_BYTES)])?;
        fs::rename(&unfinished, &path)?;
        if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIDY_EVERY) {
            self.tidy(now, age, MAX_FILES);
        }
        Ok(())
    }

    /// Removes files that are older than what the store keeps, and the oldest when there are too many.
    fn tidy(&self, now: i64, age: Duration, most: usize) {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let mut files: Vec<(i64, PathBuf)> = self.files().collect();
        files.sort();
        let beyond = files.len().saturating_sub(most);
        for (at, (modified, path)) in files.iter().enumerate() {
            if at < beyond || now.saturating_sub(*modified) > age {
                // One that stays is tried again the next time.
                let _ = fs::remove_file(path);
            }
        }
    }

    fn clear(&self) {
        for (_, path) in self.files() {
            let _ = fs::remove_file(path);
        }
        // Not empty when somebody else keeps something there.
        let _ = fs::remove_dir(&self.folder);
    }

    /// Returns our files with the times of their last change; what has another name is not ours.
    fn files(&self) -> impl Iterator<Item = (i64, PathBuf)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| {
            let ours = |name: &str| {
                let id = name.strip_suffix(".part").unwrap_or(name);
                !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
            };
            let metadata = entry.metadata().ok()?;
            (metadata.is_file() && entry.file_name().to_str().is_some_and(ours))
                .then(|| (metadata.modified().map_or(0, from_system_time), entry.path()))
        })
    }
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_payload_is_a_file_of_its_owner_that_goes_when_it_is_old_or_there_are_too_many() {
        let data = tempfile::tempdir().unwrap();
        let files = PayloadFiles::new(data.path().join("deferred_tasks"), true);
        let now = from_system_time(std::fs::metadata(data.path()).unwrap().modified().unwrap());
        for id in [7, 8, 9] {
            files.keep(TaskId(id), format!("payload {id}").as_bytes(), now, DAY).unwrap();
        }
        let notes = data.path().join("deferred_tasks/notes.txt");
        fs::write(&notes, "ours").unwrap();
        assert_eq!(fs::read_to_string(data.path().join("deferred_tasks/8")).unwrap(), "payload 8");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |name: &str| fs::metadata(data.path().join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode("deferred_tasks"), mode("deferred_tasks/8")), (0o700, 0o600));
        }
        files.tidy(now, DAY, 2);
        assert_eq!(files.files().count(), 2);
        files.tidy(now + 3 * 24 * 60 * 60 * 1_000, DAY, 2);
        assert_eq!(files.files().count(), 0);
        files.keep(TaskId(10), b"x", now, DAY).unwrap();
        files.set_wanted(false);
        assert!(files.files().count() == 0 && notes.exists());
        // A task that had been dispatched before has its turn only now.
        files.keep(TaskId(11), b"x", now, DAY).unwrap();
        assert_eq!(files.files().count(), 0);
        files.set_wanted(true);
        files.keep(TaskId(12), b"x", now, DAY).unwrap();
        drop(PayloadFiles::new(data.path().join("deferred_tasks"), true));
        assert_eq!(files.files().count(), 1, "another start in development keeps it");
        drop(PayloadFiles::new(data.path().join("deferred_tasks"), false));
        assert_eq!(files.files().count(), 0, "a start in production does not");
    }
}
