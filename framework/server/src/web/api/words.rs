//! What errors say about the command line, in calls of the API: whoever reads them here has no command line.

/// Commands that errors name, and the calls that do the same. `{id}` is what follows the command, where something does.
const CALLS: [(&str, &str); 17] = [
    ("delivery list", "GET /deliveries"),
    ("log list --files", "GET /logs"),
    ("plugin enable", "POST /plugins/{id}/enable"),
    ("plugin install", "POST /plugins"),
    ("plugin list", "GET /plugins"),
    ("plugin rollback", "POST /plugins/{id}/rollback"),
    ("plugin upgrade", "PUT /plugins/{id}/library"),
    ("schedule list", "GET /schedules"),
    ("task bulk list", "GET /bulk-operations"),
    ("task list", "GET /tasks"),
    ("task replay", "POST /tasks/{id}/replay"),
    ("task show", "GET /tasks/{id}"),
    ("token list", "GET /tokens"),
    ("triggers", "GET /triggers"),
    ("user list", "GET /users"),
    ("webhook enable", "POST /webhooks/{id}/enable"),
    ("webhook list", "GET /webhooks"),
];

/// Flags that errors name, and the fields that do the same.
const FIELDS: [(&str, &str); 2] = [("--downgrade", "`downgrade=true`"), ("--force", "`force=true`")];

/// Names calls and their fields in place of commands and their flags.
pub(super) fn in_calls(detail: &str) -> String {
    let parts = detail.split('`').enumerate().map(|(place, part)| match place % 2 {
        0 => FIELDS.iter().fold(part.to_owned(), |text, (flag, field)| text.replace(flag, field)),
        _ => call(part).unwrap_or_else(|| part.to_owned()),
    });
    parts.collect::<Vec<_>>().join("`")
}

fn call(code: &str) -> Option<String> {
    if let Some(setting) = code.strip_prefix("--set ") {
        return Some(format!("settings.{}", setting.split('=').next().unwrap_or_default()));
    }
    let command = code.strip_prefix("switchboard ")?;
    let (known, call) = CALLS.iter().find(|(known, _)| command.starts_with(known))?;
    let id = command[known.len()..].trim();
    Some(if id.is_empty() { (*call).to_owned() } else { call.replace("{id}", id) })
}

#[cfg(test)]
mod tests {
    use switchboard::store::{AttemptId, BulkId, TaskId, WebhookId};
    use switchboard::{BulkError, DeliveryError, PluginFolderError, TaskError, WebhookError};

    use super::*;

    #[test]
    fn errors_name_calls_and_fields_in_place_of_commands_and_flags() {
        let (id, installed, found) = ("rival".to_owned(), "2.0.0".to_owned(), "1.0.0".to_owned());
        let needed = PluginFolderError::Needed { id: id.clone(), by: vec!["hello".into()] };
        assert_eq!(
            in_calls(&needed.to_string()),
            "plugin `rival` is needed by `hello`: with `force=true` they wait until it is back"
        );
        let older = PluginFolderError::Older { id, found, installed };
        assert_eq!(
            in_calls(&older.to_string()),
            "version 1.0.0 is older than 2.0.0, which is installed: `downgrade=true` takes it, \
             `POST /plugins/rival/rollback` returns to the version before"
        );
        let setting = "needs the setting `token` (Token): add it with `--set token=…`";
        assert_eq!(in_calls(setting), "needs the setting `token` (Token): add it with `settings.token`");
    }

    #[test]
    fn what_is_not_there_is_said_without_a_command() {
        let missing = [
            WebhookError::Missing { id: WebhookId(7) }.to_string(),
            TaskError::Missing { id: TaskId(7) }.to_string(),
            DeliveryError::Missing { id: AttemptId(7) }.to_string(),
            BulkError::Missing { id: BulkId(7) }.to_string(),
        ];
        for text in missing.map(|text| in_calls(&text)) {
            assert!(text.contains("`GET /") && !text.contains("switchboard"), "{text}");
        }
        for kept in ["", "`", "a `b` c", "`switchboard key rotate`", "a -- b"] {
            assert_eq!(in_calls(kept), kept);
        }
    }
}
