//! Auth methods: what 07300 says about them, and what a webhook needs for one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use serde::Serialize;
use switchboard_plugin_api::{AuthMethod, FieldFormat, FormField, Trigger, TriggerNumber, WebhookRegistration};

use super::CHANNEL;
use crate::channel_log::ChannelLog;
use crate::core::Core;
use crate::registry::{Minicomponent, Registry};
use crate::run::{RunBuilder, TriggerError};

/// An auth method as its plugin describes it in one language.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Method {
    /// Id of the method: the event name of its minicomponents.
    pub id: String,
    /// Plugin that performs it.
    pub plugin: Arc<str>,
    /// Texts and form.
    #[serde(flatten)]
    pub form: AuthMethod,
}

impl Method {
    /// Returns the field of a setting.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&FormField> {
        self.form.fields.iter().find(|field| field.key == key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.field(key).is_some()
    }
}

impl Problem {
    /// Returns the key of the setting.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Missing { key, .. } | Self::Unknown { key, .. } | Self::Value { key, .. } => key,
        }
    }
}

/// What is wrong with the settings of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A required setting is absent or empty.
    #[error("auth method `{method}` needs the setting `{key}` ({title}): add it with `--set {key}=…`")]
    Missing {
        /// The method.
        method: String,
        /// The key of the setting.
        key: String,
        /// Its label.
        title: String,
    },
    /// A setting that the form does not have.
    #[error("auth method `{method}` has no setting `{key}`; it has: {known}")]
    Unknown {
        /// The method.
        method: String,
        /// The key that was given.
        key: String,
        /// The keys that there are.
        known: String,
    },
    /// A value that its field does not take.
    #[error("the setting `{key}` cannot be `{value}`: {needed}")]
    Value {
        /// The key of the setting.
        key: String,
        /// The value; for a password, a mark in its place.
        value: String,
        /// What is taken.
        needed: String,
    },
}

/// Most fields of one form.
const MAX_FIELDS: usize = 100;
/// Most options of one field.
const MAX_OPTIONS: usize = 1_000;
/// Longest text of a form, in bytes.
const MAX_TEXT_BYTES: usize = 8 << 10;
/// Longest key of a setting, in bytes.
const MAX_KEY_BYTES: usize = 100;

/// Asks every auth method for its form, in the run's language.
pub(super) fn all(run: RunBuilder, log: &ChannelLog) -> Result<Vec<Method>, TriggerError> {
    let broadcast = run.start().broadcast::<WebhookRegistration>(&Default::default())?;
    let methods = broadcast.values.into_iter().filter_map(|value| {
        // A method that fails here was logged by the dispatcher and cannot be offered.
        let Minicomponent { name, plugin, .. } = &*value.minicomponent;
        let form = value.result.ok()?;
        // The form was good when the plugin was activated; nothing keeps it from giving another one now.
        if let Err(reason) = check_form(name, &form) {
            log::error!(logger: log, target: CHANNEL, plugin = **plugin, reason = reason; "auth method left out");
            return None;
        }
        Some(Method { id: name.clone(), plugin: Arc::clone(plugin), form })
    });
    Ok(methods.collect())
}

/// Which settings of each auth method are secrets, by method, as long as the same handlers are registered.
#[derive(Default)]
pub(crate) struct SecretKeys(ArcSwapOption<Known>);

struct Known {
    /// Not kept alive: a plugin that is replaced ends with its last call.
    registry: Weak<Registry>,
    keys: HashMap<String, Vec<String>>,
}

impl SecretKeys {
    fn of(&self, core: &Arc<Core>, registry: &Arc<Registry>, method: &str) -> Option<Vec<String>> {
        let known = self.0.load();
        if let Some(known) = known.as_ref().filter(|known| known.registry.as_ptr() == Arc::as_ptr(registry)) {
            return known.keys.get(method).cloned();
        }
        let methods = core.runtime.blocking(|| all(RunBuilder::new(Arc::clone(core)), &core.log)).unwrap_or_default();
        let secret = |form: AuthMethod| {
            let fields = form.fields.into_iter().filter(|field| field.format == FieldFormat::Password);
            fields.map(|field| field.key).collect()
        };
        let keys: HashMap<_, _> = methods.into_iter().map(|method| (method.id, secret(method.form))).collect();
        let found = keys.get(method).cloned();
        self.0.store(Some(Arc::new(Known { registry: Arc::downgrade(registry), keys })));
        found
    }
}

/// Returns which settings of a method are secrets; `None` when nobody describes it just now.
pub(super) fn secret_keys(core: &Arc<Core>, registry: &Arc<Registry>, method: &str) -> Option<Vec<String>> {
    core.secret_keys.of(core, registry, method)
}

/// Judges the form that a plugin declares when it is activated.
pub(crate) fn check_form(name: &str, form: &AuthMethod) -> Result<(), String> {
    const NUMBER: TriggerNumber = WebhookRegistration::NUMBER;
    if form.fields.len() > MAX_FIELDS {
        let count = form.fields.len();
        return Err(format!("{NUMBER} `{name}` declares {count} fields, a form has at most {MAX_FIELDS}"));
    }
    if let Some(text) = texts(form).find(|text| text.len() > MAX_TEXT_BYTES) {
        let bytes = text.len();
        return Err(format!("{NUMBER} `{name}` has a text of {bytes} bytes, a form has at most {MAX_TEXT_BYTES}"));
    }
    for (index, field) in form.fields.iter().enumerate() {
        if field.key.is_empty() {
            return Err(format!("{NUMBER} `{name}` declares a field without a key"));
        }
        if !is_key(&field.key) {
            return Err(format!(
                "{NUMBER} `{name}` declares the field `{}`: a key is 1 to {MAX_KEY_BYTES} of A-Z, a-z, 0-9, `_`, `-` and `.`",
                field.key.escape_debug()
            ));
        }
        if field.options.len() > MAX_OPTIONS {
            return Err(format!("{NUMBER} `{name}` declares more than {MAX_OPTIONS} options of `{}`", field.key));
        }
        if form.fields[..index].iter().any(|other| other.key == field.key) {
            return Err(format!("{NUMBER} `{name}` declares the field `{}` twice", field.key));
        }
        if field.format == FieldFormat::Unknown {
            return Err(format!(
                "{NUMBER} `{name}` declares the field `{}` with a format that this host does not know: update Switchboard",
                field.key
            ));
        }
        if field.format == FieldFormat::Select && field.options.is_empty() {
            return Err(format!("{NUMBER} `{name}` declares the select `{}` without options", field.key));
        }
    }
    Ok(())
}

/// Returns everything in a form that people read or that is stored.
fn texts(form: &AuthMethod) -> impl Iterator<Item = &str> {
    let fields = form.fields.iter().flat_map(|field| {
        let options = field.options.iter().flat_map(|option| [&*option.value, &*option.title]);
        [&*field.title, &*field.description, &*field.default].into_iter().chain(options)
    });
    [&*form.title, &*form.notes].into_iter().chain(fields)
}

fn is_key(key: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    key.len() <= MAX_KEY_BYTES && key.bytes().all(valid)
}

/// Checks the settings of a webhook and completes them with the defaults of the form.
pub(super) fn complete(method: &Method, given: BTreeMap<String, String>) -> (BTreeMap<String, String>, Vec<Problem>) {
    let fields = &method.form.fields;
    let unknown = |key: &String| {
        let known: Vec<_> = fields.iter().map(|field| field.key.as_str()).collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        Problem::Unknown { method: method.id.clone(), key: key.clone(), known }
    };
    let mut problems: Vec<Problem> = given.keys().filter(|key| !method.has(key)).map(unknown).collect();
    let mut settings = given;
    for field in fields {
        let value = settings.entry(field.key.clone()).or_insert_with(|| field.default.clone());
        if field.required && value.is_empty() {
            let (key, title) = (field.key.clone(), field.title.clone());
            problems.push(Problem::Missing { method: method.id.clone(), key, title });
        } else if let Some(needed) =
            refused(field.format, value, || field.options.iter().map(|option| option.value.as_str()).collect())
        {
            problems.push(Problem::Value { key: field.key.clone(), value: value.escape_debug().to_string(), needed });
        }
    }
    (settings, problems)
}

fn refused<'a>(format: FieldFormat, value: &str, options: impl FnOnce() -> Vec<&'a str>) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    match format {
        FieldFormat::Boolean if !matches!(value, "0" | "1") => Some("it is 0 or 1".into()),
        FieldFormat::Number if value.parse::<f64>().is_err() => Some("it is a number".into()),
        FieldFormat::Url if url::Url::parse(value).is_err() => Some("it is an absolute URL".into()),
        FieldFormat::Select => {
            let options = options();
            (!options.contains(&value)).then(|| format!("it is one of {}", options.join(", ")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use switchboard_plugin_api::FormField;

    use super::*;

    fn method() -> Method {
        let form = AuthMethod::new("Test").field(FormField::new("user", FieldFormat::Input, "User").required()).field(
            FormField::new("mode", FieldFormat::Select, "Mode").option("a", "A").option("b", "B").default_value("a"),
        );
        Method { id: "test".into(), plugin: "test".into(), form }
    }

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn settings_are_checked_against_the_form_and_completed_from_it() {
        let (complete, problems) = complete(&method(), settings(&[("user", "u&<>\"'é")]));
        assert_eq!((complete, problems), (settings(&[("user", "u&<>\"'é"), ("mode", "a")]), Vec::new()));
        let problems = |pairs| super::complete(&method(), settings(pairs)).1;
        assert!(matches!(*problems(&[]), [Problem::Missing { .. }]));
        assert!(matches!(*problems(&[("user", "")]), [Problem::Missing { .. }]));
        assert!(matches!(*problems(&[("user", "u"), ("x", "1")]), [Problem::Unknown { .. }]));
        assert!(matches!(*problems(&[("user", "u"), ("mode", "c")]), [Problem::Value { .. }]));
        assert_eq!(problems(&[("x", "1"), ("mode", "c")]).len(), 3, "all of them");
    }

    #[test]
    fn a_form_with_an_unknown_format_or_a_doubled_key_is_refused() {
        assert_eq!(check_form("test", &method().form), Ok(()));
        let unknown: FieldFormat = serde_json::from_str("\"hologram\"").unwrap();
        let form = AuthMethod::new("x").field(FormField::new("a", unknown, "A"));
        assert!(check_form("test", &form).unwrap_err().contains("a format that this host does not know"));
        let field = FormField::new("a", FieldFormat::Input, "A");
        assert!(check_form("test", &AuthMethod::new("x").field(field.clone()).field(field)).is_err());
    }
}
