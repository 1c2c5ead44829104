//! Log records of the plugin.
//!
//! The plugin is linked into the test program, so it shares the `log` crate with everything else in it. The forwarder of
//! plugin-api sends each record to the host that started first in the process; here, that is a door through which the
//! record gets to the host whose call runs on the record's thread.

use std::cell::RefCell;
use std::sync::Arc;

use crate::services::Services;

/// A captured log record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLine {
    /// Its level.
    pub level: log::Level,
    /// Its channel: the `target` of the macro.
    pub channel: String,
    /// The message.
    pub message: String,
    /// Key and value pairs.
    pub fields: Vec<(String, String)>,
}

thread_local! {
    static CURRENT: RefCell<Vec<Arc<Services>>> = const { RefCell::new(Vec::new()) };
}

/// Gives the records of this thread to `services` while `call` runs.
pub(crate) fn captured<R>(services: &Arc<Services>, call: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.with_borrow_mut(Vec::pop);
        }
    }
    CURRENT.with_borrow_mut(|current| current.push(Arc::clone(services)));
    let _leave = Leave;
    call()
}

/// Takes a record to the host whose call runs on this thread; a record of any other thread is nobody's.
pub(crate) fn take(level: log::Level, channel: &str, message: &str, fields: &[(String, String)]) {
    let current = CURRENT.with_borrow(|current| current.last().cloned());
    if let Some(services) = current {
        services.logs().push(LogLine {
            level,
            channel: channel.to_owned(),
            message: message.to_owned(),
            fields: fields.to_vec(),
        });
    }
}

/// Returns whether records reach [`take`]: not when the test program installed a logger of its own first.
pub(crate) fn work(services: &Arc<Services>) -> bool {
    const PROBE: &str = "switchboard_test_host";
    let before = services.logs().len();
    captured(services, || log::error!(target: PROBE, "is the log captured?"));
    let mut logs = services.logs();
    let arrived = logs.len() > before;
    logs.truncate(before);
    arrived
}
