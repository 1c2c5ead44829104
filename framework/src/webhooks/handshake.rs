//! The consent of a receiver, as CloudEvents describes it ("HTTP 1.1 Web Hooks for Event Delivery", section 4).
//!
//! Before the webhook is stored the receiver is asked with OPTIONS, and has to answer with the origin that it allows. It may
//! allow so many requests a minute. Consent that is given later, by a callback, is not supported.

use std::num::NonZeroU32;
use std::time::Duration;

use super::draft::{WebhookDraft, WebhookProblem};
use super::receiver::Receiver;
use crate::core::Core;
use crate::egress::{Request, Response};
use crate::error::Chain;
use crate::store::{Order, Rate};

/// In this time the allowed rate counts.
const MINUTE: Duration = Duration::from_secs(60);

/// Asks the receiver of a draft, and returns how often it may be called; `None` for as often as one likes.
pub(super) fn ask(core: &Core, draft: &WebhookDraft, receiver: &Receiver) -> Result<Option<Rate>, WebhookProblem> {
    let problem = |message: String| WebhookProblem::new("handshake", message);
    let Some(origin) = core.config.webhooks.origin.clone() else {
        let message = "the receiver is asked in the name of this host: set `webhooks.origin` to its DNS name";
        return Err(problem(message.to_owned()));
    };
    let timeout = core.config.deferred.immediate_timeout;
    let mut request = Request::new("OPTIONS", &draft.url, timeout);
    request.headers.push(("WebHook-Request-Origin".to_owned(), origin.clone()));
    receiver.prepare(&mut request, core.egress.deadlines());
    let egress = core.egress.clone();
    let sent = core.runtime.wait(async move { egress.send(request).await });
    let answer = match sent.map(|sent| sent.result) {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => return Err(problem(format!("the receiver cannot be asked: {}", Chain(&error)))),
        None => return Err(problem("the host is stopping".to_owned())),
    };
    judge(&answer, &origin).map_err(problem)
}

fn judge(answer: &Response, origin: &str) -> Result<Option<Rate>, String> {
    let header = |name: &str| answer.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
    let header = |name| header(name).map(|(_, value)| value.trim());
    let status = answer.status;
    if !(200..=299).contains(&status) {
        return Err(format!("the receiver does not consent: it answered {status} to OPTIONS"));
    }
    match header("webhook-allowed-origin") {
        Some("*") => {}
        Some(allowed) if allowed.eq_ignore_ascii_case(origin) => {}
        Some(allowed) => return Err(format!("the receiver allows `{}`, and not `{origin}`", allowed.escape_debug())),
        None => return Err("the receiver does not consent: its answer has no `WebHook-Allowed-Origin`".to_owned()),
    }
    match header("webhook-allowed-rate") {
        None | Some("*") => Ok(None),
        Some(rate) => match rate.parse::<NonZeroU32>() {
            Ok(starts) => Ok(Some(Rate { starts, per: MINUTE })),
            Err(_) => {
                Err(format!("the receiver allows `{}` requests a minute, which is no number", rate.escape_debug()))
            }
        },
    }
}

/// Returns an allowed rate again, unless deliveries with this order cannot keep it.
pub(super) fn keepable(allowed: Option<Rate>, order: Order) -> Result<Option<Rate>, WebhookProblem> {
    match (allowed, order) {
        (Some(rate), Order::Subject) => {
            let message = format!(
                "the receiver allows {} requests a minute, which cannot be kept with one delivery at a time for each \
                 subject: order the deliveries by webhook, or not at all",
                rate.starts
            );
            Err(WebhookProblem::new("order", message))
        }
        _ => Ok(allowed),
    }
}

/// Returns the slower of two rates.
pub(super) fn slower(one: Option<Rate>, other: Option<Rate>) -> Option<Rate> {
    let time_each = |rate: &Rate| rate.per / rate.starts.get();
    one.into_iter().chain(other).max_by_key(time_each)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(starts: u32, seconds: u64) -> Option<Rate> {
        NonZeroU32::new(starts).map(|starts| Rate { starts, per: Duration::from_secs(seconds) })
    }

    #[test]
    fn a_rate_that_deliveries_in_order_of_their_subjects_cannot_keep_is_refused() {
        let refused = keepable(rate(10, 60), Order::Subject).unwrap_err();
        assert_eq!(refused.field, "order");
        assert!(refused.message.contains("allows 10 requests a minute"), "{refused}");
        assert_eq!(keepable(rate(10, 60), Order::Webhook), Ok(rate(10, 60)));
        assert_eq!(keepable(None, Order::Subject), Ok(None));
    }

    #[test]
    fn the_slower_rate_counts() {
        assert_eq!(slower(rate(10, 60), rate(1, 1)), rate(10, 60));
        assert_eq!(slower(rate(1, 1), rate(10, 60)), rate(10, 60));
        assert_eq!((slower(None, rate(1, 1)), slower(None, None)), (rate(1, 1), None));
    }
}
