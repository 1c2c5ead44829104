//! What a run announced and put off, until it is committed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::Serialize;

use super::{FinishError, RunState};
use crate::defer::DeferredTask;
use crate::store::{
    self, Acceptance, EventId, IdempotencyKey, Keyed, NewEvent, NewTask, StoreError, TaskFilter, TaskId, Timestamp,
    WebhookId,
};
use crate::webhooks::{Planned, delivery};

/// One announced event and what is to be done about it.
struct Entry {
    event: NewEvent,
    planned: Option<Vec<Planned>>,
    /// The idempotency key under which it is announced.
    key: Option<IdempotencyKey>,
    /// Whether it was announced before, under this id.
    known: bool,
}

impl Entry {
    fn new(event: NewEvent) -> Self {
        Self { event, planned: None, key: None, known: false }
    }

    /// Whether it says the same for the same owner.
    fn is(&self, event: &NewEvent) -> bool {
        let other = &self.event;
        (&other.name, other.owner) == (&event.name, event.owner) && same_json(&other.body, &event.body)
    }

    /// Makes it the event of an earlier announcement.
    fn recognise(&mut self, id: EventId) {
        self.event.id = id;
        (self.known, self.planned) = (true, None);
    }

    fn planned(&self) -> &[Planned] {
        self.planned.as_deref().unwrap_or_default()
    }
}

/// The announced events of a run, each once, in order, and the work that it put off.
#[derive(Default)]
pub(crate) struct Outbox {
    entries: Vec<Entry>,
    /// Where the events are that may be the same, for the first `indexed` entries: a run may announce thousands.
    same: HashMap<u64, Vec<usize>>,
    indexed: usize,
    deferred: Vec<NewTask>,
    /// A webhook that is disabled in the same commit, and why. When it is already, nothing is accepted.
    pub(crate) disables: Option<(WebhookId, String)>,
}

impl Outbox {
    /// Takes an event; one that is in already gives the id of the first.
    pub(crate) fn announce(&mut self, event: NewEvent) -> EventId {
        if let Some(first) = self.find(&event, |_| true) {
            return self.entries[first].event.id.clone();
        }
        let id = event.id.clone();
        self.entries.push(Entry::new(event));
        id
    }

    /// Takes an event under a key. One that was announced without a key has this one from now on.
    pub(crate) fn announce_under(&mut self, event: NewEvent, key: IdempotencyKey) -> EventId {
        let entry = match self.without_key(&event) {
            Some(at) => &mut self.entries[at],
            None => self.entries.push_mut(Entry::new(event)),
        };
        let id = entry.event.id.clone();
        entry.key = Some(IdempotencyKey { event: id.clone(), ..key });
        id
    }

    /// Takes an event that was announced before: nobody is told of it, also when it was announced without its key here.
    pub(crate) fn announce_known(&mut self, event: NewEvent) {
        if let Some(at) = self.without_key(&event) {
            self.entries[at].recognise(event.id);
        } else if !self.entries.iter().any(|entry| entry.event.id == event.id) {
            self.entries.push(Entry { known: true, ..Entry::new(event) });
        }
    }

    /// Returns where the same event is that was announced without a key.
    fn without_key(&mut self, event: &NewEvent) -> Option<usize> {
        self.find(event, |entry| entry.key.is_none() && !entry.known)
    }

    /// Returns where the first entry is that says the same as an event and is `wanted`.
    fn find(&mut self, event: &NewEvent, wanted: impl Fn(&Entry) -> bool) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        for (at, entry) in self.entries.iter().enumerate().skip(self.indexed) {
            self.same.entry(fingerprint(&entry.event)).or_default().push(at);
        }
        self.indexed = self.entries.len();
        let mut same = self.same.get(&fingerprint(event))?.iter().copied();
        same.find(|at| wanted(&self.entries[*at]) && self.entries[*at].is(event))
    }

    /// Returns what was announced in this run under the same key.
    pub(crate) fn under_key(&self, key: &IdempotencyKey) -> Option<IdempotencyKey> {
        let mut keys = self.entries.iter().filter_map(|entry| entry.key.as_ref());
        keys.find(|one| (one.owner, &one.key) == (key.owner, &key.key)).cloned()
    }

    /// Takes a task that is accepted together with the events.
    pub(crate) fn defer(&mut self, task: NewTask) {
        self.deferred.push(task);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.deferred.is_empty() && self.entries.iter().all(|entry| entry.known)
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &NewEvent> {
        self.entries.iter().filter(|entry| !entry.known).map(|entry| &entry.event)
    }

    /// Sets what is to be done about an event. The first to say so decides.
    pub(crate) fn plan(
        &mut self,
        event: &str,
        plan: impl FnOnce(&NewEvent) -> Result<Vec<Planned>, StoreError>,
    ) -> Result<Option<usize>, StoreError> {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.event.id.0 == event) else { return Ok(None) };
        if entry.planned.is_none() {
            entry.planned = Some(plan(&entry.event)?);
        }
        Ok(entry.planned.as_ref().map(Vec::len))
    }
}

/// Returns a number that is the same for events which say the same.
fn fingerprint(event: &NewEvent) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&event.name, event.owner, read_json(&event.body)).hash(&mut hasher);
    hasher.finish()
}

/// Whether two bodies say the same; the order of their properties does not matter.
fn same_json(left: &[u8], right: &[u8]) -> bool {
    left == right || read_json(left) == read_json(right)
}

fn read_json(body: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(body).ok()
}

/// What became of a finished run.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Finished {
    /// The announced events, in order.
    pub events: Vec<AnnouncedEvent>,
    /// The tasks that were made by [`Run::defer`](super::Run::defer), in order.
    pub deferred: Vec<DeferredTask>,
}

/// An accepted event.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AnnouncedEvent {
    /// Its id.
    pub id: EventId,
    /// Its name.
    pub name: String,
    /// Whether it was announced before, under the same idempotency key: nothing new was accepted.
    pub known: bool,
    /// The deferred tasks that deliver it.
    pub tasks: Vec<AcceptedTask>,
    /// The deliveries that were made at once.
    pub immediate: Vec<ImmediateResult>,
}

/// A deferred task that was accepted.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct AcceptedTask {
    /// Its id.
    pub id: TaskId,
    /// The webhook that it delivers to.
    pub webhook: WebhookId,
}

/// A delivery that was made in the caller's time.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ImmediateResult {
    /// The webhook.
    pub webhook: WebhookId,
    /// Whether the receiver has the event.
    pub delivered: bool,
    /// Outcome code, such as `ok` or `http_5xx`.
    pub outcome: String,
    /// HTTP status, when one came.
    pub status: Option<u16>,
    /// A sentence about it.
    pub detail: Option<String>,
    /// The deferred task that delivers it after all, when it was queued instead.
    pub task: Option<TaskId>,
}

/// Commits the outbox in one durable step, hands the tasks to the scheduler and performs the immediate deliveries.
pub(super) fn commit(state: &Arc<RunState>) -> Result<Finished, FinishError> {
    let failed = FinishError::of_store;
    let Outbox { mut entries, deferred, disables, .. } = state.with_outbox(std::mem::take);
    let now = Timestamp(state.core.clock.now());
    let planned = entries.iter_mut().flat_map(|entry| entry.planned.iter_mut().flatten());
    let _place = delivery::admit(&state.core, planned.filter(|planned| planned.immediate).collect());
    let (mut known, tasks) = loop {
        // Before anything is accepted: whoever is told of a failure may do all of it again.
        let known = entries.iter().filter(|entry| entry.known).map(|entry| deliveries(state, &entry.event.id));
        let known = known.collect::<Result<Vec<_>, _>>().map_err(failed)?.into_iter();
        let (mut acceptance, keys) = acceptance(&entries, now);
        // A delay counts from the call, and is over when the run took longer.
        let deferred = deferred.iter().cloned();
        acceptance.tasks.extend(deferred.map(|task| NewTask { at: now, run_at: task.run_at.max(now), ..task }));
        if acceptance.events.is_empty() && acceptance.tasks.is_empty() {
            break (known, Vec::new());
        }
        if let Some((webhook, reason)) = disables {
            match state.core.accept_disabling(acceptance, webhook, reason, now).map_err(failed)? {
                Some(tasks) => break (known, tasks),
                None => return Ok(Finished::default()),
            }
        }
        match state.core.accept_keyed(acceptance, keys, now).map_err(failed)? {
            Keyed::Accepted(tasks) => break (known, tasks),
            Keyed::Known(known) => recognise(&mut entries, known)?,
        }
    };
    let mut tasks = tasks.into_iter();
    let mut events = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut deferred = if entry.known { known.next().unwrap_or_default() } else { Vec::new() };
        let mut immediate = Vec::new();
        state.core.metrics.announced(entry.known);
        for (planned, task) in entry.planned().iter().zip(&mut tasks) {
            let webhook = planned.webhook.id;
            if planned.immediate {
                immediate.push(delivery::deliver_now(state, &entry.event, webhook, task.head));
            } else {
                deferred.push(AcceptedTask { id: task.head.id, webhook });
            }
        }
        events.push(AnnouncedEvent {
            known: entry.known,
            tasks: deferred,
            immediate,
            id: entry.event.id,
            name: entry.event.name,
        });
    }
    let deferred = tasks.map(|task| DeferredTask { id: task.head.id, known: task.known }).collect();
    Ok(Finished { events, deferred })
}

/// Returns what has to be accepted, with the tasks in the order of the events.
fn acceptance(entries: &[Entry], now: Timestamp) -> (Acceptance, Vec<IdempotencyKey>) {
    let mut acceptance = Acceptance::default();
    let mut keys = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.known) {
        acceptance.tasks.extend(entry.planned().iter().map(|planned| planned.task(&entry.event, now)));
        acceptance.events.push(entry.event.clone());
        keys.extend(entry.key.clone());
    }
    (acceptance, keys)
}

/// Takes note of events that somebody else has announced meanwhile under the same keys.
fn recognise(entries: &mut [Entry], known: Vec<IdempotencyKey>) -> Result<(), FinishError> {
    for first in known {
        let is_its = |key: &IdempotencyKey| (key.owner, &key.key) == (first.owner, &first.key);
        let entry = entries.iter_mut().find(|entry| entry.key.as_ref().is_some_and(is_its));
        let Some(entry) = entry else { continue };
        if entry.key.as_ref().is_some_and(|key| key.fingerprint != first.fingerprint) {
            return Err(FinishError::KeyTaken { key: first.key, event: first.event });
        }
        entry.recognise(first.event);
    }
    Ok(())
}

/// Returns the tasks that deliver an event that was accepted before.
fn deliveries(state: &RunState, event: &EventId) -> Result<Vec<AcceptedTask>, StoreError> {
    let filter = TaskFilter { event: Some(event.clone()), limit: MOST_DELIVERIES, ..TaskFilter::default() };
    let tasks: Vec<store::Task> = state.core.store.tasks(&filter)?;
    let deliveries = tasks.into_iter().filter(|task| task.replay_of.is_none());
    Ok(deliveries.filter_map(|task| Some(AcceptedTask { id: task.id, webhook: task.webhook? })).collect())
}

/// Most tasks that are named of an event that was accepted before.
const MOST_DELIVERIES: u32 = 10_000;
