//! A queue of somebody else's that runs as a program of its own: see `peers`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use switchboard_tests::{cargo, inner_target};

pub(crate) struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// Builds the program and returns where it is.
pub(crate) fn build() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/peers/Cargo.toml");
    let target = inner_target().join("peers");
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target);
    assert!(build.status().unwrap().success(), "the peers cannot be built");
    target.join("release/switchboard-bench-peers")
}

impl Peer {
    pub(crate) fn start(program: &Path, folder: &Path) -> Self {
        let mut command = std::process::Command::new(program);
        let mut child = command.arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// Returns how many tasks go from their acceptance to their end in a second.
    pub(crate) fn produced(&mut self, producers: usize) -> f64 {
        writeln!(self.input.as_ref().unwrap(), "{producers}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends with its input.
        self.input.take();
        let _ = self.child.wait();
    }
}
