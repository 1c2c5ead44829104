//! Deferred tasks and their attempts.

use std::borrow::Cow;
use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use switchboard::TaskError;
use switchboard::store::{
    Attempt as StoredAttempt, EventId, OwnerId, Task as Stored, TaskFilter, TaskId, TaskState, Timestamp, WebhookId,
};

use super::answer::{Answer, Failure};
use super::caller::{Call, Caller, Own, OwnChange, Site};
use super::input::{Numbered, Path, Query};
use super::page::{self, Page};
use super::webhooks;
use crate::web::App;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/tasks",
            get_with(list, |op| {
                op.id("listTasks").tag("tasks").summary("List tasks, the newest first").description(
                    "A caller that is limited to one owner names one of the owner's webhooks with `webhook`.",
                )
            }),
        )
        .api_route(
            "/tasks/counts",
            get_with(counts, |op| op.id("countTasks").tag("tasks").summary("Count the tasks in each state")),
        )
        .api_route(
            "/tasks/{id}",
            get_with(show, |op| op.id("getTask").tag("tasks").summary("Show a task and its attempts")),
        )
        .api_route(
            "/tasks/{id}/retry",
            post_with(retry, |op| {
                op.id("retryTask")
                    .tag("tasks")
                    .summary("Make a task ready now")
                    .description("For a task that is waiting, dead or done; its schedule begins anew.")
            }),
        )
        .api_route(
            "/tasks/{id}/cancel",
            post_with(cancel, |op| op.id("cancelTask").tag("tasks").summary("Give up a task that is ready or waiting")),
        )
        .api_route(
            "/tasks/{id}/replay",
            post_with(replay, |op| {
                op.id("replayTask")
                    .tag("tasks")
                    .summary("Do once more what a task did")
                    .description("In a task of its own, once and without retries, with the same input.")
            }),
        )
}

/// State of a task.
#[derive(Clone, Copy)]
pub(super) struct State(TaskState);

impl State {
    pub(super) fn get(self) -> TaskState {
        self.0
    }
}

impl From<TaskState> for State {
    fn from(state: TaskState) -> Self {
        Self(state)
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for State {
    fn schema_name() -> Cow<'static, str> {
        "State".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "State of a task.",
            "enum": TaskState::ALL.map(|state| state.to_string()),
        })
    }
}

/// A deferred task.
#[derive(Serialize, JsonSchema)]
pub(super) struct Task {
    /// Its id.
    id: i64,
    /// Its state.
    state: State,
    /// Why it is waiting or dead.
    reason: Option<String>,
    /// Event that it delivers.
    event: Option<String>,
    /// Webhook that it delivers to.
    webhook: Option<i64>,
    /// Trigger number of its handler, five digits.
    number: String,
    /// Event name of its handler.
    name: String,
    /// Key under which it shares a cap with others.
    key: String,
    /// Remote host and port.
    host: Option<String>,
    /// How many attempts were made.
    attempts: u32,
    /// When it is due, or was.
    #[schemars(extend("format" = "date-time"))]
    run_at: String,
    /// Task whose replay it is.
    replay_of: Option<i64>,
    /// When it was accepted.
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    /// When its state last changed.
    #[schemars(extend("format" = "date-time"))]
    updated_at: String,
}

impl From<Stored> for Task {
    fn from(task: Stored) -> Self {
        Self {
            id: task.id.0,
            state: task.state.into(),
            reason: task.reason,
            event: task.event.map(|event| event.0),
            webhook: task.webhook.map(|webhook| webhook.0),
            number: format!("{:05}", task.number),
            name: task.name,
            key: task.key,
            host: task.host,
            attempts: task.attempts,
            run_at: task.run_at.to_string(),
            replay_of: task.replay_of.map(|task| task.0),
            created_at: task.created_at.to_string(),
            updated_at: task.updated_at.to_string(),
        }
    }
}

/// An attempt of a task.
#[derive(Serialize, JsonSchema)]
struct Attempt {
    /// Its number, from 1.
    number: u32,
    /// When it began.
    #[schemars(extend("format" = "date-time"))]
    started_at: String,
    /// When it ended; none while it runs.
    #[schemars(extend("format" = "date-time"))]
    ended_at: Option<String>,
    /// Outcome code, such as `ok` or `http_5xx`; none while it runs.
    outcome: Option<String>,
    /// HTTP status of the receiver, when one came.
    status: Option<u16>,
    /// A sentence about it.
    detail: Option<String>,
    /// URL of the last request; the values of its query are masked.
    url: Option<String>,
    /// Start of the answer's body.
    response: Option<String>,
}

impl From<StoredAttempt> for Attempt {
    fn from(attempt: StoredAttempt) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at.to_string(),
            ended_at: attempt.ended_at.map(|at| at.to_string()),
            outcome: attempt.outcome,
            status: attempt.status,
            detail: attempt.detail,
            url: attempt.url,
            response: attempt.response,
        }
    }
}

/// A task and its attempts.
#[derive(Serialize, JsonSchema)]
struct TaskWithAttempts {
    /// The task.
    task: Task,
    /// Its attempts, the first first.
    attempts: Vec<Attempt>,
}

/// Which tasks to list. A task is listed when it matches everything that is given.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// In this state.
    state: Option<State>,
    /// Of this webhook.
    #[schemars(range(min = 1))]
    webhook: Option<i64>,
    /// Of this event.
    event: Option<String>,
    /// Under this key.
    key: Option<String>,
    /// Accepted at this time or later.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// Accepted before this time.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// Whose reason contains this text.
    reason: Option<String>,
    /// Most items on the page; 50 when left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

async fn list(caller: Caller<Own>, Query(wanted): Query<Wanted>) -> Result<Answer<Page<Task>>, Failure> {
    let (limit, after) = (page::limit(wanted.limit)?, page::after(wanted.cursor.as_deref())?);
    let filter = TaskFilter {
        state: wanted.state.map(|State(state)| state),
        webhook: wanted.webhook.map(WebhookId),
        event: wanted.event.map(EventId),
        key: wanted.key,
        since: time("since", wanted.since)?,
        until: time("until", wanted.until)?,
        reason: wanted.reason,
        after: after.map(TaskId),
        newest_first: true,
        limit: limit + 1,
        ..TaskFilter::default()
    };
    let page = caller.run(move |call| {
        // Not those of before, when the webhook was another owner's.
        let filter = TaskFilter { owner: call.who.owner.map(OwnerId), ..filter };
        match filter.webhook {
            Some(webhook) => drop(webhooks::find(call, webhook.0)?),
            None if call.who.owner.is_some() => {
                return Err(Failure::forbidden("Name one of your webhooks with `webhook`: you see its tasks only."));
            }
            None => {}
        }
        let tasks = call.host().tasks().list(&filter)?;
        Ok(Page::new(tasks.into_iter().map(Task::from).collect(), limit, |task| task.id))
    });
    page.await.map(Answer)
}

/// Reads a point in time.
pub(super) fn time(field: &str, given: Option<String>) -> Result<Option<Timestamp>, Failure> {
    let wrong = |error| {
        let status = axum::http::StatusCode::BAD_REQUEST;
        Failure::new(status, "invalid_query", format!("`{field}` is {error}."))
    };
    given.map(|text| text.parse().map_err(wrong)).transpose()
}

/// How many tasks are in each state.
#[derive(Serialize, JsonSchema)]
struct Counts {
    ready: u64,
    running: u64,
    waiting: u64,
    done: u64,
    dead: u64,
}

async fn counts(caller: Caller<Site>) -> Result<Answer<Counts>, Failure> {
    let counts = caller.run(|call| Ok(call.host().tasks().counts()?)).await?;
    let switchboard::store::TaskCounts { ready, running, waiting, done, dead } = counts;
    Ok(Answer(Counts { ready, running, waiting, done, dead }))
}

/// Returns a task that the caller may see. One of another owner's webhook is as if there were none.
fn find(call: &Call, id: i64) -> Result<Stored, Failure> {
    let id = TaskId(id);
    let task = call.host().tasks().get(id)?;
    if call.who.owner.is_none() {
        return Ok(task);
    }
    let event = call.host().tasks().event(&task)?;
    let own = event.is_some_and(|event| call.sees(event.owner.0))
        && task.webhook.is_some_and(|webhook| webhooks::find(call, webhook.0).is_ok());
    if own { Ok(task) } else { Err(TaskError::Missing { id }.into()) }
}

async fn show(caller: Caller<Own>, Path(Numbered { id }): Path<Numbered>) -> Result<Answer<TaskWithAttempts>, Failure> {
    let found = caller.run(move |call| {
        let task = find(call, id)?;
        let attempts = call.host().tasks().attempts(task.id)?;
        Ok(TaskWithAttempts { task: task.into(), attempts: attempts.into_iter().map(Attempt::from).collect() })
    });
    found.await.map(Answer)
}

async fn retry(caller: Caller<OwnChange>, Path(Numbered { id }): Path<Numbered>) -> Result<Answer<Task>, Failure> {
    let retried = caller.run(move |call| {
        let task = call.host().tasks().retry(find(call, id)?.id)?;
        call.changed("task.retry", &format!("task {id}"), "")?;
        Ok(task.into())
    });
    retried.await.map(Answer)
}

async fn cancel(caller: Caller<OwnChange>, Path(Numbered { id }): Path<Numbered>) -> Result<Answer<Task>, Failure> {
    let cancelled = caller.run(move |call| {
        let task = find(call, id)?;
        if !call.host().tasks().cancel(task.id)? {
            let state = call.host().tasks().get(task.id)?.state;
            let detail = format!("Task {id} is {state}: only a task that is ready or waiting can be cancelled.");
            return Err(Failure::refused("refused", detail));
        }
        call.changed("task.cancel", &format!("task {id}"), "")?;
        Ok(call.host().tasks().get(task.id)?.into())
    });
    cancelled.await.map(Answer)
}

async fn replay(
    caller: Caller<OwnChange>,
    Path(Numbered { id }): Path<Numbered>,
) -> Result<Answer<Task, 201>, Failure> {
    let replayed = caller.run(move |call| {
        let task = call.host().tasks().replay(find(call, id)?.id, &call.who.name)?;
        call.changed("task.replay", &format!("task {id}"), &format!("as task {}", task.id))?;
        Ok(task.into())
    });
    replayed.await.map(Answer)
}
