use switchboard_plugin_api::prelude::*;

struct Example;

impl Plugin for Example {
    const INFO: PluginInfo = PluginInfo::new("example", "1.0.0");
    const REGISTRY: Registry<Self> = {
        let answer = "hello";
        let handler = move |_: &Self, _: &Context, _: &[u8]| Ok(answer.as_bytes().to_vec());
        Registry::new().add_raw(TriggerNumber::new(21_000), "example", handler)
    };

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

export_plugin!(Example);

fn main() {}
