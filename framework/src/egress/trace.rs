//! How far a request has come: noted while it is under way, and what its deadline is just then.
//!
//! The client has one future for lookup, connection and handshake, and may spawn that future when another connection
//! becomes free first. So the places that know a phase has begun (the resolver, the connector, TLS) note it for the request
//! in whose task they are polled, and note nothing when there is none.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a request has met on its way, also when it failed: as far as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// The headers as they were sent, with the values of those that hold secrets replaced by `***`.
    pub request_headers: Vec<(String, String)>,
    /// All addresses of the name; empty for an address in the URL and for a connection that was there already.
    pub resolved: Vec<IpAddr>,
    /// The address that was connected to: the receiver's, or the proxy's where there is one.
    pub remote: Option<SocketAddr>,
    /// The proxy as `host:port`, when one is set.
    pub proxy: Option<String>,
    /// Whether the connection was there already. Then it has no times of its own.
    pub reused: bool,
    /// The HTTP version of the response: `HTTP/1.1` or `HTTP/2.0`.
    pub http_version: Option<&'static str>,
    /// What TLS told about the receiver; also when its certificate was refused.
    pub tls: Option<TlsPeer>,
    /// How long each phase took.
    pub timings: Timings,
}

/// What the TLS handshake showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsPeer {
    /// `TLSv1.2` or `TLSv1.3`; `None` when the handshake did not come so far.
    pub version: Option<&'static str>,
    /// When the receiver's certificate expires, in seconds since the Unix epoch; `None` when it cannot be read.
    pub expires_at: Option<i64>,
}

/// How long each phase took; `None` for one that did not happen or did not end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// The lookup of the name.
    pub dns: Option<Duration>,
    /// The connection, including what a proxy needs to make it.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the connection to the head of the response; interim responses (1xx) are not it.
    pub first_byte: Option<Duration>,
    /// Everything, from the call to the last byte or to the failure.
    pub total: Duration,
}

/// The longest each phase may take. The timeout of the whole request holds as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// The lookup of the name. Default 5 s.
    pub dns: Duration,
    /// The connection. Default 5 s.
    pub connect: Duration,
    /// The TLS handshake. Default 5 s.
    pub tls: Duration,
    /// From the connection to the head of the response. Default 60 s.
    pub first_byte: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { dns: seconds(5), connect: seconds(5), tls: seconds(5), first_byte: seconds(60) }
    }
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Dns,
    Connect,
    Tls,
    /// Waits for the head of the response, also for a connection that is there already.
    Head,
    Body,
}

/// A request under way.
pub(super) struct Progress {
    deadlines: Deadlines,
    /// The port of the URL, for rules about ports.
    pub(super) port: u16,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    since: Instant,
    trace: Trace,
    /// Both ends of the connection that was made for this request.
    made: Option<(SocketAddr, SocketAddr)>,
}

tokio::task_local! {
    static CURRENT: Arc<Progress>;
}

/// Runs `future` with `progress` as the place where its phases are noted.
pub(super) fn scope<F: Future>(progress: Arc<Progress>, future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(progress, future)
}

/// Returns the request in whose task the caller is polled.
pub(super) fn current() -> Option<Arc<Progress>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Notes that a phase begins, and how long the former one took.
pub(super) fn enter(phase: Phase) {
    if let Some(progress) = current() {
        progress.enter(phase);
    }
}

/// Changes what is noted about TLS.
pub(super) fn note_tls(change: impl FnOnce(&mut TlsPeer)) {
    if let Some(progress) = current() {
        change(progress.lock().trace.tls.get_or_insert_default());
    }
}

impl Progress {
    pub(super) fn new(deadlines: Deadlines, port: u16, trace: Trace, now: Instant) -> Self {
        Self { deadlines, port, state: Mutex::new(State { phase: Phase::Head, since: now, trace, made: None }) }
    }

    pub(super) fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        let now = Instant::now();
        let (left, took) = (state.phase, now - state.since);
        let timings = &mut state.trace.timings;
        match (left, phase) {
            (Phase::Dns, _) => timings.dns = Some(took),
            // The connector enters the phase, and the resolver tells it that the lookup belongs to it.
            (Phase::Connect, Phase::Dns) => {}
            (Phase::Connect, _) => timings.connect = Some(took),
            (Phase::Tls, _) => timings.tls = Some(took),
            (Phase::Head, Phase::Body) => timings.first_byte = Some(took),
            _ => {}
        }
        state.phase = phase;
        state.since = now;
    }

    /// Notes the addresses of the name.
    pub(super) fn resolved(&self, addresses: &[IpAddr]) {
        self.lock().trace.resolved = addresses.to_vec();
    }

    /// Notes a connection that was made for this request and returns what TLS told about it.
    pub(super) fn connected(&self, local: SocketAddr, remote: SocketAddr) -> Option<TlsPeer> {
        self.enter(Phase::Head);
        let mut state = self.lock();
        state.made = Some((local, remote));
        state.trace.remote = Some(remote);
        state.trace.tls
    }

    /// Notes the head of the response, and whether the connection it came over was there already; `known` is what TLS
    /// told then.
    pub(super) fn answered(
        &self,
        version: &'static str,
        ends: Option<(SocketAddr, SocketAddr)>,
        known: Option<TlsPeer>,
    ) {
        self.enter(Phase::Body);
        let mut state = self.lock();
        state.trace.http_version = Some(version);
        let Some(ends) = ends else { return };
        if state.made != Some(ends) {
            // A connection may have been begun before another became free; its times are not this request's.
            let first_byte = state.trace.timings.first_byte;
            state.trace.timings = Timings { first_byte, ..Timings::default() };
            state.trace.resolved.clear();
            state.trace.reused = true;
            state.trace.tls = known;
        }
        state.trace.remote = Some(ends.1);
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Returns how long the present phase may take and when that is over; `None` for the body.
    pub(super) fn deadline(&self) -> Option<(Instant, Duration)> {
        let state = self.lock();
        let limit = match state.phase {
            Phase::Dns => self.deadlines.dns,
            Phase::Connect => self.deadlines.connect,
            Phase::Tls => self.deadlines.tls,
            Phase::Head => self.deadlines.first_byte,
            Phase::Body => return None,
        };
        Some((state.since.checked_add(limit)?, limit))
    }

    /// Returns what was noted, when the request has taken `total`.
    pub(super) fn trace(&self, total: Duration) -> Trace {
        let mut trace = self.lock().trace.clone();
        trace.timings.total = total;
        trace
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
