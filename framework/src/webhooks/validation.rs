//! What an auth method itself says about a webhook that is to be stored (07305).

use std::collections::BTreeMap;
use std::sync::Arc;

use switchboard_plugin_api::{FieldProblem, PluginError, Trigger, Validation, ValidationRequest, WebhookValidation};

use super::draft::{WebhookDraft, owner};
use super::receiver::Receiver;
use super::{WebhookError, WebhookProblem};
use crate::core::Core;
use crate::dispatcher::{read_json, write_json};
use crate::run::{CallOptions, RunState, Subject};

/// Most problems that are shown, as many as a form has fields.
const MAX_PROBLEMS: usize = 100;

/// Asks the auth method of a draft, if it has something to say, and returns the problems that it found. `settings` are
/// those that the webhook would have.
pub(super) fn validate(
    core: &Arc<Core>,
    draft: &WebhookDraft,
    settings: &BTreeMap<String, String>,
) -> Result<Vec<WebhookProblem>, WebhookError> {
    let mut subject = Subject::host(core);
    subject.owner = owner(draft);
    if let Some(language) = &draft.language {
        subject.language.clone_from(language);
    }
    let run = Arc::new(RunState::new(Arc::clone(core), subject));
    match ask(&run, draft, settings) {
        Ok(problems) => Ok(problems.into_iter().map(problem).collect()),
        Err(source) => Err(WebhookError::Validation { method: draft.method.clone(), source }),
    }
}

fn problem(FieldProblem { key, message, .. }: FieldProblem) -> WebhookProblem {
    // A plugin may write several lines.
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let field = key.map_or_else(|| "url".to_owned(), |key| format!("settings.{}", key.escape_debug()));
    WebhookProblem { field, message }
}

fn ask(
    run: &Arc<RunState>,
    draft: &WebhookDraft,
    settings: &BTreeMap<String, String>,
) -> Result<Vec<FieldProblem>, PluginError> {
    const NUMBER: switchboard_plugin_api::TriggerNumber = WebhookValidation::NUMBER;
    let Some(handler) = run.registry.handler(NUMBER, &draft.method) else { return Ok(Vec::new()) };
    let mut request = ValidationRequest::default();
    request.url.clone_from(if draft.url.is_empty() { &draft.name } else { &draft.url });
    request.settings.clone_from(settings);
    request.owner = draft.owner;
    let options = CallOptions {
        timeout: Some(run.core.config.deferred.immediate_timeout),
        receiver: Some(Arc::new(Receiver::trial(settings.clone()))),
        ..CallOptions::default()
    };
    let value = run.call(handler, &write_json(NUMBER, &request)?, &options)?;
    let mut problems = read_json::<Validation>(NUMBER, &draft.method, &value)?.problems;
    problems.truncate(MAX_PROBLEMS);
    Ok(problems)
}
