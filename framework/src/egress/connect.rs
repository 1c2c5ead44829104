//! Notes when a connection is made, and what TLS told about it.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::{Connection, HttpInfo};
use tower_layer::Layer;
use tower_service::Service;

use super::trace::{self, Phase, TlsPeer};

/// How long a TLS connection that nobody uses is remembered. The pool closes it before.
const REMEMBERED: Duration = Duration::from_secs(120);

/// The two ends of a connection, ours first.
pub(super) type Ends = (SocketAddr, SocketAddr);

/// Reads both ends from what the client tells about a connection.
pub(super) fn ends(extensions: &http::Extensions) -> Option<Ends> {
    let info = extensions.get::<HttpInfo>()?;
    Some((info.local_addr(), info.remote_addr()))
}

/// What TLS told about the connections that are open. The client keeps connections and does not say when it closes one, so
/// an entry is dropped some time after its last use.
#[derive(Default)]
pub(super) struct TlsConnections(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    peers: HashMap<Ends, (TlsPeer, Instant)>,
    /// How many there may be before old ones are looked for.
    look_at: usize,
}

impl TlsConnections {
    /// Returns what TLS told about the connection between `ends`.
    pub(super) fn peer(&self, ends: Ends) -> Option<TlsPeer> {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (peer, used_at) = remembered.peers.get_mut(&ends)?;
        *used_at = Instant::now();
        Some(*peer)
    }

    fn remember(&self, ends: Ends, peer: TlsPeer) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.peers.len() >= remembered.look_at {
            remembered.peers.retain(|_, (_, used_at)| used_at.elapsed() < REMEMBERED);
            remembered.look_at = (2 * remembered.peers.len()).max(64);
        }
        remembered.peers.insert(ends, (peer, Instant::now()));
    }
}

/// Puts [`Noted`] around the client's connector.
#[derive(Clone)]
pub(super) struct NoteConnections(pub(super) std::sync::Arc<TlsConnections>);

impl<S> Layer<S> for NoteConnections {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        Noted { inner, connections: self.0.clone() }
    }
}

/// A connector that notes its phases for the request it works for.
#[derive(Clone)]
pub(super) struct Noted<S> {
    inner: S,
    connections: std::sync::Arc<TlsConnections>,
}

type Failed = Box<dyn Error + Send + Sync>;

impl<S, T> Service<T> for Noted<S>
where
    S: Service<T, Error = Failed>,
    S::Response: Connection,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Failed>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, target: T) -> Self::Future {
        trace::enter(Phase::Connect);
        let connecting = self.inner.call(target);
        let connections = self.connections.clone();
        Box::pin(async move {
            let connection = connecting.await?;
            let mut extensions = http::Extensions::new();
            connection.connected().get_extras(&mut extensions);
            if let (Some(progress), Some(ends)) = (trace::current(), ends(&extensions))
                && let Some(peer) = progress.connected(ends.0, ends.1)
            {
                connections.remember(ends, peer);
            }
            Ok(connection)
        })
    }
}
