//! Why a library is refused: from `framework/src/plugins/report.rs` of that time.

use thiserror::Error;

/// Why a file in a plugin folder is not used.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    /// The file is no library, or no file.
    #[error("not a plugin library: {0}")]
    NotALibrary(&'static str),
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
    /// The operating system or the plugin refused to start.
    #[error("cannot be loaded: {reason}")]
    Load {
        /// What it said.
        reason: String,
    },
}
