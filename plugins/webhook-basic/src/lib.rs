//! The auth method `basic`: delivers events with a user name and a password, as RFC 7617 describes it.
#![forbid(unsafe_code)]

use switchboard_plugin_api::prelude::*;

const USERNAME: &str = "basic_username";
const PASSWORD: &str = "basic_password";

struct WebhookBasic;

impl Plugin for WebhookBasic {
    const INFO: PluginInfo = PluginInfo::new("webhook_basic", env!("CARGO_PKG_VERSION"))
        .title("Webhooks with user name and password")
        .capabilities(&["http"])
        // A host of 1.0 does not ask whether a webhook can work; the delivery then says so.
        .needs_api("1.0");
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("basic", Self::languages)
        .add::<WebhookRegistration>("basic", Self::auth_method)
        .add::<WebhookValidation>("basic", Self::validate)
        .add_async::<ImmediateDelivery>("basic", Self::deliver)
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
            .file("es-ES", include_str!("../languages/es-ES.ftl"))
            .file("it-IT", include_str!("../languages/it-IT.ftl"))
            .file("nl-NL", include_str!("../languages/nl-NL.ftl")))
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

    fn validate(&self, cx: &Context, webhook: ValidationRequest) -> Result<Validation, PluginError> {
        let username = webhook.settings.get(USERNAME).map_or("", String::as_str);
        Ok(match username.contains(':') {
            true => Validation::new().setting(USERNAME, cx.text("basic-username-colon")),
            false => Validation::new(),
        })
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
    use switchboard_test_host::{HttpAnswer, HttpRequest, TestHost, check_contract, delivery};

    use super::*;

    #[test]
    fn it_keeps_the_contract_of_plugins() {
        check_contract::<WebhookBasic>();
    }

    /// Delivers one event to a receiver that takes it, and returns what was sent.
    fn deliver(settings: &[(&str, &str)]) -> (Result<Delivered, PluginError>, Vec<HttpRequest>) {
        let mut host = TestHost::<WebhookBasic>::start().http(|_| HttpAnswer::status(204));
        for (key, value) in settings {
            host = host.setting(*key, *value);
        }
        (host.call::<DeferredDelivery>("basic", &delivery("booking_added", "{}")), host.requests())
    }

    #[test]
    fn username_and_password_are_sent_byte_for_byte() {
        let (result, requests) = deliver(&[(USERNAME, "Zoë & <co>"), (PASSWORD, " a:\"b'& ")]);
        assert_eq!(result.unwrap().status, Some(204));
        // base64 of `Zoë & <co>: a:"b'& ` in UTF-8.
        assert_eq!(requests[0].header("authorization"), Some("Basic Wm/DqyAmIDxjbz46IGE6ImInJiA="));
        assert_eq!(requests.len(), 1);
    }

    #[test]
    fn at_once_and_later_send_the_same() {
        let host = TestHost::<WebhookBasic>::start().setting(USERNAME, "ada").setting(PASSWORD, "s3cret");
        let host = host.http(|_| HttpAnswer::status(202));
        host.call::<ImmediateDelivery>("basic", &delivery("booking_added", "{}")).unwrap();
        host.call::<DeferredDelivery>("basic", &delivery("booking_added", "{}")).unwrap();
        let requests = host.requests();
        assert_eq!(requests[0], requests[1]);
    }

    #[test]
    fn only_a_receiver_that_is_gone_is_never_tried_again() {
        for (status, kind, code) in [
            (401, ErrorKind::Retryable, "http_4xx"),
            (500, ErrorKind::Retryable, "http_5xx"),
            (410, ErrorKind::Permanent, "gone"),
        ] {
            let host = TestHost::<WebhookBasic>::start().setting(USERNAME, "ada").setting(PASSWORD, "s3cret");
            let host = host.http(move |_| HttpAnswer::status(status));
            let error = host.call::<DeferredDelivery>("basic", &delivery("booking_added", "{}")).unwrap_err();
            assert_eq!((error.kind(), error.code()), (kind, Some(code)));
        }
    }

    #[track_caller]
    fn check_refused(settings: &[(&str, &str)], names: &str) {
        let (result, requests) = deliver(settings);
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Permanent, Some("bad_settings")));
        assert!(error.to_string().contains(names), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert_eq!(requests, []);
    }

    #[test]
    fn without_a_usable_name_and_a_password_nothing_is_sent() {
        check_refused(&[(PASSWORD, "s3cret")], "basic_username");
        check_refused(&[(USERNAME, "ada")], "basic_password");
        check_refused(&[(USERNAME, "ada"), (PASSWORD, "")], "basic_password");
        check_refused(&[(USERNAME, "ada:s3cret"), (PASSWORD, "s3cret")], "basic_username");
    }

    #[test]
    fn a_name_with_a_colon_is_refused_when_the_webhook_is_saved_in_the_language_of_the_person() {
        let host = TestHost::<WebhookBasic>::start().language("de-DE");
        let validate = |username: &str| {
            let mut webhook = ValidationRequest::default();
            webhook.settings.insert(USERNAME.to_owned(), username.to_owned());
            host.call::<WebhookValidation>("basic", &webhook).unwrap()
        };
        assert_eq!(validate("ada"), Validation::new());
        let refused = Validation::new().setting(USERNAME, "Der Benutzername darf keinen Doppelpunkt enthalten.");
        assert_eq!(validate("ada:lovelace"), refused);
    }

    #[test]
    fn the_password_field_never_shows_what_is_in_it() {
        let host = TestHost::<WebhookBasic>::start().language("fr-FR");
        let form = host.call::<WebhookRegistration>("basic", &RegistrationRequest::default()).unwrap();
        let fields: Vec<_> = form.fields.iter().map(|field| (field.key.as_str(), field.format)).collect();
        assert_eq!(fields, [(USERNAME, FieldFormat::Input), (PASSWORD, FieldFormat::Password)]);
        assert_eq!(form.fields[1].title, "Mot de passe");
    }
}
