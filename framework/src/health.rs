//! Whether a host works: for whoever supervises it.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::core::Core;
use crate::error::Chain;

/// How long the scheduler may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// With less free space than this the store will soon refuse new work, in bytes.
const LITTLE_SPACE: u64 = 64 << 20;

/// Whether a part of a host works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Whether it does.
    pub ok: bool,
    /// What was found, and what to do.
    pub detail: String,
}

impl Check {
    fn good(detail: impl Into<String>) -> Self {
        Self { ok: true, detail: detail.into() }
    }

    fn bad(detail: impl Into<String>) -> Self {
        Self { ok: false, detail: detail.into() }
    }
}

/// Whether a host works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether the store can be read and written.
    pub store: Check,
    /// Whether the data folder has room.
    pub disk: Check,
    /// Whether tasks are started.
    pub workers: Check,
}

impl Health {
    /// Returns whether all of it works, so that events are accepted and delivered.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.store.ok && self.disk.ok && self.workers.ok
    }
}

/// Looks at a host. It may take two seconds when something does not work.
pub(crate) fn look(core: &Core, data: &Path) -> Health {
    Health { store: store(core), disk: disk(data), workers: workers(core) }
}

fn store(core: &Core) -> Check {
    // Giving up no task at all changes nothing, and goes all the way through the writer.
    let written = core.store.unhold(Vec::new()).wait();
    match core.store.next_due().and(written) {
        Ok(()) => Check::good("it is read and written"),
        Err(error) => Check::bad(Chain(&error).to_string()),
    }
}

#[cfg(unix)]
fn disk(data: &Path) -> Check {
    let file_system = match rustix::fs::statvfs(data) {
        Ok(file_system) => file_system,
        Err(error) => return Check::bad(format!("the data folder `{}` cannot be looked at: {error}", data.display())),
    };
    let free = file_system.f_bavail.saturating_mul(file_system.f_frsize);
    let said = format!("{} MiB are free in `{}`", free >> 20, data.display());
    if free < LITTLE_SPACE { Check::bad(format!("{said}: make room")) } else { Check::good(said) }
}

#[cfg(not(unix))]
fn disk(data: &Path) -> Check {
    match std::fs::metadata(data) {
        Ok(_) => Check::good("the free space is not measured on this system"),
        Err(error) => Check::bad(format!("the data folder `{}` cannot be looked at: {error}", data.display())),
    }
}

fn workers(core: &Core) -> Check {
    let Some(deferred) = core.deferred.get() else { return Check::good("this host works on no tasks") };
    match deferred.keys_within(PATIENCE) {
        Some(keys) => {
            Check::good(format!("{} attempts are being made", keys.iter().map(|key| key.running).sum::<usize>()))
        }
        None => Check::bad("the scheduler does not answer: start the host anew"),
    }
}
