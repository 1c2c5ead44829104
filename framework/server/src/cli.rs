//! The command line.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use switchboard::TriggerNumber;

use crate::check::{self, Check};
use crate::command::{
    self, Command, ConfigCommand, DeliveryCommand, KeyCommand, LanguageCommand, LogCommand, PluginCommand,
    ScheduleCommand, TaskCommand, WebhookCommand,
};
use crate::dev::{self, Dev};
use crate::doctor::{self, Doctor};
use crate::exit::{self, CommandFailed};
use crate::people::{self, AuditQuery, TokenCommand, UserCommand};
use crate::receive::{self, Receive};
use crate::scaffold::{self, Kind};
use crate::store::{self, Store};
use crate::{control, demo, output, serve};

/// Loads native plugins, announces events to them and delivers webhooks durably.
#[derive(Parser)]
#[command(name = "switchboard", version, after_help = exit::HELP)]
pub(crate) struct Cli {
    /// Data folder: plugins, store, logs, switchboard.toml [default: switchboard-data]
    // Not global for clap, because `emit` has a `--data` of its own: `parse` adds it to the other commands.
    #[arg(long, env = "SWITCHBOARD_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Sub,
}

#[derive(Subcommand)]
enum Sub {
    /// Run the host until it is told to stop (SIGINT or SIGTERM)
    Serve {
        /// Address of the pages [default: `listen` in the section [http] of switchboard.toml, or 127.0.0.1:7320]
        #[arg(long, value_name = "ADDR")]
        listen: Option<SocketAddr>,
        /// Open no plugin, to put right whatever is wrong with one; tasks are kept and wait
        #[arg(long)]
        safe_mode: bool,
    },
    /// Announce an event
    Emit(Emit),
    /// Fire a trigger and print what every handler gives
    Trigger {
        /// Trigger number, such as 06000
        number: String,
        /// Event name: only this handler is fired
        name: Option<String>,
        /// Payload as JSON; @FILE reads a file, - reads standard input
        #[arg(long, default_value = "{}", value_name = "JSON")]
        payload: String,
        /// Language, such as de-DE
        #[arg(long)]
        lang: Option<String>,
    },
    /// List what is registered, in firing order
    Triggers,
    /// Work with plugins
    #[command(subcommand)]
    Plugin(Plugin),
    /// Work with webhooks
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Work with the keys that seal the secrets in the store
    #[command(subcommand)]
    Key(KeyCommand),
    /// Look at what was delivered, and deliver again
    #[command(subcommand)]
    Delivery(DeliveryCommand),
    /// Work with deferred tasks
    #[command(subcommand)]
    Task(TaskCommand),
    /// Start tasks again and again
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Look after the store: check, copy, move
    #[command(subcommand)]
    Store(Store),
    /// Read the logs
    #[command(subcommand)]
    Log(LogCommand),
    /// Work with the users of the pages
    #[command(subcommand)]
    User(UserCommand),
    /// Work with the tokens of the HTTP API
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show who has changed what
    Audit(AuditQuery),
    /// Read and change the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Work with texts: what plugins say, and what you say in its place
    #[command(subcommand)]
    Language(LanguageCommand),
    /// Look at everything that a host needs, and say what to do about what is not well; changes nothing
    Doctor(Doctor),
    /// Print a script that completes commands in a shell: `source <(switchboard completions bash)`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of all commands into a folder
    Man {
        /// The folder, such as /usr/local/share/man/man1; it is made when it is missing
        dir: PathBuf,
    },
    /// Receive webhooks on this machine and show each request, to try things out (until SIGINT or SIGTERM)
    Receive(Receive),
    /// Show the main job in one go, on a fresh data folder and a local receiver
    Demo {
        /// How many events to announce
        #[arg(long, default_value_t = 320, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        events: u32,
    },
}

#[derive(Args)]
struct Emit {
    /// Name of the event, such as booking_added
    event: String,
    /// Owner of the subject that the event is about; 0 is the whole site
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    owner: i64,
    /// Properties as a JSON object; @FILE reads a file, - reads standard input
    #[arg(long, default_value = "{}", value_name = "JSON")]
    data: String,
    /// Task of the host application that caused the event
    #[arg(long, value_name = "T")]
    task: Option<String>,
    /// Announce the event once, however often it is asked for under this key within a day
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Channel that the change comes from, so that it is not sent back there
    #[arg(long, value_name = "C")]
    channel: Option<String>,
    /// Return when the deliveries are done, dead or waiting for another try
    #[arg(long)]
    wait: bool,
    /// Longest wait in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS", requires = "wait")]
    timeout: u64,
}

#[derive(Subcommand)]
enum Plugin {
    #[command(flatten)]
    Host(PluginCommand),
    /// Build a plugin crate, place its library into the data folder, and do so again whenever its sources change
    Dev(Dev),
    /// Check a plugin library: its file, its manifest, and how it behaves
    Check(Check),
    /// Do one check in this process; `plugin check` starts it
    #[command(hide = true)]
    CheckWorker,
    /// Write a complete plugin crate to start from
    New {
        /// Name of the crate, such as webhook-api-key
        name: String,
        /// What the plugin does
        #[arg(long, value_enum, default_value_t)]
        kind: Kind,
        /// Folder in which the crate's folder is made
        #[arg(long, default_value = ".", value_name = "D")]
        dir: PathBuf,
        /// Folder of plugin-api in a checkout; found by itself when it is near
        #[arg(long, value_name = "DIR")]
        api: Option<PathBuf>,
    },
}

/// Reads the command line of this process; ends it with a message when that cannot be read.
pub(crate) fn parse() -> Cli {
    let matches = with_data_folder(Cli::command()).get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let mut inner = &matches;
    while let Some((_, matches)) = inner.subcommand() {
        inner = matches;
        // The commands that have no such option say so.
        if let Ok(Some(folder)) = matches.try_get_one::<PathBuf>(FOLDER) {
            cli.data = Some(folder.clone());
        }
    }
    cli
}

/// Id of the option `--data` behind a command.
const FOLDER: &str = "folder";

/// Lets `--data DIR` stand behind every command but `emit`, whose `--data` is the event's.
fn with_data_folder(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|command| {
        if command.get_name() == "emit" {
            return command;
        }
        let folder = Arg::new(FOLDER).long("data").value_name("DIR").value_parser(clap::value_parser!(PathBuf));
        with_data_folder(command).arg(folder.help("Data folder").hide(true))
    })
}

/// Does what the command line asks for.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    if let Sub::Demo { events } = cli.command {
        return demo::run(cli.data, events, cli.json);
    }
    let data = cli.data.unwrap_or_else(|| PathBuf::from("switchboard-data"));
    let reply = match cli.command {
        Sub::Receive(receive) => return receive::run(&receive, cli.json),
        Sub::Serve { listen, safe_mode } => return serve::run(&data, listen, safe_mode),
        Sub::Plugin(Plugin::New { name, kind, dir, api }) => scaffold::new_plugin(&name, kind, &dir, api)?,
        Sub::Plugin(Plugin::Dev(dev)) => return dev::run(dev, &data, cli.json),
        Sub::Plugin(Plugin::Check(check)) => return check::run(&check, cli.json),
        Sub::Plugin(Plugin::CheckWorker) => return check::work(),
        Sub::Store(command) => store::run(&data, &command)?,
        Sub::User(command) => people::user(&data, command)?,
        Sub::Token(command) => people::token(&data, command)?,
        Sub::Audit(query) => people::audit(&data, query)?,
        Sub::Config(config) => command::config(&data, config)?,
        Sub::Doctor(doctor) => return doctor::run(&data, &doctor, cli.json),
        Sub::Completions { shell } => return Ok(completions(shell)),
        Sub::Man { dir } => manual(&dir)?,
        Sub::Log(command) => match command::log(&data, command, cli.json)? {
            Ok(reply) => reply,
            Err(code) => return Ok(code),
        },
        other => control::perform(&data, command(other, &data)?)?,
    };
    print(&reply, cli.json)
}

/// Prints the completions of a shell.
fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "switchboard", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}

/// Writes a manual page for each command.
fn manual(dir: &Path) -> Result<command::Reply> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(|| format!("cannot write into `{}`", dir.display()))?;
    let pages = std::fs::read_dir(dir)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut pages: Vec<String> = pages.filter(|name| name.starts_with("switchboard") && name.ends_with(".1")).collect();
    pages.sort();
    let text = format!("{} pages in {}: man -l {}/switchboard.1", pages.len(), dir.display(), dir.display());
    command::Reply::new(serde_json::json!({ "folder": dir, "pages": pages }), text)
}

fn print(reply: &command::Reply, json: bool) -> Result<ExitCode> {
    if json {
        output::json(&reply.json)?;
    } else {
        output::line(&reply.text);
    }
    Ok(ExitCode::from(reply.exit))
}

fn command(sub: Sub, data: &Path) -> Result<Command> {
    Ok(match sub {
        Sub::Emit(emit) => Command::Emit {
            event: emit.event,
            owner: emit.owner,
            data: text_argument("--data", emit.data)?,
            task: emit.task,
            idempotency_key: emit.idempotency_key,
            channel: emit.channel,
            wait_seconds: emit.wait.then_some(emit.timeout),
        },
        Sub::Trigger { number, name, payload, lang } => Command::Trigger {
            number: trigger_number(&number)?,
            name,
            payload: text_argument("--payload", payload)?,
            lang,
        },
        Sub::Triggers => Command::Triggers,
        Sub::Plugin(Plugin::Host(command)) => Command::Plugin(command.prepared(data)?),
        Sub::Webhook(command) => Command::Webhook(command.read_files()?),
        Sub::Key(command) => Command::Key(command),
        Sub::Task(TaskCommand::Defer(mut defer)) => {
            defer.payload = text_argument("--payload", defer.payload)?;
            Command::Task(TaskCommand::Defer(defer))
        }
        Sub::Schedule(ScheduleCommand::Set(mut schedule)) => {
            schedule.payload = text_argument("--payload", schedule.payload)?;
            Command::Schedule(ScheduleCommand::Set(schedule))
        }
        Sub::Schedule(command) => Command::Schedule(command),
        Sub::Task(command) => Command::Task(command),
        Sub::Delivery(command) => Command::Delivery(command),
        Sub::Language(command) => Command::Language(command),
        Sub::Serve { .. }
        | Sub::Receive(_)
        | Sub::Demo { .. }
        | Sub::Log(_)
        | Sub::Config(_)
        | Sub::Doctor(_)
        | Sub::Completions { .. }
        | Sub::Man { .. }
        | Sub::Store(_)
        | Sub::User(_)
        | Sub::Token(_)
        | Sub::Audit(_)
        | Sub::Plugin(Plugin::New { .. } | Plugin::Dev(_) | Plugin::Check(_) | Plugin::CheckWorker) => {
            return Err(anyhow!("this command needs no host"));
        }
    })
}

fn trigger_number(text: &str) -> Result<TriggerNumber> {
    text.parse().map_err(|error: switchboard::NotATriggerNumber| usage(error.to_string()))
}

/// Reads the values of an option that is written as `form`, such as `--set KEY=VALUE`.
pub(crate) fn pairs(form: &str, values: &[String]) -> Result<BTreeMap<String, String>> {
    let option = form.split(' ').next().unwrap_or(form);
    let pair = |value: &String| match value.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(usage(format!("`{option} {value}` has no `=`: write {form}"))),
    };
    values.iter().map(pair).collect()
}

pub(crate) fn text_argument(option: &str, value: String) -> Result<String> {
    if value == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {option} from standard input"))?;
        return Ok(text);
    }
    match value.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {option} from `{file}`")),
        None => Ok(value),
    }
}

pub(crate) fn usage(message: String) -> anyhow::Error {
    CommandFailed { code: exit::USAGE, message }.into()
}
