//! The host: everything put together on one data folder.

mod folders;
mod plugin_detail;
mod plugin_folder;
mod plugin_package;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use folders::{PluginsOfHost, Watch};
pub use plugin_detail::{DetailDependency, DetailMinicomponent, DetailSetting, PluginDetail, PluginSettingError};
pub use plugin_folder::{PluginFolder, PluginFolderError};
pub use plugin_package::PluginPackage;
use switchboard_plugin_api::{AfterRun, HandlerKind, Trigger, TriggerNumber};
use thiserror::Error;
use tokio::runtime::Runtime;

use crate::bulks::Bulks;
use crate::channel_log::{ChannelLog, Logs};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Mode, StoreConfig};
use crate::core::Core;
use crate::deferred::{self, Deferred};
use crate::dispatcher::CHANNEL;
use crate::egress::{Egress, EgressOptions};
use crate::error::Chain;
use crate::health::{self, Health};
use crate::keys::{self, Keys, SealingError};
use crate::language::{LanguageError, Languages, SetTextError};
use crate::live::{self, Live};
use crate::metrics::{self, Metrics, MetricsReport, MinuteOfAttempts};
use crate::outbox::{Outbox, Relay};
use crate::payload_files::PayloadFiles;
use crate::plugins::{Folder, LoadReport, Plugins};
use crate::registry::{BuiltIn, CallCounts, Minicomponent, Registry, Target, Tier};
use crate::run::RunBuilder;
use crate::runtime::AsyncRuntime;
use crate::schedules::Schedules;
use crate::store::{self, CRASH_LIMIT, StoreError, StoreOpenError};
use crate::suspension::{self, PanicStreak, ResumeError, Suspension};
use crate::tasks::Tasks;
use crate::webhooks::{self, EventKind, SecretKeys, Watcher, Webhooks};
use crate::work::TaskWork;

/// Threads of the asynchronous runtime. They only wait and hand on; the work is on the network.
const ASYNC_THREADS: usize = 2;

/// Which deferred tasks a host works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkOn {
    /// All that the store holds.
    #[default]
    Everything,
    /// Those that are announced through this very host.
    OwnAnnouncements,
    /// None: they wait in the store.
    Nothing,
}

/// A host that has not been opened.
#[must_use = "a host runs after `open`"]
pub struct SwitchboardBuilder {
    data: PathBuf,
    work_on: WorkOn,
    watch: bool,
    safe_mode: bool,
    config: Option<Config>,
    environment: Vec<(String, String)>,
    store: Option<StoreConfig>,
    built_ins: Vec<Arc<Minicomponent>>,
    outboxes: Vec<Outbox>,
    events: Vec<EventKind>,
}

impl SwitchboardBuilder {
    /// Says which deferred tasks the host works on.
    pub fn work_on(mut self, work_on: WorkOn) -> Self {
        self.work_on = work_on;
        self
    }

    /// Says whether the plugin folders are watched for changes. They are, unless this is off.
    pub fn watch(mut self, watch: bool) -> Self {
        self.watch = watch;
        self
    }

    /// Says whether the host opens no plugin at all, so that whatever is wrong with one can be put right. Tasks are kept:
    /// those whose handler is a plugin's wait.
    pub fn safe_mode(mut self, safe_mode: bool) -> Self {
        self.safe_mode = safe_mode;
        self
    }

    /// Lets variables of the environment win over `switchboard.toml`, as [`Config::load_with`] does. None do without it.
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment = variables.into_iter().filter(|(name, _)| name.starts_with("SWITCHBOARD_")).collect();
        self
    }

    /// Uses this configuration in place of `switchboard.toml`.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Names an event of the application, with its properties, so that pages and commands know it. It is a convenience:
    /// any name may be announced. May be called for several.
    pub fn event(mut self, event: EventKind) -> Self {
        self.events.push(event);
        self
    }

    /// Takes the events that the application writes into an outbox in a database of its own. May be called for several.
    pub fn outbox(mut self, outbox: Outbox) -> Self {
        self.outboxes.push(outbox);
        self
    }

    /// Says where the store is, in place of the configuration's section `[store]`.
    pub fn store(mut self, store: StoreConfig) -> Self {
        self.store = Some(store);
        self
    }

    /// Adds a minicomponent of the host application's own. A plugin's of the same number and name takes its place.
    pub fn built_in(mut self, number: TriggerNumber, name: impl Into<String>, handler: Arc<dyn BuiltIn>) -> Self {
        self.built_ins.push(built_in(number, name.into(), handler));
        self
    }

    /// Opens the host: its folders, its store and its plugins, and takes up the tasks that an earlier host left.
    ///
    /// # Errors
    ///
    /// When the data folder cannot be used, is in use by another host, or holds a configuration or a store that cannot be
    /// read. A plugin that cannot be loaded is no error: it is in [`Switchboard::plugins`].
    pub fn open(self) -> Result<Switchboard, OpenError> {
        Switchboard::build(self)
    }
}

/// A running host.
///
/// Dropping it stops it as [`Switchboard::stop`] does.
pub struct Switchboard {
    core: Arc<Core>,
    data: PathBuf,
    plugins: Arc<PluginsOfHost>,
    watcher: Mutex<Option<Watch>>,
    runtime: Mutex<Option<Runtime>>,
    relay: Option<Relay>,
}

impl Switchboard {
    /// Opens a host on a data folder, which is made when it is missing.
    ///
    /// # Errors
    ///
    /// As [`SwitchboardBuilder::open`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use switchboard::{Notification, Switchboard};
    ///
    /// let switchboard = Switchboard::open("switchboard-data")?;
    /// let mut run = switchboard.run().owner(62).task("save_booking").start();
    /// run.announce(Notification::from_json("booking_added", r#"{"property_uid": 7, "contract_uid": 41}"#))?;
    /// let finished = run.finish()?; // on disk; the deliveries happen in the background
    /// println!("{} deliveries", finished.events[0].tasks.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(data: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::builder(data).open()
    }

    /// Returns a builder for a host on a data folder.
    pub fn builder(data: impl Into<PathBuf>) -> SwitchboardBuilder {
        SwitchboardBuilder {
            data: data.into(),
            work_on: WorkOn::default(),
            watch: true,
            safe_mode: false,
            config: None,
            environment: Vec::new(),
            store: None,
            built_ins: Vec::new(),
            outboxes: Vec::new(),
            events: Vec::new(),
        }
    }

    fn build(builder: SwitchboardBuilder) -> Result<Self, OpenError> {
        let SwitchboardBuilder {
            data,
            work_on,
            watch,
            safe_mode,
            config,
            environment,
            store,
            mut built_ins,
            outboxes,
            events,
        } = builder;
        // A plugin can change the current folder of the process; the data must not move with it.
        let data = std::path::absolute(&data).unwrap_or(data);
        let folder = |name: &str| make_folder(data.join(name));
        make_folder(data.clone())?;
        let config_folder = config.is_none().then(|| data.clone());
        let mut config = match config {
            Some(config) => config,
            None => {
                Config::load_with(&data, environment.iter().cloned()).map_err(|source| OpenError::Config { source })?
            }
        };
        config.store = store.unwrap_or(config.store);
        // The store comes before everything that writes: it holds the folder's lock.
        let store = store::open(&config.store, &data).map_err(|source| OpenError::Store { source })?;
        let logs = folder("logs")?;
        let log = ChannelLog::open(&logs, config.log.effective_level())
            .map_err(|source| OpenError::Log { path: logs, source: Box::new(source) })?;
        let sealing = |source| OpenError::Secrets { source };
        let vault = keys::open(data.join("keys").join("secrets.keys"), &*store).map_err(sealing)?;
        let sealed = keys::bring_forward(&vault, &*store, &log).map_err(|source| sealing(source.into()))?;
        if sealed > 0 {
            log::info!(logger: log, target: CHANNEL, secrets = sealed; "secrets in the store were sealed");
        }
        log.set_rotation(config.log.rotation());
        log.tidy();
        let clock = Clock::system();
        let languages = Languages::new(&config.languages.default).map_err(|source| OpenError::Language { source })?;
        load_overrides(&languages, &folder("languages")?, &log);
        let egress =
            Egress::new(egress_options(&config)).map_err(|source| OpenError::Egress { source: Box::new(source) })?;
        let (runtime, handle) = AsyncRuntime::start(ASYNC_THREADS).map_err(|source| OpenError::Threads { source })?;
        let folders = vec![
            Folder { path: folder("plugins")?, tier: Tier::Plugin },
            Folder { path: folder("overrides")?, tier: Tier::Site },
        ];
        let copies = data.join("cache").join("plugins");
        plugin_folder::undo_unfinished(&folders, &log);
        let plugins = Plugins::new(folders, copies.clone(), config.loading.timeout, safe_mode)
            .map_err(|source| OpenError::Folder { path: copies, source })?;
        built_ins.push(built_in(AfterRun::NUMBER, Watcher::NAME.into(), Arc::new(Watcher)));
        let payload_files = PayloadFiles::new(data.join("deferred_tasks"), config.log.mode == Mode::Development);
        let core = Arc::new(Core {
            live: Live::new(&config, config_folder, environment),
            config,
            clock,
            log,
            languages,
            egress,
            store,
            vault,
            events: webhooks::catalogue_with(events),
            registry: ArcSwap::default(),
            payload_files,
            pages: OnceLock::new(),
            runtime: handle,
            metrics: Metrics::default(),
            secret_keys: SecretKeys::default(),
            immediate: std::sync::atomic::AtomicUsize::new(0),
            deferred: OnceLock::new(),
        });
        let mut switchboard = Self {
            core,
            data,
            relay: None,
            plugins: Arc::new(PluginsOfHost::new(plugins, built_ins, work_on != WorkOn::Nothing)),
            watcher: Mutex::new(None),
            runtime: Mutex::new(Some(runtime)),
        };
        switchboard.rescan();
        switchboard.start_work(work_on)?;
        if !outboxes.is_empty() {
            let relay = Relay::start(&switchboard.core, outboxes);
            switchboard.relay = Some(relay.map_err(|source| OpenError::Threads { source })?);
        }
        if watch {
            let watcher = Watch::start(&switchboard.core, &switchboard.plugins);
            *lock(&switchboard.watcher) = Some(watcher.map_err(|source| OpenError::Threads { source })?);
        }
        Ok(switchboard)
    }

    fn start_work(&self, work_on: WorkOn) -> Result<(), OpenError> {
        if work_on == WorkOn::Nothing {
            return Ok(());
        }
        let core = &self.core;
        let whole_store = work_on == WorkOn::Everything;
        if whole_store {
            self.recover().map_err(|source| OpenError::Recover { source })?;
        }
        let deferred = Deferred::start(
            deferred::Settings::new(&core.config, core.live.development(), whole_store),
            Arc::clone(&core.store),
            Arc::new(TaskWork(Arc::downgrade(core))),
            core.runtime.clone(),
            core.log.clone(),
            core.clock.clone(),
        );
        let deferred = deferred.map_err(|source| OpenError::Threads { source })?;
        // Set once, here; `Core` is not shared before.
        let _ = core.deferred.set(deferred);
        Ok(())
    }

    fn recover(&self) -> Result<(), crate::store::StoreError> {
        let core = &self.core;
        let recovered = core.store.recover(crate::store::Timestamp(core.clock.now()), CRASH_LIMIT)?;
        if recovered.ready + recovered.dead > 0 {
            log::warn!(logger: core.log, target: deferred::CHANNEL, again = recovered.ready, dead = recovered.dead;
                "tasks were running when the last host ended");
        }
        Ok(())
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Returns the time by the clock of the host.
    #[must_use]
    pub fn now(&self) -> crate::store::Timestamp {
        crate::store::Timestamp(self.core.clock.now())
    }

    /// Returns the data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns the configuration with which the host was opened.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// Returns the configuration as it holds now: `[log]` and the settings of plugins change while the host runs.
    #[must_use]
    pub fn live_config(&self) -> Arc<Config> {
        self.core.live.config()
    }

    /// Returns whether the host is in development mode now.
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.core.live.is_development()
    }

    /// Reads `switchboard.toml` again. `[log]` and the settings of plugins hold from now on; the sections that hold only
    /// after a restart and have changed are returned. A host that watches its folders does so by itself.
    ///
    /// # Errors
    ///
    /// When the file cannot be used; what held before goes on.
    pub fn reload_config(&self) -> Result<Vec<String>, ConfigError> {
        let later = live::reload(&self.core)?;
        self.plugins.lock().set_log_level(self.core.log.level());
        Ok(later)
    }

    /// Returns the texts of all plugins.
    #[must_use]
    pub fn languages(&self) -> &Languages {
        &self.core.languages
    }

    /// Puts a text of the administrator's in the place of a plugin's, or takes it away again, in the data folder's
    /// `languages`; it holds from now on. Returns the file.
    ///
    /// # Errors
    ///
    /// When the plugin, the language or the text is none, or the file cannot be written.
    pub fn override_text(
        &self,
        plugin: &str,
        language: &str,
        key: &str,
        text: Option<&str>,
    ) -> Result<PathBuf, SetTextError> {
        let folder = self.data.join("languages");
        let file = self.core.languages.set_override(&folder, plugin, language, key, text)?;
        load_overrides(&self.core.languages, &folder, &self.core.log);
        Ok(file)
    }

    /// Says at which address people find the pages of this host, such as `http://127.0.0.1:7320`, so that the log can name
    /// the page of a task. It is said once; later calls do nothing.
    pub fn set_pages(&self, address: impl Into<String>) {
        let _ = self.core.pages.set(address.into());
    }

    /// Returns the channel logs, for reading.
    #[must_use]
    pub fn logs(&self) -> Logs {
        Logs::of(self.data.join("logs"))
    }

    /// Returns the log, for records of the host application.
    #[must_use]
    pub fn log(&self) -> &ChannelLog {
        &self.core.log
    }

    /// Starts to put a run together.
    pub fn run(&self) -> RunBuilder {
        RunBuilder::new(Arc::clone(&self.core))
    }

    /// Returns the snapshot of the registry as it is now.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.core.registry.load_full()
    }

    /// Refuses a port of this machine to every request of a webhook from now on, whatever the configuration allows: the
    /// application listens there itself.
    pub fn listens(&self, port: u16) {
        self.core.egress.listens(port);
    }

    /// Returns the webhooks.
    #[must_use]
    pub fn webhooks(&self) -> Webhooks<'_> {
        Webhooks::new(&self.core)
    }

    /// Returns the keys that seal the secrets in the store.
    #[must_use]
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(&self.core)
    }

    /// Returns the deferred tasks.
    #[must_use]
    pub fn tasks(&self) -> Tasks<'_> {
        Tasks::new(&self.core)
    }

    /// Looks into the outboxes now. An application calls it after a commit that wrote into one, so that the event need not
    /// wait for the next look.
    pub fn wake_outbox(&self) {
        if let Some(relay) = &self.relay {
            relay.wake();
        }
    }

    /// Returns the schedules.
    #[must_use]
    pub fn schedules(&self) -> Schedules<'_> {
        Schedules::new(&self.core)
    }

    /// Looks whether the host works: store, disk and workers. It may take two seconds when something does not.
    #[must_use]
    pub fn health(&self) -> Health {
        health::look(&self.core, &self.data)
    }

    /// Returns an event; `None` when there is none, or it was removed with its last task.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn event(&self, id: &store::EventId) -> Result<Option<store::Event>, StoreError> {
        self.core.store.event(id)
    }

    /// Returns numbers about what the host does, for a monitoring system.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let switchboard = switchboard::Switchboard::open("switchboard-data")?;
    /// let metrics = switchboard.metrics()?;
    /// println!("{} attempts in flight, {} tasks ready", metrics.in_flight, metrics.tasks.ready);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn metrics(&self) -> Result<MetricsReport, StoreError> {
        metrics::report(&self.core)
    }

    /// Returns how many attempts have ended in this host in each of the last 60 minutes, the minute that goes on last. Those
    /// before its start have none. Nothing is read from the store.
    #[must_use]
    pub fn attempts_by_minute(&self) -> Vec<MinuteOfAttempts> {
        self.core.metrics.minutes(self.now())
    }

    /// Returns the bulk operations on tasks.
    #[must_use]
    pub fn bulks(&self) -> Bulks<'_> {
        Bulks::new(&self.core)
    }

    /// Says what the plugin folders hold and what became of each file.
    #[must_use]
    pub fn plugins(&self) -> LoadReport {
        let registry = self.registry();
        let suspended = registry.iter().filter_map(|one| one.suspension()).map(|one| Suspension::clone(&one));
        LoadReport {
            plugins: self.plugins.report(),
            collisions: registry.collisions().to_vec(),
            suspended: suspended.collect(),
        }
    }

    /// Calls suspended handlers of a plugin again, all of them or the one of a number and an event name, and returns what
    /// their suspensions were: none when nothing was suspended. Their deferred tasks run.
    ///
    /// # Errors
    ///
    /// When there is no such plugin or handler, or the store fails.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use switchboard::Switchboard;
    ///
    /// let switchboard = Switchboard::open("switchboard-data")?;
    /// for suspension in switchboard.plugins().suspended {
    ///     println!("{suspension}");
    ///     switchboard.resume(&suspension.plugin, Some((suspension.number, &suspension.name)))?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(&self, plugin: &str, handler: Option<(TriggerNumber, &str)>) -> Result<Vec<Suspension>, ResumeError> {
        suspension::resume(&self.core, plugin, handler)
    }

    /// Returns the plugin folder: to install, enable, disable, remove and replace plugins.
    #[must_use]
    pub fn plugin_folder(&self) -> PluginFolder<'_> {
        PluginFolder::new(self)
    }

    /// Brings the plugins in line with the folders now, and says what became of each file.
    pub fn rescan(&self) -> LoadReport {
        self.plugins.rescan(&self.core);
        self.plugins()
    }

    /// Stops the host: takes no more tasks, waits for the running ones as long as `deferred.grace` allows, gives the
    /// others back to the store, and closes it. A second call does nothing.
    pub fn stop(&self) {
        if let Some(watch) = lock(&self.watcher).take() {
            watch.stop();
        }
        if let Some(relay) = &self.relay {
            relay.stop();
        }
        if let Some(deferred) = self.core.deferred.get() {
            deferred.stop();
        }
        self.core.store.close();
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Switchboard {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn built_in(number: TriggerNumber, name: String, handler: Arc<dyn BuiltIn>) -> Arc<Minicomponent> {
    Arc::new(Minicomponent {
        number,
        name,
        tier: Tier::BuiltIn,
        plugin: "switchboard".into(),
        kind: HandlerKind::Sync,
        counts: CallCounts::default(),
        panics: PanicStreak::default(),
        target: Target::BuiltIn(handler),
    })
}

/// Loads the administrator's texts. What cannot be used is reported and keeps nothing else from starting.
fn load_overrides(languages: &Languages, folder: &Path, log: &ChannelLog) {
    let problems: Vec<String> = match languages.load_overrides(folder) {
        Ok(problems) => problems.iter().map(|problem| Chain(problem).to_string()).collect(),
        Err(error) => vec![Chain(&error).to_string()],
    };
    for problem in problems {
        log::warn!(logger: log, target: CHANNEL, problem = problem; "override cannot be used");
    }
}

fn egress_options(config: &Config) -> EgressOptions {
    EgressOptions {
        user_agent: concat!("Switchboard/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..config.egress.options()
    }
}

fn make_folder(path: PathBuf) -> Result<PathBuf, OpenError> {
    match std::fs::create_dir_all(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(OpenError::Folder { path, source }),
    }
}

/// Why a host cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A folder cannot be made.
    #[error("the folder `{}` cannot be made or used: check its owner and rights, or name another with --data", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The configuration cannot be read.
    #[error("the configuration cannot be used")]
    Config {
        /// Why.
        source: ConfigError,
    },
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Store {
        /// Why.
        source: StoreOpenError,
    },
    /// The secrets in the store cannot be opened.
    #[error("the secrets in the store cannot be used")]
    Secrets {
        /// Why.
        source: SealingError,
    },
    /// The store cannot be read.
    #[error("the tasks of the last run cannot be taken up")]
    Recover {
        /// Why.
        source: crate::store::StoreError,
    },
    /// The logs cannot be written.
    #[error("no log can be written to `{}`", path.display())]
    Log {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The default language is none.
    #[error("the setting `languages.default` cannot be used")]
    Language {
        /// Why.
        source: LanguageError,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be set up")]
    Egress {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Threads cannot be started.
    #[error("threads cannot be started: the system's limits may be too low")]
    Threads {
        /// What the operating system said.
        source: std::io::Error,
    },
}
