//! Takes the rows of outboxes and announces them.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

#[cfg(feature = "postgres")]
use super::postgres::PostgresOutbox;
use super::sqlite::SqliteOutbox;
use super::{Outbox, Row, Source, SourceError, Taken};
use crate::core::Core;
use crate::error::Chain;
use crate::run::{FinishError, RunBuilder};
use crate::store::EventId;
use crate::webhooks::CHANNEL;

/// Rows in one step.
const STEP: u32 = 100;
/// Time from one look to the next when nobody says that there is something.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest pause while an outbox cannot be used.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The thread that looks into the outboxes of one host.
pub(crate) struct Relay {
    wake: Sender<()>,
    stop: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Relay {
    pub(crate) fn start(core: &Arc<Core>, outboxes: Vec<Outbox>) -> std::io::Result<Self> {
        // One place: a second call while one waits says nothing new.
        let (wake, woken) = bounded(1);
        let (stop, stopped) = bounded(0);
        let station = |outbox| Station { outbox, wake: wake.clone(), source: None, failures: 0 };
        let outboxes = outboxes.into_iter().map(station).collect();
        let worker = Worker { core: Arc::downgrade(core), outboxes, stopped };
        let thread =
            std::thread::Builder::new().name("switchboard-outbox".into()).spawn(move || worker.work(&woken))?;
        Ok(Self { wake, stop: Mutex::new(Some(stop)), thread: Mutex::new(Some(thread)) })
    }

    /// Says that there is something in an outbox.
    pub(crate) fn wake(&self) {
        // Full means that the thread is about to look.
        let _ = self.wake.try_send(());
    }

    /// Ends the thread after the row that it is at.
    pub(crate) fn stop(&self) {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread has been printed; rows that it had not settled are looked at again.
        let _ = thread.map(JoinHandle::join);
    }
}

/// One outbox, opened when it is first needed and anew after it failed.
struct Station {
    outbox: Outbox,
    /// Makes the thread look.
    wake: Sender<()>,
    source: Option<Box<dyn Source>>,
    failures: u32,
}

struct Worker {
    core: Weak<Core>,
    outboxes: Vec<Station>,
    /// Closed when the host stops.
    stopped: Receiver<()>,
}

impl Worker {
    fn work(mut self, woken: &Receiver<()>) {
        loop {
            let mut pause = LOOK_EVERY;
            for station in &mut self.outboxes {
                let Some(core) = self.core.upgrade() else { return };
                while !is_closed(&self.stopped) {
                    match station.step(&core, &self.stopped) {
                        Ok(rows) if rows < STEP as usize => break,
                        Ok(_) => {}
                        Err(error) => {
                            pause = pause.max(station.failed(&core, &error));
                            break;
                        }
                    }
                }
            }
            crossbeam_channel::select! {
                recv(self.stopped) -> _ => return,
                recv(woken) -> _ => {}
                default(pause) => {}
            }
        }
    }
}

fn is_closed(stopped: &Receiver<()>) -> bool {
    matches!(stopped.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected))
}

impl Station {
    /// Takes the next rows; returns how many there were.
    fn step(&mut self, core: &Arc<Core>, stopped: &Receiver<()>) -> Result<usize, SourceError> {
        let source = match &mut self.source {
            Some(source) => source,
            None => self.source.insert(open(core, &self.outbox, &self.wake)?),
        };
        let rows = source.next(STEP)?;
        let mut taken = Vec::with_capacity(rows.len());
        let mut failed = None;
        for row in &rows {
            if is_closed(stopped) {
                break;
            }
            match announce(core, row) {
                Ok(one) => taken.push(one),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        for one in &taken {
            if let Taken::Refused(row, reason) = one {
                log::error!(logger: core.log, target: CHANNEL, row, reason = reason.as_str();
                    "an event in an outbox cannot be announced; it stays there with the reason");
            }
        }
        if !taken.is_empty() {
            source.settle(&taken)?;
        }
        match failed {
            Some(error) => Err(error.into()),
            None => {
                self.failures = 0;
                Ok(rows.len())
            }
        }
    }

    /// Reports the first failure of a row of them, and returns how long to leave the outbox alone.
    fn failed(&mut self, core: &Core, error: &SourceError) -> Duration {
        self.source = None;
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            let outbox = self.outbox.name();
            log::error!(logger: core.log, target: CHANNEL, outbox, error = Chain(&**error).to_string();
                "an outbox cannot be emptied; it is tried again");
        }
        LOOK_EVERY.saturating_mul(1 << self.failures.min(5)).min(LONGEST_PAUSE)
    }
}

#[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "a SQLite database tells nobody of its rows"))]
fn open(core: &Core, outbox: &Outbox, wake: &Sender<()>) -> Result<Box<dyn Source>, SourceError> {
    match outbox {
        Outbox::Sqlite { path } => Ok(Box::new(SqliteOutbox::open(path)?)),
        #[cfg(feature = "postgres")]
        Outbox::Postgres { url } => {
            let wake = wake.clone();
            // Full means that the thread is about to look.
            let tell = move || {
                let _ = wake.try_send(());
            };
            Ok(Box::new(PostgresOutbox::open(url, &core.runtime, tell)?))
        }
    }
}

/// Announces the event of a row in a run of its own, unless it is on disk already.
fn announce(core: &Arc<Core>, row: &Row) -> Result<Taken, FinishError> {
    let id = EventId(row.event_id.clone());
    if core.store.event(&id).map_err(|source| FinishError::Store { source })?.is_some() {
        return Ok(Taken::Announced(row.id));
    }
    let mut run = RunBuilder::new(Arc::clone(core)).owner(row.owner);
    if let Some(task) = &row.task {
        run = run.task(task);
    }
    let mut run = run.start();
    if let Err(error) = run.announce_as(id, &row.event, &row.data) {
        return Ok(Taken::Refused(row.id, Chain(&error).to_string()));
    }
    run.finish()?;
    Ok(Taken::Announced(row.id))
}
