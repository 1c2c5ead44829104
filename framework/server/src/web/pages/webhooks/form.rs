//! The form of a webhook. Its part about the auth method is what the method's plugin declares (07300), in the language of
//! whoever looks at it, and changes with the method.

use std::collections::BTreeMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use switchboard::store::Webhook;
use switchboard::{FilledField, Method, WebhookDraft, WebhookError};

use super::super::answer::{self, Change, Posted, Problem};
use super::super::field::{Field, Kind};
use super::super::show::{Time, counted};
use super::options::{self, Fields, OPTION};
use super::{Cx, Page, object, path, told_of};

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
    options: Fields,
    /// Of which version of the webhook this is the form.
    version: Option<u64>,
    /// What somebody else has made of the webhook meanwhile.
    meanwhile: Option<Meanwhile>,
}

/// A change that was made while this form was filled in.
struct Meanwhile {
    at: Time,
    /// What is other than in this form.
    differences: Vec<String>,
}

struct Event {
    name: &'static str,
    chosen: bool,
}

/// What somebody has typed so far.
#[derive(Default)]
struct Typed {
    name: String,
    url: String,
    owner: String,
    events: Vec<String>,
    method: Option<String>,
    settings: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
}

impl Typed {
    fn of(cx: &Cx) -> Self {
        let (form, owner) = (&cx.form, cx.who.as_ref().and_then(|who| who.owner));
        let others = form.text("events").unwrap_or_default();
        let others = others.split([' ', ',', '\n', '\t']).map(str::trim).filter(|name| !name.is_empty());
        let mut events: Vec<String> = form.all("event").chain(others).map(str::to_owned).collect();
        events.sort();
        events.dedup();
        let below =
            |prefix| form.below(prefix).map(|(key, value)| (key.to_owned(), value.replace("\r\n", "\n"))).collect();
        Self {
            name: form.text("name").unwrap_or_default().to_owned(),
            url: form.text("url").unwrap_or_default().to_owned(),
            // Somebody with an owner is not asked for one.
            owner: owner.map_or_else(|| form.text("owner").unwrap_or_default().to_owned(), |owner| owner.to_string()),
            events,
            method: form.text("method").map(str::to_owned),
            settings: below(SETTING),
            options: below(OPTION),
        }
    }

    /// Writes a webhook as somebody who has changed nothing yet has it.
    fn stored(cx: &Cx, webhook: &Webhook) -> Result<Self, Problem> {
        let draft = cx.host().webhooks().draft(webhook.id)?;
        Ok(Self {
            options: options::texts(&draft),
            name: draft.name,
            url: draft.url,
            owner: draft.owner.to_string(),
            events: draft.events,
            method: Some(draft.method),
            settings: BTreeMap::new(),
        })
    }

    /// Says what of a webhook is other than what was typed. Secrets, and settings of the method, are not compared.
    fn differences(&self, now: &Self) -> Vec<String> {
        let events = |typed: &Self| if typed.events.is_empty() { "all".to_owned() } else { typed.events.join(", ") };
        let fixed = [
            ("Name", &self.name, &now.name),
            ("URL", &self.url, &now.url),
            ("Owner", &self.owner, &now.owner),
            ("Events", &events(self), &events(now)),
            (
                "Authentication integration",
                &self.method.clone().unwrap_or_default(),
                &now.method.clone().unwrap_or_default(),
            ),
        ];
        let options =
            now.options.iter().map(|(name, text)| (options::title(name), self.options.get(name).unwrap_or(text), text));
        let differing = fixed.into_iter().chain(options).filter(|(_, mine, theirs)| mine.trim() != theirs.trim());
        let shown =
            |text: &str| if text.trim().is_empty() { "empty".to_owned() } else { format!("“{}”", text.trim()) };
        differing.map(|(name, _, theirs)| format!("{name}: now {}", shown(theirs))).collect()
    }
}

/// What is wrong with what was typed, by field.
#[derive(Default)]
struct Wrong(Vec<options::Problem>);

impl Wrong {
    /// Returns what is wrong with a field.
    fn with(&self, field: &str) -> Option<String> {
        self.0.iter().find(|(name, _)| name == field).map(|(_, message)| message.clone())
    }

    /// Returns what has no field in the form.
    fn others(&self) -> Vec<String> {
        let others = self.0.iter().filter(|(name, _)| !name.starts_with("settings."));
        others
            .map(|(name, message)| if name.is_empty() { message.clone() } else { format!("`{name}`: {message}") })
            .collect()
    }
}

/// Shows the form of a new webhook.
pub(crate) fn new(cx: &Cx) -> Result<Response, Problem> {
    let options = options::texts(&WebhookDraft::default());
    let typed = Typed { url: "https://".into(), owner: "0".into(), options, ..Typed::default() };
    form(cx, None, typed, &Wrong::default(), None)
}

/// Shows the form of a new webhook again with the method that is chosen.
pub(crate) fn choose(cx: &Cx) -> Result<Posted, Problem> {
    Ok(Posted::Shown(form(cx, None, Typed::of(cx), &Wrong::default(), None)?))
}

/// Shows the form of a webhook.
pub(crate) fn edit(cx: &Cx) -> Result<Response, Problem> {
    let webhook = cx.webhook("id")?;
    let typed = Typed::stored(cx, &webhook)?;
    form(cx, Some(&webhook), typed, &Wrong::default(), None)
}

/// Shows the form of a webhook again with the method that is chosen.
pub(crate) fn choose_again(cx: &Cx) -> Result<Posted, Problem> {
    let webhook = cx.webhook("id")?;
    let version = version(cx)?;
    Ok(Posted::Shown(form(cx, Some(&webhook), Typed::of(cx), &Wrong::default(), version)?))
}

/// Returns of which version of the webhook the form is that was sent.
fn version(cx: &Cx) -> Result<Option<u64>, Problem> {
    let version = cx.form.text("version").map(str::parse).transpose();
    version.map_err(|_| Problem::refused("There is no such version of a webhook."))
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
    let version = version(cx)?;
    if let (Some(webhook), Some(version)) = (before, version)
        && webhook.version != version
    {
        return Ok(Posted::Shown(form(cx, before, typed, &Wrong::default(), Some(version))?));
    }
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
    let mut draft = WebhookDraft {
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
    let wrong = Wrong(options::read(&typed.options, &mut draft));
    if !wrong.0.is_empty() {
        return Ok(Posted::Shown(form(cx, before, typed, &wrong, version)?));
    }
    let saved = match before {
        None => webhooks.add(draft),
        Some(webhook) => webhooks.if_version(Some(webhook.version)).change(webhook.id, draft),
    };
    let webhook = match saved {
        Ok(webhook) => webhook,
        Err(WebhookError::Invalid { problems }) => {
            let wrong = Wrong(problems.into_iter().map(|problem| (problem.field, problem.message)).collect());
            return Ok(Posted::Shown(form(cx, before, typed, &wrong, version)?));
        }
        // Between the look above and the change.
        Err(WebhookError::Changed { .. }) if before.is_some() => {
            let (now, version) = (cx.webhook("id")?, before.map(|webhook| webhook.version));
            return Ok(Posted::Shown(form(cx, Some(&now), typed, &wrong, version)?));
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
    Ok(Change::new(action, object(&webhook), path(&webhook)).detail(told_of(&webhook)).message(message).into())
}

/// Shows the form with what was typed. When the webhook is not in the `version` any more of which the form was, it says what
/// it is now; sent once more, the form holds.
fn form(
    cx: &Cx,
    before: Option<&Webhook>,
    typed: Typed,
    wrong: &Wrong,
    version: Option<u64>,
) -> Result<Response, Problem> {
    let meanwhile = match (before, version) {
        (Some(webhook), Some(version)) if webhook.version != version => {
            let differences = typed.differences(&Typed::stored(cx, webhook)?);
            Some(Meanwhile { at: webhook.updated_at.into(), differences })
        }
        _ => None,
    };
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
    let shown = before.and_then(|webhook| webhooks.shown(std::slice::from_ref(webhook)).pop());
    let has_identity = shown.is_some_and(|shown| shown.has_identity);
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
        options: Fields::new(&typed.options, has_identity, cx.host().config(), |field| wrong.with(field)),
        version: before.map(|webhook| webhook.version),
        name: typed.name,
        url: typed.url,
        owner: typed.owner,
        methods,
        language,
        meanwhile,
    };
    let status = match (&form.meanwhile, form.wrong.is_some()) {
        (Some(_), _) => StatusCode::CONFLICT,
        (None, true) => StatusCode::UNPROCESSABLE_ENTITY,
        (None, false) => StatusCode::OK,
    };
    answer::html_with(status, &form)
}

/// Makes the fields of a method's form, with what was typed. Secrets are typed again: they are never sent to a browser.
fn fields(filled: Vec<FilledField>, edits: bool, typed: &BTreeMap<String, String>, wrong: &Wrong) -> Vec<Field> {
    let field = |filled: FilledField| {
        let typed = typed.get(&filled.field.key).filter(|_| filled.value.is_some()).cloned();
        let kept = edits && filled.value.is_none() && filled.is_set;
        let wrong = wrong.with(&format!("settings.{}", filled.field.key));
        let field = Field::of_method(SETTING, filled);
        Field { value: typed.unwrap_or(field.value), required: field.required && !kept, kept, wrong, ..field }
    };
    filled.into_iter().map(field).collect()
}
