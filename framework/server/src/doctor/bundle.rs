//! A file for whoever helps: what the doctor finds, versions, settings without passwords, plugins, and the last lines of the
//! host's own logs. No payload, no body and no secret is in it, and it is text, so that it can be read before it is sent.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use log::Level;
use serde_json::{Value, json};
use switchboard::channel_log::{Logs, Search};
use switchboard::check;
use switchboard::clock::Clock;
use switchboard::config::Config;
use switchboard::error::Chain;
use switchboard::store::Timestamp;

use super::{Sheet, libraries};
use crate::command::{Command, PluginCommand};
use crate::{control, output};

/// Logs of the host itself. Those of plugins may hold what is nobody else's affair.
const CHANNELS: [&str; 4] = ["Admin", "Deferred", "Plugins", "Webhooks"];
/// Lines of each log.
const LINES: usize = 500;

/// Writes the bundle into a new file that only its owner can read.
pub(super) fn write(data: &Path, sheet: &Sheet, file: &Path) -> Result<()> {
    let bundle = bundle(data, sheet);
    output::new_file(file, |written| {
        serde_json::to_writer_pretty(&mut *written, &bundle)?;
        writeln!(written)
    })
}

fn bundle(data: &Path, sheet: &Sheet) -> Value {
    json!({
        "made_at": Timestamp(Clock::system().now()).to_string(),
        "versions": {
            "switchboard": env!("CARGO_PKG_VERSION"),
            "plugin_api": switchboard::API_VERSION,
            "system": std::env::consts::OS,
            "architecture": std::env::consts::ARCH,
        },
        "findings": sheet.0,
        "settings": settings(data),
        "plugins": plugins(data),
        "logs": logs(data),
    })
}

fn settings(data: &Path) -> Value {
    match Config::origins(data, control::variables()) {
        Ok(values) => json!(values),
        Err(error) => json!({ "error": Chain(&error).to_string() }),
    }
}

/// What the host that runs says of the plugins; where none does, what their files say.
fn plugins(data: &Path) -> Value {
    match control::door(data, Command::Plugin(PluginCommand::List)) {
        Ok(Some(reply)) => return json!({ "of_the_host": reply.json }),
        Ok(None) => {}
        Err(error) => return json!({ "error": format!("{error:#}") }),
    }
    let files = ["plugins", "overrides"].into_iter().flat_map(|folder| libraries(&data.join(folder)));
    let read = |file: std::path::PathBuf| match check::read(&file) {
        Ok((_, manifest)) => json!({ "file": file, "id": manifest.id, "version": manifest.version }),
        Err(refusal) => json!({ "file": file, "refused": refusal.to_string() }),
    };
    json!({ "of_the_files": files.map(read).collect::<Vec<_>>() })
}

/// Returns the last lines of the host's logs, without those for developers: they may hold what is in the events.
fn logs(data: &Path) -> Value {
    let logs = Logs::of(data.join("logs"));
    let lines = |channel: &str| {
        let search =
            Search { channel: Some(channel.into()), level: Some(Level::Info), limit: LINES, ..Search::default() };
        // A channel in which nothing was written yet is none.
        let records = logs.search(&search).unwrap_or_default();
        records.into_iter().map(|one| format!("{} {} {}", one.time, one.level, one.message)).collect::<Vec<_>>()
    };
    CHANNELS.into_iter().map(|channel| (channel.to_owned(), json!(lines(channel)))).collect()
}
