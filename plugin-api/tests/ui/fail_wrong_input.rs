use switchboard_plugin_api::prelude::*;

struct Example;

impl Plugin for Example {
    const INFO: PluginInfo = PluginInfo::new("example", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new().add::<PublicTask>("example", Self::answer);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Example {
    fn answer(&self, _cx: &Context, _delivery: Delivery) -> Result<TaskReply, PluginError> {
        Ok(TaskReply::text("hello"))
    }
}

export_plugin!(Example);

fn main() {}
