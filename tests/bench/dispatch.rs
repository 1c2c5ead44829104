//! What the framework costs: each part against the plainest way to the same result, both measured in turn in one run.
//!
//! `cargo bench -p switchboard-tests --bench dispatch` prints a table. With `-- --check` the exit code says whether
//! every target is met. What is measured and why is in `docs/performance.md`.
#![expect(unsafe_code, reason = "the plain C interface that the framework is measured against")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends")]

#[path = "../fixtures/bench/src/booking.rs"]
mod booking;

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use booking::Booking;
use libloading::Library;
use switchboard::{Run, Switchboard, TriggerNumber, WorkOn};
use switchboard_tests::bench::{self, Line, Target, median};
use switchboard_tests::{Site, library};

/// The handlers of the fixture `bench`.
const ECHO: TriggerNumber = TriggerNumber::new(22_001);
const PARSE: TriggerNumber = TriggerNumber::new(22_002);
const QUIET: TriggerNumber = TriggerNumber::new(22_003);

/// A booking of 200 bytes.
const PAYLOAD: &[u8] = br#"{"property_uid":62,"contract_uid":4711,"guest":"Ada Lovelace","email":"ada@example.org","arrival":"2026-12-01","departure":"2026-12-08","guests":2,"total":812.5,"paid":false,"remarks":"late, by trains"}"#;

/// How often each side is measured; the table shows medians.
const ROUNDS: usize = 201;

/// Time that one side takes in one round: long against the clock, short against what else the machine does.
const ROUND: Duration = Duration::from_micros(500);

/// Log records in one round.
const RECORDS: u32 = 100_000;

/// How often a library is loaded.
const LOADS: usize = 31;

fn main() -> ExitCode {
    let site = Site::with(&["fixture_bench"]);
    let switchboard = Switchboard::builder(site.path()).work_on(WorkOn::Nothing).watch(false).open().unwrap();
    let run = switchboard.run().start();
    bench::print(&[bytes(&run), json(&run), log_record(&run), load()])
}

/// A broadcast to one handler, 200 bytes in and 16 out, against the same function behind a pointer.
fn bytes(run: &Run) -> Line {
    let raw = Raw::open(library("fixture_raw"));
    let expected: Vec<u8> = PAYLOAD[..16].iter().rev().copied().collect();
    assert_eq!(**run.trigger(ECHO, PAYLOAD).unwrap().last().unwrap(), *expected);
    raw.echo(PAYLOAD, |output| assert_eq!(output, expected));
    let (floor, ours) = in_turn(
        || raw.echo(black_box(PAYLOAD), |output| assert!(!black_box(output).is_empty())),
        || drop(black_box(run.trigger(ECHO, black_box(PAYLOAD)).unwrap())),
    );
    Line { what: "broadcast, 200 bytes".into(), unit: "ns", floor, ours, target: Target::AtMost(3.0) }
}

/// A broadcast to one handler that reads and writes a JSON struct, against reading and writing it.
fn json(run: &Run) -> Line {
    let plain = |input: &[u8]| serde_json::to_vec(&serde_json::from_slice::<Booking>(input).unwrap().due()).unwrap();
    assert_eq!(**run.trigger(PARSE, PAYLOAD).unwrap().last().unwrap(), *plain(PAYLOAD));
    let (floor, ours) = in_turn(
        || drop(black_box(plain(black_box(PAYLOAD)))),
        || drop(black_box(run.trigger(PARSE, black_box(PAYLOAD)).unwrap())),
    );
    Line { what: "broadcast, a JSON struct".into(), unit: "ns", floor, ours, target: Target::AtMost(1.3) }
}

/// A log record of a plugin whose level is off, against a comparison that the compiler may not drop.
fn log_record(run: &Run) -> Line {
    let input = serde_json::to_vec(&RECORDS).unwrap();
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        assert!((0..RECORDS).all(|record| black_box(record) < RECORDS));
        floor.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(RECORDS));
        let fired = run.trigger(QUIET, &input).unwrap();
        ours.push(serde_json::from_slice(fired.last().unwrap()).unwrap());
    }
    let (floor, ours) = (median(floor), median(ours));
    Line { what: "disabled log record in a plugin".into(), unit: "ns", floor, ours, target: Target::Absolute(10.0) }
}

/// Loading a plugin whose file was just written, from the rescan that finds it to its place in the registry, against
/// opening a library of its size. Each has bytes of its own at its end, so that none is known already.
fn load() -> Line {
    let bytes = fs::read(library("fixture_bench")).unwrap();
    let site = Site::new();
    let switchboard = Switchboard::builder(site.path()).work_on(WorkOn::Nothing).watch(false).open().unwrap();
    let other = |round: usize| [&bytes[..], &vec![0; round + 1]].concat();
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for round in 0..LOADS {
        let file = site.path().join(format!("plain-{round}"));
        fs::write(&file, other(round)).unwrap();
        let start = Instant::now();
        // SAFETY: the fixture's constructors are those of Rust's standard library.
        let opened = unsafe { Library::new(&file) }.unwrap();
        floor.push(start.elapsed().as_secs_f64() * 1e3);
        std::mem::forget(opened);

        let file = site.install("fixture_bench");
        fs::write(&file, other(round)).unwrap();
        let start = Instant::now();
        let report = switchboard.rescan();
        ours.push(start.elapsed().as_secs_f64() * 1e3);
        assert!(report.plugins.iter().all(|plugin| plugin.reason.is_none()), "{report:?}");
        assert!(switchboard.registry().exists(ECHO));
        fs::remove_file(file).unwrap();
        switchboard.rescan();
    }
    Line {
        what: "load a plugin".into(),
        unit: "ms",
        floor: median(floor),
        ours: median(ours),
        target: Target::Absolute(5.0),
    }
}

/// Returns the median time of one call of each, in nanoseconds. The two take turns, so that whatever else the machine
/// does meets both.
fn in_turn(mut floor: impl FnMut(), mut ours: impl FnMut()) -> (f64, f64) {
    let (floor_calls, our_calls) = (calls_in_a_round(&mut floor), calls_in_a_round(&mut ours));
    let rounds = (0..ROUNDS).map(|_| (per_call(floor_calls, &mut floor), per_call(our_calls, &mut ours)));
    let (floors, ours) = rounds.unzip();
    (median(floors), median(ours))
}

fn calls_in_a_round(call: &mut impl FnMut()) -> u32 {
    let mut calls = 1;
    while Duration::from_secs_f64(per_call(calls, call) * f64::from(calls) / 1e9) < ROUND {
        calls *= 2;
    }
    calls
}

fn per_call(calls: u32, call: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

/// What the fixture `raw` gives; see there.
#[repr(C)]
struct Buffer {
    data: *mut u8,
    len: usize,
    capacity: usize,
}

/// The functions of the fixture `raw`, which stays open.
struct Raw {
    echo: unsafe extern "C" fn(*const u8, usize) -> Buffer,
    free: unsafe extern "C" fn(Buffer),
}

impl Raw {
    fn open(path: &Path) -> Self {
        // SAFETY: the fixture's constructors are those of Rust's standard library.
        let library = unsafe { Library::new(path) }.unwrap();
        // SAFETY: the fixture has functions of these types under these names, and it is never closed.
        let raw = unsafe { Self { echo: *library.get("raw_echo").unwrap(), free: *library.get("raw_free").unwrap() } };
        std::mem::forget(library);
        raw
    }

    fn echo(&self, input: &[u8], read: impl FnOnce(&[u8])) {
        // SAFETY: the pointer and the length are those of a slice that lives longer than the call.
        let buffer = unsafe { (self.echo)(input.as_ptr(), input.len()) };
        // SAFETY: the library gave these bytes and leaves them alone until they are freed.
        read(unsafe { std::slice::from_raw_parts(buffer.data, buffer.len) });
        // SAFETY: the buffer is the library's own, and nobody uses it any more.
        unsafe { (self.free)(buffer) };
    }
}
