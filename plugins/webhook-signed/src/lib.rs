//! The auth method `signed`: delivers events with signatures as Standard Webhooks describes them.
#![forbid(unsafe_code)]

mod key;
mod secrets;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use switchboard_plugin_api::prelude::*;

use secrets::{OLD_SECRETS, OLD_UNTIL, Problem, SECRET, Secrets};

/// Longest overlap of an old secret with the current one, from the day on which it is set.
const LONGEST_OVERLAP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

struct WebhookSigned;

impl Plugin for WebhookSigned {
    const INFO: PluginInfo = PluginInfo::new("webhook_signed", env!("CARGO_PKG_VERSION"))
        .title("Signed webhooks")
        .capabilities(&["http"])
        // On a host of 1.0 it signs the time of the system's clock, which is that of the host.
        .needs_api("1.0");
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("signed", Self::languages)
        .add::<WebhookRegistration>("signed", Self::auth_method)
        .add::<WebhookValidation>("signed", Self::validate)
        .add_async::<ImmediateDelivery>("signed", Self::deliver)
        .add_async::<DeferredDelivery>("signed", Self::deliver);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl WebhookSigned {
    fn languages(&self, _cx: &Context, _request: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        Ok(LanguageFiles::new()
            .file("en-GB", include_str!("../languages/en-GB.ftl"))
            .file("fr-FR", include_str!("../languages/fr-FR.ftl"))
            .file("de-DE", include_str!("../languages/de-DE.ftl"))
            .file("es-ES", include_str!("../languages/es-ES.ftl"))
            .file("it-IT", include_str!("../languages/it-IT.ftl"))
            .file("nl-NL", include_str!("../languages/nl-NL.ftl")))
    }

    fn auth_method(&self, cx: &Context, _request: RegistrationRequest) -> Result<AuthMethod, PluginError> {
        let secret = FormField::new(SECRET, FieldFormat::Password, cx.text("signed-secret"))
            .description(cx.text("signed-secret-help"))
            .rotates(OLD_SECRETS, OLD_UNTIL)
            .required();
        let old = FormField::new(OLD_SECRETS, FieldFormat::Password, cx.text("signed-old-secrets"))
            .description(cx.text("signed-old-secrets-help"));
        let until = FormField::new(OLD_UNTIL, FieldFormat::Input, cx.text("signed-old-until"))
            .description(cx.text("signed-old-until-help"));
        Ok(AuthMethod::new(cx.text("method")).notes(cx.text("notes")).field(secret).field(old).field(until))
    }

    fn validate(&self, cx: &Context, _webhook: ValidationRequest) -> Result<Validation, PluginError> {
        let refused = |problem: Problem| Validation::new().setting(problem.setting, cx.text(problem.text));
        Ok(match Secrets::read(cx) {
            Err(problem) => refused(problem),
            Ok(secrets) if secrets.overlap_after(cx.now()) > LONGEST_OVERLAP => {
                refused(Problem { setting: OLD_UNTIL, text: "signed-until-late" })
            }
            Ok(_) => Validation::new(),
        })
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        cx.required_setting(SECRET)?;
        let secrets = Secrets::read(cx).map_err(|problem| {
            let (setting, reason) = (problem.setting, cx.text(problem.text));
            PluginError::permanent(format!("the setting `{setting}` cannot be used: {reason}"))
                .with_code("bad_settings")
        })?;
        if delivery.event_id.contains('.') {
            return Err(PluginError::permanent("an event id with a dot cannot be signed: the dot ends it"));
        }
        // The receiver refuses what is older than some minutes, so the time is that of sending, not of the event.
        let now = cx.now();
        let timestamp = seconds(now).to_string();
        let signatures = secrets.sign(&delivery.event_id, &timestamp, delivery.body.as_bytes(), now);
        let request = cx.http().deliver(&delivery).header("webhook-timestamp", timestamp);
        request.header("webhook-signature", signatures).send().await?.delivered()
    }
}

/// Returns a time in seconds since the Unix epoch, as in Standard Webhooks.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

export_plugin!(WebhookSigned);
