use switchboard_plugin_api::prelude::*;

struct Example;

impl Plugin for Example {
    const INFO: PluginInfo = PluginInfo::new("example", "1.0.0")
        .title("Example")
        .capabilities(&["http"])
        .settings(&["colour"])
        .needs_api("1.0");
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("example", Self::languages)
        .add::<PublicTask>("example", Self::answer)
        .add::<PublicTask>("another", Self::answer)
        .add::<WebhookRegistration>("example", Self::auth_method)
        .add::<ImmediateDelivery>("example", Self::deliver_now)
        .add_async::<DeferredDelivery>("example", Self::deliver)
        .add_raw(TriggerNumber::new(21_000), "example", |_: &Self, _: &Context, input: &[u8]| Ok(input.to_vec()));

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Example {
    fn languages(&self, _cx: &Context, _request: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        Ok(LanguageFiles::new().file("en-GB", "method = Example"))
    }

    fn answer(&self, _cx: &Context, _arguments: Arguments) -> Result<TaskReply, PluginError> {
        Ok(TaskReply::text("hello"))
    }

    fn auth_method(&self, cx: &Context, _request: RegistrationRequest) -> Result<AuthMethod, PluginError> {
        Ok(AuthMethod::new(cx.text("method")))
    }

    fn deliver_now(&self, _cx: &Context, _delivery: Delivery) -> Result<Delivered, PluginError> {
        Err(PluginError::permanent("nothing is delivered"))
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        cx.http().deliver(&delivery).send().await?.delivered()
    }
}

export_plugin!(Example);

fn main() {}
