//! `switchboard serve`: the host, until it is told to stop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use switchboard::{PluginState, Switchboard};
use tokio::sync::watch;

use crate::control::{self, OpenDoor};
use crate::exit::{self, CommandFailed};
use crate::{output, service, web};

/// How long a stop waits for requests to the HTTP server that go on.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Where the HTTP server listens when nothing else is said.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7320);

/// Runs the host on `data` with its HTTP server on `listen`, or where the settings say.
pub(crate) fn run(data: &Path, listen: Option<SocketAddr>, safe_mode: bool) -> Result<ExitCode> {
    output::keep_from_plugins();
    let host = Arc::new(control::host(data).safe_mode(safe_mode).open().map_err(control::open_failed)?);
    let listen = listen.or(host.config().http.listen).unwrap_or(LISTEN);
    if let Some(message) = web::address_problem(&host.config().http, listen) {
        return Err(CommandFailed { code: exit::USAGE, message }.into());
    }
    let tls = web::Tls::open(&host.config().http, host.data())
        .map_err(|error| CommandFailed { code: exit::USAGE, message: switchboard::error::Chain(&error).to_string() })?;
    raise_open_files(host.config().deferred.concurrency);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (stop, stopped) = watch::channel(false);
    // Heard from here on, before anybody learns that the host is ready, so that none falls between two listeners. Where
    // that cannot be, a signal's own effect remains: the process ends.
    let entered = runtime.enter();
    if let Ok(signals) = Signals::listen() {
        runtime.spawn(heed(signals, stop.clone()));
    }
    drop(entered);
    let served = runtime.block_on(serve(&host, listen, tls, stopped));
    host.stop();
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// Lets the process have as many files open as its deliveries need, as far as its administrator allows that; says so when
/// that is too few.
#[cfg(unix)]
fn raise_open_files(deliveries: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// Libraries, logs, the store, and callers.
    const OTHERS: u64 = 256;
    let needed = u64::try_from(deliveries).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return;
    }
    let allowed = limit.maximum.map_or(needed, |maximum| needed.min(maximum));
    // Without the right to raise it, what there was stays.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum });
    let now = if raised.is_ok() { allowed } else { limit.current.unwrap_or(allowed) };
    if now < needed {
        output::note(&format!(
            "`deferred.concurrency` is {deliveries}, but the process may have only {now} files open: raise the limit \
             (`ulimit -n`, or `LimitNOFILE=` of the service) to {needed}"
        ));
    }
}

#[cfg(not(unix))]
fn raise_open_files(_deliveries: usize) {}

async fn serve(
    host: &Arc<Switchboard>,
    listen: SocketAddr,
    tls: Option<web::Tls>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let busy = || format!("cannot listen on {listen}: name a free address with --listen, such as 127.0.0.1:0");
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(busy)?;
    let address = listener.local_addr().with_context(busy)?;
    host.listens(address.port());
    let app = web::App::new(host, address, tls)?;
    let url = web::url(&host.config().http, address);
    host.set_pages(url.clone());
    let door = OpenDoor::open(host)?;
    greet(host, &url, address);
    let told = tokio::spawn(service::keep_told(Arc::clone(host), url));
    if let Some(link) = app.setup_link(address)? {
        output::line(&format!("set up the first user: {link}"));
    }
    let (mut asked, stop) = (stopped.clone(), stopped);
    tokio::select! {
        () = web::serve(app, listener, stop) => {}
        // Requests that go on are given a moment, and the deliveries that go on do not wait for them.
        () = async { drop(asked.wait_for(|stop| *stop).await); tokio::time::sleep(LAST_REQUESTS).await } => {}
    }
    told.abort();
    drop(door);
    Ok(())
}

fn greet(host: &Switchboard, url: &str, address: SocketAddr) {
    let report = host.plugins();
    let active = report.plugins.iter().filter(|plugin| plugin.state == PluginState::Active).count();
    output::line(&format!("switchboard is ready on {url}"));
    output::line(&format!("data folder: {}", host.data().display()));
    output::line(&format!("plugins: {active} active in {}", host.data().join("plugins").display()));
    if address.ip().is_unspecified() && host.config().http.hosts.is_empty() {
        output::note(&format!(
            "it listens on {address}, and answers only under {url}: name it in `hosts` in the section [http] of \
             switchboard.toml as others reach it, such as switchboard.example:{}",
            address.port()
        ));
    }
    let held = report.plugins.iter().filter(|plugin| plugin.state == PluginState::Held).count();
    if held > 0 {
        output::note(&format!("safe mode: {held} plugins are not opened, and their tasks wait"));
    }
    for plugin in &report.plugins {
        let word = match plugin.state {
            PluginState::Held | PluginState::Disabled => continue,
            PluginState::Waiting => "waiting",
            _ => "refused",
        };
        if let Some(reason) = &plugin.reason {
            output::note(&format!("{word} {}: {reason}", plugin.file.display()));
        }
    }
    for collision in &report.collisions {
        output::note(&format!("collision: {collision}"));
    }
    for suspension in &report.suspended {
        output::note(&format!("suspended: {suspension}"));
    }
}

/// Notes from now on when the process is asked to stop; the future ends then.
pub(crate) fn stop_signal() -> impl Future<Output = ()> {
    let signals = Signals::listen();
    async move {
        match signals {
            Ok(mut signals) => signals.next().await,
            Err(_) => std::future::pending().await,
        }
    }
}

/// Asks the host to stop at the first signal, and ends the process at the second: what was running is found at the next
/// start.
async fn heed(mut signals: Signals, stop: watch::Sender<bool>) {
    signals.next().await;
    output::note("stopping: running deliveries end first; press Ctrl-C again to stop at once");
    service::stopping();
    stop.send_replace(true);
    signals.next().await;
    output::note("stopped at once: what was running is tried again at the next start");
    std::process::exit(exit::FAILED.into());
}

/// The signals that ask a process to stop.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        let _ = self.0.recv().await;
    }
}
