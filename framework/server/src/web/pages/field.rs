//! A field of a form whose fields a plugin describes, and of those beside them.

use askama::Template;
use switchboard::{FieldFormat, FieldOption, FilledField};

/// A field.
pub(super) struct Field {
    /// Its name in what is sent.
    pub(super) name: String,
    /// Its id in the page.
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) title: String,
    pub(super) help: String,
    pub(super) value: String,
    pub(super) required: bool,
    /// Whether a stored secret stays when nothing is typed.
    pub(super) kept: bool,
    pub(super) options: Vec<Choice>,
    pub(super) wrong: Option<String>,
}

/// How a field is asked for.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Boolean,
    Choice,
    Area,
    /// One line; the type of its input.
    Line(&'static str),
}

pub(super) struct Choice {
    pub(super) value: String,
    pub(super) title: String,
}

/// Attributes that lead from a field to its help and to what is wrong with it.
#[derive(Template)]
#[template(
    source = r#"{% if help || wrong %} aria-describedby="{% if wrong %}wrong-{{ id }} {% endif %}{% if help %}help-{{ id }}{% endif %}"{% endif %}{% if wrong %} aria-invalid="true"{% endif %}"#,
    ext = "html"
)]
pub(super) struct Described<'a> {
    id: &'a str,
    help: bool,
    wrong: bool,
}

impl askama::filters::HtmlSafe for Described<'_> {}

impl Field {
    /// A field of the page's own.
    pub(super) fn new(name: &str, kind: Kind, title: &str, help: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            id: name.replace('.', "-"),
            kind,
            title: title.to_owned(),
            help: help.into(),
            value: String::new(),
            required: false,
            kept: false,
            options: Vec::new(),
            wrong: None,
        }
    }

    /// A field of an auth method's form.
    pub(super) fn of_method(prefix: &str, filled: FilledField) -> Self {
        let FilledField { field, value, .. } = filled;
        let title = if field.title.is_empty() { &field.key } else { &field.title };
        let choice = |option: FieldOption| Choice { value: option.value, title: option.title };
        Self {
            value: value.unwrap_or_default(),
            required: field.required,
            options: field.options.into_iter().map(choice).collect(),
            ..Self::new(&format!("{prefix}{}", field.key), kind(field.format), title, field.description)
        }
    }

    pub(super) fn is(&self, input: &str) -> bool {
        matches!(self.kind, Kind::Line(kind) if kind == input)
    }

    pub(super) fn described(&self) -> Described<'_> {
        Described { id: &self.id, help: !self.help.is_empty(), wrong: self.wrong.is_some() }
    }
}

pub(super) fn kind(format: FieldFormat) -> Kind {
    match format {
        FieldFormat::Boolean => Kind::Boolean,
        FieldFormat::Select => Kind::Choice,
        // Markup is edited as the text that it is, and never shown as markup.
        FieldFormat::Area | FieldFormat::Html => Kind::Area,
        FieldFormat::Password => Kind::Line("password"),
        FieldFormat::Number => Kind::Line("number"),
        FieldFormat::Url => Kind::Line("url"),
        _ => Kind::Line("text"),
    }
}
