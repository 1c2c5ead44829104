//! Something that is done with every task that matches: counted first, then done in the background.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchboard::store::{
    Bulk as Stored, BulkAction, BulkId, BulkState, EventId, NewBulk, OwnerId, TaskFilter, WebhookId,
};
use switchboard::{BulkError, TriggerNumber};

use super::answer::{Answer, Failure};
use super::caller::{Call, Caller, Operate, Own, OwnChange};
use super::input::{Json, Numbered, Path};
use super::tasks::{State, time};
use crate::web::App;

/// Tasks a second when nothing is said.
pub(super) const USUAL_PER_SECOND: u32 = 100;

/// What a caller with an owner sees of the operations.
const OF_AN_OWNER: &str = "A caller that is limited to one owner sees recoveries of the owner's webhooks, and may pause, resume and stop them.";

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/bulk-operations",
            get_with(list, |op| {
                op.id("listBulkOperations")
                    .tag("bulk operations")
                    .summary("List the operations, the newest first")
                    .description(OF_AN_OWNER)
            })
            .post_with(start, |op| {
                op.id("startBulkOperation")
                    .tag("bulk operations")
                    .summary("Do something with every task that matches")
                    .description(
                        "It goes on in the background in small steps, also after a restart of the host. With `expected`, the \
                         number that was counted before, nothing is begun when another number matches now.",
                    )
            }),
        )
        .api_route(
            "/bulk-operations/count",
            post_with(count, |op| {
                op.id("countBulkOperation")
                    .tag("bulk operations")
                    .summary("Count the tasks that match; nothing is done with them")
            }),
        )
        .api_route(
            "/bulk-operations/{id}",
            get_with(show, |op| {
                op.id("getBulkOperation")
                    .tag("bulk operations")
                    .summary("Show how far an operation is")
                    .description(OF_AN_OWNER)
            }),
        )
        .api_route(
            "/bulk-operations/{id}/pause",
            post_with(pause, |op| {
                op.id("pauseBulkOperation").tag("bulk operations").summary("Let an operation wait")
            }),
        )
        .api_route(
            "/bulk-operations/{id}/resume",
            post_with(resume, |op| {
                op.id("resumeBulkOperation").tag("bulk operations").summary("Let an operation go on")
            }),
        )
        .api_route(
            "/bulk-operations/{id}/stop",
            post_with(stop, |op| {
                op.id("stopBulkOperation")
                    .tag("bulk operations")
                    .summary("End an operation")
                    .description("What it has done stays.")
            }),
        )
}

/// What is done.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// Tasks that are dead, done or waiting become ready.
    Retry,
    /// Tasks that are ready or waiting become dead.
    Cancel,
    /// Tasks that are done or dead are run once more, each as a task of its own without retries.
    Replay,
    /// The same for those that have delivered an event, or tried to, with the bytes that each sent last.
    #[serde(rename = "replay_as_sent")]
    ReplayAsSent,
}

impl From<Action> for BulkAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Retry => Self::Retry,
            Action::Cancel => Self::Cancel,
            Action::Replay => Self::Replay,
            Action::ReplayAsSent => Self::ReplayAsSent,
        }
    }
}

/// Which tasks. One matches when it matches everything that is given; all do when nothing is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// In this state.
    state: Option<State>,
    /// Of this webhook.
    #[schemars(range(min = 1))]
    webhook: Option<i64>,
    /// Of this event.
    event: Option<String>,
    /// Of events of this name.
    event_name: Option<String>,
    /// Of events of this owner.
    #[schemars(range(min = 0))]
    owner: Option<i64>,
    /// Whose event has never arrived at their webhook.
    #[serde(default)]
    undelivered: bool,
    /// Of this trigger number, such as `07320`.
    #[schemars(regex(pattern = r"^[0-9]{1,5}$"))]
    number: Option<String>,
    /// With this event name of the handler.
    name: Option<String>,
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
}

impl Which {
    fn filter(self) -> Result<TaskFilter, Failure> {
        let out_of_range = |id: Option<i64>, least: i64| id.is_some_and(|id| id < least);
        if out_of_range(self.webhook, 1) || out_of_range(self.owner, 0) {
            return Err(Failure::refused("invalid_body", "`webhook` and `owner` are ids, which are not negative."));
        }
        let moment = |field: &str, given| time(field, given).map_err(|wrong| wrong.of_body());
        let number = self.number.map(|number| number.parse::<TriggerNumber>()).transpose();
        let number = number.map_err(|error| Failure::refused("invalid_body", format!("`number`: {error}.")))?;
        Ok(TaskFilter {
            state: self.state.map(State::get),
            webhook: self.webhook.map(WebhookId),
            event: self.event.map(EventId),
            event_name: self.event_name,
            owner: self.owner.map(OwnerId),
            undelivered: self.undelivered,
            number: number.map(TriggerNumber::get),
            name: self.name,
            key: self.key,
            since: moment("since", self.since)?,
            until: moment("until", self.until)?,
            reason: self.reason,
            ..TaskFilter::default()
        })
    }
}

/// An operation to start.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewOperation {
    /// What is done.
    action: Action,
    /// With which tasks.
    tasks: Which,
    /// At most so many tasks a second; 100 when left out.
    #[schemars(range(min = 1, max = 10000))]
    per_second: Option<u32>,
    /// How many tasks the caller expects to match.
    expected: Option<u64>,
}

/// What would be counted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Counting {
    /// Which tasks.
    tasks: Which,
}

/// How many tasks match.
#[derive(Serialize, JsonSchema)]
pub(super) struct Count {
    /// The number.
    pub(super) total: u64,
}

/// An operation.
#[derive(Serialize, JsonSchema)]
pub(super) struct Operation {
    /// Its id.
    id: i64,
    /// What is done: `retry`, `cancel`, `replay` or `replay_as_sent`.
    action: String,
    /// With which tasks.
    #[schemars(with = "serde_json::Map<String, Value>")]
    tasks: Value,
    /// At most so many tasks a second.
    per_second: u32,
    /// Its state: `running`, `paused`, `done` or `cancelled`.
    state: String,
    /// How many tasks matched when it began.
    total: u64,
    /// How many were looked at.
    seen: u64,
    /// With how many something was done; the others had changed meanwhile.
    changed: u64,
    /// Who began it.
    by: Option<String>,
    /// When it began.
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    /// When it last went on.
    #[schemars(extend("format" = "date-time"))]
    updated_at: String,
}

impl From<Stored> for Operation {
    fn from(bulk: Stored) -> Self {
        Self {
            id: bulk.id.0,
            action: bulk.action.to_string(),
            tasks: serde_json::to_value(&bulk.filter).unwrap_or_default(),
            per_second: bulk.per_second,
            state: bulk.state.to_string(),
            total: bulk.total,
            seen: bulk.seen,
            changed: bulk.changed,
            by: bulk.by,
            created_at: bulk.created_at.to_string(),
            updated_at: bulk.updated_at.to_string(),
        }
    }
}

async fn list(caller: Caller<Own>) -> Result<Answer<Vec<Operation>>, Failure> {
    let listed = caller.run(|call| {
        let all = call.host().bulks().list()?.into_iter();
        Ok(all.filter(|bulk| call.who.sees_bulk(call.host(), bulk)).map(Operation::from).collect())
    });
    listed.await.map(Answer)
}

/// Returns an operation that the caller may see. Another one is as if there were none.
fn find(call: &Call, id: i64) -> Result<Operation, Failure> {
    let id = BulkId(id);
    let bulk = call.host().bulks().get(id)?;
    if call.who.sees_bulk(call.host(), &bulk) { Ok(bulk.into()) } else { Err(BulkError::Missing { id }.into()) }
}

async fn show(caller: Caller<Own>, Path(Numbered { id }): Path<Numbered>) -> Result<Answer<Operation>, Failure> {
    caller.run(move |call| find(call, id)).await.map(Answer)
}

async fn count(caller: Caller<Operate>, Json(counting): Json<Counting>) -> Result<Answer<Count>, Failure> {
    let filter = counting.tasks.filter()?;
    caller.run(move |call| Ok(Count { total: call.host().bulks().count(&filter)? })).await.map(Answer)
}

async fn start(caller: Caller<Operate>, Json(new): Json<NewOperation>) -> Result<Answer<Operation, 201>, Failure> {
    let (action, filter) = (BulkAction::from(new.action), new.tasks.filter()?);
    let per_second = new.per_second.unwrap_or(USUAL_PER_SECOND);
    let started = caller.run(move |call| {
        let by = Some(call.who.name.clone());
        let new = NewBulk { action, filter, per_second, expected: new.expected, by };
        let bulk = call.host().bulks().start(new).map_err(|error| match error {
            BulkError::OtherCount { .. } => Failure::refused("other_count", error.to_string()),
            error => error.into(),
        })?;
        let name = match action {
            BulkAction::Retry => "bulk.retry",
            BulkAction::Cancel => "bulk.cancel",
            _ => "bulk.replay",
        };
        let told = serde_json::to_string(&bulk.filter).unwrap_or_default();
        call.changed(name, &format!("bulk operation {}", bulk.id), &format!("{} tasks, {told}", bulk.total))?;
        Ok(bulk.into())
    });
    started.await.map(Answer)
}

fn set_state(call: &Call, id: i64, state: BulkState, action: &str) -> Result<Operation, Failure> {
    find(call, id)?;
    call.host().bulks().set_state(BulkId(id), state).map_err(|error| match error {
        BulkError::Ended { .. } => Failure::refused("ended", format!("Bulk operation {id} has ended.")),
        error => error.into(),
    })?;
    call.changed(action, &format!("bulk operation {id}"), "")?;
    find(call, id)
}

async fn pause(caller: Caller<OwnChange>, Path(Numbered { id }): Path<Numbered>) -> Result<Answer<Operation>, Failure> {
    caller.run(move |call| set_state(call, id, BulkState::Paused, "bulk.pause")).await.map(Answer)
}

async fn resume(
    caller: Caller<OwnChange>,
    Path(Numbered { id }): Path<Numbered>,
) -> Result<Answer<Operation>, Failure> {
    caller.run(move |call| set_state(call, id, BulkState::Running, "bulk.resume")).await.map(Answer)
}

async fn stop(caller: Caller<OwnChange>, Path(Numbered { id }): Path<Numbered>) -> Result<Answer<Operation>, Failure> {
    caller.run(move |call| set_state(call, id, BulkState::Cancelled, "bulk.stop")).await.map(Answer)
}
