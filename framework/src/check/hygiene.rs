//! Group H: what a plugin changes in its process, measured before it is loaded and after it was stopped.
//!
//! Most of it is read from `/proc`; where there is none, a check is skipped and says so.

use std::collections::BTreeSet;
use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::payloads;
use super::worker::Session;
use crate::plugins;

/// How long threads have to end after a stop.
const THREADS_END: Duration = Duration::from_secs(2);
/// Growth of memory that is remarked on, in bytes a call.
const GROWTH_BYTES: usize = 64;
/// Growth in one window of calls that says nothing, in bytes.
const NOISE_BYTES: usize = 32 << 10;
const CALLS: usize = 1_000;
const WINDOWS: usize = 4;
const ELSEWHERE: &str = "it cannot be measured on this system";

/// What the system counts for this process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) threads: usize,
    pub(super) children: usize,
    descriptors: BTreeSet<(u32, String)>,
}

impl Process {
    /// Looks at this process. `None` where it cannot be measured.
    pub(super) fn look() -> Option<Self> {
        let tasks: Vec<_> = fs::read_dir("/proc/self/task").ok()?.flatten().map(|task| task.path()).collect();
        let children = tasks.iter().filter_map(|task| fs::read_to_string(task.join("children")).ok());
        let children = children.map(|children| children.split_whitespace().count()).sum();
        let open = fs::read_dir("/proc/self/fd").ok()?.flatten();
        let descriptors = open.filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            // The one through which the folder is read is closed by now, and has no target.
            Some((number, fs::read_link(entry.path()).ok()?.display().to_string()))
        });
        let own = format!("/proc/{}/fd", std::process::id());
        let descriptors = descriptors.filter(|(_, target)| *target != own).collect();
        Some(Self { threads: tasks.len(), children, descriptors })
    }

    /// Returns what is open now and was not before.
    pub(super) fn opened_since(&self, before: &Self) -> Vec<String> {
        self.descriptors.difference(&before.descriptors).map(|(number, target)| format!("{number}: {target}")).collect()
    }
}

/// Returns the names of the files in the working directory, which was empty when the process started.
pub(super) fn files_here() -> Vec<String> {
    let entries = fs::read_dir(".").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Loads, starts, calls every handler with samples and with hostile payloads, and stops the plugin.
fn live(session: &mut Session<'_>) -> Option<()> {
    let running = session.activate()?;
    let until = session.until();
    for handler in session.handlers.clone() {
        let samples = std::iter::repeat_n(("a sample payload", payloads::sample(handler.number)), 3);
        let all = samples.chain(payloads::hostile(handler.number)).chain(payloads::sizes(handler.number));
        for (at, (what, payload)) in all.enumerate() {
            // Every handler is called at least once.
            if at > 0 && Instant::now() > until {
                break;
            }
            session.report.at(format!("calling {handler} with {what}"));
            running.prepare(&handler);
            // What comes of it is for group F to judge.
            let _ = session.call_quietly(&running, &handler, &payload);
        }
    }
    session.report.at("stopping the plugin");
    running.plugin.shutdown();
    Some(())
}

/// Measures before and after the plugin's life and reports what has changed.
fn unchanged<T: PartialEq>(
    session: &mut Session<'_>,
    measure: impl Fn() -> Option<T>,
    describe: impl Fn(&T, &T) -> String,
    advice: &str,
) {
    let Some(before) = measure() else {
        session.report.skip(ELSEWHERE);
        return;
    };
    if live(session).is_none() {
        return;
    }
    match measure() {
        Some(after) if after != before => {
            let found = describe(&before, &after);
            session.fail(found, advice);
        }
        Some(_) => {}
        None => session.fail("the process cannot be looked at any more", advice),
    }
}

/// Returns the value of a line of `/proc/self/status`.
fn status(name: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

/// H1.
pub(super) fn locale(session: &mut Session<'_>) {
    unchanged(
        session,
        plugins::process_locale,
        |before, after| format!("the locale of the process was `{before}` and is `{after}`"),
        "leave out `setlocale`: it changes how the whole host reads and writes numbers",
    );
}

/// H2. A handler that was put in the place of another one is not seen, only one where there was none, and the reverse.
pub(super) fn signals(session: &mut Session<'_>) {
    unchanged(
        session,
        || ["SigBlk", "SigIgn", "SigCgt"].map(status).into_iter().collect::<Option<Vec<_>>>(),
        |before, after| {
            format!("signals (blocked, ignored, caught) were {} and are {}", before.join(", "), after.join(", "))
        },
        "leave signals to the host",
    );
}

/// H3.
pub(super) fn directory(session: &mut Session<'_>) {
    unchanged(
        session,
        || Some(std::env::current_dir().ok()),
        |before, after| format!("the working directory was {before:?} and is {after:?}"),
        "use absolute paths and leave out `set_current_dir`",
    );
}

/// H4.
pub(super) fn umask(session: &mut Session<'_>) {
    unchanged(
        session,
        || status("Umask"),
        |before, after| format!("the umask was {before} and is {after}"),
        "set the mode of a file when it is made",
    );
}

/// H5.
pub(super) fn environment(session: &mut Session<'_>) {
    unchanged(
        session,
        || Some(std::env::vars_os().collect::<BTreeSet<_>>()),
        |before, after| {
            let names: BTreeSet<_> =
                before.symmetric_difference(after).map(|(name, _)| name.to_string_lossy()).collect();
            format!("environment variables were changed: {}", names.into_iter().collect::<Vec<_>>().join(", "))
        },
        "leave out `set_var`: no other thread of the host may read the environment at that time",
    );
}

/// H6.
pub(super) fn limits(session: &mut Session<'_>) {
    unchanged(
        session,
        || fs::read_to_string("/proc/self/limits").ok(),
        |before, after| {
            let changed = after.lines().filter(|line| !before.lines().any(|other| other == *line));
            format!("resource limits were changed: {}", changed.collect::<Vec<_>>().join("; "))
        },
        "leave limits to the host",
    );
}

/// H7.
pub(super) fn descriptors(session: &mut Session<'_>) {
    unchanged(
        session,
        || Some(Process::look()?.descriptors),
        |before, after| {
            let show = |set: Vec<&(u32, String)>| {
                let shown = set.iter().map(|(number, target)| format!("{number} ({target})"));
                shown.collect::<Vec<_>>().join(", ")
            };
            let opened = show(after.difference(before).collect());
            let closed = show(before.difference(after).collect());
            match (opened.is_empty(), closed.is_empty()) {
                (false, true) => format!("still open: {opened}"),
                (true, false) => format!("closed, although the host's: {closed}"),
                _ => format!("still open: {opened}; closed, although the host's: {closed}"),
            }
        },
        "close what the plugin opened, at the latest in `shutdown`, and nothing else",
    );
}

/// H8.
pub(super) fn children(session: &mut Session<'_>) {
    unchanged(
        session,
        || Some(Process::look()?.children),
        |_, after| format!("{after} child processes are left"),
        "start no process in a plugin, or wait for its end",
    );
}

/// H9.
pub(super) fn threads(session: &mut Session<'_>) {
    let Some(before) = Process::look() else {
        session.report.skip(ELSEWHERE);
        return;
    };
    if live(session).is_none() {
        return;
    }
    let until = Instant::now() + THREADS_END;
    loop {
        let threads = Process::look().map_or(0, |process| process.threads);
        if threads <= before.threads {
            return;
        }
        if Instant::now() > until {
            let found = format!("{} threads go on after the plugin was stopped", threads - before.threads);
            session.fail(found, "end and join them in `shutdown`, or wait in an `async fn` in their place");
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// H10. Rounding and very small numbers come out differently when the control word was changed.
pub(super) fn floating_point(session: &mut Session<'_>) {
    let measure = || {
        let tiny = black_box(f64::MIN_POSITIVE) / black_box(4.0);
        let sum = black_box(1.0_f64) + black_box(f64::EPSILON / 2.0);
        let third = black_box(1.0_f64) / black_box(3.0);
        Some([tiny, sum, third, -third, black_box(2.0_f64).sqrt()].map(f64::to_bits))
    };
    unchanged(
        session,
        measure,
        |_, _| "the same arithmetic has another result".into(),
        "leave the rounding mode and the flags of the processor as they are",
    );
}

/// H11.
pub(super) fn panic_hook(session: &mut Session<'_>) {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(|_| {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }));
    if live(session).is_none() {
        return;
    }
    let before = SEEN.load(Ordering::Relaxed);
    // The panic is caught here; only who is told of it matters.
    let _ = std::panic::catch_unwind(|| std::panic::panic_any("of the check's own"));
    if SEEN.load(Ordering::Relaxed) != before + 1 {
        session.fail("the panic hook of the host was replaced", "leave out `std::panic::set_hook`");
    }
}

/// H12. What was written to the standard streams is judged by whoever started this process.
pub(super) fn output(session: &mut Session<'_>) {
    if live(session).is_none() {
        return;
    }
    for file in files_here() {
        session
            .fail(format!("the file `{file}` was left in the working directory"), "keep values with `Context::kept`");
    }
}

/// H13. A leak grows in every window of calls; what is only taken once does not.
pub(super) fn memory(session: &mut Session<'_>) {
    let Some(running) = session.activate() else { return };
    if resident().is_none() {
        session.report.skip(ELSEWHERE);
        return;
    }
    let handlers = session.handlers.clone();
    // Each window of each handler has its part of the time, so that a slow handler is measured as well.
    let windows = u32::try_from(handlers.len() * (WINDOWS + 1)).unwrap_or(u32::MAX).max(1);
    let slice = session.job.timeout / 2 / windows;
    for handler in handlers {
        session.report.at(format!("calling {handler} {} times", CALLS * (WINDOWS + 1)));
        running.prepare(&handler);
        let payload = payloads::sample(handler.number);
        let mut least = usize::MAX;
        for window in 0..=WINDOWS {
            let (before, until) = (resident().unwrap_or(0), Instant::now() + slice);
            let mut calls = 0;
            while calls < CALLS && (calls == 0 || Instant::now() < until) {
                // What comes of it is for group F to judge.
                let _ = session.call_quietly(&running, &handler, &payload);
                calls += 1;
            }
            let grown = resident().unwrap_or(0).saturating_sub(before);
            // The first window fills caches and pools. Less than some pages is no measurement.
            if window > 0 {
                least = least.min(if grown < NOISE_BYTES { 0 } else { grown / calls });
            }
        }
        if least > GROWTH_BYTES {
            session.warn(
                format!("memory grows by about {least} bytes with each call of {handler}"),
                "look for what is added to a collection or leaked in each call",
            );
        }
    }
}

/// Returns how much memory of its own the process has, in bytes.
fn resident() -> Option<usize> {
    let text = status("RssAnon")?;
    text.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib << 10)
}
