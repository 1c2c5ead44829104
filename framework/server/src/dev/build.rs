//! One build of a plugin crate, by cargo.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::cli::usage;

/// What came of a build.
pub(super) enum Built {
    Library(PathBuf),
    /// Cargo has said why.
    Failed,
}

/// Returns the folder of a crate, absolute.
pub(super) fn crate_folder(dir: &Path) -> Result<PathBuf> {
    if !dir.join("Cargo.toml").is_file() {
        let message = "is no folder of a crate: name one with a Cargo.toml, or make one with `switchboard plugin new`";
        return Err(usage(format!("`{}` {message}", dir.display())));
    }
    dir.canonicalize().with_context(|| format!("cannot use `{}`", dir.display()))
}

/// Returns a call of cargo: the one that runs this program, else the one on the path.
pub(super) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A build that goes on. It ends with this value.
pub(super) struct Build {
    cargo: Child,
    /// Reads cargo's messages for programs and finds the library in them.
    library: Option<JoinHandle<Option<PathBuf>>>,
}

impl Build {
    /// Starts a build. What cargo and the compiler say goes to standard error.
    pub(super) fn start(crate_folder: &Path, release: bool) -> Result<Self> {
        let mut command = cargo();
        command.args(["build", "--lib", "--message-format=json-render-diagnostics"]);
        if release {
            command.arg("--release");
        }
        command.current_dir(crate_folder).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut cargo = command.spawn().context("cannot start `cargo`: is Rust installed and on the path?")?;
        let stdout = cargo.stdout.take().ok_or_else(|| anyhow!("cargo has no output"))?;
        let manifest = crate_folder.join("Cargo.toml");
        let library = std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.filter_map(|line| library_in(&line, &manifest)).last()
        });
        Ok(Self { cargo, library: Some(library) })
    }

    /// Returns what came of the build; `None` as long as it goes on.
    ///
    /// # Errors
    ///
    /// When the crate builds and makes no library that a host could load.
    pub(super) fn poll(&mut self) -> Result<Option<Built>> {
        let Some(status) = self.cargo.try_wait().context("cannot wait for `cargo`")? else { return Ok(None) };
        let library = self.library.take().and_then(|reader| reader.join().ok()).flatten();
        match library {
            _ if !status.success() => Ok(Some(Built::Failed)),
            Some(library) => Ok(Some(Built::Library(library))),
            None => Err(usage(
                "the crate makes no library for a host: write `crate-type = [\"cdylib\"]` under `[lib]` in its Cargo.toml"
                    .into(),
            )),
        }
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        // It has ended already, unless this command was told to stop.
        let _ = self.cargo.kill();
        let _ = self.cargo.wait();
    }
}

/// Returns the library that a message of cargo tells of, if it is that of the crate.
fn library_in(message: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let of_crate = message["reason"] == "compiler-artifact"
        && message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
        && message["target"]["kind"].as_array()?.iter().any(|kind| kind == "cdylib");
    if !of_crate {
        return None;
    }
    let extension = std::env::consts::DLL_EXTENSION;
    let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str).map(PathBuf::from);
    files.into_iter().find(|file| file.extension().is_some_and(|found| found == extension))
}
