//! `switchboard store`: check, copy and move the store of a data folder.
//!
//! These commands open the store themselves, beside a running host or without one: a host does not start on a damaged
//! store, and a copy of a large one should not go through it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;
use switchboard::clock::Clock;
use switchboard::config::{Config, StoreConfig};
use switchboard::error::Chain;
use switchboard::store::{self, Timestamp};

use crate::command::Reply;
use crate::exit::{CommandFailed, FAILED};
use crate::{control, people};

#[derive(Subcommand)]
pub(crate) enum Store {
    /// Look for damage and for records that contradict each other; exit code 1 when there are any
    Check,
    /// Make a copy in a new file, also while a host runs
    Backup {
        /// The new file; a host is started on it when it is put in the place of switchboard.db
        file: PathBuf,
    },
    /// Write everything to a new file that another version or engine can import. Its secrets are sealed: whoever imports it
    /// needs the file of keys as well
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
    let config = match control::store_of_environment() {
        Some(config) => config,
        None => Config::load_with(data, control::variables()).map_err(failed)?.store,
    };
    match command {
        Store::Check => check(&config, data),
        Store::Backup { file } => backup(&config, data, file),
        Store::Export { file } => export(&config, data, file),
        Store::Import { file } => import(&config, data, file),
    }
}

fn check(config: &StoreConfig, data: &Path) -> Result<Reply> {
    let store = store::open_to_read(config, data).map_err(failed)?;
    let found = store.check().map_err(failed)?;
    if !found.is_empty() {
        let remedy = format!(
            "when the store is damaged, stop every host and put a backup in the place of {}; records that contradict each \
             other are a fault of Switchboard and worth a report",
            place(config, data)
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

/// Names the store for people.
fn place(config: &StoreConfig, data: &Path) -> String {
    match config.url {
        None => format!("`{}`", data.join("switchboard.db").display()),
        Some(_) => "the database".to_owned(),
    }
}

fn backup(config: &StoreConfig, data: &Path, file: &Path) -> Result<Reply> {
    store::open_to_read(config, data).map_err(failed)?.backup(file).map_err(failed)?;
    let bytes = std::fs::metadata(file)?.len();
    let text = format!("copied the store to {}, {bytes} bytes", file.display());
    Reply::new(json!({ "file": file, "bytes": bytes }), text)
}

fn export(config: &StoreConfig, data: &Path, file: &Path) -> Result<Reply> {
    let now = Timestamp(Clock::system().now());
    let store = store::open_to_read(config, data).map_err(failed)?;
    let records = store::export(&*store, file, now).map_err(failed)?;
    let secrets = "its secrets are sealed, and need the file of keys where it is imported";
    let text = format!("exported {records} records to {}: {secrets}", file.display());
    Reply::new(json!({ "file": file, "records": records, "has_secrets": true }), text)
}

fn import(config: &StoreConfig, data: &Path, file: &Path) -> Result<Reply> {
    std::fs::create_dir_all(data)?;
    let store = store::open(config, data).map_err(failed)?;
    let records = store::import(&*store, file).map_err(failed)?;
    store.close();
    people::audit_command(data, &people::who(), &("store.import", format!("file {}", file.display())))?;
    let text = format!("imported {records} records into {}", place(config, data));
    Reply::new(json!({ "records": records }), text)
}

fn failed(error: impl std::error::Error + 'static) -> anyhow::Error {
    CommandFailed { code: FAILED, message: Chain(&error).to_string() }.into()
}
