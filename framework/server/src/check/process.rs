//! One process for one check: started, watched, killed with all its children, and heard.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use switchboard::check::{self, Check, Finding, Heard, Job, Outcome, Status};
use tempfile::TempDir;

use super::Given;
use crate::cli::usage;

/// Pause between two looks at a running process.
const PAUSE: Duration = Duration::from_millis(2);
/// How much of the standard streams is read, in bytes.
const MAX_STREAM_BYTES: u64 = 1 << 20;
/// What a process may write to one file, in bytes. A report has a line for each call.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// What a process may write to one file, and may take of memory, in bytes.
#[cfg(unix)]
const LIMITS: [(rustix::process::Resource, u64); 3] = [
    (rustix::process::Resource::Core, 0),
    (rustix::process::Resource::Fsize, MAX_FILE_BYTES),
    (rustix::process::Resource::Data, 2 << 30),
];
/// Variables that the process of a check gets. It is the host's environment that a plugin sees, not a person's.
const ENVIRONMENT: &[&str] = &["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SystemRoot", "windir", "TEMP", "TMP"];

/// Where the processes of one library work.
pub(super) struct Workshop {
    folder: TempDir,
    copies: [PathBuf; 2],
    timeout: Duration,
    pub(super) seed: u64,
    pub(super) given: Given,
    pub(super) languages: Option<PathBuf>,
    /// Causes of what was found so far.
    known: Vec<String>,
}

/// How a process ended.
enum End {
    By(ExitStatus),
    Killed,
}

/// Files of one process.
struct Traces {
    report: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Workshop {
    /// Makes private copies of the bytes that were judged.
    pub(super) fn new(library: &[u8], timeout: Duration) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("switchboard-check-").tempdir()?;
        let copies =
            ["first", "second"].map(|name| folder.path().join(name).with_extension(std::env::consts::DLL_EXTENSION));
        for copy in &copies {
            fs::write(copy, library)?;
        }
        Ok(Self { folder, copies, timeout, seed: 0, given: Given::default(), languages: None, known: Vec::new() })
    }

    /// Does one check.
    pub(super) fn perform(&mut self, check: Check) -> Result<Outcome> {
        let mut attempt = self.attempt(check, 0)?;
        if matches!(attempt, Attempt::AskedToBeKilled) {
            attempt = self.attempt(check, 1)?;
        }
        let Attempt::Over(outcome) = attempt else {
            return Ok(Outcome::skipped(check, "the process asked twice to be killed"));
        };
        self.known.extend(outcome.findings.iter().filter_map(|finding| finding.cause.clone()));
        Ok(outcome)
    }

    fn attempt(&self, check: Check, kills: u32) -> Result<Attempt> {
        let place = self.folder.path().join(format!("{}-{kills}", check.id));
        let work = place.join("work");
        fs::create_dir_all(&work).context("no folder can be made for the check")?;
        let traces =
            Traces { report: place.join("report"), stdout: place.join("stdout"), stderr: place.join("stderr") };
        let mut job = Job::new(check.id, self.copies.clone(), traces.report.clone());
        job.languages.clone_from(&self.languages);
        job.settings.clone_from(&self.given.settings);
        job.known.clone_from(&self.known);
        job.seed = self.seed;
        job.timeout = self.timeout;
        job.kills = kills;
        let mut child = self.start(&work, &traces, &job).context("cannot start a process for the check")?;
        let end = wait(&mut child, self.timeout).context("cannot wait for the process of the check")?;
        Ok(judge(check, &end, &traces, self.timeout))
    }

    fn start(&self, work: &Path, traces: &Traces, job: &Job) -> io::Result<Child> {
        let kept = ENVIRONMENT.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["plugin", "check-worker"])
            .env_clear()
            .envs(kept)
            .envs(&self.given.environment)
            .env("HOME", work)
            .env("TMPDIR", work)
            .current_dir(work)
            .stdin(Stdio::piped())
            .stdout(File::create(&traces.stdout)?)
            .stderr(File::create(&traces.stderr)?);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A process that is gone already has no goodbye, which is found below.
            let _ = stdin.write_all(&serde_json::to_vec(job)?);
        }
        Ok(child)
    }
}

enum Attempt {
    Over(Outcome),
    AskedToBeKilled,
}

/// Waits for the end of a process and kills what is left of its group.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<End> {
    let deadline = Instant::now() + timeout;
    let end = loop {
        if let Some(status) = child.try_wait()? {
            break End::By(status);
        }
        if Instant::now() >= deadline {
            break End::Killed;
        }
        thread::park_timeout(PAUSE);
    };
    kill_group(child);
    if matches!(end, End::Killed) {
        child.kill()?;
        child.wait()?;
    }
    Ok(end)
}

#[cfg(unix)]
fn kill_group(child: &Child) {
    // The group is gone when nobody is left in it, which is how it should be.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill_group(_child: &Child) {}

fn read(path: &Path, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What cannot be read was not written; the missing goodbye says the rest.
    let _ = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    bytes
}

fn judge(check: Check, end: &End, traces: &Traces, timeout: Duration) -> Attempt {
    let heard = Heard::read(&read(&traces.report, MAX_FILE_BYTES));
    let (stdout, stderr) = (read(&traces.stdout, MAX_STREAM_BYTES), read(&traces.stderr, MAX_STREAM_BYTES));
    let mut findings = heard.findings.clone();
    let step = heard.last_step.as_deref().unwrap_or("starting the check");
    match end {
        End::Killed => findings.push(Finding::new(
            Status::Timeout,
            format!("after {} s the process was still {step}", timeout.as_secs()),
            "look for a loop, a lock that is never released, or a wait without an end; --timeout gives more time",
        )),
        End::By(_) if heard.several_processes => findings.push(Finding::new(
            Status::Crash,
            format!("a second process went on with the check, after {step}"),
            "leave out `fork`: both processes would go on as the host",
        )),
        End::By(status) if heard.wants_kill && !heard.goodbye && !status.success() => return Attempt::AskedToBeKilled,
        End::By(status) if !heard.goodbye || !status.success() => {
            let when = if heard.goodbye { "when it should have ended" } else { step };
            let last_words = last_line(&stderr).map_or_else(String::new, |line| format!(" ({line})"));
            findings.push(Finding::new(
                Status::Crash,
                format!("the process ended {} while {when}{last_words}", describe(*status)),
                advice(*status),
            ));
        }
        End::By(_) => findings.extend(check::judge_output(check, &stdout, &stderr)),
    }
    if findings.is_empty()
        && let Some(why) = heard.skipped
    {
        return Attempt::Over(Outcome::skipped(check, why));
    }
    Attempt::Over(Outcome::new(check, findings, heard.note))
}

/// The last line that the process wrote to standard error, in printable characters.
fn last_line(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("note:"))?;
    Some(line.chars().filter(|one| !one.is_control()).take(200).collect())
}

#[cfg(unix)]
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("with exit status {code}"),
        (None, Some(4)) => "by signal 4 (illegal instruction)".into(),
        (None, Some(6)) => "by signal 6 (abort)".into(),
        (None, Some(7)) => "by signal 7 (bus error)".into(),
        (None, Some(9)) => "by signal 9 (kill)".into(),
        (None, Some(11)) => "by signal 11 (segmentation fault)".into(),
        (None, Some(25)) => "by signal 25 (it wrote more than 64 MiB into one file)".into(),
        (None, signal) => format!("by signal {}", signal.unwrap_or_default()),
    }
}

#[cfg(not(unix))]
fn describe(status: ExitStatus) -> String {
    format!("with {status}")
}

fn advice(status: ExitStatus) -> &'static str {
    if status.code().is_some() {
        "leave out `std::process::exit` and whatever calls it: it would end the host"
    } else {
        "look for `unsafe`, endless recursion, a panic inside a destructor, `abort`, or memory that runs out"
    }
}

/// Does the one check that standard input describes, in this process.
pub(crate) fn work() -> Result<ExitCode> {
    let mut job = Vec::new();
    io::stdin().read_to_end(&mut job).context("cannot read what to check")?;
    let job: Job = serde_json::from_slice(&job)
        .map_err(|error| usage(format!("`plugin check` starts this command, people do not: {error}")))?;
    confine();
    check::perform(&job).context("the check cannot be done")?;
    Ok(ExitCode::SUCCESS)
}

/// Ends this process with the one that started it, and keeps it from filling the disk and the memory.
#[cfg(unix)]
fn confine() {
    use rustix::process::{Rlimit, setrlimit};
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    for (resource, most) in LIMITS {
        // A system that knows no such limit goes without.
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
}

#[cfg(not(unix))]
fn confine() {}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn outcome(report: &str, stdout: &str, status: i32) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let traces = Traces { report: file("report"), stdout: file("stdout"), stderr: file("stderr") };
        fs::write(&traces.report, report).unwrap();
        fs::write(&traces.stdout, stdout).unwrap();
        fs::write(&traces.stderr, "first\nlast words\nnote: more\n").unwrap();
        let check = check::catalogue().find(|check| check.id == "H12").unwrap();
        match judge(check, &End::By(ExitStatus::from_raw(status)), &traces, Duration::from_secs(1)) {
            Attempt::Over(outcome) => outcome,
            Attempt::AskedToBeKilled => panic!("nobody asked"),
        }
    }

    const AT: &str = "{\"process\":7,\"what\":{\"at\":\"calling it\"}}\n";
    const GOODBYE: &str = "{\"process\":7,\"what\":\"goodbye\"}\n";

    #[test]
    fn a_process_that_ends_without_a_goodbye_has_crashed_whatever_its_status() {
        let found = outcome(AT, "", 0);
        assert_eq!(found.status, Status::Crash);
        assert!(found.findings[0].found.contains("with exit status 0 while calling it (last words)"), "{found:?}");
        let found = outcome(&format!("{AT}{GOODBYE}"), "", 11);
        assert_eq!(found.status, Status::Crash);
        assert!(found.findings[0].found.contains("segmentation fault"), "{found:?}");
    }

    #[test]
    fn a_process_that_was_forked_has_crashed_although_both_say_goodbye() {
        let other = GOODBYE.replace('7', "8");
        assert_eq!(outcome(&format!("{AT}{GOODBYE}{other}"), "", 0).status, Status::Crash);
    }

    #[test]
    fn what_is_written_to_standard_output_fails_the_check_that_looks_for_it() {
        let found = outcome(&format!("{AT}{GOODBYE}"), "hello", 0);
        assert_eq!(found.status, Status::Fail);
        assert!(found.findings[0].found.contains("standard output: `hello`"), "{found:?}");
    }
}
