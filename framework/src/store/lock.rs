//! One host at a time has a data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::StoreOpenError;

/// Tries to take a lock that is held. Whoever asks for the [`holder`] touches it for a moment.
const TRIES: u32 = 5;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// The lock of a data folder. The operating system lifts it when the process ends, however it ends.
pub(crate) struct FolderLock {
    /// Open, and so locked.
    _file: File,
}

impl FolderLock {
    pub(crate) fn take(folder: &Path) -> Result<Self, StoreOpenError> {
        let path = lock_path(folder);
        let failed = |source| StoreOpenError::Lock { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => {
                    let pid = format!("{}\n", std::process::id());
                    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
                    file.write_all(pid.as_bytes()).map_err(failed)?;
                    return Ok(Self { _file: file });
                }
                Err(TryLockError::WouldBlock) => std::thread::park_timeout(PAUSE),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        Err(StoreOpenError::InUse { folder: folder.to_owned(), pid: read_pid(&mut file).unwrap_or(0) })
    }
}

/// Returns the id of a data folder that this process has locked; it is made when there is none.
pub(crate) fn folder_id(folder: &Path) -> Result<String, StoreOpenError> {
    let path = folder.join("switchboard.id");
    let failed = |source| StoreOpenError::Lock { path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let id = ulid::Ulid::generate().to_string();
    std::fs::write(&path, format!("{id}\n")).map_err(failed)?;
    Ok(id)
}

fn lock_path(folder: &Path) -> PathBuf {
    folder.join("switchboard.lock")
}

/// Returns the process that has a data folder open, without taking it; 0 when it has not said who it is yet.
#[must_use]
pub fn holder(folder: &Path) -> Option<u32> {
    let mut file = File::open(lock_path(folder)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read_pid(&mut file).unwrap_or(0)),
        _ => None,
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
