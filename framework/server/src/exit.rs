//! Exit codes. They are part of the command line's contract; the help of `switchboard` lists them.

use std::process::ExitCode;

use anyhow::Error;

/// The command failed: files, store, network, another host.
pub(crate) const FAILED: u8 = 1;
/// The command line or what it named cannot be used.
pub(crate) const USAGE: u8 = 2;
/// `emit --wait`, `delivery replay --wait`: not everything was delivered. `demo`: the table does not add up.
pub(crate) const NOT_DELIVERED: u8 = 3;
/// There is no such webhook, task, attempt, handler or log.
pub(crate) const MISSING: u8 = 4;

/// The table for the help text.
pub(crate) const HELP: &str = "Environment:
  SWITCHBOARD_DATA       the data folder
  SWITCHBOARD_LOG_MODE   log.mode, and so every setting of switchboard.toml: the environment wins
  SWITCHBOARD_STORE_URL  a PostgreSQL database for the store, in place of the file in the data folder

Exit codes:
  0  done
  1  failed: files, store, network, another host in the way, or a damaged store (store check)
  2  the command line, or something that it names, cannot be used
  3  not everything was delivered (emit --wait, delivery replay --wait, demo); a plugin crashed (plugin check)
  4  there is no such webhook, task, attempt, handler or log; a plugin took too long (plugin check)";

/// `plugin check`: a process in which the plugin was checked ended before the check did.
pub(crate) const CRASHED: u8 = 3;
/// `plugin check`: a check took longer than it may.
pub(crate) const TIMED_OUT: u8 = 4;

/// An error with its exit code and its whole text, as it comes from the host that did the command.
#[derive(Debug)]
pub(crate) struct CommandFailed {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl std::fmt::Display for CommandFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CommandFailed {}

pub(crate) fn code_of(error: &Error) -> ExitCode {
    ExitCode::from(error.downcast_ref::<CommandFailed>().map_or(FAILED, |failed| failed.code))
}
