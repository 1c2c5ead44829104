//! The auth method `api_key`: delivers events with a key in a header or in the query.
#![forbid(unsafe_code)]

use switchboard_plugin_api::prelude::*;

const KEY: &str = "api_key_value";
const PLACE: &str = "api_key_place";
const NAME: &str = "api_key_name";

/// The two values of [`PLACE`].
const HEADER: &str = "header";
const QUERY: &str = "query";

const DEFAULT_NAME: &str = "x-api-key";

/// Headers that are the host's or the connection's.
const TAKEN: [&str; 10] = [
    "accept",
    "connection",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Beginnings of such headers.
const TAKEN_PREFIXES: [&str; 3] = ["content-", "proxy-", "webhook-"];

struct WebhookApiKey;

impl Plugin for WebhookApiKey {
    const INFO: PluginInfo = PluginInfo::new("webhook_api_key", env!("CARGO_PKG_VERSION"))
        .title("Webhooks with an API key")
        .capabilities(&["http"]);
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("api_key", Self::languages)
        .add::<WebhookRegistration>("api_key", Self::auth_method)
        .add::<WebhookValidation>("api_key", Self::validate)
        .add_async::<ImmediateDelivery>("api_key", Self::deliver)
        .add_async::<DeferredDelivery>("api_key", Self::deliver);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl WebhookApiKey {
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
        let key = FormField::new(KEY, FieldFormat::Password, cx.text("api-key"))
            .description(cx.text("api-key-help"))
            .required();
        let place = FormField::new(PLACE, FieldFormat::Select, cx.text("api-key-place"))
            .description(cx.text("api-key-place-help"))
            .option(HEADER, cx.text("api-key-in-header"))
            .option(QUERY, cx.text("api-key-in-query"))
            .default_value(HEADER);
        let name = FormField::new(NAME, FieldFormat::Input, cx.text("api-key-name"))
            .description(cx.text("api-key-name-help"))
            .default_value(DEFAULT_NAME)
            .required();
        Ok(AuthMethod::new(cx.text("method")).notes(cx.text("notes")).field(key).field(place).field(name))
    }

    fn validate(&self, cx: &Context, _webhook: ValidationRequest) -> Result<Validation, PluginError> {
        let in_query = in_query(cx);
        let (key, name) = (cx.required_setting(KEY)?, cx.required_setting(NAME)?);
        let mut validation = Validation::new();
        if let Some(text) = name_problem(&name, in_query) {
            validation = validation.setting(NAME, cx.text(text));
        }
        if let Some(text) = key_problem(&key, in_query) {
            validation = validation.setting(KEY, cx.text(text));
        }
        Ok(validation)
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        let in_query = in_query(cx);
        let (key, name) = (cx.required_setting(KEY)?, cx.required_setting(NAME)?);
        let problem = |setting, text: Option<_>| text.map(|text| (setting, text));
        let problem = problem(NAME, name_problem(&name, in_query)).or(problem(KEY, key_problem(&key, in_query)));
        if let Some((setting, text)) = problem {
            let reason = cx.text(text);
            return Err(PluginError::permanent(format!("the setting `{setting}` cannot be used: {reason}"))
                .with_code("bad_settings"));
        }
        let request = cx.http().deliver(&delivery);
        let request = if in_query { request.query(&name, &key) } else { request.header(name, key) };
        request.send().await?.delivered()
    }
}

fn in_query(cx: &Context<'_>) -> bool {
    cx.setting(PLACE).is_some_and(|place| place == QUERY)
}

/// Returns the key of the text that says what is wrong with the name of the header or parameter.
fn name_problem(name: &str, in_query: bool) -> Option<&'static str> {
    if in_query {
        // Everything else is encoded.
        return name.chars().any(char::is_control).then_some("api-key-control");
    }
    // RFC 9110, section 5.6.2: what a header's name is made of.
    let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.bytes().all(in_token) {
        return Some("api-key-name-format");
    }
    let name = name.to_ascii_lowercase();
    let taken = TAKEN.contains(&name.as_str()) || TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    taken.then_some("api-key-name-taken")
}

/// Returns the key of the text that says what is wrong with the key itself.
fn key_problem(key: &str, in_query: bool) -> Option<&'static str> {
    if key.chars().any(char::is_control) {
        return Some("api-key-control");
    }
    // A header carries nothing else as it is, and receivers take the spaces around its value away.
    let fits = key.is_ascii() && key.trim() == key;
    (!in_query && !fits).then_some("api-key-format")
}

export_plugin!(WebhookApiKey);

#[cfg(test)]
mod tests {
    use switchboard_test_host::{HttpAnswer, HttpRequest, TestHost, check_contract, delivery};

    use super::*;

    const BODY: &str = r#"{"data":{"name":"Zoë"}}"#;

    #[test]
    fn it_keeps_the_contract_of_plugins() {
        check_contract::<WebhookApiKey>();
    }

    fn host(settings: &[(&str, &str)]) -> TestHost<WebhookApiKey> {
        let host = TestHost::<WebhookApiKey>::start().http(|_| HttpAnswer::status(204));
        let settings = [(NAME, DEFAULT_NAME), (PLACE, HEADER)].iter().chain(settings);
        settings.fold(host, |host, (key, value)| host.setting(*key, *value))
    }

    /// Delivers one event with these settings and returns the request.
    #[track_caller]
    fn sent(settings: &[(&str, &str)], url: &str) -> HttpRequest {
        let host = host(settings);
        let mut delivery = delivery("booking_added", BODY);
        delivery.url = url.to_owned();
        let done = host.call::<DeferredDelivery>("api_key", &delivery).unwrap();
        assert_eq!(done.status, Some(204));
        let mut requests = host.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].body, BODY.as_bytes());
        requests.remove(0)
    }

    #[test]
    fn the_key_is_sent_byte_for_byte_in_the_header_that_was_chosen() {
        let key = "p&<>\"' x=~";
        let request = sent(&[(KEY, key)], "https://receiver.example/events");
        assert_eq!(request.header("x-api-key"), Some(key));
        assert_eq!(request.url, "https://receiver.example/events");
        let request = sent(&[(KEY, "ApiKey abc"), (NAME, "Authorization")], "https://receiver.example/");
        assert_eq!(request.header("authorization"), Some("ApiKey abc"));
        assert_eq!(request.header("x-api-key"), None);
    }

    #[test]
    fn the_key_is_added_to_the_query_and_to_no_header() {
        let query = |url: &str| {
            let request = sent(&[(KEY, "a&b=é c"), (PLACE, QUERY), (NAME, "key")], url);
            assert!(request.headers.iter().all(|(_, value)| !value.contains("a&b")), "{request:?}");
            request.url
        };
        assert_eq!(query("https://receiver.example/in"), "https://receiver.example/in?key=a%26b%3D%C3%A9+c");
        assert_eq!(query("https://receiver.example/in?a=1#x"), "https://receiver.example/in?a=1&key=a%26b%3D%C3%A9+c");
    }

    #[test]
    fn at_once_and_later_send_the_same() {
        let host = host(&[(KEY, "k3y")]);
        host.call::<ImmediateDelivery>("api_key", &delivery("booking_added", BODY)).unwrap();
        host.call::<DeferredDelivery>("api_key", &delivery("booking_added", BODY)).unwrap();
        let requests = host.requests();
        assert_eq!(requests[0], requests[1]);
    }

    #[track_caller]
    fn check_refused(settings: &[(&str, &str)], setting: &str) {
        let host = host(settings);
        let validation = host.call::<WebhookValidation>("api_key", &ValidationRequest::default()).unwrap();
        let [problem] = validation.problems.as_slice() else { panic!("{validation:?}") };
        assert_eq!(problem.key.as_deref(), Some(setting));
        let error = host.call::<DeferredDelivery>("api_key", &delivery("booking_added", BODY)).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Permanent, Some("bad_settings")));
        assert!(error.to_string().contains(setting) && !error.to_string().contains("s3cret"), "{error}");
        assert_eq!(host.requests(), []);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_when_it_is_saved_and_when_it_is_used() {
        for name in ["x api key", "é", "x-key:", "Host", "Content-Type", "webhook-id", "proxy-authorization"] {
            check_refused(&[(KEY, "s3cret"), (NAME, name)], NAME);
        }
        for key in ["s3cret\n", "s3crét", " s3cret", "s3cret "] {
            check_refused(&[(KEY, key)], KEY);
        }
        check_refused(&[(KEY, "s3cret\r\n"), (PLACE, QUERY)], KEY);
    }

    #[test]
    fn what_is_good_is_saved() {
        for settings in
            [&[(KEY, "s3cret"), (NAME, "X-Key")][..], &[(KEY, " s3crét "), (NAME, "access key"), (PLACE, QUERY)]]
        {
            let validation = host(settings).call::<WebhookValidation>("api_key", &ValidationRequest::default());
            assert_eq!(validation.unwrap(), Validation::new());
        }
    }

    #[test]
    fn only_a_receiver_that_is_gone_is_never_tried_again() {
        for (status, kind, code) in [
            (403, ErrorKind::Retryable, "http_4xx"),
            (500, ErrorKind::Retryable, "http_5xx"),
            (410, ErrorKind::Permanent, "gone"),
        ] {
            let host = host(&[(KEY, "k3y")]).http(move |_| HttpAnswer::status(status));
            let error = host.call::<DeferredDelivery>("api_key", &delivery("booking_added", BODY)).unwrap_err();
            assert_eq!((error.kind(), error.code()), (kind, Some(code)));
        }
    }

    #[test]
    fn the_key_is_never_shown_again_and_the_place_is_chosen() {
        let host = TestHost::<WebhookApiKey>::start().language("it-IT");
        let form = host.call::<WebhookRegistration>("api_key", &RegistrationRequest::default()).unwrap();
        let fields: Vec<_> = form.fields.iter().map(|field| (field.key.as_str(), field.format)).collect();
        assert_eq!(fields, [(KEY, FieldFormat::Password), (PLACE, FieldFormat::Select), (NAME, FieldFormat::Input)]);
        assert_eq!(form.fields[0].title, "Chiave");
    }
}
