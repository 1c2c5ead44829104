//! Receivers that do what no receiver should. Each request ends inside its deadline, takes little memory, and its error says
//! what happened.
//!
//! All cases run at the same time in a process of their own, whose memory is theirs alone.

mod cases;
pub(crate) mod receivers;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchboard::egress::{Deadlines, Egress, EgressOptions, Policy, Request, Sent, TlsOptions};

use cases::{Case, Expect};
use receivers::Receiver;

/// Set in the process that runs the cases.
const INSIDE: &str = "SWITCHBOARD_TEST_HOSTILE";

/// Longer than any case takes that a deadline does not end.
const LONG: Duration = Duration::from_secs(600);

/// The deadline of the cases that it ends.
const DEADLINE: Duration = Duration::from_secs(2);

/// How much later than its deadline a request may end on a machine that is busy with other things.
const MARGIN: Duration = Duration::from_secs(90);

const LIMIT: usize = 64 * 1024;

/// How much the process may grow while all cases run, in KiB. One receiver sends 100 GB, another would make 160 MiB of 1 MiB.
const MAX_GROWTH_KIB: u64 = 64 * 1024;

#[test]
fn no_receiver_holds_a_request_beyond_its_deadline_or_fills_the_memory() {
    if std::env::var_os(INSIDE).is_some() {
        return run_all();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "hostile::no_receiver_holds_a_request_beyond_its_deadline_or_fills_the_memory"]);
    let output = child.arg("--nocapture").env(INSIDE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn run_all() {
    // More threads than receivers that flood: what is looked at here is each request, not how they share a thread.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(8).enable_all().build().unwrap();
    let egress = Egress::new(EgressOptions {
        policy: Policy { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Policy::default() },
        deadlines: Deadlines { dns: LONG, connect: LONG, tls: LONG, first_byte: LONG },
        ..EgressOptions::default()
    });
    let egress = egress.unwrap();
    // What is made once is there before the memory is looked at: certificates, threads, the client's own tables.
    let receiver =
        Receiver::tls(receivers::Certificate::Good, |stream, _| receivers::say(stream, "HTTP/1.1 204 No\r\n\r\n"));
    let sent = runtime.block_on(egress.send(request(&receiver, LONG, LONG)));
    assert_eq!(sent.result.unwrap().status, 204);
    let before = resident_kib();

    let cases = cases::all();
    assert!(cases.len() > 50);
    let running: Vec<_> = cases.into_iter().map(|case| (case.name, runtime.spawn(run(egress.clone(), case)))).collect();
    let mut wrong = Vec::new();
    for (name, case) in running {
        if let Err(problem) = runtime.block_on(case).unwrap_or_else(|error| Err(error.to_string())) {
            wrong.push(format!("{name}: {problem}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if let (Some(before), Some(after)) = (before, resident_kib()) {
        assert!(after - before < MAX_GROWTH_KIB, "{before} KiB before, at most {after} KiB meanwhile");
    }
}

fn request(receiver: &Receiver, timeout: Duration, phase: Duration) -> Request {
    let deadlines = Deadlines { dns: phase, connect: phase, tls: phase, first_byte: phase };
    Request {
        body: b"{}".to_vec(),
        deadlines: Some(deadlines),
        tls: receiver.ca_pem.clone().map(|ca_pem| Arc::new(TlsOptions { ca_pem: Some(ca_pem), identity_pem: None })),
        ..Request::new("POST", &receiver.url, timeout)
    }
}

async fn run(egress: Egress, case: Case) -> Result<(), String> {
    let timeout = if case.ended_by_deadline { DEADLINE } else { LONG };
    let phase = if case.ended_by_phase { DEADLINE } else { LONG };
    let mut request = request(&case.receiver, timeout, phase);
    request.body.resize(case.body_bytes.max(2), b' ');
    let started = Instant::now();
    let sent = egress.send(request.clone()).await;
    let took = started.elapsed();
    let is_late = case.ended_by_deadline || case.ended_by_phase;
    if is_late && !(DEADLINE..DEADLINE + MARGIN).contains(&took) {
        return Err(format!("took {took:?}"));
    }
    if sent.trace.timings.total > took {
        return Err(format!("took {took:?} and says {:?}", sent.trace.timings));
    }
    check(&case.expect, sent)?;
    if case.again {
        check(&case.expect, egress.send(request).await).map_err(|problem| format!("the second time: {problem}"))?;
    }
    match case.connections {
        Some(expected) if case.receiver.connections() != expected => {
            Err(format!("{} connections, not {expected}", case.receiver.connections()))
        }
        _ => Ok(()),
    }
}

fn check(expect: &Expect, sent: Sent) -> Result<(), String> {
    let found = match &sent.result {
        Ok(response) => {
            if response.body.len() > LIMIT || (response.truncated && response.body.len() != LIMIT) {
                return Err(format!("{} bytes of the body", response.body.len()));
            }
            format!("status {}{}", response.status, if response.truncated { ", cut" } else { "" })
        }
        Err(error) => format!("{}: {}", error.code(), switchboard::error::Chain(error)),
    };
    let is_expected = match (expect, &sent.result) {
        (Expect::Status { status, cut, body }, Ok(response)) => {
            (response.status, response.truncated) == (*status, *cut)
                && body.as_ref().is_none_or(|body| response.body == body[..body.len().min(LIMIT)])
        }
        (Expect::Error { code, status, says }, Err(error)) => {
            error.code() == *code && error.status() == *status && error.is_retryable() && found.contains(says)
        }
        _ => false,
    };
    if is_expected { Ok(()) } else { Err(format!("{found}, expected {expect:?}")) }
}

/// Returns the most memory the process has had, where the system tells.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
