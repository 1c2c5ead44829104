//! The plugin folders of a running host: rescan, swap the registry whole, watch for changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::activation::HostActivation;
use crate::channel_log::ChannelLog;
use crate::core::Core;
use crate::dispatcher::CHANNEL;
use crate::live;
use crate::plugins::{Look, PluginReport, PluginState, Plugins};
use crate::registry::{Collision, Minicomponent, Registry};

/// How often the plugin folders are looked at. A look costs a few microseconds per file.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many looks go by before the logs are tidied: an hour.
const TIDY_EVERY: u32 = 7_200;

/// The plugins of a host, and what is built into it.
pub(super) struct PluginsOfHost {
    plugins: Mutex<Plugins>,
    /// Whether the log is told of every plugin. A host that only answers one command tells of trouble only.
    told: bool,
    built_ins: Vec<Arc<Minicomponent>>,
}

impl PluginsOfHost {
    pub(super) fn new(plugins: Plugins, built_ins: Vec<Arc<Minicomponent>>, told: bool) -> Self {
        Self { plugins: Mutex::new(plugins), told, built_ins }
    }

    pub(super) fn report(&self) -> Vec<PluginReport> {
        self.lock().report()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Plugins> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rescans the folders, swaps the registry whole, and tells the log what changed.
    pub(super) fn rescan(&self, core: &Arc<Core>) {
        self.rescan_locked(core, &mut self.lock());
    }

    /// The same for somebody who changes the folders while nobody else may look at them.
    pub(super) fn rescan_locked(&self, core: &Arc<Core>, plugins: &mut Plugins) {
        let before = plugins.report();
        let folders = plugins.folders().to_vec();
        plugins.rescan(&HostActivation { core, folders: &folders });
        plugins.set_log_level(core.log.level());
        let all = self.built_ins.iter().chain(plugins.minicomponents()).cloned().collect();
        let old = core.registry.swap(Arc::new(Registry::new(all)));
        tell(&core.log, &before, &plugins.report(), new_collisions(core, &old), self.told);
        if let Some(deferred) = core.deferred.get() {
            deferred.plugins_changed();
        }
    }
}

fn new_collisions(core: &Core, old: &Registry) -> Vec<Collision> {
    let now = core.registry.load();
    now.collisions().iter().filter(|one| !old.collisions().contains(one)).cloned().collect()
}

/// Tells the log what has changed in the plugin folders.
fn tell(
    log: &ChannelLog,
    before: &[PluginReport],
    after: &[PluginReport],
    collisions: Vec<Collision>,
    everything: bool,
) {
    for report in after.iter().filter(|report| !before.contains(report)) {
        let (file, plugin) = (report.file.display().to_string(), report.id.as_deref().unwrap_or("-"));
        match (&report.reason, report.state) {
            (Some(reason), PluginState::Refused) => {
                log::error!(logger: log, target: CHANNEL, file = file, plugin = plugin, reason = reason;
                    "plugin refused");
            }
            (Some(reason), PluginState::Waiting) => {
                log::warn!(logger: log, target: CHANNEL, file = file, plugin = plugin, reason = reason;
                    "plugin waits for another one");
            }
            (Some(_), PluginState::Disabled | PluginState::Held) if !everything => {}
            (Some(reason), PluginState::Disabled | PluginState::Held) => {
                log::info!(logger: log, target: CHANNEL, file = file, plugin = plugin, reason = reason;
                    "plugin not opened");
            }
            (Some(reason), PluginState::Active) => {
                log::error!(logger: log, target: CHANNEL, file = file, plugin = plugin, reason = reason;
                    "new version refused, the old one goes on");
            }
            (None, _) if !everything => {}
            (None, _) => {
                let version = report.version.as_deref().unwrap_or("-");
                log::info!(logger: log, target: CHANNEL, file = file, plugin = plugin, version = version,
                    triggers = report.triggers; "plugin active");
            }
        }
    }
    for gone in before.iter().filter(|report| !after.iter().any(|other| other.file == report.file)) {
        let plugin = gone.id.as_deref().unwrap_or("-");
        log::info!(logger: log, target: CHANNEL, file = gone.file.display().to_string(), plugin = plugin;
            "plugin removed");
    }
    for collision in collisions {
        log::error!(logger: log, target: CHANNEL, collision = collision.to_string(); "collision");
    }
}

/// The thread that looks at the folders.
pub(super) struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(core: &Arc<Core>, plugins: &Arc<PluginsOfHost>) -> std::io::Result<Self> {
        let (stop, stopped) = bounded::<()>(0);
        let (core, plugins) = (Arc::downgrade(core), Arc::clone(plugins));
        let thread = std::thread::Builder::new().name("switchboard-plugins".into()).spawn(move || {
            let folders = plugins.lock().folders().to_vec();
            let mut seen = Look::at(&folders);
            // Something may have changed between the first scan and this first look.
            let mut changed = true;
            let file_state = || core.upgrade().map(|core| core.live.file_state());
            let mut configured = file_state();
            let mut until_tidy = TIDY_EVERY;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK_EVERY) {
                until_tidy -= 1;
                if until_tidy == 0 {
                    until_tidy = TIDY_EVERY;
                    let Some(core) = core.upgrade() else { return };
                    core.log.tidy();
                }
                let state = file_state();
                if state != configured {
                    configured = state;
                    let Some(core) = core.upgrade() else { return };
                    live::reload_changed(&core);
                    plugins.lock().set_log_level(core.log.level());
                }
                let now = Look::at(&folders);
                // A file is touched only when two looks in a row saw the same: until then it may be half a copy.
                if now != seen {
                    seen = now;
                    changed = true;
                } else if changed {
                    changed = false;
                    let Some(core) = core.upgrade() else { return };
                    plugins.rescan(&core);
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    pub(super) fn stop(self) {
        drop(self.stop);
        // A panic of the thread has been printed; there is nothing to undo.
        let _ = self.thread.join();
    }
}
