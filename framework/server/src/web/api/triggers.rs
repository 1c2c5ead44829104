//! Triggers: which handlers answer which numbers, and firing them.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use switchboard::{AccessLevel, Minicomponent, TriggerNumber};

use super::answer::{Answer, Failure};
use super::caller::{Administrate, Caller, Site};
use super::input::{Json, Path};
use crate::web::App;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/triggers",
            get_with(list, |op| op.id("listTriggers").tag("triggers").summary("List the handlers in firing order")),
        )
        .api_route(
            "/triggers/{number}/fire",
            post_with(fire, |op| {
                op.id("fireTrigger").tag("triggers").summary("Fire a trigger").description(
                    "Calls all handlers of a number, or the one of an event name, and gives what each of them gave. What they \
                     announce is accepted.",
                )
            }),
        )
}

/// A handler of a trigger number.
#[derive(Serialize, JsonSchema)]
struct Handler {
    /// The trigger number, five digits.
    number: String,
    /// The event name.
    name: String,
    /// The plugin.
    plugin: String,
    /// Where it comes from: `built-in`, `plugin` or `site`.
    tier: String,
    /// Whether it is not called any more because it panicked.
    suspended: bool,
    /// How often it was called.
    calls: u64,
    /// How many of the calls failed.
    failures: u64,
}

impl From<&Minicomponent> for Handler {
    fn from(one: &Minicomponent) -> Self {
        Self {
            number: one.number.to_string(),
            name: one.name.clone(),
            plugin: one.plugin.to_string(),
            tier: one.tier.to_string(),
            suspended: one.suspension().is_some(),
            calls: one.counts.calls(),
            failures: one.counts.failures(),
        }
    }
}

async fn list(caller: Caller<Site>) -> Result<Answer<Vec<Handler>>, Failure> {
    caller.run(|call| Ok(call.host().registry().iter().map(|one| Handler::from(&**one)).collect())).await.map(Answer)
}

/// What to fire a trigger with.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Firing {
    /// Event name: only this handler is called.
    name: Option<String>,
    /// What the handlers are given; an empty object when left out.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Value>")]
    payload: Option<Box<RawValue>>,
    /// Language of the person who is served, such as `de-DE`.
    language: Option<String>,
}

/// What a handler gave.
#[derive(Serialize, JsonSchema)]
struct Given {
    /// The event name.
    name: String,
    /// The plugin.
    plugin: String,
    /// Its value; none when it failed.
    value: Option<serde_json::Value>,
    /// Why it failed.
    error: Option<String>,
}

/// What the handlers gave, in firing order.
#[derive(Serialize, JsonSchema)]
struct Fired {
    /// The values.
    values: Vec<Given>,
}

/// The path of a trigger number.
#[derive(Deserialize, JsonSchema)]
struct NumberPath {
    /// The trigger number, such as `06000`.
    #[schemars(regex(pattern = r"^[0-9]{1,5}$"))]
    number: String,
}

async fn fire(
    caller: Caller<Administrate>,
    Path(NumberPath { number }): Path<NumberPath>,
    Json(firing): Json<Firing>,
) -> Result<Answer<Fired>, Failure> {
    let number: TriggerNumber = number.parse().map_err(|_| Failure::missing("There is no such trigger number."))?;
    let fired = caller.run(move |call| {
        let payload = firing.payload.map_or_else(|| "{}".to_owned(), |payload| payload.get().to_owned());
        let mut run = call.host().run().actor(&call.who.name, AccessLevel::ADMINISTRATOR);
        if let Some(language) = firing.language {
            run = run.language(language);
        }
        let run = run.start();
        let broadcast = match &firing.name {
            None => run.trigger(number, payload.as_bytes()),
            Some(name) if run.exists_named(number, name) => run.trigger_one(number, name, payload.as_bytes()),
            Some(name) => return Err(Failure::missing(format!("Trigger {number} has no handler `{name}`."))),
        };
        let broadcast =
            broadcast.map_err(|error| Failure::refused("refused", switchboard::error::Chain(&error).to_string()))?;
        run.finish().map_err(|error| Failure::unavailable(&error))?;
        let object = format!("trigger {number} {}", firing.name.as_deref().unwrap_or_default());
        call.changed("trigger.call", object.trim_end(), &format!("{} handlers", broadcast.values.len()))?;
        let given = broadcast.values.iter().map(|one| Given {
            name: one.name().to_owned(),
            plugin: one.plugin().to_owned(),
            value: one.result.as_ref().ok().and_then(|value| serde_json::from_slice(value).ok()),
            error: one.result.as_ref().err().map(ToString::to_string),
        });
        Ok(Fired { values: given.collect() })
    });
    fired.await.map(Answer)
}
