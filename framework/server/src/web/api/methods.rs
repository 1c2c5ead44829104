//! Auth methods and their forms.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard::{FieldFormat, FormField, Method};

use super::answer::{Answer, Failure};
use super::caller::{Caller, Own};
use super::input::Query;
use crate::web::App;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new().api_route(
        "/auth-methods",
        get_with(list, |op| {
            op.id("listAuthMethods")
                .tag("auth methods")
                .summary("List the auth methods with their forms")
                .description("The plugins that are active offer them, each with its own form.")
        }),
    )
}

/// An auth method.
#[derive(Serialize, JsonSchema)]
struct AuthMethod {
    /// Its id: what `method` of a webhook is.
    id: String,
    /// The plugin that performs it.
    plugin: String,
    /// Its name for people.
    title: String,
    /// What there is to say about it.
    notes: String,
    /// The settings that it needs.
    fields: Vec<Field>,
}

/// A setting of an auth method.
#[derive(Serialize, JsonSchema)]
struct Field {
    /// Its key in `settings` of a webhook.
    key: String,
    /// How a form asks for it.
    format: Format,
    /// Its label.
    title: String,
    /// Help below it.
    description: String,
    /// What it is in a new webhook.
    default: String,
    /// Whether a webhook cannot do without it.
    required: bool,
    /// The choices of a `select`.
    options: Vec<Choice>,
}

/// A choice.
#[derive(Serialize, JsonSchema)]
struct Choice {
    /// What is stored.
    value: String,
    /// Its label.
    title: String,
}

/// How a form asks for a setting.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Boolean,
    Input,
    Password,
    Area,
    Html,
    Select,
    Number,
    Url,
    Other,
}

impl From<FieldFormat> for Format {
    fn from(format: FieldFormat) -> Self {
        match format {
            FieldFormat::Boolean => Self::Boolean,
            FieldFormat::Input => Self::Input,
            FieldFormat::Password => Self::Password,
            FieldFormat::Area => Self::Area,
            FieldFormat::Html => Self::Html,
            FieldFormat::Select => Self::Select,
            FieldFormat::Number => Self::Number,
            FieldFormat::Url => Self::Url,
            _ => Self::Other,
        }
    }
}

impl From<FormField> for Field {
    fn from(field: FormField) -> Self {
        let choice = |option: switchboard::FieldOption| Choice { value: option.value, title: option.title };
        Self {
            key: field.key,
            format: field.format.into(),
            title: field.title,
            description: field.description,
            default: field.default,
            required: field.required,
            options: field.options.into_iter().map(choice).collect(),
        }
    }
}

impl From<Method> for AuthMethod {
    fn from(method: Method) -> Self {
        let form = method.form;
        let fields = form.fields.into_iter().map(Field::from).collect();
        Self { id: method.id, plugin: method.plugin.to_string(), title: form.title, notes: form.notes, fields }
    }
}

/// In which language.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Language of the texts, such as `de-DE`; the host's when left out.
    language: Option<String>,
}

async fn list(caller: Caller<Own>, Query(wanted): Query<Wanted>) -> Result<Answer<Vec<AuthMethod>>, Failure> {
    let methods = caller.run(move |call| {
        let language = wanted.language.unwrap_or_else(|| call.host().config().languages.default.clone());
        Ok(call.host().webhooks().methods(&language)?.into_iter().map(AuthMethod::from).collect())
    });
    methods.await.map(Answer)
}
