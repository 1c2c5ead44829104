//! The files of the plugin folder: written whole or not at all, kept while they are replaced, and put back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{PluginFolderError, Result};
use crate::channel_log::ChannelLog;
use crate::dispatcher::CHANNEL;
use crate::plugins::{Candidate, Folder, Look};

/// What is put behind the name of a library for the one that it has replaced.
pub(super) const PREVIOUS: &str = "previous";
/// The same while nobody knows yet whether the new one can be used. What a host finds of it when it is opened is an
/// upgrade that did not come to its end, and is undone.
const UPGRADING: &str = "upgrading";

/// Returns the path of a file with an ending behind its whole name.
pub(super) fn with(file: &Path, ending: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    path.into()
}

/// Returns the folder of language files beside a library.
pub(super) fn languages_beside(file: &Path) -> PathBuf {
    file.with_file_name("languages")
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> PluginFolderError {
    let path = path.to_owned();
    move |source| PluginFolderError::File { path, source }
}

/// Writes a file whole or not at all, and so that it is still there after a power cut.
pub(super) fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = with(file, "part");
    let written = (|| {
        // Left over from a host that ended in the middle, or put there to be followed.
        let _ = fs::remove_file(&unfinished);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
        let mut out = options.open(&unfinished)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&unfinished, file)?;
        file.parent().map_or(Ok(()), sync_folder)
    })();
    written.map_err(|source| {
        // What is left of it is in the way of nobody.
        let _ = fs::remove_file(&unfinished);
        PluginFolderError::File { path: file.to_owned(), source }
    })
}

/// Writes the language files of a library, in the place of those that it has.
pub(super) fn write_languages(file: &Path, languages: &[(String, Vec<u8>)]) -> Result<()> {
    let folder = languages_beside(file);
    delete_folder(&folder)?;
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    languages.iter().try_for_each(|(name, text)| write(&folder.join(name), text))
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Removes a file; one that is not there is removed.
pub(super) fn delete(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(file)(error)),
        _ => Ok(()),
    }
}

fn delete_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(folder)(error)),
        _ => Ok(()),
    }
}

/// Removes a library with the version before it, and where it has a folder of its own, the texts and the folder as well.
pub(super) fn delete_library(file: &Path, has_own_folder: bool) -> Result<()> {
    delete(file)?;
    delete(&with(file, PREVIOUS))?;
    if has_own_folder {
        let languages = languages_beside(file);
        delete_folder(&languages)?;
        delete_folder(&with(&languages, PREVIOUS))?;
        // Whatever else somebody keeps in the folder stays, and the folder with it.
        let _ = file.parent().map(fs::remove_dir);
    }
    Ok(())
}

/// Removes the files that disable a plugin. Returns the one that disables its whole folder, which stays.
pub(super) fn delete_markers(folders: &[Folder], file: &Path, id: &str) -> Result<Option<PathBuf>> {
    let candidate = Candidate::at(file);
    let mut markers = Look::at(folders).markers;
    while let Some(marker) = candidate.marker(Some(id), &markers) {
        if marker.extension().is_none() && folders.iter().any(|folder| marker.parent() == Some(&folder.path)) {
            return Ok(Some(marker));
        }
        delete(&marker)?;
        markers.remove(&marker);
    }
    Ok(None)
}

/// Keeps a library, and its texts when they are to be replaced, until [`finish`] or [`undo`].
pub(super) fn keep(file: &Path, texts: bool) -> Result<()> {
    let (languages, kept) = (languages_beside(file), with(&languages_beside(file), UPGRADING));
    // Left over from a host that ended in the middle of `finish`: older texts, which must not come back.
    delete_folder(&kept)?;
    // Before the texts, so that a host that ends in the middle of this or of what follows undoes it at its next start.
    write(&with(file, UPGRADING), &fs::read(file).map_err(failed(file))?)?;
    if texts {
        // An empty one stands for none.
        let moved = if languages.is_dir() { fs::rename(&languages, &kept) } else { fs::create_dir(&kept) };
        moved.map_err(failed(&kept))?;
    }
    Ok(())
}

/// Lets what was kept be the version before.
pub(super) fn finish(file: &Path) -> Result<()> {
    let previous = with(file, PREVIOUS);
    fs::rename(with(file, UPGRADING), &previous).map_err(failed(&previous))?;
    let languages = languages_beside(file);
    let (kept, previous) = (with(&languages, UPGRADING), with(&languages, PREVIOUS));
    // Of the version before the one before.
    delete_folder(&previous)?;
    if kept.is_dir() { fs::rename(&kept, &previous).map_err(failed(&previous)) } else { Ok(()) }
}

/// Puts back what was kept.
pub(super) fn undo(file: &Path) -> Result<()> {
    let languages = languages_beside(file);
    let kept = with(&languages, UPGRADING);
    if kept.is_dir() {
        delete_folder(&languages)?;
        fs::rename(&kept, &languages).map_err(failed(&languages))?;
        // It was empty when there were none.
        let _ = fs::remove_dir(&languages);
    }
    // Last, because it says that there is something to undo.
    match fs::rename(with(file, UPGRADING), file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(file)(error)),
        _ => Ok(()),
    }
}

/// Returns to the library before where an upgrade did not come to its end, because the host ended in the middle of it.
pub(crate) fn undo_unfinished(folders: &[Folder], log: &ChannelLog) {
    for folder in folders {
        let files = |folder: &Path| -> Vec<PathBuf> {
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        let inside = files(&folder.path).into_iter().filter(|path| path.is_dir()).flat_map(|path| files(&path));
        let all = files(&folder.path).into_iter().chain(inside.collect::<Vec<_>>());
        let is_kept = |path: &PathBuf| path.extension().is_some_and(|end| end == UPGRADING) && path.is_file();
        for kept in all.filter(is_kept) {
            let file = kept.with_extension("");
            match undo(&file) {
                Ok(()) => log::warn!(logger: log, target: CHANNEL, file = file.display().to_string();
                    "an upgrade did not come to its end: the version before is back"),
                Err(error) => log::error!(logger: log, target: CHANNEL, file = kept.display().to_string(),
                    error = crate::error::Chain(&error).to_string();
                    "an upgrade did not come to its end, and cannot be undone"),
            }
        }
    }
}

/// Returns the name of a library: the one that is asked for when it is that of a library and no path.
pub(crate) fn file_name(name: Option<&str>, id: &str) -> String {
    let extension = std::env::consts::DLL_EXTENSION;
    let plain = |name: &&str| {
        let stem = name.strip_suffix(extension).and_then(|stem| stem.strip_suffix('.'));
        stem.is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.'))
            && name.len() <= 100
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    name.filter(plain).map_or_else(|| format!("{id}.{extension}"), str::to_owned)
}
