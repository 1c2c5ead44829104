//! `switchboard plugin check`: judges a plugin library before it comes near a host.
//!
//! The file is read here and never loaded here. Each check that loads it has a process of its own.

mod process;
mod show;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use switchboard::check::{self, Examination, Level, Outcome, Status};

use crate::cli::{pairs, usage};
use crate::{exit, output};

pub(crate) use process::work;

/// Shown below the options.
const AFTER_HELP: &str = "Exit codes:
  0  passed
  1  something is wrong, or warnings are denied
  2  the command line cannot be used, or there is no such file
  3  a process in which the plugin was checked crashed
  4  a check took longer than it may, and was killed

A warning does not fail the check unless --deny-warnings is given. Checks are named by the ids of the
report, such as F4, or a whole group by its letter. What is skipped says why.";

/// What to check and how to tell it.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Check {
    /// The library, such as target/release/libwebhook_api_key.so
    file: PathBuf,
    /// How much is checked
    #[arg(long, value_enum, default_value_t)]
    level: LevelArgument,
    /// How the report is written; --json is --format json
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Where random payloads start; the report names it, so that a run can be repeated
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Longest time for one check, in seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Do only these checks, whatever the level
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave these checks out
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Setting of the plugin and of its webhooks, which are made up otherwise; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Variable of the environment in which the plugin is checked, otherwise nearly empty; may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// Let warnings fail the check
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LevelArgument {
    /// Read the file and its manifest; nothing in it runs
    Static,
    /// Also load the library and start the plugin
    Basic,
    /// Also play through its life and call its handlers
    #[default]
    Standard,
    /// Also measure what it leaves behind, and call it with random payloads
    Strict,
}

impl LevelArgument {
    fn level(self) -> Level {
        match self {
            Self::Static => Level::Static,
            Self::Basic => Level::Basic,
            Self::Standard => Level::Standard,
            Self::Strict => Level::Strict,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// For build servers
    Junit,
}

/// What the plugin finds around it.
#[derive(Default)]
struct Given {
    settings: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
}

/// All that is known at the end.
struct Report {
    file: PathBuf,
    level: Level,
    seed: u64,
    examination: Examination,
    done: Vec<Done>,
    deny_warnings: bool,
}

/// What became of one check, and how long it took.
struct Done {
    outcome: Outcome,
    took: Duration,
}

impl Report {
    fn count(&self, status: Status) -> usize {
        self.done.iter().filter(|done| done.outcome.status == status).count()
    }

    fn exit(&self) -> u8 {
        let is_there = |status| self.count(status) > 0;
        if is_there(Status::Crash) {
            exit::CRASHED
        } else if is_there(Status::Timeout) {
            exit::TIMED_OUT
        } else if is_there(Status::Fail) || (self.deny_warnings && is_there(Status::Warn)) {
            exit::FAILED
        } else {
            0
        }
    }
}

/// Checks a library and prints the report.
pub(crate) fn run(arguments: &Check, json: bool) -> Result<ExitCode> {
    if std::fs::symlink_metadata(&arguments.file).is_err() {
        return Err(usage(format!("there is no file `{}`", arguments.file.display())));
    }
    for id in arguments.only.iter().chain(&arguments.exclude) {
        if !check::catalogue().any(|check| is_meant(id, check)) {
            return Err(usage(format!("there is no check `{id}`: write an id such as F4, or the letter of a group")));
        }
    }
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => u64::from(getrandom::u32().map_err(|error| usage(format!("no seed can be chosen: {error}")))?),
    };
    let given = Given {
        settings: pairs("--set KEY=VALUE", &arguments.settings)?,
        environment: pairs("--env NAME=VALUE", &arguments.environment)?,
    };
    let report = check(arguments, given, seed)?;
    let text = match arguments.format {
        Format::Json => show::json(&report)?,
        _ if json => show::json(&report)?,
        Format::Text => show::text(&report),
        Format::Junit => show::junit(&report),
    };
    output::line(&text);
    Ok(ExitCode::from(report.exit()))
}

fn is_meant(id: &str, check: check::Check) -> bool {
    let (letter, _) = check.id.split_at(1);
    id.eq_ignore_ascii_case(check.id) || id.eq_ignore_ascii_case(letter)
}

fn check(arguments: &Check, given: Given, seed: u64) -> Result<Report> {
    let level = arguments.level.level();
    let wanted = |check: check::Check| {
        let named = |ids: &[String]| ids.iter().any(|id| is_meant(id, check));
        let chosen = if arguments.only.is_empty() { check.level <= level } else { named(&arguments.only) };
        chosen && !named(&arguments.exclude)
    };
    let begin = Instant::now();
    let examination = check::examine(&arguments.file);
    let took = begin.elapsed();
    let read = examination.outcomes.iter().filter(|outcome| wanted(outcome.check));
    let mut done: Vec<Done> = read.map(|outcome| Done { outcome: outcome.clone(), took }).collect();
    let workers = check::catalogue().filter(|check| check.runs_code() && wanted(*check));
    if let Some(bytes) = &examination.loadable {
        let timeout = Duration::from_secs(arguments.timeout);
        let mut workshop = process::Workshop::new(bytes, timeout).context("no folder can be made for the check")?;
        workshop.seed = seed;
        workshop.given = given;
        workshop.languages = languages_beside(&arguments.file);
        for check in workers {
            let begin = Instant::now();
            let outcome = match hindrance(check, &done) {
                Some(why) => Outcome::skipped(check, why),
                None => workshop.perform(check)?,
            };
            done.push(Done { outcome, took: begin.elapsed() });
        }
    } else {
        let why = "no host loads the file: the checks of the file and the manifest say why";
        done.extend(workers.map(|check| Done { outcome: Outcome::skipped(check, why), took: Duration::ZERO }));
    }
    done.sort_by_key(|done| place(done.outcome.check.id));
    Ok(Report { file: arguments.file.clone(), level, seed, examination, done, deny_warnings: arguments.deny_warnings })
}

/// Longest time for one check of a trial.
const TRIAL: Duration = Duration::from_secs(10);
/// What a trial does: the library is opened, the plugin starts, its handlers are called.
const TRIAL_CHECKS: [&str; 3] = ["D1", "D3", "F1"];

/// Uses a library in processes of their own, and says what in it would end or hang a host. What a host finds by itself when
/// it loads the library is left to it.
pub(crate) fn trial(
    library: &[u8],
    settings: BTreeMap<String, String>,
    languages: Option<PathBuf>,
) -> Result<Option<String>> {
    let mut workshop = process::Workshop::new(library, TRIAL).context("no folder can be made for the check")?;
    workshop.languages = languages.map(|folder| folder.canonicalize()).transpose()?;
    workshop.given.settings = settings;
    for check in check::catalogue().filter(|check| TRIAL_CHECKS.contains(&check.id)) {
        let outcome = workshop.perform(check)?;
        let deadly = outcome.findings.iter().find(|one| matches!(one.status, Status::Crash | Status::Timeout));
        if let Some(finding) = deadly {
            return Ok(Some(format!("{}: {}; {}", check.id, finding.found, finding.advice)));
        }
    }
    Ok(None)
}

/// Where a check stands in the report: by the letter of its group and its number.
fn place(id: &str) -> (&str, u32) {
    let (letter, number) = id.split_at(1);
    (letter, number.parse().unwrap_or(u32::MAX))
}

/// Returns why a check would say nothing new: the one that it needs did not pass.
fn hindrance(check: check::Check, done: &[Done]) -> Option<String> {
    let needed = check.needs?;
    let before = done.iter().find(|done| done.outcome.check.id == needed)?;
    let hinders = match before.outcome.status {
        Status::Pass | Status::Warn => false,
        // A plugin that cannot be loaded cannot be called; one handler that fails hinders no other.
        Status::Fail => before.outcome.check.level == Level::Basic,
        _ => true,
    };
    hinders.then(|| format!("{needed} has to pass first"))
}

/// Returns the folder of language files that a host would read with this library.
fn languages_beside(file: &Path) -> Option<PathBuf> {
    let folder = file.canonicalize().ok()?.parent()?.join("languages");
    folder.is_dir().then_some(folder)
}
