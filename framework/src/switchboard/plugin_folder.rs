//! Changing what the plugin folder holds: install, enable, disable, remove, upgrade, return to the version before.
//!
//! What an administrator wants stands in the folder itself, as files that can be put there by hand: a library, a marker
//! `ID.disabled`, and beside a library that was replaced the one before it, `FILE.previous`. A library is written under
//! another name and renamed, so nobody ever sees half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use switchboard_plugin_api::Manifest;
use thiserror::Error;

use super::{PluginSettingError, Switchboard};
use crate::channel_log::ChannelLog;
use crate::dispatcher::CHANNEL;
use crate::plugins::{self, Folder, MARKER, PluginReport, PluginState, Plugins, Refusal};
use crate::registry::Tier;

/// What is put behind the name of a library for the one that it has replaced.
const PREVIOUS: &str = "previous";
/// The same while nobody knows yet whether the new one can be used. What a host finds of it when it is opened is an
/// upgrade that did not come to its end, and is undone.
const UPGRADING: &str = "upgrading";

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

    /// Adds a plugin from the bytes of its library, with settings that it finds when it starts. `name` is the file's name,
    /// when it is to have one of its own.
    ///
    /// The bytes are judged without running them; a caller that has them from somewhere else lets
    /// [`check`](crate::check) run them in a process of its own before.
    ///
    /// # Errors
    ///
    /// When the bytes are no plugin of this host, when the plugin or the file is there already, or when the host cannot
    /// activate it; nothing has changed then. Of settings as [`PluginFolder::set`].
    pub fn install(
        &self,
        library: &[u8],
        name: Option<&str>,
        settings: &[(String, Option<String>)],
    ) -> std::result::Result<PluginReport, PluginSettingError> {
        let manifest = judge(library)?;
        let mut plugins = self.host.plugins.lock();
        if let Ok(there) = of(&plugins, &manifest.id)
            && let Some(there) = there.into_iter().find(|report| report.tier == Tier::Plugin)
        {
            return Err(PluginFolderError::Installed { id: manifest.id, file: there.file }.into());
        }
        let file = self.path().join(file_name(name, &manifest.id));
        if file.symlink_metadata().is_ok() {
            return Err(PluginFolderError::Taken { file }.into());
        }
        let live = self.host.core.live.config();
        let fresh = settings.iter().filter(|(key, _)| live.plugin_setting(&manifest.id, key).is_none());
        let fresh: Vec<_> = fresh.map(|(key, _)| (key.clone(), None)).collect();
        if !settings.is_empty() {
            self.set_for(&manifest, settings)?;
        }
        let written = write(&file, library);
        let report = written.as_ref().ok().and_then(|()| self.look_again(&mut plugins, &file));
        let active = report.as_ref().is_some_and(|report| report.state != PluginState::Refused);
        if !active && !fresh.is_empty() {
            self.set_for(&manifest, &fresh)?;
        }
        written?;
        match report {
            Some(report) if matches!(report.state, PluginState::Refused) => {
                delete(&file)?;
                self.look_again(&mut plugins, &file);
                let reason = report.reason.unwrap_or_default();
                let Manifest { id, version, .. } = manifest;
                Err(PluginFolderError::NotActive { id, version, kept: None, reason }.into())
            }
            Some(report) => Ok(report),
            // Somebody has removed it just now.
            None => Err(PluginFolderError::Missing { id: manifest.id, known: Vec::new() }.into()),
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
        let mut markers = plugins::Look::at(&folders).markers;
        for report in of(&plugins, id)? {
            let candidate = plugins::Candidate::at(&report.file);
            while let Some(marker) = candidate.marker(Some(id), &markers) {
                if marker.extension().is_none() && folders.iter().any(|folder| marker.parent() == Some(&folder.path)) {
                    return Err(PluginFolderError::AllDisabled { marker });
                }
                delete(&marker)?;
                markers.remove(&marker);
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
        for report in &reports {
            let Some(folder) = plugins.folders().iter().find(|folder| folder.tier == report.tier) else { continue };
            let marker = folder.path.join(format!("{id}.{MARKER}"));
            fs::write(&marker, "").map_err(|source| PluginFolderError::File { path: marker, source })?;
        }
        self.host.plugins.rescan_locked(&self.host.core, &mut plugins);
        of(&plugins, id)
    }

    /// Removes a plugin from the folder, with the version before it and its marker. Its deferred tasks wait for it to come
    /// back. Returns the file that is gone.
    ///
    /// # Errors
    ///
    /// When there is no such plugin, when others need it and `force` is not set, or a file cannot be removed.
    pub fn remove(&self, id: &str, force: bool) -> Result<PathBuf> {
        let mut plugins = self.host.plugins.lock();
        let place = place(&plugins, id)?;
        check_needed(&plugins, id, None, force)?;
        delete(&place.file)?;
        delete(&with(&place.file, PREVIOUS))?;
        delete(&with(&place.file, MARKER))?;
        delete(&self.path().join(format!("{id}.{MARKER}")))?;
        self.host.plugins.rescan_locked(&self.host.core, &mut plugins);
        Ok(place.file)
    }

    /// Replaces a plugin by another version of it. The version before is kept; it goes on when the new one cannot be
    /// activated.
    ///
    /// # Errors
    ///
    /// When the bytes are no plugin of this host or another plugin, when they are older and `downgrade` is not set, when
    /// other plugins need another version and `force` is not set, or when the host cannot activate it.
    pub fn upgrade(&self, id: &str, library: &[u8], downgrade: bool, force: bool) -> Result<PluginReport> {
        let manifest = judge(library)?;
        if manifest.id != id {
            return Err(PluginFolderError::Other { id: id.to_owned(), found: manifest.id });
        }
        let mut plugins = self.host.plugins.lock();
        let place = place(&plugins, id)?;
        if !downgrade && is_older(&manifest.version, &place.version) {
            let (found, installed) = (manifest.version, place.version);
            return Err(PluginFolderError::Older { id: id.to_owned(), found, installed });
        }
        check_needed(&plugins, id, Some(&manifest.version), force)?;
        self.replace(&mut plugins, &place, &manifest, library)
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
        let manifest = judge(&library)?;
        self.replace(&mut plugins, &place, &manifest, &library)
    }

    /// Puts a library in the place of another and takes it back when the host refuses it.
    fn replace(
        &self,
        plugins: &mut Plugins,
        place: &Place,
        manifest: &Manifest,
        library: &[u8],
    ) -> Result<PluginReport> {
        let (file, kept) = (&place.file, with(&place.file, UPGRADING));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PluginFolderError::File { path, source }
        };
        let before = fs::read(file).map_err(failed(file))?;
        write(&kept, &before)?;
        write(file, library)?;
        let report = self.look_again(plugins, file);
        let refused = report.as_ref().filter(|report| match report.state {
            PluginState::Active => report.reason.is_some(),
            state => state == PluginState::Refused,
        });
        if let Some(reason) = refused.map(|report| report.reason.clone().unwrap_or_default()) {
            fs::rename(&kept, file).map_err(failed(file))?;
            self.look_again(plugins, file);
            let (id, version) = (manifest.id.clone(), manifest.version.clone());
            log::error!(logger: self.host.core.log, target: CHANNEL, plugin = id, version = version,
                kept = place.version, reason = reason; "upgrade undone: the version before goes on");
            return Err(PluginFolderError::NotActive { id, version, kept: Some(place.version.clone()), reason });
        }
        let previous = with(file, PREVIOUS);
        fs::rename(&kept, &previous).map_err(failed(&previous))?;
        log::info!(logger: self.host.core.log, target: CHANNEL, plugin = manifest.id, version = manifest.version,
            before = place.version; "plugin replaced");
        report.ok_or_else(|| PluginFolderError::Missing { id: manifest.id.clone(), known: Vec::new() })
    }

    fn look_again(&self, plugins: &mut Plugins, file: &Path) -> Option<PluginReport> {
        self.host.plugins.rescan_locked(&self.host.core, plugins);
        plugins.report().into_iter().find(|report| report.file == file)
    }
}

/// Returns to the library before where an upgrade did not come to its end, because the host ended in the middle of it.
pub(super) fn undo_unfinished(folders: &[Folder], log: &ChannelLog) {
    for folder in folders {
        let files = |folder: &Path| -> Vec<PathBuf> {
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        let inside = files(&folder.path).into_iter().filter(|path| path.is_dir()).flat_map(|path| files(&path));
        let all = files(&folder.path).into_iter().chain(inside.collect::<Vec<_>>());
        for kept in all.filter(|path| path.extension().is_some_and(|extension| extension == UPGRADING)) {
            let file = kept.with_extension("");
            match fs::rename(&kept, &file) {
                Ok(()) => log::warn!(logger: log, target: CHANNEL, file = file.display().to_string();
                    "an upgrade did not come to its end: the version before is back"),
                Err(error) => log::error!(logger: log, target: CHANNEL, file = kept.display().to_string(),
                    error = error.to_string(); "an upgrade did not come to its end, and cannot be undone"),
            }
        }
    }
}

fn judge(library: &[u8]) -> Result<Manifest> {
    plugins::judge(library).map_err(|source| PluginFolderError::Unusable { source })
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

/// Returns the name of a library: the one that is asked for when it is that of a library and no path.
fn file_name(name: Option<&str>, id: &str) -> String {
    let extension = std::env::consts::DLL_EXTENSION;
    let plain = |name: &&str| {
        let stem = name.strip_suffix(extension).and_then(|stem| stem.strip_suffix('.'));
        stem.is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.'))
            && name.len() <= 100
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    name.filter(plain).map_or_else(|| format!("{id}.{extension}"), str::to_owned)
}

/// Returns the path of a file with an ending behind its whole name.
fn with(file: &Path, ending: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    path.into()
}

/// Writes a file whole or not at all, and so that it is still there after a power cut.
fn write(file: &Path, bytes: &[u8]) -> Result<()> {
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

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Removes a file; one that is not there is removed.
fn delete(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PluginFolderError::File { path: file.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
