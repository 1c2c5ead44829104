//! The asynchronous runtime of the host, and waiting for it from threads that are not its own.

use std::cell::Cell;
use std::io;

use switchboard_plugin_api::PluginError;
use tokio::runtime::{Builder, Handle, Runtime};

/// Outcome code of what a stopping host has ended.
pub(crate) const INTERRUPTED: &str = "interrupted";

/// Returns the error of a wait that the host's stop has ended.
pub(crate) fn interrupted() -> PluginError {
    PluginError::retryable("the host is stopping").with_code(INTERRUPTED)
}

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// A handle to the host's runtime.
#[derive(Clone, Debug)]
pub(crate) struct AsyncRuntime {
    handle: Handle,
}

impl AsyncRuntime {
    /// Starts a runtime with `threads` threads. It stops when the returned [`Runtime`] is dropped.
    pub(crate) fn start(threads: usize) -> io::Result<(Runtime, Self)> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("switchboard-async")
            .on_thread_start(|| OURS.set(true))
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok((runtime, Self { handle }))
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(future);
    }

    /// Runs `work`, which may take its time. On one of the runtime's own threads the others take its work meanwhile.
    pub(crate) fn blocking<V>(&self, work: impl FnOnce() -> V) -> V {
        if OURS.get() { tokio::task::block_in_place(work) } else { work() }
    }

    /// Runs `future` on the runtime while this thread waits for it. `None` when the runtime stops first.
    pub(crate) fn wait<V: Send + 'static>(&self, future: impl Future<Output = V> + Send + 'static) -> Option<V> {
        if OURS.get() {
            // One of our own threads: the others take its work while it waits.
            return Some(tokio::task::block_in_place(|| self.handle.block_on(future)));
        }
        // Not `block_on`: this thread may belong to another runtime, the embedding application's.
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // The waiting thread never goes away before it has the value.
            let _ = sender.send(future.await);
        });
        receiver.recv().ok()
    }
}
