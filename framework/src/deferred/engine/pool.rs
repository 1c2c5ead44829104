//! The threads that run synchronous handlers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Sender, bounded};
use tokio::sync::watch;

use super::{Message, Shared};
use crate::store::TaskHead;

pub(super) struct Pool {
    tasks: Sender<(TaskHead, watch::Receiver<bool>)>,
    cancelled: Arc<AtomicBool>,
}

impl Pool {
    pub(super) fn start(threads: usize, shared: &Arc<Shared>, messages: &Sender<Message>) -> std::io::Result<Self> {
        // The scheduler hands out as many tasks as there are threads, so the channel never holds back its thread.
        let (tasks, queue) = bounded::<(TaskHead, watch::Receiver<bool>)>(threads);
        let cancelled = Arc::new(AtomicBool::new(false));
        for index in 0..threads {
            let (queue, messages) = (queue.clone(), messages.clone());
            let (shared, cancelled) = (Arc::clone(shared), Arc::clone(&cancelled));
            std::thread::Builder::new().name(format!("switchboard-task-{index}")).spawn(move || {
                for (head, stop) in queue {
                    let ended = shared.run_sync(head, &cancelled, &stop);
                    let _ = messages.send(Message::Ended(ended));
                }
            })?;
        }
        Ok(Self { tasks, cancelled })
    }

    pub(super) fn run(&self, head: TaskHead, stop: watch::Receiver<bool>) {
        // The threads end only when this sender is dropped.
        let _ = self.tasks.send((head, stop));
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}
