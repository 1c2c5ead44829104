use switchboard_plugin_api::prelude::*;

struct Example;

impl Plugin for Example {
    const INFO: PluginInfo = PluginInfo::new("example", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new().add_async::<PublicTask>("example", Self::answer);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Example {
    async fn answer(&self, _cx: &Context<'_>, _arguments: Arguments) -> Result<String, PluginError> {
        Ok("hello".to_owned())
    }
}

export_plugin!(Example);

fn main() {}
