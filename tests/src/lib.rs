//! What the end-to-end tests share: built artifacts, data folders, running hosts and receivers.
//!
//! Everything here is for tests: a failure panics and says what was expected.
#![expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "helpers of tests panic to fail them")]

mod artifacts;
pub mod bench;
mod browser;
mod crash;
mod crowd;
mod database;
mod deliveries;
mod faulty;
mod http;
mod power;
mod receiver;
mod released;
mod site;

pub use artifacts::{cargo, crash_host, example, inner_target, library, switchboard, weakened_crash_host};
pub use browser::{Browser, has_browser, pictures};
pub use crash::{CrashHost, Line};
pub use crowd::Crowd;
#[cfg(unix)]
pub use crowd::open_files;
pub use database::Database;
pub use deliveries::{of_attempts, task_of, webhooks_of};
pub use faulty::{FaultyDisk, has_faulty_disk};
pub use http::{Answered, Client};
pub use power::{Disk, Happening, Unsynced, read_journal};
pub use receiver::{Answer, Receiver, Request, nobody};
pub use released::{RELEASES, assets, released, say_skipped};
pub use site::{Output, Serving, Site};

use std::time::{Duration, Instant};

/// Returns whether an environment variable says that a tool has to be there, so that nothing is skipped without it.
#[must_use]
pub fn is_required(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// Longest wait for a condition. Only a broken build waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, looking again and again.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// The README's code, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The code of the guide for plugin authors, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-plugins.md")]
pub struct WritingPlugins;

/// The code of the guide for host applications, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
pub struct Embedding;
