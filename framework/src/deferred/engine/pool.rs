//! The threads that run synchronous handlers.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::{Message, Shared};
use crate::deferred::halt::Signal;
use crate::store::TaskHead;

pub(super) struct Pool {
    tasks: Sender<(TaskHead, Signal)>,
}

impl Pool {
    pub(super) fn start(threads: usize, shared: &Arc<Shared>, messages: &Sender<Message>) -> std::io::Result<Self> {
        // The scheduler hands out as many tasks as there are threads, so the channel never holds back its thread.
        let (tasks, queue) = bounded::<(TaskHead, Signal)>(threads);
        for index in 0..threads {
            let (queue, messages, shared) = (queue.clone(), messages.clone(), Arc::clone(shared));
            std::thread::Builder::new().name(format!("switchboard-task-{index}")).spawn(move || {
                for (head, signal) in queue {
                    let ended = shared.run_sync(head, &signal);
                    let _ = messages.send(Message::Ended(ended));
                }
            })?;
        }
        Ok(Self { tasks })
    }

    pub(super) fn run(&self, head: TaskHead, signal: Signal) {
        // The threads end only when this sender is dropped.
        let _ = self.tasks.send((head, signal));
    }
}
