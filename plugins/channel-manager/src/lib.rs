//! The auth method `channel_manager`: tells a sales channel, in its own JSON, what changes in a hotel.
#![forbid(unsafe_code)]

mod mapping;
mod message;
#[cfg(test)]
mod tests;

use switchboard_plugin_api::prelude::*;

use mapping::{BadLine, Mapping};
use message::{Change, Told};

const CHANNEL: &str = "channel_id";
const TOKEN: &str = "channel_token";
const PROPERTIES: &str = "channel_properties";
const ROOMS: &str = "channel_rooms";
const TASKS: &str = "channel_tasks";

struct ChannelManager;

impl Plugin for ChannelManager {
    const INFO: PluginInfo =
        PluginInfo::new("channel_manager", env!("CARGO_PKG_VERSION")).title("Channel manager").capabilities(&["http"]);
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("channel_manager", Self::languages)
        .add::<WebhookRegistration>("channel_manager", Self::auth_method)
        .add::<WebhookValidation>("channel_manager", Self::validate)
        .add_async::<ImmediateDelivery>("channel_manager", Self::deliver)
        .add_async::<DeferredDelivery>("channel_manager", Self::deliver);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl ChannelManager {
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
        let field = |key, format, text: &str| {
            FormField::new(key, format, cx.text(text)).description(cx.text(&format!("{text}-help")))
        };
        Ok(AuthMethod::new(cx.text("method"))
            .notes(cx.text("notes"))
            .field(field(CHANNEL, FieldFormat::Input, "channel-id").required())
            .field(field(TOKEN, FieldFormat::Password, "channel-token").required())
            .field(field(PROPERTIES, FieldFormat::Area, "channel-properties").required())
            .field(field(ROOMS, FieldFormat::Area, "channel-rooms"))
            .field(field(TASKS, FieldFormat::Input, "channel-tasks")))
    }

    fn validate(&self, cx: &Context, _webhook: ValidationRequest) -> Result<Validation, PluginError> {
        let mut validation = Validation::new();
        if !can_be_sent(&cx.required_setting(TOKEN)?) {
            validation = validation.setting(TOKEN, cx.text("channel-token-format"));
        }
        for key in [PROPERTIES, ROOMS] {
            let Err(bad) = Mapping::read(&cx.setting(key).unwrap_or_default()) else { continue };
            let (text, line) = match bad {
                BadLine::Form(line) => ("channel-line", line),
                BadLine::Twice(line) => ("channel-line-twice", line),
            };
            validation = validation.setting(key, cx.text_with(text, &[("line", line.to_string().into())]));
        }
        Ok(validation)
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        let (channel, token) = (cx.required_setting(CHANNEL)?, cx.required_setting(TOKEN)?);
        cx.required_setting(PROPERTIES)?;
        let mapping = |key: &str| {
            Mapping::read(&cx.setting(key).unwrap_or_default()).map_err(|bad| bad_setting(key, &bad.to_string()))
        };
        let (properties, rooms) = (mapping(PROPERTIES)?, mapping(ROOMS)?);
        if !can_be_sent(&token) {
            return Err(bad_setting(TOKEN, "it holds spaces or other characters that no header carries"));
        }
        let Some(change) = Change::of(&delivery.event) else {
            return Ok(Delivered::without_http("nothing to do: the event changes nothing that a channel sells"));
        };
        let told = Told::read(&delivery.body)?;
        let imports = cx.setting(TASKS).unwrap_or_default();
        let imported = delivery.task.as_deref().is_some_and(|task| imports.split_whitespace().any(|own| own == task));
        let same = delivery.channel.as_deref() == Some(&*channel);
        if imported || same || told.is_from(&channel) {
            return Ok(Delivered::without_http("not sent: the change came from this channel"));
        }
        let message = match told.message(&delivery, change, &properties, &rooms) {
            Ok(message) => message,
            Err(why) => return Ok(Delivered::without_http(format!("nothing to do: {why}"))),
        };
        let request = cx.http().deliver(&delivery).bearer_auth(&token).body(serde_json::to_vec(&message)?);
        request.send().await?.delivered()
    }
}

fn bad_setting(key: &str, why: &str) -> PluginError {
    PluginError::permanent(format!("the setting `{key}` cannot be used: {why}")).with_code("bad_settings")
}

fn can_be_sent(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_graphic())
}

export_plugin!(ChannelManager);
