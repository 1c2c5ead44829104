//! Answers that come piece by piece.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::StatusCode;
use axum::response::Response;
use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc;

use super::App;
use super::answer::{self, Problem};

/// Most answers of this kind at a time: each holds a thread.
pub(super) const MOST_STREAMS: usize = 32;
/// How many pieces wait for a slow reader.
const WAITING_PIECES: usize = 8;

struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Makes an answer of the pieces that `write` sends. It is called with a function that waits for a slow reader, and is
/// false when the reader went away.
pub(crate) fn stream(
    app: &Arc<App>,
    content_type: &'static str,
    write: impl FnOnce(&dyn Fn(Vec<u8>) -> bool) + Send + 'static,
) -> Result<Response, Problem> {
    let busy = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{MOST_STREAMS} logs are followed or downloaded already."),
            "Close another one.",
        )
    };
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| busy())?;
    let (sender, receiver) = mpsc::channel::<Bytes>(WAITING_PIECES);
    let thread = std::thread::Builder::new().name("switchboard-stream".into()).spawn(move || {
        write(&|piece| sender.blocking_send(piece.into()).is_ok());
        drop(permit);
    });
    thread.map_err(|error| Problem::failed(&error))?;
    Ok(answer::response(StatusCode::OK, content_type, axum::body::Body::new(Pieces(receiver))))
}
