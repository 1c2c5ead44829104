//! The host program that is killed, and what it has said.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// A line of the host program. Which says what is in `bin/crash_host.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Whether this is the weakened build.
    Begun(bool),
    /// The host is open.
    Ready,
    /// The task of this number was accepted with this id; whether it was known.
    Accepted(u64, i64, bool),
    /// The task of this number was refused.
    Refused(u64),
    /// The handler of the task of this number was called.
    Effect(u64),
    /// A run of this task has ended in this state.
    Ended(i64, String),
    /// The host has stopped.
    Stopped,
}

impl Line {
    /// Reads a line.
    #[must_use]
    pub fn read(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["B", weakened] => Self::Begun(weakened.parse().unwrap()),
            ["R"] => Self::Ready,
            ["A", number, id, known] => {
                Self::Accepted(number.parse().unwrap(), id.parse().unwrap(), known.parse().unwrap())
            }
            ["X", number] => Self::Refused(number.parse().unwrap()),
            ["E", number] => Self::Effect(number.parse().unwrap()),
            ["D", id, state] => Self::Ended(id.parse().unwrap(), state.to_owned()),
            ["S"] => Self::Stopped,
            _ => panic!("no line of the host program: `{line}`"),
        }
    }
}

/// The running host program.
pub struct CrashHost {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: std::sync::mpsc::Receiver<Line>,
}

impl CrashHost {
    /// Returns a call of the host program: `work`, `drain` or `store`.
    #[must_use]
    pub fn command(program: &Path, folder: &Path, mode: &str, seed: u64, first: u64) -> Command {
        let mut command = Command::new(program);
        command.arg(folder).arg(mode).arg(seed.to_string()).arg(first.to_string());
        command
    }

    /// Starts it.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        // It ends with the process, whose end closes its output.
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if sender.send(Line::read(&line.unwrap())).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines }
    }

    /// Returns its next line; `None` when it says nothing for so long, or has ended.
    #[must_use]
    pub fn next(&self, patience: Duration) -> Option<Line> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Returns whether it has ended; it may have said something that has not been heard.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Asks it to stop.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Kills it as `kill -9` does, and returns what it had said before.
    #[must_use]
    pub fn kill(mut self) -> Vec<Line> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }

    /// Waits until it ends by itself, and returns the rest of what it said.
    #[must_use]
    pub fn wait(mut self) -> Vec<Line> {
        let lines = self.lines.iter().collect();
        assert!(self.child.wait().unwrap().success(), "the host program failed");
        lines
    }
}

impl Drop for CrashHost {
    fn drop(&mut self) {
        // Ended already in a test that goes well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
