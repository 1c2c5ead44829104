//! A test program with a logger of its own. In a program of its own, because a logger is for the whole process.

use switchboard_plugin_api::prelude::*;
use switchboard_test_host::TestHost;

struct Quiet;

impl log::Log for Quiet {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _record: &log::Record<'_>) {}

    fn flush(&self) {}
}

struct Logs;

impl Exported for Logs {}

impl Plugin for Logs {
    const INFO: PluginInfo = PluginInfo::new("logs", "1.0.0");
    const REGISTRY: Registry<Self> = Registry::new().add::<PublicTask>("log", Self::log);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Logs {
    fn log(&self, _cx: &Context, _: Arguments) -> Result<TaskReply, PluginError> {
        log::info!("hello");
        Ok(TaskReply::text("done"))
    }
}

#[test]
#[should_panic(expected = "no log record can be captured: this test program installed a logger of its own")]
fn logs_that_cannot_be_captured_are_not_an_empty_list() {
    log::set_logger(&Quiet).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let host = TestHost::<Logs>::start();
    assert_eq!(host.call::<PublicTask>("log", &Arguments::default()).unwrap().text, "done");
    let _ = host.logs();
}
