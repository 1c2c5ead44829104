//! A file that appears whole or not at all, and never in the place of another.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A file that is being written under another name. Without [`keep`](Self::keep) it goes.
pub(super) struct NewFile {
    path: PathBuf,
    unfinished: PathBuf,
}

impl NewFile {
    /// Makes an empty file that only its owner can read.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if path.try_exists()? {
            return Err(taken());
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".part");
        let new = Self { path: path.to_owned(), unfinished: unfinished.into() };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&new.unfinished)?;
        Ok(new)
    }

    /// Where it is written.
    pub(super) fn unfinished(&self) -> &Path {
        &self.unfinished
    }

    pub(super) fn open(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.unfinished)
    }

    /// Syncs the file and gives it its name.
    pub(super) fn keep(self) -> io::Result<()> {
        self.open()?.sync_all()?;
        // Unlike a rename, a link takes no other file's place. Not every file system has links.
        if let Err(error) = std::fs::hard_link(&self.unfinished, &self.path) {
            if error.kind() == io::ErrorKind::AlreadyExists || self.path.try_exists()? {
                return Err(taken());
            }
            std::fs::rename(&self.unfinished, &self.path)?;
        }
        sync_folder(&self.path);
        Ok(())
    }
}

fn taken() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name: name another or move it away")
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Gone already when it was renamed.
        let _ = std::fs::remove_file(&self.unfinished);
    }
}

/// Makes the names in the folder of a file durable, where the system can do that.
pub(super) fn sync_folder(file: &Path) {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Where it cannot, a name is as durable as the file system makes it by itself.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}
