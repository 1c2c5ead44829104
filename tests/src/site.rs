//! A data folder of its own, the command line on it, and a host that runs on it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{library, switchboard, wait_until};

/// Settings with which tests reach receivers on this machine and see retries soon.
const SETTINGS: &str = "[egress]
allow = [\"127.0.0.0/8\"]

[deferred]
schedule = [\"0s\", \"50ms\", \"100ms\", \"200ms\", \"1h\"]
";

/// A data folder. It goes when it is dropped.
pub struct Site {
    folder: TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

fn command_on(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(switchboard());
    command.arg("--data").arg(data).args(arguments).env_remove("SWITCHBOARD_DATA");
    command
}

impl Output {
    fn of(mut command: Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read its input may be gone already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            signal: output.status.signal(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Reads standard output as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Checks that the command succeeded.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Checks that the command failed with this code, and with one line on standard error that contains each of the
    /// texts.
    #[track_caller]
    pub fn refused(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "more than one sentence: {self:?}");
        for text in texts {
            assert!(self.stderr.contains(text), "`{text}` is not in {self:?}");
        }
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// Makes a data folder with settings for tests and no plugins.
    #[must_use]
    pub fn new() -> Self {
        let site = Self { folder: TempDir::new().unwrap() };
        fs::create_dir(site.plugins()).unwrap();
        site.settings(SETTINGS);
        site
    }

    /// Makes a data folder with these plugins.
    #[must_use]
    pub fn with(plugins: &[&str]) -> Self {
        let site = Self::new();
        plugins.iter().for_each(|plugin| drop(site.install(plugin)));
        site
    }

    /// Returns the data folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the plugin folder.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        self.path().join("plugins")
    }

    /// Replaces the settings.
    pub fn settings(&self, toml: &str) {
        fs::write(self.path().join("switchboard.toml"), toml).unwrap();
    }

    /// Gives another site the file of keys, as a backup holds it.
    pub fn copy_keys(&self, other: &Self) {
        let file = |site: &Self| site.path().join("keys").join("secrets.keys");
        let text = fs::read(file(self)).unwrap();
        fs::create_dir_all(other.path().join("keys")).unwrap();
        // Of an existing file the rights stay as they are.
        fs::copy(file(self), file(other)).unwrap();
        assert_eq!(fs::read(file(other)).unwrap(), text);
    }

    /// Copies a built plugin library into the plugin folder, and returns the copy.
    pub fn install(&self, plugin: &str) -> PathBuf {
        let library = library(plugin);
        let copy = self.plugins().join(library.file_name().unwrap());
        fs::copy(library, &copy).unwrap();
        copy
    }

    /// Returns a command on this data folder.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        command_on(self.path(), arguments)
    }

    /// Runs a command on some data folder to its end.
    #[must_use]
    pub fn run_on(data: &Path, arguments: &[&str]) -> Output {
        Output::of(command_on(data, arguments), "")
    }

    /// Runs a command to its end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "")
    }

    /// Runs a command to its end with text on its standard input.
    #[must_use]
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        Output::of(self.command(arguments), input)
    }

    /// Runs a command to its end with an environment variable.
    #[must_use]
    pub fn run_with(&self, variable: &str, value: &str, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.env(variable, value);
        Output::of(command, "")
    }

    /// Runs a command that has to succeed and print JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = [&["--json"], arguments].concat();
        self.run(&arguments).ok().json()
    }

    /// Adds a webhook and returns its id.
    #[track_caller]
    pub fn add_webhook(&self, owner: i64, url: &str, method: &str, more: &[&str]) -> i64 {
        let owner = owner.to_string();
        let arguments = ["webhook", "add", "--owner", &owner, "--url", url, "--method", method];
        self.json(&[&arguments[..], more].concat())["id"].as_i64().unwrap()
    }

    /// Starts a host on the folder and waits until it is ready.
    #[must_use]
    pub fn serve(&self) -> Serving {
        self.serve_with(|_| {})
    }

    /// Starts a host whose command was changed before, and waits until it is ready.
    #[must_use]
    pub fn serve_with(&self, change: impl FnOnce(&mut Command)) -> Serving {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        change(&mut command);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        if !line.contains("ready on") {
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            panic!("serve did not start: {line}{stderr}");
        }
        let address = line.trim().rsplit("://").next().unwrap().to_owned();
        Serving { child, address, _stdout: stdout }
    }

    /// Returns the text of a channel's log; empty when there is none.
    #[must_use]
    pub fn log(&self, channel: &str) -> String {
        fs::read_to_string(self.path().join("logs").join(format!("{channel}.application.log"))).unwrap_or_default()
    }

    /// Waits until a log contains a text.
    #[track_caller]
    pub fn wait_for_log(&self, channel: &str, text: &str) {
        wait_until(&format!("the log {channel} says `{text}`"), || self.log(channel).contains(text));
    }
}

/// A running `switchboard serve`. It is killed when dropped.
pub struct Serving {
    child: Child,
    /// Address of its HTTP server.
    pub address: String,
    /// Kept, so that what it prints has somewhere to go.
    _stdout: BufReader<std::process::ChildStdout>,
}

impl Serving {
    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Asks it to stop as a service manager does, and waits for its end.
    #[must_use]
    pub fn terminate(self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end.
    #[must_use]
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Already ended in the tests that end it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
