//! A handler that panics on every call is not called for ever.
//!
//! Each minicomponent counts its panics in a row. At the limit `plugins.suspend_after_panics` it is suspended: broadcasts
//! pass it over and say so, its deferred tasks wait as if no plugin had it. It is called again when somebody resumes it or
//! when its library is replaced by another version. The store keeps suspensions, so that a restart does not undo them.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use switchboard_plugin_api::{ErrorKind, PluginError, TriggerNumber};
use thiserror::Error;

use crate::core::Core;
use crate::dispatcher::CHANNEL;
use crate::error::Chain;
use crate::registry::{Minicomponent, Target};
use crate::store::{Receipt, StoreError, Timestamp};

/// Stands in the streak of a handler that is suspended.
const SUSPENDED: u32 = u32::MAX;

/// Under which name the host keeps its own values in the store. No plugin can have it: their ids have no colon.
const KEPT_BY: &str = "switchboard:suspended";

/// Whether values in the store are the host's own and not those of a plugin.
pub(crate) fn is_the_hosts_own(keeper: &str) -> bool {
    keeper.contains(':')
}

/// The panics in a row of one handler.
///
/// A call that goes well only reads the number; it is written, under the lock, by a panic, by the first good call after
/// one, and by a resumption.
#[derive(Debug, Default)]
pub(crate) struct PanicStreak {
    row: AtomicU32,
    suspension: Mutex<Option<Arc<Suspension>>>,
}

impl PanicStreak {
    pub(crate) fn is_suspended(&self) -> bool {
        self.row.load(Ordering::Relaxed) == SUSPENDED
    }

    /// Notes a call that did not panic.
    pub(crate) fn survived(&self) {
        if self.row.load(Ordering::Relaxed) != 0 {
            self.calm();
        }
    }

    #[cold]
    fn calm(&self) {
        let suspension = self.lock();
        // A call that began before the suspension does not undo it.
        if suspension.is_none() {
            self.row.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a panic, and suspends when it is number `limit` in a row. Returns the suspension when this call made it.
    fn panicked(&self, limit: u32, suspend: impl FnOnce(u32) -> Suspension) -> Option<Arc<Suspension>> {
        let mut suspension = self.lock();
        if suspension.is_some() {
            return None;
        }
        let panics = self.row.load(Ordering::Relaxed).saturating_add(1).min(SUSPENDED - 1);
        if limit == 0 || panics < limit {
            self.row.store(panics, Ordering::Relaxed);
            return None;
        }
        *suspension = Some(Arc::new(suspend(panics)));
        self.row.store(SUSPENDED, Ordering::Relaxed);
        suspension.clone()
    }

    fn suspend(&self, why: Suspension) {
        let mut suspension = self.lock();
        *suspension = Some(Arc::new(why));
        self.row.store(SUSPENDED, Ordering::Relaxed);
    }

    fn resume(&self) -> Option<Arc<Suspension>> {
        let mut suspension = self.lock();
        self.row.store(0, Ordering::Relaxed);
        suspension.take()
    }

    pub(crate) fn suspension(&self) -> Option<Arc<Suspension>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Suspension>>> {
        self.suspension.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handler that is not called any more because it panicked too often in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Suspension {
    /// The plugin.
    pub plugin: String,
    /// The trigger number.
    pub number: TriggerNumber,
    /// The event name.
    pub name: String,
    /// How often it panicked in a row.
    pub panics: u32,
    /// Message, file and line of the last panic.
    pub last_panic: String,
    /// When that was.
    pub since: Timestamp,
}

impl Suspension {
    /// Returns the command that resumes the handler.
    #[must_use]
    pub fn remedy(&self) -> String {
        format!("switchboard plugin resume {} {} {}", self.plugin, self.number, self.name)
    }
}

impl fmt::Display for Suspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, number, name, panics, last_panic, since } = self;
        write!(
            f,
            "{number} `{name}` of plugin `{plugin}` is suspended since {since} after {panics} panics in a row (the last: \
             {last_panic}): replace the plugin by a version that does not panic, or call it again with `{}`",
            self.remedy()
        )
    }
}

/// Why nothing can be resumed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// There is no such plugin.
    #[error("there is no active plugin `{plugin}`; `switchboard plugin list` shows them")]
    NoPlugin {
        /// The id.
        plugin: String,
    },
    /// The plugin has no such handler.
    #[error("plugin `{plugin}` has no handler {number} `{name}`; `switchboard triggers` shows what it has")]
    NoHandler {
        /// The plugin.
        plugin: String,
        /// The trigger number.
        number: TriggerNumber,
        /// The event name.
        name: String,
    },
    /// The store cannot be told, so that the handler would be suspended again after a restart.
    #[error("the resumption cannot be stored; the handler is called again until the next start of the host")]
    Store {
        /// Why.
        source: StoreError,
    },
}

/// Returns what a caller gets in place of the value of a suspended handler.
#[cold]
pub(crate) fn refusal(minicomponent: &Minicomponent) -> PluginError {
    let why = minicomponent.suspension().map_or_else(|| "just resumed: try again".to_owned(), |why| why.to_string());
    PluginError::retryable(why).with_code("suspended")
}

/// Looks at the failure of a call: a panic is counted and may suspend the handler, anything else ends its streak.
pub(crate) fn judge(core: &Core, minicomponent: &Minicomponent, error: &PluginError) {
    if error.kind() != ErrorKind::Panic {
        return minicomponent.panics.survived();
    }
    let suspended = minicomponent.panics.panicked(core.config.plugins.suspend_after_panics, |panics| Suspension {
        plugin: minicomponent.plugin.to_string(),
        number: minicomponent.number,
        name: minicomponent.name.clone(),
        panics,
        last_panic: error.to_string(),
        since: Timestamp(core.clock.now()),
    });
    let Some(suspension) = suspended else { return };
    log::error!(
        logger: core.log,
        target: CHANNEL,
        number = suspension.number.to_string(),
        name = suspension.name,
        plugin = suspension.plugin,
        panics = suspension.panics,
        error = suspension.last_panic,
        remedy = suspension.remedy();
        "handler suspended: it panicked on every call; its deferred tasks wait until the plugin is replaced or resumed"
    );
    // Not waited for, and this may be any thread: the suspension holds in this process whatever the disk says.
    drop(keep(core, minicomponent));
}

/// Calls suspended handlers of a plugin again, all or the one that is named, and returns what their suspensions were.
pub(crate) fn resume(
    core: &Core,
    plugin: &str,
    handler: Option<(TriggerNumber, &str)>,
) -> Result<Vec<Suspension>, ResumeError> {
    let registry = core.registry.load();
    let of_plugin: Vec<_> = registry.iter().filter(|one| &*one.plugin == plugin).collect();
    let Some(first) = of_plugin.first() else { return Err(ResumeError::NoPlugin { plugin: plugin.to_owned() }) };
    let wanted = |one: &Minicomponent| handler.is_none_or(|wanted| wanted == (one.number, one.name.as_str()));
    if let Some((number, name)) = handler.filter(|_| !of_plugin.iter().any(|one| wanted(one))) {
        return Err(ResumeError::NoHandler { plugin: plugin.to_owned(), number, name: name.to_owned() });
    }
    let resumed = of_plugin.iter().filter(|one| wanted(one)).filter_map(|one| one.panics.resume());
    let resumed: Vec<Suspension> = resumed.map(|suspension| Suspension::clone(&suspension)).collect();
    for one in &resumed {
        log::info!(logger: core.log, target: CHANNEL, number = one.number.to_string(), name = one.name,
            plugin = one.plugin; "handler resumed");
    }
    if let Some(deferred) = core.deferred.get().filter(|_| !resumed.is_empty()) {
        deferred.plugins_changed();
    }
    keep(core, first).wait().map_err(|source| ResumeError::Store { source })?;
    Ok(resumed)
}

/// What the store keeps about a suspended handler. Its key is the hash of the library, so that it holds for this version
/// of the plugin and for no other.
#[derive(Serialize, Deserialize)]
struct Kept {
    number: u32,
    name: String,
    panics: u32,
    last_panic: String,
    since_ms: i64,
}

fn library(minicomponent: &Minicomponent) -> &str {
    match &minicomponent.target {
        Target::Plugin { generation, .. } => generation.hash(),
        Target::BuiltIn(_) => "",
    }
}

/// Writes down which handlers of the library of `minicomponent` are suspended now.
fn keep(core: &Core, minicomponent: &Minicomponent) -> Receipt<()> {
    let library = library(minicomponent);
    let registry = core.registry.load();
    let suspended = registry.iter().filter(|one| self::library(one) == library).filter_map(|one| one.suspension());
    let kept: Vec<Kept> = suspended
        .map(|one| Kept {
            number: one.number.get(),
            name: one.name.clone(),
            panics: one.panics,
            last_panic: one.last_panic.clone(),
            since_ms: one.since.0,
        })
        .collect();
    let value = if kept.is_empty() { None } else { serde_json::to_vec(&kept).ok() };
    core.store.set_plugin_value(KEPT_BY.to_owned(), library.to_owned(), value, None, Timestamp(core.clock.now()))
}

/// Suspends again those handlers of a plugin that was just loaded that were suspended when its very library ran last.
pub(crate) fn recall(core: &Core, minicomponents: &[Arc<Minicomponent>]) {
    let Some(first) = minicomponents.first() else { return };
    let kept = match core.store.plugin_value(KEPT_BY, library(first), Timestamp(core.clock.now())) {
        Ok(kept) => kept,
        Err(error) => {
            log::warn!(logger: core.log, target: CHANNEL, plugin = &*first.plugin,
                error = Chain(&error).to_string(); "suspensions cannot be read; the handlers are called");
            None
        }
    };
    let kept: Vec<Kept> = kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or_default();
    for one in kept {
        let same = |other: &&Arc<Minicomponent>| other.number.get() == one.number && other.name == one.name;
        if let Some(minicomponent) = minicomponents.iter().find(same) {
            minicomponent.panics.suspend(Suspension {
                plugin: minicomponent.plugin.to_string(),
                number: minicomponent.number,
                name: one.name,
                panics: one.panics,
                last_panic: one.last_panic,
                since: Timestamp(one.since_ms),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspension(panics: u32) -> Suspension {
        Suspension {
            plugin: "p".into(),
            number: TriggerNumber::new(21_002),
            name: "n".into(),
            panics,
            last_panic: "panicked at lib.rs:1: x".into(),
            since: Timestamp(0),
        }
    }

    fn panic(streak: &PanicStreak, limit: u32) -> bool {
        streak.panicked(limit, suspension).is_some()
    }

    #[test]
    fn the_panic_that_reaches_the_limit_suspends_and_only_that_one_says_so() {
        let streak = PanicStreak::default();
        assert_eq!([(); 4].map(|()| panic(&streak, 3)), [false, false, true, false]);
        assert!(streak.is_suspended());
        assert_eq!(streak.suspension().unwrap().panics, 3);
    }

    #[test]
    fn a_call_that_does_not_panic_starts_the_count_anew() {
        let streak = PanicStreak::default();
        assert!(!panic(&streak, 2));
        streak.survived();
        assert!(!panic(&streak, 2));
        assert!(panic(&streak, 2));
    }

    #[test]
    fn a_call_that_began_before_the_suspension_does_not_undo_it() {
        let streak = PanicStreak::default();
        assert!(panic(&streak, 1));
        streak.survived();
        assert!(streak.is_suspended());
    }

    #[test]
    fn a_resumed_handler_has_the_whole_count_before_it() {
        let streak = PanicStreak::default();
        assert!(!panic(&streak, 2) && panic(&streak, 2));
        assert!(streak.resume().is_some());
        assert!(!streak.is_suspended() && streak.suspension().is_none() && streak.resume().is_none());
        assert!(!panic(&streak, 2) && panic(&streak, 2));
    }

    #[test]
    fn a_limit_of_zero_never_suspends() {
        let streak = PanicStreak::default();
        assert!((0..1_000).all(|_| !panic(&streak, 0)));
    }
}
