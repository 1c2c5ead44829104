//! The threads that run synchronous handlers.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::Shared;
use crate::deferred::executor::{Ran, Run};

pub(super) struct Pool {
    runs: Sender<Run>,
}

impl Pool {
    pub(super) fn start(threads: usize, shared: &Arc<Shared>, ends: &Sender<Ran>) -> std::io::Result<Self> {
        // The scheduler hands out as many tasks as there are threads, so the channel never holds anybody back.
        let (runs, queue) = bounded::<Run>(threads);
        for index in 0..threads {
            let (queue, ends, shared) = (queue.clone(), ends.clone(), Arc::clone(shared));
            std::thread::Builder::new().name(format!("switchboard-task-{index}")).spawn(move || {
                for run in queue {
                    // The thread that writes the ends goes when nobody can send it one.
                    let _ = ends.send(shared.run_sync(run));
                }
            })?;
        }
        Ok(Self { runs })
    }

    pub(super) fn run(&self, run: Run) {
        // The threads end only when this sender is dropped.
        let _ = self.runs.send(run);
    }
}
