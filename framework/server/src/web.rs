//! The administrator's pages, and what every request passes before it reaches one.
//!
//! A request comes through [`server`] (limits of connections, heads and time), [`gate`] (host, origin, headers of the
//! answer), and [`dispatch`] (who asks, whether that one may, the body), to the function that [`routes`] names for it. Such
//! a function is synchronous and runs on a thread for blocking work. One that changes something returns what it changed,
//! and the dispatch writes that into the audit log, so that no change is left out.

mod access;
mod answer;
mod api;
mod assets;
mod cx;
mod dispatch;
mod form;
mod gate;
mod layout;
mod limiter;
mod pages;
mod routes;
mod server;
mod setup;
mod show;
mod stream;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use switchboard::Switchboard;
use tokio::sync::Semaphore;

use crate::accounts::Accounts;

pub(crate) use gate::{address_problem, url};
pub(crate) use server::serve;
pub(crate) use tls::Tls;

/// What all requests share.
pub(crate) struct App {
    pub(crate) host: Arc<Switchboard>,
    pub(crate) accounts: Accounts,
    gate: gate::Gate,
    limiter: limiter::Limiter,
    assets: assets::Assets,
    setup: setup::Setup,
    rate: api::Rate,
    streams: Arc<Semaphore>,
    /// How often whoever follows a log is looked at again.
    look_again: Duration,
    /// How long whoever reads an answer may take for one piece of it.
    slowest_piece: Duration,
    /// One plugin may be on its way to the host at a time.
    uploads: Arc<Semaphore>,
    tls: Option<Tls>,
}

/// That time, where no test shortens it.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

impl App {
    /// Puts the application together for a server at `address`.
    pub(crate) fn new(host: &Arc<Switchboard>, address: SocketAddr, tls: Option<Tls>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            host: Arc::clone(host),
            accounts: Accounts::open(host.data())?,
            gate: gate::Gate::new(&host.config().http, address),
            limiter: limiter::Limiter::default(),
            assets: assets::Assets::new(),
            setup: setup::Setup::default(),
            rate: api::Rate::new(host.config().http.api_calls_per_second),
            streams: Arc::new(Semaphore::new(stream::MOST_STREAMS)),
            look_again: LOOK_AGAIN,
            slowest_piece: stream::SLOWEST_PIECE,
            uploads: Arc::new(Semaphore::new(1)),
            tls,
        }))
    }

    /// Returns a link with which the first user can be made, when there is none yet. It is good once, until the process
    /// ends.
    pub(crate) fn setup_link(&self, address: SocketAddr) -> Result<Option<String>> {
        if self.accounts.has_users()? {
            return Ok(None);
        }
        Ok(Some(format!("{}/setup?token={}", url(&self.host.config().http, address), self.setup.open()?)))
    }
}

#[cfg(test)]
mod tests;
