//! One check that loads the library, in the process that was started for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use switchboard_plugin_api::host::{Module, Payload, RunningPlugin};
use switchboard_plugin_api::{
    AuthMethod, ErrorKind, FieldFormat, FormField, HandlerKind, LanguageFiles, LanguageInit, Manifest, PluginError,
    Trigger, WebhookRegistration,
};

use super::frames::Report;
use super::host::CheckHost;
use super::{Finding, Status, catalogue, payloads};
use crate::plugins;

/// A result that is larger, in bytes, is too much for one call, and is not read.
pub(super) const MAX_RESULT_BYTES: usize = 16 << 20;

/// How long an asynchronous handler may wait before its call is dropped.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Code of the error of such a call.
const NO_ANSWER: &str = "check_no_answer";

/// What a payload such as a host sends is called.
const SAMPLE: &str = "a sample payload";

/// A longer message, in bytes, is no sentence.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// What a process is started for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    /// Id of the check.
    pub check: String,
    /// A private copy of the library.
    pub library: PathBuf,
    /// A second private copy, for the check that loads both.
    pub second: PathBuf,
    /// Folder of language files beside the plugin, when it has one.
    pub languages: Option<PathBuf>,
    /// File to which is written what is found.
    pub report: PathBuf,
    /// Settings of the plugin and of its webhooks; what is not here is made up for a webhook.
    pub settings: BTreeMap<String, String>,
    /// Where random payloads start.
    pub seed: u64,
    /// After how long the process is killed.
    pub timeout: Duration,
    /// Causes of findings that are known from other checks, and are not reported again.
    pub known: Vec<String>,
    /// How often the process for this check was killed because it asked for it.
    pub kills: u32,
}

impl Job {
    /// Returns a job without languages and settings, for a process that is killed after ten seconds.
    #[must_use]
    pub fn new(check: &str, [library, second]: [PathBuf; 2], report: PathBuf) -> Self {
        Self {
            check: check.to_owned(),
            library,
            second,
            languages: None,
            report,
            settings: BTreeMap::new(),
            seed: 0,
            timeout: Duration::from_secs(10),
            known: Vec::new(),
            kills: 0,
        }
    }
}

/// Does one check that loads the library, and writes what it finds to the job's report.
///
/// The library is foreign code: it may end, block or change this process. Call it in a process that does nothing else.
///
/// # Errors
///
/// When the report cannot be written, there is no such check, or the library is not one that a host loads.
pub fn perform(job: &Job) -> io::Result<()> {
    let refused = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let work = catalogue::work(&job.check).ok_or_else(|| refused(format!("there is no check `{}`", job.check)))?;
    let bytes = std::fs::read(&job.library)?;
    let manifest = plugins::judge(&bytes).map_err(|refusal| refused(refusal.to_string()))?;
    drop(bytes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let handlers = manifest.triggers.iter().zip(0..).map(|(trigger, index)| Handler {
        index,
        number: trigger.number,
        name: trigger.name.clone(),
        kind: trigger.kind,
    });
    let handlers = handlers.collect();
    let causes = job.known.iter().cloned().collect();
    // With the first thread the C library installs signal handlers of its own, which are no plugin's.
    let _ = std::thread::spawn(|| {}).join();
    let mut session = Session { job, report: Report::open(&job.report)?, manifest, handlers, runtime, causes };
    work(&mut session);
    session.report.goodbye();
    Ok(())
}

/// A handler as the manifest has it.
#[derive(Clone, Debug)]
pub(super) struct Handler {
    pub(super) index: u32,
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) kind: HandlerKind,
}

impl std::fmt::Display for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:05} `{}`", self.number, self.name)
    }
}

/// One check in this process.
pub(super) struct Session<'a> {
    pub(super) job: &'a Job,
    pub(super) report: Report,
    pub(super) manifest: Manifest,
    pub(super) handlers: Vec<Handler>,
    runtime: tokio::runtime::Runtime,
    /// Causes that are not reported again.
    causes: BTreeSet<String>,
}

/// A plugin that was started.
pub(super) struct Running {
    pub(super) plugin: Arc<RunningPlugin>,
    pub(super) host: Arc<CheckHost>,
    /// Settings for a delivery, by the name of its auth method.
    settings: BTreeMap<String, BTreeMap<String, String>>,
}

impl Session<'_> {
    pub(super) fn fail(&mut self, found: impl Into<String>, advice: impl Into<String>) {
        self.report.finding(Finding::new(Status::Fail, found, advice));
    }

    pub(super) fn warn(&mut self, found: impl Into<String>, advice: impl Into<String>) {
        self.report.finding(Finding::new(Status::Warn, found, advice));
    }

    /// Opens the library; what hinders it is a finding.
    pub(super) fn open(&mut self) -> Option<Module> {
        self.report.at("opening the library");
        match plugins::open_module(&self.job.library, &self.manifest) {
            Ok(module) => Some(module),
            Err(refusal) => {
                self.fail(
                    refusal.to_string(),
                    "link the plugin against what the host's system has, and build it again",
                );
                None
            }
        }
    }

    pub(super) fn host(&self) -> Arc<CheckHost> {
        Arc::new(CheckHost::new(&self.manifest.id, self.job.settings.clone()))
    }

    /// Starts a plugin of an open library under `host`.
    pub(super) fn start_under(&mut self, module: Module, host: &Arc<CheckHost>) -> Option<Running> {
        self.report.at("starting the plugin (`Plugin::new`)");
        module.set_log_level(log::LevelFilter::Trace);
        match module.start(Arc::<CheckHost>::clone(host)) {
            Ok(plugin) => {
                let plugin = Arc::new(plugin);
                host.let_it_fire(&plugin, self.handlers.clone());
                Some(Running { plugin, host: Arc::clone(host), settings: BTreeMap::new() })
            }
            Err(error) => {
                self.fail(
                    error.to_string(),
                    "let `Plugin::new` succeed; settings that it needs are given with `--set KEY=VALUE`",
                );
                None
            }
        }
    }

    /// Opens the library and starts the plugin.
    pub(super) fn start(&mut self) -> Option<Running> {
        let module = self.open()?;
        let host = self.host();
        self.start_under(module, &host)
    }

    /// Opens, starts and takes the texts and forms, as a host does before it calls anything else.
    pub(super) fn activate(&mut self) -> Option<Running> {
        let mut running = self.start()?;
        for handler in self.handlers.clone() {
            if handler.number == LanguageInit::NUMBER.get() {
                // An error is for the check of sample payloads to find.
                if let Ok(files) = self.call(&running, &handler, &payloads::sample(handler.number))
                    && files.len() <= MAX_RESULT_BYTES
                {
                    for file in serde_json::from_slice::<LanguageFiles>(&files).unwrap_or_default().files {
                        let _ = running.host.languages().add(&self.manifest.id, &file.language, &file.fluent);
                    }
                }
            }
        }
        for handler in self.handlers.clone() {
            if handler.number == WebhookRegistration::NUMBER.get()
                && let Ok(form) = self.call(&running, &handler, &payloads::sample(handler.number))
                && form.len() <= MAX_RESULT_BYTES
                && let Ok(form) = serde_json::from_slice::<AuthMethod>(&form)
            {
                let settings = form.fields.iter().map(|field| (field.key.clone(), setting_for(field))).collect();
                running.settings.insert(handler.name.clone(), settings);
            }
        }
        Some(running)
    }

    /// Calls a handler, and notes before that it does.
    pub(super) fn call(&mut self, running: &Running, handler: &Handler, input: &[u8]) -> Result<Payload, PluginError> {
        self.call_with(running, handler, input, SAMPLE)
    }

    /// Calls a handler with a payload that has a name.
    pub(super) fn call_with(
        &mut self,
        running: &Running,
        handler: &Handler,
        input: &[u8],
        what: &str,
    ) -> Result<Payload, PluginError> {
        self.report.at(format!("calling {handler} with {what}"));
        running.prepare(handler);
        let result = running.call(&self.runtime, handler, input);
        if matches!(&result, Err(error) if error.code() == Some(NO_ANSWER))
            && self.causes.insert(format!("{handler} waits"))
        {
            self.report.note(format!(
                "{handler} was dropped in the middle of its work (with {what}), as a host does at its deadline"
            ));
        }
        self.judge(handler, what, &result);
        result
    }

    /// Calls a handler and notes nothing: the caller has said what it does.
    pub(super) fn call_quietly(
        &self,
        running: &Running,
        handler: &Handler,
        input: &[u8],
    ) -> Result<Payload, PluginError> {
        running.call(&self.runtime, handler, input)
    }

    /// A panic is wrong in every check.
    pub(super) fn judge(&mut self, handler: &Handler, what: &str, result: &Result<Payload, PluginError>) {
        let Err(error) = result else { return };
        self.judge_message(handler, what, &error.to_string());
        if error.kind() == ErrorKind::Panic {
            let cause = format!("{handler} panicked at {}", error.place().unwrap_or("an unknown place"));
            if self.causes.insert(cause.clone()) {
                let found = format!("{handler} {error} (with {what})");
                let advice = "return a `PluginError` instead: a panic leaves half-done state behind";
                self.report.finding(Finding::new(Status::Fail, found, advice).because_of(cause));
            }
        }
    }

    /// What an error says is shown to people, in a list and in a log.
    ///
    /// A message that repeats what stood in a hostile payload is none of the plugin's own.
    fn judge_message(&mut self, handler: &Handler, what: &str, message: &str) {
        let (kind, found) = if message.len() > MAX_MESSAGE_BYTES {
            ("length", format!("fails with a message of {} bytes", message.len()))
        } else if what == SAMPLE && message.chars().any(|one| one.is_control() && one != '\n') {
            ("control", "fails with control characters in its message".to_owned())
        } else {
            return;
        };
        let cause = format!("{handler} message {kind}");
        if self.causes.insert(cause.clone()) {
            let advice = "say in one sentence what is wrong; a host cuts and escapes the rest";
            self.report.finding(Finding::new(Status::Warn, format!("{handler} {found}"), advice).because_of(cause));
        }
    }

    /// Until when a check that repeats something goes on: half of its time.
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.job.timeout / 2
    }
}

impl Running {
    /// Sets the settings that a delivery by this handler has.
    pub(super) fn prepare(&self, handler: &Handler) {
        self.host.set_webhook(self.settings.get(&handler.name).cloned().unwrap_or_default());
    }

    pub(super) fn call(
        &self,
        runtime: &tokio::runtime::Runtime,
        handler: &Handler,
        input: &[u8],
    ) -> Result<Payload, PluginError> {
        match handler.kind {
            HandlerKind::Async => {
                let host = Arc::<CheckHost>::clone(&self.host);
                let call = self.plugin.call_async(handler.index, host, input.to_vec());
                // A host drops a call at its deadline, so that one that waits for ever does no harm.
                let late = |_| Err(PluginError::retryable("no answer in time").with_code(NO_ANSWER));
                runtime.block_on(async { tokio::time::timeout(LONGEST_WAIT, call).await.unwrap_or_else(late) })
            }
            _ => self.plugin.call(handler.index, &*self.host, input),
        }
    }
}

/// Returns a value that the form of an auth method takes.
fn setting_for(field: &FormField) -> String {
    match field.format {
        _ if !field.default.is_empty() => field.default.clone(),
        FieldFormat::Boolean | FieldFormat::Number => "1".into(),
        FieldFormat::Select => field.options.first().map(|option| option.value.clone()).unwrap_or_default(),
        FieldFormat::Url => "https://receiver.example/".into(),
        _ => "sample".into(),
    }
}
