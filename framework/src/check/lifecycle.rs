//! Group E: starting and stopping, in and out of order.

use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use switchboard_plugin_api::HandlerKind;

use super::host::{Behaviour, CheckHost};
use super::load::judge_start;
use super::payloads;
use super::worker::{Handler, Running, Session};

/// How long a stop may take.
const STOP: Duration = Duration::from_secs(2);

/// E1.
pub(super) fn cycles(session: &mut Session<'_>) {
    let Some(module) = session.open() else { return };
    for cycle in 1..=3 {
        let host = session.host();
        let Some(running) = session.start_under(module, &host) else { return };
        for handler in session.handlers.clone() {
            session.report.at(format!("calling {handler} after start {cycle}"));
            // What comes of it is for group F to judge.
            let _ = session.call_quietly(&running, &handler, &payloads::sample(handler.number));
        }
        session.report.at(format!("stopping the plugin after start {cycle}"));
        running.plugin.shutdown();
    }
}

/// E2.
pub(super) fn out_of_order(session: &mut Session<'_>) {
    let Some(module) = session.open() else { return };
    let (first_host, second_host) = (session.host(), session.host());
    let Some(first) = session.start_under(module, &first_host) else { return };
    session.report.at("starting a second instance beside the first");
    let Some(second) = session.start_under(module, &second_host) else { return };
    session.report.at("stopping an instance that was never called");
    second.plugin.shutdown();
    for handler in session.handlers.clone() {
        let input = payloads::sample(handler.number);
        let _ = session.call_with(&second, &handler, &input, "a sample payload, after the stop");
        let _ = session.call_with(&first, &handler, &input, "a sample payload, after another instance was stopped");
    }
}

/// E3.
pub(super) fn stops_twice(session: &mut Session<'_>) {
    let Some(running) = session.start() else { return };
    for time in ["first", "second"] {
        session.report.at(format!("stopping the plugin for the {time} time"));
        running.plugin.shutdown();
    }
}

/// E4.
pub(super) fn odd_settings(session: &mut Session<'_>) {
    const HUGE: usize = 1 << 20;
    let Some(module) = session.open() else { return };
    let odd = [
        ("an empty text", String::new()),
        ("a text that is nothing in particular", "\u{1}\0 ' \" <>&;\r\n\u{202e}ÿ".to_owned()),
        ("a negative number", "-1".to_owned()),
        ("a number beyond every type", "9".repeat(400)),
        ("a text of 1 MiB", "x".repeat(HUGE)),
    ];
    for (what, value) in odd {
        let host = session.host();
        host.set_every_setting(Some(value));
        session.report.at(format!("starting with {what} in every setting"));
        match module.start(Arc::<CheckHost>::clone(&host)) {
            Ok(plugin) => plugin.shutdown(),
            error => judge_start(session, error.map(drop)),
        }
    }
}

/// E5.
pub(super) fn stops_during_a_call(session: &mut Session<'_>) {
    let handlers = session.handlers.clone();
    let Some(running) = session.activate() else { return };
    for handler in &handlers {
        session.report.at(format!("stopping the plugin while {handler} waits for the host"));
        running.prepare(handler);
        let waited = match handler.kind {
            HandlerKind::Async => stops_beside_a_future(session, &running, handler),
            _ => stops_beside_a_thread(session, &running, handler),
        };
        if waited {
            return;
        }
    }
    session.report.skip("no handler waits for the host");
}

/// Returns whether the handler waited, so that the plugin was stopped.
fn stops_beside_a_future(session: &mut Session<'_>, running: &Running, handler: &Handler) -> bool {
    running.host.behave(Behaviour::HoldsFutures);
    let host = Arc::<CheckHost>::clone(&running.host);
    let call = running.plugin.call_async(handler.index, host, payloads::sample(handler.number));
    let mut call = Box::pin(call);
    if let Poll::Ready(result) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        session.judge(handler, "a sample payload", &result);
        return false;
    }
    stop(session, running);
    drop(call);
    true
}

fn stops_beside_a_thread(session: &mut Session<'_>, running: &Running, handler: &Handler) -> bool {
    running.host.behave(Behaviour::HoldsThreads);
    std::thread::scope(|scope| {
        let (ended, end) = mpsc::channel();
        scope.spawn(move || {
            let result = running.plugin.call(handler.index, &*running.host, &payloads::sample(handler.number));
            // The other side is gone when it has stopped the plugin.
            let _ = ended.send(result);
        });
        let waited = loop {
            if running.host.is_waited_for(Duration::from_millis(10)) {
                break true;
            }
            if let Ok(result) = end.try_recv() {
                session.judge(handler, "a sample payload", &result);
                break false;
            }
        };
        if waited {
            stop(session, running);
            running.host.release();
            if let Ok(result) = end.recv() {
                session.judge(handler, "a sample payload, while the plugin stops", &result);
            }
        }
        waited
    })
}

fn stop(session: &mut Session<'_>, running: &Running) {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let (ended, end) = mpsc::channel();
        scope.spawn(move || {
            running.plugin.shutdown();
            // The other side has stopped waiting when this took too long.
            let _ = ended.send(());
        });
        if end.recv_timeout(STOP).is_err() {
            let found = format!("`shutdown` has not returned after {} seconds", begin.elapsed().as_secs());
            session.fail(found, "do not wait for running calls in `shutdown`: the host does that");
            running.host.release();
        }
    });
}

/// E6. The first process ends in the middle of calls; a second one has to find nothing that hinders it.
pub(super) fn is_killed(session: &mut Session<'_>) {
    let Some(running) = session.activate() else { return };
    let handlers = session.handlers.clone();
    for handler in &handlers {
        let _ = session.call(&running, handler, &payloads::sample(handler.number));
    }
    if session.job.kills > 0 {
        return;
    }
    session.report.kill();
    std::thread::scope(|scope| {
        for handler in handlers.iter().filter(|handler| handler.kind == HandlerKind::Sync) {
            let running = &running;
            scope.spawn(move || {
                loop {
                    let _ = running.plugin.call(handler.index, &*running.host, &payloads::sample(handler.number));
                }
            });
        }
        kill_this_process();
    });
}

#[cfg(unix)]
fn kill_this_process() {
    let me = rustix::process::getpid();
    // Nothing is left to do when even that fails; the process that waits then sees a timeout.
    let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
}

#[cfg(not(unix))]
fn kill_this_process() {
    std::process::abort();
}
