//! How a command reaches the host that has the data folder.
//!
//! A running `serve` listens on a loopback port of its own for one JSON command a connection, each with the token from
//! `control.json` in the data folder, a file that only its owner can read. Without a running host, the command opens the
//! folder itself.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use switchboard::config::StoreConfig;
use switchboard::store::{self, StoreOpenError};
use switchboard::{OpenError, Switchboard, SwitchboardBuilder, WorkOn};

use crate::command::{self, Command, Reply};
use crate::exit::{self, CommandFailed};
use crate::{output, people};

/// How long a command waits for a folder that another command holds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks at a folder in use.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest request, in bytes: an event at its limit, escaped, with room to spare.
const MAX_REQUEST_BYTES: u64 = 4 << 20;

/// What `control.json` holds.
#[derive(Serialize, Deserialize)]
struct Door {
    pid: u32,
    address: SocketAddr,
    token: String,
}

#[derive(Serialize, Deserialize)]
struct Request {
    token: String,
    /// Who gives the command, for the audit log.
    by: String,
    command: Command,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Done(Reply),
    Failed { code: u8, message: String },
}

/// Does a command: through the host that has the folder, or on the folder itself.
pub(crate) fn perform(data: &Path, command: Command) -> Result<Reply> {
    output::keep_from_plugins();
    let deadline = Instant::now() + PATIENCE;
    let work_on = if command.waits() { WorkOn::OwnAnnouncements } else { WorkOn::Nothing };
    loop {
        if let Some(door) = open_door(data)? {
            return door.send(command);
        }
        match host(data).work_on(work_on).watch(false).safe_mode(!command.opens_plugins()).open() {
            Ok(host) => return execute(&host, &people::who(), command),
            Err(OpenError::Store { source: StoreOpenError::InUse { .. } }) if Instant::now() < deadline => {
                std::thread::park_timeout(PAUSE);
            }
            Err(error) => return Err(open_failed(error)),
        }
    }
}

/// Does a command, and writes what it changed into the audit log.
fn execute(host: &Switchboard, by: &str, command: Command) -> Result<Reply> {
    let change = command.change();
    let reply = command::execute(host, command)?;
    if let Some(change) = change {
        people::audit_command(host.data(), by, &command::with_id(change, &reply))?;
    }
    Ok(reply)
}

/// Lets the host that has the folder do a command; `None` when none takes commands there.
pub(crate) fn door(data: &Path, command: Command) -> Result<Option<Reply>> {
    open_door(data)?.map(|door| door.send(command)).transpose()
}

/// Whether a host has the folder and takes commands.
pub(crate) fn answers(data: &Path) -> bool {
    open_door(data).ok().flatten().is_some_and(|door| TcpStream::connect(door.address).is_ok())
}

/// Returns the variables of the environment that are text.
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Returns a builder for a host on the data folder, with the store that the environment names.
pub(crate) fn host(data: &Path) -> SwitchboardBuilder {
    let builder = Switchboard::builder(data).environment(variables());
    match store_of_environment() {
        Some(store) => builder.store(store),
        None => builder,
    }
}

/// Returns the store that the environment names in place of the one in the configuration.
pub(crate) fn store_of_environment() -> Option<StoreConfig> {
    let url = std::env::var("SWITCHBOARD_STORE_URL").ok()?;
    (!url.is_empty()).then(|| StoreConfig::at(url))
}

/// Turns an error of opening into one with an exit code.
pub(crate) fn open_failed(error: OpenError) -> anyhow::Error {
    let code = if matches!(error, OpenError::Config { .. }) { exit::USAGE } else { exit::FAILED };
    CommandFailed { code, message: switchboard::error::Chain(&error).to_string() }.into()
}

/// Returns the door of the host that has the folder, when there is one.
fn open_door(data: &Path) -> Result<Option<Door>> {
    let Some(pid) = store::holder(data) else { return Ok(None) };
    let path = door_path(data);
    let text = match fs::read(&path) {
        Ok(text) => text,
        // It is starting or stopping, or is a program that has no door.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    };
    let door: Option<Door> = serde_json::from_slice(&text).ok();
    // A door of another process is left over from a host that was killed.
    Ok(door.filter(|door| door.pid == pid))
}

fn door_path(data: &Path) -> PathBuf {
    data.join("control.json")
}

impl Door {
    fn send(self, command: Command) -> Result<Reply> {
        let lost = || format!("the host with pid {} does not answer: is it stopping?", self.pid);
        let mut stream = TcpStream::connect(self.address).with_context(lost)?;
        let mut request = serde_json::to_vec(&Request { token: self.token.clone(), by: people::who(), command })?;
        request.push(b'\n');
        stream.write_all(&request).with_context(lost)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(lost)?;
        match serde_json::from_str(&answer).with_context(lost)? {
            Answer::Done(reply) => Ok(reply),
            Answer::Failed { code, message } => Err(CommandFailed { code, message }.into()),
        }
    }
}

/// The open door of a running host; it closes when dropped.
pub(crate) struct OpenDoor {
    path: PathBuf,
}

impl OpenDoor {
    /// Opens the door of `host`.
    pub(crate) fn open(host: &Arc<Switchboard>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on a loopback port for commands")?;
        let address = listener.local_addr().context("cannot listen on a loopback port for commands")?;
        host.listens(address.port());
        let token = random_token()?;
        let path = door_path(host.data());
        let door = Door { pid: std::process::id(), address, token: token.clone() };
        write_private(&path, &serde_json::to_vec(&door)?)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        let host = Arc::downgrade(host);
        std::thread::Builder::new()
            .name("switchboard-control".into())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    let Some(host) = host.upgrade() else { return };
                    let token = token.clone();
                    let answering = std::thread::Builder::new().name("switchboard-command".into());
                    // Without a thread the connection is closed, which the caller reports.
                    let _ = answering.spawn(move || answer(&host, &token, stream));
                }
            })
            .context("cannot start a thread for commands")?;
        Ok(Self { path })
    }
}

impl Drop for OpenDoor {
    fn drop(&mut self) {
        // Left over, it names a process that does not hold the folder, and is ignored.
        let _ = fs::remove_file(&self.path);
    }
}

fn answer(host: &Switchboard, token: &str, mut stream: TcpStream) {
    let answer = match read_request(&stream, token) {
        Ok((by, command)) => match execute(host, &by, command) {
            Ok(reply) => Answer::Done(reply),
            Err(error) => {
                let code = error.downcast_ref::<CommandFailed>().map_or(exit::FAILED, |failed| failed.code);
                Answer::Failed { code, message: format!("{error:#}") }
            }
        },
        Err(error) => Answer::Failed { code: exit::FAILED, message: format!("{error:#}") },
    };
    if let Ok(bytes) = serde_json::to_vec(&answer) {
        // A caller that went away does not need its answer.
        let _ = stream.write_all(&bytes);
    }
}

fn read_request(stream: &TcpStream, token: &str) -> Result<(String, Command)> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_REQUEST_BYTES)).read_until(b'\n', &mut line)?;
    let request: Request = serde_json::from_slice(&line).map_err(|error| anyhow!("not a command: {error}"))?;
    if !same(request.token.as_bytes(), token.as_bytes()) {
        return Err(anyhow!("the token is not that of this host"));
    }
    Ok((request.by, request.command))
}

/// Compares without telling by its time how much was right.
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn random_token() -> Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let unfinished = path.with_extension("json.part");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&unfinished)?.write_all(bytes)?;
    fs::rename(unfinished, path)
}
