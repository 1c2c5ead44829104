//! The contract, kept and broken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use switchboard_plugin_api::prelude::*;
use switchboard_test_host::{check_contract, check_contract_with, contract_violations, delivery};

/// Makes a plugin type whose constructor cannot fail.
macro_rules! plugin {
    ($name:ident, $registry:expr) => {
        struct $name;

        impl Exported for $name {}

        impl Plugin for $name {
            const INFO: PluginInfo = PluginInfo::new("tested", "1.0.0");
            const REGISTRY: Registry<Self> = $registry;

            fn new(_host: &Host) -> Result<Self, PluginError> {
                Ok(Self)
            }
        }
    };
}

#[track_caller]
fn check_violations<P: Plugin>(expected: &[&str]) {
    let violations = contract_violations::<P>(&[]);
    for start in expected {
        assert!(violations.iter().any(|violation| violation.starts_with(start)), "`{start}` is not in {violations:#?}");
    }
    assert_eq!(violations.len(), expected.len(), "{violations:#?}");
}

fn key_form() -> AuthMethod {
    AuthMethod::new("Key").field(FormField::new("key", FieldFormat::Password, "Key").required())
}

plugin!(
    Good,
    Registry::new()
        .add::<LanguageInit>("good", Good::languages)
        .add::<WebhookRegistration>("good", Good::form)
        .add::<ImmediateDelivery>("good", Good::deliver_now)
        .add_async::<DeferredDelivery>("good", Good::deliver)
        .add::<PublicTask>("good", Good::task)
        .add_raw(TriggerNumber::new(21_500), "good", |_: &Self, _: &Context, input: &[u8]| Ok(input.to_vec()))
);

impl Good {
    fn languages(&self, _cx: &Context, _: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        Ok(LanguageFiles::new()
            .file("en-GB", "title = Key\ntask = Task")
            .file("de-DE", "title = Schlüssel\ntask = Aufgabe")
            .file("de-CH", "title = Schlüssel!"))
    }

    fn form(&self, cx: &Context, _: RegistrationRequest) -> Result<AuthMethod, PluginError> {
        let kind = FormField::new("kind", FieldFormat::Select, cx.text("title")).option("a", "A").required();
        Ok(AuthMethod::new(cx.text("title"))
            .field(FormField::new("key", FieldFormat::Password, cx.text("title")).required())
            .field(kind)
            .field(FormField::new("times", FieldFormat::Number, cx.text("title"))))
    }

    fn deliver_now(&self, cx: &Context, delivery: Delivery) -> Result<Delivered, PluginError> {
        let (key, kind) = (cx.required_setting("key")?, cx.required_setting("kind")?);
        cx.http().deliver(&delivery).header("key", key).header("kind", kind).send_blocking()?.delivered()
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        let (key, kind) = (cx.required_setting("key")?, cx.required_setting("kind")?);
        log::debug!(target: "Webhooks", kind = kind; "sending");
        cx.http().deliver(&delivery).header("key", key).send().await?.delivered()
    }

    fn task(&self, cx: &Context, _: Arguments) -> Result<TaskReply, PluginError> {
        cx.http().get("https://example.com/").send_blocking()?;
        Ok(TaskReply::text(cx.text("task")))
    }
}

#[test]
fn a_plugin_that_keeps_the_contract_passes() {
    check_contract::<Good>();
}

plugin!(Empty, Registry::new());

#[test]
fn a_plugin_without_handlers_passes() {
    check_contract::<Empty>();
}

plugin!(Texts, Registry::new().add::<LanguageInit>("t", Texts::languages).add::<PublicTask>("t", Texts::task));

impl Texts {
    fn languages(&self, _cx: &Context, _: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        Ok(LanguageFiles::new()
            .file("en-GB", "a = A\nb = B { $n }")
            .file("de-DE", "a = A\nc = C")
            .file("german!", "a = A")
            .file("fr-FR", "a = A\nb = B { $n }\n="))
    }

    fn task(&self, cx: &Context, _: Arguments) -> Result<TaskReply, PluginError> {
        Ok(TaskReply::text(cx.text("b") + &cx.text("d")))
    }
}

#[test]
fn texts_that_differ_between_languages_are_found() {
    check_violations::<Texts>(&[
        "a text cannot be read: `german!` is not a language code",
        "a text cannot be read: fr-FR, line 3: ",
        "the text `b` is missing in de-DE: translate it",
        "the text `c` is in de-DE and not in en-GB",
        "the text `b` cannot be formed in any language",
        "the text `d` cannot be formed in any language",
    ]);
}

plugin!(
    NoEnglish,
    Registry::new()
        .add::<LanguageInit>("t", |_: &Self, _: &Context, _| { Ok(LanguageFiles::new().file("de-DE", "a = A")) })
);

#[test]
fn texts_without_the_default_language_are_found() {
    check_violations::<NoEnglish>(&["there are texts, but none in en-GB: add that language"]);
}

plugin!(
    Forms,
    Registry::new()
        .add::<LanguageInit>("f", |_: &Self, _: &Context, _| {
            Ok(LanguageFiles::new().file("en-GB", "a = A").file("de-DE", "a = { \"\" }"))
        })
        .add::<WebhookRegistration>("f", Forms::form)
        .add::<ImmediateDelivery>("other", |_: &Self, _: &Context, _| Ok(Delivered::without_http("nothing to do")))
);

impl Forms {
    fn form(&self, cx: &Context, _: RegistrationRequest) -> Result<AuthMethod, PluginError> {
        Ok(AuthMethod::new("")
            .field(FormField::new("twice", FieldFormat::Input, cx.text("a")))
            .field(FormField::new("twice", FieldFormat::Select, "Twice"))
            .field(FormField::new("", FieldFormat::Unknown, "Nothing")))
    }
}

#[test]
fn forms_that_a_page_cannot_show_are_found() {
    check_violations::<Forms>(&[
        "07300 `f` has no title in en-GB",
        "07300 `f` has no title in de-DE",
        "07300 `f` has the field `twice` twice",
        "07300 `f` has a field without a key",
        "the field `twice` of 07300 `f` has no title in de-DE",
        "the select `twice` of 07300 `f` has no options",
        "the field `` of 07300 `f` has the format `Unknown`",
        "07310 `other` has no 07300 `other`: add a `WebhookRegistration` of that name",
    ]);
}

plugin!(
    Formless,
    Registry::new().add::<WebhookRegistration>("f", |_: &Self, cx: &Context, _| {
        Ok(AuthMethod::new(cx.required_setting("title")?))
    })
);

#[test]
fn a_form_that_is_not_shown_without_settings_is_found() {
    check_violations::<Formless>(&["07300 `f` fails in en-GB: the setting `title` is missing"]);
}

plugin!(
    Careless,
    Registry::new()
        .add::<WebhookRegistration>("c", |_: &Self, _: &Context, _| Ok(key_form()))
        .add_async::<DeferredDelivery>("c", Careless::deliver)
);

impl Careless {
    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        let key = cx.setting("key").unwrap_or_default();
        log::info!(target: "Webhooks", key = key; "sending");
        let response = cx.http().deliver(&delivery).header("key", &key).send().await;
        let response = response.map_err(|error| PluginError::retryable(format!("with {key}: {error}")))?;
        response.successful()?;
        Ok(Delivered::without_http(format!("sent with {key}")))
    }
}

#[test]
fn a_secret_that_leaves_and_a_setting_that_is_not_missed_are_found() {
    check_violations::<Careless>(&[
        "07320 `c` sends a request without the required setting `key`",
        "07320 `c` without the required setting `key` does not end in a permanent error",
        "07320 `c` writes the value of the password `key` into the log when the receiver answers 200",
        "07320 `c` writes the value of the password `key` into the log when the receiver answers 500",
        "07320 `c` writes the value of the password `key` into the log when there is no connection",
        "the value of 07320 `c` holds the value of the password `key` when the receiver answers 200",
        "the error of 07320 `c` holds the value of the password `key` when there is no connection",
    ]);
}

plugin!(
    Strict,
    Registry::new().add::<WebhookRegistration>("s", |_: &Self, _: &Context, _| Ok(key_form())).add_raw(
        DeferredDelivery::NUMBER,
        "s",
        Strict::deliver
    )
);

impl Strict {
    fn deliver(&self, cx: &Context, input: &[u8]) -> Result<Vec<u8>, PluginError> {
        let Some(_key) = cx.setting("key") else { panic!("no key") };
        let fields: HashMap<String, serde_json::Value> = serde_json::from_slice(input)?;
        let known = serde_json::to_value(delivery("", ""))?;
        if known.as_object().is_none_or(|known| known.len() != fields.len()) {
            return Err(PluginError::permanent(format!("{} fields", fields.len())));
        }
        Ok(b"{}".to_vec())
    }
}

#[test]
fn a_handler_that_takes_only_the_fields_of_today_is_found() {
    let violations = contract_violations::<Strict>(&[]);
    assert_eq!(violations.len(), 3, "{violations:#?}");
    assert!(violations[0].starts_with("07320 `s` panicked at ") && violations[0].contains("no key"), "{violations:#?}");
    assert!(violations[1].contains("a delivery with fields of a later version: "), "{violations:#?}");
    assert!(violations[2].contains("only the fields that are always there: 6 fields"), "{violations:#?}");
}

struct Tired(AtomicU32);

impl Exported for Tired {}

impl Plugin for Tired {
    const INFO: PluginInfo = PluginInfo::new("tired", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new().add::<PublicTask>("t", Self::task);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self(AtomicU32::new(0)))
    }
}

impl Tired {
    fn task(&self, _cx: &Context, _: Arguments) -> Result<TaskReply, PluginError> {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) < 9, "enough");
        Ok(TaskReply::default())
    }
}

#[test]
fn a_panic_in_a_later_call_is_found() {
    let violations = contract_violations::<Tired>(&[]);
    assert_eq!(violations.len(), 1, "{violations:#?}");
    assert!(violations[0].ends_with(": enough; return a `PluginError` instead"), "{violations:#?}");
}

struct Single;

static SINGLE: AtomicBool = AtomicBool::new(false);

impl Exported for Single {}

impl Plugin for Single {
    const INFO: PluginInfo = PluginInfo::new("single", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new();

    fn new(_host: &Host) -> Result<Self, PluginError> {
        match SINGLE.swap(true, Ordering::Relaxed) {
            true => Err(PluginError::permanent("there is one already")),
            false => Ok(Self),
        }
    }
}

#[test]
fn a_plugin_that_starts_once_only_is_found() {
    check_violations::<Single>(&["a second instance does not start beside the first: there is one already"]);
}

struct Shared;

static OPEN: AtomicBool = AtomicBool::new(false);

impl Exported for Shared {}

impl Plugin for Shared {
    const INFO: PluginInfo = PluginInfo::new("shared", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new().add::<LanguageInit>("s", Self::languages);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        OPEN.store(true, Ordering::Relaxed);
        Ok(Self)
    }

    fn shutdown(&self) {
        OPEN.store(false, Ordering::Relaxed);
    }
}

impl Shared {
    fn languages(&self, _cx: &Context, _: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        match OPEN.load(Ordering::Relaxed) {
            true => Ok(LanguageFiles::new()),
            false => Err(PluginError::permanent("closed")),
        }
    }
}

#[test]
fn instances_that_share_state_are_found() {
    check_violations::<Shared>(&[
        "00005 `s` of a second instance fails after the first was shut down: closed; keep state in the plugin's own value",
    ]);
}

struct Stuck;

impl Exported for Stuck {}

impl Plugin for Stuck {
    const INFO: PluginInfo = PluginInfo::new("stuck", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new();

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }

    fn shutdown(&self) {
        // Only the instance that the contract shuts down on a thread of its own has to be stuck.
        if std::thread::current().name().is_none() {
            std::thread::park();
        }
    }
}

#[test]
fn a_shutdown_that_does_not_return_is_found() {
    check_violations::<Stuck>(&["`shutdown` has not returned after 5 seconds"]);
}

struct Configured;

impl Exported for Configured {}

impl Plugin for Configured {
    const INFO: PluginInfo = PluginInfo::new("configured", "1.0.0").settings(&["region"]);
    const REGISTRY: Registry<Self> = Registry::new();

    fn new(host: &Host) -> Result<Self, PluginError> {
        match host.setting("region") {
            Some(_) => Ok(Self),
            None => Err(PluginError::permanent("the setting `region` is missing")),
        }
    }
}

#[test]
fn a_plugin_that_needs_settings_gets_them() {
    check_contract_with::<Configured>(&[("region", "eu")]);
}

#[test]
#[should_panic(expected = "the plugin `configured` breaks its contract:\n* the plugin does not start: the setting")]
fn violations_are_reported_with_what_to_do() {
    check_contract::<Configured>();
}
