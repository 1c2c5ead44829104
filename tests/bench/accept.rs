//! What durable acceptance costs: announcing and committing an event with its deferred task, against one bare writer
//! thread that groups the same inserts into commits with the same sync.
//!
//! `cargo bench -p switchboard-tests --bench accept` prints a table. With `-- --check` the exit code says whether
//! every target is met. What is measured and why is in `docs/performance.md`.
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends")]
#![expect(clippy::print_stdout, reason = "the table is its result")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use switchboard::{Notification, Switchboard, WebhookDraft, WorkOn};
use switchboard_tests::Site;
use switchboard_tests::bench::{self, Line, SyncProbe, Target};

/// How many threads accept at once, each waiting for its own acceptance.
const PRODUCERS: [usize; 3] = [1, 8, 64];

/// How often each side is measured; the table shows the middle one of the rounds in which the disk was steady.
const ROUNDS: usize = 15;

/// Time that one side takes in one round.
const ROUND: Duration = Duration::from_millis(200);

/// Bytes of the properties of an event.
const PAYLOAD_BYTES: usize = 1 << 10;

/// Most acceptances in one commit of the bare writer, as many as in the store's.
const MAX_GROUP: usize = 1024;

fn main() -> ExitCode {
    let (site, bare_site) = (site(), site());
    let host = open(&site);
    let bare = Bare::start(&bare_site);
    let mut probe = SyncProbe::new(site.path());
    let mut all = Vec::new();
    for producers in PRODUCERS {
        all.push((producers, (0..ROUNDS).map(|_| Round::measure(producers, &bare, &host, &mut probe)).collect()));
    }
    let total = |side: fn(&Round) -> u64| all.iter().flat_map(|(_, rounds): &(_, Vec<Round>)| rounds).map(side).sum();
    let (inserted, accepted): (u64, u64) = (total(|round| round.floor), total(|round| round.ours));
    assert_eq!(host.tasks().counts().unwrap().ready, accepted, "every acceptance has its task");
    host.stop();
    assert_eq!(bare.stop(), inserted + 1, "every insert is in the table, after the sample");
    probe.print();
    let lines: Vec<Line> = all.iter().map(|(producers, rounds)| line(*producers, rounds)).collect();
    bench::print(&lines)
}

/// What both sides did in one round.
struct Round {
    floor: u64,
    ours: u64,
    /// Looks at the disk before, between and after them.
    looks: [f64; 3],
}

impl Round {
    fn measure(producers: usize, bare: &Bare, host: &Switchboard, probe: &mut SyncProbe) -> Self {
        let before = probe.look();
        let floor = in_threads(producers, || bare.producer());
        let between = probe.look();
        let ours = in_threads(producers, || || accept(host));
        Self { floor, ours, looks: [before, between, probe.look()] }
    }

    fn ratio(&self) -> f64 {
        per_second(self.ours) / per_second(self.floor)
    }
}

/// Makes a line of the round in the middle of those in which the disk was steady. Rounds differ more than sides do, so
/// it is the ratios that are compared.
fn line(producers: usize, rounds: &[Round]) -> Line {
    let mut steady: Vec<&Round> = rounds.iter().filter(|round| SyncProbe::is_steady(&round.looks)).collect();
    println!("{producers} producers: {} of {ROUNDS} rounds count", steady.len());
    steady.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    // Without a steady round there is no figure, and the target is missed.
    let (floor, ours) = steady
        .get(steady.len() / 2)
        .map_or((f64::NAN, f64::NAN), |middle| (per_second(middle.floor), per_second(middle.ours)));
    let what = format!("durable accept, {producers} producers");
    Line { what, unit: "/s", floor, ours, target: Target::AtLeast(0.8) }
}

/// Makes a data folder with a plugin that delivers.
fn site() -> Site {
    let site = Site::with(&["webhook_none"]);
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n");
    site
}

/// Opens a host with a webhook that every event goes to. Its tasks are left alone: what is measured is acceptance.
fn open(site: &Site) -> Switchboard {
    let host = Switchboard::builder(site.path()).work_on(WorkOn::Nothing).watch(false).open().unwrap();
    let webhook = WebhookDraft {
        owner: 0,
        url: "http://127.0.0.1:9/hook".into(),
        method: "none".into(),
        ..WebhookDraft::default()
    };
    host.webhooks().add(webhook).unwrap();
    host
}

/// Announces one event and returns when it is on disk with its task.
fn accept(host: &Switchboard) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let head = format!("{{\"contract_uid\":{},\"remarks\":\"", NUMBER.fetch_add(1, Ordering::Relaxed));
    let data = format!("{head}{}\"}}", "r".repeat(PAYLOAD_BYTES - head.len() - 2));
    let mut run = host.run().start();
    run.announce(Notification::from_json("booking_added", data)).unwrap();
    assert_eq!(run.finish().unwrap().events[0].tasks.len(), 1);
}

/// Lets threads produce until the round is over, and returns how often they did.
fn in_threads<P: FnMut() + Send>(producers: usize, producer: impl Fn() -> P) -> u64 {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..producers)
            .map(|_| {
                let (mut produce, over) = (producer(), &over);
                scope.spawn(move || {
                    let mut count = 0;
                    while !over.load(Ordering::Relaxed) {
                        produce();
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let start = Instant::now();
        while let Some(left) = ROUND.checked_sub(start.elapsed()) {
            std::thread::park_timeout(left);
        }
        over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a fraction of a second")]
fn per_second(count: u64) -> f64 {
    count as f64 / ROUND.as_secs_f64()
}

/// Tells a producer that its insert is on disk.
type Done = SyncSender<()>;

/// One thread that writes what the store writes for an acceptance, and does nothing else.
struct Bare {
    jobs: SyncSender<Done>,
    thread: JoinHandle<u64>,
}

impl Bare {
    /// Starts the writer on a store in which a host has accepted once, so that tables, indexes and rows are the store's.
    fn start(site: &Site) -> Self {
        let host = open(site);
        accept(&host);
        host.stop();
        let connection = Connection::open(site.path().join("switchboard.db")).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        let (jobs, inbox) = sync_channel(MAX_GROUP);
        Self { jobs, thread: std::thread::spawn(move || write(&connection, &inbox)) }
    }

    /// Returns a function that has one acceptance written and waits until it is on disk.
    fn producer(&self) -> impl FnMut() + Send + use<> {
        let jobs = self.jobs.clone();
        let (done, told) = sync_channel(1);
        move || {
            jobs.send(done.clone()).unwrap();
            told.recv().unwrap();
        }
    }

    /// Ends the thread, and returns how many tasks are in its store.
    fn stop(self) -> u64 {
        drop(self.jobs);
        self.thread.join().unwrap()
    }
}

/// Writes what is asked for, all that has come in the meantime in one commit.
fn write(connection: &Connection, inbox: &Receiver<Done>) -> u64 {
    let (mut event, mut task) = (Row::sample(connection, "event"), Row::sample(connection, "task"));
    let mut number = 0_u64;
    while let Ok(first) = inbox.recv() {
        let mut group = vec![first];
        group.extend(inbox.try_iter().take(MAX_GROUP - 1));
        connection.prepare_cached("BEGIN IMMEDIATE").unwrap().execute([]).unwrap();
        for _ in &group {
            number += 1;
            // As long as a ULID, and as well sorted.
            let id = Value::Text(format!("{number:026}"));
            event.set("id", id.clone());
            event.insert(connection);
            task.set("id", Value::Null);
            task.set("event", id);
            task.insert(connection);
        }
        connection.prepare_cached("COMMIT").unwrap().execute([]).unwrap();
        group.iter().for_each(|done| done.send(()).unwrap());
    }
    let tasks: i64 = connection.query_row("SELECT count(*) FROM task", [], |row| row.get(0)).unwrap();
    tasks.unsigned_abs()
}

/// A row of a table of the store, to be inserted again with another id.
struct Row {
    columns: Vec<String>,
    values: Vec<Value>,
    insert: String,
}

impl Row {
    /// Takes the one row that is in `table`.
    fn sample(connection: &Connection, table: &str) -> Self {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns: Vec<String> = statement.column_names().map(Into::into).collect();
        let values = statement.query_row([], |row| (0..columns.len()).map(|column| row.get(column)).collect()).unwrap();
        let marks = vec!["?"; columns.len()].join(", ");
        let insert = format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "));
        Self { columns, values, insert }
    }

    fn set(&mut self, column: &str, value: Value) {
        let index = self.columns.iter().position(|other| other == column).unwrap();
        self.values[index] = value;
    }

    fn insert(&self, connection: &Connection) {
        connection.prepare_cached(&self.insert).unwrap().execute(params_from_iter(&self.values)).unwrap();
    }
}
