//! What became of each file in the plugin folders, in words for an administrator.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::channel_log::printable;
use crate::registry::{Collision, Tier};
use crate::suspension::Suspension;

/// What the plugin folders hold and what became of it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LoadReport {
    /// Each file that looks like a plugin.
    pub plugins: Vec<PluginReport>,
    /// Numbers and names that more than one plugin claims.
    pub collisions: Vec<Collision>,
    /// Handlers that are not called any more because they panicked too often.
    pub suspended: Vec<Suspension>,
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PluginReport {
    /// The file in the folder. JSON has it with `\u{fffd}` in place of what is not Unicode.
    #[serde(serialize_with = "lossily")]
    pub file: PathBuf,
    /// Which folder it is in.
    pub tier: Tier,
    /// Id of the plugin that runs; of the one in the file when none does. `None` when the file does not say.
    pub id: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its name for people.
    pub title: Option<String>,
    /// What the administrator wants: `false` while there is a marker file. Only the administrator changes it.
    pub enabled: bool,
    /// What it does.
    pub state: PluginState,
    /// Why it is not active. With [`PluginState::Active`] an older generation goes on in place of the file.
    pub reason: Option<String>,
    /// How many minicomponents it has.
    pub triggers: usize,
}

fn lossily<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// What a plugin does, which need not be what the administrator wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PluginState {
    /// It answers triggers.
    Active,
    /// The administrator has disabled it. It is not opened.
    Disabled,
    /// It is opened as soon as the plugins that it needs are active.
    Waiting,
    /// The host runs in safe mode, in which no plugin is opened.
    Held,
    /// It cannot be used; the reason says why.
    Refused,
}

impl PluginState {
    /// Returns the name of the state, as JSON has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Refused => "refused",
        }
    }
}

impl std::fmt::Display for PluginState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a file in a plugin folder is not used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The file is no library, or no file.
    #[error("not a plugin library: {0}")]
    NotALibrary(&'static str),
    /// The folder that is to be installed does not hold what a plugin is.
    #[error("the folder cannot be installed: {0}")]
    Folder(String),
    /// The file is too large to be read.
    #[error("larger than 256 MiB ({bytes} bytes): strip the library")]
    TooLarge {
        /// Its length.
        bytes: u64,
    },
    /// The file cannot be read.
    #[error("cannot be read ({reason}): check its owner and rights")]
    Unreadable {
        /// What the operating system said.
        reason: String,
    },
    /// The file is not a library of this platform.
    #[error("built for {found}, this host runs on {needed}: build the plugin for this platform")]
    OtherPlatform {
        /// What it was built for.
        found: String,
        /// What this host runs on.
        needed: String,
    },
    /// The file ends too early.
    #[error("incomplete: the file ends before {needed} of {what}; copy it again")]
    Incomplete {
        /// The offset that is needed.
        needed: String,
        /// What should be there.
        what: &'static str,
    },
    /// The file contradicts itself.
    #[error("the file is damaged ({reason}): build or copy it again")]
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// The library is well formed and is no plugin.
    #[error("a library, but no Switchboard plugin: it has no manifest; `export_plugin!` makes one")]
    NoManifest,
    /// The manifest cannot be read.
    #[error("the manifest cannot be used: {reason}")]
    BadManifest {
        /// What is wrong with it.
        reason: String,
    },
    /// The plugin needs a newer host.
    #[error(
        "needs plugin-api {needed}, this host has {provided}: update Switchboard or use an older version of the plugin"
    )]
    NewerApi {
        /// What the plugin needs.
        needed: String,
        /// What this host has.
        provided: String,
    },
    /// The plugin is of another major version.
    #[error("built for plugin-api {found}, this host has {provided}: rebuild the plugin with plugin-api {provided}")]
    OtherApi {
        /// What the plugin was built with.
        found: String,
        /// What this host has.
        provided: String,
    },
    /// A panic in the plugin would end the host.
    #[error("built with `panic = \"{found}\"`: a panic would end the host; build it with `panic = \"unwind\"`")]
    PanicStrategy {
        /// The strategy.
        found: String,
    },
    /// The plugin cannot do without a service that this host does not have.
    #[error("needs the host service `{service}`, which this host does not have: update Switchboard")]
    MissingService {
        /// The service.
        service: String,
    },
    /// Another file holds a plugin of the same id.
    #[error("plugin `{id}` is already loaded from `{}`: remove one of the two", holder.display())]
    DuplicateId {
        /// The id.
        id: String,
        /// The other file.
        holder: PathBuf,
    },
    /// The administrator has disabled the plugin.
    #[error("disabled: `switchboard plugin enable`, or remove `{}`", marker.display())]
    Disabled {
        /// The file that says so.
        marker: PathBuf,
    },
    /// No plugin is opened.
    #[error("the host runs in safe mode: start it without --safe-mode to use the plugin")]
    SafeMode,
    /// A plugin that this one cannot do without is not active.
    #[error("needs plugin `{needed}` {version}, {found}")]
    Dependency {
        /// The other plugin.
        needed: String,
        /// Which of its versions will do.
        version: String,
        /// What there is, and what to do.
        found: String,
    },
    /// The private copy cannot be written.
    #[error("no private copy can be written to `{}` ({reason}): check the folder's rights and free space", path.display())]
    Copy {
        /// The copy.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The operating system or the plugin refused to start.
    #[error("plugin `{plugin}` cannot be loaded: {reason}")]
    Load {
        /// The plugin.
        plugin: String,
        /// What it said.
        reason: String,
    },
    /// The plugin was loaded and then something about it turned out unusable.
    #[error("plugin `{plugin}` cannot be activated: {reason}")]
    Activation {
        /// The plugin.
        plugin: String,
        /// What turned out.
        reason: String,
    },
}

/// Longest reason that is shown, in bytes. A plugin has a hand in the words.
const MAX_REASON_BYTES: usize = 2 << 10;

impl Refusal {
    /// Returns the state of a plugin that does not run for this reason.
    pub(super) fn state(&self) -> PluginState {
        match self {
            Self::Disabled { .. } => PluginState::Disabled,
            Self::SafeMode => PluginState::Held,
            Self::Dependency { .. } => PluginState::Waiting,
            _ => PluginState::Refused,
        }
    }

    /// Returns the reason in one line that is safe to show.
    pub(super) fn shown(&self) -> String {
        let reason = self.to_string();
        let end = reason.floor_char_boundary(MAX_REASON_BYTES);
        let cut = if end < reason.len() { "… [cut]" } else { "" };
        format!("{}{cut}", printable(&reason[..end]))
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
    pub(crate) fn unreadable(error: io::Error) -> Self {
        Self::Unreadable { reason: error.to_string() }
    }
}
