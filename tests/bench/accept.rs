//! What durable acceptance costs: an event that is announced and committed with its deferred task, and a deferred task
//! alone, against one bare writer thread that groups the same inserts into commits with the same sync.
//!
//! `cargo bench -p switchboard-tests --bench accept` prints a table; numbers of producers may follow. With `-- --check`
//! the exit code says whether every target is met. What is measured and why is in `docs/performance.md`.
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends")]

mod bare;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use bare::Bare;
use switchboard::{DeferOptions, Notification, Switchboard, TriggerNumber, WebhookDraft, WorkOn};
use switchboard_tests::Site;
use switchboard_tests::bench::{self, SyncProbe, Target, compare, produced};

/// Bytes of the properties of an event, and of a task's input.
const PAYLOAD_BYTES: usize = 1 << 10;

fn main() -> ExitCode {
    let sites = [(); 4].map(|()| Site::with(&["webhook_none"]));
    let [events, tasks, bare_events, bare_tasks] = &sites;
    bench::real_time();
    let (of_events, of_tasks) = (open(events), open(tasks));
    // A bare writer begins with a store in which a host has accepted once.
    let sample = |site: &Site, accept: fn(&Switchboard)| {
        let host = open(site);
        accept(&host);
        host.stop();
    };
    sample(bare_events, announce);
    sample(bare_tasks, defer);
    let bare_events = Bare::accepting(bare_events.path(), true);
    let bare_tasks = Bare::accepting(bare_tasks.path(), false);
    let mut probe = SyncProbe::new(events.path());
    let target = Target::AtLeast(0.8);
    let mut lines = Vec::new();
    for producers in bench::producers() {
        let what = format!("an event and its task, {producers} producers");
        let floor = || produced("floor", producers, || bare_events.producer(), |_| ());
        let ours = || produced("ours", producers, || || announce(&of_events), |_| ());
        lines.push(compare(&what, target, &mut probe, floor, ours));
        let what = format!("a deferred task, {producers} producers");
        let floor = || produced("floor", producers, || bare_tasks.producer(), |_| ());
        let ours = || produced("ours", producers, || || defer(&of_tasks), |_| ());
        lines.push(compare(&what, target, &mut probe, floor, ours));
    }
    for (host, accepted) in [(of_events, &ANNOUNCED), (of_tasks, &DEFERRED)] {
        // One of them is in the bare writer's store.
        let accepted = accepted.load(Ordering::Relaxed) - 1;
        assert_eq!(host.tasks().counts().unwrap().ready, accepted, "every acceptance has its task");
        host.stop();
    }
    assert!(bare_events.stop() > 1 && bare_tasks.stop() > 1);
    probe.print();
    bench::print(&lines)
}

/// Opens a host with a webhook that every event goes to. Its tasks are left alone: what is measured is acceptance.
fn open(site: &Site) -> Switchboard {
    let host = Switchboard::builder(site.path()).work_on(WorkOn::Nothing).watch(false).open().unwrap();
    let webhook = WebhookDraft {
        owner: 0,
        url: "http://127.0.0.1:8080/hook".into(),
        method: "none".into(),
        ..WebhookDraft::default()
    };
    host.webhooks().add(webhook).unwrap();
    host
}

static ANNOUNCED: AtomicU64 = AtomicU64::new(0);
static DEFERRED: AtomicU64 = AtomicU64::new(0);

/// Returns an input that is like no other.
fn input(number: u64) -> String {
    let head = format!("{{\"contract_uid\":{number},\"remarks\":\"");
    format!("{head}{}\"}}", "r".repeat(PAYLOAD_BYTES - head.len() - 2))
}

/// Announces one event and returns when it is on disk with its task.
fn announce(host: &Switchboard) {
    let data = input(ANNOUNCED.fetch_add(1, Ordering::Relaxed));
    let mut run = host.run().start();
    run.announce(Notification::from_json("booking_added", data)).unwrap();
    assert_eq!(run.finish().unwrap().events[0].tasks.len(), 1);
}

/// Defers one task and returns when it is on disk.
fn defer(host: &Switchboard) {
    let input = input(DEFERRED.fetch_add(1, Ordering::Relaxed));
    host.defer(TriggerNumber::new(22_001), "echo", input, DeferOptions::default()).unwrap();
}
