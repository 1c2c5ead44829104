//! How webhooks look.

use serde_json::Value;
use switchboard::ShownWebhook;

use super::fields;
use crate::output::table;

pub(in crate::command) fn webhooks(webhooks: &[ShownWebhook], owner: Option<i64>) -> String {
    let rows = webhooks.iter().map(|webhook| {
        vec![
            webhook.id.to_string(),
            webhook.owner.to_string(),
            webhook.method.clone(),
            state(webhook).into(),
            if webhook.events.is_empty() { "all".into() } else { webhook.events.join(",") },
            webhook.name.clone(),
            webhook.url.clone(),
        ]
    });
    let empty = match owner {
        None => "no webhooks yet: switchboard webhook add --owner N --url URL --method M".to_owned(),
        Some(owner) => format!("owner {owner} has no webhooks"),
    };
    table(&["ID", "OWNER", "METHOD", "STATE", "EVENTS", "NAME", "URL"], rows, &empty)
}

fn state(webhook: &ShownWebhook) -> &'static str {
    match (webhook.enabled, &webhook.failing) {
        (false, _) => "disabled",
        (true, Some(_)) => "failing",
        (true, None) => "enabled",
    }
}

/// One webhook, a property a line; its options as those of a command that would set them.
pub(in crate::command) fn webhook(webhook: &ShownWebhook) -> String {
    let mut json = serde_json::to_value(webhook).unwrap_or_default();
    let options = json.as_object_mut().and_then(|members| members.remove("options"));
    let options = options.as_ref().map(said).unwrap_or_default();
    [fields(&json), fields(&options)].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Leaves out the options that say nothing.
fn said(options: &Value) -> Value {
    let members = options.as_object().into_iter().flatten();
    let said = members.filter(|(_, value)| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        _ => true,
    });
    said.map(|(key, value)| (key.clone(), value.clone())).collect()
}
