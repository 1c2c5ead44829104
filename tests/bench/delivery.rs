//! What a delivery costs: events through 07320 to receivers on this machine, against a bare loop of HTTP requests; ten thousand
//! in flight; from the announcement to the receipt; and beside a receiver that hangs.
//!
//! `cargo bench -p switchboard-tests --bench delivery` prints a table. With `-- --check` the exit code says whether every
//! target is met, `-- throughput`, `-- flight`, `-- latency` or `-- hang` do one part. What is measured and why is in
//! `docs/performance.md`.
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends")]
#![expect(clippy::print_stdout, reason = "the table is its result")]

#[path = "delivery/receiver.rs"]
mod receiver;

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use switchboard::{Notification, Switchboard, WebhookDraft, WorkOn};
use switchboard_tests::bench::{self, Line, Target, median};
use switchboard_tests::{PATIENCE, Site, wait_until};

use receiver::Receiver;

/// Requests under way at once, on both sides.
const CONCURRENCY: usize = 32;
/// Deliveries of one round of the throughput.
const DELIVERIES: u64 = 10_000;
/// Rounds of a comparison; the table shows the one with the middle ratio.
const ROUNDS: usize = 5;
/// Bytes of the properties of an event.
const PAYLOAD_BYTES: usize = 1 << 10;

/// Deliveries that wait for an answer at once.
const IN_FLIGHT: u64 = 10_000;
const MIB: f64 = 1_048_576.0;

/// Announcements in a second, and how long they go on, where times are measured.
const RATE: u64 = 500;
const LATENCY_TIME: Duration = Duration::from_secs(10);
/// Threads that announce, so that a slow commit holds up none of the others.
const ANNOUNCERS: u64 = 8;

/// Receivers that are well, and the announcements for them in a second.
const HEALTHY: i64 = 50;
const HEALTHY_RATE: u64 = 200;
/// Short, so that both sides meet the same moments of the machine, and many.
const HANG_TIME: Duration = Duration::from_secs(3);
const HANG_ROUNDS: usize = 20;

fn main() -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    // Everything is built before the priority is raised.
    drop(Site::with(&["webhook_none"]));
    bench::real_time();
    let mut lines = Vec::new();
    if wanted("throughput") {
        lines.push(throughput());
    }
    if wanted("flight") {
        lines.extend(flight());
    }
    if wanted("latency") {
        lines.extend(latency());
    }
    if wanted("hang") {
        lines.push(hang());
    }
    bench::print(&lines)
}

fn site(deferred: &str) -> Site {
    let site = Site::with(&["webhook_none"]);
    site.settings(&format!("[egress]\nallow = [\"127.0.0.0/8\"]\n[deferred]\n{deferred}"));
    site
}

fn open(site: &Site, work_on: WorkOn) -> Switchboard {
    Switchboard::builder(site.path()).work_on(work_on).watch(false).open().unwrap()
}

fn add_webhook(host: &Switchboard, owner: i64, url: String) {
    let draft = WebhookDraft { owner, url, method: "none".into(), ..WebhookDraft::default() };
    host.webhooks().add(draft).unwrap();
}

/// Returns the properties of event `n`, filled up to the size of an event.
fn data(n: u64) -> String {
    let head = format!("{{\"n\":{n},\"remarks\":\"");
    format!("{head}{}\"}}", "r".repeat(PAYLOAD_BYTES - head.len() - 2))
}

/// Announces events in runs of a hundred.
fn announce_all(host: &Switchboard, count: u64) {
    for first in (0..count).step_by(100) {
        let mut run = host.run().owner(1).start();
        for n in first..count.min(first + 100) {
            run.announce(Notification::from_json("booking_added", data(n))).unwrap();
        }
        run.finish().unwrap();
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Delivered in a second, from the first receipt to the end of the last task on disk, beside a bare loop of requests.
fn throughput() -> Line {
    // A second call finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let receiver = Receiver::start();
    let body = format!("{{\"data\":{}}}", data(0));
    let rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| (bare(&receiver, &body), delivered(&receiver)))
        .inspect(|(floor, ours)| {
            println!("throughput: {floor:.0} bare, {ours:.0} delivered in a second");
        })
        .collect();
    let mut by_ratio = rounds;
    by_ratio.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    let (floor, ours) = by_ratio[by_ratio.len() / 2];
    Line { what: "delivered, 1 KiB".into(), unit: "/s", floor, ours, target: Target::AtLeast(0.5) }
}

fn bare(receiver: &Receiver, body: &str) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(CONCURRENCY).build().unwrap();
    let (left, url) = (Arc::new(AtomicU64::new(DELIVERIES)), receiver.url("well"));
    let begun = Instant::now();
    runtime.block_on(async {
        let loops = (0..CONCURRENCY).map(|_| {
            let (client, left, url, body) = (client.clone(), Arc::clone(&left), url.clone(), body.to_owned());
            tokio::spawn(async move {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let answer = client.post(&url).body(body.clone()).send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                    answer.bytes().await.unwrap();
                }
            })
        });
        for each in loops.collect::<Vec<_>>() {
            each.await.unwrap();
        }
    });
    per_second(DELIVERIES, begun.elapsed())
}

fn delivered(receiver: &Receiver) -> f64 {
    let site = site(&format!("per_webhook = {CONCURRENCY}\nper_host = {CONCURRENCY}\n"));
    {
        let host = open(&site, WorkOn::Nothing);
        add_webhook(&host, 1, receiver.url("well"));
        announce_all(&host, DELIVERIES);
    }
    let before = receiver.count();
    let host = open(&site, WorkOn::Everything);
    // The receiver is asked first: what the host counts for whoever asks takes time from its deliveries.
    bench::wait(|| receiver.count() > before);
    let begun = Instant::now();
    wait_until("all have arrived", || receiver.count() - before >= DELIVERIES);
    bench::wait(|| host.tasks().counts().unwrap().done >= DELIVERIES);
    let took = begun.elapsed();
    assert_eq!(receiver.count() - before, DELIVERIES);
    host.stop();
    per_second(DELIVERIES, took)
}

/// Memory and threads of a server with ten thousand deliveries that wait for their answers, all of them at once.
fn flight() -> [Line; 2] {
    let receiver = Receiver::start();
    let site = site(&format!(
        "concurrency = {IN_FLIGHT}\nper_webhook = {IN_FLIGHT}\nper_host = {IN_FLIGHT}\ntimeout = \"60s\"\n"
    ));
    {
        let host = open(&site, WorkOn::Nothing);
        add_webhook(&host, 1, receiver.url("held"));
        announce_all(&host, IN_FLIGHT);
    }
    let serving = site.serve();
    let field = |name: &str| -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", serving.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let mut threads: f64 = 0.0;
    wait_until("all are under way at once", || {
        threads = threads.max(field("Threads:"));
        receiver.waiting() == IN_FLIGHT
    });
    println!("in flight: {} at once, {:.1} MiB resident", receiver.waiting(), field("VmRSS:") * 1024.0 / MIB);
    receiver.release();
    wait_until("all have ended", || site.json(&["task", "list", "--count"])["done"] == IN_FLIGHT);
    threads = threads.max(field("Threads:"));
    // What the process has ever had in memory at once, the ends included.
    let resident = field("VmHWM:") * 1024.0 / MIB;
    let line = |what: &str, unit, ours, most| Line {
        what: what.into(),
        unit,
        floor: f64::NAN,
        ours,
        target: Target::Absolute(most),
    };
    [line("resident, 10,000 in flight", "MiB", resident, 256.0), line("threads, 10,000 in flight", "", threads, 32.0)]
}

/// From an announcement to the receipt of its request.
fn latency() -> [Line; 2] {
    let receiver = Receiver::start();
    let site = site("per_webhook = 16\n");
    let host = open(&site, WorkOn::Everything);
    add_webhook(&host, 1, receiver.url("well"));
    let times = announce_at_rate(&host, &receiver, RATE, LATENCY_TIME, |_| 1, RATE);
    host.stop();
    let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
    println!("latency: {} receipts, the longest {:.2} ms", times.len(), percentile(&times, 100));
    let line = |what: &str, ours, most| Line {
        what: what.into(),
        unit: "ms",
        floor: f64::NAN,
        ours,
        target: Target::Absolute(most),
    };
    [line("announce to receipt, p50", p50, 5.0), line("announce to receipt, p99", p99, 50.0)]
}

/// Announces events at a rate, and returns how long each took to its receipt, in milliseconds, without the first `warm`.
fn announce_at_rate(
    host: &Switchboard,
    receiver: &Receiver,
    rate: u64,
    time: Duration,
    owner: impl Fn(u64) -> i64 + Sync,
    warm: u64,
) -> Vec<f64> {
    static NUMBER: AtomicU64 = AtomicU64::new(1 << 32);
    let count = rate * time.as_secs();
    let base = NUMBER.fetch_add(count, Ordering::Relaxed);
    let begun = Instant::now();
    let announced: Vec<(u64, Instant)> = std::thread::scope(|threads| {
        let owner = &owner;
        let announcers: Vec<_> = (0..ANNOUNCERS)
            .map(|first| {
                threads.spawn(move || {
                    let step = usize::try_from(ANNOUNCERS).unwrap();
                    let mut announced = Vec::new();
                    for n in (first..count).step_by(step) {
                        let due = begun + Duration::from_nanos(n * 1_000_000_000 / rate);
                        while let left @ 1.. = due.saturating_duration_since(Instant::now()).as_nanos() {
                            std::thread::park_timeout(Duration::from_nanos(u64::try_from(left).unwrap()));
                        }
                        let now = Instant::now();
                        let mut run = host.run().owner(owner(n)).start();
                        run.announce(Notification::from_json("booking_added", data(base + n))).unwrap();
                        run.finish().unwrap();
                        announced.push((n, now));
                    }
                    announced
                })
            })
            .collect();
        announcers.into_iter().flat_map(|announcer| announcer.join().unwrap()).collect()
    });
    let deadline = Instant::now() + PATIENCE;
    let mut times = Vec::new();
    for (n, at) in announced.into_iter().filter(|(n, _)| *n >= warm) {
        let arrived = loop {
            match receiver.arrival(base + n) {
                Some(arrived) => break arrived,
                None => assert!(Instant::now() < deadline, "event {n} has not arrived"),
            }
            std::thread::park_timeout(Duration::from_millis(5));
        };
        times.push(arrived.duration_since(at).as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    times
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Fifty receivers that are well, with or without one beside them that never answers.
struct Fifty {
    receiver: Receiver,
    host: Switchboard,
    hangs: bool,
    _site: Site,
}

impl Fifty {
    fn start(hangs: bool) -> Self {
        let receiver = Receiver::start();
        let site = site("timeout = \"15s\"\n");
        let host = open(&site, WorkOn::Everything);
        (1..=HEALTHY).for_each(|owner| add_webhook(&host, owner, receiver.url("well")));
        if hangs {
            add_webhook(&host, HEALTHY + 1, receiver.url("hang"));
        }
        Self { receiver, host, hangs, _site: site }
    }

    /// Returns how long the deliveries to those that are well took in one round, sorted.
    fn round(&self) -> Vec<f64> {
        if self.hangs {
            // As many as one of the others gets, and all that were announced before wait as well.
            let mut run = self.host.run().owner(HEALTHY + 1).start();
            (0..20).for_each(|n| drop(run.announce(Notification::from_json("booking_added", data(n))).unwrap()));
            run.finish().unwrap();
        }
        let healthy = |n: u64| i64::try_from(n).unwrap() % HEALTHY + 1;
        announce_at_rate(&self.host, &self.receiver, HEALTHY_RATE, HANG_TIME, healthy, HEALTHY_RATE / 2)
    }
}

/// The 99th percentile of all that was delivered to fifty receivers that are well, without and with one beside them that
/// never answers. Each side has a host of its own, so that what hangs does so on one side only.
fn hang() -> Line {
    let (without, with) = (Fifty::start(false), Fifty::start(true));
    let mut times = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for _ in 0..HANG_ROUNDS {
        let [floor, ours] = [&without, &with].map(Fifty::round);
        ratios.push(percentile(&ours, 99) / percentile(&floor, 99));
        times[0].extend(floor);
        times[1].extend(ours);
    }
    [without, with].iter().for_each(|side| side.host.stop());
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    let [floor, ours] = [0, 1].map(|side| percentile(&times[side], 99));
    ratios.sort_by(f64::total_cmp);
    println!(
        "hang: {} deliveries a side; ratio of the p99 of a round from {:.2} to {:.2}, in the middle {:.2}; p50 {:.2} ms without, {:.2} ms with",
        times[0].len(),
        ratios[0],
        ratios[HANG_ROUNDS - 1],
        median(ratios.clone()),
        percentile(&times[0], 50),
        percentile(&times[1], 50)
    );
    Line { what: "p99 of 50 beside one that hangs".into(), unit: "ms", floor, ours, target: Target::AtMost(1.1) }
}
