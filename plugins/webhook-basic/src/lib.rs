//! The auth method `basic`: delivers events with a user name and a password, as RFC 7617 describes it.
#![forbid(unsafe_code)]

use switchboard_plugin_api::prelude::*;

const USERNAME: &str = "basic_username";
const PASSWORD: &str = "basic_password";

struct WebhookBasic;

impl Plugin for WebhookBasic {
    const INFO: PluginInfo = PluginInfo::new("webhook_basic", env!("CARGO_PKG_VERSION"))
        .title("Webhooks with user name and password")
        .capabilities(&["http"]);
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("basic", Self::languages)
        .add::<WebhookRegistration>("basic", Self::auth_method)
        .add_async::<DeferredDelivery>("basic", Self::deliver);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl WebhookBasic {
    fn languages(&self, _cx: &Context, _request: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        Ok(LanguageFiles::new()
            .file("en-GB", include_str!("../languages/en-GB.ftl"))
            .file("fr-FR", include_str!("../languages/fr-FR.ftl"))
            .file("de-DE", include_str!("../languages/de-DE.ftl"))
            .file("es-ES", include_str!("../languages/es-ES.ftl")))
    }

    fn auth_method(&self, cx: &Context, _request: RegistrationRequest) -> Result<AuthMethod, PluginError> {
        let username = FormField::new(USERNAME, FieldFormat::Input, cx.text("basic-username"))
            .description(cx.text("basic-username-help"))
            .required();
        let password = FormField::new(PASSWORD, FieldFormat::Password, cx.text("basic-password"))
            .description(cx.text("basic-password-help"))
            .required();
        Ok(AuthMethod::new(cx.text("method")).notes(cx.text("notes")).field(username).field(password))
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        let username = cx.required_setting(USERNAME)?;
        let password = cx.required_setting(PASSWORD)?;
        if username.contains(':') {
            // The receiver splits at the first colon, so it would see another name and another password.
            return Err(PluginError::permanent(format!(
                "the setting `{USERNAME}` contains a colon, which HTTP Basic authentication cannot carry"
            ))
            .with_code("bad_settings"));
        }
        cx.http().deliver(&delivery).basic_auth(&username, &password).send().await?.delivered()
    }
}

export_plugin!(WebhookBasic);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::pin::pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context as TaskContext, Poll, Waker};
    use std::time::Duration;

    use serde_json::{Value, json};
    use switchboard_plugin_api::host::{CallHost, Module, PluginHost, ServiceAnswer, ServiceFuture};
    use switchboard_plugin_api::protocol;

    use super::*;

    /// A host that has the settings of one webhook and keeps the request instead of sending it.
    #[derive(Default)]
    struct FakeHost {
        settings: HashMap<&'static str, &'static str>,
        sent: Mutex<Option<Value>>,
    }

    impl CallHost for FakeHost {
        fn service(&self, name: &str, head: &[u8], _body: &[u8]) -> ServiceAnswer {
            assert_eq!(name, protocol::SETTING);
            let head: Value = serde_json::from_slice(head).unwrap();
            Ok(match self.settings.get(head["key"].as_str().unwrap()) {
                Some(value) => (b"true".to_vec(), value.as_bytes().to_vec()),
                None => (b"false".to_vec(), Vec::new()),
            })
        }

        fn service_async(&self, name: &str, head: Vec<u8>, _body: Vec<u8>) -> ServiceFuture {
            assert_eq!(name, protocol::HTTP);
            *self.sent.lock().unwrap() = Some(serde_json::from_slice(&head).unwrap());
            Box::pin(async { Ok((br#"{"status":204}"#.to_vec(), Vec::new())) })
        }

        fn time_left(&self) -> Duration {
            Duration::from_secs(1)
        }

        fn is_cancelled(&self) -> bool {
            false
        }
    }

    struct Silent;

    impl PluginHost for Silent {
        fn log(&self, _level: log::Level, _channel: &str, _message: &str, _fields: &[(String, String)]) {}

        fn log_level(&self) -> log::LevelFilter {
            log::LevelFilter::Off
        }

        fn service(&self, _name: &str, _head: &[u8], _body: &[u8]) -> ServiceAnswer {
            Err(PluginError::permanent("there are no services in this test"))
        }
    }

    /// Delivers one event and returns the value of the header `authorization`, `None` when nothing was sent.
    fn deliver(settings: &[(&'static str, &'static str)]) -> (Result<(), PluginError>, Option<String>) {
        const DELIVER: u32 = 2;
        let host = Arc::new(FakeHost { settings: settings.iter().copied().collect(), ..FakeHost::default() });
        let plugin = Module::linked::<WebhookBasic>().start(Arc::new(Silent)).unwrap();
        let delivery = json!({
            "event_id": "e1", "event": "booking_added", "body": "{}", "attempt": 1,
            "webhook": 1, "url": "https://example.com/",
        });
        let call = pin!(plugin.call_async(DELIVER, host.clone(), delivery.to_string().into_bytes()));
        let Poll::Ready(result) = call.poll(&mut TaskContext::from_waker(Waker::noop())) else {
            panic!("the fake host answers at once");
        };
        let sent = host.sent.lock().unwrap().take();
        let authorization = sent.map(|head| {
            let headers: Vec<(String, String)> = serde_json::from_value(head["headers"].clone()).unwrap();
            headers.into_iter().find(|(name, _)| name == "authorization").unwrap().1
        });
        (result.map(drop), authorization)
    }

    #[test]
    fn username_and_password_are_sent_byte_for_byte() {
        let (result, authorization) = deliver(&[(USERNAME, "Zoë & <co>"), (PASSWORD, " a:\"b'& ")]);
        assert_eq!(result, Ok(()));
        // base64 of `Zoë & <co>: a:"b'& ` in UTF-8.
        assert_eq!(authorization.as_deref(), Some("Basic Wm/DqyAmIDxjbz46IGE6ImInJiA="));
    }

    #[track_caller]
    fn check_refused(settings: &[(&'static str, &'static str)], names: &str) {
        let (result, authorization) = deliver(settings);
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Permanent, Some("bad_settings")));
        assert!(error.to_string().contains(names), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert_eq!(authorization, None);
    }

    #[test]
    fn without_a_usable_name_and_a_password_nothing_is_sent() {
        check_refused(&[(PASSWORD, "s3cret")], "basic_username");
        check_refused(&[(USERNAME, "ada")], "basic_password");
        check_refused(&[(USERNAME, "ada"), (PASSWORD, "")], "basic_password");
        check_refused(&[(USERNAME, "ada:s3cret"), (PASSWORD, "s3cret")], "basic_username");
    }
}
