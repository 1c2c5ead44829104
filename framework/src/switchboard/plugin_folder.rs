//! Changing what the plugin folder holds: install, enable, disable, remove, upgrade, return to the version before.
//!
//! What an administrator wants stands in the folder itself, as files that can be put there by hand: a library, a marker
//! `ID.disabled`, and beside a library that was replaced the one before it, `FILE.previous`. A library is written under
//! another name and renamed, so nobody ever sees half of one.

mod files;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::files::{PREVIOUS, delete, with};
pub(super) use self::files::{file_name, undo_unfinished};
use super::{PluginPackage, PluginSettingError, Switchboard};
use crate::dispatcher::CHANNEL;
use crate::plugins::{MARKER, PluginReport, PluginState, Plugins, Refusal};
use crate::registry::Tier;

/// The plugin folder of a host.
pub struct PluginFolder<'a> {
    pub(super) host: &'a Switchboard,
}

/// Why something in the plugin folder cannot be changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PluginFolderError {
    /// There is no such plugin.
    #[error("there is no plugin `{id}`{}", there_are(.known))]
    Missing {
        /// The id.
        id: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The plugin is there already.
    #[error("plugin `{id}` is already installed as `{}`: use `switchboard plugin upgrade {id}`", file.display())]
    Installed {
        /// The id.
        id: String,
        /// Its file.
        file: PathBuf,
    },
    /// Another file has the name.
    #[error("`{}` is there already and is never overwritten: remove it, or give the new file another name", file.display())]
    Taken {
        /// The file.
        file: PathBuf,
    },
    /// The plugin is in the folder more than once.
    #[error("plugin `{id}` is in `{}` and in `{}`: remove one of the files by hand", files.0.display(), files.1.display())]
    Several {
        /// The id.
        id: String,
        /// Two of its files.
        files: (PathBuf, PathBuf),
    },
    /// The file cannot be used as a plugin.
    #[error("the file cannot be used")]
    Unusable {
        /// Why.
        source: Refusal,
    },
    /// Language files come with the plugin, and it has no folder of its own in which they could stand.
    #[error(
        "plugin `{id}` is installed as `{}`, without a folder for its language files: remove it and install it again", file.display()
    )]
    NoFolder {
        /// The plugin.
        id: String,
        /// Its file.
        file: PathBuf,
    },
    /// The file holds another plugin.
    #[error("the file holds plugin `{found}` and not `{id}`: `switchboard plugin install` adds it")]
    Other {
        /// The plugin that is to be replaced.
        id: String,
        /// The one in the file.
        found: String,
    },
    /// The file holds an older version.
    #[error(
        "version {found} is older than {installed}, which is installed: --downgrade takes it, `switchboard plugin \
         rollback {id}` returns to the version before"
    )]
    Older {
        /// The plugin.
        id: String,
        /// The version in the file.
        found: String,
        /// The installed version.
        installed: String,
    },
    /// Other plugins cannot do without it.
    #[error("plugin `{id}` is needed by {}: with --force they wait until it is back", quoted(.by))]
    Needed {
        /// The plugin.
        id: String,
        /// The others.
        by: Vec<String>,
    },
    /// No version before is kept.
    #[error(
        "no version before is kept of plugin `{id}`: there is none until `switchboard plugin upgrade` replaces one"
    )]
    NoPrevious {
        /// The plugin.
        id: String,
    },
    /// All plugins of a folder are disabled at once.
    #[error("`{}` disables every plugin of its folder: remove it", marker.display())]
    AllDisabled {
        /// The file that says so.
        marker: PathBuf,
    },
    /// The host did not take the plugin; everything is as it was before.
    #[error("plugin `{id}` {version} does not run, {}: {reason}", undone(.kept))]
    NotActive {
        /// The plugin.
        id: String,
        /// The version that was tried.
        version: String,
        /// The version that goes on, if there is one.
        kept: Option<String>,
        /// Why.
        reason: String,
    },
    /// A file cannot be written, renamed or removed.
    #[error("`{}` cannot be changed: check the folder's rights and free space", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

fn there_are(known: &[String]) -> String {
    match known {
        [] => ": the plugin folder is empty".to_owned(),
        known => format!(", but {}", quoted(known)),
    }
}

fn quoted(ids: &[String]) -> String {
    ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ")
}

fn undone(kept: &Option<String>) -> String {
    match kept {
        Some(version) => format!("{version} goes on"),
        None => "it was not installed".to_owned(),
    }
}

type Result<T> = std::result::Result<T, PluginFolderError>;

/// A plugin in the folder.
struct Place {
    file: PathBuf,
    version: String,
}

impl<'a> PluginFolder<'a> {
    pub(super) fn new(host: &'a Switchboard) -> Self {
        Self { host }
    }

    /// Returns where plugins are installed.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.host.data().join("plugins")
    }

    /// Returns what became of a plugin's files: one, or one for each folder that holds it.
    ///
    /// # Errors
    ///
    /// [`PluginFolderError::Missing`] when there is no such plugin.
    pub fn get(&self, id: &str) -> Result<Vec<PluginReport>> {
        of(&self.host.plugins.lock(), id)
    }

    /// Returns whether the version before the installed one is kept, so that [`PluginFolder::rollback`] can return to it.
    #[must_use]
    pub fn has_previous(&self, id: &str) -> bool {
        place(&self.host.plugins.lock(), id).is_ok_and(|place| with(&place.file, PREVIOUS).is_file())
    }

    /// Adds a plugin, with settings that it finds when it starts. One with language files gets a folder of its own.
    ///
    /// The library was judged without running it; a caller that has it from somewhere else lets
    /// [`check`](crate::check) run it in a process of its own before.
    ///
    /// # Errors
    ///
    /// When the plugin or the file is there already, or when the host cannot activate it; nothing has changed then. Of
    /// settings as [`PluginFolder::set`].
    pub fn install(
        &self,
        package: &PluginPackage,
        settings: &[(String, Option<String>)],
    ) -> std::result::Result<PluginReport, PluginSettingError> {
        let id = package.id();
        let mut plugins = self.host.plugins.lock();
        if let Ok(there) = of(&plugins, id)
            && let Some(there) = there.into_iter().find(|report| report.tier == Tier::Plugin)
        {
            return Err(PluginFolderError::Installed { id: id.to_owned(), file: there.file }.into());
        }
        let has_own_folder = package.languages.is_some();
        let folder = if has_own_folder { self.path().join(id) } else { self.path() };
        let file = folder.join(file_name(package.name.as_deref(), id));
        let taken = if has_own_folder { &folder } else { &file };
        if taken.symlink_metadata().is_ok() {
            return Err(PluginFolderError::Taken { file: taken.clone() }.into());
        }
        let live = self.host.core.live.config();
        let before = settings.iter().map(|(key, _)| (key.clone(), live.plugin_setting(id, key)));
        let before: Vec<_> = before.collect();
        if !settings.is_empty() {
            self.set_for(&package.manifest, settings)?;
        }
        let installed = self.put(&mut plugins, &file, package);
        if installed.is_err() {
            files::delete_library(&file, has_own_folder)?;
            if !before.is_empty() {
                self.set_for(&package.manifest, &before)?;
            }
            self.look_again(&mut plugins, &file);
        }
        Ok(installed?)
    }

    /// Writes a package into the folder and has it opened.
    fn put(&self, plugins: &mut Plugins, file: &Path, package: &PluginPackage) -> Result<PluginReport> {
        if let Some(languages) = &package.languages {
            files::write_languages(file, languages)?;
        }
        files::write(file, &package.library)?;
        let (id, version) = (package.manifest.id.clone(), package.manifest.version.clone());
        match self.look_again(plugins, file) {
            Some(report) if report.state == PluginState::Refused => {
                let reason = report.reason.unwrap_or_default();
                Err(PluginFolderError::NotActive { id, version, kept: None, reason })
            }
            Some(report) => Ok(report),
            // Somebody has removed it just now.
            None => Err(PluginFolderError::Missing { id, known: Vec::new() }),
        }
    }

    /// Lets a plugin run that was disabled.
    ///
    /// # Errors
    ///
    /// When there is no such plugin, or its marker cannot be removed.
    pub fn enable(&self, id: &str) -> Result<Vec<PluginReport>> {
        let mut plugins = self.host.plugins.lock();
        let folders = plugins.folders().to_vec();
        for report in of(&plugins, id)? {
            if let Some(marker) = files::delete_markers(&folders, &report.file, id)? {
                return Err(PluginFolderError::AllDisabled { marker });
            }
        }
        self.host.plugins.rescan_locked(&self.host.core, &mut plugins);
        of(&plugins, id)
    }

    /// Keeps a plugin from running until it is enabled. Calls that run end; its deferred tasks wait.
    ///
    /// # Errors
    ///
    /// When there is no such plugin, when others need it and `force` is not set, or the marker cannot be written.
    pub fn disable(&self, id: &str, force: bool) -> Result<Vec<PluginReport>> {
        let mut plugins = self.host.plugins.lock();
        let reports = of(&plugins, id)?;
        check_needed(&plugins, id, None, force)?;
        let mut written = Vec::new();
        for report in &reports {
            let Some(folder) = plugins.folders().iter().find(|folder| folder.tier == report.tier) else { continue };
            let marker = folder.path.join(format!("{id}.{MARKER}"));
            if marker.is_file() {
                continue;
            }
            if let Err(source) = fs::write(&marker, "") {
                // Disabled everywhere or nowhere.
                written.iter().try_for_each(|marker: &PathBuf| delete(marker))?;
                return Err(PluginFolderError::File { path: marker, source });
            }
            written.push(marker);
        }
        self.host.plugins.rescan_locked(&self.host.core, &mut plugins);
        of(&plugins, id)
    }

    /// Removes a plugin from the folder, with the version before it, its markers, and the language files in a folder of its
    /// own. Its deferred tasks wait for it to come back. Returns the file that is gone.
    ///
    /// # Errors
    ///
    /// When there is no such plugin, when others need it and `force` is not set, or a file cannot be removed.
    pub fn remove(&self, id: &str, force: bool) -> Result<PathBuf> {
        let mut plugins = self.host.plugins.lock();
        let place = place(&plugins, id)?;
        check_needed(&plugins, id, None, force)?;
        let folders = plugins.folders().to_vec();
        files::delete_library(&place.file, has_own_folder(&plugins, &place.file))?;
        files::delete_markers(&folders, &place.file, id)?;
        let others = of(&plugins, id)?.into_iter().filter(|report| report.file != place.file);
        let tiers: Vec<Tier> = others.map(|report| report.tier).collect();
        // A marker without a plugin would disable whatever comes later under its id, and nobody would know why.
        for folder in folders.iter().filter(|folder| !tiers.contains(&folder.tier)) {
            delete(&folder.path.join(format!("{id}.{MARKER}")))?;
        }
        self.host.plugins.rescan_locked(&self.host.core, &mut plugins);
        Ok(place.file)
    }

    /// Replaces a plugin by another version of it, and its language files when the package has some. The version before is
    /// kept; it goes on, as if nothing had been done, when the new one cannot be activated.
    ///
    /// # Errors
    ///
    /// When it is another plugin, when it is older and `downgrade` is not set, when other plugins need another version and
    /// `force` is not set, or when the host cannot activate it.
    pub fn upgrade(&self, id: &str, package: &PluginPackage, downgrade: bool, force: bool) -> Result<PluginReport> {
        if package.id() != id {
            return Err(PluginFolderError::Other { id: id.to_owned(), found: package.id().to_owned() });
        }
        let mut plugins = self.host.plugins.lock();
        let place = place(&plugins, id)?;
        if package.languages.is_some() && !has_own_folder(&plugins, &place.file) {
            return Err(PluginFolderError::NoFolder { id: id.to_owned(), file: place.file });
        }
        let version = &package.manifest.version;
        if !downgrade && is_older(version, &place.version) {
            let (found, installed) = (version.clone(), place.version);
            return Err(PluginFolderError::Older { id: id.to_owned(), found, installed });
        }
        check_needed(&plugins, id, Some(version), force)?;
        self.replace(&mut plugins, &place, package)
    }

    /// Returns to the version of a plugin that was installed before the last upgrade. The one that is left is kept in turn,
    /// so that a second rollback undoes the first.
    ///
    /// # Errors
    ///
    /// When no version before is kept, or the host cannot activate it.
    pub fn rollback(&self, id: &str) -> Result<PluginReport> {
        let mut plugins = self.host.plugins.lock();
        let place = place(&plugins, id)?;
        let previous = with(&place.file, PREVIOUS);
        let library = match fs::read(&previous) {
            Ok(library) => library,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(PluginFolderError::NoPrevious { id: id.to_owned() });
            }
            Err(source) => return Err(PluginFolderError::File { path: previous, source }),
        };
        let mut package =
            PluginPackage::of_library(library).map_err(|source| PluginFolderError::Unusable { source })?;
        let languages = with(&files::languages_beside(&place.file), PREVIOUS);
        if has_own_folder(&plugins, &place.file) && languages.is_dir() {
            let languages = PluginPackage::read_languages(&languages);
            package.languages = Some(languages.map_err(|source| PluginFolderError::Unusable { source })?);
        }
        self.replace(&mut plugins, &place, &package)
    }

    /// Puts a library in the place of another and takes it back when the host goes on with the one before.
    fn replace(&self, plugins: &mut Plugins, place: &Place, package: &PluginPackage) -> Result<PluginReport> {
        let file = &place.file;
        let replaced = files::keep(file, package.languages.is_some()).and_then(|()| self.put(plugins, file, package));
        let (id, version) = (package.manifest.id.clone(), package.manifest.version.clone());
        let refused = match replaced {
            Err(PluginFolderError::NotActive { reason, .. }) => Ok(reason),
            Err(error) => Err(error),
            Ok(report) if report.state == PluginState::Active && report.reason.is_some() => {
                Ok(report.reason.unwrap_or_default())
            }
            Ok(report) => {
                files::finish(file)?;
                log::info!(logger: self.host.core.log, target: CHANNEL, plugin = id, version = version,
                    before = place.version; "plugin replaced");
                return Ok(report);
            }
        };
        files::undo(file)?;
        self.look_again(plugins, file);
        let reason = refused?;
        log::error!(logger: self.host.core.log, target: CHANNEL, plugin = id, version = version,
            kept = place.version, reason = reason; "upgrade undone: the version before goes on");
        Err(PluginFolderError::NotActive { id, version, kept: Some(place.version.clone()), reason })
    }

    fn look_again(&self, plugins: &mut Plugins, file: &Path) -> Option<PluginReport> {
        self.host.plugins.rescan_locked(&self.host.core, plugins);
        plugins.report().into_iter().find(|report| report.file == file)
    }
}

fn of(plugins: &Plugins, id: &str) -> Result<Vec<PluginReport>> {
    let mut reports = plugins.report();
    reports.retain(|report| report.id.as_deref() == Some(id));
    if reports.is_empty() {
        let mut known: Vec<String> = plugins.report().into_iter().filter_map(|report| report.id).collect();
        known.dedup();
        return Err(PluginFolderError::Missing { id: id.to_owned(), known });
    }
    Ok(reports)
}

/// Returns the one file of a plugin in the plugin folder.
fn place(plugins: &Plugins, id: &str) -> Result<Place> {
    let mut reports = of(plugins, id)?;
    // An override is its owner's own affair, unless there is nothing else.
    if reports.iter().any(|report| report.tier == Tier::Plugin) {
        reports.retain(|report| report.tier == Tier::Plugin);
    }
    match &reports[..] {
        [one] => Ok(Place { file: one.file.clone(), version: one.version.clone().unwrap_or_default() }),
        several => {
            let files = (several[0].file.clone(), several[1].file.clone());
            Err(PluginFolderError::Several { id: id.to_owned(), files })
        }
    }
}

/// Whether a library stands in a folder of its own, one level down.
fn has_own_folder(plugins: &Plugins, file: &Path) -> bool {
    plugins.folders().iter().all(|folder| file.parent() != Some(&folder.path))
}

fn check_needed(plugins: &Plugins, id: &str, version: Option<&str>, force: bool) -> Result<()> {
    let by = plugins.dependants(id, version);
    if by.is_empty() || force {
        return Ok(());
    }
    Err(PluginFolderError::Needed { id: id.to_owned(), by })
}

fn is_older(version: &str, than: &str) -> bool {
    // A version that is none cannot be compared; whoever gives the command knows best.
    matches!((semver::Version::parse(version), semver::Version::parse(than)), (Ok(version), Ok(than)) if version < than)
}
