//! The auth method `none`: delivers events as they are, with nothing that proves who sent them.
#![forbid(unsafe_code)]

use switchboard_plugin_api::prelude::*;

struct WebhookNone;

impl Plugin for WebhookNone {
    const INFO: PluginInfo = PluginInfo::new("webhook_none", env!("CARGO_PKG_VERSION"))
        .title("Webhooks without authentication")
        .capabilities(&["http"]);
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("none", Self::languages)
        .add::<WebhookRegistration>("none", Self::auth_method)
        .add_async::<DeferredDelivery>("none", Self::deliver);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl WebhookNone {
    fn languages(&self, _cx: &Context, _request: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        Ok(LanguageFiles::new()
            .file("en-GB", include_str!("../languages/en-GB.ftl"))
            .file("fr-FR", include_str!("../languages/fr-FR.ftl"))
            .file("de-DE", include_str!("../languages/de-DE.ftl"))
            .file("es-ES", include_str!("../languages/es-ES.ftl")))
    }

    fn auth_method(&self, cx: &Context, _request: RegistrationRequest) -> Result<AuthMethod, PluginError> {
        Ok(AuthMethod::new(cx.text("method")).notes(cx.text("notes")))
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        cx.http().deliver(&delivery).send().await?.delivered()
    }
}

export_plugin!(WebhookNone);
