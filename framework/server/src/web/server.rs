//! The HTTP server: connections, their limits, and their end.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use super::{App, api, gate, routes};

/// Most connections at a time; the others wait to be accepted.
const MOST_CONNECTIONS: usize = 512;
/// How long the head of a request may take to arrive, also on a connection that is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a client may read nothing of an answer that waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Pause when the system has no room for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is told to stop; requests that go on then are waited for.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let router = router(Arc::clone(&app));
    let (room, ending) = (Arc::new(Semaphore::new(MOST_CONNECTIONS)), GracefulShutdown::new());
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let stream = patient(stream, WRITE_TIMEOUT);
        let tls = app.tls.as_ref().map(|tls| TlsAcceptor::from(tls.config(app.host.log())));
        let (router, watcher) = (router.clone(), ending.watcher());
        tokio::spawn(async move {
            match tls {
                None => converse(stream, peer, router, watcher).await,
                Some(tls) => {
                    // One that does not get through it, as whoever speaks plain HTTP, is its client's affair.
                    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
                        converse(stream, peer, router, watcher).await;
                    }
                }
            }
            drop(permit);
        });
    }
    ending.shutdown().await;
}

/// Lets writing to a connection fail when the other side reads nothing for so long.
fn patient<S: AsyncRead + AsyncWrite>(stream: S, patience: Duration) -> Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience));
    Box::pin(stream)
}

/// Answers the requests of one connection.
async fn converse<S>(stream: S, peer: SocketAddr, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // A connection that breaks is its client's affair.
    let _ = watcher.watch(connection).await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are small and whole; waiting to fill a packet only delays them.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, permit))
        }
        Err(_) => {
            // One that went away, or too many open files: it passes.
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

pub(super) fn router(app: Arc<App>) -> Router {
    routes::router().layer(middleware::from_fn_with_state(Arc::clone(&app), guard)).with_state(app)
}

async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let answer = match app.gate.refuse(&request) {
        Some(refusal) if api::is_its(request.uri().path()) => api::refusal(refusal.status()),
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    gate::add_headers(answer)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn a_client_that_reads_nothing_of_its_answer_loses_its_connection() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (server, _client) = tokio::io::duplex(16);
            let mut server = patient(server, Duration::from_millis(1));
            server.write_all(b"short").await.unwrap();
            let refused = server.write_all(&[b'x'; 64]).await.unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut);
        });
    }
}
