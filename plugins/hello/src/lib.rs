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
            .file("es-ES", include_str!("../languages/es-ES.ftl"))
            .file("it-IT", include_str!("../languages/it-IT.ftl"))
            .file("nl-NL", include_str!("../languages/nl-NL.ftl")))
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use switchboard_test_host::{TestHost, check_contract};

    use super::*;

    #[test]
    fn it_keeps_the_contract_of_plugins() {
        check_contract::<Hello>();
    }

    #[track_caller]
    fn check_greeting(language: &str, ada: &str, everybody: &str) {
        let host = TestHost::<Hello>::start().language(language);
        let greet = |arguments| host.call_json::<PublicTask>("hello", &arguments).unwrap().text;
        assert_eq!(greet(json!({ "name": "Ada" })), ada);
        assert_eq!(greet(json!({})), everybody);
        assert_eq!(greet(json!({ "name": "" })), everybody);
    }

    #[test]
    fn people_are_greeted_in_their_language() {
        check_greeting("en-GB", "Hello Ada!", "Hello World!");
        check_greeting("fr-FR", "Bonjour Ada !", "Bonjour le monde !");
        check_greeting("de-DE", "Hallo Ada!", "Hallo Welt!");
        check_greeting("es-ES", "¡Hola, Ada!", "¡Hola, mundo!");
    }

    #[test]
    fn people_of_another_region_or_language_are_greeted_in_the_nearest() {
        check_greeting("de-CH", "Hallo Ada!", "Hallo Welt!");
        check_greeting("sv-SE", "Hello Ada!", "Hello World!");
    }

    #[test]
    fn a_name_is_greeted_as_it_is_written() {
        let reply = TestHost::<Hello>::start().call_json::<PublicTask>("hello", &json!({ "name": "<b>{ $n }</b>" }));
        assert_eq!(reply.unwrap().text, "Hello <b>{ $n }</b>!");
    }
}
