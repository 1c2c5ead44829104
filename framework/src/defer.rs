//! Work that is put off: a deferred task for any trigger, with its options.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use switchboard_plugin_api::protocol::MAX_DEFERRED_BYTES;
use switchboard_plugin_api::{PluginError, Trigger, TriggerNumber};
use thiserror::Error;

use crate::config;
use crate::core::Core;
use crate::dispatcher::write_json;
use crate::store::{Acceptance, NewTask, Priority, StoreError, TaskId, Timestamp, Unique};

/// Key of the tasks that the host application defers and gives no key.
const HOST_KEY: &str = "host";

/// Longest name of a key, a unique key or a handler, in bytes.
const MAX_NAME_BYTES: usize = 200;

/// The time for one attempt that a task may ask for.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);

/// Latest time at which a task may start, from now.
const MAX_WAIT: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// How a deferred task is run. Without options: at once, with the schedule of its trigger number, under the key `host`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use switchboard::DeferOptions;
/// use switchboard::store::Priority;
///
/// // One report a day and guest house, after the rush.
/// let options = DeferOptions::default()
///     .key("reports")
///     .after(Duration::from_secs(60 * 60))
///     .priority(Priority::Low)
///     .unique("report:7", Duration::from_secs(24 * 60 * 60));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct DeferOptions {
    key: Option<String>,
    start: Start,
    priority: Priority,
    ordered: bool,
    unique: Option<Unique>,
    schedule: Option<Vec<Duration>>,
    timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Start {
    #[default]
    Now,
    After(Duration),
    At(Timestamp),
}

impl DeferOptions {
    /// Names the key by which the task takes turns with others: 1 to 200 bytes.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Lets the task start no earlier than this time from now.
    pub fn after(mut self, delay: Duration) -> Self {
        self.start = Start::After(delay);
        self
    }

    /// Lets the task start no earlier than this moment; at once when it has passed.
    pub fn at(mut self, at: Timestamp) -> Self {
        self.start = Start::At(at);
        self
    }

    /// Says how urgent the task is.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Makes the task wait until every earlier ordered task of its key has ended.
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// Makes no task while there is one of this unique key that has not ended, or was accepted within `window`.
    pub fn unique(mut self, key: impl Into<String>, window: Duration) -> Self {
        self.unique = Some(Unique { key: key.into(), window });
        self
    }

    /// Gives the task a schedule of its own: the delays before attempt 1, 2, 3, ..., which are as many attempts as there
    /// are delays. 1 to 20, at most 7 days in all.
    pub fn schedule(mut self, delays: impl Into<Vec<Duration>>) -> Self {
        self.schedule = Some(delays.into());
        self
    }

    /// Gives each attempt this time: 1 ms to 24 h. A synchronous handler is only asked to keep to it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// A task that was deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeferredTask {
    /// Its id.
    pub id: TaskId,
    /// Whether it was there already, because its unique key was taken.
    pub known: bool,
}

/// Why a task cannot be deferred. Nothing was accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeferError {
    /// A name is empty, too long or has characters that nobody sees.
    #[error("{what} `{}` cannot be used: it needs 1 to {MAX_NAME_BYTES} bytes without control characters", name.escape_debug())]
    Name {
        /// What it names.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The payload is too large.
    #[error("the input of a deferred task has at most {MAX_DEFERRED_BYTES} bytes, this has {bytes}")]
    Payload {
        /// Its size.
        bytes: usize,
    },
    /// The input cannot be written.
    #[error("the input of the task cannot be written")]
    Input {
        /// Why.
        source: PluginError,
    },
    /// The schedule cannot be used.
    #[error("the schedule of the task {reason}")]
    Schedule {
        /// Why.
        reason: String,
    },
    /// The timeout cannot be used.
    #[error("the timeout of a task is between 1 ms and 24 h, this is {timeout:?}")]
    Timeout {
        /// What was asked for.
        timeout: Duration,
    },
    /// The task would start too late.
    #[error("a task can wait ten years for its start and no longer")]
    Wait,
    /// The store cannot take it.
    #[error("the task cannot be stored")]
    Store {
        /// Why.
        source: StoreError,
    },
}

/// Accepts a task.
pub(crate) fn defer(
    core: &Arc<Core>,
    number: TriggerNumber,
    name: &str,
    payload: Vec<u8>,
    options: DeferOptions,
) -> Result<DeferredTask, DeferError> {
    let task = new_task(Timestamp(core.clock.now()), number, name, payload, options)?;
    let acceptance = Acceptance { events: Vec::new(), tasks: vec![task] };
    let accepted = core.accept(acceptance).map_err(|source| DeferError::Store { source })?;
    let task = accepted.first().ok_or(DeferError::Store { source: StoreError::Closed })?;
    Ok(DeferredTask { id: task.head.id, known: task.known })
}

fn new_task(
    now: Timestamp,
    number: TriggerNumber,
    name: &str,
    payload: Vec<u8>,
    options: DeferOptions,
) -> Result<NewTask, DeferError> {
    let DeferOptions { key: named, start, priority, ordered, unique, schedule, timeout } = options;
    let key = named.unwrap_or_else(|| HOST_KEY.to_owned());
    check_name("the event name", name)?;
    check_name("the key", &key)?;
    if let Some(unique) = &unique {
        check_name("the unique key", &unique.key)?;
    }
    if payload.len() > MAX_DEFERRED_BYTES {
        return Err(DeferError::Payload { bytes: payload.len() });
    }
    if let Some(reason) = schedule.as_deref().and_then(config::schedule_problem) {
        return Err(DeferError::Schedule { reason });
    }
    if let Some(timeout) = timeout.filter(|timeout| !TIMEOUTS.contains(timeout)) {
        return Err(DeferError::Timeout { timeout });
    }
    // The first delay of a schedule is the one before the first attempt.
    let first = schedule.as_ref().and_then(|delays| delays.first().copied()).unwrap_or_default();
    let run_at = match start {
        Start::Now => after(now, first)?,
        Start::After(delay) => after(now, delay.max(first))?,
        Start::At(at) => at.max(after(now, first)?),
    };
    if run_at > after(now, MAX_WAIT)? {
        return Err(DeferError::Wait);
    }
    Ok(NewTask {
        number: number.get(),
        name: name.to_owned(),
        key,
        payload: Some(payload),
        at: now,
        run_at,
        priority,
        ordered,
        unique,
        schedule,
        timeout,
        ..NewTask::default()
    })
}

/// Checks a name that comes from outside.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), DeferError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(DeferError::Name { what, name: name.chars().take(MAX_NAME_BYTES).collect() });
    }
    Ok(())
}

fn after(now: Timestamp, delay: Duration) -> Result<Timestamp, DeferError> {
    let delay_ms = i64::try_from(delay.as_millis()).map_err(|_| DeferError::Wait)?;
    now.0.checked_add(delay_ms).map(Timestamp).ok_or(DeferError::Wait)
}

impl crate::Switchboard {
    /// Makes a deferred task: the minicomponent `name` of a trigger runs in the background with `payload` as its input, at
    /// least once. It is on disk when this returns. When no plugin has such a minicomponent, the task waits for one.
    ///
    /// # Errors
    ///
    /// When a name or an option cannot be used, the payload is larger than 256 KiB, or the store cannot take it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use switchboard::{DeferOptions, Switchboard, TriggerNumber};
    ///
    /// let switchboard = Switchboard::open("switchboard-data")?;
    /// let number = TriggerNumber::new(6_000);
    /// let options = DeferOptions::default().key("guest:7").ordered(true).after(Duration::from_secs(60));
    /// let task = switchboard.defer(number, "send_report", r#"{"guest": 7}"#, options)?;
    /// println!("task {}", task.id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn defer(
        &self,
        number: TriggerNumber,
        name: &str,
        payload: impl Into<Vec<u8>>,
        options: DeferOptions,
    ) -> Result<DeferredTask, DeferError> {
        defer(self.core(), number, name, payload.into(), options)
    }

    /// Makes a deferred task as [`Switchboard::defer`](crate::Switchboard::defer) does, for a trigger whose input has a type.
    ///
    /// # Errors
    ///
    /// As [`Switchboard::defer`](crate::Switchboard::defer), and when the input cannot be written.
    pub fn defer_typed<T: Trigger>(
        &self,
        name: &str,
        input: &T::Input,
        options: DeferOptions,
    ) -> Result<DeferredTask, DeferError> {
        let payload = write_json(T::NUMBER, input).map_err(|source| DeferError::Input { source })?;
        self.defer(T::NUMBER, name, payload, options)
    }
}

impl crate::Run {
    /// Makes a deferred task as [`Switchboard::defer`](crate::Switchboard::defer) does, together with what the run announces:
    /// [`Run::finish`](crate::Run::finish) commits all of it at once, or nothing, and [`Finished::deferred`] has the tasks in
    /// the order of these calls. Until then nobody runs it; a delay counts from here.
    ///
    /// [`Finished::deferred`]: crate::Finished::deferred
    ///
    /// # Errors
    ///
    /// When a name or an option cannot be used, or the payload is larger than 256 KiB.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use serde_json::json;
    /// use switchboard::{DeferOptions, Notification, Switchboard, TriggerNumber};
    ///
    /// let switchboard = Switchboard::open("switchboard-data")?;
    /// let mut run = switchboard.run().owner(62).task("save_booking").start();
    /// run.announce(Notification::new("booking_added", &json!({ "property_uid": 7 }))?)?;
    /// let letter = DeferOptions::default().key("letters").unique("letter:41", std::time::Duration::ZERO);
    /// run.defer(TriggerNumber::new(6_000), "send_letter", r#"{"contract": 41}"#, letter)?;
    /// let finished = run.finish()?; // the event with its deliveries, and the letter: all of them are on disk
    /// println!("task {}", finished.deferred[0].id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn defer(
        &mut self,
        number: TriggerNumber,
        name: &str,
        payload: impl Into<Vec<u8>>,
        options: DeferOptions,
    ) -> Result<(), DeferError> {
        let state = self.state();
        let task = new_task(Timestamp(state.core.clock.now()), number, name, payload.into(), options)?;
        state.with_outbox(|outbox| outbox.defer(task));
        Ok(())
    }

    /// Makes a deferred task as [`Run::defer`](crate::Run::defer) does, for a trigger whose input has a type.
    ///
    /// # Errors
    ///
    /// As [`Run::defer`](crate::Run::defer), and when the input cannot be written.
    pub fn defer_typed<T: Trigger>(
        &mut self,
        name: &str,
        input: &T::Input,
        options: DeferOptions,
    ) -> Result<(), DeferError> {
        let payload = write_json(T::NUMBER, input).map_err(|source| DeferError::Input { source })?;
        self.defer(T::NUMBER, name, payload, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: TriggerNumber = TriggerNumber::new(6_000);

    fn made(options: DeferOptions) -> Result<NewTask, String> {
        new_task(Timestamp(1_000), NUMBER, "report", b"{}".to_vec(), options).map_err(|error| error.to_string())
    }

    fn options() -> DeferOptions {
        DeferOptions::default()
    }

    #[test]
    fn a_task_without_options_is_due_at_once_under_the_key_of_whoever_defers() {
        let task = made(options()).unwrap();
        assert_eq!(
            (task.key.as_str(), task.run_at, task.waits(), task.ordered),
            ("host", Timestamp(1_000), false, false)
        );
        assert_eq!(task.payload.as_deref(), Some(&b"{}"[..]));
    }

    #[test]
    fn the_start_and_the_first_delay_of_the_schedule_both_hold() {
        let second = Duration::from_secs(1);
        let run_at = |options| made(options).unwrap().run_at.0;
        assert_eq!(run_at(options().after(second)), 2_000);
        assert_eq!(run_at(options().at(Timestamp(9_000))), 9_000);
        assert_eq!(run_at(options().at(Timestamp(5))), 1_000);
        assert_eq!(run_at(options().schedule([2 * second])), 3_000);
        assert_eq!(run_at(options().schedule([2 * second]).after(3 * second)), 4_000);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_is_needed() {
        let refused = |options, text: &str| {
            let error = made(options).unwrap_err();
            assert!(error.contains(text), "`{text}` is not in {error}");
        };
        refused(options().key(""), "the key `` cannot be used: it needs 1 to 200 bytes");
        refused(options().key("a\nb"), r"the key `a\nb` cannot be used");
        refused(options().unique("x".repeat(201), Duration::ZERO), "the unique key");
        refused(options().schedule([]), "it is 0, it must be 1 to 20");
        refused(options().schedule([Duration::MAX]), "is longer than 7 days in all");
        refused(options().timeout(Duration::ZERO), "between 1 ms and 24 h");
        refused(options().after(Duration::MAX), "ten years");
        refused(options().at(Timestamp(i64::MAX)), "ten years");
        let large = new_task(Timestamp(0), NUMBER, "report", vec![b' '; (256 << 10) + 1], options()).unwrap_err();
        assert!(large.to_string().contains("has at most 262144 bytes, this has 262145"), "{large}");
        let unnamed = new_task(Timestamp(0), NUMBER, "", Vec::new(), options()).unwrap_err();
        assert!(unnamed.to_string().starts_with("the event name ``"), "{unnamed}");
    }
}
