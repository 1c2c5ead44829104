//! What happens between opening a plugin and calling it: its log, its texts, its forms.

mod allowance;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use allowance::{Allowance, Verdict};

use log::kv::{Key, Source, Value, VisitSource};
use switchboard_plugin_api::host::{PluginHost, ServiceAnswer};
use switchboard_plugin_api::protocol::{self, KeyHead};
use switchboard_plugin_api::{
    AuthMethod, LanguageFiles, LanguageInit, LanguageRequest, PluginError, RegistrationRequest, Trigger,
    WebhookRegistration,
};

use crate::channel_log::ChannelLog;
use crate::core::Core;
use crate::deadline;
use crate::dispatcher::{self, CHANNEL};
use crate::plugins::{Activation, Candidate, Folder, Refusal};
use crate::registry::Minicomponent;
use crate::run::{CallOptions, RunState, Subject};
use crate::suspension;
use crate::webhooks::check_form;

/// Activates plugins in one host.
pub(crate) struct HostActivation<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) folders: &'a [Folder],
}

impl HostActivation<'_> {
    fn call<T: Trigger>(&self, minicomponent: &Arc<Minicomponent>, input: &T::Input) -> Result<T::Output, Refusal> {
        let refused = |error: &dyn std::fmt::Display| Refusal::Activation {
            plugin: minicomponent.plugin.to_string(),
            reason: format!("{} `{}`: {error}", T::NUMBER, minicomponent.name),
        };
        let subject = Subject::host(self.core);
        let run = Arc::new(RunState::new(Arc::clone(self.core), subject));
        let input = dispatcher::write_json(T::NUMBER, input).map_err(|error| refused(&error))?;
        let timeout = self.core.config.loading.timeout;
        let options = CallOptions { timeout: Some(timeout), ..CallOptions::default() };
        let called = Arc::clone(minicomponent);
        // In a thread of its own: a handler that never returns must not keep other plugins from being loaded.
        let result = deadline::within("switchboard-load", timeout, move || run.call(&called, &input, &options));
        let output = result.map_err(|error| refused(&error))?.map_err(|error| refused(&error))?;
        dispatcher::read_json(T::NUMBER, &minicomponent.name, &output).map_err(|error: PluginError| refused(&error))
    }

    fn add_texts(&self, plugin: &str, language: &str, fluent: &str) {
        let problems = self.core.languages.add(plugin, language, fluent);
        let problems = match problems {
            Ok(problems) => problems.iter().map(ToString::to_string).collect(),
            Err(error) => vec![crate::error::Chain(&error).to_string()],
        };
        for problem in problems {
            log::warn!(logger: self.core.log, target: CHANNEL, plugin = plugin, language = language, problem = problem;
                "text cannot be used");
        }
    }

    fn add_texts_beside(&self, plugin: &str, folder: &Path) {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "ftl")) {
            let Some(language) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            match crate::language::read_file(&path) {
                Ok(fluent) => self.add_texts(plugin, language, &fluent),
                Err(error) => {
                    log::warn!(logger: self.core.log, target: CHANNEL, plugin = plugin,
                        file = path.display().to_string(), error = error.to_string(); "language file cannot be read");
                }
            }
        }
    }
}

impl Activation for HostActivation<'_> {
    fn host_for(&self, plugin: &str) -> Arc<dyn PluginHost> {
        Arc::new(Link {
            core: Arc::downgrade(self.core),
            log: self.core.log.clone(),
            plugin: plugin.into(),
            allowance: Allowance::new(Instant::now()),
        })
    }

    fn activate(&self, minicomponents: &[Arc<Minicomponent>], file: &Candidate) -> Result<(), Refusal> {
        let of = |number| minicomponents.iter().filter(move |one| one.number == number);
        let Some(plugin) = minicomponents.first().map(|one| Arc::clone(&one.plugin)) else { return Ok(()) };
        let mut request = LanguageRequest::default();
        request.default_language.clone_from(&self.core.config.languages.default);
        let mut texts = Vec::new();
        for minicomponent in of(LanguageInit::NUMBER) {
            let files: LanguageFiles = self.call::<LanguageInit>(minicomponent, &request)?;
            texts.extend(files.files);
        }
        // Only now, when nothing of the plugin's own can fail any more, do the new texts replace those of an older
        // generation; the forms need them.
        self.core.languages.remove(&plugin);
        texts.iter().for_each(|file| self.add_texts(&plugin, &file.language, &file.fluent));
        let folders: Vec<_> = self.folders.iter().map(|folder| folder.path.clone()).collect();
        if let Some(folder) = file.languages(&folders) {
            self.add_texts_beside(&plugin, &folder);
        }
        for minicomponent in of(WebhookRegistration::NUMBER) {
            let form: AuthMethod = self.call::<WebhookRegistration>(minicomponent, &RegistrationRequest::default())?;
            check_form(&minicomponent.name, &form)
                .map_err(|reason| Refusal::Activation { plugin: plugin.to_string(), reason })?;
        }
        suspension::recall(self.core, minicomponents);
        Ok(())
    }

    fn deactivate(&self, plugin: &str) {
        self.core.languages.remove(plugin);
    }
}

/// The host, for the life of one plugin.
struct Link {
    /// Weak: a library is never unloaded, and its link would keep the whole host.
    core: std::sync::Weak<Core>,
    log: ChannelLog,
    plugin: String,
    allowance: Allowance,
}

impl PluginHost for Link {
    fn log(&self, level: log::Level, channel: &str, message: &str, fields: &[(String, String)]) {
        if level > self.log.level() {
            return;
        }
        match self.allowance.take(Instant::now()) {
            Verdict::Write => {}
            Verdict::WriteAfter { dropped } => {
                log::warn!(logger: self.log, target: CHANNEL, plugin = self.plugin, dropped = dropped;
                    "the plugin logs again");
            }
            Verdict::DropFirst => {
                log::warn!(logger: self.log, target: CHANNEL, plugin = self.plugin;
                    "the plugin logs too much, its records are dropped for a while");
                return;
            }
            Verdict::Drop => return,
        }
        let fields = Fields(fields, &self.plugin);
        log::Log::log(
            &self.log,
            &log::Record::builder()
                .level(level)
                .target(channel)
                .args(format_args!("{message}"))
                .key_values(&fields)
                .build(),
        );
    }

    fn log_level(&self) -> log::LevelFilter {
        self.log.level()
    }

    fn service(&self, name: &str, head: &[u8], _body: &[u8]) -> ServiceAnswer {
        if name != protocol::SETTING {
            return Err(PluginError::permanent(format!("this host has no service `{name}` outside calls")));
        }
        let head: KeyHead<'_> = serde_json::from_slice(head)?;
        let value = self.core.upgrade().and_then(|core| core.live.plugin_setting(&self.plugin, &head.key));
        Ok(match value {
            Some(value) => (b"true".to_vec(), value.into_bytes()),
            None => (b"false".to_vec(), Vec::new()),
        })
    }
}

/// The fields of a plugin's record, and the plugin that wrote it.
struct Fields<'a>(&'a [(String, String)], &'a str);

impl Source for Fields<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), log::kv::Error> {
        for (key, value) in self.0 {
            visitor.visit_pair(Key::from_str(key), Value::from(value.as_str()))?;
        }
        visitor.visit_pair(Key::from_str("plugin"), Value::from(self.1))
    }
}
