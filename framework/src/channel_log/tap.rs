//! Hears what is logged in the course of one piece of work.

use std::sync::{Arc, Mutex, PoisonError};

tokio::task_local! {
    static TAP: Tap;
}

/// A line of a log, with its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TappedLine {
    /// The channel.
    pub channel: String,
    /// The line as it is in the file.
    pub line: String,
}

/// Most lines that are kept; the first ones.
const MOST_LINES: usize = 1_000;

/// Collects lines that are logged in the thread that works, or by the future.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<Mutex<Vec<TappedLine>>>);

impl Tap {
    /// Listens while `work` is done in this thread.
    pub(crate) fn during<V>(&self, work: impl FnOnce() -> V) -> V {
        TAP.sync_scope(self.clone(), work)
    }

    /// Listens while `future` is polled.
    pub(crate) fn while_in<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        TAP.scope(self.clone(), future)
    }

    /// Returns what was heard.
    pub(crate) fn take(&self) -> Vec<TappedLine> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells whoever listens to the work that goes on here.
pub(super) fn tell(channel: &str, line: &str) {
    // Nobody listens to most of what is logged.
    let _ = TAP.try_with(|tap| {
        let mut lines = tap.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MOST_LINES {
            lines.push(TappedLine { channel: channel.to_owned(), line: line.trim_end().to_owned() });
        }
    });
}
