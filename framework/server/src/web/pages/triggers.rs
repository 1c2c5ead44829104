//! The live table of handlers, and trying one.

use std::time::Duration;

use askama::Template;
use axum::response::Response;
use switchboard::{CallTimes, Minicomponent, TriggerNumber};

use super::answer::{self, Change, Posted, Problem};
use super::deliveries::body_text;
use super::show::{State, Time, counted, number, rate, took};
use super::{Cx, Page};
use crate::web::access::Access;

#[derive(Template)]
#[template(path = "triggers.html")]
struct List {
    page: Page,
    folder: String,
    search: String,
    count: String,
    may_fire: bool,
    rows: Vec<Row>,
}

/// A handler in a table.
pub(super) struct Row {
    pub(super) number: String,
    pub(super) name: String,
    pub(super) plugin: String,
    pub(super) tier: String,
    pub(super) state: State,
    pub(super) calls: String,
    pub(super) failures: String,
    /// Calls in a minute.
    pub(super) rate: String,
    pub(super) p50: String,
    pub(super) p95: String,
    pub(super) last_error: Option<LastError>,
}

/// How a handler failed last.
pub(super) struct LastError {
    pub(super) at: Time,
    pub(super) error: String,
}

impl Row {
    pub(super) fn of(one: &Minicomponent) -> Self {
        let times = one.counts.times();
        let time = |time: fn(&CallTimes) -> Duration| times.as_ref().map_or_else(|| "–".into(), |one| took(time(one)));
        Self {
            rate: times.as_ref().map_or_else(|| "–".into(), |times| rate(times.per_minute)),
            p50: time(|times| times.p50),
            p95: time(|times| times.p95),
            last_error: one.counts.last_failure().map(|last| LastError { at: last.at.into(), error: last.error }),
            number: one.number.to_string(),
            name: one.name.clone(),
            plugin: one.plugin.to_string(),
            tier: one.tier.to_string(),
            state: if one.suspension().is_some() { State::bad("suspended") } else { State::good("active") },
            calls: number(one.counts.calls()),
            failures: number(one.counts.failures()),
        }
    }
}

#[derive(Template)]
#[template(path = "trigger.html")]
struct Detail {
    page: Page,
    row: Row,
    may_fire: bool,
    payload: String,
    result: Option<Tried>,
}

/// What a try gave.
struct Tried {
    state: State,
    text: String,
}

/// Lists the handlers in firing order.
pub(crate) fn list(cx: &Cx) -> Result<Response, Problem> {
    let search = cx.query.text("q").unwrap_or_default();
    let wanted = |row: &Row| [&row.number, &row.name, &row.plugin].iter().any(|text| text.contains(search));
    let rows: Vec<Row> = cx.host().registry().iter().map(|one| Row::of(one)).filter(wanted).collect();
    answer::html(&List {
        page: Page::new(cx, "Triggers")?,
        folder: cx.host().data().join("plugins").display().to_string(),
        search: search.to_owned(),
        count: counted(rows.len() as u64, "handler"),
        may_fire: Access::Administrate.lets(cx.who.as_ref()),
        rows,
    })
}

fn find(cx: &Cx) -> Result<(TriggerNumber, Row), Problem> {
    let (number, name): (TriggerNumber, _) = (cx.id("number")?, cx.parameter("name"));
    let registry = cx.host().registry();
    let handler = registry.handler(number, name);
    let handler = handler.ok_or_else(|| Problem::missing(format!("Trigger {number} has no handler `{name}`.")))?;
    Ok((number, Row::of(handler)))
}

/// Shows one handler.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    detail(cx, find(cx)?.1, "{}", None)
}

fn detail(cx: &Cx, row: Row, payload: &str, result: Option<Tried>) -> Result<Response, Problem> {
    let page = Page::new(cx, format!("{} {}", row.number, row.name))?;
    let may_fire = Access::Administrate.lets(cx.who.as_ref());
    answer::html(&Detail { page, row, may_fire, payload: payload.to_owned(), result })
}

/// Calls one handler with a payload.
pub(crate) fn fire(cx: &Cx) -> Result<Posted, Problem> {
    let (number, row) = find(cx)?;
    let payload = cx.form.raw("payload").unwrap_or_default();
    if let Err(error) = serde_json::from_str::<serde_json::Value>(payload) {
        let result = Tried { state: State::bad("not called"), text: format!("the payload is no JSON: {error}") };
        return Ok(Posted::Shown(detail(cx, row, payload, Some(result))?));
    }
    let who = cx.principal()?;
    let run = cx.host().run().actor(&who.name, switchboard::AccessLevel::ADMINISTRATOR).language(cx.language()).start();
    let called = run.trigger_one(number, &row.name, payload.as_bytes());
    let called = called.map_err(|error| Problem::refused(switchboard::error::Chain(&error).to_string()))?;
    let finished = run.finish();
    let mut result = match called.values.first().map(|value| &value.result) {
        Some(Ok(value)) => Tried { state: State::good("it succeeded"), text: body_text(value) },
        Some(Err(error)) => Tried { state: State::bad("it failed"), text: error.to_string() },
        None => Tried { state: State::off("not called"), text: "nothing answers".into() },
    };
    // The handler was called: whatever comes after it, that is one for the audit log.
    let announced = match finished {
        Ok(finished) => format!("{} announced", counted(finished.events.len() as u64, "event")),
        Err(error) => {
            let failed = format!("announcing failed: {}", switchboard::error::Chain(&error));
            let state = State::bad(format!("{}, but announcing failed", result.state.text));
            result = Tried { state, text: format!("{}\n{failed}", result.text) };
            failed
        }
    };
    let detail_text = format!("{}; {announced}", result.state.text);
    let object = format!("trigger {number} {}", row.name);
    let row = find(cx).map_or(row, |(_, row)| row);
    let shown = detail(cx, row, payload, Some(result))?;
    Ok(Change::new("trigger.call", object, "").detail(detail_text).instead(shown).into())
}
