use std::cell::Cell;

use switchboard_plugin_api::prelude::*;

struct Example {
    calls: Cell<u64>,
}

impl Plugin for Example {
    const INFO: PluginInfo = PluginInfo::new("example", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new().add::<PublicTask>("example", Self::answer);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self { calls: Cell::new(0) })
    }
}

impl Example {
    fn answer(&self, _cx: &Context, _arguments: Arguments) -> Result<TaskReply, PluginError> {
        self.calls.set(self.calls.get() + 1);
        Ok(TaskReply::text("hello"))
    }
}

export_plugin!(Example);

fn main() {}
