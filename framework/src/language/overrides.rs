//! The administrator's own texts: `<folder>/<plugin>/<language>.ftl`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use unic_langid::LanguageIdentifier;

use super::source::{self, Source};
use super::{LanguageError, Languages, Problem};

/// Why the folder of overrides cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverrideError {
    /// The folder, or the folder of one plugin in it, cannot be listed.
    #[error("cannot list the folder of language overrides `{folder}`")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Something in one file of overrides that is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverrideProblem {
    /// The file cannot be read, or is not UTF-8.
    #[error("cannot read language file `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing of the file is used.
    #[error("language file `{path}` is not used")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LanguageError,
    },
    /// One entry is not used.
    #[error("language file `{path}` {problem}")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The line and what is wrong there.
        problem: Problem,
    },
}

impl Languages {
    /// Reads all files `<folder>/<plugin>/<language>.ftl` and makes them the only overrides: what
    /// former calls or [`Languages::add_override`] added is dropped.
    ///
    /// An absent folder holds no overrides. Links are not followed, other names are passed over. A
    /// file that cannot be used does not stop the others; what is wrong is returned.
    ///
    /// # Errors
    ///
    /// [`OverrideError::Folder`] when a folder cannot be listed; the overrides stay as they were.
    pub fn load_overrides(&self, folder: &Path) -> Result<Vec<OverrideProblem>, OverrideError> {
        let mut files = Vec::new();
        for plugin_folder in list(folder)? {
            if !is(&plugin_folder, fs::FileType::is_dir) {
                continue;
            }
            let Some(plugin) = plugin_folder.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            for path in list(&plugin_folder)? {
                if is(&path, fs::FileType::is_file) && path.extension().is_some_and(|e| e == "ftl") {
                    files.push((plugin.to_owned(), path));
                }
            }
        }
        let mut problems = Vec::new();
        let mut overrides = Vec::new();
        for (plugin, path) in files {
            match text(&path).and_then(|ftl| read(&path, &ftl)) {
                Ok((language, source, found)) => {
                    problems.extend(
                        found.into_iter().map(|problem| OverrideProblem::Entry { path: path.clone(), problem }),
                    );
                    overrides.push((plugin, language, source));
                }
                Err(problem) => problems.push(problem),
            }
        }
        self.replace_overrides(overrides);
        Ok(problems)
    }

    /// Readers see the former overrides until all new ones are in place.
    fn replace_overrides(&self, overrides: Vec<(String, LanguageIdentifier, Source)>) {
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        for texts in plugins.values_mut() {
            Arc::make_mut(texts).remove_overrides();
        }
        for (plugin, language, source) in overrides {
            Arc::make_mut(plugins.entry(plugin).or_default()).add_override(language, source);
        }
        plugins.retain(|_, texts| !texts.is_empty());
    }
}

fn text(path: &Path) -> Result<String, OverrideProblem> {
    source::read_file(path).map_err(|source| OverrideProblem::Read { path: path.to_owned(), source })
}

fn read(path: &Path, ftl: &str) -> Result<(LanguageIdentifier, Source, Vec<Problem>), OverrideProblem> {
    let language = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    source::read(&language, ftl).map_err(|source| OverrideProblem::File { path: path.to_owned(), source })
}

/// Reads the text of a language file that can be used as a whole; entries in it may still be wrong.
pub(crate) fn read_usable(path: &Path) -> Result<String, OverrideProblem> {
    let ftl = text(path)?;
    read(path, &ftl)?;
    Ok(ftl)
}

/// Returns the paths in `folder`, sorted; none when it does not exist.
fn list(folder: &Path) -> Result<Vec<PathBuf>, OverrideError> {
    let error = |source| OverrideError::Folder { folder: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(error)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn is(path: &Path, kind: impl FnOnce(&fs::FileType) -> bool) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| kind(&metadata.file_type()))
}
