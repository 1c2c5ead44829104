//! Attempts of deliveries.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard::channel_log::printable;
use switchboard::store::{Attempt, HttpExchange, TaskId, Timestamp};
use switchboard::{Preview, TaskTrace};

use super::fields;
use crate::output::table;

/// Digits of a hash that people compare.
const SHOWN_DIGITS: usize = 16;

pub(in crate::command) fn attempt_json(attempt: &Attempt) -> Value {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "id": attempt.id,
        "task": attempt.task,
        "event_id": attempt.event,
        "event": attempt.event_name,
        "owner": attempt.owner,
        "webhook": attempt.webhook,
        "plugin": attempt.plugin,
        "plugin_version": attempt.plugin_version,
        "mode": attempt.mode,
        "number": attempt.number,
        "cause": attempt.cause,
        "queued_at": time(attempt.queued_at),
        "due_at": time(attempt.due_at),
        "started_at": attempt.started_at.to_string(),
        "ended_at": time(attempt.ended_at),
        "lag_ms": attempt.lag_ms(),
        "took_ms": attempt.took_ms(),
        "outcome": attempt.outcome,
        "status": attempt.status,
        "detail": attempt.detail,
        "url": attempt.url,
        "next_at": time(attempt.next_at),
    })
}

pub(in crate::command) fn attempts(attempts: &[Attempt]) -> String {
    let dash = || "-".to_owned();
    let rows = attempts.iter().map(|attempt| {
        vec![
            attempt.id.to_string(),
            attempt.started_at.to_string(),
            attempt.webhook.map_or_else(dash, |webhook| webhook.to_string()),
            attempt.event_name.clone().unwrap_or_else(dash),
            attempt.mode.to_string(),
            attempt.number.to_string(),
            attempt.outcome.clone().unwrap_or_else(|| "running".into()),
            attempt.status.map_or_else(dash, |status| status.to_string()),
            attempt.took_ms().map_or_else(dash, |took| format!("{took} ms")),
            attempt.detail.clone().unwrap_or_default(),
        ]
    });
    let head = ["ID", "STARTED", "WEBHOOK", "EVENT", "MODE", "TRY", "OUTCOME", "STATUS", "TOOK", "DETAIL"];
    table(&head, rows, "no attempts match")
}

/// An exchange with its body as text, where it is known.
fn exchange_json(exchange: &HttpExchange, body: Option<&Vec<u8>>) -> Value {
    let milliseconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1_000.0);
    let timings = exchange.timings;
    json!({
        "method": exchange.method,
        "url": exchange.url,
        "request_headers": exchange.request_headers,
        "body_bytes": exchange.body.length,
        "body_sha256": exchange.body.sha256,
        "body": body.map(|body| String::from_utf8_lossy(body)),
        "signatures": exchange.signatures,
        "signature_keys": exchange.signature_keys,
        "resolved": exchange.resolved,
        "remote": exchange.remote,
        "proxy": exchange.proxy,
        "reused": exchange.reused,
        "http_version": exchange.http_version,
        "tls_version": exchange.tls_version,
        "certificate_expires_at": exchange.certificate_expires_at.map(seconds),
        "dns_ms": milliseconds(timings.dns),
        "connect_ms": milliseconds(timings.connect),
        "tls_ms": milliseconds(timings.tls),
        "first_byte_ms": milliseconds(timings.first_byte),
        "total_ms": milliseconds(timings.total),
        "status": exchange.status,
        "response_headers": exchange.response_headers,
        "response": exchange.response,
        "truncated": exchange.truncated,
        "confidential": exchange.confidential,
        "error": exchange.error,
    })
}

fn seconds(at: i64) -> String {
    Timestamp(at.saturating_mul(1_000)).to_string()
}

pub(in crate::command) fn whole_json(attempt: &Attempt, bodies: &[Option<Vec<u8>>], tries: &[Attempt]) -> Value {
    let mut json = attempt_json(attempt);
    let exchanges = attempt.exchanges.iter().zip(bodies);
    json["exchanges"] = exchanges.map(|(exchange, body)| exchange_json(exchange, body.as_ref())).collect();
    json["tries"] = tries.iter().map(attempt_json).collect();
    json
}

pub(in crate::command) fn whole(attempt: &Attempt, bodies: &[Option<Vec<u8>>], tries: &[Attempt]) -> String {
    let mut text = fields(&attempt_json(attempt));
    for (exchange, body) in attempt.exchanges.iter().zip(bodies) {
        text.push_str("\n\n");
        request(&mut text, exchange, body.as_deref());
        route(&mut text, exchange);
        answer(&mut text, exchange);
    }
    if attempt.exchanges.is_empty() && attempt.ended_at.is_some() {
        text.push_str("\n\nnothing was sent");
    }
    let _ = write!(text, "\n\nall tries:\n{}", attempts(tries));
    text
}

pub(in crate::command) fn trace_json(task: Value, trace: &TaskTrace, bodies: &[Option<Vec<u8>>]) -> Value {
    let lines = trace.lines.iter().map(|one| json!({ "channel": one.channel, "line": one.line }));
    let mut attempt = attempt_json(&trace.attempt);
    let exchanges = trace.attempt.exchanges.iter().zip(bodies);
    attempt["exchanges"] = exchanges.map(|(exchange, body)| exchange_json(exchange, body.as_ref())).collect();
    json!({ "task": task, "attempt": attempt, "lines": lines.collect::<Vec<_>>() })
}

/// The steps of a replay in the foreground, in their order.
pub(in crate::command) fn trace(of: TaskId, trace: &TaskTrace, bodies: &[Option<Vec<u8>>]) -> String {
    let TaskTrace { task, attempt, .. } = trace;
    let plugin = match (&attempt.plugin, &attempt.plugin_version) {
        (Some(plugin), Some(version)) => format!(" of {plugin} {version}"),
        (Some(plugin), None) => format!(" of {plugin}"),
        _ => String::new(),
    };
    let mut text = format!("task {} replays task {of}: {:05} `{}`{plugin}", task.id, task.number, task.name);
    for (exchange, body) in attempt.exchanges.iter().zip(bodies) {
        text.push_str("\n\n");
        request(&mut text, exchange, body.as_deref());
        route(&mut text, exchange);
        answer(&mut text, exchange);
    }
    if !trace.lines.is_empty() {
        text.push('\n');
    }
    for line in &trace.lines {
        let _ = write!(text, "\n{}: {}", line.channel, line.line);
    }
    let detail = attempt.detail.as_ref().map(|detail| format!(": {}", printable(detail))).unwrap_or_default();
    let took = attempt.took_ms().map(|took| format!(", {took} ms")).unwrap_or_default();
    let _ = write!(text, "\n\n{}{took}{detail}", attempt.outcome.as_deref().unwrap_or("running"));
    text
}

fn headers(text: &mut String, mark: char, headers: &[(String, String)]) {
    for (name, value) in headers {
        let _ = write!(text, "\n{mark} {name}: {}", printable(value));
    }
}

fn request(text: &mut String, exchange: &HttpExchange, body: Option<&[u8]>) {
    let _ = write!(text, "> {} {}", exchange.method, printable(&exchange.url));
    headers(text, '>', &exchange.request_headers);
    let hash: String = exchange.body.sha256.chars().take(SHOWN_DIGITS).collect();
    let hash = if hash.is_empty() { String::new() } else { format!(", SHA-256 {hash}…") };
    let _ = write!(text, "\n> ({} bytes{hash})", exchange.body.length);
    match body {
        Some(body) if !body.is_empty() => {
            let _ = write!(text, "\n> {}", printable(&String::from_utf8_lossy(body)));
        }
        None if exchange.confidential => text.push_str("\n> (a secret, which is not kept)"),
        None if exchange.body.length > 0 => text.push_str("\n> (not kept any more)"),
        _ => {}
    }
}

/// The way to the receiver: addresses and times.
fn route(text: &mut String, exchange: &HttpExchange) {
    let mut way = Vec::new();
    if !exchange.resolved.is_empty() {
        way.push(format!("addresses {}", exchange.resolved.join(", ")));
    }
    way.extend(exchange.remote.as_ref().map(|remote| format!("connected to {remote}")));
    way.extend(exchange.proxy.as_ref().map(|proxy| format!("proxy {proxy}")));
    way.extend(exchange.reused.then(|| "over a connection that was there".to_owned()));
    way.extend(exchange.http_version.clone());
    way.extend(exchange.tls_version.clone());
    way.extend(exchange.certificate_expires_at.map(|at| format!("certificate until {}", seconds(at))));
    let timings = exchange.timings;
    let phases = [
        ("DNS", timings.dns),
        ("connect", timings.connect),
        ("TLS", timings.tls),
        ("first byte", timings.first_byte),
        ("total", timings.total),
    ];
    let phases = phases.into_iter().filter_map(|(name, time)| Some((name, time?)));
    way.extend(phases.map(|(name, time)| format!("{name} {:.1} ms", time.as_secs_f64() * 1_000.0)));
    let _ = write!(text, "\n* {}", way.join("; "));
}

fn answer(text: &mut String, exchange: &HttpExchange) {
    match (exchange.status, &exchange.error) {
        (Some(status), _) => {
            let _ = write!(text, "\n< {status}");
        }
        (None, Some(error)) => {
            let _ = write!(text, "\n< no answer: {error}");
        }
        (None, None) => {}
    }
    headers(text, '<', &exchange.response_headers);
    if let Some(response) = &exchange.response {
        let _ = write!(text, "\n< {}", printable(response));
    } else if exchange.confidential && exchange.status.is_some() {
        text.push_str("\n< (a secret, which is not kept)");
    }
    if exchange.truncated {
        text.push_str("\n< (more was not read)");
    }
}

pub(in crate::command) fn preview_json(preview: &Preview) -> Value {
    let requests = preview.requests.iter().map(|one| {
        let mut json = exchange_json(&one.request, one.body.as_ref());
        json["signed"] = one.signed.clone().into();
        json["curl"] = one.curl().into();
        json
    });
    json!({ "requests": requests.collect::<Vec<_>>(), "note": preview.note })
}

pub(in crate::command) fn preview(preview: &Preview) -> String {
    let mut parts = Vec::new();
    for one in &preview.requests {
        let mut text = String::new();
        request(&mut text, &one.request, one.body.as_deref());
        if let Some(signed) = &one.signed {
            let _ = write!(text, "\nsigned: {}", printable(signed));
        }
        parts.push(text);
    }
    parts.extend(preview.note.clone());
    if preview.requests.is_empty() && preview.note.is_none() {
        parts.push("the auth method sends nothing".to_owned());
    }
    parts.push("nothing was sent".to_owned());
    parts.join("\n\n")
}
