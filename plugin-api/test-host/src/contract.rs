//! What every plugin owes its users.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard_plugin_api::{
    AuthMethod, DeferredDelivery, ErrorKind, FieldFormat, FormField, ImmediateDelivery, LanguageInit, Plugin,
    PluginError, PublicTask, RegistrationRequest, Trigger, TriggerNumber, WebhookRegistration, WebhookValidation,
};

use crate::texts::DEFAULT_LANGUAGE;
use crate::{HttpAnswer, HttpRequest, LogLine, TestHost, delivery};

/// Longest wait for a shutdown.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// How often each handler is called.
const CALLS: usize = 10;

const DELIVERIES: [TriggerNumber; 2] = [ImmediateDelivery::NUMBER, DeferredDelivery::NUMBER];

/// Checks what every plugin owes its users, and reports all violations together.
///
/// * The plugin starts, starts a second time beside itself, and its [`Plugin::shutdown`] returns.
/// * Ten calls of each handler in a row end without a panic. A handler of a number that plugin-api does not know is
///   called with `{}`; an error is fine.
/// * Every language can be read and has the keys of `en-GB`, and every text that the plugin asks for exists.
/// * Every name of 07305, 07310 and 07320 has its 07300. Its form has titles in every language, each field key once, options in
///   each select, and no unknown format.
/// * A delivery without a required setting ends in a permanent error before anything is sent.
/// * A delivery with fields of a later plugin-api version, or without the optional ones, ends like any other.
/// * The value of a password field is in no log record, error, note or problem: not when the receiver answers 200 or 500,
///   nor when there is no connection. It is searched for as it is; an encoded one, as in base64, is not found.
///
/// A panic in [`Plugin::shutdown`] is not seen: the boundary swallows it.
///
/// # Panics
///
/// When something is violated. The text has a sentence for each, which says what to do.
#[track_caller]
pub fn check_contract<P: Plugin>() {
    check_contract_with::<P>(&[]);
}

/// Checks the contract of a plugin that cannot start without settings of its own; see [`check_contract`].
///
/// # Panics
///
/// As [`check_contract`].
#[track_caller]
pub fn check_contract_with<P: Plugin>(settings: &[(&str, &str)]) {
    let violations = contract_violations::<P>(settings);
    let list: String = violations.iter().map(|violation| format!("\n* {violation}")).collect();
    assert!(violations.is_empty(), "the plugin `{}` breaks its contract:{list}", P::INFO.id);
}

/// Returns the violations that [`check_contract_with`] would report, each a sentence.
///
/// # Panics
///
/// When the test program has a logger of its own, so that no log record can be judged.
#[must_use]
#[track_caller]
pub fn contract_violations<P: Plugin>(settings: &[(&str, &str)]) -> Vec<String> {
    let mut contract = Contract::<P> { settings, violations: Vec::new(), of: PhantomData };
    contract.check();
    contract.violations
}

struct Contract<'s, P> {
    /// The plugin's own settings.
    settings: &'s [(&'s str, &'s str)],
    violations: Vec<String>,
    of: PhantomData<fn() -> P>,
}

/// One delivery and all that can be seen of it.
struct Outcome {
    result: Result<Vec<u8>, PluginError>,
    requests: Vec<HttpRequest>,
    logs: Vec<LogLine>,
}

impl<P: Plugin> Contract<'_, P> {
    #[track_caller]
    fn check(&mut self) {
        let Some(host) = self.start("the plugin does not start") else { return };
        self.check_languages(&host);
        let forms = self.check_forms(&host);
        for number in DELIVERIES {
            for name in host.names(number) {
                let Some(form) = forms.get(&name) else { continue };
                self.check_required_settings(number, &name, form);
                self.check_payloads(number, &name, form);
                self.check_secrets(number, &name, form);
            }
        }
        for name in host.names(WebhookValidation::NUMBER) {
            if let Some(form) = forms.get(&name) {
                self.check_secrets(WebhookValidation::NUMBER, &name, form);
            }
        }
        self.check_repeated_calls(&host, &forms);
        let missing = host.missing_texts();
        for key in missing {
            self.violation(format!(
                "the text `{key}` cannot be formed in any language: add it to the texts of {DEFAULT_LANGUAGE}, or give \
                 it the arguments that it uses"
            ));
        }
        self.check_second_instance(host);
    }

    fn violation(&mut self, violation: String) {
        if !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }

    fn start(&mut self, what: &str) -> Option<TestHost<P>> {
        match TestHost::<P>::try_start_with(self.settings) {
            Ok(host) => Some(host.http(|_| HttpAnswer::status(200).body("{}"))),
            Err(error) => {
                self.violation(format!(
                    "{what}: {error}; make `new` and 00005 succeed, or give the settings that they need to \
                     `check_contract_with`"
                ));
                None
            }
        }
    }

    fn check_languages(&mut self, host: &TestHost<P>) {
        for problem in host.text_problems() {
            self.violation(format!("a text cannot be read: {problem}; correct the file"));
        }
        let state = host.services.state();
        let languages: Vec<String> = state.texts.languages().collect();
        let expected = state.texts.keys(DEFAULT_LANGUAGE);
        let keys: Vec<(String, BTreeSet<String>)> =
            languages.into_iter().map(|language| (language.clone(), state.texts.keys(&language))).collect();
        drop(state);
        if !keys.is_empty() && expected.is_empty() {
            self.violation(format!(
                "there are texts, but none in {DEFAULT_LANGUAGE}: add that language, all others fall back to it"
            ));
            return;
        }
        for (language, own) in keys {
            for key in expected.difference(&own) {
                self.violation(format!("the text `{key}` is missing in {language}: translate it"));
            }
            for key in own.difference(&expected) {
                self.violation(format!(
                    "the text `{key}` is in {language} and not in {DEFAULT_LANGUAGE}: add it there, or remove it"
                ));
            }
        }
    }

    /// Returns the forms in the default language, by name.
    fn check_forms(&mut self, host: &TestHost<P>) -> BTreeMap<String, AuthMethod> {
        let mut languages: Vec<String> = host.services.state().texts.languages().collect();
        if !languages.iter().any(|language| language == DEFAULT_LANGUAGE) {
            languages.push(DEFAULT_LANGUAGE.to_owned());
        }
        let mut forms = BTreeMap::new();
        for name in host.names(WebhookRegistration::NUMBER) {
            for language in &languages {
                host.services.state().run.language.clone_from(language);
                match host.call::<WebhookRegistration>(&name, &RegistrationRequest::default()) {
                    Ok(form) => {
                        self.check_form(&name, language, &form);
                        if language == DEFAULT_LANGUAGE {
                            forms.insert(name.clone(), form);
                        }
                    }
                    Err(error) => self.violation(format!(
                        "07300 `{name}` fails in {language}: {error}; a form has to be shown whatever is set"
                    )),
                }
            }
        }
        DEFAULT_LANGUAGE.clone_into(&mut host.services.state().run.language);
        let declared = host.names(WebhookRegistration::NUMBER);
        for number in [&[WebhookValidation::NUMBER], &DELIVERIES[..]].concat() {
            for name in host.names(number) {
                if !declared.contains(&name) {
                    self.violation(format!(
                        "{number} `{name}` has no 07300 `{name}`: add a `WebhookRegistration` of that name, or no \
                         webhook can choose it"
                    ));
                }
            }
        }
        forms
    }

    fn check_form(&mut self, name: &str, language: &str, form: &AuthMethod) {
        if form.title.trim().is_empty() {
            self.violation(format!("07300 `{name}` has no title in {language}: give it one"));
        }
        let mut keys = BTreeSet::new();
        for field in &form.fields {
            let key = &field.key;
            if key.is_empty() {
                self.violation(format!("07300 `{name}` has a field without a key: give it one"));
            } else if !keys.insert(key) {
                self.violation(format!("07300 `{name}` has the field `{key}` twice: give one of them another key"));
            }
            if field.title.trim().is_empty() {
                self.violation(format!("the field `{key}` of 07300 `{name}` has no title in {language}: give it one"));
            }
            match field.format {
                FieldFormat::Select if field.options.is_empty() => self.violation(format!(
                    "the select `{key}` of 07300 `{name}` has no options: add them with `FormField::option`"
                )),
                FieldFormat::Unknown => self.violation(format!(
                    "the field `{key}` of 07300 `{name}` has the format `Unknown`: choose one that hosts know"
                )),
                _ => {}
            }
        }
    }

    fn check_required_settings(&mut self, number: TriggerNumber, name: &str, form: &AuthMethod) {
        for field in form.fields.iter().filter(|field| field.required) {
            let key = &field.key;
            let mut settings = sample_settings(form);
            settings.remove(key);
            let outcome = self.deliver(number, name, settings, HttpAnswer::status(200), &full_delivery());
            let Some(outcome) = outcome else { continue };
            if !outcome.requests.is_empty() {
                self.violation(format!(
                    "{number} `{name}` sends a request without the required setting `{key}`: read it with \
                     `cx.required_setting(\"{key}\")?` before anything is sent"
                ));
            }
            let permanent = matches!(&outcome.result, Err(error) if error.kind() == ErrorKind::Permanent);
            let panicked = matches!(&outcome.result, Err(error) if error.kind() == ErrorKind::Panic);
            if !permanent && !panicked {
                self.violation(format!(
                    "{number} `{name}` without the required setting `{key}` does not end in a permanent error: read it \
                     with `cx.required_setting(\"{key}\")?`"
                ));
            }
        }
    }

    fn check_payloads(&mut self, number: TriggerNumber, name: &str, form: &AuthMethod) {
        let plain = self.deliver(number, name, sample_settings(form), HttpAnswer::status(200), &full_delivery());
        let Some(Outcome { result: Ok(_), .. }) = plain else { return };
        let mut later = full_delivery();
        later["a_field_of_a_later_version"] = json!({ "nested": [1, null] });
        later["mode"] = json!("a_mode_of_a_later_version");
        let required = ["event_id", "event", "webhook", "url", "body", "attempt"];
        let mut least = full_delivery();
        if let Value::Object(least) = &mut least {
            least.retain(|key, _| required.contains(&key.as_str()));
        }
        for (what, payload) in [("fields of a later version", later), ("only the fields that are always there", least)]
        {
            let outcome = self.deliver(number, name, sample_settings(form), HttpAnswer::status(200), &payload);
            if let Some(Outcome { result: Err(error), .. }) = outcome
                && error.kind() != ErrorKind::Panic
            {
                self.violation(format!(
                    "{number} `{name}` fails for a delivery with {what}: {error}; ignore what is unknown and give \
                     defaults to what may be absent"
                ));
            }
        }
    }

    fn check_secrets(&mut self, number: TriggerNumber, name: &str, form: &AuthMethod) {
        let secrets: Vec<(&str, String)> = form
            .fields
            .iter()
            .filter(|field| field.format == FieldFormat::Password)
            .map(|field| (field.key.as_str(), sample(field)))
            .collect();
        let no_connection = PluginError::retryable("the connection was refused").with_code("connect");
        for (when, answer) in [
            ("the receiver answers 200", HttpAnswer::status(200).body("{}")),
            ("the receiver answers 500", HttpAnswer::status(500).body("broken")),
            ("there is no connection", HttpAnswer::failed(no_connection)),
        ] {
            let payload = payload(number, form);
            let outcome = self.deliver(number, name, sample_settings(form), answer, &payload);
            let Some(outcome) = outcome else { continue };
            for (key, secret) in &secrets {
                let in_log = outcome.logs.iter().any(|line| {
                    line.message.contains(secret)
                        || line.channel.contains(secret)
                        || line.fields.iter().any(|(_, value)| value.contains(secret))
                });
                if in_log {
                    self.violation(format!(
                        "{number} `{name}` writes the value of the password `{key}` into the log when {when}: log its \
                         key at most"
                    ));
                }
                let place = match &outcome.result {
                    Ok(output) => String::from_utf8_lossy(output).contains(secret).then_some("value"),
                    Err(error) => error.to_string().contains(secret).then_some("error"),
                };
                if let Some(place) = place {
                    self.violation(format!(
                        "the {place} of {number} `{name}` holds the value of the password `{key}` when {when}: name its \
                         key at most, because people see it"
                    ));
                }
            }
        }
    }

    fn check_repeated_calls(&mut self, host: &TestHost<P>, forms: &BTreeMap<String, AuthMethod>) {
        for trigger in &host.manifest.triggers {
            let (number, name) = (TriggerNumber::new(trigger.number), trigger.name.as_str());
            let own = host.services.state().settings.clone();
            let input = match forms.get(name) {
                Some(form) if number == WebhookValidation::NUMBER || DELIVERIES.contains(&number) => {
                    host.services.state().settings = sample_settings(form);
                    payload(number, form)
                }
                _ if DELIVERIES.contains(&number) => full_delivery(),
                _ => json!({}),
            };
            for _ in 0..CALLS {
                let result = host.call_raw(number.get(), name, input.to_string().as_bytes());
                self.judge(number, name, &result);
            }
            host.services.state().settings = own;
        }
    }

    fn check_second_instance(&mut self, first: TestHost<P>) {
        let second = self.start("a second instance does not start beside the first");
        let answering = second.as_ref().map(Self::answering).unwrap_or_default();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            drop(first);
            // Nobody listens any more when this took too long.
            let _ = sender.send(());
        });
        if receiver.recv_timeout(SHUTDOWN_PATIENCE).is_err() {
            self.violation(format!(
                "`shutdown` has not returned after {} seconds: end what it waits for",
                SHUTDOWN_PATIENCE.as_secs()
            ));
        }
        let Some(second) = second else { return };
        for (number, name) in answering {
            if let Err(error) = second.call_raw(number.get(), &name, b"{}") {
                self.violation(format!(
                    "{number} `{name}` of a second instance fails after the first was shut down: {error}; keep state \
                     in the plugin's own value, not in statics"
                ));
            }
        }
    }

    /// Returns the handlers that answer without more ado.
    fn answering(host: &TestHost<P>) -> Vec<(TriggerNumber, String)> {
        let numbers = [LanguageInit::NUMBER, PublicTask::NUMBER, WebhookRegistration::NUMBER];
        let named =
            numbers.into_iter().flat_map(|number| host.names(number).into_iter().map(move |name| (number, name)));
        named.filter(|(number, name)| host.call_raw(number.get(), name, b"{}").is_ok()).collect()
    }

    /// Makes a delivery with a plugin of its own. `None` when that does not start.
    fn deliver(
        &mut self,
        number: TriggerNumber,
        name: &str,
        settings: BTreeMap<String, String>,
        answer: HttpAnswer,
        payload: &Value,
    ) -> Option<Outcome> {
        let host = self.start("the plugin does not start again")?.http(move |_| answer.clone());
        host.services.state().settings = settings;
        let result = host.call_raw(number.get(), name, payload.to_string().as_bytes());
        self.judge(number, name, &result);
        Some(Outcome { result, requests: host.requests(), logs: host.logs() })
    }

    /// A panic is a violation in every check.
    fn judge(&mut self, number: TriggerNumber, name: &str, result: &Result<Vec<u8>, PluginError>) {
        if let Err(error) = result
            && error.kind() == ErrorKind::Panic
        {
            self.violation(format!("{number} `{name}` {error}; return a `PluginError` instead"));
        }
    }
}

fn full_delivery() -> Value {
    serde_json::to_value(delivery("contract_checked", r#"{"data":{"manager_id":1}}"#)).unwrap_or_default()
}

/// Returns what a handler of an auth method is called with.
fn payload(number: TriggerNumber, form: &AuthMethod) -> Value {
    let delivery = full_delivery();
    if number == WebhookValidation::NUMBER {
        return json!({ "url": delivery["url"], "settings": sample_settings(form), "owner": 1 });
    }
    delivery
}

fn sample_settings(form: &AuthMethod) -> BTreeMap<String, String> {
    form.fields.iter().map(|field| (field.key.clone(), sample(field))).collect()
}

/// Returns a value that a form would accept. That of a password is nowhere else.
fn sample(field: &FormField) -> String {
    match field.format {
        FieldFormat::Password => format!("secret-of-{}-7f3a", field.key),
        _ if !field.default.is_empty() => field.default.clone(),
        FieldFormat::Boolean | FieldFormat::Number => "1".to_owned(),
        FieldFormat::Select => field.options.first().map(|option| option.value.clone()).unwrap_or_default(),
        FieldFormat::Url => "https://receiver.example/".to_owned(),
        _ => "sample".to_owned(),
    }
}
