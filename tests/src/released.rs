//! Libraries and hosts that were built from earlier versions of plugin-api and are kept as they were.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Site;

/// Every version of plugin-api of which something is kept. A test compares them with the folders.
pub const RELEASES: &[&str] = &["1.0"];

/// The platform whose files are kept.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Returns the folder of what was kept of a version.
#[must_use]
pub fn assets(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(format!("api-{version}"))
}

/// Returns a kept file, `libreleased.so` or `host`. `None`, and a line that says so, on another platform than theirs.
#[must_use]
pub fn released(version: &str, file: &str) -> Option<PathBuf> {
    if cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) {
        return Some(assets(version).join(PLATFORM).join(file));
    }
    say_skipped(&format!("the files of plugin-api {version} are for {PLATFORM}"));
    None
}

/// Tells whoever runs the tests that one of them does nothing here, past the runner, which hides what a test that passes
/// prints.
pub fn say_skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

impl Site {
    /// Makes a data folder with the plugin of an earlier version. `None` where there is none for this platform.
    #[must_use]
    pub fn with_released(version: &str) -> Option<Self> {
        let library = released(version, "libreleased.so")?;
        let site = Self::new();
        fs::copy(library, site.plugins().join("libreleased.so")).unwrap();
        Some(site)
    }
}
