//! What the parts of one host share. Built once by [`Switchboard`](crate::Switchboard), never public.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::channel_log::ChannelLog;
use crate::clock::Clock;
use crate::config::Config;
use crate::deferred::{Deferred, Outcome, RetryPolicies};
use crate::egress::Egress;
use crate::language::Languages;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::payload_files::PayloadFiles;
use crate::registry::Registry;
use crate::runtime::AsyncRuntime;
use crate::store::{
    Acceptance, AcceptedTask, Ending, IdempotencyKey, Keyed, Started, Store, StoreError, TaskHead, Timestamp,
    WebhookId, webhook_key,
};
use crate::vault::Vault;
use crate::webhooks::EventKind;
use crate::webhooks::SecretKeys;

pub(crate) struct Core {
    /// As it was when the host was opened.
    pub(crate) config: Config,
    /// As it is now, for what may change while the host runs.
    pub(crate) live: Live,
    pub(crate) clock: Clock,
    pub(crate) log: ChannelLog,
    pub(crate) languages: Languages,
    pub(crate) egress: Egress,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) vault: Vault,
    /// The events that are known by name.
    pub(crate) events: Vec<EventKind>,
    pub(crate) registry: ArcSwap<Registry>,
    pub(crate) runtime: AsyncRuntime,
    pub(crate) metrics: Metrics,
    pub(crate) payload_files: PayloadFiles,
    /// Where people find the pages of this host, once there are any.
    pub(crate) pages: OnceLock<String>,
    /// Which settings of webhooks are secrets.
    pub(crate) secret_keys: SecretKeys,
    /// How many runs make immediate deliveries just now.
    pub(crate) immediate: AtomicUsize,
    /// Set once the deferred engine runs; a host that does not work on tasks has none.
    pub(crate) deferred: OnceLock<Deferred>,
}

impl Core {
    /// Commits events and tasks, and hands the tasks to the scheduler. Without one they wait in the store for a host that
    /// works.
    pub(crate) fn accept(&self, acceptance: Acceptance) -> Result<Vec<AcceptedTask>, StoreError> {
        match self.accept_keyed(acceptance, Vec::new(), Timestamp::default())? {
            Keyed::Accepted(tasks) => Ok(tasks),
            // Without keys none is known.
            Keyed::Known(_) => Ok(Vec::new()),
        }
    }

    /// As [`Core::accept`], unless one of the keys belongs to an earlier event.
    pub(crate) fn accept_keyed(
        &self,
        acceptance: Acceptance,
        keys: Vec<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<Keyed, StoreError> {
        self.accept_by(acceptance, |acceptance| self.store_keyed(acceptance, keys, now))
    }

    /// As [`Core::accept`], in the commit that disables a webhook for `reason`; `None` when it is disabled already.
    pub(crate) fn accept_disabling(
        &self,
        acceptance: Acceptance,
        webhook: WebhookId,
        reason: String,
        now: Timestamp,
    ) -> Result<Option<Vec<AcceptedTask>>, StoreError> {
        let disable = |acceptance| {
            let tasks = self.store.disable_webhook(webhook, reason, acceptance, now).wait()?;
            Ok(tasks.map_or(Keyed::Known(Vec::new()), Keyed::Accepted))
        };
        match self.accept_by(acceptance, disable)? {
            Keyed::Accepted(tasks) => Ok(Some(tasks)),
            Keyed::Known(_) => Ok(None),
        }
    }

    fn accept_by(
        &self,
        mut acceptance: Acceptance,
        store: impl FnOnce(Acceptance) -> Result<Keyed, StoreError>,
    ) -> Result<Keyed, StoreError> {
        let Some(deferred) = self.deferred.get() else { return store(acceptance) };
        deferred.admit(&mut acceptance.tasks);
        let admitted = acceptance.tasks.iter().filter(|task| task.hold && !task.is_immediate()).count();
        // An immediate delivery is made by whoever announces, and is not for the scheduler.
        let waiting = acceptance.tasks.iter().map(|task| (!task.is_immediate()).then(|| task.waits()));
        let waiting: Vec<Option<bool>> = waiting.collect();
        let accepted = store(acceptance);
        if let Ok(Keyed::Accepted(tasks)) = &accepted {
            let held = tasks.iter().zip(&waiting).filter(|(task, waits)| task.held && waits.is_some()).count();
            deferred.not_accepted(admitted - held.min(admitted));
            deferred.accepted(tasks, &waiting);
        } else {
            deferred.not_accepted(admitted);
        }
        accepted
    }

    /// Decides what becomes of a task after an attempt that the scheduler knows nothing of.
    pub(crate) fn ending(&self, started: &Started, outcome: &Outcome) -> Ending {
        let schedule = started.webhook.as_ref().and_then(|webhook| webhook.options.schedule.clone());
        let keep_input = self.live.is_development();
        let ending = match self.deferred.get() {
            Some(deferred) => deferred.ending(started, schedule, outcome, keep_input),
            None => {
                let after = |wait_ms| self.clock.now().saturating_add(wait_ms);
                RetryPolicies::new(&self.config.deferred).ending(started, schedule, outcome, after, keep_input)
            }
        };
        match ending {
            Ending::Retry { at, reason, .. } => Ending::Retry { at, reason, hold: false },
            ending => ending,
        }
    }

    /// Returns whether the deliveries to a webhook have to wait.
    pub(crate) fn is_held(&self, webhook: WebhookId) -> bool {
        self.deferred.get().is_some_and(|deferred| deferred.is_held(webhook_key(webhook)))
    }

    /// Tells the scheduler of a task in the store that nobody holds; it `waits` for its time, or is ready.
    pub(crate) fn left(&self, head: TaskHead, waits: bool) {
        if let Some(deferred) = self.deferred.get() {
            deferred.accepted(&[AcceptedTask { head, held: false, known: false }], &[Some(waits)]);
        }
    }

    fn store_keyed(
        &self,
        acceptance: Acceptance,
        keys: Vec<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<Keyed, StoreError> {
        if keys.is_empty() {
            return self.store.accept(acceptance).wait().map(Keyed::Accepted);
        }
        self.store.accept_keyed(acceptance, keys, now).wait()
    }
}
