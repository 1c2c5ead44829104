//! How runs are told to end before their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Why a run is interrupted when the host stops.
pub(super) const STOPPED: &str = "the host stopped while the attempt was made";

/// Why it is when the host has lost its database.
const LOST: &str = "the host could not reach its database for too long while the attempt was made";

/// What runs are told.
#[derive(Clone, Copy, Default)]
struct State {
    /// How often this host was lost. What was started before ends, what is started after it goes on.
    lost: u64,
    /// The host stops and can wait no longer.
    stopped: bool,
}

/// The engine's side.
pub(super) struct Halt {
    state: watch::Sender<State>,
    /// Asks the synchronous handlers that run now to return.
    cancelled: Arc<AtomicBool>,
}

impl Halt {
    pub(super) fn new() -> Self {
        Self { state: watch::channel(State::default()).0, cancelled: Arc::default() }
    }

    /// Returns the side of a run that begins now.
    pub(super) fn signal(&self) -> Signal {
        let state = self.state.subscribe();
        let lost = state.borrow().lost;
        Signal { state, lost, cancelled: Arc::clone(&self.cancelled) }
    }

    /// Ends every run that goes on now; the next ones are not concerned.
    pub(super) fn lose(&mut self) {
        self.state.send_modify(|state| state.lost += 1);
        self.cancelled.store(true, Ordering::Relaxed);
        self.cancelled = Arc::default();
    }

    /// Ends every run for good.
    pub(super) fn stop(&self) {
        self.state.send_modify(|state| state.stopped = true);
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// The side of one run.
pub(super) struct Signal {
    state: watch::Receiver<State>,
    /// How often the host had been lost when it began.
    lost: u64,
    cancelled: Arc<AtomicBool>,
}

impl Signal {
    /// Returns what a synchronous handler looks at now and then.
    pub(super) fn cancelled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancelled)
    }

    /// Returns whether a synchronous handler has been asked to return.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Returns when the run has to end, with the reason for people.
    pub(super) async fn ended(&mut self) -> &'static str {
        let lost = self.lost;
        // Without an engine the host has stopped as well.
        drop(self.state.wait_for(|state| state.stopped || state.lost > lost).await);
        self.why()
    }

    /// Returns why it has to end.
    pub(super) fn why(&self) -> &'static str {
        let state = *self.state.borrow();
        if state.lost > self.lost && !state.stopped { LOST } else { STOPPED }
    }

    /// Returns whether nobody waits for its end to be written.
    pub(super) fn is_stopped(&self) -> bool {
        self.state.borrow().stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_ends_what_runs_and_not_what_begins_after_it() {
        let mut halt = Halt::new();
        let mut before = halt.signal();
        halt.lose();
        let mut after = halt.signal();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert!(before.ended().await.contains("database"));
            halt.stop();
            assert!(after.ended().await.contains("stopped"));
        });
        assert!(before.cancelled().load(Ordering::Relaxed) && after.cancelled().load(Ordering::Relaxed));
        assert!(after.is_stopped());
    }
}
