//! What goes on beside the tasks: schedules start theirs, bulk operations go forward, what is old goes.
//!
//! One thread sleeps until the next of these is due or something about them is changed. Every step is one small commit, so
//! that it holds up nothing else.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::CHANNEL;
use super::engine::Shared;
use super::recurrence::Recurrence;
use crate::config::RetentionConfig;
use crate::error::Chain;
use crate::store::{AcceptedTask, Bulk, BulkId, BulkState, BulkStep, Retention, Schedule, StoreError, Timestamp};

/// Tasks in one step of a bulk operation.
const BULK_STEP: u32 = 100;
/// Rows in one step of what goes because it is old.
const PRUNE_STEP: u32 = 500;
/// Pause between two such steps while there is more, in milliseconds.
const PRUNE_PAUSE_MS: i64 = 50;
/// Time from one look at what is old to the next, in milliseconds.
const PRUNE_EVERY_MS: i64 = 60_000;
/// Longest sleep, so that what another host of the same store changed is seen, and a change of the wall clock.
const LONGEST_SLEEP_MS: i64 = 30_000;

/// How long things are kept after they have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) done: Duration,
    pub(crate) dead: Duration,
    pub(crate) max_tasks: u64,
    /// `None` where inputs are not kept.
    pub(crate) max_input_bytes: Option<u64>,
    pub(crate) attempts: Duration,
    pub(crate) max_attempt_bytes: u64,
}

/// What a developer's machine keeps at most: inputs of tasks that are done, too.
const DEVELOPMENT_TIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const DEVELOPMENT_TASKS: u64 = 10_000;
const DEVELOPMENT_BYTES: u64 = 1 << 30;

impl Kept {
    pub(crate) fn new(config: &RetentionConfig) -> Self {
        Self {
            done: config.done,
            dead: config.dead,
            max_tasks: config.max_tasks,
            max_input_bytes: None,
            attempts: config.attempts,
            max_attempt_bytes: config.max_attempt_bytes,
        }
    }

    /// Returns what is kept where inputs are.
    fn with_inputs(self) -> Self {
        Self {
            done: self.done.min(DEVELOPMENT_TIME),
            max_tasks: self.max_tasks.min(DEVELOPMENT_TASKS),
            // Half for what was to be sent, half for what was sent and came back.
            max_input_bytes: Some(DEVELOPMENT_BYTES / 2),
            max_attempt_bytes: self.max_attempt_bytes.min(DEVELOPMENT_BYTES / 2),
            ..self
        }
    }
}

/// What came of housekeeping that the scheduler has to know.
pub(super) enum Made {
    Accepted(AcceptedTask),
    Step(Box<BulkStep>),
}

enum Message {
    Changed,
    Stop,
}

/// The thread.
pub(super) struct Housekeeping {
    messages: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Housekeeping {
    pub(super) fn start(
        shared: Arc<Shared>,
        kept: Kept,
        tell: impl Fn(Made) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (messages, inbox) = unbounded();
        let keeper = Keeper { shared, kept, tell: Box::new(tell), bulk_due: HashMap::new(), prune_due: i64::MIN };
        let thread =
            std::thread::Builder::new().name("switchboard-housekeeping".into()).spawn(move || keeper.work(&inbox))?;
        Ok(Self { messages, thread: Mutex::new(Some(thread)) })
    }

    /// Looks again at the schedules and the bulk operations.
    pub(super) fn changed(&self) {
        // After a stop nobody listens: the next start looks.
        let _ = self.messages.send(Message::Changed);
    }

    pub(super) fn stop(&self) {
        let _ = self.messages.send(Message::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread has been printed; its steps are whole commits.
        let _ = thread.map(JoinHandle::join);
    }
}

struct Keeper {
    shared: Arc<Shared>,
    kept: Kept,
    tell: Box<dyn Fn(Made) + Send>,
    /// When the next step of a bulk operation is due, so that it keeps to its speed.
    bulk_due: HashMap<BulkId, i64>,
    prune_due: i64,
}

impl Keeper {
    fn work(mut self, inbox: &Receiver<Message>) {
        loop {
            let now = self.shared.steady.now();
            let due = [self.schedules(now), self.bulks(now), self.prune(now)];
            let due = due.into_iter().map(|step| match step {
                Ok(due) => due,
                Err(error) => {
                    log::warn!(logger: self.shared.log, target: CHANNEL, error = Chain(&error).to_string();
                        "housekeeping cannot use the store; it is tried again");
                    now.saturating_add(LONGEST_SLEEP_MS)
                }
            });
            let due = due.min().unwrap_or(i64::MAX).min(now.saturating_add(LONGEST_SLEEP_MS));
            let wait_ms = u64::try_from(due.saturating_sub(now)).unwrap_or(0);
            match inbox.recv_timeout(Duration::from_millis(wait_ms)) {
                Ok(Message::Changed) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Starts what the schedules have due; returns when the next slot is.
    fn schedules(&self, now: i64) -> Result<i64, StoreError> {
        let mut next_due = i64::MAX;
        for schedule in self.shared.store.schedules()?.into_iter().filter(|schedule| !schedule.paused) {
            if schedule.next_at.0 > now {
                next_due = next_due.min(schedule.next_at.0);
                continue;
            }
            next_due = next_due.min(self.fire(&schedule, now)?);
        }
        Ok(next_due)
    }

    fn fire(&self, schedule: &Schedule, now: i64) -> Result<i64, StoreError> {
        let recurrence = Recurrence::parse(&schedule.spec, &schedule.zone);
        let next = recurrence.as_ref().ok().and_then(|one| one.next_slot(schedule.next_at, Timestamp(now)));
        let Some(next) = next else {
            let error =
                recurrence.err().map_or_else(|| "it has no next slot".to_owned(), |error| Chain(&error).to_string());
            log::error!(logger: self.shared.log, target: CHANNEL, schedule = schedule.name, error;
                "a schedule cannot go on and is paused");
            let paused =
                self.shared.store.pause_schedule(schedule.name.clone(), true, schedule.next_at, Timestamp(now));
            return paused.wait().map(|_| i64::MAX);
        };
        let fired =
            self.shared.store.fire_schedule(schedule.name.clone(), schedule.next_at, next, Timestamp(now)).wait()?;
        match fired {
            Some(task) if task.known => {
                log::warn!(logger: self.shared.log, target: CHANNEL, schedule = schedule.name,
                    task = task.head.id.to_string();
                    "a slot of a schedule was left out: the task of the slot before has not ended");
            }
            Some(task) => (self.tell)(Made::Accepted(task)),
            // Another host was first.
            None => {}
        }
        Ok(next.0)
    }

    /// Takes the bulk operations a step further; returns when the next step is due.
    fn bulks(&mut self, now: i64) -> Result<i64, StoreError> {
        let running: Vec<Bulk> =
            self.shared.store.bulks()?.into_iter().filter(|bulk| bulk.state == BulkState::Running).collect();
        self.bulk_due.retain(|id, _| running.iter().any(|bulk| bulk.id == *id));
        let mut next_due = i64::MAX;
        for bulk in running {
            let due = self.bulk_due.get(&bulk.id).copied().unwrap_or(now);
            let due = if due > now { due } else { self.step(&bulk, now)? };
            self.bulk_due.insert(bulk.id, due);
            next_due = next_due.min(due);
        }
        Ok(next_due)
    }

    fn step(&self, bulk: &Bulk, now: i64) -> Result<i64, StoreError> {
        // Ten steps a second at most, and never more than the speed allows.
        let size = (bulk.per_second / 10).clamp(1, BULK_STEP);
        let Some(step) = self.shared.store.bulk_step(bulk.id, size, Timestamp(now)).wait()? else {
            return Ok(i64::MAX);
        };
        let Bulk { id, action, state, seen, changed, .. } = step.bulk;
        (self.tell)(Made::Step(Box::new(step)));
        if state == BulkState::Done {
            log::info!(logger: self.shared.log, target: CHANNEL, bulk = id.to_string(), action = action.to_string(),
                seen, changed; "a bulk operation is done");
            return Ok(i64::MAX);
        }
        Ok(now.saturating_add(i64::from(size) * 1_000 / i64::from(bulk.per_second.max(1))))
    }

    /// Removes some of what is old; returns when to look again.
    fn prune(&mut self, now: i64) -> Result<i64, StoreError> {
        if self.prune_due > now {
            return Ok(self.prune_due);
        }
        self.prune_due = now.saturating_add(PRUNE_EVERY_MS);
        let before = |age: Duration| Timestamp(now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        let keeps_inputs = self.shared.keep_inputs.load(Ordering::Relaxed);
        let kept = if keeps_inputs { self.kept.with_inputs() } else { self.kept };
        let retention = Retention {
            done_before: before(kept.done),
            dead_before: before(kept.dead),
            max_ended: kept.max_tasks,
            max_input_bytes: kept.max_input_bytes,
            attempts_before: before(kept.attempts),
            max_attempt_bytes: kept.max_attempt_bytes,
        };
        if self.shared.store.prune(retention, PRUNE_STEP).wait()? >= PRUNE_STEP {
            self.prune_due = now.saturating_add(PRUNE_PAUSE_MS);
        }
        Ok(self.prune_due)
    }
}
