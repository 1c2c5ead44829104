//! Deferred tasks: the list with its states, one task, and what can be done with one or with all that match.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use switchboard::channel_log::Search;
use switchboard::store::{
    BulkAction, EventId, NewBulk, OwnerId, Task, TaskFilter, TaskId, TaskState, Timestamp, WebhookId,
};
use switchboard::{BulkError, TriggerNumber};

use super::answer::{self, Change, Posted, Problem};
use super::deliveries::{Row as Attempt, body_text};
use super::form::{Form, query};
use super::logs::Line;
use super::show::{State, Time, counted, number};
use super::webhooks::task_state;
use super::{Ask, Cx, Page};
use crate::web::access::Access;

/// How many tasks one page shows.
const PAGE: u32 = 50;
/// How many tasks a second an operation over many goes through.
const PER_SECOND: u32 = 100;
/// Fields by which tasks are filtered.
const FILTERS: [(&str, &str); 7] = [
    ("webhook", "Webhook"),
    ("owner", "Owner"),
    ("event", "Event"),
    ("number", "Number"),
    ("name", "Handler"),
    ("key", "Key"),
    ("reason", "Reason contains"),
];

#[derive(Template)]
#[template(path = "tasks.html")]
struct List {
    page: Page,
    tabs: Vec<Tab>,
    state: String,
    filters: Vec<Filter>,
    rows: Vec<Row>,
    more: Option<String>,
    batches: Vec<(String, String)>,
    data: String,
}

struct Tab {
    label: String,
    count: String,
    link: String,
    current: bool,
}

/// A field of a filter.
pub(super) struct Filter {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) value: String,
}

struct Row {
    id: i64,
    state: State,
    handler: String,
    webhook: Option<i64>,
    key: String,
    attempts: u32,
    reason: String,
    /// When it is tried next; a task that is not open is not tried.
    due: Option<Time>,
    changed: Time,
}

impl From<&Task> for Row {
    fn from(task: &Task) -> Self {
        Self {
            id: task.id.0,
            state: task_state(task.state),
            handler: format!("{:05} {}", task.number, task.name),
            webhook: task.webhook.map(|webhook| webhook.0),
            key: task.key.clone(),
            attempts: task.attempts,
            reason: task.reason.clone().unwrap_or_default(),
            due: matches!(task.state, TaskState::Ready | TaskState::Waiting).then(|| task.run_at.into()),
            changed: task.updated_at.into(),
        }
    }
}

/// Returns the filter of a query or of a form.
fn filter(form: &Form) -> Result<TaskFilter, Problem> {
    let number = |name: &str, label: &str| match form.text(name).map(str::parse::<i64>).transpose() {
        Ok(number) => Ok(number),
        Err(_) => Err(Problem::refused(format!("{label}: `{}` is no number.", form.text(name).unwrap_or_default()))),
    };
    let state = form.text("state").map(str::parse::<TaskState>).transpose();
    let (event_id, event_name) = event(form);
    Ok(TaskFilter {
        state: state.map_err(|_| Problem::refused("There is no such state of tasks."))?,
        webhook: number("webhook", "Webhook")?.map(WebhookId),
        event: event_id,
        event_name,
        number: form.text("number").map(trigger_number).transpose()?,
        name: form.text("name").map(str::to_owned),
        key: form.text("key").map(str::to_owned),
        reason: form.text("reason").map(str::to_owned),
        owner: number("owner", "Owner")?.map(OwnerId),
        after: number("after", "Page")?.map(TaskId),
        newest_first: true,
        limit: PAGE,
        ..TaskFilter::default()
    })
}

/// Reads which event a filter names: the id of one, or the name of all.
pub(super) fn event(form: &Form) -> (Option<EventId>, Option<String>) {
    match form.text("event") {
        Some(event) if event.starts_with("msg_") => (Some(EventId(event.to_owned())), None),
        event => (None, event.map(str::to_owned)),
    }
}

/// Reads a trigger number. One that is none must not be left out of a filter: everything would match.
fn trigger_number(text: &str) -> Result<u32, Problem> {
    let number = text.parse::<TriggerNumber>().map_err(|error| Problem::refused(format!("Number: {error}.")))?;
    Ok(number.get())
}

/// Writes the query that keeps the filter, with changes.
fn kept(form: &Form, changed: &[(&str, &str)]) -> String {
    let names = FILTERS.iter().map(|(name, _)| *name).chain(["state"]);
    let fields: Vec<(&str, &str)> = names
        .filter(|name| !changed.iter().any(|(other, _)| other == name))
        .map(|name| (name, form.text(name).unwrap_or_default()))
        .chain(changed.iter().copied())
        .collect();
    query(&fields)
}

pub(super) fn filters(form: &Form, names: &[(&'static str, &'static str)]) -> Vec<Filter> {
    let filter = |&(name, label)| Filter { name, label, value: form.text(name).unwrap_or_default().to_owned() };
    names.iter().map(filter).collect()
}

/// Lists tasks.
pub(crate) fn list(cx: &Cx) -> Result<Response, Problem> {
    let wanted = filter(&cx.query)?;
    let counts = cx.host().tasks().counts()?;
    let state = cx.query.text("state").unwrap_or_default();
    let tab = |label: &str, value: &str, count| Tab {
        label: label.to_owned(),
        count: number(count),
        link: format!("/tasks?{}", kept(&cx.query, &[("state", value)])),
        current: state == value,
    };
    let all = counts.ready + counts.running + counts.waiting + counts.done + counts.dead;
    let found = cx.host().tasks().list(&wanted)?;
    let more = found
        .last()
        .filter(|_| found.len() == PAGE as usize)
        .map(|last| format!("/tasks?{}", kept(&cx.query, &[("after", &last.id.to_string())])));
    let batch = |(action, label): (&str, &str)| {
        (format!("/tasks/bulk?{}", kept(&cx.query, &[("action", action)])), label.to_owned())
    };
    let batches =
        [("retry", "Retry all that match"), ("cancel", "Cancel all that match"), ("replay", "Replay all that match")];
    answer::html(&List {
        page: Page::new(cx, "Tasks")?,
        tabs: vec![
            tab("All", "", all),
            tab("Ready", "ready", counts.ready),
            tab("Running", "running", counts.running),
            tab("Waiting", "waiting", counts.waiting),
            tab("Done", "done", counts.done),
            tab("Dead", "dead", counts.dead),
        ],
        state: state.to_owned(),
        filters: filters(&cx.query, &FILTERS),
        rows: found.iter().map(Row::from).collect(),
        more,
        batches: if Access::Operate.lets(cx.who.as_ref()) { batches.map(batch).to_vec() } else { Vec::new() },
        data: cx.host().data().display().to_string(),
    })
}

fn action(form: &Form) -> Result<BulkAction, Problem> {
    let action = form.text("action").unwrap_or_default().parse();
    action.map_err(|_| Problem::refused("It is not said what to do with the tasks."))
}

/// Counts the tasks that match, and asks whether to do something with them.
pub(crate) fn ask_for_many(cx: &Cx) -> Result<Response, Problem> {
    ask(cx, &cx.query, StatusCode::OK, None)
}

fn ask(cx: &Cx, form: &Form, status: StatusCode, first: Option<String>) -> Result<Response, Problem> {
    let (action, filter) = (action(form)?, filter(form)?);
    let total = cx.host().bulks().count(&filter)?;
    let count = counted(total, "task");
    let what = match action {
        BulkAction::Retry => "Those that are dead, done or waiting become ready again, at most 100 a second.",
        BulkAction::Cancel => "Those that are ready or waiting become dead, at most 100 a second.",
        _ => "Those that are done or dead are run once more, each as a task of its own, at most 100 a second.",
    };
    let names = FILTERS.iter().map(|(name, _)| *name).chain(["state"]);
    let mut fields: Vec<(String, String)> =
        names.filter_map(|name| Some((name.to_owned(), form.text(name)?.to_owned()))).collect();
    let matching: Vec<String> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let matching = if matching.is_empty() { "all tasks".to_owned() } else { matching.join(", ") };
    fields.push(("action".to_owned(), action.to_string()));
    fields.push(("expected".to_owned(), total.to_string()));
    let lines = [what, "It goes on in the background, also after a restart, and can be stopped."].map(str::to_owned);
    let ask = Ask {
        page: Page::new(cx, format!("{} {count}?", capital(&action.to_string())))?,
        question: format!("{count} match: {matching}."),
        lines: first.into_iter().chain(lines).collect(),
        action: "/tasks/bulk".into(),
        fields,
        button: format!("{} {count}", capital(&action.to_string())),
        back: format!("/tasks?{}", kept(form, &[])),
    };
    answer::html_with(status, &ask)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Does something with all tasks that match.
pub(crate) fn many(cx: &Cx) -> Result<Posted, Problem> {
    let (action, filter) = (action(&cx.form)?, filter(&cx.form)?);
    let told = serde_json::to_string(&filter).unwrap_or_default();
    let by = Some(cx.principal()?.name.clone());
    // The button has named a number: with another one it is asked again.
    let expected = cx.form.text("expected").map(str::parse).transpose();
    let expected = expected.map_err(|_| Problem::refused("The number of tasks is none."))?;
    let new = NewBulk { action, filter, per_second: PER_SECOND, expected, by };
    let bulk = match cx.host().bulks().start(new) {
        Err(error @ BulkError::OtherCount { .. }) => {
            let said = format!("Nothing was begun: {error}.");
            return Ok(Posted::Shown(ask(cx, &cx.form, StatusCode::UNPROCESSABLE_ENTITY, Some(said))?));
        }
        started => started?,
    };
    let name = match action {
        BulkAction::Retry => "bulk.retry",
        BulkAction::Cancel => "bulk.cancel",
        _ => "bulk.replay",
    };
    let message = format!("{action} of {} has begun.", counted(bulk.total, "task"));
    let change = Change::new(name, counted(bulk.total, "task"), "/operations");
    Ok(change.detail(format!("bulk operation {}, {told}", bulk.id)).message(message).into())
}

#[derive(Template)]
#[template(path = "task.html")]
struct Detail {
    page: Page,
    row: Row,
    number: String,
    name: String,
    event: Option<String>,
    replay_of: Option<i64>,
    accepted: Time,
    waits_for: Option<String>,
    payload: Option<String>,
    attempts: Vec<Attempt>,
    lines: Vec<Line>,
    may: bool,
    can_retry: bool,
    can_cancel: bool,
    can_replay: bool,
}

fn find(cx: &Cx) -> Result<Task, Problem> {
    Ok(cx.host().tasks().get(cx.id::<TaskId>("id")?)?)
}

/// Shows one task.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    let task = find(cx)?;
    let tasks = cx.host().tasks();
    let event = tasks.event(&task)?;
    let body = event.as_ref().map(|event| event.body.as_slice()).or(task.payload.as_deref());
    let search = Search { task: Some(task.id.0), limit: 100, ..Search::default() };
    let lines = cx.host().logs().search(&search).unwrap_or_default();
    answer::html(&Detail {
        page: Page::new(cx, format!("Task {}", task.id))?,
        row: Row::from(&task),
        number: format!("{:05}", task.number),
        name: task.name.clone(),
        event: event.as_ref().map(|event| format!("{} ({})", event.name, event.id)),
        replay_of: task.replay_of.map(|task| task.0),
        accepted: task.created_at.into(),
        waits_for: tasks.waits_for(&task),
        payload: body.filter(|body| !body.is_empty()).map(body_text),
        attempts: tasks.attempts(task.id)?.into_iter().map(Attempt::from).collect(),
        lines: lines.into_iter().map(Line::from).collect(),
        may: Access::Operate.lets(cx.who.as_ref()),
        can_retry: matches!(task.state, TaskState::Dead | TaskState::Done | TaskState::Waiting),
        can_cancel: matches!(task.state, TaskState::Ready | TaskState::Waiting),
        can_replay: matches!(task.state, TaskState::Dead | TaskState::Done),
    })
}

fn path(task: TaskId) -> String {
    format!("/tasks/{task}")
}

/// Makes a task ready again.
pub(crate) fn retry(cx: &Cx) -> Result<Posted, Problem> {
    let task = cx.host().tasks().retry(cx.id("id")?)?;
    let change = Change::new("task.retry", format!("task {}", task.id), path(task.id));
    Ok(change.message(format!("Task {} is ready again.", task.id)).into())
}

/// Asks whether to give a task up.
pub(crate) fn ask_to_cancel(cx: &Cx) -> Result<Response, Problem> {
    let task = find(cx)?;
    answer::html(&Ask {
        page: Page::new(cx, format!("Cancel task {}?", task.id))?,
        question: format!("This is task {}: {:05} {}, key {}.", task.id, task.number, task.name, task.key),
        lines: vec!["It is not run any more, and becomes dead. It can be retried later.".into()],
        action: format!("{}/cancel", path(task.id)),
        fields: Vec::new(),
        button: "Cancel 1 task".into(),
        back: path(task.id),
    })
}

/// Gives a task up.
pub(crate) fn cancel(cx: &Cx) -> Result<Posted, Problem> {
    let id: TaskId = cx.id("id")?;
    if !cx.host().tasks().cancel(id)? {
        return Err(Problem::refused(format!("Task {id} runs or has ended: there is nothing to cancel.")));
    }
    let change = Change::new("task.cancel", format!("task {id}"), path(id));
    Ok(change.message(format!("Task {id} is given up.")).into())
}

/// Asks whether to run a task once more: what it did is done again.
pub(crate) fn ask_to_replay(cx: &Cx) -> Result<Response, Problem> {
    let task = find(cx)?;
    answer::html(&Ask {
        page: Page::new(cx, format!("Replay task {}?", task.id))?,
        question: format!("This is task {}: {:05} {}, key {}.", task.id, task.number, task.name, task.key),
        lines: vec![
            "The same handler is run with the same input, once and without retries: what it did is done again.".into(),
        ],
        action: format!("{}/replay", path(task.id)),
        fields: Vec::new(),
        button: "Replay 1 task".into(),
        back: path(task.id),
    })
}

/// How long the page of a replay waits for its end.
pub(super) const REPLAY_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Runs a task once more, and shows the replay.
pub(crate) fn replay(cx: &Cx) -> Result<Posted, Problem> {
    let id: TaskId = cx.id("id")?;
    let tasks = cx.host().tasks();
    let replay = tasks.replay(id, &cx.principal()?.name)?;
    // Its end is shown at once where it comes soon. Whatever comes of the wait, the replay is one for the audit log.
    let _ = tasks.wait(&[replay.id], REPLAY_WAIT);
    let change = Change::new("task.replay", format!("task {id}"), path(replay.id));
    let message = format!("Task {id} was replayed as task {}; its outcome and its log lines are below.", replay.id);
    Ok(change.detail(format!("as task {}", replay.id)).message(message).into())
}

/// Reads a moment of a form.
pub(super) fn moment(form: &Form, name: &str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = form.text(name) else { return Ok(None) };
    // A browser's field has no seconds and no zone.
    let whole = [text.to_owned(), format!("{text}Z"), format!("{text}:00Z")];
    let moment = whole.iter().find_map(|text| text.parse().ok());
    moment.map(Some).ok_or_else(|| Problem::refused(format!("`{text}` is no time: write it as 2026-11-24T12:00Z.")))
}
