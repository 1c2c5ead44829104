//! A plugin of the time of plugin-api 1.0: it uses what that version had, and is kept as it was built.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchboard_plugin_api::prelude::*;
use switchboard_plugin_api::serde_json::{Value, json};
use switchboard_plugin_api::{EndOfRun, RunEnd};

/// 21900: bytes that are no JSON.
const BYTES: TriggerNumber = TriggerNumber::new(21_900);

/// 21901: a handler that is fired by another one, or later.
struct Doubled;

impl Trigger for Doubled {
    const NUMBER: TriggerNumber = TriggerNumber::new(21_901);
    type Input = u64;
    type Output = u64;
}

struct Released {
    calls: AtomicU64,
}

impl Plugin for Released {
    const INFO: PluginInfo = PluginInfo::new("released_1_0", env!("CARGO_PKG_VERSION"))
        .title("Released with 1.0")
        .capabilities(&["http", "text"])
        .settings(&["limit"]);
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("released", Self::languages)
        .add::<WebhookRegistration>("released", Self::method)
        .add_async::<DeferredDelivery>("released", Self::deliver)
        .add::<WebhookRegistration>("released_now", Self::method)
        .add::<ImmediateDelivery>("released_now", Self::deliver_now)
        .add::<PublicTask>("released_greet", Self::greet)
        .add::<PublicTask>("released_keep", Self::keep)
        .add::<PublicTask>("released_fire", Self::fire)
        .add::<PublicTask>("released_later", Self::later)
        .add::<PublicTask>("released_announce", Self::announce)
        .add::<PublicTask>("released_log", Self::log)
        .add::<PublicTask>("released_panic", Self::panics)
        .add::<PublicTask>("released_fail", Self::fails)
        .add_async::<PublicTask>("released_fetch", Self::fetch)
        .add_async::<PublicTask>("released_panic_later", Self::panics_later)
        .add_raw(BYTES, "released", |_: &Self, _: &Context, input: &[u8]| Ok(input.iter().rev().copied().collect()))
        .add::<Doubled>("released", |_: &Self, _: &Context, number: u64| Ok(number * 2))
        .add::<EndOfRun>("released", Self::end_of_run);

    fn new(host: &Host) -> Result<Self, PluginError> {
        log::info!(target: "Released", limit = host.setting("limit").unwrap_or_default(); "started");
        Ok(Self { calls: AtomicU64::new(0) })
    }

    fn shutdown(&self) {
        log::info!(target: "Released", "shut down");
    }
}

impl Released {
    fn languages(&self, _cx: &Context, _: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        Ok(LanguageFiles::new()
            .file("en-GB", "method = Released\nkey = Key\ngreeting = Hello { $name }, call { $calls }")
            .file("de-DE", "method = Freigegeben\nkey = Schlüssel\ngreeting = Hallo { $name }, Aufruf { $calls }"))
    }

    fn method(&self, cx: &Context, _: RegistrationRequest) -> Result<AuthMethod, PluginError> {
        let key = FormField::new("key", FieldFormat::Password, cx.text("key")).required();
        Ok(AuthMethod::new(cx.text("method")).field(key))
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        let key = cx.required_setting("key")?;
        cx.http().deliver(&delivery).header("x-released", key).send().await?.delivered()
    }

    fn deliver_now(&self, cx: &Context, delivery: Delivery) -> Result<Delivered, PluginError> {
        let key = cx.required_setting("key")?;
        cx.http().deliver(&delivery).header("x-released", key).send_blocking()?.delivered()
    }

    /// Everything that the host says at once.
    fn greet(&self, cx: &Context, arguments: Arguments) -> Result<TaskReply, PluginError> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        cx.showtime().set("released", &calls)?;
        let text = cx.text_with("greeting", &[("name", arguments.text("name").into()), ("calls", calls.into())]);
        let run = cx.run();
        Ok(TaskReply::text(text).with_data(json!({
            "showtime": cx.showtime().get::<u64>("released")?,
            "limit": cx.parsed_setting::<u32>("limit")?,
            "language": run.language,
            "owner": run.owner,
            "in_time": cx.time_left() > Duration::ZERO && !cx.is_cancelled(),
        })))
    }

    fn keep(&self, cx: &Context, arguments: Arguments) -> Result<TaskReply, PluginError> {
        let before: Option<Value> = cx.kept().get("value")?;
        match arguments.get("value") {
            Some(value) => cx.kept().set_for("value", value, Duration::from_secs(3600))?,
            None => cx.kept().remove("value")?,
        }
        Ok(TaskReply::text("kept").with_data(before.unwrap_or(Value::Null)))
    }

    fn fire(&self, cx: &Context, _arguments: Arguments) -> Result<TaskReply, PluginError> {
        let one = cx.trigger::<Doubled>("released", &21)?;
        let all: Result<Vec<u64>, _> = cx.broadcast::<Doubled>(&4)?.into_iter().map(|(_, value)| value).collect();
        Ok(TaskReply::text("fired").with_data(json!({ "one": one, "all": all? })))
    }

    fn later(&self, cx: &Context, _arguments: Arguments) -> Result<TaskReply, PluginError> {
        let task = cx.defer::<Doubled>("released", &3, Duration::ZERO)?;
        Ok(TaskReply::text("deferred").with_data(task.into()))
    }

    fn announce(&self, cx: &Context, _arguments: Arguments) -> Result<TaskReply, PluginError> {
        Ok(TaskReply::text(cx.announce("released", &json!({ "property_uid": 7 }))?))
    }

    fn log(&self, _cx: &Context, _arguments: Arguments) -> Result<TaskReply, PluginError> {
        log::debug!(target: "Released", "no line at the usual level");
        log::warn!(target: "Released", guests = 2; "logged by a plugin of 1.0");
        Ok(TaskReply::text("logged"))
    }

    fn panics(&self, _cx: &Context, _arguments: Arguments) -> Result<TaskReply, PluginError> {
        panic!("a plugin of 1.0 panics");
    }

    fn fails(&self, _cx: &Context, _arguments: Arguments) -> Result<TaskReply, PluginError> {
        let error = PluginError::retryable("a plugin of 1.0 fails").with_code("released");
        Err(error.with_retry_after(Duration::from_secs(7)))
    }

    async fn fetch(&self, cx: &Context<'_>, arguments: Arguments) -> Result<TaskReply, PluginError> {
        let response = cx.http().get(arguments.text("url").unwrap_or_default()).bearer_auth("key").send().await?;
        Ok(TaskReply::default().with_data(response.status().into()))
    }

    async fn panics_later(&self, cx: &Context<'_>, arguments: Arguments) -> Result<TaskReply, PluginError> {
        let _ = cx.http().get(arguments.text("url").unwrap_or_default()).send().await;
        panic!("a plugin of 1.0 panics after it has waited");
    }

    fn end_of_run(&self, _cx: &Context, end: RunEnd) -> Result<Value, PluginError> {
        log::info!(target: "Released", announced = end.announced.len(); "a run has ended");
        Ok(Value::Null)
    }
}

export_plugin!(Released);
