//! What a service manager is told: that the host is ready, that it works, that it stops.
//!
//! Without one, which the environment says (`NOTIFY_SOCKET`), nothing is sent anywhere.

use std::sync::Arc;
use std::time::Duration;

use switchboard::Switchboard;

/// How often the status is told when nobody waits for it.
const STATUS_EVERY: Duration = Duration::from_secs(30);

/// Says that the host is ready, and goes on to say that it works, twice as often as the service manager wants to hear it.
/// A host whose store does not answer does not say so, and is started anew.
#[cfg(target_os = "linux")]
pub(crate) async fn keep_told(host: Arc<Switchboard>, url: String) {
    use sd_notify::NotifyState;
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        // Nobody listens, and what the status says would be counted for nothing.
        return;
    }
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("ready on {url}"))]);
    let watchdog = sd_notify::watchdog_enabled();
    let mut ticks = tokio::time::interval(watchdog.map_or(STATUS_EVERY, |longest| longest / 2));
    loop {
        ticks.tick().await;
        let asked = Arc::clone(&host);
        let counts = tokio::task::spawn_blocking(move || asked.tasks().counts()).await;
        if let Ok(Ok(counts)) = counts {
            let open = counts.ready + counts.running + counts.waiting;
            let status = format!("ready on {url}; {open} tasks to do, {} dead", counts.dead);
            tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
        }
    }
}

/// Says that the host stops.
#[cfg(target_os = "linux")]
pub(crate) fn stopping() {
    use sd_notify::NotifyState;
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: running deliveries end first")]);
}

#[cfg(target_os = "linux")]
fn tell(states: &[sd_notify::NotifyState<'_>]) {
    // A service manager that does not listen does not keep the host from working.
    let _ = sd_notify::notify(states);
}

/// There is no such service manager here.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn keep_told(_host: Arc<Switchboard>, _url: String) {
    let () = std::future::pending().await;
}

/// There is no such service manager here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn stopping() {}
