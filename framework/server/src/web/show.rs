//! How single things look on all pages.

use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;
use switchboard::store::Timestamp;

/// A point in time.
#[derive(Clone, Debug, Template)]
#[template(source = r#"<time datetime="{{ iso }}">{{ text }}</time>"#, ext = "html")]
pub(crate) struct Time {
    /// As RFC 3339 writes it.
    pub(crate) iso: String,
    /// As people read it.
    pub(crate) text: String,
}

// Both write markup of their own, in which their texts are escaped.
impl HtmlSafe for Time {}
impl HtmlSafe for State {}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        let iso = timestamp.to_string();
        let text = match iso.split_once('T') {
            Some((day, time)) => format!("{day} {} UTC", time.get(..8).unwrap_or(time)),
            None => iso.clone(),
        };
        Self { iso, text }
    }
}

/// How something stands: an icon and a word, so that nobody depends on a colour.
#[derive(Clone, Debug, Template)]
#[template(
    source = r#"<span class="state {{ kind }}"><span aria-hidden="true">{{ self.icon() }}</span> {{ text }}</span>"#,
    ext = "html"
)]
pub(crate) struct State {
    /// `good`, `wait`, `bad` or `off`; also the name of the icon.
    pub(crate) kind: &'static str,
    pub(crate) text: String,
}

impl State {
    pub(crate) fn good(text: impl Into<String>) -> Self {
        Self { kind: "good", text: text.into() }
    }

    pub(crate) fn waits(text: impl Into<String>) -> Self {
        Self { kind: "wait", text: text.into() }
    }

    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self { kind: "bad", text: text.into() }
    }

    pub(crate) fn off(text: impl Into<String>) -> Self {
        Self { kind: "off", text: text.into() }
    }

    /// The icon, a character that fonts have and that says the same without colour.
    pub(crate) fn icon(&self) -> &'static str {
        match self.kind {
            "good" => "✓",
            "wait" => "◔",
            "bad" => "✕",
            _ => "○",
        }
    }
}

/// Writes a number as people read it: `1,234,567`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes how long something took, with two or three digits.
pub(crate) fn took(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds {
        _ if seconds >= 1.0 => (seconds, "s"),
        _ if seconds >= 1e-3 => (seconds * 1e3, "ms"),
        _ if seconds >= 1e-6 => (seconds * 1e6, "µs"),
        _ => (seconds * 1e9, "ns"),
    };
    if value < 10.0 && unit != "ns" { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Writes a size in bytes.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{} bytes", number(bytes)),
        10_000..=10_239_999 => format!("{} KiB", number(bytes >> 10)),
        _ => format!("{} MiB", number(bytes >> 20)),
    }
}

/// Writes how often something happens in a minute.
pub(crate) fn rate(per_minute: f64) -> String {
    if per_minute < 10.0 { format!("{per_minute:.1}") } else { format!("{per_minute:.0}") }
}

/// Writes a count with its word: `1 task`, `3 tasks`, `2 deliveries`.
pub(crate) fn counted(count: u64, word: &str) -> String {
    let many = number(count);
    match word.strip_suffix('y') {
        _ if count == 1 => format!("1 {word}"),
        Some(stem) => format!("{many} {stem}ies"),
        None => format!("{many} {word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_times_have_the_unit_that_fits() {
        let numbers = [0, 999, 1_000, 1_234_567].map(number);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
        let times = [7, 640, 12_345, 3_210_000, 45_600_000, 1_400_000_000, 61_000_000_000];
        let times = times.map(|nanos| took(Duration::from_nanos(nanos)));
        assert_eq!(times, ["7 ns", "640 ns", "12 µs", "3.2 ms", "46 ms", "1.4 s", "61 s"]);
        assert_eq!([0, 9_999, 10_240, 5 << 30].map(size), ["0 bytes", "9,999 bytes", "10 KiB", "5,120 MiB"]);
        assert_eq!([0.0, 1.25, 123.4].map(rate), ["0.0", "1.2", "123"]);
        assert_eq!(
            [(1, "delivery"), (2, "delivery"), (1_000, "task")].map(|(n, word)| counted(n, word)),
            ["1 delivery", "2 deliveries", "1,000 tasks"]
        );
    }

    #[test]
    fn a_time_is_shown_to_the_second_and_kept_exactly() {
        let time = Time::from(Timestamp(1_795_000_000_123));
        assert_eq!((time.iso.as_str(), time.text.as_str()), ("2026-11-18T11:06:40.123Z", "2026-11-18 11:06:40 UTC"));
    }
}
