//! What an auth method itself says about a webhook that is to be stored (07305).

use std::sync::Arc;

use switchboard_plugin_api::{FieldProblem, PluginError, Trigger, Validation, ValidationRequest, WebhookValidation};

use super::WebhookError;
use crate::core::Core;
use crate::dispatcher::{read_json, write_json};
use crate::run::{CallOptions, RunState, Subject};
use crate::store::NewWebhook;

/// Most problems that are shown, as many as a form has fields.
const MAX_PROBLEMS: usize = 100;

/// Asks the webhook's auth method, if it has something to say. `language` is that of the person who saves the webhook.
pub(super) fn validate(core: &Arc<Core>, webhook: &NewWebhook, language: &str) -> Result<(), WebhookError> {
    let mut subject = Subject::host(core);
    subject.owner = webhook.owner;
    language.clone_into(&mut subject.language);
    let run = Arc::new(RunState::new(Arc::clone(core), subject));
    match ask(&run, webhook) {
        Ok(problems) if problems.is_empty() => Ok(()),
        Ok(problems) => Err(WebhookError::Refused { method: webhook.method.clone(), problems }),
        Err(source) => Err(WebhookError::Validation { method: webhook.method.clone(), source }),
    }
}

fn ask(run: &Arc<RunState>, webhook: &NewWebhook) -> Result<Vec<FieldProblem>, PluginError> {
    const NUMBER: switchboard_plugin_api::TriggerNumber = WebhookValidation::NUMBER;
    let Some(handler) = run.registry.handler(NUMBER, &webhook.method) else { return Ok(Vec::new()) };
    let mut request = ValidationRequest::default();
    request.url.clone_from(&webhook.url);
    request.settings.clone_from(&webhook.settings);
    request.owner = webhook.owner.0;
    let options = CallOptions {
        timeout: Some(run.core.config.deferred.immediate_timeout),
        settings: Some(Arc::new(webhook.settings.clone())),
        ..CallOptions::default()
    };
    let value = run.call(handler, &write_json(NUMBER, &request)?, &options)?;
    let mut problems = read_json::<Validation>(NUMBER, &webhook.method, &value)?.problems;
    problems.truncate(MAX_PROBLEMS);
    Ok(problems)
}
