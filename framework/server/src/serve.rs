//! `switchboard serve`: the host, until it is told to stop.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use switchboard::{PluginState, Switchboard};

use crate::control::{self, OpenDoor};
use crate::{exit, output};

/// Runs the host on `data` with its HTTP server on `listen`.
pub(crate) fn run(data: &Path, listen: SocketAddr) -> Result<ExitCode> {
    output::keep_from_plugins();
    let host = Arc::new(Switchboard::open(data).map_err(control::open_failed)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let served = runtime.block_on(serve(&host, listen));
    if served.is_ok() {
        output::note("stopping: running deliveries end first; press Ctrl-C again to stop at once");
    }
    // A second signal ends the process here and now; what was running is found at the next start.
    runtime.spawn(async {
        stop_signal().await;
        std::process::exit(exit::FAILED.into());
    });
    host.stop();
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(host: &Arc<Switchboard>, listen: SocketAddr) -> Result<()> {
    let busy = || format!("cannot listen on {listen}: name a free address with --listen, such as 127.0.0.1:0");
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(busy)?;
    let address = listener.local_addr().with_context(busy)?;
    let door = OpenDoor::open(host)?;
    // Before anybody learns that the host is ready: a signal that comes sooner would end it without its stop.
    let stopped = stop_signal();
    greet(host, address);
    let pages = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Arc::clone(host));
    let served = axum::serve(listener, pages).with_graceful_shutdown(stopped).await;
    drop(door);
    served.context("the HTTP server failed")
}

async fn ready(State(host): State<Arc<Switchboard>>) -> (StatusCode, &'static str) {
    let answers = tokio::task::spawn_blocking(move || host.tasks().counts().is_ok()).await;
    match answers {
        Ok(true) => (StatusCode::OK, "ok\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"),
    }
}

fn greet(host: &Switchboard, address: SocketAddr) {
    let report = host.plugins();
    let active = report.plugins.iter().filter(|plugin| plugin.state == PluginState::Active).count();
    output::line(&format!("switchboard is ready on http://{address}"));
    output::line(&format!("data folder: {}", host.data().display()));
    output::line(&format!("plugins: {active} active in {}", host.data().join("plugins").display()));
    for refused in report.plugins.iter().filter(|plugin| plugin.reason.is_some()) {
        let reason = refused.reason.as_deref().unwrap_or_default();
        output::note(&format!("refused {}: {reason}", refused.file.display()));
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
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        async move {
            // Without a handler the signal's own effect remains: the process ends.
            let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
                return std::future::pending().await;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
    }
    #[cfg(not(unix))]
    async {
        let _ = tokio::signal::ctrl_c().await;
    }
}
