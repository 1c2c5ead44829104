//! What of the configuration changes while a host runs: the section `[log]`, and the settings of plugins.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::config::{Config, ConfigError, FILE_NAME, Mode};
use crate::core::Core;
use crate::dispatcher::CHANNEL;
use crate::error::Chain;

/// The configuration as it holds now.
pub(crate) struct Live {
    config: ArcSwap<Config>,
    development: Arc<AtomicBool>,
    /// Variables that win over the file.
    environment: Vec<(String, String)>,
    /// The folder of the file; `None` when the application has given the configuration.
    folder: Option<PathBuf>,
}

/// The state of the file, to see whether somebody has changed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileState(Option<(SystemTime, u64)>);

impl Live {
    pub(crate) fn new(config: &Config, folder: Option<PathBuf>, environment: Vec<(String, String)>) -> Self {
        let development = Arc::new(AtomicBool::new(config.log.mode == Mode::Development));
        Self { config: ArcSwap::from_pointee(config.clone()), development, environment, folder }
    }

    /// Returns whether the host is in development mode now, for whoever has to know it at every task.
    pub(crate) fn development(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.development)
    }

    pub(crate) fn is_development(&self) -> bool {
        self.development.load(Ordering::Relaxed)
    }

    pub(crate) fn plugin_setting(&self, plugin: &str, key: &str) -> Option<String> {
        self.config.load().plugin_setting(plugin, key)
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Returns the folder of the file, when the configuration comes from one.
    pub(crate) fn folder(&self) -> Option<&PathBuf> {
        self.folder.as_ref()
    }

    pub(crate) fn file_state(&self) -> FileState {
        let metadata = self.folder.as_ref().and_then(|folder| std::fs::metadata(folder.join(FILE_NAME)).ok());
        FileState(metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len()))))
    }
}

/// Reads the file again, lets hold what can change while the host runs, and returns the sections that hold only after a
/// restart.
pub(crate) fn reload(core: &Core) -> Result<Vec<String>, ConfigError> {
    let Some(folder) = core.live.folder() else { return Ok(Vec::new()) };
    let new = Config::load_with(folder, core.live.environment.iter().cloned())?;
    let old = core.live.config();
    let started = &core.config;
    let later = sections_that_differ(started, &new);
    if new.log != old.log {
        core.log.set_level(new.log.effective_level());
        core.log.set_rotation(new.log.rotation());
        let development = new.log.mode == Mode::Development;
        core.live.development.store(development, Ordering::Relaxed);
        core.payload_files.set_wanted(development);
        log::info!(logger: core.log, target: CHANNEL, mode = new.log.mode.as_str(),
            level = new.log.effective_level().as_str(); "log settings changed");
    }
    if new.plugins.settings != old.plugins.settings {
        log::info!(logger: core.log, target: CHANNEL, "settings of plugins changed");
    }
    core.live.config.store(Arc::new(new));
    Ok(later)
}

/// Returns the sections, besides those that change while a host runs, in which two configurations differ. Where the store is
/// may be the application's affair, so it is left out.
fn sections_that_differ(started: &Config, new: &Config) -> Vec<String> {
    let sections = |config: &Config| match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(mut sections)) => {
            let plugins = serde_json::json!(config.plugins.suspend_after_panics);
            sections.insert("plugins".to_owned(), plugins);
            sections
        }
        _ => serde_json::Map::new(),
    };
    let (started, new) = (sections(started), sections(new));
    let later = new
        .into_iter()
        .filter(|(section, value)| !matches!(section.as_str(), "log" | "store") && started.get(section) != Some(value));
    later.map(|(section, _)| section).collect()
}

/// Reads the file again because somebody has changed it. What is wrong with it is logged; what held before goes on.
pub(crate) fn reload_changed(core: &Core) {
    match reload(core) {
        Ok(later) if later.is_empty() => {}
        Ok(later) => log::warn!(logger: core.log, target: CHANNEL, sections = later.join(",");
            "the configuration file has changed: these sections hold after a restart"),
        Err(error) => log::error!(logger: core.log, target: CHANNEL, error = Chain(&error).to_string();
            "the configuration file cannot be used: what held before goes on"),
    }
}
