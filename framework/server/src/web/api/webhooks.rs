//! Webhooks: who is told about which events, and how.

mod shape;

use std::sync::Arc;
use std::time::Duration;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard::store::{Webhook as Stored, WebhookId, WebhookOptions};
use switchboard::{WebhookDraft, WebhookError};

use self::shape::{Change, NewWebhook, Webhook};
use super::answer::{Answer, Done, Failure};
use super::bulks::{Count, Operation, USUAL_PER_SECOND};
use super::caller::{Call, Caller, Own, OwnChange};
use super::events::Announced;
use super::input::{Json, Numbered, Path, Query};
use super::page::{self, Page};
use super::tasks::time;
use crate::web::App;
use crate::web::answer::told_of;

/// Longest time for which the former secret of a webhook is used beside the new one.
const LONGEST_KEEP_SECONDS: u64 = 7 * 24 * 60 * 60;
/// That time when nothing is said.
const USUAL_KEEP_SECONDS: u64 = 24 * 60 * 60;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    let one = get_with(show, |op| op.id("getWebhook").tag("webhooks").summary("Show a webhook"))
        .patch_with(change, |op| {
            op.id("changeWebhook").tag("webhooks").summary("Change a webhook").description(
                "What is left out stays as it is, secrets too. Deliveries that wait go by what it is then.",
            )
        })
        .delete_with(remove, |op| {
            op.id("removeWebhook")
                .tag("webhooks")
                .summary("Remove a webhook")
                .description("Its tasks that have not ended become dead.")
        });
    ApiRouter::new()
        .api_route(
            "/webhooks",
            get_with(list, |op| op.id("listWebhooks").tag("webhooks").summary("List webhooks")).post_with(add, |op| {
                op.id("addWebhook").tag("webhooks").summary("Add a webhook").description(
                    "It is enabled. The settings are those of the auth method's form; `/auth-methods` has the forms.",
                )
            }),
        )
        .api_route("/webhooks/{id}", one)
        .api_route(
            "/webhooks/{id}/enable",
            post_with(enable, |op| op.id("enableWebhook").tag("webhooks").summary("Enable a webhook")),
        )
        .api_route(
            "/webhooks/{id}/disable",
            post_with(disable, |op| op.id("disableWebhook").tag("webhooks").summary("Disable a webhook")),
        )
        .api_route(
            "/webhooks/{id}/rotate-secret",
            post_with(rotate, |op| {
                op.id("rotateSecret").tag("webhooks").summary("Give a webhook that signs a new secret").description(
                    "The former one signs beside it for a while. The new one, or the public half of a pair, is in the answer \
                     and is not shown again.",
                )
            }),
        )
        .api_route(
            "/webhooks/{id}/test",
            post_with(send_test, |op| {
                op.id("testWebhook").tag("webhooks").summary("Send a test event to one webhook only").description(
                    "The event `webhook_test`, whatever events the webhook gets. It is delivered as any other, with retries.",
                )
            }),
        )
        .api_route(
            "/webhooks/{id}/recoverable",
            get_with(count_recoverable, |op| {
                op.id("countRecoverable").tag("webhooks").summary("Count the deliveries that have never arrived")
            }),
        )
        .api_route(
            "/webhooks/{id}/recover",
            post_with(recover, |op| {
                op.id("recoverDeliveries")
                    .tag("webhooks")
                    .summary("Make the deliveries again that have never arrived")
                    .description("A bulk operation does it in the background, with all tries of the webhook's schedule.")
            }),
        )
}

/// Whose change it is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Seen {
    /// Only if the webhook is still of this version, the `version` that it was shown with. Otherwise 409, and nothing changes.
    if_version: Option<u64>,
}

/// Says what is wrong with a webhook, by field where that is known.
fn told(error: WebhookError) -> Failure {
    let said = switchboard::error::Chain(&error).to_string();
    match error {
        WebhookError::Changed { .. } => Failure::new(StatusCode::CONFLICT, "changed_meanwhile", said),
        WebhookError::Invalid { problems } => {
            let fields = problems.into_iter().map(|problem| (problem.field, problem.message));
            Failure::refused("invalid_webhook", said).errors(fields)
        }
        error => error.into(),
    }
}

fn shown(call: &Call, webhook: Stored) -> Result<Webhook, Failure> {
    let webhooks = call.host().webhooks();
    let warning = if webhook.url.is_empty() { None } else { webhooks.url_warning(&webhook.url) };
    let missing = || Failure::from(WebhookError::Missing { id: webhook.id });
    let shown = webhooks.shown(std::slice::from_ref(&webhook)).pop().ok_or_else(missing)?;
    Ok(Webhook::from(shown).with_warning(warning))
}

/// Returns a webhook that the caller may see. Another owner's is as if there were none.
pub(super) fn find(call: &Call, id: i64) -> Result<Stored, Failure> {
    let id = WebhookId(id);
    let webhook = call.host().webhooks().get(id)?;
    if call.sees(webhook.owner.0) { Ok(webhook) } else { Err(WebhookError::Missing { id }.into()) }
}

/// Whether the caller may see what belongs to a webhook; what belongs to none is the whole site's.
pub(super) fn sees(call: &Call, webhook: Option<WebhookId>) -> bool {
    call.who.owner.is_none() || webhook.is_some_and(|webhook| find(call, webhook.0).is_ok())
}

/// Which webhooks to list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Of this owner.
    #[schemars(range(min = 0))]
    owner: Option<i64>,
    /// Most items on the page; 50 when left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

async fn list(caller: Caller<Own>, Query(wanted): Query<Wanted>) -> Result<Answer<Page<Webhook>>, Failure> {
    let (limit, after) = (page::limit(wanted.limit)?, page::after(wanted.cursor.as_deref())?);
    if wanted.owner.is_some_and(|owner| owner < 0) {
        let detail = "`owner` is 0 for the whole site, or a positive number.";
        return Err(Failure::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
    }
    let page = caller.run(move |call| {
        let webhooks = call.host().webhooks();
        let all = webhooks.list(wanted.owner.or(call.who.owner))?;
        let seen = all.into_iter().filter(|webhook| call.sees(webhook.owner.0));
        let rest = seen.filter(|webhook| after.is_none_or(|after| webhook.id.0 > after));
        let rest: Vec<Stored> = rest.take(limit as usize + 1).collect();
        Ok(Page::new(webhooks.shown(&rest).into_iter().map(Webhook::from).collect(), limit, |webhook| webhook.id))
    });
    page.await.map(Answer)
}

async fn add(
    caller: Caller<OwnChange>,
    Json(NewWebhook(mut new)): Json<NewWebhook>,
) -> Result<Answer<Webhook, 201>, Failure> {
    let added = caller.run(move |call| {
        if new.method.is_none() {
            return Err(Failure::refused("invalid_body", "A webhook needs a `method`; `/auth-methods` lists them."));
        }
        new.owner = Some(call.owner(new.owner)?);
        let draft = new.apply(WebhookDraft::default())?;
        let webhook = call.host().webhooks().add(draft).map_err(told)?;
        call.changed("webhook.add", &format!("webhook {}", webhook.id), &told_of(&webhook))?;
        shown(call, webhook)
    });
    added.await.map(Answer)
}

async fn show(caller: Caller<Own>, Path(Numbered { id }): Path<Numbered>) -> Result<Answer<Webhook>, Failure> {
    caller.run(move |call| shown(call, find(call, id)?)).await.map(Answer)
}

async fn change(
    caller: Caller<OwnChange>,
    Path(Numbered { id }): Path<Numbered>,
    Query(Seen { if_version }): Query<Seen>,
    Json(change): Json<Change>,
) -> Result<Answer<Webhook>, Failure> {
    let changed = caller.run(move |call| {
        let id = find(call, id)?.id;
        if change.owner.is_some() {
            call.owner(change.owner)?;
        }
        let fields = change.fields();
        let draft = change.apply(call.host().webhooks().draft(id)?)?;
        let webhook = call.host().webhooks().if_version(if_version).change(id, draft).map_err(told)?;
        call.changed("webhook.change", &format!("webhook {id}"), &fields)?;
        shown(call, webhook)
    });
    changed.await.map(Answer)
}

async fn remove(
    caller: Caller<OwnChange>,
    Path(Numbered { id }): Path<Numbered>,
    Query(Seen { if_version }): Query<Seen>,
) -> Result<Done, Failure> {
    let removed = caller.run(move |call| {
        let webhook = find(call, id)?;
        call.host().webhooks().if_version(if_version).remove(webhook.id).map_err(told)?;
        call.changed("webhook.remove", &format!("webhook {id}"), &told_of(&webhook))
    });
    removed.await.map(|()| Done)
}

async fn enable(
    caller: Caller<OwnChange>,
    Path(Numbered { id }): Path<Numbered>,
    Query(Seen { if_version }): Query<Seen>,
) -> Result<Answer<Webhook>, Failure> {
    let enabled = caller.run(move |call| {
        let webhook = call.host().webhooks().if_version(if_version).enable(find(call, id)?.id).map_err(told)?;
        call.changed("webhook.enable", &format!("webhook {id}"), "")?;
        shown(call, webhook)
    });
    enabled.await.map(Answer)
}

async fn disable(
    caller: Caller<OwnChange>,
    Path(Numbered { id }): Path<Numbered>,
    Query(Seen { if_version }): Query<Seen>,
) -> Result<Answer<Webhook>, Failure> {
    let disabled = caller.run(move |call| {
        let reason = format!("disabled by {}", call.who.name);
        let webhook =
            call.host().webhooks().if_version(if_version).disable(find(call, id)?.id, Some(&reason)).map_err(told)?;
        call.changed("webhook.disable", &format!("webhook {id}"), "")?;
        shown(call, webhook)
    });
    disabled.await.map(Answer)
}

/// How to rotate.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// How long the former secret signs beside the new one, in seconds; a day when left out.
    #[schemars(range(max = 604800))]
    keep_seconds: Option<u64>,
}

/// A new secret.
#[derive(Serialize, JsonSchema)]
struct Rotated {
    /// The secret, or the public half of a pair: what the receiver needs.
    secret: String,
}

async fn rotate(
    caller: Caller<OwnChange>,
    Path(Numbered { id }): Path<Numbered>,
    Query(Seen { if_version }): Query<Seen>,
    Json(rotation): Json<Rotation>,
) -> Result<Answer<Rotated>, Failure> {
    let keep = rotation.keep_seconds.unwrap_or(USUAL_KEEP_SECONDS);
    if keep > LONGEST_KEEP_SECONDS {
        let detail = format!("`keep_seconds` is {keep}, at most {LONGEST_KEEP_SECONDS} (seven days) can be kept.");
        return Err(Failure::refused("invalid_body", detail));
    }
    let rotated = caller.run(move |call| {
        let id = find(call, id)?.id;
        let secret =
            call.host().webhooks().if_version(if_version).rotate_secret(id, Duration::from_secs(keep)).map_err(told)?;
        call.changed("webhook.rotate", &format!("webhook {id}"), "")?;
        Ok(Rotated { secret })
    });
    rotated.await.map(Answer)
}

/// Puts given options in the place of those that a webhook has.
fn merged(
    options: &WebhookOptions,
    given: serde_json::Map<String, serde_json::Value>,
) -> Result<WebhookOptions, Failure> {
    let wrong = |error: serde_json::Error| Failure::refused("invalid_body", format!("`options` do not fit: {error}."));
    let mut merged = serde_json::to_value(options).map_err(wrong)?;
    if let Some(fields) = merged.as_object_mut() {
        fields.extend(given);
    }
    serde_json::from_value(merged).map_err(wrong)
}

async fn send_test(
    caller: Caller<OwnChange>,
    Path(Numbered { id }): Path<Numbered>,
) -> Result<Answer<Announced, 201>, Failure> {
    let sent = caller.run(move |call| {
        let event = call.host().webhooks().send_test(find(call, id)?.id)?;
        call.changed("webhook.test", &format!("webhook {id}"), &format!("event {}", event.id))?;
        Ok(Announced::of(call, event))
    });
    sent.await.map(Answer)
}

/// Since when.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Since {
    /// What was announced then or later.
    #[schemars(extend("format" = "date-time"))]
    since: String,
}

/// What to recover.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Recovery {
    /// What was announced then or later.
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// At most so many deliveries a second; 100 when left out.
    #[schemars(range(min = 1, max = 10000))]
    per_second: Option<u32>,
}

async fn count_recoverable(
    caller: Caller<Own>,
    Path(Numbered { id }): Path<Numbered>,
    Query(Since { since }): Query<Since>,
) -> Result<Answer<Count>, Failure> {
    let since = time("since", Some(since))?.unwrap_or_default();
    let counted = caller.run(move |call| {
        let id = find(call, id)?.id;
        Ok(Count { total: call.host().webhooks().deliveries().count_recoverable(id, since)? })
    });
    counted.await.map(Answer)
}

async fn recover(
    caller: Caller<OwnChange>,
    Path(Numbered { id }): Path<Numbered>,
    Json(recovery): Json<Recovery>,
) -> Result<Answer<Operation, 201>, Failure> {
    let since = time("since", Some(recovery.since)).map_err(Failure::of_body)?.unwrap_or_default();
    let per_second = recovery.per_second.unwrap_or(USUAL_PER_SECOND);
    let recovered = caller.run(move |call| {
        let webhook = find(call, id)?.id;
        let bulk = call.host().webhooks().deliveries().recover(webhook, since, per_second, &call.who.name)?;
        let detail = format!("{} deliveries since {since}, bulk operation {}", bulk.total, bulk.id);
        call.changed("delivery.recover", &format!("webhook {id}"), &detail)?;
        Ok(bulk.into())
    });
    recovered.await.map(Answer)
}
