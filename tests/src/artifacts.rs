//! The binary and the plugin libraries, built once per test program with its own profile: `release` for
//! benches, `dev` for tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();

/// Returns the built file of a target: a binary by its name, a library by its name with underscores.
fn built(target: &str) -> &'static Path {
    let files = BUILT.get_or_init(build);
    files.get(target).unwrap_or_else(|| panic!("cargo has built no `{target}`, only {:?}", files.keys()))
}

/// Returns a call of cargo from inside a test. What the outer cargo says about the tests' own crate is kept from it:
/// build scripts look at those variables and would be run again, with all that depends on them.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Returns the target folder of everything that tests build with a cargo of their own, kept between their runs.
#[must_use]
pub fn inner_target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target").join("authoring")
}

fn build() -> BTreeMap<String, PathBuf> {
    build_with(&mut cargo(), &["--lib", "--bins", "--examples"])
}

/// Builds the whole workspace, as the tests themselves were built: the same features, so nothing is built twice.
fn build_with(cargo: &mut Command, more: &[&str]) -> BTreeMap<String, PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let output = cargo
        .args(["build", "--workspace", "--profile", profile, "--message-format=json-render-diagnostics"])
        .args(more)
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo cannot build the workspace");
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut files = BTreeMap::new();
    for message in messages.filter(|message| message["reason"] == "compiler-artifact") {
        let kinds: Vec<&str> = message["target"]["kind"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let name = message["target"]["name"].as_str().unwrap().replace('-', "_");
        let program = kinds.contains(&"bin") || kinds.contains(&"example");
        let file = if program { message["executable"].as_str() } else { message["filenames"][0].as_str() };
        if program || kinds.contains(&"cdylib") {
            files.insert(name, PathBuf::from(file.unwrap()));
        }
    }
    files
}

/// Returns the binary `switchboard`.
#[must_use]
pub fn switchboard() -> &'static Path {
    built("switchboard")
}

/// Returns the program of an example, such as `own_triggers`.
#[must_use]
pub fn example(name: &str) -> &'static Path {
    built(name)
}

/// Returns the plugin library of a crate, such as `webhook_none` or `fixture_probe`.
#[must_use]
pub fn library(name: &str) -> &'static Path {
    built(name)
}

/// Returns the host program that is killed.
#[must_use]
pub fn crash_host() -> &'static Path {
    built("crash_host")
}

/// Returns the same program with a store that is weakened: it syncs nothing when it is committed.
#[must_use]
pub fn weakened_crash_host() -> &'static Path {
    static WEAKENED: OnceLock<PathBuf> = OnceLock::new();
    WEAKENED.get_or_init(|| {
        let mut cargo = cargo();
        // Only the crates of the workspace are built anew, and nothing takes the place of what is not weakened.
        cargo.env("RUSTC_WORKSPACE_WRAPPER", built("weakening_rustc"));
        let more = ["--features", "switchboard-tests/weakened", "--bin", "crash_host_weakened"];
        let mut files = build_with(&mut cargo, &more);
        files
            .remove("crash_host_weakened")
            .unwrap_or_else(|| panic!("cargo has built no weakened host, only {files:?}"))
    })
}
