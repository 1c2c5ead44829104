//! What is installed: a library, and the language files that come with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use switchboard_plugin_api::Manifest;

use crate::language;
use crate::plugins::{self, Candidate, Refusal};

/// Most language files of one plugin.
const MOST_LANGUAGES: usize = 200;

/// A plugin as it is given to [`PluginFolder::install`](super::PluginFolder::install): the bytes of its library, judged
/// without running them, and its language files.
#[derive(Clone, Debug)]
pub struct PluginPackage {
    pub(super) manifest: Manifest,
    pub(super) library: Vec<u8>,
    /// Name of the library's file, when it is to have one of its own.
    pub(super) name: Option<String>,
    /// Name and content of each language file; `None` when it comes with none.
    pub(super) languages: Option<Vec<(String, Vec<u8>)>>,
}

impl PluginPackage {
    /// Makes a package of a library alone.
    ///
    /// # Errors
    ///
    /// The reason for which this host would refuse the library.
    pub fn of_library(library: Vec<u8>) -> Result<Self, Refusal> {
        let manifest = plugins::judge(&library)?;
        Ok(Self { manifest, library, name: None, languages: None })
    }

    /// Reads a library, or a folder that holds one library and perhaps `languages/LANGUAGE.ftl`.
    ///
    /// # Errors
    ///
    /// The reason for which this host would refuse the library, or what is wrong with the folder.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Self::read_library(path);
        }
        let libraries: Vec<Candidate> = plugins::candidates(path);
        let mut libraries = libraries.into_iter().filter(|candidate| candidate.path.parent() == Some(path));
        let (Some(library), None) = (libraries.next(), libraries.next()) else {
            let extension = std::env::consts::DLL_EXTENSION;
            return Err(Refusal::Folder(format!(
                "it has to hold exactly one library, a file that ends in .{extension}"
            )));
        };
        let languages = path.join("languages");
        if languages.is_symlink() {
            return Err(Refusal::Folder("its languages are a symbolic link: copy the files themselves".to_owned()));
        }
        let languages = languages.is_dir().then(|| Self::read_languages(&languages)).transpose()?;
        Ok(Self { languages, ..Self::read_library(&library.path)? })
    }

    fn read_library(path: &Path) -> Result<Self, Refusal> {
        let package = Self::of_library(Candidate::at(path).read()?)?;
        Ok(Self { name: path.file_name().map(|name| name.to_string_lossy().into_owned()), ..package })
    }

    /// Returns the id of the plugin.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.manifest.id
    }

    /// Returns the bytes of the library.
    #[must_use]
    pub fn library(&self) -> &[u8] {
        &self.library
    }

    /// Writes the package into a folder, which is made, so that [`PluginPackage::read`] finds it there. Returns the folder
    /// of the language files, when there are any.
    ///
    /// # Errors
    ///
    /// When something cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<Option<PathBuf>> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join(super::plugin_folder::file_name(self.name.as_deref(), self.id())), &self.library)?;
        let Some(languages) = &self.languages else { return Ok(None) };
        let inside = folder.join("languages");
        fs::create_dir(&inside)?;
        languages.iter().try_for_each(|(name, text)| fs::write(inside.join(name), text))?;
        Ok(Some(inside))
    }

    /// Reads language files that a host could use. Files with other endings are passed over.
    pub(super) fn read_languages(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, Refusal> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(Refusal::unreadable)? {
            let path = entry.map_err(Refusal::unreadable)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".ftl"))
            else {
                continue;
            };
            let wrong = |why: &dyn std::fmt::Display| Refusal::Folder(format!("languages/{name}: {why}"));
            if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
                return Err(wrong(&"it is no regular file"));
            }
            if files.len() == MOST_LANGUAGES {
                return Err(Refusal::Folder(format!("it has more than {MOST_LANGUAGES} language files")));
            }
            let text = language::read_usable(&path).map_err(|error| wrong(&crate::error::Chain(&error)))?;
            files.push((name.to_owned(), text.into_bytes()));
        }
        files.sort();
        Ok(files)
    }
}
