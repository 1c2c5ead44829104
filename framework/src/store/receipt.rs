//! The answer to a writing operation.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};

use tokio::sync::oneshot;

use super::StoreError;

/// Wakes a thread that waits for a receipt.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The answer to a writing operation, once it is committed.
///
/// [`Receipt::wait`] blocks the thread; in asynchronous code, `.await` it.
#[derive(Debug)]
#[must_use = "the operation is committed without it, but nobody learns whether that worked"]
pub struct Receipt<V>(oneshot::Receiver<Result<V, StoreError>>);

impl<V> Receipt<V> {
    pub(crate) fn new(receiver: oneshot::Receiver<Result<V, StoreError>>) -> Self {
        Self(receiver)
    }

    /// The answer to an operation that has failed before it was one.
    pub(crate) fn failed(error: StoreError) -> Self {
        let (answer, receiver) = oneshot::channel();
        // Its receiver is here.
        let _ = answer.send(Err(error));
        Self(receiver)
    }

    /// Waits for the commit.
    ///
    /// # Errors
    ///
    /// When the operation or its commit failed; then nothing of it is in the store.
    pub fn wait(self) -> Result<V, StoreError> {
        // Not `blocking_recv`, which panics on a thread of a runtime: a run that is dropped unfinished in asynchronous
        // code commits there. Unconstrained, because a task that waits here gives nothing back to its runtime.
        let mut receiver = pin!(tokio::task::unconstrained(self.0));
        let waker = Arc::new(Unpark(thread::current())).into();
        let mut context = Context::from_waker(&waker);
        loop {
            match receiver.as_mut().poll(&mut context) {
                Poll::Ready(answer) => return answer.unwrap_or(Err(StoreError::Closed)),
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl<V: Send + 'static> IntoFuture for Receipt<V> {
    type Output = Result<V, StoreError>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.0.await.unwrap_or(Err(StoreError::Closed)) })
    }
}
