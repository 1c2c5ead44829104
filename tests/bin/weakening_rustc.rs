//! A compiler that weakens the store: `rustc` with one more flag, for `RUSTC_WORKSPACE_WRAPPER`.
//!
//! Only a build that goes through it has the weakness. It is no feature of the library, which another crate's could turn
//! on, and nothing that a finished program can be told.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(compiler) = arguments.next() else { return ExitCode::FAILURE };
    let status = Command::new(compiler).args(arguments).args(["--cfg", "switchboard_weakened"]).status();
    match status.map(|status| status.code()) {
        Ok(Some(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        _ => ExitCode::FAILURE,
    }
}
