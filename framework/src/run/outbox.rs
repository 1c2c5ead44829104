//! What a run announced, until it is committed.

use std::sync::Arc;

use serde::Serialize;

use super::RunState;
use crate::store::{Acceptance, EventId, NewEvent, NewTask, StoreError, TaskId, Timestamp, WebhookId};
use crate::webhooks::{self, Planned};

/// One announced event and what is to be done about it.
struct Entry {
    event: NewEvent,
    planned: Option<Vec<Planned>>,
}

/// The announced events of a run, each once, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    entries: Vec<Entry>,
}

impl Outbox {
    /// Takes an event; one that is in already gives the id of the first.
    pub(crate) fn announce(&mut self, event: NewEvent) -> EventId {
        let same = |entry: &&Entry| {
            let other = &entry.event;
            (&other.name, other.owner) == (&event.name, event.owner) && same_json(&other.body, &event.body)
        };
        if let Some(entry) = self.entries.iter().find(same) {
            return entry.event.id.clone();
        }
        let id = event.id.clone();
        self.entries.push(Entry { event, planned: None });
        id
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &NewEvent> {
        self.entries.iter().map(|entry| &entry.event)
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

/// Whether two bodies say the same; the order of their properties does not matter.
fn same_json(left: &[u8], right: &[u8]) -> bool {
    let read = |body| serde_json::from_slice::<serde_json::Value>(body).ok();
    left == right || read(left) == read(right)
}

/// What became of a finished run.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Finished {
    /// The announced events, in order.
    pub events: Vec<AnnouncedEvent>,
}

/// An accepted event.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AnnouncedEvent {
    /// Its id.
    pub id: EventId,
    /// Its name.
    pub name: String,
    /// The deferred tasks that will deliver it.
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
}

/// Commits the outbox in one durable step, hands the tasks to the scheduler and performs the immediate deliveries.
pub(super) fn commit(state: &Arc<RunState>) -> Result<Finished, StoreError> {
    let entries = state.with_outbox(|outbox| std::mem::take(&mut outbox.entries));
    if entries.is_empty() {
        return Ok(Finished::default());
    }
    let now = Timestamp(state.core.clock.now());
    let mut acceptance = Acceptance::default();
    let mut task_counts = Vec::with_capacity(entries.len());
    for entry in &entries {
        let tasks = entry.planned.iter().flatten().filter_map(|planned| planned.task(&entry.event, now));
        let before = acceptance.tasks.len();
        acceptance.tasks.extend(tasks);
        task_counts.push(acceptance.tasks.len() - before);
        acceptance.events.push(entry.event.clone());
    }
    let webhooks: Vec<Option<WebhookId>> = acceptance.tasks.iter().map(|task: &NewTask| task.webhook).collect();
    let tasks = state.core.accept(acceptance)?;
    let mut accepted = tasks
        .iter()
        .zip(webhooks)
        .filter_map(|(task, webhook)| Some(AcceptedTask { id: task.head.id, webhook: webhook? }))
        .collect::<Vec<_>>()
        .into_iter();
    let events = entries.into_iter().zip(task_counts).map(|(entry, count)| AnnouncedEvent {
        tasks: accepted.by_ref().take(count).collect(),
        immediate: webhooks::delivery::deliver_immediately(
            state,
            &entry.event,
            entry.planned.as_deref().unwrap_or(&[]),
        ),
        id: entry.event.id,
        name: entry.event.name,
    });
    Ok(Finished { events: events.collect() })
}
