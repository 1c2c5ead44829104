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
        .add_async::<ImmediateDelivery>("none", Self::deliver)
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
            .file("es-ES", include_str!("../languages/es-ES.ftl"))
            .file("it-IT", include_str!("../languages/it-IT.ftl"))
            .file("nl-NL", include_str!("../languages/nl-NL.ftl")))
    }

    fn auth_method(&self, cx: &Context, _request: RegistrationRequest) -> Result<AuthMethod, PluginError> {
        Ok(AuthMethod::new(cx.text("method")).notes(cx.text("notes")))
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        cx.http().deliver(&delivery).send().await?.delivered()
    }
}

export_plugin!(WebhookNone);

#[cfg(test)]
mod tests {
    use switchboard_test_host::{HttpAnswer, TestHost, check_contract, delivery};

    use super::*;

    const BODY: &str = r#"{"data":{"name":"Zoë"}}"#;

    #[test]
    fn it_keeps_the_contract_of_plugins() {
        check_contract::<WebhookNone>();
    }

    #[test]
    fn the_event_is_sent_as_it_is_and_nothing_else() {
        let host = TestHost::<WebhookNone>::start().http(|_| HttpAnswer::status(202));
        let done = host.call::<DeferredDelivery>("none", &delivery("booking_added", BODY)).unwrap();
        assert_eq!(done.status, Some(202));
        let requests = host.requests();
        let [request] = requests.as_slice() else { panic!("{requests:?}") };
        assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://receiver.example/events"));
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", "event-1"),
            ("webhook-event", "booking_added"),
            ("webhook-attempt", "1"),
            ("webhook-timestamp", "1767225600"),
        ];
        assert_eq!(request.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(request.body, BODY.as_bytes());
    }

    #[test]
    fn at_once_and_later_send_the_same() {
        let host = TestHost::<WebhookNone>::start().http(|_| HttpAnswer::status(202));
        host.call::<ImmediateDelivery>("none", &delivery("booking_added", BODY)).unwrap();
        host.call::<DeferredDelivery>("none", &delivery("booking_added", BODY)).unwrap();
        let requests = host.requests();
        assert_eq!(requests[0], requests[1]);
    }

    #[track_caller]
    fn check_failure(answer: HttpAnswer, kind: ErrorKind, code: &str) {
        let host = TestHost::<WebhookNone>::start().http(move |_| answer.clone());
        let error = host.call::<DeferredDelivery>("none", &delivery("booking_added", BODY)).unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, Some(code)));
    }

    #[test]
    fn only_a_receiver_that_is_gone_is_never_tried_again() {
        check_failure(HttpAnswer::status(500), ErrorKind::Retryable, "http_5xx");
        check_failure(HttpAnswer::status(410), ErrorKind::Permanent, "gone");
        let refused = PluginError::retryable("the connection was refused").with_code("connect");
        check_failure(HttpAnswer::failed(refused), ErrorKind::Retryable, "connect");
    }

    #[test]
    fn the_form_has_no_fields_and_a_title_in_each_language() {
        for (language, title) in [
            ("en-GB", "No authentication"),
            ("fr-FR", "Sans authentification"),
            ("de-DE", "Keine Anmeldung"),
            ("es-ES", "Sin autenticación"),
            ("it-IT", "Senza autenticazione"),
            ("nl-NL", "Geen authenticatie"),
        ] {
            let host = TestHost::<WebhookNone>::start().language(language);
            let form = host.call::<WebhookRegistration>("none", &RegistrationRequest::default()).unwrap();
            assert_eq!((form.title.as_str(), form.fields.len()), (title, 0));
        }
    }
}
