//! Group D: loading and starting, and whether the manifest told the truth.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switchboard_plugin_api::host::ModuleError;
use switchboard_plugin_api::{ErrorKind, HandlerKind, PluginError};

use super::host::{Behaviour, CheckHost};
use super::hygiene;
use super::worker::{Running, Session};
use crate::plugins;

/// How long loading and starting may take without a remark.
const FAST: Duration = Duration::from_millis(100);

/// D1.
pub(super) fn loads(session: &mut Session<'_>) {
    session.open();
}

/// D2. The file is in the page cache: it was copied just now.
pub(super) fn is_fast(session: &mut Session<'_>) {
    let begin = Instant::now();
    let started = session.start();
    let took = begin.elapsed();
    if started.is_some() {
        session.report.note(format!("{:.1} ms", took.as_secs_f64() * 1e3));
    }
    if took > FAST {
        session.warn(
            format!("loading and starting took {} ms", took.as_millis()),
            "do less in `Plugin::new`: connect and read when the first call needs it",
        );
    }
}

/// D3. What was written is judged by whoever started this process.
pub(super) fn starts(session: &mut Session<'_>) {
    session.start();
}

/// D4.
pub(super) fn leaves_nothing(session: &mut Session<'_>) {
    let Some(before) = hygiene::Process::look() else {
        session.report.skip("it cannot be measured on this system");
        return;
    };
    let Some(_running) = session.start() else { return };
    let Some(after) = hygiene::Process::look() else { return };
    if after.threads > before.threads {
        session.warn(
            format!("{} threads run after loading", after.threads - before.threads),
            "wait in an `async fn` in place of a thread, or start the thread at the first call",
        );
    }
    for opened in after.opened_since(&before) {
        session.warn(format!("`{opened}` is open after loading"), "open files and sockets when a call needs them");
    }
    if after.children > before.children {
        session.fail("a child process runs after loading", "start no process in a plugin");
    }
    for file in hygiene::files_here() {
        session.warn(
            format!("the file `{file}` was written into the working directory"),
            "keep values with `Context::kept`",
        );
    }
}

/// D5.
pub(super) fn loads_twice(session: &mut Session<'_>) {
    let Some(first) = session.start() else { return };
    session.report.at("opening a second copy of the library");
    let module = match plugins::open_module(&session.job.second, &session.manifest) {
        Ok(module) => module,
        Err(refusal) => {
            session.fail(
                format!("a second copy cannot be opened beside the first: {refusal}"),
                "keep no state outside the process, such as a lock on a file or a port",
            );
            return;
        }
    };
    let host = session.host();
    let Some(second) = session.start_under(module, &host) else { return };
    session.report.at("stopping the first copy while the second runs");
    first.plugin.shutdown();
    drop(first);
    session.report.at("stopping the second copy");
    second.plugin.shutdown();
}

/// D6.
pub(super) fn starts_without_services(session: &mut Session<'_>) {
    let Some(module) = session.open() else { return };
    for behaviour in [Behaviour::HasNone, Behaviour::FailsForNow, Behaviour::Garbage] {
        let host = session.host();
        host.behave(behaviour);
        session.report.at(format!("starting under a host whose services answer nothing useful ({behaviour:?})"));
        judge_start(session, module.start(Arc::<CheckHost>::clone(&host)).map(drop));
    }
}

/// A start that fails owes a sentence.
pub(super) fn judge_start(session: &mut Session<'_>, started: Result<(), ModuleError>) {
    match started {
        Err(ModuleError::Start(error)) if error.kind() == ErrorKind::Panic => {
            session.fail(format!("`Plugin::new` {error}"), "return a `PluginError` that says what is missing");
        }
        Err(ModuleError::Start(error)) if error.to_string().trim().is_empty() => {
            session.fail("`Plugin::new` fails without a message", "say in the error what is missing");
        }
        _ => {}
    }
}

/// B6. A handler is asked in the way that it is not called; that the plugin refuses, and how, shows that it is there.
pub(super) fn matches_manifest(session: &mut Session<'_>) {
    let Some(running) = session.start() else { return };
    let beyond = ask(session, &running, u32::MAX, HandlerKind::Sync);
    let count = u32::try_from(session.handlers.len()).unwrap_or(u32::MAX);
    let unknown = |error: &PluginError, index: u32| {
        beyond.as_ref().is_some_and(|beyond| {
            beyond.to_string().replace(&u32::MAX.to_string(), "") == error.to_string().replace(&index.to_string(), "")
        })
    };
    for handler in session.handlers.clone() {
        let other = if handler.kind == HandlerKind::Sync { HandlerKind::Async } else { HandlerKind::Sync };
        session.report.at(format!("asking whether {handler} is there"));
        match ask(session, &running, handler.index, other) {
            Some(error) if unknown(&error, handler.index) => session.fail(
                format!("the manifest lists {handler}, which the library does not have"),
                "build the plugin again; the manifest is made by `export_plugin!` and never edited",
            ),
            Some(_) => {}
            None => session.fail(
                format!("the manifest says that {handler} is {:?}, and it can be called as {other:?}", handler.kind),
                "build the plugin again; the manifest is made by `export_plugin!` and never edited",
            ),
        }
    }
    if ask(session, &running, count, HandlerKind::Sync).is_none_or(|error| !unknown(&error, count)) {
        session.fail(
            format!("the library has more handlers than the {count} in its manifest"),
            "build the plugin again; the manifest is made by `export_plugin!` and never edited",
        );
    }
}

/// Calls whatever has this index as if it were of that kind, and returns its error.
fn ask(session: &Session<'_>, running: &Running, index: u32, kind: HandlerKind) -> Option<PluginError> {
    let handler = super::worker::Handler { index, number: 0, name: String::new(), kind };
    session.call_quietly(running, &handler, b"{}").err()
}
