//! Commands about logs. Logs are files: no host is needed to read them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use switchboard::channel_log::{Logs, Search, SearchError};
use switchboard::store::Timestamp;

use super::tasks::ago_from;
use super::{Reply, failed, show};
use crate::exit::{CommandFailed, FAILED, MISSING};
use crate::{output, serve};

/// How often a follower looks for new records.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// List the channels, or with --files each file of theirs
    List {
        /// List each file, also those that were rotated
        #[arg(long)]
        files: bool,
    },
    /// Show the newest records of a channel
    Show {
        /// The channel, such as Webhooks
        channel: String,
        #[command(flatten)]
        query: LogQuery,
    },
    /// Find records in all channels, also in files that were rotated
    ///
    /// In development mode, `log search background` lists every dispatch of a deferred task with the command that replays
    /// it, and `log search --task ID` everything about one.
    Search {
        /// A part of the line, in any case; all lines without it
        text: Option<String>,
        /// Only this channel
        #[arg(long)]
        channel: Option<String>,
        #[command(flatten)]
        query: LogQuery,
    },
    /// Copy a file of a log, as it is, into a new file
    Download {
        /// Id of the file; `log list --files` shows it
        id: String,
        /// The new file; - writes to standard output
        file: PathBuf,
    },
    /// Show records as they come (until SIGINT or SIGTERM); with --json one object a line
    Follow {
        /// Only this channel, such as Webhooks
        channel: Option<String>,
        #[command(flatten)]
        filter: Filter,
    },
}

/// Which records.
#[derive(Debug, Default, Args)]
pub(crate) struct Filter {
    /// Only records that contain this text, in any case
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only records of at least this level: error, warn, info or debug
    #[arg(long, value_name = "L")]
    level: Option<log::Level>,
    /// Only records about this deferred task
    #[arg(long, value_name = "ID")]
    task: Option<i64>,
}

/// Which records, and how many of them.
#[derive(Debug, Default, Args)]
pub(crate) struct LogQuery {
    #[command(flatten)]
    filter: Filter,
    /// Only records of this moment or later: 2026-11-24T02:00:00Z, or a duration ago such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only records before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most so many, the newest
    #[arg(long, default_value_t = 200)]
    limit: usize,
    /// The newest first
    #[arg(long)]
    newest_first: bool,
}

impl Filter {
    fn wanted(self, channel: Option<String>) -> Search {
        Search { channel, text: self.search, level: self.level, task: self.task, ..Search::default() }
    }
}

/// Does a command; the one that follows ends the process.
pub(crate) fn run(data: &Path, command: LogCommand, json: bool) -> Result<Result<Reply, ExitCode>> {
    let logs = Logs::of(data.join("logs"));
    match command {
        LogCommand::List { files: false } => {
            let channels = switchboard::channel_log::channels(logs.folder()).map_err(|error| failed(FAILED, &error))?;
            Reply::new(show::channels_json(&channels), show::channels(&channels)).map(Ok)
        }
        LogCommand::List { files: true } => {
            let files = logs.files().map_err(|error| search_error(&error))?;
            Reply::new(show::log_files_json(&files), show::log_files(&files)).map(Ok)
        }
        LogCommand::Show { channel, query } => search(&logs, Some(channel), query).map(Ok),
        LogCommand::Search { text, channel, mut query } => {
            query.filter.search = text.or(query.filter.search);
            search(&logs, channel, query).map(Ok)
        }
        LogCommand::Download { id, file } => download(&logs, &id, &file),
        LogCommand::Follow { channel, filter } => follow(&logs, filter.wanted(channel), json).map(Err),
    }
}

fn search(logs: &Logs, channel: Option<String>, query: LogQuery) -> Result<Reply> {
    let LogQuery { filter, since, until, limit, newest_first } = query;
    let now = Timestamp(switchboard::clock::Clock::system().now());
    let since = since.map(|text| ago_from(now, "--since", &text)).transpose()?;
    let until = until.map(|text| ago_from(now, "--until", &text)).transpose()?;
    let one = channel.is_some();
    let wanted = Search {
        since: since.map(|at| at.0),
        until: until.map(|at| at.0),
        limit,
        newest_first,
        ..filter.wanted(channel)
    };
    let records = logs.search(&wanted).map_err(|error| search_error(&error))?;
    Reply::new(show::records_json(&records), show::records(&records, !one))
}

fn search_error(error: &SearchError) -> anyhow::Error {
    failed(if matches!(error, SearchError::UnknownChannel { .. }) { MISSING } else { FAILED }, error)
}

/// Copies a file of a log. What is written to standard output is the log and nothing else.
fn download(logs: &Logs, id: &str, file: &Path) -> Result<Result<Reply, ExitCode>> {
    let Some((listed, mut log)) = logs.open(id).map_err(|error| search_error(&error))? else {
        let message = format!("there is no log `{id}`; `switchboard log list --files` shows them");
        return Err(CommandFailed { code: MISSING, message }.into());
    };
    if file == Path::new("-") {
        // A reader that went away, as `head` does, is no error.
        let _ = std::io::copy(&mut log, &mut std::io::stdout().lock());
        return Ok(Err(ExitCode::SUCCESS));
    }
    let bytes = output::new_file(file, |copy| std::io::copy(&mut log, copy))?;
    let json = json!({ "id": id, "channel": listed.channel, "bytes": bytes, "file": file });
    Reply::new(json, format!("{bytes} bytes of {} in {}", listed.channel, file.display())).map(Ok)
}

fn follow(logs: &Logs, wanted: Search, json: bool) -> Result<ExitCode> {
    let one = wanted.channel.is_some();
    let mut follower = logs.follow(wanted);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = serve::stop_signal();
        tokio::pin!(stop);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(ExitCode::SUCCESS),
                _ = looks.tick() => {}
            }
            for record in follower.new_records() {
                if json {
                    output::line(&output::safe_json(&show::record_json(&record).to_string()));
                } else {
                    output::line(&show::record(&record, !one));
                }
            }
        }
    })
}
