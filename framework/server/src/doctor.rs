//! `switchboard doctor`: looks at everything that a host needs, and says what to do about what is not well.
//!
//! Nothing is changed and no plugin is opened, so it may run beside a host, and where one does not start.

mod bundle;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use switchboard::channel_log::printable;
use switchboard::config::Config;
use switchboard::egress::{Egress, Request};
use switchboard::error::Chain;
use switchboard::language::Languages;
use switchboard::{check, store};

use crate::{control, output, web};

/// Free space below which a host is in danger, and below which it will not go on for long, in bytes.
const LITTLE_SPACE: u64 = 1 << 30;
const NO_SPACE: u64 = 100 << 20;
/// How far a file may have been written in the future, in seconds: clocks of shares differ a little.
const SLACK_SECONDS: u64 = 300;
/// Longest time for the request to --reach.
const REACH_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Args)]
pub(crate) struct Doctor {
    /// Also send a GET to this URL, as a delivery would be sent
    #[arg(long, value_name = "URL")]
    reach: Option<String>,
    /// Also write all of it with versions, settings, plugins and the last lines of the logs into a new file, for whoever helps;
    /// no payload and no secret is in it
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Well,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    found: String,
    /// What to do about it.
    remedy: Option<String>,
}

/// Collects what is found.
#[derive(Default)]
struct Sheet(Vec<Finding>);

impl Sheet {
    fn well(&mut self, what: &'static str, found: impl Into<String>) {
        self.0.push(Finding { what, state: State::Well, found: found.into(), remedy: None });
    }

    fn warn(&mut self, what: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { what, state: State::Warn, found: found.into(), remedy: Some(remedy.into()) });
    }

    fn fail(&mut self, what: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { what, state: State::Fail, found: found.into(), remedy: Some(remedy.into()) });
    }
}

/// Looks at everything and prints the findings; exit code 1 when something keeps a host from working.
pub(crate) fn run(data: &Path, doctor: &Doctor, json: bool) -> Result<ExitCode> {
    let mut sheet = Sheet::default();
    let there = folder(&mut sheet, data);
    host(&mut sheet, data);
    let config = match Config::load_with(data, control::variables()) {
        Ok(config) => {
            sheet.well(
                "configuration",
                format!("{} mode, level {}", config.log.mode.as_str(), config.log.effective_level()),
            );
            config
        }
        Err(error) => {
            sheet.fail("configuration", Chain(&error).to_string(), "correct that line; a host does not start with it");
            Config::default()
        }
    };
    if there {
        rights(&mut sheet, data);
        self::store(&mut sheet, data, &config);
        clock(&mut sheet, data);
        disk(&mut sheet, data);
        plugins(&mut sheet, data);
        languages(&mut sheet, data, &config);
    }
    https(&mut sheet, data, &config);
    open_files(&mut sheet, &config);
    egress(&mut sheet, &config, doctor.reach.as_deref());
    if let Some(file) = &doctor.bundle {
        bundle::write(data, &sheet, file)?;
    }
    let worst = sheet.0.iter().map(|finding| finding.state).max();
    if json {
        output::json(&json!({ "well": worst != Some(State::Fail), "findings": sheet.0 }))?;
    } else {
        sheet.0.iter().for_each(print);
        let count = |state| sheet.0.iter().filter(|finding| finding.state == state).count();
        let (well, warn, fail) = (count(State::Well), count(State::Warn), count(State::Fail));
        output::line(&format!("{well} well, {warn} worth a look, {fail} to be put right"));
        if let Some(file) = &doctor.bundle {
            output::line(&format!("the bundle is in {}: read it before you send it", file.display()));
        }
    }
    Ok(ExitCode::from(if worst == Some(State::Fail) { crate::exit::FAILED } else { 0 }))
}

fn print(finding: &Finding) {
    let mark = match finding.state {
        State::Well => "well",
        State::Warn => "WARN",
        State::Fail => "FAIL",
    };
    output::line(&format!("{mark}  {}: {}", finding.what, printable(&finding.found)));
    if let Some(remedy) = &finding.remedy {
        output::line(&format!("      {}", printable(remedy)));
    }
}

fn folder(sheet: &mut Sheet, data: &Path) -> bool {
    let shown = std::path::absolute(data).unwrap_or_else(|_| data.to_owned()).display().to_string();
    match data.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let remedy = "`switchboard serve` makes it; name another with --data DIR or SWITCHBOARD_DATA";
            sheet.warn("data folder", format!("there is no {shown}"), remedy);
            false
        }
        Err(error) => {
            sheet.fail("data folder", format!("{shown} cannot be used: {error}"), "check its owner and rights");
            false
        }
        Ok(metadata) if !metadata.is_dir() => {
            sheet.fail("data folder", format!("{shown} is no folder"), "name a folder with --data DIR");
            false
        }
        Ok(_) => {
            match tempfile::tempfile_in(data) {
                Ok(_) => sheet.well("data folder", shown),
                Err(error) => sheet.fail(
                    "data folder",
                    format!("nothing can be written into {shown}: {error}"),
                    "run the command as the user of the host, or `chown` the folder to it",
                ),
            }
            true
        }
    }
}

fn host(sheet: &mut Sheet, data: &Path) {
    match store::holder(data) {
        None => sheet.well("host", "none runs on the folder"),
        Some(pid) if control::answers(data) => sheet.well("host", format!("the host with pid {pid} answers")),
        Some(pid) => sheet.warn(
            "host",
            format!("pid {pid} has the folder and takes no commands"),
            "it is starting or stopping, or is a program that takes none: wait, or stop it",
        ),
    }
}

/// Whoever can write where libraries are taken from can do everything that the host can.
#[cfg(unix)]
fn rights(sheet: &mut Sheet, data: &Path) {
    use std::os::unix::fs::MetadataExt;
    let mode = |path: &Path| path.metadata().ok().map(|metadata| metadata.mode() & 0o7777);
    let mut well = true;
    for folder in [data.to_owned(), data.join("plugins"), data.join("overrides")] {
        if mode(&folder).is_some_and(|mode| mode & 0o002 != 0) {
            well = false;
            let found = format!("everybody may write into {}", folder.display());
            sheet.fail("rights", found, format!("chmod o-w '{}'", folder.display()));
        } else if mode(&folder).is_some_and(|mode| mode & 0o020 != 0) {
            well = false;
            let found = format!("the group may write into {}, and so run code as the host", folder.display());
            sheet.warn("rights", found, format!("chmod g-w '{}', unless the group is trusted", folder.display()));
        }
    }
    let private = ["switchboard.toml", "switchboard.db", "server.db", "control.json", "keys/secrets.keys"];
    for file in private.map(|name| data.join(name)) {
        if mode(&file).is_some_and(|mode| mode & 0o004 != 0) {
            well = false;
            let found = format!("everybody may read {}, which can hold passwords", file.display());
            sheet.warn("rights", found, format!("chmod o-r '{}'", file.display()));
        }
    }
    if well {
        sheet.well("rights", "nobody else may write plugins or read passwords");
    }
}

#[cfg(not(unix))]
fn rights(_sheet: &mut Sheet, _data: &Path) {}

fn store(sheet: &mut Sheet, data: &Path, config: &Config) {
    let wanted = control::store_of_environment().unwrap_or_else(|| config.store.clone());
    if wanted.url.is_none() && !data.join("switchboard.db").exists() {
        sheet.well("store", "none yet: the first start makes it");
        return;
    }
    let counted = store::open_to_read(&wanted, data).map_err(|error| Chain(&error).to_string());
    let counted = counted.and_then(|store| store.task_counts().map_err(|error| Chain(&error).to_string()));
    match counted {
        Ok(counts) => {
            let (open, dead) = (counts.ready + counts.running + counts.waiting, counts.dead);
            sheet.well("store", format!("{open} tasks to do, {dead} dead; `switchboard store check` looks for damage"));
        }
        Err(error) => sheet.fail("store", error, "`switchboard store check` says more; a backup takes its place"),
    }
}

/// A clock that was set back lets tasks wait, and one that is wrong makes receivers refuse signatures.
fn clock(sheet: &mut Sheet, data: &Path) {
    let Ok(probe) = tempfile::NamedTempFile::new_in(data) else { return };
    let Some(now) = probe.as_file().metadata().ok().and_then(|metadata| metadata.modified().ok()) else { return };
    let logs = std::fs::read_dir(data.join("logs")).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = logs.chain(["switchboard.db", "switchboard.db-wal", "switchboard.toml"].map(|name| data.join(name)));
    let ahead = files.filter_map(|file| {
        let ahead = file.metadata().ok()?.modified().ok()?.duration_since(now).ok()?;
        (ahead.as_secs() > SLACK_SECONDS).then_some((ahead, file))
    });
    match ahead.max() {
        None => {
            sheet.well("clock", switchboard::store::Timestamp(switchboard::clock::Clock::system().now()).to_string())
        }
        Some((ahead, file)) => sheet.warn(
            "clock",
            format!("{} was written {} s in the future: the clock was set back", file.display(), ahead.as_secs()),
            "let a time service set the clock; receivers refuse signatures of another time",
        ),
    }
}

#[cfg(unix)]
fn disk(sheet: &mut Sheet, data: &Path) {
    let Ok(space) = rustix::fs::statvfs(data) else { return };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let found = format!("{} MiB free", free >> 20);
    let remedy = "make room, or let less be kept: `retention.done`, `log.keep`";
    match free {
        free if free < NO_SPACE => sheet.fail("disk", found, remedy),
        free if free < LITTLE_SPACE => sheet.warn("disk", found, remedy),
        _ => sheet.well("disk", found),
    }
}

#[cfg(not(unix))]
fn disk(_sheet: &mut Sheet, _data: &Path) {}

fn plugins(sheet: &mut Sheet, data: &Path) {
    let mut well = 0;
    for folder in ["plugins", "overrides"].map(|name| data.join(name)) {
        for file in libraries(&folder) {
            match check::read(&file) {
                Ok(_) => well += 1,
                Err(refusal) => sheet.fail(
                    "plugins",
                    format!("{} is refused: {refusal}", file.display()),
                    format!("`switchboard plugin check '{}'` says more", file.display()),
                ),
            }
        }
    }
    sheet.well("plugins", format!("{well} libraries can be used as far as their files tell; `plugin list` opens them"));
}

/// Returns the libraries in a folder and one level down.
fn libraries(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let is_library = |path: &PathBuf| path.extension().is_some_and(|end| end == std::env::consts::DLL_EXTENSION);
    let (found, others): (Vec<_>, Vec<_>) = entries(folder).into_iter().partition(is_library);
    let inside = others.iter().filter(|path| path.is_dir()).flat_map(|path| entries(path)).filter(is_library);
    found.into_iter().chain(inside).collect()
}

fn languages(sheet: &mut Sheet, data: &Path, config: &Config) {
    let what = "languages";
    let remedy = "correct the file; its other texts are used";
    let languages = match Languages::new(&config.languages.default) {
        Ok(languages) => languages,
        Err(error) => return sheet.fail(what, Chain(&error).to_string(), "correct `languages.default`"),
    };
    match languages.load_overrides(&data.join(what)) {
        Ok(problems) if problems.is_empty() => {
            sheet.well(what, format!("texts fall back to {}", config.languages.default));
        }
        Ok(problems) => problems.iter().for_each(|problem| sheet.warn(what, Chain(problem).to_string(), remedy)),
        Err(error) => sheet.fail(what, Chain(&error).to_string(), "check the folder's rights"),
    }
}

/// Looks at the files with which the server speaks HTTPS.
fn https(sheet: &mut Sheet, data: &Path, config: &Config) {
    let what = "https";
    let remedy = "correct the section [http], or the files that it names: a certificate and its private key in PEM";
    match web::Tls::open(&config.http, data) {
        Ok(None) => {}
        Ok(Some(_)) => sheet.well(what, "the certificate and its key can be used together"),
        Err(error) => sheet.fail(what, Chain(&error).to_string(), remedy),
    }
    #[cfg(unix)]
    if let Some(key) = config.http.tls_key.as_ref().map(|key| data.join(key)) {
        use std::os::unix::fs::PermissionsExt;
        if key.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
            let shown = key.display();
            sheet.warn(what, format!("others than its owner may read the key {shown}"), format!("chmod 600 '{shown}'"));
        }
    }
}

#[cfg(unix)]
fn open_files(sheet: &mut Sheet, config: &Config) {
    use rustix::process::{Resource, getrlimit};
    let (needed, limit) = (config.deferred.concurrency as u64 + 256, getrlimit(Resource::Nofile).maximum);
    match limit.filter(|limit| *limit < needed) {
        None => sheet.well("open files", format!("{needed} are enough for `deferred.concurrency`")),
        Some(limit) => sheet.warn(
            "open files",
            format!("at most {limit}, and `deferred.concurrency` may need {needed}"),
            format!("ulimit -n {needed}, or `LimitNOFILE={needed}` of the service"),
        ),
    }
}

#[cfg(not(unix))]
fn open_files(_sheet: &mut Sheet, _config: &Config) {}

fn egress(sheet: &mut Sheet, config: &Config, reach: Option<&str>) {
    let what = "egress";
    let client = match Egress::new(config.egress.options()) {
        Ok(client) => client,
        Err(error) => {
            let remedy = "install the certificates of the system, such as the package `ca-certificates`";
            return sheet.fail(what, Chain(&error).to_string(), remedy);
        }
    };
    let Some(url) = reach else {
        return sheet.well(what, "the HTTP client can be set up; --reach URL sends a request");
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let sent = runtime.block_on(client.send(Request::new("GET", url, REACH_TIMEOUT)));
    match sent.result {
        Ok(response) => sheet.well(what, format!("{url} answers {}", response.status)),
        Err(error) => {
            let remedy = "the message names the setting, when one forbids it; otherwise ask whoever runs the receiver";
            sheet.fail(what, format!("{url}: {}", Chain(&error)), remedy);
        }
    }
}
