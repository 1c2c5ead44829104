//! Logs: which there are, and what stands in them.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard::channel_log::{self, LogFile, Search, SearchError};
use switchboard::store::Timestamp;

use super::answer::{Answer, Failure, Text};
use super::caller::{Caller, Site};
use super::input::{Path, Query};
use super::tasks::time;
use crate::web::App;
use crate::web::stream::stream_log;

/// Records when nothing is said.
const USUAL: u32 = 200;
/// Most records.
const MOST: u32 = 1_000;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route("/logs", get_with(list, |op| op.id("listLogs").tag("logs").summary("List the logs")))
        .api_route(
            "/logs/{id}/download",
            get_with(download, |op| {
                op.id("downloadLog").tag("logs").summary("Download a file of a log").description(
                    "As it is on the disk: a record is a line.",
                )
            }),
        )
        .api_route(
            "/log-records",
            get_with(records, |op| {
                op.id("searchLogs").tag("logs").summary("Search the logs").description(
                    "The newest records that match everything that is given, in the order in which they were written; also \
                     those in files that were rotated. `Deferred` and `Webhooks` are searched for one task with `task`.",
                )
            }),
        )
}

/// A file of a log.
#[derive(Serialize, JsonSchema)]
struct Log {
    /// Its id. It is no file name.
    id: String,
    /// The channel.
    channel: String,
    /// Its size in bytes.
    bytes: u64,
    /// When it was last written.
    #[schemars(extend("format" = "date-time"))]
    modified: String,
    /// When another took its place; none for the one that is written to.
    #[schemars(extend("format" = "date-time"))]
    rotated: Option<String>,
}

impl From<LogFile> for Log {
    fn from(file: LogFile) -> Self {
        Self {
            id: file.id,
            channel: file.channel,
            bytes: file.bytes,
            modified: Timestamp(file.modified).to_string(),
            rotated: file.rotated.map(|at| Timestamp(at).to_string()),
        }
    }
}

async fn list(caller: Caller<Site>) -> Result<Answer<Vec<Log>>, Failure> {
    let logs = caller.run(|call| {
        let files = call.host().logs().files().map_err(|error| failed(&error))?;
        Ok(files.into_iter().map(Log::from).collect())
    });
    logs.await.map(Answer)
}

fn missing() -> Failure {
    Failure::missing("There is no such log; `/logs` lists what there is.")
}

fn failed(error: &SearchError) -> Failure {
    if matches!(error, SearchError::UnknownChannel { .. }) { missing() } else { Failure::unavailable(error) }
}

/// How severe a record is.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<Level> for log::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::Error,
            Level::Warn => Self::Warn,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
            Level::Trace => Self::Trace,
        }
    }
}

impl From<log::Level> for Level {
    fn from(level: log::Level) -> Self {
        match level {
            log::Level::Error => Self::Error,
            log::Level::Warn => Self::Warn,
            log::Level::Info => Self::Info,
            log::Level::Debug => Self::Debug,
            log::Level::Trace => Self::Trace,
        }
    }
}

/// A record of a log.
#[derive(Serialize, JsonSchema)]
struct LogRecord {
    /// When it was written.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// Its level.
    level: Level,
    /// The channel.
    channel: String,
    /// The message and its `key=value` pairs, as they stand in the line.
    message: String,
}

impl From<channel_log::LogRecord> for LogRecord {
    fn from(record: channel_log::LogRecord) -> Self {
        Self { time: record.time, level: record.level.into(), channel: record.channel, message: record.message }
    }
}

/// What to look for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// In the channel of the log with this id; in all when left out.
    log: Option<String>,
    /// A part of the line, in any case.
    text: Option<String>,
    /// The least severe level.
    level: Option<Level>,
    /// About this task, or a replay of it.
    #[schemars(range(min = 1))]
    task: Option<i64>,
    /// Written at this time or later.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// Written before this time.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// At most so many, the newest; 200 when left out.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

async fn records(caller: Caller<Site>, Query(wanted): Query<Wanted>) -> Result<Answer<Vec<LogRecord>>, Failure> {
    let limit = wanted.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) || wanted.task.is_some_and(|task| task < 1) {
        let detail = format!("`limit` must be 1 to {MOST}, and `task` the id of one.");
        return Err(Failure::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
    }
    let search = Search {
        text: wanted.text,
        level: wanted.level.map(log::Level::from),
        task: wanted.task,
        since: time("since", wanted.since)?.map(|at| at.0),
        until: time("until", wanted.until)?.map(|at| at.0),
        limit: limit as usize,
        ..Search::default()
    };
    let found = caller.run(move |call| {
        let logs = call.host().logs();
        let channel = match wanted.log {
            None => None,
            Some(id) => {
                let files = logs.files().map_err(|error| failed(&error))?;
                Some(files.into_iter().find(|file| file.id == id).ok_or_else(missing)?.channel)
            }
        };
        let records = logs.search(&Search { channel, ..search }).map_err(|error| failed(&error))?;
        Ok(records.into_iter().map(LogRecord::from).collect())
    });
    found.await.map(Answer)
}

/// The path of a file of a log.
#[derive(Deserialize, JsonSchema)]
struct LogPath {
    /// Its id, from `/logs`.
    id: String,
}

async fn download(caller: Caller<Site>, Path(LogPath { id }): Path<LogPath>) -> Result<Text, Failure> {
    let opened = caller.run(move |call| {
        let opened = call.host().logs().open(&id).map_err(|error| failed(&error))?;
        let (listed, file) = opened.ok_or_else(missing)?;
        Ok(stream_log(call.app(), &listed, file)?)
    });
    opened.await.map(Text)
}
