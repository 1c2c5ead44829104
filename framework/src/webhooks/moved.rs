//! A webhook that is to send somewhere else does not take its secrets along: whoever may change it may not read them, and
//! would have them sent to a place of his own.

use std::collections::BTreeMap;

use switchboard_plugin_api::FieldFormat;
use url::Url;

use super::draft::{WebhookDraft, WebhookProblem};
use super::methods::Method;
use super::secrets::WebhookSecrets;
use crate::store::Webhook;

/// Adds a problem for each secret that the draft keeps although it would go to another scheme, host or port than before: the
/// headers and the client certificate when the webhook's own URL leads there, the settings also when a URL among them does.
pub(super) fn check(
    draft: &WebhookDraft,
    method: &Method,
    before: &Webhook,
    old: &WebhookSecrets,
    settings: &BTreeMap<String, String>,
    problems: &mut Vec<WebhookProblem>,
) {
    let fields = || method.form.fields.iter();
    let setting = |settings: &BTreeMap<String, String>, key: &str| settings.get(key).cloned().unwrap_or_default();
    let urls = fields().filter(|field| field.format == FieldFormat::Url);
    let mut urls = urls.map(|field| (setting(&old.settings, &field.key), setting(settings, &field.key)));
    // Two origins of the same URL are not the same when it has no host.
    let is_elsewhere = |(from, to): &(String, String)| from != to && place(from) != place(to);
    let own = Some((before.url.clone(), draft.url.clone())).filter(is_elsewhere);
    let mut add = |field: String, what: &str, (from, to): &(String, String)| {
        let (from, to) = (named(from), named(to));
        let message =
            format!("{what} was given for {from} and does not go to {to} by itself: give it again, or remove it");
        problems.push(WebhookProblem::new(field, message));
    };
    // The settings of another method are not kept.
    if before.method == draft.method
        && let Some(moved) = own.clone().or_else(|| urls.find(is_elsewhere))
    {
        let kept = |key: &String| {
            old.settings.get(key).is_some_and(|value| !value.is_empty()) && !draft.settings.contains_key(key)
        };
        for field in fields().filter(|field| field.format == FieldFormat::Password && kept(&field.key)) {
            add(format!("settings.{}", field.key), &format!("`{}`", field.key), &moved);
        }
    }
    // Only requests to the webhook's own URL have them, whatever the settings say.
    let Some(moved) = own else { return };
    for (name, _) in draft.headers.iter().filter(|(_, value)| value.is_none()) {
        if old.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            add("headers".to_owned(), &format!("the value of `{}`", name.escape_debug()), &moved);
        }
    }
    if draft.identity_pem.is_none() && old.identity_pem.is_some() {
        add("identity_pem".to_owned(), "the client certificate", &moved);
    }
}

/// Returns scheme, host and port of a URL; `None` for none.
fn place(url: &str) -> Option<url::Origin> {
    Url::parse(url).ok().map(|url| url.origin())
}

fn named(url: &str) -> String {
    place(url)
        .map_or_else(|| "a webhook without a URL".to_owned(), |place| format!("`{}`", place.ascii_serialization()))
}
