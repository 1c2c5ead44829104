use switchboard_plugin_api::prelude::*;

struct Example;

impl Plugin for Example {
    const INFO: PluginInfo = PluginInfo::new("Example plugin", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new();

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

export_plugin!(Example);

fn main() {}
