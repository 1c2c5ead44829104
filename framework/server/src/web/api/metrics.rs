//! The numbers of the host as Prometheus reads them, and as text for people.

use std::fmt::Write;

use switchboard::store::TaskCounts;
use switchboard::{Counted, Histogram, MetricsReport};

/// Content type of the text format 0.0.4 of Prometheus.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes a report in the text format.
pub(super) fn text(report: &MetricsReport) -> String {
    let mut text = Text::default();
    let MetricsReport { tasks, .. } = report;
    text.counters("attempts_total", "Attempts that have ended.", ["plugin", "mode", "outcome"], &report.attempts);
    text.histogram("attempt_seconds", "How long attempts took.", &report.attempt_seconds);
    text.histogram(
        "task_lag_seconds",
        "From the acceptance of a task to the start of its first attempt.",
        &report.lag_seconds,
    );
    text.histogram(
        "first_byte_seconds",
        "From the acceptance of a delivery to the first byte of the answer to its first attempt.",
        &report.first_byte_seconds,
    );
    text.counters("tasks_dead_total", "Tasks that were given up.", ["reason"], &report.dead);
    text.counters("plugin_panics_total", "Panics of handlers.", ["plugin"], &report.panics);
    text.counters("http_bytes_total", "Bytes of bodies that handlers sent and received.", ["direction"], &report.bytes);
    text.counters("events_total", "Announced events.", ["result"], &report.events);
    let TaskCounts { ready, running, waiting, done, dead } = *tasks;
    let states = [("ready", ready), ("running", running), ("waiting", waiting), ("done", done), ("dead", dead)];
    text.gauges("tasks", "Tasks in the store.", "state", states.map(|(state, count)| (state, count as f64)));
    let oldest = report.oldest_ready.map_or(0.0, |age| age.as_secs_f64());
    text.gauge("oldest_ready_seconds", "How long the ready task that was accepted first has been due.", oldest);
    text.gauge("attempts_in_flight", "Attempts that are being made.", report.in_flight as f64);
    let busiest = report.busiest.iter().map(|(key, count)| (key.as_str(), *count as f64));
    text.gauges("key_attempts_in_flight", "Attempts of the ten busiest keys.", "key", busiest);
    text.gauge("open_breakers", "Keys whose tasks do not start because they failed.", report.open_breakers as f64);
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "# HELP switchboard_{name} {help}\n# TYPE switchboard_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "switchboard_{name}{labels} {value}");
    }

    fn counters<const N: usize>(&mut self, name: &str, help: &str, labels: [&str; N], counted: &[Counted<N>]) {
        self.head(name, help, "counter");
        for one in counted {
            let pairs: Vec<_> = labels.iter().copied().zip(one.labels.iter().map(String::as_str)).collect();
            self.line(name, &pairs, one.count as f64);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, help, "histogram");
        for (bound, count) in &histogram.buckets {
            self.line(&format!("{name}_bucket"), &[("le", &bound.to_string())], *count as f64);
        }
        self.line(&format!("{name}_bucket"), &[("le", "+Inf")], histogram.count as f64);
        self.line(&format!("{name}_sum"), &[], histogram.sum);
        self.line(&format!("{name}_count"), &[], histogram.count as f64);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.line(name, &[], value);
    }

    fn gauges<'a>(&mut self, name: &str, help: &str, label: &str, values: impl IntoIterator<Item = (&'a str, f64)>) {
        self.head(name, help, "gauge");
        for (of, value) in values {
            self.line(name, &[(label, of)], value);
        }
    }
}

/// Escapes the value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out_and_buckets_end_with_infinity() {
        let mut text = Text::default();
        let odd = Counted { labels: ["a\"} 1\nb\\".to_owned()], count: 3 };
        text.counters("x_total", "Help.", ["plugin"], &[odd]);
        text.histogram("y", "Help.", &Histogram { buckets: vec![(0.005, 1), (1.0, 2)], sum: 3.5, count: 4 });
        let expected = "# HELP switchboard_x_total Help.\n# TYPE switchboard_x_total counter\n\
            switchboard_x_total{plugin=\"a\\\"} 1\\nb\\\\\"} 3\n\
            # HELP switchboard_y Help.\n# TYPE switchboard_y histogram\n\
            switchboard_y_bucket{le=\"0.005\"} 1\nswitchboard_y_bucket{le=\"1\"} 2\nswitchboard_y_bucket{le=\"+Inf\"} 4\n\
            switchboard_y_sum 3.5\nswitchboard_y_count 4\n";
        assert_eq!(text.0, expected);
    }
}
