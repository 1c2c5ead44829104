//! Runs one future on the thread of a test.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Longest time without a wake; a scripted answer is ready at once, so only a mistake gets here.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

/// Polls `future` to its end; `None` when it waits for something that never comes.
pub(crate) fn block_on<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        let woken = signal.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = signal.changed.wait_timeout_while(woken, PATIENCE, |woken| !*woken);
        let (mut woken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !*woken {
            return None;
        }
        *woken = false;
    }
}
