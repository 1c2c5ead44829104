//! Commands about the configuration. The file is changed by the host that runs on the folder, which may be another user's,
//! and by this process where none runs.

use std::path::Path;

use anyhow::Result;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard::Switchboard;
use switchboard::config::{Config, ConfigError, ConfigValue, Edit, Origin};

use super::{Command, Reply, failed};
use crate::exit::{FAILED, USAGE};
use crate::output::table;
use crate::{control, people};

#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConfigCommand {
    /// Check switchboard.toml and the environment: exit code 2 when they cannot be used
    Check,
    /// Show every setting with its value; what may be a password is masked
    Show {
        /// Also where each value comes from: the default, a line of the file, or a variable of the environment
        #[arg(long)]
        origin: bool,
        /// Only settings whose name begins with this, such as log or log.mode
        name: Option<String>,
    },
    /// Change a setting in switchboard.toml and leave the rest of the file as it is
    Set {
        /// The setting, such as log.mode
        key: String,
        /// Its value, such as development
        value: String,
    },
    /// Take a setting out of switchboard.toml, so that its default holds
    Unset {
        /// The setting, such as log.mode
        key: String,
    },
}

/// Does a command, through the host when one runs and the command changes something.
pub(crate) fn run(data: &Path, command: ConfigCommand) -> Result<Reply> {
    match command {
        ConfigCommand::Check => {
            Config::load_with(data, control::variables()).map_err(|error| failed(USAGE, &error))?;
            let file = data.join(switchboard::config::FILE_NAME);
            let (there, text) = match file.exists() {
                true => (true, format!("{} can be used", file.display())),
                false => (false, format!("there is no {}: every setting has its default", file.display())),
            };
            Reply::new(json!({ "file": file, "exists": there, "well": true }), text)
        }
        ConfigCommand::Show { origin, name } => {
            let values = Config::origins(data, control::variables()).map_err(|error| failed(USAGE, &error))?;
            let wanted = |value: &&ConfigValue| {
                name.as_deref().is_none_or(|name| {
                    value.key == name || value.key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
                })
            };
            let values: Vec<&ConfigValue> = values.iter().filter(wanted).collect();
            let text = shown(&values, origin);
            Reply::new(values, text)
        }
        change => match control::door(data, Command::Config(change.clone()))? {
            Some(reply) => Ok(reply),
            None => {
                change_file(data, &change)?;
                let reply = changed(&change, &[])?;
                if let Some(named) = Command::Config(change).change() {
                    people::audit_command(data, &people::who(), &named)?;
                }
                Ok(reply)
            }
        },
    }
}

/// Does a change in the host that runs.
pub(super) fn execute(host: &Switchboard, command: &ConfigCommand) -> Result<Reply> {
    change_file(host.data(), command)?;
    let later = host.reload_config().map_err(|error| failed(USAGE, &error))?;
    changed(command, &later)
}

fn change_file(data: &Path, command: &ConfigCommand) -> Result<()> {
    let coded = |error: ConfigError| {
        let code = if matches!(error, ConfigError::Write { .. }) { FAILED } else { USAGE };
        failed(code, &error)
    };
    let edit = Edit::of(data).map_err(coded)?;
    let edit = match command {
        ConfigCommand::Set { key, value } => edit.set(key, value).map_err(coded)?,
        ConfigCommand::Unset { key } => edit.unset(key),
        ConfigCommand::Check | ConfigCommand::Show { .. } => return Ok(()),
    };
    edit.save().map(drop).map_err(coded)
}

fn changed(command: &ConfigCommand, later: &[String]) -> Result<Reply> {
    let (key, value, mut text) = match command {
        ConfigCommand::Set { key, value } => (key, Value::from(value.as_str()), format!("{key} is set")),
        ConfigCommand::Unset { key } => (key, Value::Null, format!("{key} has its default")),
        ConfigCommand::Check | ConfigCommand::Show { .. } => return Reply::new(Value::Null, ""),
    };
    let restart = later.iter().any(|section| key.split('.').next() == Some(section.as_str()));
    if restart {
        text += "; it holds after a restart of the host";
    }
    Reply::new(json!({ "key": key, "value": value, "restart": restart }), text)
}

fn shown(values: &[&ConfigValue], origin: bool) -> String {
    let rows = values.iter().map(|one| {
        let value = if one.value.is_null() { "-".to_owned() } else { one.value.to_string() };
        let mut row = vec![one.key.clone(), value];
        if origin {
            row.push(match &one.origin {
                Origin::File { line } => format!("switchboard.toml line {line}"),
                Origin::Environment { variable } => variable.clone(),
                _ => "default".to_owned(),
            });
        }
        row
    });
    let header: &[&str] = if origin { &["SETTING", "VALUE", "FROM"] } else { &["SETTING", "VALUE"] };
    table(header, rows, "there is no such setting")
}
