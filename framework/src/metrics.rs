//! Numbers about a host, for those who watch it.
//!
//! What happens is counted where it happens, in atomic numbers and without a lock. [`MetricsReport`] is what they are at
//! one moment, with what the scheduler and the store say just then; in which form that goes to a monitoring system is the
//! application's affair.

mod count;
mod minutes;

use std::time::Duration;

use serde::Serialize;
use switchboard_plugin_api::{ErrorKind, PluginError};

use self::count::{Distribution, Family};
pub use self::minutes::MinuteOfAttempts;
use self::minutes::Minutes;
use crate::core::Core;
use crate::deferred::{BreakerState, Ending};
use crate::health::PATIENCE;
use crate::store::{AttemptResult, StoreError, TaskCounts, TaskFilter, TaskState, Timestamp};

/// Outcome of an attempt that has succeeded.
const OK: &str = "ok";
/// Keys that are named, those with the most attempts in flight.
const BUSIEST: usize = 10;

/// Upper bounds of the times of attempts, in seconds: from a receiver on the same machine to the longest deadline.
const ATTEMPT_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];
/// Upper bounds of the times from acceptance to the start of the first attempt, in seconds.
const LAG_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0];

/// What is counted while the host runs.
pub(crate) struct Metrics {
    /// By plugin, mode and outcome.
    attempts: Family<3>,
    attempt_seconds: Distribution,
    lag_seconds: Distribution,
    first_byte_seconds: Distribution,
    /// By outcome of the last attempt.
    dead: Family<1>,
    /// By plugin.
    panics: Family<1>,
    /// By `sent` and `received`.
    bytes: Family<1>,
    /// By `accepted` and `known`.
    events: Family<1>,
    minutes: Minutes,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            attempts: Family::default(),
            attempt_seconds: Distribution::new(ATTEMPT_SECONDS),
            lag_seconds: Distribution::new(LAG_SECONDS),
            first_byte_seconds: Distribution::new(LAG_SECONDS),
            dead: Family::default(),
            panics: Family::default(),
            bytes: Family::default(),
            events: Family::default(),
            minutes: Minutes::default(),
        }
    }
}

/// An attempt that has ended.
pub(crate) struct Attempted<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) mode: &'a str,
    pub(crate) written: &'a AttemptResult,
    pub(crate) ending: &'a Ending,
    pub(crate) started_at: Timestamp,
    /// When its task was accepted, for the first attempt.
    pub(crate) accepted_at: Option<Timestamp>,
}

impl Metrics {
    pub(crate) fn attempted(&self, attempt: &Attempted<'_>) {
        let Attempted { plugin, mode, written, ending, started_at, accepted_at } = attempt;
        self.attempts.add([plugin, mode, &written.outcome], 1);
        self.minutes.ended(written.ended_at, written.outcome != OK);
        self.attempt_seconds.add(between(*started_at, written.ended_at));
        if let Some(accepted_at) = accepted_at {
            let lag = between(*accepted_at, *started_at);
            self.lag_seconds.add(lag);
            if let Some(in_attempt) = first_byte(written) {
                self.first_byte_seconds.add(lag + in_attempt);
            }
        }
        if let Ending::Dead { .. } = ending {
            self.dead.add([&written.outcome], 1);
        }
    }

    pub(crate) fn minutes(&self, now: Timestamp) -> Vec<MinuteOfAttempts> {
        self.minutes.until(now)
    }

    pub(crate) fn failed(&self, plugin: &str, error: &PluginError) {
        if error.kind() == ErrorKind::Panic {
            self.panics.add([plugin], 1);
        }
    }

    pub(crate) fn exchanged(&self, sent: usize, received: usize) {
        self.bytes.add(["sent"], sent as u64);
        self.bytes.add(["received"], received as u64);
    }

    pub(crate) fn announced(&self, known: bool) {
        self.events.add([if known { "known" } else { "accepted" }], 1);
    }
}

/// Returns how long after the start of an attempt the first byte of the receiver's answer came: that to the last request, with
/// the requests before it, such as one for a token.
fn first_byte(written: &AttemptResult) -> Option<Duration> {
    let (last, before) = written.exchanges.split_last()?;
    let timings = last.timings;
    let phases = [timings.dns, timings.connect, timings.tls, Some(timings.first_byte?)];
    let before = before.iter().filter_map(|exchange| exchange.timings.total);
    Some(before.chain(phases.into_iter().flatten()).sum())
}

/// Returns the time between two points; none when the clock was set back.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0))
}

/// A number with the labels that it is counted under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted<const N: usize> {
    /// The labels.
    #[serde(with = "labels")]
    pub labels: [String; N],
    /// The number.
    pub count: u64,
}

mod labels {
    use serde::{Serialize, Serializer};

    pub(super) fn serialize<S: Serializer, const N: usize>(
        labels: &[String; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        labels.as_slice().serialize(serializer)
    }
}

/// How times are distributed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Histogram {
    /// Upper bounds in seconds, each with how many times were not longer.
    pub buckets: Vec<(f64, u64)>,
    /// All times together, in seconds.
    pub sum: f64,
    /// How many times there are.
    pub count: u64,
}

/// Numbers about a host at one moment. Those that grow count from the start of the host.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MetricsReport {
    /// Attempts that have ended, by plugin, mode (`deferred`, `immediate`, `replay`) and outcome.
    pub attempts: Vec<Counted<3>>,
    /// How long they took.
    pub attempt_seconds: Histogram,
    /// How long tasks waited from their acceptance to the start of their first attempt.
    pub lag_seconds: Histogram,
    /// How long deliveries took from their acceptance to the first byte of the receiver's answer to the first attempt.
    pub first_byte_seconds: Histogram,
    /// Tasks that were given up, by outcome of their last attempt.
    pub dead: Vec<Counted<1>>,
    /// Panics of handlers, by plugin.
    pub panics: Vec<Counted<1>>,
    /// Bytes of the bodies that handlers sent and received over HTTP, by `sent` and `received`.
    pub bytes: Vec<Counted<1>>,
    /// Announced events, by `accepted` and `known` (announced again under the same idempotency key).
    pub events: Vec<Counted<1>>,
    /// How many tasks are in each state, in the whole store.
    pub tasks: TaskCounts,
    /// How long the ready task that was accepted first has been due; `None` when none is ready.
    pub oldest_ready: Option<Duration>,
    /// Attempts that are being made, in this host; like the next two, nothing when the scheduler does not answer within two
    /// seconds, which [`Health`](crate::Health) says.
    pub in_flight: u64,
    /// The keys with the most of them, each with how many: at most ten.
    pub busiest: Vec<(String, u64)>,
    /// Keys whose tasks do not start because they failed.
    pub open_breakers: u64,
}

/// Takes the numbers of a host.
pub(crate) fn report(core: &Core) -> Result<MetricsReport, StoreError> {
    let ready = TaskFilter { state: Some(TaskState::Ready), limit: 1, ..TaskFilter::default() };
    let now = Timestamp(core.clock.now());
    let keys = core.deferred.get().and_then(|deferred| deferred.keys_within(PATIENCE)).unwrap_or_default();
    let mut busy: Vec<(String, u64)> =
        keys.iter().filter(|key| key.running > 0).map(|key| (key.key.clone(), key.running as u64)).collect();
    busy.sort_by(|(left_key, left), (right_key, right)| right.cmp(left).then_with(|| left_key.cmp(right_key)));
    let in_flight = busy.iter().map(|(_, running)| running).sum();
    busy.truncate(BUSIEST);
    let metrics = &core.metrics;
    Ok(MetricsReport {
        attempts: metrics.attempts.counted(),
        attempt_seconds: metrics.attempt_seconds.histogram(),
        lag_seconds: metrics.lag_seconds.histogram(),
        first_byte_seconds: metrics.first_byte_seconds.histogram(),
        dead: metrics.dead.counted(),
        panics: metrics.panics.counted(),
        bytes: metrics.bytes.counted(),
        events: metrics.events.counted(),
        tasks: core.store.task_counts()?,
        oldest_ready: core.store.tasks(&ready)?.first().map(|task| between(task.run_at, now)),
        in_flight,
        busiest: busy,
        open_breakers: keys.iter().filter(|key| key.breaker != BreakerState::Closed).count() as u64,
    })
}
