//! Answers that come piece by piece.

use std::fs::File;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::Response;
use hyper::body::{Body, Bytes, Frame};
use switchboard::channel_log::LogFile;
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

/// How much of a file is sent at once.
const PIECE: usize = 64 << 10;

/// Sends a file of a log as one to be kept.
pub(super) fn stream_log(app: &Arc<App>, listed: &LogFile, mut file: File) -> Result<Response, Problem> {
    let mut answer = stream(app, "text/plain; charset=utf-8", move |send| {
        loop {
            let mut piece = vec![0; PIECE];
            match file.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(length) => piece.truncate(length),
            }
            if !send(piece) {
                return;
            }
        }
    })?;
    // A channel is letters, digits, `_` and `-`.
    let name = format!("attachment; filename=\"{}.application.log\"", listed.channel);
    let name = HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("attachment"));
    answer.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(answer)
}
