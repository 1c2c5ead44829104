//! How the HTTP API answers: announcing beside running deliveries, lists of a store with a million tasks, and the search of a
//! log of 1 GB.
//!
//! `cargo bench -p switchboard-tests --bench api` prints the three; `-- load`, `-- tasks` or `-- log` prints one. What is
//! measured and why is in `docs/performance.md`. On a machine that others use as well, start it above them in priority
//! (`chrt -f 50`), client and server alike.
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends")]
#![expect(clippy::print_stdout, reason = "the table is its result")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use switchboard::store::{
    Acceptance, EventId, NewEvent, NewTask, OwnerId, SqliteStore, TaskStore, Timestamp, WebhookId,
};
use switchboard_tests::{Client, Receiver, Serving, Site};

/// Requests a second.
const RATE: u32 = 200;
/// How long they are made.
const LOAD: Duration = Duration::from_secs(30);
/// Connections that share the rate, each with a thread.
const CONNECTIONS: u32 = 8;
/// Webhooks that each event goes to.
const WEBHOOKS: i64 = 3;
/// Tasks in the large store.
const TASKS: usize = 1_000_000;
/// Size of the large log, in bytes.
const LOG_BYTES: u64 = 1 << 30;
/// How often each address is asked.
const TIMES: usize = 21;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    if wants("load") {
        load();
    }
    if wants("tasks") {
        tasks();
    }
    if wants("log") {
        log();
    }
}

/// One connection that is kept.
struct Connection {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Connection {
    fn open(serving: &Serving, token: &str) -> Self {
        let stream = TcpStream::connect(&serving.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let head =
            format!("host: {}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n", serving.address);
        Self { stream: BufReader::new(stream), head }
    }

    /// Makes a request, reads the whole answer and returns its status.
    fn request(&mut self, method: &str, target: &str, body: &str) -> u16 {
        let request =
            format!("{method} {target} HTTP/1.1\r\n{}content-length: {}\r\n\r\n{body}", self.head, body.len());
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let (mut length, mut chunked) = (0, false);
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            chunked |= header == "transfer-encoding: chunked";
        }
        assert!(!chunked, "answers are whole");
        std::io::copy(&mut self.stream.by_ref().take(length), &mut std::io::sink()).unwrap();
        status
    }
}

fn at(sorted: &[Duration], part: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((sorted.len() - 1) as f64 * part).round() as usize;
    sorted[index].as_secs_f64() * 1_000.0
}

fn load() {
    let receiver = Receiver::friendly();
    let site = Site::with(&["webhook_none"]);
    let serving = site.serve();
    let client = Client::with_token(&site, &serving.address, "administrator", None);
    for number in 0..WEBHOOKS {
        let webhook = json!({ "owner": 62, "url": receiver.url(&format!("/{number}")), "method": "none" });
        client.post("/webhooks", &webhook).is(201);
    }
    let requests = RATE * u32::try_from(LOAD.as_secs()).unwrap() / CONNECTIONS;
    let gap = Duration::from_secs(1) * CONNECTIONS / RATE;
    let begin = Instant::now() + Duration::from_millis(200);
    // Each request has its time, whether or not the one before was answered: a slow answer makes the next ones late, and
    // that is counted.
    let announce = |connection: u32| -> Vec<Duration> {
        let mut open = Connection::open(&serving, client.token());
        let first = begin + gap * connection / CONNECTIONS;
        (0..requests)
            .map(|number| {
                let due = first + gap * number;
                while Instant::now() < due {
                    std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
                }
                let body = json!({ "event": "booking_added", "owner": 62, "data": { "contract_uid": number, "of": connection },
                                   "idempotency_key": format!("{connection}-{number}") });
                assert_eq!(open.request("POST", "/api/v1/events", &body.to_string()), 201);
                due.elapsed()
            })
            .collect()
    };
    let announce = &announce;
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|connection| scope.spawn(move || announce(connection))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let counts = client.get("/tasks/counts").json();
    times.sort_unstable();
    let (p50, p99, last) = (at(&times, 0.5), at(&times, 0.99), at(&times, 1.0));
    println!(
        "announcing {RATE}/s for {} s beside deliveries: p50 {p50:.2} ms, p99 {p99:.2} ms, longest {last:.2} ms; \
         target p99 < 50 ms: {}",
        LOAD.as_secs(),
        if p99 < 50.0 { "met" } else { "missed" }
    );
    println!("  {} events of {WEBHOOKS} deliveries each; tasks in the end: {counts}", times.len());
}

fn tasks() {
    let site = Site::with(&["webhook_none"]);
    fill(&site);
    let begin = Instant::now();
    let serving = site.serve();
    println!("a host with {TASKS} tasks: ready after {:.1} s", begin.elapsed().as_secs_f64());
    let client = Client::with_token(&site, &serving.address, "administrator", None);
    client.post("/webhooks", &json!({ "owner": 62, "url": Receiver::friendly().url("/"), "method": "none" })).is(201);
    let mut connection = Connection::open(&serving, client.token());
    let mut worst: f64 = 0.0;
    for target in [
        "/api/v1/tasks",
        "/api/v1/tasks?limit=500",
        "/api/v1/tasks?state=dead",
        "/api/v1/tasks?webhook=1&state=done",
        "/api/v1/tasks/500000",
        "/api/v1/tasks/counts",
        "/api/v1/deliveries",
        "/api/v1/webhooks",
        "/api/v1/plugins",
        "/api/v1/triggers",
        "/readyz",
        "/metrics",
        "/",
        "/webhooks",
        "/plugins",
        "/triggers",
    ] {
        let mut times: Vec<Duration> = (0..TIMES)
            .map(|_| {
                let begin = Instant::now();
                assert_eq!(connection.request("GET", target, ""), 200, "{target}");
                begin.elapsed()
            })
            .collect();
        times.sort_unstable();
        worst = worst.max(at(&times, 0.95));
        println!("  {target:<40} p50 {:>7.2} ms   p95 {:>7.2} ms", at(&times, 0.5), at(&times, 0.95));
    }
    println!("target, each below 100 ms: {}", if worst < 100.0 { "met" } else { "missed" });
}

/// Writes a million tasks, most of which wait for a day that does not come in a bench.
fn fill(site: &Site) {
    let store = SqliteStore::open(&site.path().join("switchboard.db")).unwrap();
    let now = Timestamp(1_795_000_000_000);
    let event = NewEvent {
        id: EventId::new(),
        name: "booking_added".into(),
        owner: OwnerId(62),
        task: None,
        cause: None,
        channel: None,
        depth: 0,
        body: br#"{"data":{"contract_uid":41,"task":"booking_added"}}"#.to_vec(),
        at: now,
    };
    let task = |number: usize| NewTask {
        event: Some(event.id.clone()),
        webhook: Some(WebhookId(i64::try_from(number % 100 + 1).unwrap())),
        number: 7_320,
        name: "none".into(),
        key: format!("webhook:{}", number % 100 + 1),
        at: now,
        run_at: Timestamp(4_000_000_000_000),
        ..NewTask::default()
    };
    for chunk in 0..TASKS / 10_000 {
        let events = if chunk == 0 { vec![event.clone()] } else { Vec::new() };
        let tasks = (0..10_000).map(|number| task(chunk * 10_000 + number)).collect();
        store.accept(Acceptance { events, tasks }).wait().unwrap();
    }
}

fn log() {
    let site = Site::new();
    let folder = site.path().join("logs");
    fs::create_dir_all(&folder).unwrap();
    let mut file = BufWriter::new(File::create(folder.join("Large.application.log")).unwrap());
    let (mut written, mut number) = (0_u64, 0_u64);
    while written < LOG_BYTES {
        let text = if number == 1_000 { "needle in the haystack" } else { "delivered" };
        let line = format!(
            "2026-11-24T10:{:02}:{:02}.123Z INFO  {text} webhook=3 event=booking_added status=200 \
             attempt=1 duration_ms=12 task={number}\n",
            number / 60 % 60,
            number % 60
        );
        file.write_all(line.as_bytes()).unwrap();
        written += line.len() as u64;
        number += 1;
    }
    file.into_inner().unwrap().sync_all().unwrap();
    let serving = site.serve();
    let client = Client::with_token(&site, &serving.address, "administrator", None);
    let before = resident_mib(&serving);
    for query in ["text=needle", "text=nothing-like-it", "task=7&limit=5", "limit=200"] {
        let begin = Instant::now();
        let found = client.get(&format!("/log-records?{query}")).is(200).json().as_array().unwrap().len();
        println!("a log of {} MiB, {query}: {found} records in {:.2} s", written >> 20, begin.elapsed().as_secs_f64());
    }
    println!("resident before {before} MiB, at most {} MiB", resident_mib(&serving));
}

/// Returns the most memory that the server has had, in MiB.
fn resident_mib(serving: &Serving) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", serving.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() >> 10
}
