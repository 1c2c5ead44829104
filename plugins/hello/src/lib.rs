//! The smallest useful plugin: a public task that greets in the language of the person who asks.
#![forbid(unsafe_code)]

use switchboard_plugin_api::prelude::*;

struct Hello;

impl Plugin for Hello {
    const INFO: PluginInfo = PluginInfo::new("hello", env!("CARGO_PKG_VERSION")).title("Hello");
    const REGISTRY: Registry<Self> =
        Registry::new().add::<LanguageInit>("hello", Self::languages).add::<PublicTask>("hello", Self::greet);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Hello {
    fn languages(&self, _cx: &Context, _request: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        Ok(LanguageFiles::new()
            .file("en-GB", include_str!("../languages/en-GB.ftl"))
            .file("fr-FR", include_str!("../languages/fr-FR.ftl"))
            .file("de-DE", include_str!("../languages/de-DE.ftl"))
            .file("es-ES", include_str!("../languages/es-ES.ftl")))
    }

    fn greet(&self, cx: &Context, arguments: Arguments) -> Result<TaskReply, PluginError> {
        let name = match arguments.text("name") {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => cx.text("everybody"),
        };
        Ok(TaskReply::text(cx.text_with("greeting", &[("name", name.into())])))
    }
}

export_plugin!(Hello);
