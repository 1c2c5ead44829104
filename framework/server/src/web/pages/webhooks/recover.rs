//! Making again what a webhook has never got.

use axum::response::Response;
use switchboard::store::Timestamp;

use super::super::answer::{self, Change, Posted, Problem};
use super::super::form::Form;
use super::super::show::{Time, counted};
use super::super::tasks::moment;
use super::super::{Ask, Page};
use super::{Cx, object, path};

/// How many deliveries a second are made again.
const PER_SECOND: u32 = 100;

fn since(form: &Form) -> Result<Timestamp, Problem> {
    moment(form, "since")?.ok_or_else(|| Problem::refused("It is not said since when."))
}

/// Counts what was given up and has never arrived, and asks whether to make it again.
pub(crate) fn ask_to_recover(cx: &Cx) -> Result<Response, Problem> {
    let (webhook, since) = (cx.webhook("id")?, since(&cx.query)?);
    let total = cx.host().webhooks().deliveries().count_recoverable(webhook.id, since)?;
    let time = Time::from(since);
    if total == 0 {
        let said = format!("Since {}, no delivery to webhook {} was given up without arriving.", time.text, webhook.id);
        return Err(Problem::refused(said));
    }
    let again = counted(total, "delivery");
    answer::html(&Ask {
        page: Page::new(cx, format!("Make {again} again?"))?,
        question: format!("Since {}, {again} to {} were given up and have never arrived.", time.text, webhook.title()),
        lines: vec![format!(
            "They are made again with all tries of the schedule, at most {PER_SECOND} a second, also after a restart. It can be \
             stopped."
        )],
        action: format!("{}/recover", path(&webhook)),
        fields: vec![("since".into(), time.iso)],
        button: format!("Make {again} again"),
        back: path(&webhook),
    })
}

/// Begins to make it again.
pub(crate) fn recover(cx: &Cx) -> Result<Posted, Problem> {
    let (webhook, since) = (cx.webhook("id")?, since(&cx.form)?);
    let by = cx.principal()?.name.clone();
    let bulk = cx.host().webhooks().deliveries().recover(webhook.id, since, PER_SECOND, &by)?;
    let made = counted(bulk.total, "delivery");
    let change = Change::new("delivery.recover", object(&webhook), path(&webhook));
    let change = change.detail(format!("{made} since {since}, bulk operation {}", bulk.id));
    Ok(change.message(format!("Bulk operation {} makes {made} again; how far it is stands below.", bulk.id)).into())
}
