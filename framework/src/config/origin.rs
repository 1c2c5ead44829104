//! Where each value of the configuration comes from: the environment, the file, or the default.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use toml::de::DeTable;

use super::{Config, ConfigError, Edit, FILE_NAME};

/// What the names of variables begin with.
const PREFIX: &str = "SWITCHBOARD_";

/// Stands in place of what may be a password.
const MASK: &str = "********";

/// One setting with its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ConfigValue {
    /// The full name: `log.mode`.
    pub key: String,
    /// The value; masked where it may be a password.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "from")]
#[non_exhaustive]
pub enum Origin {
    /// Nobody has set it.
    Default,
    /// A line of `switchboard.toml`.
    File {
        /// The line, counted from 1.
        line: usize,
    },
    /// A variable of the environment, which wins over the file.
    Environment {
        /// Its name.
        variable: String,
    },
}

impl Config {
    /// Reads `switchboard.toml` in `data_dir` and lets variables win over it: `SWITCHBOARD_LOG_MODE` is `log.mode`. Other
    /// variables are passed over. A value is read as [`Edit::set`] does.
    ///
    /// # Errors
    ///
    /// As [`Config::load`], and [`ConfigError::Variable`] when the value of a variable cannot be used.
    ///
    /// # Examples
    ///
    /// ```
    /// use switchboard::config::{Config, Mode};
    ///
    /// # let data = tempfile::tempdir()?;
    /// # let data = data.path();
    /// let variables = [("SWITCHBOARD_LOG_MODE".to_owned(), "development".to_owned())];
    /// assert_eq!(Config::load_with(data, variables)?.log.mode, Mode::Development);
    /// let variables = [("SWITCHBOARD_LOG_MODE".to_owned(), "loud".to_owned())];
    /// assert!(Config::load_with(data, variables).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load_with(
        data_dir: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let set = settings_of(variables);
        if set.is_empty() {
            return Self::load(data_dir);
        }
        with_variables(data_dir, &set)?.config()
    }

    /// Returns every setting with its value and where that comes from, in the order of the reference.
    ///
    /// # Errors
    ///
    /// As [`Config::load_with`].
    pub fn origins(
        data_dir: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<ConfigValue>, ConfigError> {
        let set = settings_of(variables);
        let config = with_variables(data_dir, &set)?.config()?;
        // It has been read just now; one that has gone since holds nothing.
        let text = std::fs::read_to_string(data_dir.join(FILE_NAME)).unwrap_or_default();
        let table = DeTable::parse(&text).ok();
        let line_of = |section: &str, key: &str| -> Option<usize> {
            let section = table.as_ref()?.get_ref().get(section)?.get_ref().as_table()?;
            let (name, _) = section.iter().find(|(name, _)| name.get_ref() == key)?;
            Some(1 + text.as_bytes()[..name.span().start].iter().filter(|byte| **byte == b'\n').count())
        };
        let Ok(Value::Object(sections)) = serde_json::to_value(&config) else { return Ok(Vec::new()) };
        let mut values = Vec::new();
        for (section, keys) in sections {
            let Value::Object(keys) = keys else { continue };
            for (key, value) in keys {
                let full = format!("{section}.{key}");
                let variable = set.iter().find(|one| one.key == full).map(|one| one.variable.clone());
                let origin = match (variable, line_of(&section, &key)) {
                    (Some(variable), _) => Origin::Environment { variable },
                    (None, Some(line)) => Origin::File { line },
                    (None, None) => Origin::Default,
                };
                values.push(ConfigValue { value: masked(&full, value), key: full, origin });
            }
        }
        Ok(values)
    }
}

fn masked(key: &str, value: Value) -> Value {
    match value {
        Value::String(_) if key == "store.url" || key == "egress.proxy" => MASK.into(),
        // Which of them are passwords is known to the plugin alone.
        Value::Object(settings) if key.starts_with("plugins.") => {
            settings.into_iter().map(|(key, _)| (key, Value::from(MASK))).collect()
        }
        value => value,
    }
}

/// A variable that sets a setting.
struct Variable {
    variable: String,
    key: String,
    value: String,
}

fn settings_of(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Variable> {
    let keys = super::check::all_keys();
    let found = variables.into_iter().filter_map(|(variable, value)| {
        let wanted = variable.strip_prefix(PREFIX)?;
        let is_wanted = |key: &&String| key.replace('.', "_").eq_ignore_ascii_case(wanted) && !value.is_empty();
        let key = keys.iter().find(is_wanted)?.clone();
        Some(Variable { variable, key, value })
    });
    found.collect()
}

fn with_variables(data_dir: &Path, set: &[Variable]) -> Result<Edit, ConfigError> {
    let mut edit = Edit::of(data_dir)?;
    for Variable { variable, key, value } in set {
        edit = edit.set(key, value).map_err(|error| ConfigError::Variable {
            variable: variable.clone(),
            reason: match error {
                ConfigError::Value { key, reason, .. } => format!("`{key}` {reason}"),
                other => other.to_string(),
            },
        })?;
    }
    Ok(edit)
}
