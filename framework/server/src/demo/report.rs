//! Whether the morning adds up: nothing lost, nothing doubled without a retry, nothing at the wrong owner's.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use switchboard::store::{EventId, TaskCounts, Webhook, WebhookId};

use super::receiver::Receipt;
use crate::output::table;

/// An event that the host has accepted.
pub(super) struct Announced {
    pub(super) id: EventId,
    pub(super) name: &'static str,
    pub(super) owner: i64,
    pub(super) begun: Instant,
    /// From the announcement to the commit.
    pub(super) accepted: Duration,
    /// Webhooks that a task was made for.
    pub(super) tasks: Vec<WebhookId>,
}

struct Row {
    target: String,
    owner: i64,
    method: String,
    events: usize,
    delivered: usize,
    retried: usize,
    accept: Histogram<u64>,
    delivery: Histogram<u64>,
}

pub(super) struct Report {
    rows: Vec<Row>,
    faults: Vec<String>,
    counts: TaskCounts,
}

impl Report {
    pub(super) fn new(webhooks: &[Webhook], announced: &[Announced], receipts: &[Receipt], counts: TaskCounts) -> Self {
        let mut faults: Vec<String> = receipts
            .iter()
            .filter_map(|receipt| {
                Some(format!("{} at {}: {}", receipt.event_id, receipt.target, receipt.fault.as_ref()?))
            })
            .collect();
        let known: HashSet<&str> = announced.iter().map(|event| event.id.0.as_str()).collect();
        faults.extend(
            receipts
                .iter()
                .filter(|receipt| !known.contains(receipt.event_id.as_str()))
                .map(|receipt| format!("{} at {}: nobody announced it", receipt.event_id, receipt.target)),
        );
        let unfinished = counts.ready + counts.running + counts.waiting;
        if unfinished > 0 {
            faults.push(format!("{unfinished} deliveries did not end in time"));
        }
        let rows = webhooks.iter().map(|webhook| row(webhook, announced, receipts, &mut faults)).collect();
        Self { rows, faults, counts }
    }

    /// Whether nothing was lost, doubled or misdirected.
    pub(super) fn adds_up(&self) -> bool {
        self.faults.is_empty() && self.counts.dead == 0
    }

    pub(super) fn text(&self) -> String {
        let header = [
            "WEBHOOK",
            "OWNER",
            "METHOD",
            "EVENTS",
            "DELIVERED",
            "RETRIED",
            "DEAD",
            "ACCEPT p50",
            "p99",
            "DELIVERY p50",
            "p99",
        ];
        let rows = self.rows.iter().map(|row| {
            vec![
                row.target.clone(),
                if row.owner == 0 { "all".into() } else { row.owner.to_string() },
                row.method.clone(),
                row.events.to_string(),
                row.delivered.to_string(),
                row.retried.to_string(),
                (row.events - row.delivered.min(row.events)).to_string(),
                milliseconds(&row.accept, 0.5),
                milliseconds(&row.accept, 0.99),
                milliseconds(&row.delivery, 0.5),
                milliseconds(&row.delivery, 0.99),
            ]
        });
        let mut text = table(&header, rows, "no webhooks");
        text.push_str(
            "\n\nat most 4 requests to a webhook are under way at once; waiting behind them counts as delivery time\n",
        );
        if self.adds_up() {
            text.push_str("it adds up: every event reached its owner's webhooks and the site's, once, and no other\n");
        } else {
            text.push_str(&format!(
                "it does NOT add up: {} faults, {} dead letters\n",
                self.faults.len(),
                self.counts.dead
            ));
            for fault in self.faults.iter().take(20) {
                text.push_str(&format!("  {fault}\n"));
            }
        }
        text
    }

    pub(super) fn json(&self, data: &Path) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "webhook": row.target,
                    "owner": row.owner,
                    "method": row.method,
                    "events": row.events,
                    "delivered": row.delivered,
                    "retried": row.retried,
                    "accept_us": { "p50": row.accept.value_at_quantile(0.5), "p99": row.accept.value_at_quantile(0.99) },
                    "delivery_us": { "p50": row.delivery.value_at_quantile(0.5), "p99": row.delivery.value_at_quantile(0.99) },
                })
            })
            .collect();
        json!({ "data": data, "adds_up": self.adds_up(), "faults": self.faults, "tasks": self.counts, "webhooks": rows })
    }
}

fn row(webhook: &Webhook, announced: &[Announced], receipts: &[Receipt], faults: &mut Vec<String>) -> Row {
    let target = webhook.url.rsplit('/').next().unwrap_or_default().to_owned();
    let mut got: HashMap<&str, Vec<&Receipt>> = HashMap::new();
    for receipt in receipts.iter().filter(|receipt| receipt.target == target) {
        got.entry(&receipt.event_id).or_default().push(receipt);
    }
    let mut row = Row {
        owner: webhook.owner.0,
        method: webhook.method.clone(),
        events: 0,
        delivered: 0,
        retried: 0,
        accept: histogram(),
        delivery: histogram(),
        target,
    };
    for event in announced {
        let wanted = (webhook.owner.0 == 0 || webhook.owner.0 == event.owner)
            && (webhook.events.is_empty() || webhook.events.iter().any(|name| name == event.name));
        let requests = got.remove(event.id.0.as_str()).unwrap_or_default();
        let arrived: Vec<_> = requests.iter().filter(|receipt| (200..300).contains(&receipt.status)).collect();
        let fault = |what: &str| format!("{} {} at {}: {what}", event.name, event.id, row.target);
        match (wanted, arrived.len()) {
            (false, _) if !requests.is_empty() => faults.push(fault("it is not for this webhook")),
            (false, _) => {}
            (true, 0) => faults.push(fault("lost")),
            (true, 1) => {}
            (true, _) => faults.push(fault("acknowledged and sent again")),
        }
        if wanted != event.tasks.contains(&webhook.id) {
            faults.push(fault("its tasks do not match its webhooks"));
        }
        if requests.iter().any(|receipt| receipt.event != event.name) {
            faults.push(fault("it arrived under another name"));
        }
        if wanted {
            row.events += 1;
            row.delivered += usize::from(!arrived.is_empty());
            row.retried += usize::from(requests.len() > 1);
            record(&mut row.accept, event.accepted);
            if let Some(receipt) = arrived.first() {
                record(&mut row.delivery, receipt.at.saturating_duration_since(event.begun));
            }
        }
    }
    row
}

/// Microseconds up to an hour, with three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order and the digits in range")
}

fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    histogram.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn milliseconds(histogram: &Histogram<u64>, quantile: f64) -> String {
    format!("{:.1} ms", histogram.value_at_quantile(quantile) as f64 / 1000.0)
}
