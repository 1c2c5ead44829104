//! Answers that come piece by piece.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::Response;
use hyper::body::{Body, Bytes, Frame};
use switchboard::channel_log::LogFile;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::App;
use super::answer::{self, Problem};
use super::dispatch::CHANNEL;

/// Most answers of this kind at a time: each holds a thread.
pub(super) const MOST_STREAMS: usize = 32;
/// How many pieces wait for a slow reader.
const WAITING_PIECES: usize = 8;

/// How long a reader may take for one piece, where no test shortens it. Whoever reads more slowly gives up its place.
pub(super) const SLOWEST_PIECE: Duration = Duration::from_secs(60);

struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    /// Whether all of them were sent.
    whole: Arc<AtomicBool>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None if self.whole.load(Ordering::Acquire) => None,
            // The connection breaks off, so that nobody takes a part for the whole.
            None => Some(Err(io::Error::other("the answer was cut off"))),
        })
    }
}

/// Makes an answer of the pieces that `write` sends. It is called with a function that waits for a slow reader, and is
/// false when the reader went away or is too slow. The answer is whole when `write` succeeds, and breaks off otherwise.
pub(crate) fn stream(
    app: &Arc<App>,
    content_type: &'static str,
    write: impl FnOnce(&dyn Fn(Vec<u8>) -> bool) -> io::Result<()> + Send + 'static,
) -> Result<Response, Problem> {
    let busy = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{MOST_STREAMS} logs are followed or downloaded already."),
            "Close another one.",
        )
    };
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| busy())?;
    let (sender, pieces) = mpsc::channel::<Bytes>(WAITING_PIECES);
    let whole = Arc::new(AtomicBool::new(false));
    let body = Pieces { pieces, whole: Arc::clone(&whole) };
    let (app, runtime) = (Arc::clone(app), Handle::current());
    let thread = std::thread::Builder::new().name("switchboard-stream".into()).spawn(move || {
        let taken = |piece: Vec<u8>| {
            let sending = async { tokio::time::timeout(app.slowest_piece, sender.send(piece.into())).await };
            matches!(runtime.block_on(sending), Ok(Ok(())))
        };
        match write(&taken) {
            Ok(()) => whole.store(true, Ordering::Release),
            Err(error) => log::error!(logger: app.host.log(), target: CHANNEL, error = error.to_string();
                "an answer breaks off"),
        }
        drop(permit);
    });
    thread.map_err(|error| Problem::failed(&error))?;
    Ok(answer::response(StatusCode::OK, content_type, axum::body::Body::new(body)))
}

/// How much of a file is sent at once.
const PIECE: usize = 64 << 10;

/// Sends a file of a log as one to be kept.
pub(super) fn stream_log(app: &Arc<App>, listed: &LogFile, mut file: File) -> Result<Response, Problem> {
    let mut answer = stream(app, "text/plain; charset=utf-8", move |send| {
        loop {
            let mut piece = vec![0; PIECE];
            match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
                Ok(length) => piece.truncate(length),
            }
            if !send(piece) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    })?;
    // A channel is letters, digits, `_` and `-`.
    let name = format!("attachment; filename=\"{}.application.log\"", listed.channel);
    let name = HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("attachment"));
    answer.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(answer)
}
