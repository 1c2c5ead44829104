use serde::{Deserialize, Serialize};

use super::Trigger;
use crate::TriggerNumber;

/// 07300: tells the webhook page that an auth method exists, with its texts and settings.
///
/// The event name of the minicomponent is the id of the method; 07310 and 07320 of the same name perform it. Fired
/// when a plugin is activated, and whenever the form is shown, in the language of the person who looks at it.
pub struct WebhookRegistration;

impl Trigger for WebhookRegistration {
    const NUMBER: TriggerNumber = TriggerNumber::new(7_300);
    type Input = RegistrationRequest;
    type Output = AuthMethod;
}

/// Input of [`WebhookRegistration`]. The language is [`Context::language`](crate::Context::language).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RegistrationRequest {}

/// Output of [`WebhookRegistration`]: an auth method and its form.
///
/// ```
/// use switchboard_plugin_api::{AuthMethod, FieldFormat, FormField};
///
/// let method = AuthMethod::new("API key")
///     .notes("The key is sent in a header.")
///     .field(FormField::new("key", FieldFormat::Password, "Key").required());
/// assert_eq!(method.fields[0].key, "key");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuthMethod {
    /// Name for people, translated.
    pub title: String,
    /// What a person should know before choosing it, translated.
    #[serde(default)]
    pub notes: String,
    /// The fields, in the order in which the form shows them.
    #[serde(default)]
    pub fields: Vec<FormField>,
}

impl AuthMethod {
    /// Returns a method without settings.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Sets the notes.
    #[must_use]
    pub fn notes(mut self, notes: impl Into<String>) -> Self {
        self.notes = notes.into();
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, field: FormField) -> Self {
        self.fields.push(field);
        self
    }
}

/// One setting of an auth method.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FormField {
    /// Key under which the value is stored and read with [`Context::setting`](crate::Context::setting).
    pub key: String,
    /// How the form asks for it.
    pub format: FieldFormat,
    /// Label, translated.
    pub title: String,
    /// Help below the field, translated.
    #[serde(default)]
    pub description: String,
    /// Value of a new webhook.
    #[serde(default)]
    pub default: String,
    /// Whether a webhook cannot do without it.
    #[serde(default)]
    pub required: bool,
    /// The choices of a [`FieldFormat::Select`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<FieldOption>,
    /// Where the former values of a secret go when the host makes a new one. Since 1.1; `None` where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

/// How a secret is replaced while receivers still have the former one: the fields beside it that hold those.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rotation {
    /// Key of the field with the former secrets, with white space between them.
    pub old: String,
    /// Key of the field with the time until which each of them holds, as `2026-11-30T12:00:00Z`, in the same order.
    pub until: String,
}

impl FormField {
    /// Returns an optional field without help.
    #[must_use]
    pub fn new(key: impl Into<String>, format: FieldFormat, title: impl Into<String>) -> Self {
        Self { key: key.into(), format, title: title.into(), ..Self::default() }
    }

    /// Sets the help below the field.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Sets the value of a new webhook.
    #[must_use]
    pub fn default_value(mut self, value: impl Into<String>) -> Self {
        self.default = value.into();
        self
    }

    /// Says that a webhook cannot do without the value.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Says that the host may make a new secret, in the form of Standard Webhooks (`whsec_`, `whsk_`): the former one goes
    /// into the field `old`, and the time until which it holds into the field `until`. See [`Rotation`].
    #[must_use]
    pub fn rotates(mut self, old: impl Into<String>, until: impl Into<String>) -> Self {
        self.rotation = Some(Rotation { old: old.into(), until: until.into() });
        self
    }

    /// Adds a choice of a select.
    #[must_use]
    pub fn option(mut self, value: impl Into<String>, title: impl Into<String>) -> Self {
        self.options.push(FieldOption { value: value.into(), title: title.into() });
        self
    }
}

/// How a form asks for a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FieldFormat {
    /// Yes or no, stored as `1` or `0`.
    Boolean,
    /// One line of text.
    #[default]
    Input,
    /// One line that is written, never shown again.
    Password,
    /// Several lines of text.
    Area,
    /// Several lines that the receiver may treat as HTML; the page shows them as text.
    Html,
    /// One of [`FormField::options`].
    Select,
    /// A decimal number.
    Number,
    /// An absolute URL, judged by the egress rules.
    Url,
    /// A format that this version does not know. A host refuses a method that declares one.
    #[serde(other)]
    Unknown,
}

impl FieldFormat {
    /// Returns the name of the format as JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Input => "input",
            Self::Password => "password",
            Self::Area => "area",
            Self::Html => "html",
            Self::Select => "select",
            Self::Number => "number",
            Self::Url => "url",
            Self::Unknown => "unknown",
        }
    }
}

/// One choice of a select.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FieldOption {
    /// What is stored.
    pub value: String,
    /// What is shown, translated.
    pub title: String,
}
