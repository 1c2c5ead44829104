//! One plugin in full: what it says of itself, its settings, its texts; and changing its settings.

use serde::Serialize;
use switchboard_plugin_api::{FieldFormat, Manifest, ManifestSetting};
use thiserror::Error;
use url::Url;

use super::{PluginFolder, PluginFolderError};
use crate::config::{ConfigError, Edit};
use crate::live;
use crate::plugins::{PluginReport, will_do};

/// One plugin in full.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PluginDetail {
    /// Its files: one, or one for each folder that holds it.
    pub files: Vec<PluginReport>,
    /// plugin-api version that it was built with.
    pub api: String,
    /// Oldest plugin-api version of a host that it works with.
    pub needs_api: String,
    /// Compiler that built it.
    pub rustc: String,
    /// Target triple that it was built for.
    pub target: String,
    /// Host services that it cannot do without.
    pub capabilities: Vec<String>,
    /// Its minicomponents: trigger number, event name and how it is called.
    pub minicomponents: Vec<DetailMinicomponent>,
    /// Plugins that it cannot do without.
    pub depends: Vec<DetailDependency>,
    /// Plugins that run and cannot do without it.
    pub needed_by: Vec<String>,
    /// Whether the version before the installed one is kept.
    pub previous: bool,
    /// Its settings with their values; those of passwords are left out.
    pub settings: Vec<DetailSetting>,
    /// Languages in which it has texts.
    pub languages: Vec<String>,
}

/// One minicomponent of a plugin.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DetailMinicomponent {
    /// The trigger number, five digits.
    pub number: String,
    /// The event name.
    pub name: String,
    /// How it is called.
    pub kind: switchboard_plugin_api::HandlerKind,
}

/// One plugin that another one cannot do without.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DetailDependency {
    /// Its id.
    pub id: String,
    /// Which of its versions will do.
    pub version: String,
    /// The version that is active, if one is.
    pub active: Option<String>,
    /// Whether that will do.
    pub met: bool,
}

/// One setting of a plugin.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DetailSetting {
    /// Its key.
    pub key: String,
    /// Its label, in the language that was asked for; the key when the plugin has no text `setting-KEY`.
    pub title: String,
    /// What its value has to be.
    pub format: FieldFormat,
    /// The value; `None` when it is not set, and always for a password.
    pub value: Option<String>,
    /// Whether a value is set.
    pub set: bool,
    /// Value that the plugin takes when none is set.
    pub default: String,
    /// Whether the plugin cannot do without it.
    pub required: bool,
}

/// Why a setting of a plugin cannot be changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PluginSettingError {
    /// There is no such plugin.
    #[error(transparent)]
    Plugin(#[from] PluginFolderError),
    /// The plugin does not read such a setting.
    #[error("plugin `{id}` reads no setting `{key}`; {}", reads(.known))]
    Unknown {
        /// The plugin.
        id: String,
        /// The key.
        key: String,
        /// What it reads.
        known: Vec<String>,
    },
    /// The value is none for the setting.
    #[error("the setting `{key}` of plugin `{id}` {problem}")]
    Value {
        /// The plugin.
        id: String,
        /// The key.
        key: String,
        /// What is wrong; without the value, which may be a password.
        problem: &'static str,
    },
    /// The host has its configuration from its application and not from a file.
    #[error("this host has no configuration file: its application gives it the settings")]
    NoFile,
    /// The file cannot be changed.
    #[error("the configuration cannot be changed")]
    Config {
        /// Why.
        source: ConfigError,
    },
}

fn reads(known: &[String]) -> String {
    match known {
        [] => "it reads none".to_owned(),
        known => format!("it reads {}", known.join(", ")),
    }
}

impl PluginFolder<'_> {
    /// Returns everything about one plugin; `language` is that of the labels.
    ///
    /// # Errors
    ///
    /// [`PluginFolderError::Missing`] when there is no such plugin.
    pub fn detail(&self, id: &str, language: &str) -> Result<PluginDetail, PluginFolderError> {
        let files = self.get(id)?;
        let plugins = self.host.plugins.lock();
        // Overrides come first, as they answer first.
        let Some(manifest) =
            plugins.manifests().filter(|(.., manifest)| manifest.id == id).max_by_key(|(_, tier, _)| *tier)
        else {
            return Err(PluginFolderError::Missing { id: id.to_owned(), known: Vec::new() });
        };
        let manifest = manifest.2.clone();
        let needed_by = plugins.dependants(id, None);
        let active = plugins.report();
        drop(plugins);
        let depends = manifest.depends.iter().map(|dependency| {
            let running = |report: &&PluginReport| report.id.as_ref() == Some(&dependency.id) && report.triggers > 0;
            let version = active.iter().find(running).and_then(|report| report.version.clone());
            DetailDependency {
                id: dependency.id.clone(),
                version: dependency.version.clone(),
                met: version.as_deref().is_some_and(|version| will_do(&dependency.version, version)),
                active: version,
            }
        });
        let minicomponents = manifest.triggers.iter().map(|trigger| DetailMinicomponent {
            number: format!("{:05}", trigger.number),
            name: trigger.name.clone(),
            kind: trigger.kind,
        });
        Ok(PluginDetail {
            files,
            depends: depends.collect(),
            needed_by,
            previous: self.has_previous(id),
            settings: self.settings(&manifest, language),
            languages: self.host.core.languages.languages(id),
            minicomponents: minicomponents.collect(),
            api: manifest.api,
            needs_api: manifest.needs_api,
            rustc: manifest.rustc,
            target: manifest.target,
            capabilities: manifest.capabilities,
        })
    }

    fn settings(&self, manifest: &Manifest, language: &str) -> Vec<DetailSetting> {
        let live = self.host.core.live.config();
        let shown = |setting: ManifestSetting| {
            let label = format!("setting-{}", setting.key);
            let title = self.host.core.languages.text(&manifest.id, language, &label, &[]);
            let value = live.plugin_setting(&manifest.id, &setting.key);
            DetailSetting {
                title: if title == label { setting.key.clone() } else { title },
                set: value.is_some(),
                value: value.filter(|_| setting.format != FieldFormat::Password),
                key: setting.key,
                format: setting.format,
                default: setting.default,
                required: setting.required,
            }
        };
        manifest.all_settings().map(shown).collect()
    }

    /// Sets settings of a plugin, and takes those out that are `None`. They are in `switchboard.toml`; handlers read the
    /// new values from their next call on.
    ///
    /// # Errors
    ///
    /// When there is no such plugin or setting, when a value does not have the format of its setting, or the file cannot
    /// be written; nothing is changed then.
    pub fn set(&self, id: &str, changes: &[(String, Option<String>)]) -> Result<(), PluginSettingError> {
        let manifest = {
            let plugins = self.host.plugins.lock();
            let found = plugins.manifests().filter(|(.., manifest)| manifest.id == id).max_by_key(|(_, tier, _)| *tier);
            found.map(|(.., manifest)| manifest.clone())
        };
        let Some(manifest) = manifest else {
            let error =
                self.get(id).err().unwrap_or(PluginFolderError::Missing { id: id.to_owned(), known: Vec::new() });
            return Err(error.into());
        };
        self.set_for(&manifest, changes)
    }

    /// The same for a plugin whose library is not in the folder yet.
    pub(super) fn set_for(
        &self,
        manifest: &Manifest,
        changes: &[(String, Option<String>)],
    ) -> Result<(), PluginSettingError> {
        let id = manifest.id.clone();
        let folder = self.host.core.live.folder().ok_or(PluginSettingError::NoFile)?;
        let config = |source| PluginSettingError::Config { source };
        let mut edit = Edit::of(folder).map_err(config)?;
        for (key, value) in changes {
            let Some(value) = value else {
                edit = edit.unset_plugin(&id, key);
                continue;
            };
            let Some(setting) = manifest.all_settings().find(|setting| &setting.key == key) else {
                let known = manifest.all_settings().map(|setting| setting.key).collect();
                return Err(PluginSettingError::Unknown { id, key: key.clone(), known });
            };
            let value = in_format(setting.format, value).map_err(|problem| PluginSettingError::Value {
                id: id.clone(),
                key: key.clone(),
                problem,
            })?;
            edit = edit.set_plugin(&id, key, &value);
        }
        edit.save().map_err(config)?;
        // Not through the host, which would wait for the plugins that the caller may have taken.
        live::reload(&self.host.core).map_err(config).map(drop)
    }
}

/// Returns a value as a setting of a format stores it.
fn in_format(format: FieldFormat, value: &str) -> Result<String, &'static str> {
    let one_line = !value.contains(['\n', '\r']);
    match format {
        FieldFormat::Boolean => match value.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok("1".to_owned()),
            "0" | "false" | "no" | "off" => Ok("0".to_owned()),
            _ => Err("is yes or no: write true or false"),
        },
        FieldFormat::Number if value.trim().parse::<f64>().is_ok_and(f64::is_finite) => Ok(value.trim().to_owned()),
        FieldFormat::Number => Err("is a number"),
        FieldFormat::Url if Url::parse(value).is_ok_and(|url| url.has_host()) => Ok(value.to_owned()),
        FieldFormat::Url => Err("is an absolute URL, such as https://example.com/"),
        FieldFormat::Input | FieldFormat::Password if !one_line => Err("is one line"),
        _ => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_format_of_its_setting() {
        use FieldFormat::{Area, Boolean, Input, Number, Password, Url};
        for (format, value, stored) in [
            (Boolean, "Yes", Some("1")),
            (Boolean, "0", Some("0")),
            (Boolean, "maybe", None),
            (Number, " 2.5 ", Some("2.5")),
            (Number, "inf", None),
            (Number, "two", None),
            (Url, "https://example.com/x", Some("https://example.com/x")),
            (Url, "example.com", None),
            (Url, "mailto:ada@example.com", None),
            (Input, "one line", Some("one line")),
            (Input, "two\nlines", None),
            (Password, "two\nlines", None),
            (Area, "two\nlines", Some("two\nlines")),
        ] {
            assert_eq!(in_format(format, value).ok().as_deref(), stored, "{format:?} {value:?}");
        }
    }
}
