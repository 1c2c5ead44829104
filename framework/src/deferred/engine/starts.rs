//! The thread that waits until tasks have been started on disk, and hands them to those who run them.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use switchboard_plugin_api::HandlerKind;

use super::pool::Pool;
use super::{Message, Shared};
use crate::deferred::executor::{Ended, Ran, Run};
use crate::deferred::halt::Signal;
use crate::runtime::AsyncRuntime;
use crate::store::{Receipt, Started, StoreError, TaskHead};

/// A task whose turn has come.
pub(super) struct Launch {
    pub(super) head: TaskHead,
    pub(super) kind: HandlerKind,
    pub(super) signal: Signal,
}

/// What the store says to the start of several tasks.
type Answers = Vec<Result<Option<Started>, StoreError>>;

/// The way to the thread.
pub(super) struct Starts {
    asked: Sender<(Vec<Launch>, Receipt<Answers>)>,
    shared: Arc<Shared>,
}

impl Starts {
    pub(super) fn start(
        shared: &Arc<Shared>,
        pool: Pool,
        runtime: AsyncRuntime,
        ends: Sender<Ran>,
        messages: Sender<Message>,
    ) -> std::io::Result<Self> {
        // There are never more of them than slots.
        let (asked, inbox) = unbounded();
        let launcher = Launcher { shared: Arc::clone(shared), pool, runtime, ends, messages };
        std::thread::Builder::new().name("switchboard-starts".into()).spawn(move || launcher.work(&inbox))?;
        Ok(Self { asked, shared: Arc::clone(shared) })
    }

    /// Starts tasks, all in one commit.
    pub(super) fn launch(&self, launches: Vec<Launch>) {
        let ids = launches.iter().map(|launch| launch.head.id).collect();
        let receipt = self.shared.store.start(ids, self.shared.now());
        // The thread ends only when this sender is dropped.
        let _ = self.asked.send((launches, receipt));
    }
}

struct Launcher {
    shared: Arc<Shared>,
    pool: Pool,
    runtime: AsyncRuntime,
    ends: Sender<Ran>,
    messages: Sender<Message>,
}

impl Launcher {
    fn work(&self, inbox: &Receiver<(Vec<Launch>, Receipt<Answers>)>) {
        for (launches, receipt) in inbox {
            let count = launches.len();
            // When the store does not take them together, only one of them may be to blame.
            let answers = receipt.wait().or_else(|error| if count > 1 { Ok(Vec::new()) } else { Err(error) });
            let mut answers = answers.unwrap_or_else(|error| vec![Err(error)]).into_iter();
            let ended: Vec<Ended> = launches
                .into_iter()
                .filter_map(|launch| {
                    let answer = answers.next().unwrap_or_else(|| self.start_alone(&launch.head));
                    self.hand_on(launch, answer)
                })
                .collect();
            if !ended.is_empty() {
                // After a stop nobody listens: the tasks are in the store and run at the next start.
                let _ = self.messages.send(Message::Ended(ended));
            }
        }
    }

    fn start_alone(&self, head: &TaskHead) -> Result<Option<Started>, StoreError> {
        self.shared.store.start(vec![head.id], self.shared.now()).wait()?.pop().unwrap_or(Ok(None))
    }

    /// Gives a task that was started to whoever runs it; returns the end of one that was not.
    fn hand_on(&self, launch: Launch, answer: Result<Option<Started>, StoreError>) -> Option<Ended> {
        let Launch { head, kind, signal } = launch;
        let started = match answer {
            Ok(Some(started)) => Arc::new(started),
            Ok(None) => return Some(Ended::gone(head)),
            Err(error) => return Some(self.shared.not_started(head, &error)),
        };
        let run = Run { head, started, signal };
        if kind == HandlerKind::Sync {
            self.pool.run(run);
        } else {
            let (shared, ends) = (Arc::clone(&self.shared), self.ends.clone());
            self.runtime.spawn(async move {
                let ran = shared.run_async(run).await;
                // The thread that writes ends outlives whoever may send one.
                let _ = ends.send(ran);
            });
        }
        None
    }
}
