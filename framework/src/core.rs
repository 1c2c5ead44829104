//! What the parts of one host share. Built once by [`Switchboard`](crate::Switchboard), never public.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::channel_log::ChannelLog;
use crate::clock::Clock;
use crate::config::Config;
use crate::deferred::Deferred;
use crate::egress::Egress;
use crate::language::Languages;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::payload_files::PayloadFiles;
use crate::registry::Registry;
use crate::runtime::AsyncRuntime;
use crate::store::{Acceptance, AcceptedTask, IdempotencyKey, Keyed, NewTask, Store, StoreError, Timestamp};
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
        mut acceptance: Acceptance,
        keys: Vec<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<Keyed, StoreError> {
        let Some(deferred) = self.deferred.get() else { return self.store_keyed(acceptance, keys, now) };
        deferred.admit(&mut acceptance.tasks);
        let admitted = acceptance.tasks.iter().filter(|task| task.hold).count();
        let waiting: Vec<bool> = acceptance.tasks.iter().map(NewTask::waits).collect();
        let accepted = self.store_keyed(acceptance, keys, now);
        if let Ok(Keyed::Accepted(tasks)) = &accepted {
            let held = tasks.iter().filter(|task| task.held).count();
            deferred.not_accepted(admitted - held.min(admitted));
            deferred.accepted(tasks, &waiting);
        } else {
            deferred.not_accepted(admitted);
        }
        accepted
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
