//! What a receiver may ask for besides an answer, and when a webhook is given up.
//!
//! A receiver says with the header `webhook-delivery` that it does not want this event (`abort-message`) or none at all
//! (`disable`), and with 410 the latter. A webhook to which nothing arrives for days is disabled as well, after a warning.
//! Its owner is told by the event `webhook_disabled`, which goes to other webhooks only.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use switchboard_plugin_api::{ErrorKind, PluginError};
use url::Url;

use super::CHANNEL;
use super::event;
use crate::config::WebhooksConfig;
use crate::core::Core;
use crate::deferred::Outcome;
use crate::error::Chain;
use crate::run::{self, RunState, Subject};
use crate::store::{Acceptance, Failing, NewEvent, Timestamp, Webhook};

/// Event by which an owner is told that a webhook was disabled.
const DISABLED: &str = "webhook_disabled";

/// Event by which an owner is told that a webhook is about to be disabled.
const FAILING: &str = "webhook_failing";

/// Header of an answer in which a receiver says more than its status does.
const HEADER: &str = "webhook-delivery";

/// Outcome of a delivery whose receiver does not want to be called again, and reason of the tasks that it takes along.
const GONE: &str = "gone";

/// What a receiver asks for in its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Not to send this event again.
    AbortMessage,
    /// Not to send anything again.
    Disable,
}

impl Word {
    /// Reads the headers of an answer.
    fn of(headers: &[(String, String)]) -> Option<Self> {
        let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(HEADER))?;
        match value.trim().to_ascii_lowercase().as_str() {
            "abort-message" => Some(Self::AbortMessage),
            "disable" => Some(Self::Disable),
            _ => None,
        }
    }
}

/// Returns what the receiver asks for in its last answer. A token server, or whom else an auth method asks, has no say: the
/// answer has to be that to a request to the webhook's URL, where it has one.
fn word(webhook: &Webhook, outcome: &Outcome) -> Option<Word> {
    let last = outcome.exchanges.last()?;
    let place = |url: &str| Url::parse(url).ok().map(|url| (url.origin(), url.path().to_owned()));
    let of_receiver = webhook.url.is_empty() || place(&webhook.url) == place(&last.url);
    Word::of(&last.response_headers).filter(|_| of_receiver)
}

/// Does what a receiver asks for, and stops at the statuses at which the webhook wants to stop. It is called where the
/// handler was, before its slot is free: no other request follows one whose receiver is gone, and a plugin that hears of it
/// holds up nobody else.
pub(crate) fn obey(core: &Arc<Core>, webhook: &Webhook, outcome: &mut Outcome) {
    let word = word(webhook, outcome);
    if word == Some(Word::Disable) {
        disable(core, webhook, "its receiver asked for that with `webhook-delivery: disable`", Some(GONE));
    } else if outcome.result.as_ref().is_err_and(|error| error.code() == Some(GONE)) {
        disable(core, webhook, "its receiver answered 410: it does not want to be called again", Some(GONE));
    }
    let Err(error) = &outcome.result else { return };
    if error.kind() != ErrorKind::Retryable {
        return;
    }
    let stops = outcome.status.filter(|status| webhook.options.stop_on.contains(status));
    let (reason, code) = match (word, stops) {
        (Some(Word::AbortMessage), _) => ("the receiver does not want this event".to_owned(), "aborted"),
        (Some(Word::Disable), _) => ("the receiver does not want to be called again".to_owned(), GONE),
        (None, Some(status)) => (format!("the webhook gives up at {status}"), error.code().unwrap_or("stopped")),
        (None, None) => return,
    };
    outcome.result = Err(PluginError::permanent(format!("{error}: {reason}")).with_code(code));
}

/// Counts how a delivery ended: a webhook to which nothing arrives for long is disabled. Failures that are not the
/// receiver's, such as a plugin's or of settings, count as well: nothing arrives. It waits for nothing, because the ends of
/// all tasks come through here.
pub(crate) fn ended(core: &Arc<Core>, webhook: &Webhook, outcome: &str) {
    match outcome {
        "ok" if webhook.failing.is_none() => {}
        // Not waited for: the writer reports its own trouble, and the next success does it again.
        "ok" => drop(core.store.webhook_delivered(webhook.id)),
        // Nothing was sent.
        "disabled" | "input_gone" | "interrupted" | "not_called" | "suspended" | "secrets" | "webhook_removed" => {}
        // It is disabled already.
        GONE => {}
        _ => {
            let failed = core.store.webhook_failed(webhook.id, Timestamp(core.clock.now()));
            let (core, webhook) = (Arc::clone(core), webhook.clone());
            let spawning = Arc::clone(&core);
            spawning.runtime.spawn(async move {
                // A failure that cannot be counted is reported by the writer, and the next one counts.
                let Ok(Some(failing)) = failed.await else { return };
                let runtime = core.runtime.clone();
                runtime.blocking(|| judge_window(&core, &webhook, failing));
            });
        }
    }
}

/// What a run of failures leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Patience,
    Warn,
    Disable,
}

/// Judges the failures of a webhook since its last success.
fn judge(failing: Failing, config: &WebhooksConfig) -> Judgement {
    let spread = Duration::from_millis(u64::try_from(failing.last.0 - failing.since.0).unwrap_or(0));
    if spread >= config.disable_after && failing.attempts >= config.disable_after_attempts {
        return Judgement::Disable;
    }
    let half = spread >= config.disable_after / 2 && failing.attempts >= config.disable_after_attempts / 2;
    if half && !failing.warned { Judgement::Warn } else { Judgement::Patience }
}

fn judge_window(core: &Arc<Core>, webhook: &Webhook, failing: Failing) {
    let (since, attempts) = (failing.since, failing.attempts);
    match judge(failing, &core.config.webhooks) {
        Judgement::Patience => {}
        Judgement::Disable => {
            let reason = format!("nothing has arrived since {since}, in {attempts} attempts");
            disable(core, webhook, &reason, None);
        }
        Judgement::Warn => {
            // Whoever notes it tells it, so that several hosts tell it once.
            if !core.store.webhook_warned(webhook.id).wait().unwrap_or(false) {
                return;
            }
            log::warn!(logger: core.log, target: CHANNEL, webhook = webhook.id.to_string(), since = since.to_string(),
                attempts; "nothing arrives at a webhook; it will be disabled when that goes on");
            announce(
                core,
                webhook,
                FAILING,
                &format!("nothing has arrived since {since}, in {attempts} attempts"),
                None,
            );
        }
    }
}

/// Disables a webhook, ends its waiting tasks when there is no hope for them, and tells its owner. That it is disabled and
/// that its owner is told is one commit, which only one of several answers of the receiver makes.
fn disable(core: &Arc<Core>, webhook: &Webhook, reason: &str, end_tasks: Option<&str>) {
    core.runtime.blocking(|| {
        let enabled = core.store.webhook(webhook.id).is_ok_and(|now| now.is_some_and(|now| now.enabled));
        let told = enabled && announce(core, webhook, DISABLED, reason, Some(reason));
        let now = Timestamp(core.clock.now());
        // Also when its owner cannot be told.
        let disabled = core.store.disable_webhook(webhook.id, reason.to_owned(), Acceptance::default(), now).wait();
        let ended = end_tasks.map(|reason| core.store.end_tasks_of_webhook(webhook.id, reason.to_owned(), now).wait());
        match disabled.and_then(|disabled| ended.transpose().map(|_| disabled)) {
            Ok(disabled) if told || disabled.is_some() => {
                log::warn!(logger: core.log, target: CHANNEL, webhook = webhook.id.to_string(), reason; "webhook disabled");
            }
            // Another answer was first.
            Ok(_) => {}
            Err(error) => log::error!(logger: core.log, target: CHANNEL, webhook = webhook.id.to_string(),
                error = Chain(&error).to_string(); "a webhook cannot be disabled"),
        }
    });
}

/// Announces what happened to a webhook, in the name of its owner. `disables` is the reason for which the same commit
/// disables it; it is not announced then when that has been done already. Returns whether it was announced.
fn announce(core: &Arc<Core>, webhook: &Webhook, name: &str, reason: &str, disables: Option<&str>) -> bool {
    let mut subject = Subject::host(core);
    subject.owner = webhook.owner;
    let run = Arc::new(RunState::new(Arc::clone(core), subject));
    let data = json!({ "webhook_id": webhook.id, "webhook_name": webhook.title(), "reason": reason });
    let announced =
        event::build(&run, name, &data.to_string(), webhook.owner).map_err(|error| Chain(&error).to_string());
    let finished = announced.and_then(|event| {
        run.with_outbox(|outbox| {
            outbox.announce(event);
            outbox.disables = disables.map(|reason| (webhook.id, reason.to_owned()));
        });
        run::finish(&run).map_err(|error| Chain(&error).to_string())
    });
    match finished {
        Ok(finished) => !finished.events.is_empty(),
        Err(error) => {
            log::error!(logger: core.log, target: CHANNEL, webhook = webhook.id.to_string(), event = name, error;
                "an owner cannot be told about a webhook");
            false
        }
    }
}

/// Whether an event tells of this very webhook, to which it must not go.
pub(super) fn is_about(event: &NewEvent, webhook: &Webhook) -> bool {
    if ![DISABLED, FAILING].contains(&event.name.as_str()) {
        return false;
    }
    let body: serde_json::Value = serde_json::from_slice(&event.body).unwrap_or_default();
    body["data"]["webhook_id"].as_i64() == Some(webhook.id.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * 60 * 1_000;

    #[track_caller]
    fn check(hours: i64, attempts: u32, warned: bool, expected: Judgement) {
        let failing = Failing { since: Timestamp(7), last: Timestamp(7 + hours * HOUR), attempts, warned };
        assert_eq!(judge(failing, &WebhooksConfig::default()), expected, "{failing:?}");
    }

    #[test]
    fn a_webhook_is_disabled_after_five_days_and_ten_attempts_and_its_owner_warned_half_way() {
        check(0, 1_000, false, Judgement::Patience);
        check(59, 9, false, Judgement::Patience);
        check(60, 4, false, Judgement::Patience);
        check(60, 5, false, Judgement::Warn);
        check(60, 5, true, Judgement::Patience);
        check(119, 1_000, true, Judgement::Patience);
        check(120, 9, true, Judgement::Patience);
        check(120, 10, true, Judgement::Disable);
        check(120, 10, false, Judgement::Disable);
        check(-1, 10, false, Judgement::Patience);
    }

    #[test]
    fn a_receiver_says_more_than_its_status() {
        let word = |value: &str| Word::of(&[("Webhook-Delivery".to_owned(), value.to_owned())]);
        assert_eq!((word("abort-message"), word(" Disable ")), (Some(Word::AbortMessage), Some(Word::Disable)));
        assert_eq!((word("no"), word(""), Word::of(&[])), (None, None, None));
    }
}
