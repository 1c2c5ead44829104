//! The logs: search, follow, download. Files are known by ids that say nothing about them; no name of a file is taken.

use std::time::{Duration, Instant};

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::Response;
use switchboard::channel_log::{LogFile, LogRecord, Search, SearchError};
use switchboard::store::Timestamp;

use super::answer::{self, Problem};
use super::form::query;
use super::show::{Time, size};
use super::tasks::moment;
use super::{Cx, Page};
use crate::web::access::Access;
use crate::web::stream::{stream, stream_log};

/// How many records one page shows.
const LIMIT: usize = 500;
/// How often a follower looks for new records.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Template)]
#[template(path = "logs.html")]
struct Shown {
    page: Page,
    folder: String,
    channels: Vec<String>,
    channel: String,
    level: String,
    text: String,
    task: String,
    since: String,
    lines: Vec<Line>,
    follow: String,
    files: Vec<File>,
}

/// A line of a log.
pub(super) struct Line {
    pub(super) time: String,
    pub(super) level: String,
    pub(super) channel: String,
    pub(super) message: String,
    /// The task that it is about.
    pub(super) task: Option<String>,
}

impl From<LogRecord> for Line {
    fn from(record: LogRecord) -> Self {
        let task = record.message.split(' ').find_map(|word| word.strip_prefix("task=")).map(str::to_owned);
        Self {
            time: record.time,
            level: record.level.as_str().to_ascii_lowercase(),
            channel: record.channel,
            message: record.message,
            task: task.filter(|task| task.bytes().all(|byte| byte.is_ascii_digit()) && !task.is_empty()),
        }
    }
}

struct File {
    id: String,
    channel: String,
    size: String,
    written: Time,
    state: &'static str,
}

impl From<LogFile> for File {
    fn from(file: LogFile) -> Self {
        Self {
            state: if file.rotated.is_some() { "rotated" } else { "current" },
            id: file.id,
            channel: file.channel,
            size: size(file.bytes),
            written: Timestamp(file.modified).into(),
        }
    }
}

fn failed(error: &SearchError) -> Problem {
    match error {
        SearchError::UnknownChannel { .. } => Problem::missing(error.to_string()),
        _ => Problem::failed(error),
    }
}

fn search(cx: &Cx) -> Result<Search, Problem> {
    let task = cx.query.text("task").map(str::parse).transpose();
    let level = cx.query.text("level").map(str::parse).transpose();
    Ok(Search {
        channel: cx.query.text("channel").map(str::to_owned),
        text: cx.query.text("text").map(str::to_owned),
        level: level.map_err(|_| Problem::refused("There is no such level."))?,
        task: task.map_err(|_| Problem::refused("A task is named by its number."))?,
        since: moment(&cx.query, "since")?.map(|moment| moment.0),
        limit: LIMIT,
        ..Search::default()
    })
}

/// Shows the newest records that match.
pub(crate) fn list(cx: &Cx) -> Result<Response, Problem> {
    let logs = cx.host().logs();
    let search = search(cx)?;
    let files = logs.files().map_err(|error| failed(&error))?;
    let mut channels: Vec<String> = files.iter().map(|file| file.channel.clone()).collect();
    channels.dedup();
    let field = |name: &str| cx.query.text(name).unwrap_or_default().to_owned();
    let (channel, level, text, task) = (field("channel"), field("level"), field("text"), field("task"));
    let fields = [("channel", &*channel), ("level", &*level), ("text", &*text), ("task", &*task)];
    let found = logs.search(&search).map_err(|error| failed(&error))?;
    answer::html(&Shown {
        page: Page::new(cx, "Logs")?,
        folder: logs.folder().display().to_string(),
        channels,
        follow: format!("/logs/follow?{}", query(&fields)),
        since: field("since"),
        lines: found.into_iter().map(Line::from).collect(),
        files: files.into_iter().map(File::from).collect(),
        channel,
        level,
        text,
        task,
    })
}

/// Sends records as they come, as server-sent events, for as long as whoever asks may see them.
pub(crate) fn follow(cx: &Cx) -> Result<Response, Problem> {
    let mut follower = cx.host().logs().follow(search(cx)?);
    let (may_follow, look_again) = (cx.remains(Access::Site), cx.app.look_again);
    let mut answer = stream(&cx.app, "text/event-stream", move |send| {
        let mut looked = Instant::now();
        if !send(b": following\n\n".to_vec()) {
            return Ok(());
        }
        loop {
            if looked.elapsed() >= look_again {
                looked = Instant::now();
                // Also a sign of life, by which a browser that went away is noticed.
                if !may_follow() || !send(b": still here\n\n".to_vec()) {
                    return Ok(());
                }
            }
            if !follower.new_records().into_iter().all(|record| send(event(record))) {
                return Ok(());
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    })?;
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

fn event(record: LogRecord) -> Vec<u8> {
    let Line { time, level, channel, message, task } = record.into();
    let json = serde_json::json!({
        "time": time, "level": level, "channel": channel, "message": message, "task": task,
    });
    format!("data: {json}\n\n").into_bytes()
}

/// Sends a whole file.
pub(crate) fn download(cx: &Cx) -> Result<Response, Problem> {
    let opened = cx.host().logs().open(cx.parameter("id")).map_err(|error| failed(&error))?;
    let Some((listed, file)) = opened else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "There is no such log.", "Go back to the list of logs."));
    };
    stream_log(&cx.app, &listed, file)
}
