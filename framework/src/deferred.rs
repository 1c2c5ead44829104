//! Deferred tasks: run durably, in the background, at the right time, each at least once.
//!
//! * The [`Scheduler`](scheduler::Scheduler) decides which task runs next: fair over keys, within caps. It is pure.
//! * [`Paging`](paging::Paging) decides which tasks are in memory, so that a million of them need no more than a few.
//! * One thread owns both and sleeps until a message comes or the next task is due. Nothing polls.
//! * Synchronous handlers run on a pool of threads, asynchronous ones on the host's runtime.
//! * A task is marked as running in the store before its handler is called, and its slot is free again only after its end
//!   is on disk. Interruption by a stop is not an attempt.
//!
//! What a task does is not known here: [`Work`] does it.

mod engine;
mod executor;
mod halt;
mod housekeeping;
mod intake;
mod outcomes;
mod paging;
mod recurrence;
mod retry;
mod scheduler;
mod steady;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use switchboard_plugin_api::{HandlerKind, PluginError};

pub(crate) use engine::{Deferred, Settings};
pub(crate) use executor::STORE_RETRY;
pub use outcomes::TaskOutcome;
pub(crate) use recurrence::Recurrence;
pub use recurrence::RecurrenceError;
pub(crate) use retry::RetryPolicies;
pub use scheduler::BreakerState;

use crate::runtime::INTERRUPTED;
pub(crate) use crate::store::Ending;
use crate::store::{AttemptResult, HttpExchange, Started};

/// Start of the scheduling key of tasks that a plugin has put off itself; its id follows.
pub(crate) const PLUGIN_KEY: &str = "plugin:";

/// Channel of everything that has to do with deferred tasks.
pub(crate) const CHANNEL: &str = "Deferred";

/// How a task's handler ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// A note for the log, or why it failed.
    pub(crate) result: Result<Option<String>, PluginError>,
    pub(crate) status: Option<u16>,
    /// What was sent and what came back.
    pub(crate) exchanges: Vec<HttpExchange>,
    /// The plugin whose handler was called, and its version.
    pub(crate) plugin: Option<(String, Option<String>)>,
}

/// Answers of a receiver that has too much to do, as Standard Webhooks and the gateways before receivers use them.
const BUSY: [u16; 3] = [429, 502, 504];

impl Outcome {
    /// Returns whether a receiver answered that it has too much to do.
    pub(crate) fn is_busy(&self) -> bool {
        self.result.is_err() && self.status.is_some_and(|status| BUSY.contains(&status))
    }

    /// Returns a failure in which nothing was sent.
    pub(crate) fn failed(error: PluginError) -> Self {
        Self { result: Err(error), status: None, exchanges: Vec::new(), plugin: None }
    }

    /// Whether the handler ended because the host stops.
    fn is_interruption(&self) -> bool {
        self.result.as_ref().is_err_and(|error| error.code() == Some(INTERRUPTED))
    }
}

/// What the engine needs to know of the tasks' handlers.
pub(crate) trait Work: Send + Sync + 'static {
    /// Returns how the handler is called; `None` when it cannot be called just now: no plugin has it, or it is suspended.
    fn kind(&self, number: u32, name: &str) -> Option<HandlerKind>;
    /// Runs a synchronous handler in this thread; `None` when it could not be called after all. See [`Work::kind`].
    fn run(&self, started: &Started, cancelled: Arc<AtomicBool>) -> Option<Outcome>;
    /// Runs an asynchronous handler. Dropping the future cancels it.
    fn run_async(self: Arc<Self>, started: Arc<Started>) -> Pin<Box<dyn Future<Output = Option<Outcome>> + Send>>;
    /// Returns the schedule of retries that a task goes by now, where it has none of its own; `None` for the host's.
    fn schedule(&self, _started: &Started) -> Option<Vec<Duration>> {
        None
    }
    /// Is told how an attempt ended, after that is on disk.
    fn ended(&self, started: &Started, written: &AttemptResult, ending: &Ending);
}
