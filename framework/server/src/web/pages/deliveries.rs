//! Deliveries: every attempt, what was sent and what came back.

use std::collections::HashSet;

use askama::Template;
use axum::response::Response;
use switchboard::store::{Attempt, AttemptFilter, AttemptId, ExchangeTimings, HttpExchange, OwnerId, WebhookId};
use switchboard::{DeliveryError, Replay, WebhookError};

use super::answer::{self, Change, Posted, Problem};
use super::form::{Form, query};
use super::show::{State, Time};
use super::tasks::{Filter, REPLAY_WAIT, event, filters, moment};
use super::{Ask, Cx, Page};
use crate::web::access::Access;

/// How many attempts one page shows.
const PAGE: u32 = 50;
const FILTERS: [(&str, &str); 5] =
    [("webhook", "Webhook"), ("event", "Event"), ("outcome", "Outcome"), ("since", "Since"), ("text", "Text in it")];

#[derive(Template)]
#[template(path = "deliveries.html")]
struct List {
    page: Page,
    filters: Vec<Filter>,
    failed: bool,
    rows: Vec<Row>,
    more: Option<String>,
}

/// An attempt in a table.
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) number: u32,
    pub(super) task: Option<i64>,
    pub(super) webhook: Option<i64>,
    pub(super) event: String,
    pub(super) mode: String,
    pub(super) outcome: State,
    pub(super) status: String,
    pub(super) detail: String,
    pub(super) took: String,
    pub(super) started: Time,
    pub(super) next: Option<Time>,
}

impl From<Attempt> for Row {
    fn from(attempt: Attempt) -> Self {
        Self {
            id: attempt.id.0,
            number: attempt.number,
            task: attempt.task.map(|task| task.0),
            webhook: attempt.webhook.map(|webhook| webhook.0),
            outcome: outcome(&attempt),
            status: attempt.status.map_or_else(|| "–".into(), |status| status.to_string()),
            took: attempt.took_ms().map_or_else(|| "–".into(), |ms| format!("{ms} ms")),
            event: attempt.event_name.or_else(|| attempt.event.map(|event| event.0)).unwrap_or_default(),
            mode: attempt.mode.to_string(),
            detail: attempt.detail.unwrap_or_default(),
            started: attempt.started_at.into(),
            next: attempt.next_at.map(Time::from),
        }
    }
}

fn outcome(attempt: &Attempt) -> State {
    match (attempt.outcome.as_deref(), attempt.next_at) {
        (None, _) => State::waits("running"),
        (Some("ok"), _) => State::good("delivered"),
        (Some(code), Some(_)) => State::waits(format!("{code}, tried again")),
        (Some(code), None) => State::bad(code),
    }
}

/// Writes a body for people: JSON with line breaks, and anything else as text.
pub(super) fn body_text(body: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let pretty = json.and_then(|json| serde_json::to_string_pretty(&json).ok());
    pretty.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

fn filter(form: &Form) -> Result<AttemptFilter, Problem> {
    let webhook = form.text("webhook").map(str::parse::<WebhookId>).transpose();
    let after = form.text("after").map(str::parse::<AttemptId>).transpose();
    let (event_id, event_name) = event(form);
    let outcome = form.text("outcome");
    let status = outcome.and_then(|outcome| outcome.parse::<u16>().ok());
    Ok(AttemptFilter {
        webhook: webhook.map_err(|_| Problem::refused("A webhook is named by its number."))?,
        event: event_id,
        event_name,
        status,
        outcome: outcome.filter(|_| status.is_none()).map(str::to_owned),
        failed: form.text("failed").map(|_| true),
        since: moment(form, "since")?,
        text: form.text("text").map(str::to_owned),
        after: after.map_err(|_| Problem::refused("There is no such page."))?,
        limit: PAGE,
        ..AttemptFilter::default()
    })
}

/// Lists attempts; to somebody with an owner, those to that owner's webhooks.
pub(crate) fn list(cx: &Cx) -> Result<Response, Problem> {
    let mut wanted = filter(&cx.query)?;
    let owner = cx.principal()?.owner;
    wanted.owner = owner.map(OwnerId);
    let mut found = cx.host().webhooks().deliveries().find(&wanted)?;
    let last = found.last().filter(|_| found.len() == PAGE as usize).map(|last| last.id.to_string());
    if owner.is_some() {
        // Events of an owner also go to webhooks of the whole site, which are not the owner's affair.
        let own: HashSet<WebhookId> = cx.host().webhooks().list(owner)?.into_iter().map(|webhook| webhook.id).collect();
        found.retain(|attempt| attempt.webhook.is_some_and(|webhook| own.contains(&webhook)));
    }
    let failed = cx.query.text("failed").is_some();
    let more = last.map(|last| {
        let mut fields: Vec<(&str, &str)> =
            FILTERS.iter().map(|(name, _)| (*name, cx.query.text(name).unwrap_or_default())).collect();
        fields.extend([("failed", if failed { "1" } else { "" }), ("after", &last)]);
        format!("/deliveries?{}", query(&fields))
    });
    answer::html(&List {
        page: Page::new(cx, "Deliveries")?,
        filters: filters(&cx.query, &FILTERS),
        failed,
        rows: found.into_iter().map(Row::from).collect(),
        more,
    })
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct Detail {
    page: Page,
    row: Row,
    queued: Option<Time>,
    plugin: String,
    tries: Vec<Row>,
    exchanges: Vec<Exchange>,
    curl: Option<String>,
    may_replay: bool,
}

/// A request and its answer.
struct Exchange {
    request: String,
    body: String,
    answer: String,
    response: String,
    facts: Vec<(&'static str, String)>,
}

fn headers(headers: &[(String, String)]) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

fn exchange(cx: &Cx, attempt: &Attempt, one: &HttpExchange) -> Exchange {
    let body = cx.host().webhooks().deliveries().body(attempt, one).ok().flatten();
    let gone = || format!("{} bytes, not kept; SHA-256 {}", one.body.length, one.body.sha256);
    let status = one.status.map_or_else(|| "no answer".into(), |status| status.to_string());
    let version = one.http_version.clone().unwrap_or_else(|| "HTTP".into());
    let response = match &one.response {
        _ if one.confidential => "a secret, not kept".into(),
        Some(text) if one.truncated => format!("{text}\n… cut"),
        Some(text) => text.clone(),
        None => String::new(),
    };
    Exchange {
        request: format!("{} {}\n{}", one.method, one.url, headers(&one.request_headers)),
        body: body.as_deref().map_or_else(gone, body_text),
        answer: match &one.error {
            Some(error) => error.clone(),
            None => format!("{version} {status}\n{}", headers(&one.response_headers)),
        },
        response,
        facts: facts(one),
    }
}

fn facts(one: &HttpExchange) -> Vec<(&'static str, String)> {
    let ExchangeTimings { dns, connect, tls, first_byte, total, .. } = one.timings;
    let times = [("Name", dns), ("Connection", connect), ("TLS", tls), ("First byte", first_byte), ("All", total)];
    let times =
        times.into_iter().filter_map(|(name, time)| Some((name, format!("{:.1} ms", time?.as_secs_f64() * 1e3))));
    let mut facts: Vec<(&'static str, String)> = times.collect();
    facts.extend(one.remote.clone().map(|remote| ("Connected to", remote)));
    facts.extend(one.tls_version.clone().map(|version| ("TLS version", version)));
    facts
}

/// Returns an attempt that whoever asks may see. Another owner's looks as if there were none.
fn find(cx: &Cx) -> Result<Attempt, Problem> {
    let id: AttemptId = cx.id("id")?;
    let attempt = cx.host().webhooks().deliveries().get(id)?;
    let Some(owner) = cx.principal()?.owner else { return Ok(attempt) };
    let webhook = match attempt.webhook.map(|webhook| cx.host().webhooks().get(webhook)).transpose() {
        Err(WebhookError::Missing { .. }) => None,
        webhook => webhook?,
    };
    // Also of a webhook that was another owner's or the whole site's before, only what was about this owner.
    let is_own = attempt.owner == Some(OwnerId(owner)) && webhook.is_some_and(|webhook| webhook.owner.0 == owner);
    if is_own { Ok(attempt) } else { Err(DeliveryError::Missing { id }.into()) }
}

/// Shows one attempt.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    let attempt = find(cx)?;
    let deliveries = cx.host().webhooks();
    let deliveries = deliveries.deliveries();
    let tries = deliveries.tries(&attempt)?.into_iter().map(Row::from).collect();
    let exchanges = attempt.exchanges.iter().map(|one| exchange(cx, &attempt, one)).collect();
    answer::html(&Detail {
        page: Page::new(cx, format!("Delivery {}", attempt.id))?,
        queued: attempt.queued_at.map(Time::from),
        plugin: format!(
            "{} {}",
            attempt.plugin.as_deref().unwrap_or("–"),
            attempt.plugin_version.as_deref().unwrap_or_default()
        ),
        tries,
        exchanges,
        curl: deliveries.curl(attempt.id).ok(),
        may_replay: Access::OwnChange.lets(cx.who.as_ref()) && attempt.ended_at.is_some(),
        row: Row::from(attempt),
    })
}

#[derive(Template)]
#[template(path = "preview.html")]
struct Previewed {
    page: Page,
    id: i64,
    note: Option<String>,
    requests: Vec<(String, String, Option<String>)>,
}

/// Shows what would be sent now, and sends nothing.
pub(crate) fn preview(cx: &Cx) -> Result<Response, Problem> {
    let attempt = find(cx)?;
    let preview = cx.host().webhooks().deliveries().preview(attempt.id)?;
    let requests = preview.requests.iter().map(|one| {
        let request = &one.request;
        let head = format!("{} {}\n{}", request.method, request.url, headers(&request.request_headers));
        (head, one.body.as_deref().map_or_else(|| "a secret".into(), body_text), one.signed.clone())
    });
    let page = Page::new(cx, format!("What delivery {} would send now", attempt.id))?;
    answer::html(&Previewed { page, id: attempt.id.0, note: preview.note.clone(), requests: requests.collect() })
}

/// Asks whether to make a delivery again.
pub(crate) fn ask_to_replay(cx: &Cx) -> Result<Response, Problem> {
    let attempt = find(cx)?;
    let webhook = attempt.webhook.map_or_else(|| "no webhook".into(), |webhook| format!("webhook {webhook}"));
    answer::html(&Ask {
        page: Page::new(cx, format!("Replay delivery {}?", attempt.id))?,
        question: format!(
            "This is delivery {} of {} to {webhook}.",
            attempt.id,
            attempt.event_name.as_deref().unwrap_or("an event")
        ),
        lines: vec!["The same bytes are sent once more under the same webhook-id, without retries.".into()],
        action: format!("/deliveries/{}/replay", attempt.id),
        fields: Vec::new(),
        button: "Replay 1 delivery".into(),
        back: format!("/deliveries/{}", attempt.id),
    })
}

/// Makes a delivery again.
pub(crate) fn replay(cx: &Cx) -> Result<Posted, Problem> {
    let attempt = find(cx)?;
    let task = cx.host().webhooks().deliveries().replay(attempt.id, Replay::AsSent, &cx.principal()?.name)?;
    // Whatever comes of the wait, the replay is one for the audit log.
    let _ = cx.host().tasks().wait(&[task.id], REPLAY_WAIT);
    let made = cx.host().tasks().attempts(task.id).ok().and_then(|mut attempts| attempts.pop());
    let to = made.map_or_else(|| format!("/deliveries/{}", attempt.id), |made| format!("/deliveries/{}", made.id));
    let change = Change::new("delivery.replay", format!("delivery {}", attempt.id), to);
    Ok(change.detail(format!("as task {}", task.id)).message(format!("Replayed as task {}.", task.id)).into())
}
