//! The changes that come by the thousand, each as one statement over arrays for a whole group.

use std::borrow::Cow;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{attempt, read};
use crate::store::record::{attempt_bytes, write_exchanges, write_schedule};
use crate::store::{
    AcceptedTask, AttemptMode, Ending, NewEvent, NewTask, Priority, RunEnd, Started, StoreError, TaskHead, TaskId,
    TaskState, Timestamp,
};

type Column<'a> = &'a (dyn ToSql + Sync);

/// Number of a state in the table.
pub(super) fn number(state: TaskState) -> i16 {
    match state {
        TaskState::Ready => 0,
        TaskState::Running => 1,
        TaskState::Waiting => 2,
        TaskState::Done => 3,
        TaskState::Dead => 4,
    }
}

pub(super) fn priority_number(priority: Priority) -> i16 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
    }
}

/// Returns a text without the one character that the server cannot store.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(text) }
}

fn optional(optional: Option<&String>) -> Option<Cow<'_, str>> {
    optional.map(|given| text(given))
}

/// A trigger number, or a number of attempts.
pub(super) fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Waits until no other transaction accepts tasks under the same ordered or unique keys, so that the ids of an ordered key
/// are in the order of the commits, and nothing is accepted twice under a unique one. In one order, so that two
/// transactions do not wait for each other.
pub(super) const LOCK_KEYS: &str = "SELECT pg_advisory_xact_lock(lock) FROM (
    SELECT DISTINCT hashtextextended(key, 0) AS lock FROM unnest($1::text[]) AS key ORDER BY lock) AS locks";

/// Returns the names under which [`LOCK_KEYS`] locks the keys of a task.
pub(super) fn locks_of(task: &NewTask) -> impl Iterator<Item = String> + '_ {
    let ordered = task.ordered.then(|| format!("switchboard ordered {}", text(&task.key)));
    let unique = task.unique.as_ref().map(|unique| format!("switchboard unique {}", text(&unique.key)));
    ordered.into_iter().chain(unique)
}

pub(super) const ACCEPT_EVENTS: &str = "INSERT INTO event (id, name, owner, task, cause, depth, body, at, channel)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::integer[], $7::bytea[],
                         $8::bigint[], $9::text[])";

#[derive(Default)]
pub(super) struct Events<'a> {
    id: Vec<&'a str>,
    name: Vec<Cow<'a, str>>,
    owner: Vec<i64>,
    task: Vec<Option<Cow<'a, str>>>,
    cause: Vec<Option<i64>>,
    depth: Vec<i32>,
    body: Vec<&'a [u8]>,
    at: Vec<i64>,
    channel: Vec<Option<Cow<'a, str>>>,
}

impl<'a> Events<'a> {
    pub(super) fn push(&mut self, event: &'a NewEvent) {
        self.id.push(&event.id.0);
        self.name.push(text(&event.name));
        self.owner.push(event.owner.0);
        self.task.push(optional(event.task.as_ref()));
        self.cause.push(event.cause.map(|cause| cause.0));
        self.depth.push(int(event.depth));
        self.body.push(&event.body);
        self.at.push(event.at.0);
        self.channel.push(optional(event.channel.as_ref()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    pub(super) fn columns(&self) -> Vec<Column<'_>> {
        let Self { id, name, owner, task, cause, depth, body, at, channel } = self;
        vec![id, name, owner, task, cause, depth, body, at, channel]
    }
}

/// Columns of a new task, from the arrays $1 to $19 and the host $20.
macro_rules! new_tasks {
    () => {
        "INSERT INTO task (event, webhook, number, name, key, host, payload, state, attempts, attempts_before, crashes,
             run_at, lease, created_at, updated_at, holder, priority, ordered, unique_key, schedule, timeout_ms, replay_of,
             mode, as_sent)
         SELECT event, webhook, number, name, key, host, payload, state, 0, 0, 0, run_at, 0, at, at,
                CASE WHEN held THEN $20::bigint END, priority, ordered, unique_key, schedule, timeout_ms, replay_of,
                mode, as_sent
         FROM unnest($1::text[], $2::bigint[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::bytea[],
                     $8::smallint[], $9::bigint[], $10::bigint[], $11::boolean[], $12::smallint[], $13::boolean[],
                     $14::text[], $15::text[], $16::bigint[], $17::bigint[], $18::text[], $19::bigint[])
              AS new (event, webhook, number, name, key, host, payload, state, run_at, at, held, priority, ordered,
                      unique_key, schedule, timeout_ms, replay_of, mode, as_sent)"
    };
}

/// The ids are given in the order of the arrays.
pub(super) const ACCEPT_TASKS: &str = concat!(new_tasks!(), " RETURNING id");

/// One task of an acceptance in which something is unique. $21 is when the window of its unique key began.
pub(super) const ACCEPT_UNIQUE: &str = concat!(
    "WITH known AS (SELECT id, number, name, key, host, run_at, attempts - attempts_before AS attempts, priority, ordered
         FROM task WHERE unique_key = ($14::text[])[1] AND (state IN (0, 1, 2) OR created_at > $21::bigint)
         ORDER BY id DESC LIMIT 1),
     made AS (",
    new_tasks!(),
    " WHERE NOT EXISTS (SELECT FROM known)
         RETURNING id, number, name, key, host, run_at, attempts, priority, ordered)
     SELECT *, true FROM known UNION ALL SELECT *, false FROM made"
);

#[derive(Default)]
pub(super) struct Tasks<'a> {
    event: Vec<Option<&'a str>>,
    webhook: Vec<Option<i64>>,
    number: Vec<i32>,
    name: Vec<Cow<'a, str>>,
    key: Vec<Cow<'a, str>>,
    host: Vec<Option<Cow<'a, str>>>,
    payload: Vec<Option<&'a [u8]>>,
    state: Vec<i16>,
    run_at: Vec<i64>,
    at: Vec<i64>,
    held: Vec<bool>,
    priority: Vec<i16>,
    ordered: Vec<bool>,
    unique_key: Vec<Option<Cow<'a, str>>>,
    schedule: Vec<Option<String>>,
    timeout_ms: Vec<Option<i64>>,
    replay_of: Vec<Option<i64>>,
    mode: Vec<Option<&'static str>>,
    as_sent: Vec<Option<i64>>,
    /// When the window of the unique key began.
    since: i64,
}

/// Returns whether accepting a task makes this host hold it.
pub(super) fn is_held(task: &NewTask) -> bool {
    task.hold && !task.ordered
}

impl<'a> Tasks<'a> {
    pub(super) fn of(task: &'a NewTask) -> Self {
        let mut tasks = Self::default();
        tasks.push(task);
        tasks
    }

    pub(super) fn push(&mut self, task: &'a NewTask) {
        let state = if task.waits() { TaskState::Waiting } else { TaskState::Ready };
        self.event.push(task.event.as_ref().map(|event| event.0.as_str()));
        self.webhook.push(task.webhook.map(|webhook| webhook.0));
        self.number.push(int(task.number));
        self.name.push(text(&task.name));
        self.key.push(text(&task.key));
        self.host.push(optional(task.host.as_ref()));
        self.payload.push(task.payload.as_deref());
        self.state.push(number(state));
        self.run_at.push(task.run_at.0);
        self.at.push(task.at.0);
        self.held.push(is_held(task));
        self.priority.push(priority_number(task.priority));
        self.ordered.push(task.ordered);
        self.unique_key.push(task.unique.as_ref().map(|unique| text(&unique.key)));
        self.schedule.push(task.schedule.as_deref().map(write_schedule));
        self.timeout_ms.push(task.timeout.map(|timeout| i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX)));
        self.replay_of.push(task.replay_of.map(|task| task.0));
        self.mode.push(task.mode.map(AttemptMode::as_str));
        self.as_sent.push(task.as_sent.map(|attempt| attempt.0));
        let window_ms = task.unique.as_ref().map_or(0, |unique| unique.window.as_millis());
        self.since = task.at.0.saturating_sub(i64::try_from(window_ms).unwrap_or(i64::MAX));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.number.is_empty()
    }

    pub(super) fn columns<'c>(&'c self, host: &'c i64) -> Vec<Column<'c>> {
        vec![
            &self.event,
            &self.webhook,
            &self.number,
            &self.name,
            &self.key,
            &self.host,
            &self.payload,
            &self.state,
            &self.run_at,
            &self.at,
            &self.held,
            &self.priority,
            &self.ordered,
            &self.unique_key,
            &self.schedule,
            &self.timeout_ms,
            &self.replay_of,
            &self.mode,
            &self.as_sent,
            host,
        ]
    }

    /// Returns the columns for [`ACCEPT_UNIQUE`].
    pub(super) fn unique_columns<'c>(&'c self, host: &'c i64) -> Vec<Column<'c>> {
        let mut columns = self.columns(host);
        columns.push(&self.since);
        columns
    }
}

/// Returns what became of a task that was accepted under an id.
pub(super) fn accepted(task: &NewTask, id: i64) -> AcceptedTask {
    let head = TaskHead {
        id: TaskId(id),
        number: task.number,
        name: task.name.clone(),
        key: task.key.clone(),
        host: task.host.clone(),
        run_at: task.run_at,
        attempts: 0,
        priority: task.priority,
        ordered: task.ordered,
    };
    AcceptedTask { head, held: is_held(task), known: false }
}

/// Reads the answer of [`ACCEPT_UNIQUE`].
pub(super) fn accepted_unique(task: &NewTask, row: &Row) -> AcceptedTask {
    let known: bool = row.get(9);
    AcceptedTask { head: read::head(row), held: !known && is_held(task), known }
}

/// Starts tasks that the host $3 holds, and writes the attempts. `+ 0` keeps the server from going through an index of states or
/// holders, which is full of rows that were in that state a moment ago. Columns: which of the operations, the task as
/// [`read::TASK_COLUMNS`] has it, then event and webhook.
pub(super) const START: &str = concat!(
    "WITH begun AS (
         UPDATE task SET state = 1, attempts = attempts + 1, lease = lease + 1, updated_at = start.at
         FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS start (id, at, n)
         WHERE task.id = start.id AND task.state + 0 IN (0, 2) AND task.holder + 0 = $3::bigint
         RETURNING start.n, task.*),
     written AS (
         ",
    attempt::begin!(),
    ")
     SELECT ",
    read::task_columns!("begun"),
    ", ",
    read::event_columns!("event"),
    ", ",
    read::webhook_columns!("webhook"),
    ", begun.n FROM begun LEFT JOIN event ON event.id = begun.event LEFT JOIN webhook ON webhook.id = begun.webhook"
);

/// Reads a row of [`START`]: which of the operations, and what was started.
pub(super) fn started(row: &Row) -> (usize, Result<Started, StoreError>) {
    let (event_at, webhook_at) = (read::TASK_COLUMNS, read::TASK_COLUMNS + read::EVENT_COLUMNS);
    let index = position(row.get(webhook_at + read::WEBHOOK_COLUMNS));
    let read = || {
        let task = read::task(row)?;
        let event = row.get::<_, Option<&str>>(event_at).map(|_| read::event(row, event_at));
        let webhook = row.get::<_, Option<i64>>(webhook_at).map(|_| read::webhook(row, webhook_at)).transpose()?;
        Ok(Started { lease: task.lease, started_at: task.updated_at, event, webhook, task })
    };
    (index, read())
}

/// Turns what `WITH ORDINALITY` counts from 1 into an index.
pub(super) fn position(ordinality: i64) -> usize {
    usize::try_from(ordinality - 1).unwrap_or(0)
}

/// Locks the events of tasks that end and whose input is not kept, so that of two hosts that end the last two tasks of an
/// event, the second sees that it is the last.
pub(super) const LOCK_EVENTS: &str =
    "SELECT 1 FROM event WHERE id IN (SELECT event FROM task WHERE id = ANY($1::bigint[]))
    ORDER BY id FOR UPDATE";

/// Ends runs, and writes how the attempts ended. See [`START`] for `+ 0`. An ordered task lets the next one of its key go, of
/// which the other hosts are told. What was ended carries along all that follows needs: to look it up among what was to be
/// ended costs the square of the group.
pub(super) const FINISH: &str = "WITH ended AS (
        UPDATE task SET state = e.state, reason = e.reason, run_at = coalesce(e.run_at, task.run_at),
            attempts = task.attempts - e.not_counted, holder = CASE WHEN e.hold THEN $20::bigint END,
            payload = CASE WHEN e.forget THEN NULL ELSE task.payload END, updated_at = e.ended_at
        FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::text[], $5::bigint[], $6::integer[],
            $7::boolean[], $8::boolean[], $9::bigint[], $10::text[], $11::integer[], $12::text[], $13::text[], $14::text[],
            $15::text[], $16::text[], $17::bigint[], $18::text[], $19::bigint[])
        WITH ORDINALITY AS e (id, lease, state, reason, run_at, not_counted, hold, forget, ended_at, outcome, status,
            detail, url, response, plugin, plugin_version, next_at, exchanges, bytes, n)
        WHERE task.id = e.id AND task.lease = e.lease AND task.state + 0 = 1
        RETURNING e.*, task.ordered),
    written AS (
        UPDATE attempt SET ended_at = e.ended_at, outcome = e.outcome, status = e.status, detail = e.detail, url = e.url,
            response = e.response, plugin = e.plugin, plugin_version = e.plugin_version, next_at = e.next_at,
            exchanges = e.exchanges, bytes = e.bytes
        FROM ended e WHERE attempt.task = e.id AND attempt.lease = e.lease),
    counted AS (
        INSERT INTO attempt_bytes (host, bytes)
        SELECT $20, coalesce(sum(bytes), 0) FROM ended
        ON CONFLICT (host) DO UPDATE SET bytes = attempt_bytes.bytes + excluded.bytes)
    SELECT n, CASE WHEN ordered THEN pg_notify($21, $22)::text END FROM ended";

/// Removes the bodies of events whose tasks are all done.
pub(super) const FORGET_EVENTS: &str = "UPDATE event SET body = '' WHERE body <> ''
    AND id IN (SELECT event FROM task WHERE id = ANY($1::bigint[]) AND state + 0 = 3)
    AND NOT EXISTS (SELECT 1 FROM task WHERE task.event = event.id AND state <> 3)";

#[derive(Default)]
pub(super) struct Finishes<'a> {
    id: Vec<i64>,
    lease: Vec<i64>,
    state: Vec<i16>,
    reason: Vec<Option<Cow<'a, str>>>,
    run_at: Vec<Option<i64>>,
    not_counted: Vec<i32>,
    hold: Vec<bool>,
    forget: Vec<bool>,
    ended_at: Vec<i64>,
    outcome: Vec<Cow<'a, str>>,
    status: Vec<Option<i32>>,
    detail: Vec<Option<Cow<'a, str>>>,
    url: Vec<Option<Cow<'a, str>>>,
    response: Vec<Option<Cow<'a, str>>>,
    plugin: Vec<Option<&'a str>>,
    plugin_version: Vec<Option<&'a str>>,
    next_at: Vec<Option<i64>>,
    exchanges: Vec<Option<String>>,
    bytes: Vec<i64>,
    /// Tasks whose input is the body of an event and is not kept.
    pub(super) forgotten: Vec<i64>,
}

impl<'a> Finishes<'a> {
    pub(super) fn push(&mut self, finish: &'a RunEnd, has_event: bool) {
        let (run_at, reason, hold) = match &finish.ending {
            Ending::Retry { at, reason, hold } => (Some(at.0), Some(reason), *hold),
            Ending::Dead { reason } => (None, Some(reason), false),
            Ending::Done { .. } | Ending::Release => (None, None, false),
        };
        let forget = finish.ending == Ending::Done { keep_input: false };
        // Every ending is a move from `running`.
        let state = TaskState::Running.after(finish.ending.step()).unwrap_or(TaskState::Running);
        self.id.push(finish.task.0);
        self.lease.push(finish.lease.0);
        self.state.push(number(state));
        self.reason.push(optional(reason));
        self.run_at.push(run_at);
        self.not_counted.push(i32::from(finish.ending == Ending::Release));
        self.hold.push(hold);
        self.forget.push(forget);
        self.ended_at.push(finish.attempt.ended_at.0);
        self.outcome.push(text(&finish.attempt.outcome));
        self.status.push(finish.attempt.status.map(i32::from));
        self.detail.push(optional(finish.attempt.detail.as_ref()));
        self.url.push(optional(finish.attempt.url.as_ref()));
        self.response.push(optional(finish.attempt.response.as_ref()));
        self.plugin.push(finish.attempt.plugin.as_deref());
        self.plugin_version.push(finish.attempt.plugin_version.as_deref());
        self.next_at.push(finish.attempt.next_at.map(|at| at.0));
        let exchanges = write_exchanges(&finish.attempt.exchanges);
        self.bytes.push(attempt_bytes(finish.attempt.response.as_deref(), exchanges.as_deref()));
        self.exchanges.push(exchanges);
        if forget && has_event {
            self.forgotten.push(finish.task.0);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    pub(super) fn columns<'c>(&'c self, host: &'c i64, channel: &'c String, news: &'c String) -> Vec<Column<'c>> {
        vec![
            &self.id,
            &self.lease,
            &self.state,
            &self.reason,
            &self.run_at,
            &self.not_counted,
            &self.hold,
            &self.forget,
            &self.ended_at,
            &self.outcome,
            &self.status,
            &self.detail,
            &self.url,
            &self.response,
            &self.plugin,
            &self.plugin_version,
            &self.next_at,
            &self.exchanges,
            &self.bytes,
            host,
            channel,
            news,
        ]
    }
}

/// A start, as its caller asked for it.
#[derive(Default)]
pub(super) struct Starts {
    id: Vec<i64>,
    at: Vec<i64>,
}

impl Starts {
    pub(super) fn push(&mut self, task: TaskId, now: Timestamp) {
        self.id.push(task.0);
        self.at.push(now.0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    pub(super) fn columns<'c>(&'c self, host: &'c i64) -> Vec<Column<'c>> {
        vec![&self.id, &self.at, host]
    }
}
