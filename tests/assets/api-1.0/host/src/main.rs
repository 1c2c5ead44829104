//! The plugin side of a host of the time of plugin-api 1.0: it judges a library, opens it and calls a handler of it.
//!
//! `host-1-0 LIBRARY` prints `active`, or `refused: ` and the reason. `host-1-0 LIBRARY NUMBER NAME INPUT` calls a
//! handler and prints `value: ` and what it gave, or `failed: ` and its error.

mod library;
mod preflight;
mod refusal;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use switchboard_plugin_api::host::{CallHost, Payload, PluginHost, RunningPlugin, ServiceAnswer, ServiceFuture};
use switchboard_plugin_api::{HandlerKind, Manifest, PluginError, log, protocol};

use crate::refusal::Refusal;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((file, call)) = arguments.split_first() else {
        println!("usage: host-1-0 LIBRARY [NUMBER NAME INPUT]");
        return ExitCode::from(2);
    };
    let (manifest, plugin) = match load(&PathBuf::from(file)) {
        Ok(loaded) => loaded,
        Err(refusal) => {
            println!("refused: {refusal}");
            return ExitCode::FAILURE;
        }
    };
    let [number, name, input] = call else {
        println!("active");
        return ExitCode::SUCCESS;
    };
    match fire(&manifest, &plugin, number, name, input.as_bytes()) {
        Ok(value) => {
            println!("value: {}", String::from_utf8_lossy(&value));
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn load(file: &Path) -> Result<(Manifest, RunningPlugin), Refusal> {
    let bytes = std::fs::read(file).map_err(|error| Refusal::Load { reason: error.to_string() })?;
    let manifest = preflight::judge(&bytes)?;
    let plugin = library::open(file, &manifest, Arc::new(Bare))?;
    Ok((manifest, plugin))
}

fn fire(
    manifest: &Manifest,
    plugin: &RunningPlugin,
    number: &str,
    name: &str,
    input: &[u8],
) -> Result<Payload, PluginError> {
    let wanted = |number: u32| manifest.triggers.iter().position(|row| row.number == number && row.name == name);
    let index = number.parse().ok().and_then(wanted).ok_or_else(|| PluginError::permanent("no such handler"))?;
    let handler = u32::try_from(index).map_err(|_| PluginError::permanent("no such handler"))?;
    match manifest.triggers[index].kind {
        HandlerKind::Async => block_on(plugin.call_async(handler, Arc::new(Bare), input.to_vec())),
        _ => plugin.call(handler, &Bare, input),
    }
}

/// A host without texts, settings and HTTP. What it does not know it refuses in the words of its time.
struct Bare;

impl CallHost for Bare {
    fn service(&self, name: &str, head: &[u8], body: &[u8]) -> ServiceAnswer {
        PluginHost::service(self, name, head, body)
    }

    fn service_async(&self, name: &str, head: Vec<u8>, body: Vec<u8>) -> ServiceFuture {
        let answer = PluginHost::service(self, name, &head, &body);
        Box::pin(async { answer })
    }

    fn time_left(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

impl PluginHost for Bare {
    fn log(&self, level: log::Level, channel: &str, message: &str, _fields: &[(String, String)]) {
        println!("{channel}: {level} {message}");
    }

    fn log_level(&self) -> log::LevelFilter {
        log::LevelFilter::Info
    }

    fn service(&self, name: &str, _head: &[u8], _body: &[u8]) -> ServiceAnswer {
        match name {
            protocol::SETTING => Ok((b"false".to_vec(), Vec::new())),
            _ => Err(PluginError::permanent(format!("this host has no service `{name}`: update Switchboard"))),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}
