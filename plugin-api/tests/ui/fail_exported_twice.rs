use switchboard_plugin_api::prelude::*;

struct Example;

impl Plugin for Example {
    const INFO: PluginInfo = PluginInfo::new("example", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new();

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

struct Another;

impl Plugin for Another {
    const INFO: PluginInfo = PluginInfo::new("another", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new();

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

export_plugin!(Example);
export_plugin!(Another);

fn main() {}
