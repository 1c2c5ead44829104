//! Waiting for work that may never end.
//!
//! Nobody can end a thread, so work that does not return in time is left behind in a thread of its own, which it holds
//! until the process ends. Whoever waited goes on.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::config::HumanDuration;

/// Why there is no result of some work.
#[derive(Debug, Error)]
pub(crate) enum NoResult {
    /// The work goes on, and its result will be dropped.
    #[error("it has not ended within {} and holds a thread until the host ends", HumanDuration(*.0))]
    Late(Duration),
    /// The work panicked, which it has told already.
    #[error("it panicked")]
    Panicked,
    /// The system gives no more threads.
    #[error("no thread can be started for it ({0})")]
    NoThread(std::io::Error),
}

/// Does `work` in a thread called `name` and waits for it, at most for `time`.
pub(crate) fn within<V: Send + 'static>(
    name: &str,
    time: Duration,
    work: impl FnOnce() -> V + Send + 'static,
) -> Result<V, NoResult> {
    let (sender, receiver) = sync_channel(1);
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody takes a result that comes too late.
        let _ = sender.send(work());
    });
    started.map_err(NoResult::NoThread)?;
    receiver.recv_timeout(time).map_err(|error| match error {
        RecvTimeoutError::Timeout => NoResult::Late(time),
        RecvTimeoutError::Disconnected => NoResult::Panicked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_ends_gives_its_result() {
        assert_eq!(within("test", Duration::from_secs(60), || 42).unwrap(), 42);
    }

    #[test]
    fn work_that_never_ends_is_left_behind() {
        let (held, forever) = sync_channel::<()>(0);
        let late = within("test", Duration::from_millis(10), move || forever.recv()).unwrap_err();
        assert_eq!(late.to_string(), "it has not ended within 10ms and holds a thread until the host ends");
        drop(held);
    }
}
