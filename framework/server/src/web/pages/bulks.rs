//! Bulk operations: what is being done with many tasks, and how far it is.

use askama::Template;
use axum::response::Response;
use switchboard::BulkError;
use switchboard::store::{Bulk, BulkId, BulkState, WebhookId};

use super::answer::{self, Change, Posted, Problem};
use super::show::{State, Time, counted, number};
use super::{Ask, Cx, Page};
use crate::web::access::Access;

/// How many operations are shown, the newest.
const NEWEST: usize = 50;

#[derive(Template)]
#[template(path = "operations.html")]
struct List {
    page: Page,
    operations: Vec<Row>,
}

/// An operation in a table.
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) action: String,
    pub(super) state: State,
    pub(super) seen: String,
    pub(super) total: String,
    pub(super) changed: String,
    pub(super) by: String,
    pub(super) began: Time,
    pub(super) may_pause: bool,
    pub(super) may_resume: bool,
    pub(super) may_stop: bool,
}

impl Row {
    fn of(bulk: Bulk, may: bool) -> Self {
        let is = |state| may && bulk.state == state;
        let (may_pause, may_resume) = (is(BulkState::Running), is(BulkState::Paused));
        Self {
            id: bulk.id.0,
            action: bulk.action.to_string().replace('_', " "),
            state: match bulk.state {
                BulkState::Done => State::good("done"),
                BulkState::Running => State::waits("running"),
                state => State::off(state.to_string()),
            },
            seen: number(bulk.seen),
            total: number(bulk.total),
            changed: number(bulk.changed),
            by: bulk.by.unwrap_or_default(),
            began: bulk.created_at.into(),
            may_pause,
            may_resume,
            may_stop: may_pause || may_resume,
        }
    }
}

/// Returns the newest operations that whoever asks may see; of one webhook, or all.
pub(super) fn rows(cx: &Cx, webhook: Option<WebhookId>) -> Result<Vec<Row>, Problem> {
    let (who, may) = (cx.principal()?, Access::OwnChange.lets(cx.who.as_ref()));
    let all = cx.host().bulks().list()?.into_iter();
    let wanted = all.filter(|bulk| webhook.is_none() || bulk.filter.webhook == webhook);
    let seen = wanted.filter(|bulk| who.sees_bulk(cx.host(), bulk));
    Ok(seen.take(NEWEST).map(|bulk| Row::of(bulk, may)).collect())
}

/// Lists the operations.
pub(crate) fn list(cx: &Cx) -> Result<Response, Problem> {
    answer::html(&List { page: Page::new(cx, "Bulk operations")?, operations: rows(cx, None)? })
}

/// Returns an operation that whoever asks may see. Another one is as if there were none.
fn find(cx: &Cx) -> Result<Bulk, Problem> {
    let id = BulkId(cx.id("id")?);
    let bulk = cx.host().bulks().get(id)?;
    if cx.principal()?.sees_bulk(cx.host(), &bulk) { Ok(bulk) } else { Err(BulkError::Missing { id }.into()) }
}

/// Returns where an operation is shown to whoever asks: those with an owner see it with its webhook.
fn place(cx: &Cx, bulk: &Bulk) -> Result<String, Problem> {
    Ok(match (cx.principal()?.owner, bulk.filter.webhook) {
        (Some(_), Some(webhook)) => format!("/webhooks/{webhook}"),
        _ => "/operations".to_owned(),
    })
}

fn set_state(cx: &Cx, state: BulkState, action: &'static str, word: &str) -> Result<Posted, Problem> {
    let bulk = find(cx)?;
    cx.host().bulks().set_state(bulk.id, state)?;
    let change = Change::new(action, format!("bulk operation {}", bulk.id), place(cx, &bulk)?);
    Ok(change.message(format!("Bulk operation {} {word}.", bulk.id)).into())
}

/// Lets an operation wait.
pub(crate) fn pause(cx: &Cx) -> Result<Posted, Problem> {
    set_state(cx, BulkState::Paused, "bulk.pause", "waits")
}

/// Lets an operation go on.
pub(crate) fn resume(cx: &Cx) -> Result<Posted, Problem> {
    set_state(cx, BulkState::Running, "bulk.resume", "goes on")
}

/// Asks whether to end an operation.
pub(crate) fn ask_to_stop(cx: &Cx) -> Result<Response, Problem> {
    let bulk = find(cx)?;
    if !matches!(bulk.state, BulkState::Running | BulkState::Paused) {
        return Err(Problem::refused(format!("Bulk operation {} has ended: there is nothing to stop.", bulk.id)));
    }
    let (total, rest) = (counted(bulk.total, "task"), counted(bulk.total.saturating_sub(bulk.seen), "task"));
    answer::html(&Ask {
        page: Page::new(cx, format!("Stop bulk operation {}?", bulk.id))?,
        question: format!("It is to {} {total}, and has come to {}.", bulk.action, number(bulk.seen)),
        lines: vec!["What it has done stays. It cannot go on after this.".into()],
        action: format!("/operations/{}/stop", bulk.id),
        fields: Vec::new(),
        button: format!("Leave {rest} as they are"),
        back: place(cx, &bulk)?,
    })
}

/// Ends an operation.
pub(crate) fn stop(cx: &Cx) -> Result<Posted, Problem> {
    set_state(cx, BulkState::Cancelled, "bulk.stop", "is stopped")
}
