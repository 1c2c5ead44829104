//! Announcing events.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use switchboard::store::{EventId, TaskFilter};
use switchboard::{AnnounceError, AnnouncedEvent, FinishError, Notification, Run, event_catalogue};

use super::answer::{Answer, Failure};
use super::caller::{Call, Caller, Own, OwnChange};
use super::input::{IdempotencyKey, Json, Path};
use super::tasks::State;
use super::webhooks;
use crate::web::App;

/// Most events in one call.
const MOST: usize = 1_000;
/// Most tasks that are shown of one event.
const MOST_TASKS: u32 = 1_000;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/events",
            post_with(announce, |op| {
                op.id("announceEvent").tag("events").summary("Announce an event").description(
                    "The answer comes when the event and its deliveries are on disk; they are made in the background. \
                     Announced again under the same idempotency key within a day, an event with the same content is the \
                     event of the first time (`known`); another content is refused with 422 `key_taken`.",
                )
            }),
        )
        .api_route(
            "/events/batch",
            post_with(announce_batch, |op| {
                op.id("announceEvents").tag("events").summary("Announce many events").description(
                    "All of them are accepted in one commit, or none. Each may have an idempotency key of its own.",
                )
            }),
        )
        .api_route(
            "/events/{id}",
            get_with(show, |op| op.id("getEvent").tag("events").summary("Show an event and its deliveries")),
        )
        .api_route(
            "/event-names",
            get_with(names, |op| {
                op.id("listEventNames").tag("events").summary("List the event names that are known").description(
                    "Other names may be announced as well; these are the ones that the webhooks' event filter offers.",
                )
            }),
        )
}

/// An event to announce.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewEvent {
    /// Its name.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,100}$"))]
    event: String,
    /// Owner of the subject that it is about; 0 is the whole site. The caller's own when left out, else 0.
    #[schemars(range(min = 0))]
    owner: Option<i64>,
    /// Its properties. They are sent as they are written, digit by digit.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    data: Option<Box<RawValue>>,
    /// Task of the host application that caused it, such as `save_booking`.
    task: Option<String>,
    /// What keeps it from being announced twice.
    #[schemars(regex(pattern = r"^[!-~]{1,255}$"))]
    idempotency_key: Option<String>,
}

/// Events to announce in one commit.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewEvents {
    /// The events.
    #[schemars(length(min = 1, max = 1000))]
    events: Vec<NewEvent>,
}

/// An event that was accepted.
#[derive(Serialize, JsonSchema)]
pub(super) struct Announced {
    /// Its id. Receivers see it as `webhook-id`.
    id: String,
    /// Its name.
    event: String,
    /// Whether it was announced before under the same idempotency key.
    known: bool,
    /// The tasks that deliver it.
    tasks: Vec<Delivery>,
    /// The deliveries that were made at once.
    immediate: Vec<Immediate>,
}

/// A task that delivers an event.
#[derive(Serialize, JsonSchema)]
struct Delivery {
    /// The task.
    task: i64,
    /// The webhook.
    webhook: i64,
}

/// A delivery that was made at once.
#[derive(Serialize, JsonSchema)]
struct Immediate {
    /// The webhook.
    webhook: i64,
    /// Whether the receiver has the event.
    delivered: bool,
    /// Outcome code, such as `ok` or `http_5xx`.
    outcome: String,
    /// HTTP status of the receiver, when one came.
    status: Option<u16>,
    /// A sentence about it.
    detail: Option<String>,
}

impl Announced {
    /// Says what became of an event, as far as it went to webhooks that the caller may see.
    pub(super) fn of(call: &Call, mut event: AnnouncedEvent) -> Self {
        event.tasks.retain(|task| webhooks::sees(call, Some(task.webhook)));
        event.immediate.retain(|one| webhooks::sees(call, Some(one.webhook)));
        let immediate = event.immediate.into_iter().map(|one| Immediate {
            webhook: one.webhook.0,
            delivered: one.delivered,
            outcome: one.outcome,
            status: one.status,
            detail: one.detail,
        });
        Self {
            id: event.id.0,
            event: event.name,
            known: event.known,
            tasks: event.tasks.iter().map(|task| Delivery { task: task.id.0, webhook: task.webhook.0 }).collect(),
            immediate: immediate.collect(),
        }
    }
}

/// Events that were accepted, in the order in which they were given.
#[derive(Serialize, JsonSchema)]
struct AnnouncedEvents {
    /// The events.
    events: Vec<Announced>,
}

async fn announce(
    caller: Caller<OwnChange>,
    IdempotencyKey(key): IdempotencyKey,
    Json(mut new): Json<NewEvent>,
) -> Result<Answer<Announced, 201>, Failure> {
    if let Some(key) = key {
        if new.idempotency_key.as_ref().is_some_and(|other| *other != key) {
            let detail =
                "The header `Idempotency-Key` and the field `idempotency_key` are different: send one of them.";
            return Err(Failure::refused("invalid_key", detail));
        }
        new.idempotency_key = Some(key);
    }
    let event = caller.run(move |call| accept(call, vec![new])).await?.pop();
    event.map(Answer).ok_or_else(|| Failure::refused("refused", "The event was not accepted."))
}

async fn announce_batch(
    caller: Caller<OwnChange>,
    Json(new): Json<NewEvents>,
) -> Result<Answer<AnnouncedEvents, 201>, Failure> {
    if !(1..=MOST).contains(&new.events.len()) {
        let detail =
            format!("There are {} events in the call: 1 to {MOST} can be announced at once.", new.events.len());
        return Err(Failure::refused("invalid_body", detail));
    }
    let events = caller.run(move |call| accept(call, new.events)).await?;
    Ok(Answer(AnnouncedEvents { events }))
}

/// Announces events that may have different tasks in one commit.
fn accept(call: &Call, events: Vec<NewEvent>) -> Result<Vec<Announced>, Failure> {
    let count = events.len();
    // A run belongs to one task of the application. Only what is announced in the same run is committed together.
    let mut tasks: Vec<Option<String>> = events.iter().map(|event| event.task.clone()).collect();
    tasks.dedup();
    if tasks.len() > 1 {
        return Err(Failure::refused("different_tasks", "The events of one call have to have the same `task`."));
    }
    let mut run = call.host().run();
    if let Some(task) = tasks.pop().flatten() {
        run = run.task(task);
    }
    let mut run = run.start();
    for (index, new) in events.into_iter().enumerate() {
        if let Err(failure) = announce_one(call, &mut run, new, (index, count)) {
            run.discard();
            return Err(failure);
        }
    }
    let finished = run.finish().map_err(|error| match error {
        FinishError::KeyTaken { .. } => Failure::refused("key_taken", error.to_string()),
        error => Failure::unavailable(&error),
    })?;
    Ok(finished.events.into_iter().map(|event| Announced::of(call, event)).collect())
}

fn announce_one(call: &Call, run: &mut Run, new: NewEvent, place: (usize, usize)) -> Result<(), Failure> {
    let owner = call.owner(new.owner)?;
    let data = new.data.map_or_else(|| "{}".to_owned(), |data| data.get().to_owned());
    let mut notification = Notification::from_json(new.event, data).owner(owner);
    if let Some(key) = new.idempotency_key {
        notification = notification.idempotency_key(key);
    }
    run.announce(notification).map(drop).map_err(|error| refused(place, &error))
}

fn refused((index, count): (usize, usize), error: &AnnounceError) -> Failure {
    let said = switchboard::error::Chain(error).to_string();
    let detail = if count > 1 { format!("Event {index} of {count}: {said}; no event was accepted") } else { said };
    match error {
        AnnounceError::KeyTaken { .. } => Failure::refused("key_taken", detail),
        AnnounceError::Key { .. } => Failure::refused("invalid_key", detail),
        AnnounceError::Store { .. } => Failure::unavailable(error),
        AnnounceError::TooLarge { .. } => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail),
        _ => Failure::refused("invalid_event", detail),
    }
}

/// An event.
#[derive(Serialize, JsonSchema)]
struct Event {
    /// Its id.
    id: String,
    /// Its name.
    event: String,
    /// Owner of the subject that it is about.
    owner: i64,
    /// Task of the host application that caused it.
    task: Option<String>,
    /// Deferred task whose handler announced it, when one did.
    cause: Option<i64>,
    /// When it was announced.
    #[schemars(extend("format" = "date-time"))]
    at: String,
    /// What is sent; gone after the last delivery, except in development mode.
    body: Option<String>,
    /// The tasks that deliver it, at most 1,000.
    tasks: Vec<EventTask>,
}

/// A task that delivers an event.
#[derive(Serialize, JsonSchema)]
struct EventTask {
    /// The task.
    task: i64,
    /// The webhook.
    webhook: Option<i64>,
    /// Its state.
    state: State,
    /// How many attempts were made.
    attempts: u32,
}

/// The path of an event.
#[derive(Deserialize, JsonSchema)]
struct EventPath {
    /// Its id, `msg_` and a ULID.
    id: String,
}

async fn show(caller: Caller<Own>, Path(EventPath { id }): Path<EventPath>) -> Result<Answer<Event>, Failure> {
    let found = caller.run(move |call| {
        let id = EventId(id);
        let missing = || Failure::missing("There is no such event, or it was removed with its last task.");
        let event = call.host().event(&id)?.filter(|event| call.sees(event.owner.0)).ok_or_else(missing)?;
        let filter = TaskFilter { event: Some(id), limit: MOST_TASKS, ..TaskFilter::default() };
        let mut tasks = call.host().tasks().list(&filter)?;
        // An owner's events also go to webhooks of the whole site, which are not the owner's affair.
        tasks.retain(|task| webhooks::sees(call, task.webhook));
        Ok(Event {
            id: event.id.0,
            event: event.name,
            owner: event.owner.0,
            task: event.task,
            cause: event.cause.map(|task| task.0),
            at: event.at.to_string(),
            body: String::from_utf8(event.body).ok().filter(|body| !body.is_empty()),
            tasks: tasks
                .into_iter()
                .map(|task| EventTask {
                    task: task.id.0,
                    webhook: task.webhook.map(|webhook| webhook.0),
                    state: task.state.into(),
                    attempts: task.attempts,
                })
                .collect(),
        })
    });
    found.await.map(Answer)
}

/// An event name.
#[derive(Serialize, JsonSchema)]
struct EventName {
    /// The name.
    name: &'static str,
    /// The properties that it carries.
    properties: Vec<&'static str>,
}

async fn names(caller: Caller<Own>) -> Result<Answer<Vec<EventName>>, Failure> {
    let known = || event_catalogue().into_iter().map(|kind| EventName { name: kind.name, properties: kind.properties });
    caller.run(move |_| Ok(known().collect())).await.map(Answer)
}
