//! Webhooks: the list, one of them, and what can be done with it. The form is in [`form`].

mod form;
mod options;
mod recover;

use std::collections::HashMap;
use std::time::Duration;

use askama::Template;
use axum::response::Response;
use switchboard::config::HumanDuration;
use switchboard::store::{OwnerId, Task, TaskFilter, TaskState, Webhook};
use switchboard::{FieldFormat, KeyState, Method, ShownWebhook};

use super::answer::{self, Change, Posted, Problem, told_of};
use super::show::{State, Time, counted, number};
use super::{Ask, Cx, Page, bulks};
use crate::web::access::Access;

pub(crate) use form::{add, change, choose, choose_again, edit, new};
pub(crate) use recover::{ask_to_recover, recover};

/// How many of the newest deliveries of a webhook are shown.
const NEWEST: u32 = 20;
/// What the host puts in place of a secret.
const MASK: &str = "********";

#[derive(Template)]
#[template(path = "webhooks.html")]
struct List {
    page: Page,
    owner: Option<i64>,
    may_change: bool,
    no_methods: bool,
    folder: String,
    count: String,
    rows: Vec<Row>,
}

struct Row {
    id: i64,
    title: String,
    url: String,
    state: State,
    owner: String,
    method: String,
    events: String,
    health: State,
}

#[derive(Template)]
#[template(path = "webhook.html")]
struct Detail {
    page: Page,
    row: Row,
    enabled: bool,
    whole_site: bool,
    may_change: bool,
    may_rotate: bool,
    reason: Option<String>,
    warning: Option<String>,
    settings: Vec<(String, String)>,
    options: Vec<(&'static str, String)>,
    created: Time,
    health: Vec<(&'static str, String)>,
    deliveries: Vec<Delivery>,
    operations: Vec<bulks::Row>,
}

/// A delivery in a table.
pub(super) struct Delivery {
    pub(super) id: i64,
    pub(super) webhook: Option<i64>,
    pub(super) state: State,
    pub(super) reason: String,
    pub(super) attempts: u32,
    pub(super) changed: Time,
}

impl From<Task> for Delivery {
    fn from(task: Task) -> Self {
        Self {
            id: task.id.0,
            webhook: task.webhook.map(|webhook| webhook.0),
            state: task_state(task.state),
            reason: task.reason.unwrap_or_default(),
            attempts: task.attempts,
            changed: task.updated_at.into(),
        }
    }
}

/// Shows the state of a task.
pub(super) fn task_state(state: TaskState) -> State {
    match state {
        TaskState::Done => State::good("done"),
        TaskState::Dead => State::bad("dead"),
        state => State::waits(state.to_string()),
    }
}

/// Returns the tasks that match, as they are shown.
pub(super) fn deliveries(cx: &Cx, filter: &TaskFilter) -> Result<Vec<Delivery>, Problem> {
    Ok(cx.host().tasks().list(filter)?.into_iter().map(Delivery::from).collect())
}

/// Lists the webhooks of whoever asks.
pub(crate) fn list(cx: &Cx) -> Result<Response, Problem> {
    let owner = cx.principal()?.owner;
    let webhooks = cx.host().webhooks().list(owner)?;
    let methods = cx.host().webhooks().methods(&cx.language())?;
    let keys = keys(cx)?;
    let rows: Vec<Row> = webhooks.iter().map(|webhook| row(webhook, &methods, &keys)).collect();
    answer::html(&List {
        page: Page::new(cx, "Webhooks")?,
        owner,
        may_change: Access::OwnChange.lets(cx.who.as_ref()),
        no_methods: methods.is_empty(),
        folder: cx.host().data().join("plugins").display().to_string(),
        count: counted(rows.len() as u64, "webhook"),
        rows,
    })
}

fn keys(cx: &Cx) -> Result<HashMap<String, KeyState>, Problem> {
    Ok(cx.host().tasks().keys()?.into_iter().map(|key| (key.key.clone(), key)).collect())
}

fn row(webhook: &Webhook, methods: &[Method], keys: &HashMap<String, KeyState>) -> Row {
    let method = methods.iter().find(|method| method.id == webhook.method);
    let key = keys.get(&key_of(webhook));
    Row {
        id: webhook.id.0,
        title: webhook.title().to_owned(),
        url: webhook.url.clone(),
        state: match (&webhook.disabled_reason, webhook.enabled) {
            (_, true) => State::good("enabled"),
            (Some(_), false) => State::bad("disabled by the host"),
            (None, false) => State::off("disabled"),
        },
        owner: match webhook.owner.0 {
            0 => "whole site".into(),
            owner => format!("owner {owner}"),
        },
        method: match method {
            Some(method) => method.form.title.clone(),
            None => format!("{} (no plugin has it just now)", webhook.method),
        },
        events: if webhook.events.is_empty() { "all".into() } else { webhook.events.join(", ") },
        health: health(webhook, key),
    }
}

/// Returns the key of the deliveries of a webhook.
fn key_of(webhook: &Webhook) -> String {
    format!("webhook:{}", webhook.id)
}

/// Says more about how the deliveries of a webhook go.
fn facts(cx: &Cx, webhook: &Webhook, key: Option<&KeyState>) -> Vec<(&'static str, String)> {
    let none = KeyState::default();
    let key = key.unwrap_or(&none);
    let mut facts = vec![(
        "Unfinished deliveries",
        format!("{} under way, {} to make now, {} to try later", key.running, number(key.queued), number(key.waiting)),
    )];
    if let Some(until) = key.held_until {
        facts.push(("None before", Time::from(until).text));
    }
    if key.one_at_a_time {
        facts.push(("After its failures", "one delivery at a time until one arrives".into()));
    }
    if let Some(failing) = webhook.failing {
        let config = &cx.host().config().webhooks;
        facts.push(("Nothing has arrived since", Time::from(failing.since).text));
        facts.push((
            "Failures since then",
            format!(
                "{}; it is disabled when there are {} in {}",
                failing.attempts,
                config.disable_after_attempts,
                HumanDuration(config.disable_after)
            ),
        ));
    }
    facts
}

/// Says how the deliveries of a webhook go.
fn health(webhook: &Webhook, key: Option<&KeyState>) -> State {
    let none = KeyState::default();
    let key = key.unwrap_or(&none);
    let waits = key.queued + key.running + key.waiting;
    if key.policy.as_ref().is_some_and(|policy| policy.paused) {
        return State::off(format!("paused, {waits} wait"));
    }
    match webhook.failing {
        None if waits == 0 => State::good("nothing waits"),
        None => State::waits(format!("{waits} on the way")),
        Some(failing) => State::bad(format!("{} in a row, {waits} wait", counted(failing.attempts.into(), "failure"))),
    }
}

/// Shows one webhook.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    let webhook = cx.webhook("id")?;
    let methods = cx.host().webhooks().methods(&cx.language())?;
    let keys = keys(cx)?;
    let row = row(&webhook, &methods, &keys);
    let method = methods.iter().find(|method| method.id == webhook.method);
    let shown = cx.host().webhooks().shown(std::slice::from_ref(&webhook)).pop();
    let problem = shown.as_ref().and_then(|shown| shown.secrets_problem.clone());
    let filter = TaskFilter {
        webhook: Some(webhook.id),
        // Not those of before, when the webhook was another owner's.
        owner: cx.principal()?.owner.map(OwnerId),
        newest_first: true,
        limit: NEWEST,
        ..TaskFilter::default()
    };
    answer::html(&Detail {
        page: Page::new(cx, webhook.title().to_owned())?,
        may_rotate: method
            .is_some_and(|method| method.form.fields.iter().any(|field| field.format == FieldFormat::Password)),
        enabled: webhook.enabled,
        whole_site: cx.principal()?.owner.is_none(),
        may_change: Access::OwnChange.lets(cx.who.as_ref()),
        reason: webhook.disabled_reason.clone(),
        warning: problem.or_else(|| cx.host().webhooks().url_warning(&webhook.url)),
        options: match cx.host().webhooks().draft(webhook.id) {
            Ok(draft) => options::unusual(&draft, shown.as_ref().is_some_and(|shown| shown.has_identity)),
            // What is wrong is said above.
            Err(_) => Vec::new(),
        },
        settings: shown.map(|shown| settings(&shown, method)).unwrap_or_default(),
        created: webhook.created_at.into(),
        health: facts(cx, &webhook, keys.get(&key_of(&webhook))),
        deliveries: deliveries(cx, &filter)?,
        operations: bulks::rows(cx, Some(webhook.id))?,
        row,
    })
}

/// Returns the settings with their titles, and marks in place of secrets.
fn settings(shown: &ShownWebhook, method: Option<&Method>) -> Vec<(String, String)> {
    let field = |key: &str| method?.form.fields.iter().find(|field| field.key == key);
    let settings = shown.settings.iter().map(|(key, value)| {
        let field = field(key);
        let option = field.and_then(|field| field.options.iter().find(|option| option.value == *value));
        let text = match field.map(|field| field.format) {
            _ if value.is_empty() => "–",
            _ if value == MASK => "••••••••",
            Some(FieldFormat::Boolean) if value == "1" => "yes",
            Some(FieldFormat::Boolean) => "no",
            _ => option.map_or(value.as_str(), |option| &option.title),
        };
        (field.map_or_else(|| key.clone(), |field| field.title.clone()), text.to_owned())
    });
    settings.collect()
}

/// How the audit log names a webhook.
fn object(webhook: &Webhook) -> String {
    format!("webhook {}", webhook.id)
}

fn path(webhook: &Webhook) -> String {
    format!("/webhooks/{}", webhook.id)
}

/// Sends a test event to a webhook.
pub(crate) fn send_test(cx: &Cx) -> Result<Posted, Problem> {
    let webhook = cx.webhook("id")?;
    let event = cx.host().webhooks().send_test(webhook.id)?;
    let message = match (event.tasks.first(), event.immediate.first()) {
        (Some(task), _) => format!("The test event is on its way as task {}; how it ends is shown below.", task.id),
        (None, Some(made)) if made.delivered => "The test event was delivered.".into(),
        (None, Some(made)) => {
            format!("The test event was not delivered: {} {}", made.outcome, made.detail.as_deref().unwrap_or_default())
        }
        (None, None) => "The test event was accepted, and nothing delivers it.".into(),
    };
    let change = Change::new("webhook.test", object(&webhook), path(&webhook)).detail(event.id.to_string());
    Ok(change.message(message).into())
}

/// Enables a webhook.
pub(crate) fn enable(cx: &Cx) -> Result<Posted, Problem> {
    set_enabled(cx, true)
}

/// Disables a webhook.
pub(crate) fn disable(cx: &Cx) -> Result<Posted, Problem> {
    set_enabled(cx, false)
}

fn set_enabled(cx: &Cx, enabled: bool) -> Result<Posted, Problem> {
    let webhook = cx.webhook("id")?;
    if enabled {
        cx.host().webhooks().enable(webhook.id)?;
    } else {
        cx.host().webhooks().disable(webhook.id, None)?;
    }
    let (action, word) = if enabled { ("webhook.enable", "enabled") } else { ("webhook.disable", "disabled") };
    let change = Change::new(action, object(&webhook), path(&webhook)).detail(told_of(&webhook));
    Ok(change.message(format!("Webhook {} is {word}.", webhook.id)).into())
}

/// Returns how many deliveries of a webhook have not ended.
fn unfinished(cx: &Cx, webhook: &Webhook) -> Result<u64, Problem> {
    let mut count = 0;
    for state in [TaskState::Ready, TaskState::Running, TaskState::Waiting] {
        let filter = TaskFilter { webhook: Some(webhook.id), state: Some(state), ..TaskFilter::default() };
        count += cx.host().tasks().count(&filter)?;
    }
    Ok(count)
}

/// Asks whether to disable a webhook.
pub(crate) fn ask_to_disable(cx: &Cx) -> Result<Response, Problem> {
    ask(
        cx,
        "disable",
        "Disable",
        "It gets no events meanwhile: they are not sent later. Unfinished deliveries become dead when their time comes, and can \
         be retried.",
    )
}

/// Asks whether to remove a webhook.
pub(crate) fn ask_to_remove(cx: &Cx) -> Result<Response, Problem> {
    ask(
        cx,
        "remove",
        "Remove",
        "It cannot be brought back, and its settings are gone with it. Unfinished deliveries become dead.",
    )
}

fn ask(cx: &Cx, word: &str, button: &str, consequence: &str) -> Result<Response, Problem> {
    let webhook = cx.webhook("id")?;
    let waiting = counted(unfinished(cx, &webhook)?, "unfinished delivery");
    answer::html(&Ask {
        page: Page::new(cx, format!("{button} webhook {}?", webhook.id))?,
        question: format!("This is webhook {} of owner {}, to {}.", webhook.id, webhook.owner, webhook.title()),
        lines: vec![format!("It has {waiting}."), consequence.to_owned()],
        action: format!("/webhooks/{}/{word}", webhook.id),
        fields: Vec::new(),
        button: format!("{button} 1 webhook"),
        back: path(&webhook),
    })
}

/// How long the former secret signs beside the new one, so that a receiver can be given the new one in between.
const BOTH_SIGN: Duration = Duration::from_secs(24 * 60 * 60);

/// Asks whether to make a new secret.
pub(crate) fn ask_to_rotate(cx: &Cx) -> Result<Response, Problem> {
    let webhook = cx.webhook("id")?;
    answer::html(&Ask {
        page: Page::new(cx, format!("New secret for webhook {}?", webhook.id))?,
        question: format!("This is webhook {} of owner {}, to {}.", webhook.id, webhook.owner, webhook.title()),
        lines: vec!["A new secret is made and shown once. The former one signs beside it for 24 hours.".into()],
        action: format!("{}/rotate", path(&webhook)),
        fields: Vec::new(),
        button: "Make a new secret for 1 webhook".into(),
        back: path(&webhook),
    })
}

#[derive(Template)]
#[template(path = "secret.html")]
struct Secret {
    page: Page,
    secret: String,
    back: String,
}

/// Makes a new secret, and shows once what the receiver needs.
pub(crate) fn rotate(cx: &Cx) -> Result<Posted, Problem> {
    let webhook = cx.webhook("id")?;
    // First, as the secret is to be had only once.
    let page = Page::new(cx, format!("New secret of webhook {}", webhook.id))?;
    let secret = cx.host().webhooks().rotate_secret(webhook.id, BOTH_SIGN)?;
    let shown = answer::html(&Secret { page, secret, back: path(&webhook) })?;
    let change = Change::new("webhook.rotate", object(&webhook), path(&webhook)).detail(told_of(&webhook));
    Ok(change.instead(shown).into())
}

/// Removes a webhook.
pub(crate) fn remove(cx: &Cx) -> Result<Posted, Problem> {
    let webhook = cx.webhook("id")?;
    cx.host().webhooks().remove(webhook.id)?;
    let change = Change::new("webhook.remove", object(&webhook), "/webhooks").detail(told_of(&webhook));
    Ok(change.message(format!("Webhook {} is removed.", webhook.id)).into())
}
