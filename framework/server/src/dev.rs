//! `switchboard plugin dev`: builds a plugin crate, places its library into the data folder, and does so again whenever
//! its sources change.
//!
//! A host that runs on the data folder takes the library up; where none runs, this command is the host for as long as it
//! runs. What the plugin writes into the channel logs is shown as it comes. A crate that does not compile changes nothing:
//! the version before it goes on.

mod build;
mod logs;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use switchboard::store::{self, StoreOpenError};
use switchboard::{OpenError, Switchboard};

use crate::command::{self, Command, PluginCommand};
use crate::control::{self, OpenDoor};
use crate::{output, serve};
use build::{Build, Built};
use logs::Tail;
use sources::Sources;

/// How often the sources and the logs are looked at. A look costs a few microseconds per file.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the command line says.
#[derive(Args)]
pub(crate) struct Dev {
    /// Folder of the plugin's crate
    dir: PathBuf,
    /// Build with optimisations
    #[arg(long)]
    release: bool,
}

/// Works until it is told to stop.
pub(crate) fn run(dev: Dev, data: &Path, json: bool) -> Result<ExitCode> {
    let crate_folder = build::crate_folder(&dev.dir)?;
    let (stop, stopped) = channel();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.spawn(async move { told_to_stop(&stop).await });
    fs::create_dir_all(data.join("plugins")).with_context(|| format!("cannot make `{}`", data.display()))?;
    let mut session = Session {
        data: data.to_owned(),
        say: Say { json },
        host: None,
        tail: Tail::new(&data.join("logs")),
        installed: None,
    };
    let ended = session.work(&crate_folder, dev.release, &stopped);
    if let Some(own) = session.host.take() {
        own.stop();
    }
    runtime.shutdown_background();
    ended?;
    session.say.tell("stopped", "stopped; the library stays in the plugin folder", json!({}));
    Ok(ExitCode::SUCCESS)
}

async fn told_to_stop(stop: &Sender<()>) {
    serve::stop_signal().await;
    // Nobody listens any more when the work has ended by itself.
    let _ = stop.send(());
}

/// The host that this command is while no other runs on the folder.
struct OwnHost {
    host: Arc<Switchboard>,
    /// Lets other commands reach it.
    _door: OpenDoor,
}

impl OwnHost {
    fn stop(self) {
        self.host.stop();
    }
}

/// Prints what happens: a line for people, or an object for programs.
#[derive(Clone, Copy)]
struct Say {
    json: bool,
}

impl Say {
    fn tell(self, event: &str, text: &str, mut more: Value) {
        if self.json {
            more["event"] = event.into();
            output::line(&more.to_string());
        } else {
            output::line(text);
        }
    }
}

struct Session {
    data: PathBuf,
    say: Say,
    host: Option<OwnHost>,
    tail: Tail,
    /// The library in the plugin folder, once there is one.
    installed: Option<PathBuf>,
}

impl Session {
    fn work(&mut self, crate_folder: &Path, release: bool, stopped: &Receiver<()>) -> Result<()> {
        self.ensure_host(true)?;
        let mut sources = Sources::of(crate_folder);
        loop {
            // The state of the sources before the build: what changes meanwhile is built again.
            sources.remember();
            let name = crate_folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.say.tell("building", &format!("building {name}"), json!({ "crate": crate_folder }));
            let mut build = Build::start(crate_folder, release)?;
            let built = loop {
                if let Some(built) = build.poll()? {
                    break built;
                }
                if self.pause(stopped)? {
                    return Ok(());
                }
            };
            match built {
                Built::Library(library) => self.install(&library)?,
                Built::Failed => {
                    let goes_on = if self.installed.is_some() { "; the version before it goes on" } else { "" };
                    let text = format!("cannot be built{goes_on}; it is tried again when a file changes");
                    self.say.tell("failed", &text, json!({}));
                }
            }
            sources.look_again();
            while !sources.have_changed() {
                if self.pause(stopped)? {
                    return Ok(());
                }
            }
        }
    }

    /// Shows what the plugin has logged, and waits a moment; true when it is time to stop.
    fn pause(&mut self, stopped: &Receiver<()>) -> Result<bool> {
        for (channel, line) in self.tail.new_lines() {
            self.say.tell("log", &format!("{channel} | {line}"), json!({ "channel": channel, "line": line }));
        }
        self.ensure_host(false)?;
        // Whoever sends the signal is gone only when the process is.
        Ok(!matches!(stopped.recv_timeout(LOOK_EVERY), Err(RecvTimeoutError::Timeout)))
    }

    /// Becomes the host of the folder when there is none.
    fn ensure_host(&mut self, first: bool) -> Result<()> {
        if self.host.is_some() {
            return Ok(());
        }
        if let Some(pid) = store::holder(&self.data) {
            if first {
                let text = format!("the host with pid {pid} runs on {} and takes the plugin up", self.data.display());
                self.say.tell("host", &text, json!({ "pid": pid, "own": false }));
            }
            return Ok(());
        }
        match control::host(&self.data).open() {
            Ok(host) => {
                let host = Arc::new(host);
                let text = format!("no host runs on {}: this command is one until it ends", self.data.display());
                self.say.tell("host", &text, json!({ "pid": std::process::id(), "own": true }));
                self.host = Some(OwnHost { _door: OpenDoor::open(&host)?, host });
                Ok(())
            }
            // Another command was quicker; it holds the folder for a moment, or is a host.
            Err(OpenError::Store { source: StoreOpenError::InUse { .. } }) => Ok(()),
            Err(error) => Err(control::open_failed(error)),
        }
    }

    /// Places a library into the plugin folder and tells what the host makes of it.
    fn install(&mut self, library: &Path) -> Result<()> {
        let name = library.file_name().unwrap_or_default();
        let place = self.data.join("plugins").join(name);
        let bytes = fs::read(library).with_context(|| format!("cannot read `{}`", library.display()))?;
        if self.installed.is_some() && fs::read(&place).is_ok_and(|there| there == bytes) {
            self.say.tell("unchanged", "built: the library is the same as before", json!({}));
            return Ok(());
        }
        // Under another name until it is whole: a host looks at libraries only.
        let unfinished = place.with_extension("part");
        let written = fs::write(&unfinished, &bytes).and_then(|()| fs::rename(&unfinished, &place));
        written.with_context(|| format!("cannot write `{}`", place.display()))?;
        self.installed = Some(place.clone());
        let reply = match &self.host {
            Some(own) => command::execute(&own.host, Command::Plugin(PluginCommand::Rescan))?,
            None => control::perform(&self.data, Command::Plugin(PluginCommand::Rescan))?,
        };
        let plugins = reply.json["plugins"].as_array().cloned().unwrap_or_default();
        let file = |plugin: &&Value| plugin["file"].as_str().is_some_and(|file| same_file(Path::new(file), &place));
        match plugins.iter().find(file) {
            Some(plugin) => self.verdict(plugin),
            None => self.say.tell("refused", "the host does not see the library", json!({ "file": place })),
        }
        Ok(())
    }

    fn verdict(&mut self, plugin: &Value) {
        let text = |key: &str| plugin[key].as_str().unwrap_or("-").to_owned();
        if let Some(id) = plugin["id"].as_str() {
            self.tail.follow(id);
        }
        let event = match (plugin["reason"].as_str(), plugin["state"].as_str()) {
            (None, _) => "active",
            (Some(_), Some("active")) => "old_goes_on",
            (Some(_), _) => "refused",
        };
        let line = match event {
            "active" => format!("active: {} {} with {} handlers", text("id"), text("version"), plugin["triggers"]),
            "refused" => format!("refused: {}", text("reason")),
            _ => format!("refused, the version before it goes on: {}", text("reason")),
        };
        self.say.tell(event, &line, json!({ "plugin": plugin }));
    }
}

fn same_file(left: &Path, right: &Path) -> bool {
    left == right || matches!((left.canonicalize(), right.canonicalize()), (Ok(left), Ok(right)) if left == right)
}
