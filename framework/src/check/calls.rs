//! Group F: calls of the handlers.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use switchboard_plugin_api::host::Payload;
use switchboard_plugin_api::{
    AfterRun, AuthMethod, DeferredDelivery, EndOfRun, ErrorKind, HandlerKind, ImmediateDelivery, LanguageInit,
    PluginError, PublicTask, Trigger, WebhookRegistration, WebhookValidation,
};

use super::host::{Behaviour, CheckHost};
use super::payloads;
use super::worker::{Handler, MAX_RESULT_BYTES, Running, Session};
use crate::webhooks::check_form;

/// How long a call may go on after its deadline.
const AFTER_DEADLINE: Duration = Duration::from_secs(2);
/// A result that is larger, in bytes, is more than anybody reads.
const LARGE_RESULT_BYTES: usize = 1 << 20;
const CALLS_FROM_ANOTHER_THREAD: usize = 10_000;
const THREADS: usize = 8;
const CALLS_PER_THREAD: usize = 250;
const RANDOM_PAYLOADS: usize = 300;

/// F1.
pub(super) fn samples(session: &mut Session<'_>) {
    let Some(running) = session.activate() else { return };
    for handler in session.handlers.clone() {
        let result = session.call(&running, &handler, &payloads::sample(handler.number));
        let Err(error) = result else { continue };
        if error.kind() == ErrorKind::Panic {
            continue;
        }
        let what = format!("{handler} fails for a sample payload: {error}");
        match handler.number {
            5 | 7_300 => {
                session.fail(what, "let it succeed whatever is set: the host asks it when the plugin is loaded")
            }
            7_310 | 7_320 => session.warn(what, "see whether the settings of the form are enough for it"),
            // A task may well want arguments, and other numbers are not known here.
            _ => session.report.note(what),
        }
    }
}

/// F2.
pub(super) fn unknown_handler(session: &mut Session<'_>) {
    let Some(running) = session.start() else { return };
    let count = u32::try_from(session.handlers.len()).unwrap_or(u32::MAX);
    for index in [count, u32::MAX] {
        for kind in [HandlerKind::Sync, HandlerKind::Async] {
            let handler = Handler { index, number: 0, name: format!("unknown {index}"), kind };
            if session.call_with(&running, &handler, b"{}", "an empty object").is_ok() {
                session.fail(
                    format!("the handler {index}, which is not in the manifest, answers"),
                    "build the plugin again; the table of handlers is made by `export_plugin!`",
                );
            }
        }
    }
}

/// F3.
pub(super) fn sizes(session: &mut Session<'_>) {
    call_all_with(session, payloads::sizes);
}

/// F4.
pub(super) fn hostile(session: &mut Session<'_>) {
    call_all_with(session, payloads::hostile);
}

fn call_all_with(session: &mut Session<'_>, payloads: fn(u32) -> Vec<payloads::Named>) {
    let Some(running) = session.activate() else { return };
    let until = session.until();
    for handler in session.handlers.clone() {
        for (what, payload) in payloads(handler.number) {
            if Instant::now() > until {
                session.report.note(format!("time was over before {handler} got {what}"));
                return;
            }
            let result = session.call_with(&running, &handler, &payload, what);
            if matches!(&result, Err(error) if error.to_string().trim().is_empty()) {
                session
                    .warn(format!("{handler} fails without a message (with {what})"), "say in the error what is wrong");
            }
        }
    }
}

/// F5.
pub(super) fn results(session: &mut Session<'_>) {
    let Some(running) = session.activate() else { return };
    for handler in session.handlers.clone() {
        let Ok(result) = session.call(&running, &handler, &payloads::sample(handler.number)) else { continue };
        if result.len() > MAX_RESULT_BYTES {
            let found = format!("{handler} gives {} bytes, at most {MAX_RESULT_BYTES} are sensible", result.len());
            session.fail(found, "give a part, or a reference to the whole");
            continue;
        }
        if result.len() > LARGE_RESULT_BYTES {
            session.warn(format!("{handler} gives {} bytes", result.len()), "give a part, or a reference to the whole");
        }
        if let Err(why) = judge_type(&handler, &result) {
            session.fail(
                format!("the result of {handler} is not of the type of its trigger: {why}"),
                "register it with `add` or `add_async`, which know the type",
            );
        }
    }
}

fn judge_type(handler: &Handler, result: &Payload) -> Result<(), String> {
    fn read<T: DeserializeOwned>(result: &Payload) -> Result<T, String> {
        serde_json::from_slice(result).map_err(|error| error.to_string())
    }
    fn is<T: Trigger>(handler: &Handler, result: &Payload) -> Option<Result<(), String>> {
        (handler.number == T::NUMBER.get()).then(|| read::<T::Output>(result).map(drop))
    }
    if handler.number == WebhookRegistration::NUMBER.get() {
        return read::<AuthMethod>(result).and_then(|form| check_form(&handler.name, &form));
    }
    is::<LanguageInit>(handler, result)
        .or_else(|| is::<PublicTask>(handler, result))
        .or_else(|| is::<WebhookValidation>(handler, result))
        .or_else(|| is::<ImmediateDelivery>(handler, result))
        .or_else(|| is::<DeferredDelivery>(handler, result))
        .or_else(|| is::<AfterRun>(handler, result))
        .or_else(|| is::<EndOfRun>(handler, result))
        // Other numbers may take and give what they like.
        .unwrap_or(Ok(()))
}

/// F6. Only synchronous handlers see the caller's own memory.
pub(super) fn input_unchanged(session: &mut Session<'_>) {
    const GUARD: [u8; 64] = [0xa5; 64];
    let Some(running) = session.activate() else { return };
    let until = session.until();
    for handler in session.handlers.clone() {
        for (what, payload) in payloads::hostile(handler.number) {
            if Instant::now() > until {
                session.report.note(format!("time was over before {handler} got {what}"));
                return;
            }
            let memory = [&GUARD[..], &payload, &GUARD].concat();
            let before = memory.clone();
            let input = &memory[GUARD.len()..memory.len() - GUARD.len()];
            let _ = session.call_with(&running, &handler, input, what);
            if memory != before {
                let found = format!("{handler} changed the payload, or the memory beside it (with {what})");
                session.fail(found, "remove the `unsafe` that writes through a shared reference");
            }
        }
    }
}

/// F7.
pub(super) fn deterministic(session: &mut Session<'_>) {
    let Some(running) = session.activate() else { return };
    for handler in session.handlers.clone().iter().filter(|handler| matches!(handler.number, 5 | 7_300)) {
        let payload = payloads::sample(handler.number);
        let first = session.call(&running, handler, &payload);
        let second = session.call(&running, handler, &payload);
        if let (Ok(first), Ok(second)) = (first, second)
            && *first != *second
        {
            session.warn(
                format!("{handler} answers the same question in two ways"),
                "keep the order of what it lists, for example with a `BTreeMap`",
            );
        }
    }
}

/// F8.
pub(super) fn threads(session: &mut Session<'_>) {
    let Some(running) = session.activate() else { return };
    let mut most = usize::MAX;
    for handler in session.handlers.clone() {
        running.prepare(&handler);
        let payload = payloads::sample(handler.number);
        let until = Instant::now() + session.until().saturating_duration_since(Instant::now()) / count(session);
        session.report.at(format!("calling {handler} 10,000 times from another thread"));
        let (done, panic) = std::thread::scope(|scope| {
            let calling = scope.spawn(|| repeat(&running, &handler, &payload, CALLS_FROM_ANOTHER_THREAD, until));
            calling.join().unwrap_or((0, None))
        });
        most = most.min(done);
        judge_panic(session, &handler, "calls from another thread", panic);
        session.report.at(format!("calling {handler} from eight threads at once"));
        let panics = std::thread::scope(|scope| {
            let calling: Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(|| repeat(&running, &handler, &payload, CALLS_PER_THREAD, until).1))
                .collect();
            calling.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect::<Vec<_>>()
        });
        judge_panic(session, &handler, "calls from eight threads at once", panics.into_iter().next());
    }
    if most < CALLS_FROM_ANOTHER_THREAD {
        session.report.note(format!("time was over after {most} calls of a handler"));
    }
}

/// How many parts the time of a check has.
fn count(session: &Session<'_>) -> u32 {
    u32::try_from(session.handlers.len()).unwrap_or(u32::MAX).max(1)
}

fn judge_panic(session: &mut Session<'_>, handler: &Handler, what: &str, panic: Option<PluginError>) {
    if let Some(panic) = panic {
        session.judge(handler, what, &Err(panic));
    }
}

/// Calls a handler again and again, until it panics or time is over. Returns how often.
fn repeat(
    running: &Running,
    handler: &Handler,
    payload: &[u8],
    times: usize,
    until: Instant,
) -> (usize, Option<PluginError>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return (0, None) };
    for time in 0..times {
        if let Err(error) = running.call(&runtime, handler, payload)
            && error.kind() == ErrorKind::Panic
        {
            return (time, Some(error));
        }
        if Instant::now() > until {
            return (time, None);
        }
    }
    (times, None)
}

/// F9.
pub(super) fn no_services(session: &mut Session<'_>) {
    call_under(session, &[(Behaviour::HasNone, "a host without services")]);
}

/// F10.
pub(super) fn failing_services(session: &mut Session<'_>) {
    call_under(
        session,
        &[
            (Behaviour::FailsForNow, "a host whose services time out"),
            (Behaviour::FailsForGood, "a host whose services refuse"),
            (Behaviour::Garbage, "a host whose services answer garbage"),
        ],
    );
}

fn call_under(session: &mut Session<'_>, behaviours: &[(Behaviour, &str)]) {
    let Some(running) = session.activate() else { return };
    for handler in session.handlers.clone() {
        for (behaviour, what) in behaviours {
            running.host.behave(*behaviour);
            let what = format!("a sample payload, under {what}");
            let _ = session.call_with(&running, &handler, &payloads::sample(handler.number), &what);
        }
    }
}

/// F11.
pub(super) fn deadline(session: &mut Session<'_>) {
    let Some(running) = session.activate() else { return };
    for handler in session.handlers.clone() {
        for (passed, cancelled, what) in [(true, false, "a deadline that has passed"), (true, true, "a cancelled call")]
        {
            running.host.give_up(passed, cancelled);
            let begin = Instant::now();
            let _ = session.call_with(&running, &handler, &payloads::sample(handler.number), what);
            if begin.elapsed() > AFTER_DEADLINE {
                session.fail(
                    format!("{handler} went on for {} ms with {what}", begin.elapsed().as_millis()),
                    "look at `cx.time_left()` and `cx.is_cancelled()` between the parts of long work",
                );
            }
        }
        running.host.give_up(false, false);
        if handler.kind == HandlerKind::Async {
            drop_in_the_middle(session, &running, &handler);
        }
    }
}

/// A host drops the future of a call whose deadline passes.
fn drop_in_the_middle(session: &mut Session<'_>, running: &Running, handler: &Handler) {
    session.report.at(format!("dropping {handler} while it waits for the host"));
    running.prepare(handler);
    running.host.behave(Behaviour::HoldsFutures);
    let host = Arc::<CheckHost>::clone(&running.host);
    let mut call = Box::pin(running.plugin.call_async(handler.index, host, payloads::sample(handler.number)));
    if let Poll::Ready(result) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        session.judge(handler, "a sample payload", &result);
    }
    drop(call);
    running.host.behave(Behaviour::Works);
    let _ = session.call_with(
        running,
        handler,
        &payloads::sample(handler.number),
        "a sample payload, after a dropped call",
    );
}

/// F12.
pub(super) fn random(session: &mut Session<'_>) {
    let Some(running) = session.activate() else { return };
    let mut chance = fastrand::Rng::with_seed(session.job.seed);
    let until = session.until();
    let handlers = session.handlers.clone();
    for round in 0..RANDOM_PAYLOADS {
        for handler in &handlers {
            let payload = payloads::random(handler.number, &mut chance);
            let what = format!("random payload {round} of seed {}: {}", session.job.seed, shown(&payload));
            let _ = session.call_with(&running, handler, &payload, &what);
        }
        if Instant::now() > until {
            session.report.note(format!("time was over after {round} rounds"));
            return;
        }
    }
}

/// The beginning of a payload in printable characters.
fn shown(payload: &[u8]) -> String {
    const SHOWN: usize = 120;
    let text = payload[..payload.len().min(SHOWN)].escape_ascii().to_string();
    if payload.len() > SHOWN { format!("{text}…") } else { text }
}
