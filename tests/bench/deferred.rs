//! What a deferred task costs from its acceptance to its end on disk: tasks of a handler that does nothing, against one
//! bare thread that accepts, claims and ends them in the same tables with the same sync.
//!
//! `cargo bench -p switchboard-tests --bench deferred` prints a table; numbers of producers may follow. With `--peers` it
//! builds another queue and compares with that instead, and with `--postgres` it measures on a private server, or on the one
//! that `SWITCHBOARD_TEST_POSTGRES` names. With `--check` the exit code says whether every target is met. What is measured and
//! why is in `docs/performance.md`.
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends")]

mod bare;
mod bare_postgres;
mod peer;
mod worked;

use std::process::ExitCode;

use bare::Bare;
use bare_postgres::Queue;
use peer::Peer;
use switchboard::config::StoreConfig;
use switchboard_test_postgres::Server;
use switchboard_tests::Site;
use switchboard_tests::bench::{self, Line, SyncProbe, Target, compare, produced};
use worked::{PAYLOAD_BYTES, Worked};

/// The schemas that the sides of the bench have on the PostgreSQL server. What is in them is removed.
const SCHEMAS: [&str; 2] = ["switchboard_bench", "switchboard_bench_bare"];

fn main() -> ExitCode {
    let is_asked = |option: &str| std::env::args().any(|argument| argument == option);
    let site = Site::with(&["fixture_bench"]);
    let mut probe = SyncProbe::new(site.path());
    let lines = if is_asked("--peers") {
        with_peers(&site, &mut probe)
    } else if is_asked("--postgres") {
        on_postgres(&site, &mut probe)
    } else {
        on_sqlite(&site, &mut probe)
    };
    probe.print();
    bench::print(&lines)
}

fn on_sqlite(site: &Site, probe: &mut SyncProbe) -> Vec<Line> {
    let bare_site = Site::new();
    bench::real_time();
    worked::sample(&bare_site, None);
    with_bare("accept to done", &Bare::working(bare_site.path()), &Worked::open(site, None), probe)
}

fn on_postgres(site: &Site, probe: &mut SyncProbe) -> Vec<Line> {
    // Before a private server is started, which then has the same priority.
    bench::real_time();
    // The server for tests syncs nothing.
    let named = std::env::var("SWITCHBOARD_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
    let private = if named.is_none() { Server::start_durable() } else { None };
    let Some(url) = named.or_else(|| private.as_ref().map(Server::url)) else { return Vec::new() };
    let url = url.as_str();
    let separator = if url.contains('?') { '&' } else { '?' };
    let store = |schema: &str| {
        bare_postgres::empty(url, schema);
        Some(StoreConfig::at(format!("{url}{separator}schema={schema}")))
    };
    let bare_site = Site::new();
    worked::sample(&bare_site, store(SCHEMAS[1]));
    let mut queue = Queue::open(url, SCHEMAS[1], PAYLOAD_BYTES);
    let bare = Bare::cycling(move |claimed, accepted, new| queue.commit(claimed, accepted, new));
    let lines = with_bare("PostgreSQL", &bare, &Worked::open(site, store(SCHEMAS[0])), probe);
    SCHEMAS.iter().for_each(|schema| bare_postgres::empty(url, schema));
    lines
}

fn with_bare(what: &str, bare: &Bare, host: &Worked, probe: &mut SyncProbe) -> Vec<Line> {
    let measure = |producers| {
        let floor = || {
            let before = bare.ended();
            produced("floor", producers, || bare.producer(), |count| bench::wait(|| bare.ended() == before + count))
        };
        let what = format!("{what}, {producers} producers");
        compare(&what, Target::AtLeast(0.6), probe, floor, || host.produced(producers))
    };
    bench::producers().into_iter().map(measure).collect()
}

fn with_peers(site: &Site, probe: &mut SyncProbe) -> Vec<Line> {
    let (program, folder) = (peer::build(), Site::new());
    bench::real_time();
    let host = Worked::open(site, None);
    let mut peer = Peer::start(&program, folder.path());
    let measure = |producers| {
        let what = format!("apalis, {producers} producers");
        compare(&what, Target::AtLeast(20.0), probe, || peer.produced(producers), || host.produced(producers))
    };
    bench::producers().into_iter().map(measure).collect()
}
