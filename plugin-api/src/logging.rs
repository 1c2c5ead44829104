//! Sends the records of the `log` macros to the host.
//!
//! A library has its own copy of the `log` crate's statics, so the host's logger does not see its records; this
//! forwarder is installed when the plugin starts.

use std::sync::OnceLock;

use crate::abi::HostLink;

static HOST: OnceLock<HostLink> = OnceLock::new();

struct Forwarder;

impl log::Log for Forwarder {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        let Some(host) = HOST.get().filter(|_| self.enabled(record.metadata())) else {
            return;
        };
        let mut fields = Fields(Vec::new());
        // Collecting never fails: the visitor takes every value.
        let _ = record.key_values().visit(&mut fields);
        match record.args().as_str() {
            Some(message) => host.log(record, message, &fields.0),
            None => host.log(record, &record.args().to_string(), &fields.0),
        }
    }

    fn flush(&self) {}
}

struct Fields(Vec<(String, String)>);

impl<'kvs> log::kv::VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: log::kv::Key<'kvs>, value: log::kv::Value<'kvs>) -> Result<(), log::kv::Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}

/// Installs the forwarder. In a test that links the plugin into its own program a logger may be there already; it
/// stays.
pub(crate) fn install(host: HostLink, max_level: log::LevelFilter) {
    if HOST.set(host).is_ok() && log::set_logger(&Forwarder).is_ok() {
        log::set_max_level(max_level);
    }
}
