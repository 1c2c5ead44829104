//! Deliveries: every attempt with what was sent and what came back, and making it again.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard::store::{
    Attempt, AttemptFilter, AttemptId, EventId, ExchangeTimings, HttpExchange, OwnerId, TaskId, WebhookId,
};
use switchboard::{DeliveryError, Replay};

use super::answer::{Answer, Failure};
use super::caller::{Call, Caller, Own, OwnChange};
use super::input::{Json, Numbered, Path, Query};
use super::page::{self, Page};
use super::tasks::{Task, time};
use super::webhooks;
use crate::web::App;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/deliveries",
            get_with(list, |op| op.id("listDeliveries").tag("deliveries").summary("List deliveries, the newest first")),
        )
        .api_route(
            "/deliveries/{id}",
            get_with(show, |op| {
                op.id("getDelivery")
                    .tag("deliveries")
                    .summary("Show a delivery with its requests and answers")
                    .description("Secrets are masked in it.")
            }),
        )
        .api_route(
            "/deliveries/{id}/preview",
            get_with(preview, |op| {
                op.id("previewDelivery")
                    .tag("deliveries")
                    .summary("Show what the auth method would send now")
                    .description("Nothing is sent. Secrets are masked in it.")
            }),
        )
        .api_route(
            "/deliveries/{id}/curl",
            get_with(curl, |op| {
                op.id("getCurl")
                    .tag("deliveries")
                    .summary("Give a command for a POSIX shell that makes the request of a delivery again")
                    .description("Secrets are masked in it.")
            }),
        )
        .api_route(
            "/deliveries/{id}/replay",
            post_with(replay, |op| {
                op.id("replayDelivery").tag("deliveries").summary("Make a delivery once more").description(
                    "In a task of its own, once and without retries, also when the webhook is disabled. Its failure counts for \
                     nothing.",
                )
            }),
        )
}

/// An attempt to deliver an event.
#[derive(Serialize, JsonSchema)]
struct Delivery {
    /// Its id.
    id: i64,
    /// The task; none for a delivery that was made at once.
    task: Option<i64>,
    /// The event.
    event: Option<String>,
    /// Name of the event.
    event_name: Option<String>,
    /// Owner of the event.
    owner: Option<i64>,
    /// The webhook.
    webhook: Option<i64>,
    /// Number of the try, from 1.
    number: u32,
    /// Why it was made: `deferred`, `immediate`, `replay`, `bulk` or `test`.
    mode: String,
    /// When it began.
    #[schemars(extend("format" = "date-time"))]
    started_at: String,
    /// When it ended; none while it runs.
    #[schemars(extend("format" = "date-time"))]
    ended_at: Option<String>,
    /// How long after its time it began, in milliseconds.
    lag_ms: Option<i64>,
    /// Outcome code, such as `ok` or `http_5xx`; none while it runs.
    outcome: Option<String>,
    /// HTTP status of the receiver, when one came.
    status: Option<u16>,
    /// A sentence about it.
    detail: Option<String>,
    /// URL of the last request; the values of its query are masked.
    url: Option<String>,
    /// When it was to be tried again.
    #[schemars(extend("format" = "date-time"))]
    next_at: Option<String>,
    /// The plugin that performed it.
    plugin: Option<String>,
    /// Version of the plugin.
    plugin_version: Option<String>,
}

impl From<Attempt> for Delivery {
    fn from(attempt: Attempt) -> Self {
        Self {
            lag_ms: attempt.lag_ms(),
            id: attempt.id.0,
            task: attempt.task.map(|task| task.0),
            event: attempt.event.map(|event| event.0),
            event_name: attempt.event_name,
            owner: attempt.owner.map(|owner| owner.0),
            webhook: attempt.webhook.map(|webhook| webhook.0),
            number: attempt.number,
            mode: attempt.mode.to_string(),
            started_at: attempt.started_at.to_string(),
            ended_at: attempt.ended_at.map(|at| at.to_string()),
            outcome: attempt.outcome,
            status: attempt.status,
            detail: attempt.detail,
            url: attempt.url,
            next_at: attempt.next_at.map(|at| at.to_string()),
            plugin: attempt.plugin,
            plugin_version: attempt.plugin_version,
        }
    }
}

/// A header.
#[derive(Serialize, JsonSchema)]
struct Header {
    /// Its name.
    name: String,
    /// Its value; secrets are `***`.
    value: String,
}

fn headers(headers: Vec<(String, String)>) -> Vec<Header> {
    headers.into_iter().map(|(name, value)| Header { name, value }).collect()
}

/// A request and its answer.
#[derive(Serialize, JsonSchema)]
struct Exchange {
    /// The method.
    method: String,
    /// The URL; the values of its query are masked.
    url: String,
    /// The headers that were sent.
    request_headers: Vec<Header>,
    /// Length of the body that was sent, in bytes.
    body_length: u64,
    /// SHA-256 of that body, in hexadecimal.
    body_sha256: String,
    /// The address and port that were connected to.
    remote: Option<String>,
    /// HTTP version of the answer.
    http_version: Option<String>,
    /// TLS version.
    tls_version: Option<String>,
    /// How long each phase took.
    timings: Timings,
    /// The status that came.
    status: Option<u16>,
    /// The headers of the answer.
    response_headers: Vec<Header>,
    /// The start of the answer's body.
    response: Option<String>,
    /// Whether the answer's body was longer.
    truncated: bool,
    /// Why no whole answer came, such as `connect`.
    error: Option<String>,
}

/// How long each phase took, in milliseconds; `null` for one that did not happen.
#[derive(Serialize, JsonSchema)]
struct Timings {
    dns_ms: Option<f64>,
    connect_ms: Option<f64>,
    tls_ms: Option<f64>,
    /// From the connection to the head of the answer.
    first_byte_ms: Option<f64>,
    total_ms: Option<f64>,
}

impl From<ExchangeTimings> for Timings {
    fn from(timings: ExchangeTimings) -> Self {
        let ms = |phase: Option<std::time::Duration>| phase.map(|phase| phase.as_secs_f64() * 1_000.0);
        Self {
            dns_ms: ms(timings.dns),
            connect_ms: ms(timings.connect),
            tls_ms: ms(timings.tls),
            first_byte_ms: ms(timings.first_byte),
            total_ms: ms(timings.total),
        }
    }
}

impl From<HttpExchange> for Exchange {
    fn from(exchange: HttpExchange) -> Self {
        Self {
            method: exchange.method,
            url: exchange.url,
            request_headers: headers(exchange.request_headers),
            body_length: exchange.body.length,
            body_sha256: exchange.body.sha256,
            remote: exchange.remote,
            http_version: exchange.http_version,
            tls_version: exchange.tls_version,
            timings: exchange.timings.into(),
            status: exchange.status,
            response_headers: headers(exchange.response_headers),
            response: exchange.response,
            truncated: exchange.truncated,
            error: exchange.error,
        }
    }
}

/// A delivery with its requests and answers.
#[derive(Serialize, JsonSchema)]
struct WholeDelivery {
    /// The delivery.
    delivery: Delivery,
    /// Its requests and answers, in order.
    exchanges: Vec<Exchange>,
}

/// Which deliveries to list. One is listed when it matches everything that is given.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// To this webhook.
    #[schemars(range(min = 1))]
    webhook: Option<i64>,
    /// Of events of this owner.
    #[schemars(range(min = 0))]
    owner: Option<i64>,
    /// Of this event.
    event: Option<String>,
    /// Of events of this name.
    event_name: Option<String>,
    /// Of this task.
    #[schemars(range(min = 1))]
    task: Option<i64>,
    /// With this outcome code, such as `ok` or `http_5xx`.
    outcome: Option<String>,
    /// Those that have failed, or those that have not.
    failed: Option<bool>,
    /// Begun at this time or later.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// Begun before this time.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// With this text in what was sent, in the answer, in the URL, or in what is said about the outcome.
    text: Option<String>,
    /// Most items on the page; 50 when left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

async fn list(caller: Caller<Own>, Query(wanted): Query<Wanted>) -> Result<Answer<Page<Delivery>>, Failure> {
    let (limit, after) = (page::limit(wanted.limit)?, page::after(wanted.cursor.as_deref())?);
    let out_of_range = |id: Option<i64>, least: i64| id.is_some_and(|id| id < least);
    if out_of_range(wanted.webhook, 1) || out_of_range(wanted.task, 1) || out_of_range(wanted.owner, 0) {
        let detail = "`webhook`, `task` and `owner` are ids, which are not negative.";
        return Err(Failure::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
    }
    let filter = AttemptFilter {
        webhook: wanted.webhook.map(WebhookId),
        owner: wanted.owner.map(OwnerId),
        event: wanted.event.map(EventId),
        event_name: wanted.event_name,
        task: wanted.task.map(TaskId),
        outcome: wanted.outcome,
        failed: wanted.failed,
        since: time("since", wanted.since)?,
        until: time("until", wanted.until)?,
        text: wanted.text,
        after: after.map(AttemptId),
        limit: limit + 1,
        ..AttemptFilter::default()
    };
    let page = caller.run(move |call| {
        let mut filter = filter;
        if let Some(webhook) = filter.webhook {
            webhooks::find(call, webhook.0)?;
        } else if call.who.owner.is_some() {
            return Err(Failure::forbidden("Name one of your webhooks with `webhook`: you see its deliveries only."));
        }
        if let Some(own) = call.who.owner.map(OwnerId) {
            if filter.owner.is_some_and(|owner| owner != own) {
                return Err(Failure::forbidden("You see deliveries of your own events only: leave `owner` out."));
            }
            // Not those of before, when the webhook was another owner's.
            filter.owner = Some(own);
        }
        let found = call.host().webhooks().deliveries().find(&filter)?;
        let items = found.into_iter().map(Delivery::from).collect();
        Ok(Page::new(items, limit, |delivery: &Delivery| delivery.id))
    });
    page.await.map(Answer)
}

/// Returns a delivery that the caller may see. One to another owner's webhook, or of a time when it was another owner's, is
/// as if there were none.
fn find(call: &Call, id: i64) -> Result<Attempt, Failure> {
    let id = AttemptId(id);
    let attempt = call.host().webhooks().deliveries().get(id)?;
    let is_own = call.who.owner.is_none_or(|own| attempt.owner == Some(OwnerId(own)));
    if is_own && webhooks::sees(call, attempt.webhook) {
        Ok(attempt)
    } else {
        Err(DeliveryError::Missing { id }.into())
    }
}

async fn show(caller: Caller<Own>, Path(Numbered { id }): Path<Numbered>) -> Result<Answer<WholeDelivery>, Failure> {
    let found = caller.run(move |call| {
        let mut attempt = find(call, id)?;
        let exchanges = std::mem::take(&mut attempt.exchanges).into_iter().map(Exchange::from).collect();
        Ok(WholeDelivery { delivery: attempt.into(), exchanges })
    });
    found.await.map(Answer)
}

/// How to make a delivery once more.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Again {
    /// Whether the auth method builds it anew; otherwise the bytes are sent that were sent.
    #[serde(default)]
    rebuild: bool,
}

async fn replay(
    caller: Caller<OwnChange>,
    Path(Numbered { id }): Path<Numbered>,
    Json(again): Json<Again>,
) -> Result<Answer<Task, 201>, Failure> {
    let replayed = caller.run(move |call| {
        let attempt = find(call, id)?;
        let replay = if again.rebuild { Replay::Rebuild } else { Replay::AsSent };
        let task = call.host().webhooks().deliveries().replay(attempt.id, replay, &call.who.name)?;
        call.changed("delivery.replay", &format!("delivery {id}"), &format!("as task {}", task.id))?;
        Ok(task.into())
    });
    replayed.await.map(Answer)
}

/// What a delivery would send now.
#[derive(Serialize, JsonSchema)]
struct Previewed {
    /// The requests, in order.
    requests: Vec<PreviewedRequest>,
    /// Why there is no request, or no whole one.
    note: Option<String>,
}

/// A request that is not sent.
#[derive(Serialize, JsonSchema)]
struct PreviewedRequest {
    /// The method.
    method: String,
    /// The URL; the values of its query are masked.
    url: String,
    /// The headers.
    headers: Vec<Header>,
    /// The body; none of a confidential request, and none that is no text.
    body: Option<String>,
    /// The text of which `webhook-signature` holds the signatures.
    signed: Option<String>,
    /// The same for a POSIX shell.
    curl: String,
}

impl From<switchboard::PreviewedRequest> for PreviewedRequest {
    fn from(one: switchboard::PreviewedRequest) -> Self {
        Self {
            curl: one.curl(),
            method: one.request.method,
            url: one.request.url,
            headers: headers(one.request.request_headers),
            body: one.body.and_then(|body| String::from_utf8(body).ok()),
            signed: one.signed,
        }
    }
}

async fn preview(caller: Caller<Own>, Path(Numbered { id }): Path<Numbered>) -> Result<Answer<Previewed>, Failure> {
    let previewed = caller.run(move |call| {
        let preview = call.host().webhooks().deliveries().preview(find(call, id)?.id)?;
        let requests = preview.requests.into_iter().map(PreviewedRequest::from).collect();
        Ok(Previewed { requests, note: preview.note })
    });
    previewed.await.map(Answer)
}

/// A command for a shell.
#[derive(Serialize, JsonSchema)]
struct Curl {
    /// The command.
    curl: String,
}

async fn curl(caller: Caller<Own>, Path(Numbered { id }): Path<Numbered>) -> Result<Answer<Curl>, Failure> {
    let written =
        caller.run(move |call| Ok(Curl { curl: call.host().webhooks().deliveries().curl(find(call, id)?.id)? }));
    written.await.map(Answer)
}
