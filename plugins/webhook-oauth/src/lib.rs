//! The auth method `oauth`: delivers events with a token of an OAuth 2.0 server (RFC 6749, client credentials).
#![forbid(unsafe_code)]

mod client;
#[cfg(test)]
mod tests;
mod tokens;

use switchboard_plugin_api::prelude::*;

use client::{AUDIENCE, BASIC, BODY, CLIENT_ID, Client, SCOPE, SECRET, STYLE, TOKEN_URL, TokenFailure};
use tokens::Tokens;

struct WebhookOauth {
    tokens: Tokens,
}

impl Plugin for WebhookOauth {
    const INFO: PluginInfo = PluginInfo::new("webhook_oauth", env!("CARGO_PKG_VERSION"))
        .title("Webhooks with OAuth 2.0")
        .capabilities(&["http", "kept_get", "kept_set"]);
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("oauth", Self::languages)
        .add::<WebhookRegistration>("oauth", Self::auth_method)
        .add_async::<WebhookValidation>("oauth", Self::validate)
        .add_async::<ImmediateDelivery>("oauth", Self::deliver)
        .add_async::<DeferredDelivery>("oauth", Self::deliver);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self { tokens: Tokens::default() })
    }
}

impl WebhookOauth {
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
        let field = |key, format, text: &str| {
            FormField::new(key, format, cx.text(text)).description(cx.text(&format!("{text}-help")))
        };
        let style = field(STYLE, FieldFormat::Select, "oauth-style")
            .option(BODY, cx.text("oauth-style-body"))
            .option(BASIC, cx.text("oauth-style-basic"))
            .default_value(BODY);
        Ok(AuthMethod::new(cx.text("method"))
            .notes(cx.text("notes"))
            .field(field(TOKEN_URL, FieldFormat::Url, "oauth-token-url").required())
            .field(field(CLIENT_ID, FieldFormat::Input, "oauth-client-id").required())
            .field(field(SECRET, FieldFormat::Password, "oauth-secret").required())
            .field(field(SCOPE, FieldFormat::Input, "oauth-scope"))
            .field(field(AUDIENCE, FieldFormat::Input, "oauth-audience"))
            .field(style))
    }

    /// Asks for a token. What the token server or the host refuses is a problem; a server that cannot be reached just now
    /// is none.
    async fn validate(&self, cx: &Context<'_>, _webhook: ValidationRequest) -> Result<Validation, PluginError> {
        let Err(failure) = Client::read(cx)?.fetch(cx).await else { return Ok(Validation::new()) };
        let problem = |setting, text| Ok(Validation::new().setting(setting, cx.text(text)));
        match failure {
            TokenFailure::Refused { error: "invalid_client" | "unauthorized_client", .. } => {
                problem(SECRET, "oauth-refused")
            }
            TokenFailure::Refused { error: "invalid_scope", .. } => problem(SCOPE, "oauth-scope-refused"),
            // Too many or too early requests may pass.
            TokenFailure::Refused { status: status @ 300..=499, .. } if !matches!(status, 408 | 425 | 429) => {
                let text = cx.text_with("oauth-no-token", &[("status", status.to_string().into())]);
                Ok(Validation::new().setting(TOKEN_URL, text))
            }
            TokenFailure::NoToken => problem(TOKEN_URL, "oauth-no-token-server"),
            TokenFailure::NotSent(error) if error.kind() == ErrorKind::Permanent => {
                Ok(Validation::new().setting(TOKEN_URL, error.to_string()))
            }
            _ => Ok(Validation::new()),
        }
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        let client = Client::read(cx)?;
        let token = self.tokens.token(cx, delivery.webhook, &client, None).await?;
        let response = cx.http().deliver(&delivery).bearer_auth(&token).send().await?;
        if response.status() != 401 {
            return response.delivered();
        }
        // The token was withdrawn before its time. One new token and one more request, within the same attempt.
        let token = self.tokens.token(cx, delivery.webhook, &client, Some(&token)).await?;
        cx.http().deliver(&delivery).bearer_auth(&token).send().await?.delivered()
    }
}

export_plugin!(WebhookOauth);
