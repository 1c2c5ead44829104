//! `switchboard store`: check, copy and move the store of a data folder.
//!
//! These commands open the store themselves, beside a running host or without one: a host does not start on a damaged
//! store, and a copy of a large one should not go through it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;
use switchboard::clock::Clock;
use switchboard::error::Chain;
use switchboard::store::{self, Care, SqliteStore, TaskStore, Timestamp};

use crate::command::Reply;
use crate::exit::{CommandFailed, FAILED};

#[derive(Subcommand)]
pub(crate) enum Store {
    /// Look for damage and for records that contradict each other; exit code 1 when there are any
    Check,
    /// Make a copy in a new file, also while a host runs
    Backup {
        /// The new file; a host is started on it when it is put in the place of switchboard.db
        file: PathBuf,
    },
    /// Write everything to a new file that another version or engine can import. It has the webhooks' secrets in plain
    /// text, and only its owner can read it
    Export {
        /// The new file
        file: PathBuf,
    },
    /// Take everything from an export into a data folder that has no records yet
    Import {
        /// The export
        file: PathBuf,
    },
}

pub(crate) fn run(data: &Path, command: &Store) -> Result<Reply> {
    let path = data.join("switchboard.db");
    match command {
        Store::Check => check(&path),
        Store::Backup { file } => backup(&path, file),
        Store::Export { file } => export(&path, file),
        Store::Import { file } => import(data, &path, file),
    }
}

fn check(path: &Path) -> Result<Reply> {
    let store = open_to_read(path)?;
    let found = store.check().map_err(failed)?;
    if !found.is_empty() {
        let remedy = format!(
            "when the file is damaged, stop the host and put a backup in the place of `{}`; records that contradict each \
             other are a fault of Switchboard and worth a report",
            path.display()
        );
        let text = format!("{}\n{remedy}", found.join("\n"));
        let mut reply = Reply::new(json!({ "well": false, "found": found, "remedy": remedy }), text)?;
        reply.exit = FAILED;
        return Ok(reply);
    }
    let counts = store.task_counts().map_err(failed)?;
    let tasks = counts.ready + counts.running + counts.waiting + counts.done + counts.dead;
    Reply::new(json!({ "well": true, "found": [], "tasks": tasks }), format!("the store is well; it has {tasks} tasks"))
}

fn backup(path: &Path, file: &Path) -> Result<Reply> {
    open_to_read(path)?.backup(file).map_err(failed)?;
    let bytes = std::fs::metadata(file)?.len();
    let text = format!("copied the store to {}, {bytes} bytes", file.display());
    Reply::new(json!({ "file": file, "bytes": bytes }), text)
}

fn export(path: &Path, file: &Path) -> Result<Reply> {
    let now = Timestamp(Clock::system().now());
    let records = store::export(&open_to_read(path)?, file, now).map_err(failed)?;
    let secrets = "it has the webhooks' secrets in plain text, and only its owner can read it";
    let text = format!("exported {records} records to {}: {secrets}", file.display());
    Reply::new(json!({ "file": file, "records": records, "has_secrets": true }), text)
}

fn import(data: &Path, path: &Path, file: &Path) -> Result<Reply> {
    std::fs::create_dir_all(data)?;
    let store = SqliteStore::open(path).map_err(failed)?;
    let records = store::import(&store, file).map_err(failed)?;
    let text = format!("imported {records} records into {}", data.display());
    Reply::new(json!({ "records": records }), text)
}

fn open_to_read(path: &Path) -> Result<SqliteStore> {
    SqliteStore::open_to_read(path).map_err(failed)
}

fn failed(error: impl std::error::Error + 'static) -> anyhow::Error {
    CommandFailed { code: FAILED, message: Chain(&error).to_string() }.into()
}
