use std::rc::Rc;
use std::time::Duration;

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
    async fn answer(&self, cx: &Context<'_>, _arguments: Arguments) -> Result<TaskReply, PluginError> {
        let text = Rc::new("hello");
        cx.sleep(Duration::from_secs(1)).await?;
        Ok(TaskReply::text(*text))
    }
}

export_plugin!(Example);

fn main() {}
