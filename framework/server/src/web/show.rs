//! How single things look on all pages.

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

/// Writes a count with its word: `1 task`, `3 tasks`, `2 deliveries`.
pub(crate) fn counted(count: u64, word: &str) -> String {
    match word.strip_suffix('y') {
        _ if count == 1 => format!("1 {word}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_to_the_second_and_kept_exactly() {
        let time = Time::from(Timestamp(1_795_000_000_123));
        assert_eq!((time.iso.as_str(), time.text.as_str()), ("2026-11-18T11:06:40.123Z", "2026-11-18 11:06:40 UTC"));
    }
}
