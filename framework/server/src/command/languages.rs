//! Commands about texts: what a plugin says, and what the administrator says in its place.

use anyhow::Result;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;
use switchboard::Switchboard;
use switchboard::channel_log::printable;
use switchboard::language::SetTextError;

use super::{Reply, failed};
use crate::exit::{FAILED, USAGE};
use crate::output::table;

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LanguageCommand {
    /// List the plugins with their languages, and how many texts each language lacks
    List,
    /// Show the texts of a plugin in a language, with yours beside them
    Show {
        /// Id of the plugin
        plugin: String,
        /// The language, such as de-DE; the default one without it
        language: Option<String>,
        /// Only texts that you have replaced
        #[arg(long)]
        overridden: bool,
    },
    /// Put a text of yours in the place of a plugin's, or take it away again
    Override {
        /// Id of the plugin
        plugin: String,
        /// The language, such as de-DE
        language: String,
        /// Key of the text
        key: String,
        /// Your text, as Fluent writes it: Hello { $name }
        #[arg(required_unless_present = "remove")]
        text: Option<String>,
        /// Take your text away, so that the plugin's own holds
        #[arg(long, conflicts_with = "text")]
        remove: bool,
    },
}

pub(super) fn execute(host: &Switchboard, command: LanguageCommand) -> Result<Reply> {
    let languages = host.languages();
    match command {
        LanguageCommand::List => {
            let mut rows = Vec::new();
            for plugin in languages.plugins() {
                let missing = languages.missing(&plugin);
                for language in languages.languages(&plugin) {
                    let entries = languages.entries(&plugin, &language).map_err(|error| failed(USAGE, &error))?;
                    let overridden = entries.iter().filter(|entry| entry.override_text.is_some()).count();
                    let lacks = missing.iter().filter(|(of, _)| *of == language).count();
                    rows.push((plugin.clone(), language, entries.len(), overridden, lacks));
                }
            }
            let json: Vec<_> = rows
                .iter()
                .map(|(plugin, language, texts, overridden, missing)| {
                    json!({
                        "plugin": plugin, "language": language, "texts": texts, "overridden": overridden,
                        "missing": missing,
                    })
                })
                .collect();
            let cells = rows.into_iter().map(|(plugin, language, texts, overridden, missing)| {
                vec![plugin, language, texts.to_string(), overridden.to_string(), missing.to_string()]
            });
            let header = ["PLUGIN", "LANGUAGE", "TEXTS", "YOURS", "MISSING"];
            let text = table(&header, cells, "no texts yet: they come with plugins");
            Reply::new(json, text)
        }
        LanguageCommand::Show { plugin, language, overridden } => {
            let language = language.unwrap_or_else(|| host.config().languages.default.clone());
            let mut entries = languages.entries(&plugin, &language).map_err(|error| failed(USAGE, &error))?;
            entries.retain(|entry| !overridden || entry.override_text.is_some());
            let dash =
                |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), |text| printable(text).into());
            let cells = entries
                .iter()
                .map(|entry| vec![entry.key.clone(), dash(&entry.own), dash(&entry.override_text)])
                .collect::<Vec<_>>();
            let known = languages.languages(&plugin);
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let empty = format!("plugin {plugin} has no such texts in {language}; its languages: {known}");
            let text = table(&["KEY", "PLUGIN'S", "YOURS"], cells, &empty);
            Reply::new(entries, text)
        }
        LanguageCommand::Override { plugin, language, key, text, .. } => {
            let changed = host.override_text(&plugin, &language, &key, text.as_deref());
            let file = changed.map_err(|error| {
                failed(if matches!(error, SetTextError::File { .. }) { FAILED } else { USAGE }, &error)
            })?;
            let known = languages.keys(&plugin, &host.config().languages.default).contains(&key);
            let hint = if known { "" } else { "; the plugin has no text of this key in the default language" };
            let now = languages.text(&plugin, &language, &key, &[]);
            let json = json!({
                "plugin": plugin, "language": language, "key": key, "override_text": text, "file": file, "known": known,
            });
            let state = if text.is_some() { "your text holds" } else { "the plugin's own text holds" };
            Reply::new(json, format!("{state}: {}{hint}\n{}", printable(&now), file.display()))
        }
    }
}
