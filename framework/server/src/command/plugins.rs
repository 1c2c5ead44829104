//! Commands about plugins.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard::channel_log::printable;
use switchboard::config::Config;
use switchboard::error::Chain;
use switchboard::{
    DetailSetting, PluginDetail, PluginFolderError, PluginPackage, PluginReport, PluginSettingError, PluginState,
    ResumeError, Switchboard,
};

use super::change::Named;
use super::tasks::{trigger_number, usage};
use super::{Reply, failed, show};
use crate::cli::{pairs, text_argument};
use crate::exit::{CommandFailed, FAILED, MISSING, USAGE};
use crate::{check, control};

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PluginCommand {
    /// List the files in the plugin folders and what became of each
    List,
    /// Show a plugin in full: what it answers, needs, reads and says
    Show {
        /// Id of the plugin
        id: String,
        /// Language of the labels, such as de-DE
        #[arg(long)]
        lang: Option<String>,
    },
    /// Add a plugin to the folder; its library is tried out in a process of its own before
    Install(Box<InstallArgs>),
    /// Replace a plugin by another version; the old one goes on when the new one cannot be used
    Upgrade(Box<UpgradeArgs>),
    /// Return to the version of a plugin before the last upgrade
    Rollback {
        /// Id of the plugin
        id: String,
    },
    /// Let a plugin run that was disabled
    Enable {
        /// Id of the plugin
        id: String,
    },
    /// Keep a plugin from running, also when it is what keeps the host from starting; its tasks wait
    Disable {
        /// Id of the plugin
        id: String,
        /// Also when other plugins need it, which wait then
        #[arg(long)]
        force: bool,
    },
    /// Remove a plugin from the folder, with its version before; its tasks wait for it to come back
    Remove {
        /// Id of the plugin
        id: String,
        /// Also when other plugins need it, which wait then
        #[arg(long)]
        force: bool,
    },
    /// Change settings of a plugin; it reads them at its next call
    Set(Box<SetArgs>),
    /// Call handlers again that were suspended because they panicked on every call
    Resume {
        /// Id of the plugin
        id: String,
        /// Trigger number of the one handler to resume; all of the plugin's without it
        #[arg(requires = "name")]
        number: Option<String>,
        /// Event name of that handler
        name: Option<String>,
    },
    /// Bring the plugins in line with the folders now, and list them; a running host does so by itself within two seconds
    Rescan,
}

#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct InstallArgs {
    /// The library, such as target/release/libwebhook_api_key.so, or a folder with it and `languages/*.ftl`
    file: PathBuf,
    /// Setting that the plugin finds when it starts; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Name of the file that was given, once its content is on its way to the host
    #[arg(skip)]
    name: Option<String>,
}

#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct UpgradeArgs {
    /// Id of the plugin
    id: String,
    /// The library of the other version, or a folder with it and `languages/*.ftl`
    file: PathBuf,
    /// Take an older version as well
    #[arg(long)]
    downgrade: bool,
    /// Also when other plugins need a version that this one is not, which wait then
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct SetArgs {
    /// Id of the plugin
    id: String,
    /// What to set; @FILE and - in place of the value read a file or standard input, which keeps a password out of the
    /// shell's history
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Take a setting away; may be repeated
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
}

impl PluginCommand {
    /// Whether the command is there to put right a plugin that ends whatever process opens it.
    pub(crate) fn is_way_in(&self) -> bool {
        matches!(self, Self::Disable { .. } | Self::Remove { .. } | Self::Set(_))
    }

    /// Returns what the command changes, for the audit log.
    pub(super) fn change(&self) -> Option<Named> {
        let plugin = |id: &str| format!("plugin {id}");
        Some(match self {
            Self::List | Self::Show { .. } => return None,
            Self::Rescan => ("plugin.rescan", "plugin folders".to_owned()),
            Self::Install(install) => {
                let file = install.name.clone().unwrap_or_else(|| install.file.display().to_string());
                ("plugin.install", format!("file {file}"))
            }
            Self::Upgrade(upgrade) => ("plugin.upgrade", plugin(&upgrade.id)),
            Self::Rollback { id } => ("plugin.rollback", plugin(id)),
            Self::Enable { id } => ("plugin.enable", plugin(id)),
            Self::Disable { id, .. } => ("plugin.disable", plugin(id)),
            Self::Remove { id, .. } => ("plugin.remove", plugin(id)),
            Self::Set(set) => ("plugin.set", plugin(&set.id)),
            Self::Resume { id, .. } => ("plugin.resume", plugin(id)),
        })
    }

    /// Reads and tries out the files that the command names, where it is given and not in the host: that may run for another
    /// user, who cannot read them.
    pub(crate) fn prepared(mut self, data: &Path) -> Result<Self> {
        match &mut self {
            Self::Install(install) => {
                let name = install.file.file_name().map(|name| name.to_string_lossy().into_owned());
                install.file = stage(&install.file, data, &install.settings)?;
                install.name = name;
            }
            Self::Upgrade(upgrade) => upgrade.file = stage(&upgrade.file, data, &[])?,
            Self::Set(set) => {
                for setting in &mut set.settings {
                    let Some((key, value)) = setting.split_once('=') else { continue };
                    let text = text_argument(key, value.to_owned())?;
                    // A line that was typed or read from a file ends; the value does not.
                    let text = if text == value { text.as_str() } else { text.trim_end_matches(['\r', '\n']) };
                    *setting = format!("{key}={text}");
                }
                if set.settings.is_empty() && set.unset.is_empty() {
                    return Err(usage("nothing to set: write KEY=VALUE, or --unset KEY".into()));
                }
            }
            _ => {}
        }
        Ok(self)
    }
}

/// Judges a plugin, tries it out in a process of its own, and leaves a copy of exactly those bytes for the host.
fn stage(path: &Path, data: &Path, settings: &[String]) -> Result<PathBuf> {
    if fs::symlink_metadata(path).is_err() {
        return Err(usage(format!("there is no file `{}`: name a library, or a folder with one", path.display())));
    }
    let refused = |why: String| CommandFailed { code: USAGE, message: format!("`{}`: {why}", path.display()) };
    let package = PluginPackage::read(path).map_err(|refusal| refused(refusal.to_string()))?;
    let config = Config::load_with(data, control::variables()).map_err(|error| failed(USAGE, &error))?;
    let mut given = config.plugins.settings.get(package.id()).cloned().unwrap_or_default();
    given.extend(pairs("--set KEY=VALUE", settings)?);
    let name = format!("{:016x}", getrandom::u64().map_err(|error| usage(format!("no name can be chosen: {error}")))?);
    let staged = data.join("cache").join("incoming").join(name);
    let languages = package.write(&staged).with_context(|| format!("cannot write `{}`", staged.display()))?;
    if let Some(deadly) = check::trial(package.library(), given, languages)? {
        // What is not installed is in nobody's way, and goes with the cache.
        let _ = fs::remove_dir_all(&staged);
        return Err(refused(format!("it would end or hang the host ({deadly})")).into());
    }
    std::path::absolute(&staged).with_context(|| format!("cannot name `{}`", staged.display()))
}

/// Takes what [`stage`] has left.
fn unstage(host: &Switchboard, staged: &Path) -> Result<PluginPackage> {
    let folder = host.data().join("cache").join("incoming");
    if staged.parent().and_then(|parent| parent.canonicalize().ok()) != folder.canonicalize().ok() {
        return Err(usage(format!("`{}` is not where plugins come in", staged.display())));
    }
    let package = PluginPackage::read(staged);
    // A copy that stays is in nobody's way and goes with the cache.
    let _ = fs::remove_dir_all(staged);
    package.map_err(|refusal| usage(refusal.to_string()))
}

pub(super) fn execute(host: &Switchboard, command: PluginCommand) -> Result<Reply> {
    let folder = host.plugin_folder();
    match command {
        PluginCommand::List | PluginCommand::Rescan => {
            let report = if matches!(command, PluginCommand::List) { host.plugins() } else { host.rescan() };
            Reply::new(show::plugins_json(&report), show::plugins(&report, host.data()))
        }
        PluginCommand::Show { id, lang } => {
            let language = lang.unwrap_or_else(|| host.config().languages.default.clone());
            let detail = folder.detail(&id, &language).map_err(|error| folder_error(&error))?;
            let text = shown(&detail);
            Reply::new(detail, text)
        }
        PluginCommand::Install(install) => {
            let package = unstage(host, &install.file)?;
            let settings = pairs("--set KEY=VALUE", &install.settings)?;
            let settings: Vec<_> = settings.into_iter().map(|(key, value)| (key, Some(value))).collect();
            let report = folder.install(&package, &settings).map_err(|error| setting_error(&error))?;
            let text = format!("installed as {}\n{}", report.file.display(), state(&report));
            Reply::new(report, text)
        }
        PluginCommand::Upgrade(upgrade) => {
            let package = unstage(host, &upgrade.file)?;
            let upgraded = folder.upgrade(&upgrade.id, &package, upgrade.downgrade, upgrade.force);
            let report = upgraded.map_err(|error| folder_error(&error))?;
            let text = format!("{}\n`switchboard plugin rollback {}` undoes it", state(&report), upgrade.id);
            Reply::new(report, text)
        }
        PluginCommand::Rollback { id } => {
            let report = folder.rollback(&id).map_err(|error| folder_error(&error))?;
            let text = state(&report);
            Reply::new(report, text)
        }
        PluginCommand::Enable { id } => states(folder.enable(&id)),
        PluginCommand::Disable { id, force } => states(folder.disable(&id, force)),
        PluginCommand::Remove { id, force } => {
            let file = folder.remove(&id, force).map_err(|error| folder_error(&error))?;
            let text = format!("plugin {id} removed: {}", file.display());
            Reply::new(json!({ "id": id, "file": file.display().to_string(), "removed": true }), text)
        }
        PluginCommand::Set(set) => {
            let settings = pairs("KEY=VALUE", &set.settings)?;
            let changes = settings.into_iter().map(|(key, value)| (key, Some(value)));
            let changes: Vec<_> = changes.chain(set.unset.into_iter().map(|key| (key, None))).collect();
            folder.set(&set.id, &changes).map_err(|error| setting_error(&error))?;
            let language = &host.config().languages.default;
            let detail = folder.detail(&set.id, language).map_err(|error| folder_error(&error))?;
            let text = settings_text(&detail.settings);
            Reply::new(json!({ "id": set.id, "settings": detail.settings }), text)
        }
        PluginCommand::Resume { id, number, name } => {
            let handler = number.as_deref().map(trigger_number).transpose()?.zip(name);
            let handler = handler.as_ref().map(|(number, name)| (*number, name.as_str()));
            let resumed = host.resume(&id, handler).map_err(|error| {
                failed(if matches!(error, ResumeError::Store { .. }) { FAILED } else { MISSING }, &error)
            })?;
            let rows: Vec<Value> = resumed.iter().map(show::suspension_json).collect();
            Reply::new(json!({ "plugin": id, "resumed": rows }), show::resumed(&id, &resumed))
        }
    }
}

fn states(changed: Result<Vec<PluginReport>, PluginFolderError>) -> Result<Reply> {
    let reports = changed.map_err(|error| folder_error(&error))?;
    let text = reports.iter().map(state).collect::<Vec<_>>().join("\n");
    Reply::new(reports, text)
}

/// One sentence about a plugin.
fn state(report: &PluginReport) -> String {
    let dash = || "-".to_owned();
    let (id, version) = (report.id.clone().unwrap_or_else(dash), report.version.clone().unwrap_or_else(dash));
    match (&report.reason, report.state) {
        (None, state) => format!("plugin {id} {version} is {state}"),
        (Some(reason), PluginState::Active) => {
            format!("plugin {id} {version} goes on, its new file is refused: {reason}")
        }
        (Some(reason), state) => format!("plugin {id} {version} is {state}: {reason}"),
    }
}

fn shown(detail: &PluginDetail) -> String {
    let mut lines: Vec<String> = detail
        .files
        .iter()
        .map(|report| {
            let wanted = if report.enabled { "enabled" } else { "disabled" };
            format!("{}\n  file: {} ({})\n  wanted: {wanted}", state(report), report.file.display(), report.tier)
        })
        .collect();
    lines.push(format!("plugin-api: {} (needs {})", detail.api, detail.needs_api));
    lines.push(format!("built: {}, {}", printable(&detail.rustc), printable(&detail.target)));
    let list = |items: &[String]| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
    lines.push(format!("capabilities: {}", list(&detail.capabilities)));
    for needed in &detail.depends {
        let found = match (&needed.active, needed.met) {
            (Some(version), true) => format!("{version} is active"),
            (Some(version), false) => format!("{version} is active and will not do"),
            (None, _) => "it is not active".to_owned(),
        };
        lines.push(format!("needs: {} {}, {found}", needed.id, needed.version));
    }
    lines.push(format!("needed by: {}", list(&detail.needed_by)));
    lines.push(format!("version before is kept: {}", if detail.previous { "yes" } else { "no" }));
    lines.push(format!("languages: {}", list(&detail.languages)));
    for one in &detail.minicomponents {
        lines.push(format!("answers: {} {} ({})", one.number, one.name, one.kind.as_str()));
    }
    lines.push(settings_text(&detail.settings));
    lines.join("\n")
}

fn settings_text(settings: &[DetailSetting]) -> String {
    if settings.is_empty() {
        return "settings: it reads none".to_owned();
    }
    let line = |setting: &DetailSetting| {
        let value = match (&setting.value, setting.set) {
            (Some(value), _) => printable(value).into_owned(),
            (None, true) => "(set, and never shown)".to_owned(),
            (None, false) if setting.default.is_empty() => "(not set)".to_owned(),
            (None, false) => format!("(not set: {})", printable(&setting.default)),
        };
        let title =
            if setting.title == setting.key { String::new() } else { format!(", {}", printable(&setting.title)) };
        let required = if setting.required { ", required" } else { "" };
        format!("setting: {} = {value}  [{}{required}{title}]", setting.key, setting.format.as_str())
    };
    settings.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn folder_error(error: &PluginFolderError) -> anyhow::Error {
    let code = match error {
        PluginFolderError::Missing { .. } | PluginFolderError::NoPrevious { .. } => MISSING,
        PluginFolderError::File { .. } | PluginFolderError::NotActive { .. } => FAILED,
        _ => USAGE,
    };
    failed(code, error)
}

fn setting_error(error: &PluginSettingError) -> anyhow::Error {
    match error {
        PluginSettingError::Plugin(error) => folder_error(error),
        PluginSettingError::Config { .. } => CommandFailed { code: FAILED, message: Chain(error).to_string() }.into(),
        _ => failed(USAGE, error),
    }
}
