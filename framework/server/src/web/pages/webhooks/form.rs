//! The form of a webhook. Its part about the auth method is what the method's plugin declares (07300), in the language of
//! whoever looks at it, and changes with the method.

use std::collections::BTreeMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use switchboard::store::Webhook;
use switchboard::{FieldFormat, FilledField, Method, WebhookDraft, WebhookError, WebhookProblem};

use super::super::answer::{self, Change, Posted, Problem};
use super::super::show::counted;
use super::{Cx, Page, object, path, told};

/// Begins the names of the method's own fields.
const SETTING: &str = "set.";

#[derive(Template)]
#[template(path = "webhook_form.html")]
struct Form {
    page: Page,
    folder: String,
    action: String,
    choose: String,
    back: String,
    button: &'static str,
    wrong: Option<String>,
    problems: Vec<String>,
    name: String,
    url: String,
    url_wrong: bool,
    fixed_owner: Option<i64>,
    owner: String,
    any_event: bool,
    events: Vec<Event>,
    other_events: String,
    methods: Vec<Method>,
    method: String,
    method_title: String,
    notes: String,
    language: String,
    fields: Vec<Field>,
}

struct Event {
    name: &'static str,
    chosen: bool,
}

/// A field of the method's form.
struct Field {
    key: String,
    kind: Kind,
    title: String,
    help: String,
    value: String,
    required: bool,
    /// Whether a stored secret stays when nothing is typed.
    kept: bool,
    options: Vec<Choice>,
    wrong: Option<String>,
    described: Described,
}

impl Field {
    fn is(&self, input: &str) -> bool {
        matches!(self.kind, Kind::Line(kind) if kind == input)
    }
}

struct Choice {
    value: String,
    title: String,
}

/// How a field is asked for.
enum Kind {
    Boolean,
    Choice,
    Area,
    /// One line; the type of its input.
    Line(&'static str),
}

/// Attributes that lead from a field to its help and to what is wrong with it.
#[derive(Template)]
#[template(
    source = r#"{% if help || wrong %} aria-describedby="{% if wrong %}wrong-{{ key }} {% endif %}{% if help %}help-{{ key }}{% endif %}"{% endif %}{% if wrong %} aria-invalid="true"{% endif %}"#,
    ext = "html"
)]
struct Described {
    key: String,
    help: bool,
    wrong: bool,
}

impl askama::filters::HtmlSafe for Described {}

/// What somebody has typed so far.
#[derive(Default)]
struct Typed {
    name: String,
    url: String,
    owner: String,
    events: Vec<String>,
    method: Option<String>,
    settings: BTreeMap<String, String>,
}

impl Typed {
    fn of(cx: &Cx) -> Self {
        let form = &cx.form;
        let others = form.text("events").unwrap_or_default();
        let others = others.split([' ', ',', '\n', '\t']).map(str::trim).filter(|name| !name.is_empty());
        let mut events: Vec<String> = form.all("event").chain(others).map(str::to_owned).collect();
        events.sort();
        events.dedup();
        let settings = form.below(SETTING).map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            name: form.text("name").unwrap_or_default().to_owned(),
            url: form.text("url").unwrap_or_default().to_owned(),
            owner: form.text("owner").unwrap_or_default().to_owned(),
            events,
            method: form.text("method").map(str::to_owned),
            settings: settings.collect(),
        }
    }
}

/// What is wrong with what was typed.
#[derive(Default)]
struct Wrong(Vec<WebhookProblem>);

impl Wrong {
    /// Returns what is wrong with a field.
    fn with(&self, field: &str) -> Option<String> {
        self.0.iter().find(|problem| problem.field == field).map(|problem| problem.message.clone())
    }

    /// Returns what has no field in the form.
    fn others(&self) -> Vec<String> {
        self.0.iter().filter(|problem| !problem.field.starts_with("settings.")).map(ToString::to_string).collect()
    }
}

/// Shows the form of a new webhook.
pub(crate) fn new(cx: &Cx) -> Result<Response, Problem> {
    let typed = Typed { url: "https://".into(), owner: "0".into(), ..Typed::default() };
    form(cx, None, typed, &Wrong::default())
}

/// Shows the form of a new webhook again with the method that is chosen.
pub(crate) fn choose(cx: &Cx) -> Result<Posted, Problem> {
    Ok(Posted::Shown(form(cx, None, Typed::of(cx), &Wrong::default())?))
}

/// Shows the form of a webhook.
pub(crate) fn edit(cx: &Cx) -> Result<Response, Problem> {
    let webhook = cx.webhook("id")?;
    let typed = Typed {
        name: webhook.name.clone(),
        url: webhook.url.clone(),
        owner: webhook.owner.to_string(),
        events: webhook.events.clone(),
        method: Some(webhook.method.clone()),
        settings: BTreeMap::new(),
    };
    form(cx, Some(&webhook), typed, &Wrong::default())
}

/// Shows the form of a webhook again with the method that is chosen.
pub(crate) fn choose_again(cx: &Cx) -> Result<Posted, Problem> {
    Ok(Posted::Shown(form(cx, Some(&cx.webhook("id")?), Typed::of(cx), &Wrong::default())?))
}

/// Adds a webhook.
pub(crate) fn add(cx: &Cx) -> Result<Posted, Problem> {
    save(cx, None)
}

/// Gives a webhook what was typed.
pub(crate) fn change(cx: &Cx) -> Result<Posted, Problem> {
    save(cx, Some(&cx.webhook("id")?))
}

fn save(cx: &Cx, before: Option<&Webhook>) -> Result<Posted, Problem> {
    let typed = Typed::of(cx);
    let webhooks = cx.host().webhooks();
    let draft = match before {
        None => WebhookDraft::default(),
        Some(webhook) => webhooks.draft(webhook.id)?,
    };
    let mut settings = typed.settings.clone();
    if before.is_some_and(|webhook| Some(&webhook.method) == typed.method.as_ref()) {
        // A secret that is not typed again stays.
        let form = webhooks.form(&draft.method, None, &cx.language())?;
        let is_secret = |key: &str| {
            form.as_ref()
                .is_some_and(|form| form.fields.iter().any(|field| field.field.key == key && field.value.is_none()))
        };
        settings.retain(|key, value| !value.is_empty() || !is_secret(key));
    }
    let draft = WebhookDraft {
        name: typed.name.clone(),
        // What is no number is refused below, as a number that no owner has.
        owner: cx.principal()?.owner.unwrap_or_else(|| typed.owner.parse().unwrap_or(-1)),
        url: typed.url.clone(),
        method: typed.method.clone().unwrap_or_default(),
        settings,
        events: typed.events.clone(),
        language: Some(cx.language()),
        ..draft
    };
    let saved = match before {
        None => webhooks.add(draft),
        Some(webhook) => webhooks.change(webhook.id, draft),
    };
    let webhook = match saved {
        Ok(webhook) => webhook,
        Err(WebhookError::Invalid { problems }) => {
            return Ok(Posted::Shown(form(cx, before, typed, &Wrong(problems))?));
        }
        Err(error) => return Err(error.into()),
    };
    let events = match webhook.events.len() as u64 {
        0 => "all events".to_owned(),
        count => counted(count, "event"),
    };
    let (action, message) = match before {
        None => ("webhook.add", format!("Webhook {} is added and enabled; it gets {events}.", webhook.id)),
        Some(_) => ("webhook.change", format!("Webhook {} is changed; it gets {events}.", webhook.id)),
    };
    Ok(Change::new(action, object(&webhook), path(&webhook)).detail(told(&webhook)).message(message).into())
}

fn form(cx: &Cx, before: Option<&Webhook>, typed: Typed, wrong: &Wrong) -> Result<Response, Problem> {
    let language = cx.language();
    let webhooks = cx.host().webhooks();
    let methods = webhooks.methods(&language)?;
    let chosen = typed.method.as_deref().and_then(|id| methods.iter().find(|method| method.id == id));
    let chosen = chosen.or(methods.first());
    let filled = match chosen {
        Some(method) => webhooks.form(&method.id, before.map(|webhook| webhook.id), &language)?,
        None => None,
    };
    let known = webhooks.events();
    let is_known = |name: &String| known.iter().any(|event| event.name == name);
    let others: Vec<&str> = typed.events.iter().filter(|name| !is_known(name)).map(String::as_str).collect();
    let events = known
        .iter()
        .map(|event| Event { name: event.name, chosen: typed.events.iter().any(|name| name == event.name) });
    let place = before.map(path);
    let at = |new: &str, old: &str| place.as_ref().map_or_else(|| new.to_owned(), |path| format!("{path}{old}"));
    let form = Form {
        page: Page::new(cx, before.map_or("New webhook".into(), |webhook| format!("Edit webhook {}", webhook.id)))?,
        folder: cx.host().data().join("plugins").display().to_string(),
        action: at("/webhooks", ""),
        choose: at("/webhooks/new", "/edit"),
        back: at("/webhooks", ""),
        button: if before.is_some() { "Save the webhook" } else { "Add the webhook" },
        wrong: (!wrong.0.is_empty()).then(|| "It was not saved. What is wrong is marked.".to_owned()),
        problems: wrong.others(),
        url_wrong: wrong.with("url").is_some(),
        fixed_owner: cx.principal()?.owner,
        any_event: !typed.events.is_empty(),
        events: events.collect(),
        other_events: others.join(" "),
        method: chosen.map(|method| method.id.clone()).unwrap_or_default(),
        method_title: chosen.map(|method| method.form.title.clone()).unwrap_or_default(),
        notes: chosen.map(|method| method.form.notes.clone()).unwrap_or_default(),
        fields: filled.map(|form| fields(form.fields, before.is_some(), &typed.settings, wrong)).unwrap_or_default(),
        name: typed.name,
        url: typed.url,
        owner: typed.owner,
        methods,
        language,
    };
    let status = if wrong.0.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    answer::html_with(status, &form)
}

/// Makes the fields of a method's form, with what was typed. Secrets are typed again: they are never sent to a browser.
fn fields(filled: Vec<FilledField>, edits: bool, typed: &BTreeMap<String, String>, wrong: &Wrong) -> Vec<Field> {
    let field = |filled: FilledField| {
        let FilledField { field, value, is_set, .. } = filled;
        let wrong = wrong.with(&format!("settings.{}", field.key));
        let kept = edits && value.is_none() && is_set;
        let value = value.map(|value| typed.get(&field.key).cloned().unwrap_or(value)).unwrap_or_default();
        Field {
            kind: kind(field.format),
            title: if field.title.is_empty() { field.key.clone() } else { field.title },
            value,
            required: field.required && !kept,
            kept,
            options: field
                .options
                .into_iter()
                .map(|option| Choice { value: option.value, title: option.title })
                .collect(),
            described: Described {
                key: field.key.clone(),
                help: !field.description.is_empty(),
                wrong: wrong.is_some(),
            },
            help: field.description,
            wrong,
            key: field.key,
        }
    };
    filled.into_iter().map(field).collect()
}

fn kind(format: FieldFormat) -> Kind {
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
