//! Files in a plugin folder, before anything is read from them.

use std::collections::BTreeSet;
use std::env::consts::DLL_EXTENSION;
use std::fs::{self, FileType, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Folder, Refusal};
use crate::registry::Tier;

/// Largest library that is read, in bytes.
const MAX_LIBRARY_BYTES: u64 = 256 << 20;

/// What the name of a file ends with that disables a plugin.
pub(crate) const MARKER: &str = "disabled";

/// The same inside a folder that is one plugin's own.
const OWN_MARKER: &str = ".disabled";

/// What the plugin folders hold at one moment. Two looks that compare equal saw the same.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) files: Vec<(Candidate, Tier)>,
    /// The files that disable a plugin.
    pub(crate) markers: BTreeSet<PathBuf>,
}

impl Look {
    pub(crate) fn at(folders: &[Folder]) -> Self {
        let mut look = Self { files: Vec::new(), markers: BTreeSet::new() };
        for folder in folders {
            look.files.extend(candidates(&folder.path).into_iter().map(|candidate| (candidate, folder.tier)));
            let inside = entries(&folder.path).into_iter().filter(|path| path.is_dir()).flat_map(|path| entries(&path));
            let marks = entries(&folder.path).into_iter().chain(inside).filter(|path| is_marker(path));
            look.markers.extend(marks);
        }
        look
    }
}

fn is_marker(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == MARKER)
        || path.file_name().is_some_and(|name| name == OWN_MARKER)
}

/// A file that looks like a plugin by its name, and what its folder said of it.
///
/// Two looks that compare equal saw the same file in the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    len: u64,
    modified: Option<SystemTime>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Regular,
    Folder,
    Link,
    Other,
    Unreadable,
}

impl Kind {
    fn of(file_type: FileType) -> Self {
        if file_type.is_symlink() {
            Self::Link
        } else if file_type.is_dir() {
            Self::Folder
        } else if file_type.is_file() {
            Self::Regular
        } else {
            Self::Other
        }
    }
}

impl Candidate {
    /// Looks at the file at `path`, whatever its name.
    pub(crate) fn at(path: &Path) -> Self {
        Self::new(path.to_owned(), fs::symlink_metadata(path).ok())
    }

    fn new(path: PathBuf, metadata: Option<Metadata>) -> Self {
        Self {
            path,
            len: metadata.as_ref().map_or(0, Metadata::len),
            modified: metadata.as_ref().and_then(|metadata| metadata.modified().ok()),
            kind: metadata.map_or(Kind::Unreadable, |metadata| Kind::of(metadata.file_type())),
        }
    }

    /// Whether it is a regular file.
    pub(crate) fn is_regular(&self) -> bool {
        self.kind == Kind::Regular
    }

    /// Whether it is a regular file with nothing in it.
    pub(crate) fn is_empty_file(&self) -> bool {
        self.is_regular() && self.len == 0
    }

    /// Reads the file. Nothing but a regular file is opened: a FIFO would block for ever.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Refusal> {
        match self.kind {
            Kind::Regular if self.len == 0 => Err(Refusal::NotALibrary("it is empty")),
            Kind::Regular if self.len > MAX_LIBRARY_BYTES => Err(Refusal::TooLarge { bytes: self.len }),
            Kind::Regular | Kind::Unreadable => fs::read(&self.path).map_err(Refusal::unreadable),
            Kind::Folder => Err(Refusal::NotALibrary("it is a folder")),
            Kind::Link => Err(Refusal::NotALibrary("it is a symbolic link: copy the library itself")),
            Kind::Other => Err(Refusal::NotALibrary("it is no regular file")),
        }
    }

    /// Returns the file that disables this plugin: `FILE.disabled` or `ID.disabled` beside it, or `ID.disabled` and
    /// `.disabled` where it has a folder of its own.
    pub(crate) fn marker(&self, id: Option<&str>, markers: &BTreeSet<PathBuf>) -> Option<PathBuf> {
        let parent = self.path.parent()?;
        let mut file = self.path.clone().into_os_string();
        file.push(".");
        file.push(MARKER);
        let by_id = id.map(|id| format!("{id}.{MARKER}"));
        let above = by_id.as_ref().and_then(|name| Some(parent.parent()?.join(name)));
        let beside = by_id.map(|name| parent.join(name));
        let own = Some(parent.join(OWN_MARKER));
        [Some(file.into()), beside, above, own].into_iter().flatten().find(|path| markers.contains(path))
    }

    /// Returns the folder of language files beside a library that has a folder of its own.
    pub(crate) fn languages(&self, folders: &[PathBuf]) -> Option<PathBuf> {
        let own = self.path.parent()?;
        (!folders.iter().any(|folder| folder == own)).then(|| own.join("languages"))
    }
}

/// Returns the candidates in `folder`, in byte order of their paths: files with the platform's library extension, and
/// such files one level down, where a plugin has a folder of its own. A folder that is missing holds none.
pub(crate) fn candidates(folder: &Path) -> Vec<Candidate> {
    let mut found = Vec::new();
    for path in entries(folder) {
        let metadata = fs::symlink_metadata(&path).ok();
        if is_library_name(&path) {
            found.push(Candidate::new(path, metadata));
        } else if metadata.is_some_and(|metadata| metadata.is_dir()) {
            let inner = entries(&path).into_iter().filter(|inner| is_library_name(inner));
            found.extend(inner.map(|inner| {
                let metadata = fs::symlink_metadata(&inner).ok();
                Candidate::new(inner, metadata)
            }));
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn is_library_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == DLL_EXTENSION)
}
