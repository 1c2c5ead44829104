//! How deferred tasks stand up to what lasts: a key that hangs, a million tasks that wait, a restart with them, and nothing
//! to do at all.
//!
//! `cargo bench -p switchboard-tests --bench standing` prints a table. With `-- --check` the exit code says whether every
//! target is met. What is measured and why is in `docs/performance.md`.
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends")]
#![expect(clippy::print_stdout, reason = "the table is its result")]

mod hung;
mod worked;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use switchboard::store::{Acceptance, NewTask, SqliteStore, Store, TaskStore, Timestamp};
use switchboard_tests::bench::{self, Line, SyncProbe, Target, compare};
use switchboard_tests::{Site, switchboard};
use worked::{PAYLOAD_BYTES, Worked};

/// Tasks that wait.
const WAITING: i64 = 1_000_000;

/// Keys among which they are.
const KEYS: i64 = 1_000;

/// Tasks in one commit while the store is filled.
const BATCH: i64 = 1_000;

/// How long a host with nothing to do is watched.
const IDLE: Duration = Duration::from_secs(20);

/// Producers while a million tasks wait.
const PRODUCERS: usize = 8;

/// Most memory of a host with them, in MiB.
const MOST_MEMORY: f64 = 256.0;

fn main() -> ExitCode {
    let (empty, full) = (Site::with(&["fixture_bench"]), Site::with(&["fixture_bench"]));
    let _ = switchboard();
    bench::real_time();
    fill(&full);
    let mut probe = SyncProbe::new(empty.path());
    let mut lines = vec![hung::line(&mut probe)];
    let [without, with] = [Served::start(&empty), Served::start(&full)];
    let line = |what: &str, unit, floor, ours, target| Line { what: what.into(), unit, floor, ours, target };
    let Served { ready, memory, idle } = with;
    lines.push(line("restart with 1,000,000 tasks", "s", without.ready, ready, Target::Absolute(10.0)));
    lines.push(line("memory with 1,000,000 tasks", "MiB", without.memory, memory, Target::Absolute(MOST_MEMORY)));
    lines.push(line("an idle host, nothing waits", "%", 0.0, without.idle, Target::Absolute(0.5)));
    lines.push(line("an idle host, 1,000,000 wait", "%", 0.0, idle, Target::Absolute(0.5)));
    let [without, with] = [&empty, &full].map(|site| Worked::open(site, None));
    let target = Target::AtLeast(1.0 / 1.2);
    let accepted = |host: &Worked| host.accepted(PRODUCERS);
    let line = compare("accept, 1,000,000 wait", target, &mut probe, || accepted(&without), || accepted(&with));
    lines.push(line);
    let produced = |host: &Worked| host.produced(PRODUCERS);
    let line = compare("accept to done, 1,000,000 wait", target, &mut probe, || produced(&without), || produced(&with));
    lines.push(line);
    probe.print();
    bench::print(&lines)
}

/// Puts tasks into the store of a site: one half waits for tomorrow, the other for a plugin.
fn fill(site: &Site) {
    let store = SqliteStore::open(&site.path().join("switchboard.db")).unwrap();
    let at = jiff::Timestamp::now().as_millisecond();
    let tomorrow = at + 24 * 60 * 60 * 1_000;
    let (start, payload) = (Instant::now(), vec![b'r'; PAYLOAD_BYTES]);
    for batch in 0..WAITING / BATCH {
        let task = |index: i64| NewTask {
            number: 22_001,
            name: if index % 2 == 0 { "echo".into() } else { "of_no_plugin".into() },
            key: format!("backlog:{}", index % KEYS),
            payload: Some(payload.clone()),
            at: Timestamp(at),
            run_at: Timestamp(if index % 2 == 0 { tomorrow } else { at }),
            later: index % 2 == 0,
            ..NewTask::default()
        };
        let tasks = (batch * BATCH..(batch + 1) * BATCH).map(task).collect();
        store.accept(Acceptance { tasks, ..Acceptance::default() }).wait().unwrap();
    }
    store.close();
    println!("{WAITING} tasks accepted in {:.1} s, {BATCH} a commit", start.elapsed().as_secs_f64());
}

/// What a `switchboard serve` of its own showed.
struct Served {
    /// Seconds from its start until it was ready.
    ready: f64,
    /// The most memory that it had, in MiB.
    memory: f64,
    /// How much of a core it used while it had nothing to do, in percent.
    idle: f64,
}

impl Served {
    /// Serves a site whose store is not in the memory of the machine.
    fn start(site: &Site) -> Self {
        let file = site.path().join("switchboard.db");
        // `dd` can drop a file from the memory of the machine.
        let input = format!("if={}", file.display());
        let dropped = Command::new("dd").args([&input, "of=/dev/null", "iflag=nocache", "count=0"]).output();
        if !dropped.is_ok_and(|output| output.status.success()) {
            println!("the store is in the memory of the machine");
        }
        let start = Instant::now();
        // Should it be busy after all, it does not lock the machine.
        let serving = site.serve_with(bench::usual_priority);
        let ready = start.elapsed().as_secs_f64();
        let process = format!("/proc/{}", serving.pid());
        // Until it has taken up what it has room for, a host is not idle.
        std::thread::sleep(IDLE);
        let before = used(&process);
        std::thread::sleep(IDLE);
        let idle = (used(&process) - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
        let memory = memory(&process);
        assert!(serving.terminate().success());
        Self { ready, memory, idle }
    }
}

/// Returns the time that all threads of a process have run.
fn used(process: &str) -> Duration {
    let threads = fs::read_dir(Path::new(process).join("task")).unwrap();
    let of_thread = |thread: fs::DirEntry| {
        // Nanoseconds on a processor, those of waiting for one, and turns.
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0)
    };
    Duration::from_nanos(threads.map(|thread| of_thread(thread.unwrap())).sum())
}

/// Returns the most memory that a process had, in MiB.
fn memory(process: &str) -> f64 {
    let status = fs::read_to_string(Path::new(process).join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kibibytes: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes / 1024.0
}
