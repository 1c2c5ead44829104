//! How a record becomes one line.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use log::Record;
use log::kv::{Error, Key, Value, VisitSource};

use crate::clock::write_rfc3339;

/// The longest line in bytes, with its newline. Linux appends more than this in one piece, and a
/// reader of a page is not helped by more.
pub(super) const MAX_LINE: usize = 8 * 1024;

/// Ends a line that was cut.
const CUT_MARK: &str = " [cut]";

/// Returns the line of `record` at `now`, with its newline.
pub(super) fn of_record(record: &Record<'_>, now: i64) -> String {
    let mut line = String::with_capacity(256);
    write_rfc3339(&mut line, now);
    // A `Display` that reports an error ends its own text; the rest of the line is still useful.
    let _ = write!(line, " {:<5} ", record.level().as_str());
    let mut line = Bounded { text: line, limit: MAX_LINE - CUT_MARK.len() - 1, cut: false };
    let _ = write!(Escaped(&mut line), "{}", record.args());
    let _ = record.key_values().visit(&mut Pairs(&mut line));
    let mut text = line.text;
    if line.cut {
        text.push_str(CUT_MARK);
    }
    text.push('\n');
    text
}

/// Returns the line that tells how many records were lost, with its newline.
pub(super) fn of_lost(count: u64, now: i64) -> String {
    let mut line = String::with_capacity(96);
    write_rfc3339(&mut line, now);
    let _ = writeln!(line, " WARN  records lost, the log could not be written count={count}");
    line
}

/// A text that takes no more once it has reached its limit.
struct Bounded {
    text: String,
    limit: usize,
    cut: bool,
}

impl Bounded {
    /// Adds all of `piece` or nothing, so that an escape is never split.
    fn push(&mut self, piece: &str) -> fmt::Result {
        if self.cut || self.text.len() + piece.len() > self.limit {
            self.cut = true;
            // The error stops the caller's formatting: a value of a gigabyte is not walked through.
            return Err(fmt::Error);
        }
        self.text.push_str(piece);
        Ok(())
    }

    fn push_escaped(&mut self, c: char, quoted: bool) -> fmt::Result {
        match c {
            '"' | '\\' if quoted => self.push(if c == '"' { "\\\"" } else { "\\\\" }),
            c if breaks_line(c) => self.push(&escape(c)),
            c => self.push(c.encode_utf8(&mut [0; 4])),
        }
    }
}

/// Returns how a character is written that [`breaks_line`].
fn escape(c: char) -> Cow<'static, str> {
    match c {
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        c => format!("\\u{{{:x}}}", u32::from(c)).into(),
    }
}

/// Returns `text` as it is safe to show on a terminal and in one line: characters that could end the line, move the
/// cursor or turn the text around are escaped, as in a log.
///
/// ```
/// use switchboard::channel_log::printable;
///
/// assert_eq!(printable("two\nlines, \u{1b}[31mred"), r"two\nlines, \u{1b}[31mred");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(breaks_line) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| if breaks_line(c) { escape(c) } else { c.to_string().into() });
    Cow::Owned(escaped.collect())
}

/// Tells whether `c` could end the line, move the cursor of a terminal, or turn the text around.
fn breaks_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes the message: control characters escaped, everything else as it is.
struct Escaped<'a>(&'a mut Bounded);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.0.cut && self.0.text.len() + text.len() <= self.0.limit && !text.chars().any(breaks_line) {
            self.0.text.push_str(text);
            return Ok(());
        }
        text.chars().try_for_each(|c| self.0.push_escaped(c, false))
    }
}

/// Writes ` key=value` for each pair.
struct Pairs<'a>(&'a mut Bounded);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if self.0.cut {
            return Ok(());
        }
        let mut text = Bounded { text: String::new(), limit: MAX_LINE, cut: false };
        let _ = write!(Raw(&mut text), "{value}");
        let _ = self.write(key.as_str(), &text.text);
        Ok(())
    }
}

impl Pairs<'_> {
    fn write(&mut self, key: &str, value: &str) -> fmt::Result {
        let line = &mut *self.0;
        line.push(" ")?;
        for c in key.chars() {
            let kept = c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
            line.push_escaped(if kept { c } else { '_' }, false)?;
        }
        line.push("=")?;
        let quoted =
            value.is_empty() || value.chars().any(|c| c.is_whitespace() || matches!(c, '"' | '=') || breaks_line(c));
        if !quoted {
            return value.chars().try_for_each(|c| line.push_escaped(c, false));
        }
        line.push("\"")?;
        value.chars().try_for_each(|c| line.push_escaped(c, true))?;
        line.push("\"")
    }
}

/// Collects a value as it is.
struct Raw<'a>(&'a mut Bounded);

impl fmt::Write for Raw<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.text.len() + text.len() <= self.0.limit {
            self.0.text.push_str(text);
            return Ok(());
        }
        text.chars().try_for_each(|c| self.0.push(c.encode_utf8(&mut [0; 4])))
    }
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    #[track_caller]
    fn check_line(message: &str, pairs: &[(&str, &str)], expected: &str) {
        let line = of_record(
            &Record::builder().level(Level::Warn).args(format_args!("{message}")).key_values(&pairs).build(),
            1_795_485_600_123,
        );
        assert_eq!(line, format!("2026-11-24T02:00:00.123Z WARN  {expected}\n"));
    }

    #[test]
    fn a_record_is_time_level_message_and_pairs() {
        check_line("delivered", &[], "delivered");
        check_line(
            "delivered",
            &[("webhook", "3"), ("event", "booking_added"), ("path", "C:\\x")],
            "delivered webhook=3 event=booking_added path=C:\\x",
        );
    }

    #[test]
    fn a_value_that_could_be_misread_is_quoted() {
        check_line(
            "m",
            &[("a", "x y"), ("b", "say \"no\""), ("c", "1=2"), ("d", ""), ("e", "\\ \u{85}")],
            r#"m a="x y" b="say \"no\"" c="1=2" d="" e="\\ \u{85}""#,
        );
    }

    #[test]
    fn no_content_makes_a_second_line_or_moves_a_terminal() {
        check_line(
            "a\r\nb\tc\u{1b}[2J\u{2028}\u{202e}\0",
            &[("k\ne y=", "v\n2026-11-24T02:00:00.123Z ERROR forged")],
            "a\\r\\nb\\tc\\u{1b}[2J\\u{2028}\\u{202e}\\u{0} \
             k_e_y_=\"v\\n2026-11-24T02:00:00.123Z ERROR forged\"",
        );
    }

    #[test]
    fn a_long_line_is_cut_with_a_mark_and_stays_text() {
        for message in ["x".repeat(9000), "ü€".repeat(9000), "\n".repeat(9000)] {
            let line =
                of_record(&Record::builder().args(format_args!("{message}")).key_values(&("late", "value")).build(), 0);
            assert!(line.len() <= MAX_LINE && line.len() > MAX_LINE - 8);
            assert!(line.ends_with(" [cut]\n"));
            assert_eq!(line.matches('\n').count(), 1);
        }
    }

    #[test]
    fn a_long_value_is_cut_with_a_mark() {
        let value = "v".repeat(100_000);
        let pair = ("k", &*value);
        let record = Record::builder().args(format_args!("m")).key_values(&pair).build();
        let line = of_record(&record, 0);
        assert!(line.len() <= MAX_LINE && line.ends_with("vvv [cut]\n"));
    }

    #[test]
    fn a_display_that_fails_costs_only_its_own_text() {
        struct Broken;
        impl fmt::Display for Broken {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half")?;
                Err(fmt::Error)
            }
        }
        let pairs = [("k", Value::from_display(&Broken)), ("next", Value::from(1))];
        let record = Record::builder().args(format_args!("m")).key_values(&pairs).build();
        assert!(of_record(&record, 0).ends_with(" m k=half next=1\n"));
    }
}
