//! Printing: results on standard output, everything else on standard error.
//!
//! Texts of plugins and of receivers are in what is printed, so nothing reaches a terminal that could move its cursor.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Error};
use comfy_table::{Table, presets};
use serde::Serialize;
use switchboard::channel_log::printable;

/// The standard output that this process was started with, once plugins share the process.
static RESULTS: OnceLock<Option<File>> = OnceLock::new();

/// Keeps standard output for results: whatever a plugin prints to it from now on goes to standard error, and it cannot
/// close it. Called before plugins are loaded.
#[cfg(unix)]
pub(crate) fn keep_from_plugins() {
    RESULTS.get_or_init(|| {
        // When the descriptors cannot be had, results and what plugins print stay in one stream.
        let kept = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3).ok()?;
        rustix::stdio::dup2_stdout(io::stderr()).ok()?;
        Some(File::from(kept))
    });
}

/// Writes a new file that only its owner can read, in no other file's place. It has another name until it is whole, so that
/// nobody takes a part for all of it.
pub(crate) fn new_file<V>(file: &Path, write: impl FnOnce(&mut File) -> io::Result<V>) -> anyhow::Result<V> {
    let cannot =
        || format!("cannot write `{}`: name a new file in a folder that is there and has room", file.display());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
    let written = write(new.as_file_mut()).with_context(cannot)?;
    new.persist_noclobber(file).with_context(cannot)?;
    Ok(written)
}

/// Standard output is shared with plugins.
#[cfg(not(unix))]
pub(crate) fn keep_from_plugins() {}

/// Prints lines on standard output. A reader that went away, as `head` does, is no error.
pub(crate) fn line(text: &str) {
    print(&each_line(text));
}

/// Prints a value as JSON on standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), serde_json::Error> {
    print(&safe_json(&serde_json::to_string_pretty(value)?));
    Ok(())
}

/// Returns JSON in which every character that could move a cursor is escaped.
pub(crate) fn safe_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        let harmful = c != '\n' && matches!(printable(c.encode_utf8(&mut [0; 4])), Cow::Owned(_));
        // It stands inside a string: the rest of JSON has no such characters.
        if harmful { text.push_str(&format!("\\u{:04x}", u32::from(c))) } else { text.push(c) }
    }
    text
}

/// Prints lines on standard error.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told when standard error is gone.
    let _ = writeln!(io::stderr(), "{}", each_line(text));
}

/// Prints an error and all that caused it, as one sentence in one line.
pub(crate) fn error(error: &Error) {
    note(&format!("error: {}", printable(&format!("{error:#}"))));
}

fn print(text: &str) {
    let written = match RESULTS.get() {
        Some(Some(results)) => (&*results).write_all(format!("{text}\n").as_bytes()),
        _ => {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}").and_then(|()| out.flush())
        }
    };
    if written.is_err() {
        std::process::exit(0);
    }
}

/// Makes each line of a text safe to show; the ends of its lines are ours.
fn each_line(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Makes a table; an empty one gives `empty`.
pub(crate) fn table<R: IntoIterator<Item = Vec<String>>>(header: &[&str], rows: R, empty: &str) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    if rows.is_empty() {
        return empty.to_owned();
    }
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| printable(cell))));
    table.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_made_safe_says_the_same() {
        let value = serde_json::json!({ "a\u{202e}": ["\u{9b}31m\u{7f}", "two\nlines, ünlaut"] });
        let text = safe_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.contains(['\u{202e}', '\u{9b}', '\u{7f}']), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
