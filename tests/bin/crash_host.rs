//! A small host program that is killed: it defers tasks, runs them, and prints what it may say of each.
//!
//! `crash_host FOLDER MODE SEED FIRST`, where FIRST is the number of its first task. Each line is one write, so that a line
//! that is begun is whole even when the process is killed:
//!
//! | Line | Says |
//! | --- | --- |
//! | `B WEAKENED` | begun; whether this is the weakened build |
//! | `R` | the host is open |
//! | `A NUMBER ID KNOWN` | task NUMBER was accepted as ID, or its unique key was taken by ID |
//! | `X NUMBER` | task NUMBER was refused |
//! | `E NUMBER` | the handler runs task NUMBER: its effect |
//! | `D ID STATE` | a run of task ID has ended and is on disk |
//! | `S` | the host has stopped |
#![expect(clippy::unwrap_used, reason = "a program of tests panics to fail them")]

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use switchboard::store::{
    Acceptance, AttemptResult, Ending, NewTask, RunEnd, SqliteStore, Store, TaskCounts, TaskStore, Timestamp,
};
use switchboard::{BuiltIn, CallHost, DeferOptions, Payload, PluginError, Switchboard, TriggerNumber};

const NUMBER: TriggerNumber = TriggerNumber::new(21_500);
/// Threads that accept.
const PRODUCERS: u64 = 3;
/// Tasks that each of them accepts.
const TASKS: u64 = 12;

pub(crate) fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, mode, seed, first] = &arguments[..] else { panic!("crash_host FOLDER MODE SEED FIRST") };
    let (seed, first) = (seed.parse().unwrap(), first.parse().unwrap());
    say(&format!("B {}", cfg!(switchboard_weakened)));
    match mode.as_str() {
        "work" => work(Path::new(folder), seed, first),
        "drain" => drain(Path::new(folder)),
        "store" => store(Path::new(folder), seed, first),
        other => panic!("no mode `{other}`"),
    }
}

/// Prints a line in one write.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
}

/// The handler of every task.
struct Work {
    /// Whether tasks fail that are to fail now and then. Where only what is left is run, those have come together, and
    /// would fail one after the other until their key is held by its breaker.
    fails: bool,
    /// Those that have failed here, which do not fail again, for the same reason.
    failed: Mutex<HashSet<u64>>,
}

impl Work {
    fn fails(&self, number: u64) -> bool {
        self.fails && fastrand::u8(0..10) < 5 && self.failed.lock().unwrap().insert(number)
    }
}

impl BuiltIn for Work {
    fn call(&self, _host: &dyn CallHost, input: &[u8]) -> Result<Payload, PluginError> {
        let input: Value = serde_json::from_slice(input)?;
        let number = input["n"].as_u64().unwrap();
        say(&format!("E {number}"));
        match input["plan"].as_str() {
            Some("dead") => return Err(PluginError::permanent("as planned")),
            Some("fail") if self.fails(number) => return Err(PluginError::retryable("as planned")),
            Some("slow") => std::thread::park_timeout(Duration::from_millis(fastrand::u64(0..6))),
            _ => {}
        }
        Ok(Payload::from(b"null".to_vec()))
    }
}

fn open(folder: &Path, fails: bool) -> Arc<Switchboard> {
    let work = Arc::new(Work { fails, failed: Mutex::default() });
    let host = Switchboard::builder(folder).watch(false).built_in(NUMBER, "work", work).open().unwrap();
    say("R");
    let outcomes = host.tasks().subscribe();
    std::thread::spawn(move || outcomes.iter().for_each(|outcome| say(&format!("D {} {}", outcome.id, outcome.state))));
    Arc::new(host)
}

/// Accepts and runs tasks until it is killed or its standard input is closed.
fn work(folder: &Path, seed: u64, first: u64) {
    let host = open(folder, true);
    for producer in 0..PRODUCERS {
        let host = Arc::clone(&host);
        std::thread::spawn(move || produce(&host, seed + producer, first + producer * TASKS));
    }
    // What is read does not matter; the end does.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    host.stop();
    say("S");
}

fn produce(host: &Switchboard, seed: u64, first: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for number in first..first + TASKS {
        let ordered = random.u8(0..4) == 0;
        let key = if ordered { "ordered" } else { "key" };
        let mut options = DeferOptions::default()
            .key(format!("{key}_{}", random.u8(0..3)))
            .ordered(ordered)
            .schedule(vec![Duration::ZERO; 20]);
        if random.u8(0..5) == 0 {
            options = options.unique(format!("unique_{}", random.u8(0..6)), Duration::ZERO);
        }
        if random.u8(0..5) == 0 {
            options = options.after(Duration::from_millis(random.u64(0..30)));
        }
        let plan =
            ["ok", "ok", "ok", "fail", "slow", "dead"][if random.u8(0..8) == 0 { 5 } else { random.usize(0..5) }];
        let filling = "x".repeat(random.usize(0..900));
        let payload = serde_json::to_vec(&json!({ "n": number, "plan": plan, "filling": filling })).unwrap();
        match host.defer(NUMBER, "work", payload, options) {
            Ok(task) => say(&format!("A {number} {} {}", task.id, task.known)),
            Err(_) => say(&format!("X {number}")),
        }
    }
}

/// Runs what is left to its end.
fn drain(folder: &Path) {
    let host = open(folder, false);
    let left = |counts: TaskCounts| counts.ready + counts.running + counts.waiting;
    while left(host.tasks().counts().unwrap()) > 0 {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    host.stop();
    say("S");
}

/// Works on the store itself, without an engine: accepts, starts and ends tasks of some size, so that the log is moved into
/// the database now and then. What the disk refuses is tried again.
fn store(folder: &Path, seed: u64, first: u64) {
    let store = SqliteStore::open(&folder.join("switchboard.db")).unwrap();
    say("R");
    let next = AtomicU64::new(first);
    std::thread::scope(|threads| {
        for producer in 0..PRODUCERS {
            let (store, next) = (&store, &next);
            threads.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed + producer);
                let mut accepted = 0;
                while accepted < 14 {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let payload = json!({ "n": number, "filling": "y".repeat(random.usize(30_000..120_000)) });
                    let Some(id) = accept(store, number, payload.to_string().into_bytes()) else { continue };
                    accepted += 1;
                    if random.u8(0..3) > 0 {
                        finish(store, id);
                    }
                }
            });
        }
    });
    store.close();
    say("S");
}

fn accept(store: &SqliteStore, number: u64, payload: Vec<u8>) -> Option<switchboard::store::TaskId> {
    let task = NewTask {
        number: NUMBER.get(),
        name: "work".into(),
        key: "key".into(),
        payload: Some(payload),
        hold: true,
        ..NewTask::default()
    };
    match store.accept(Acceptance { events: Vec::new(), tasks: vec![task] }).wait() {
        Ok(tasks) => {
            let id = tasks[0].head.id;
            say(&format!("A {number} {id} false"));
            Some(id)
        }
        Err(_) => {
            say(&format!("X {number}"));
            std::thread::park_timeout(Duration::from_millis(1));
            None
        }
    }
}

/// Starts and ends a task, as often as it takes.
fn finish(store: &SqliteStore, id: switchboard::store::TaskId) {
    loop {
        let Ok(Some(Ok(Some(started)))) = store.start(vec![id], Timestamp(1)).wait().map(|mut started| started.pop())
        else {
            std::thread::park_timeout(Duration::from_millis(1));
            continue;
        };
        let attempt = AttemptResult { ended_at: Timestamp(2), outcome: "ok".into(), ..AttemptResult::default() };
        let end = RunEnd { task: id, lease: started.lease, ending: Ending::Done { keep_input: true }, attempt };
        while store.finish(vec![end.clone()]).wait().is_err() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        return say(&format!("D {id} done"));
    }
}
