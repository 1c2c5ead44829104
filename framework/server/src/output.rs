//! Printing: results on standard output, everything else on standard error.

use std::io::{self, Write};

use anyhow::Error;
use comfy_table::{Table, presets};

/// Prints a line on standard output. A reader that went away, as `head` does, is no error.
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Prints a line on standard error.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told when standard error is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints an error and all that caused it, as one sentence.
pub(crate) fn error(error: &Error) {
    note(&format!("error: {error:#}"));
}

/// Makes a table; an empty one gives `empty`.
pub(crate) fn table<R: IntoIterator<Item = Vec<String>>>(header: &[&str], rows: R, empty: &str) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    if rows.is_empty() {
        return empty.to_owned();
    }
    table.add_rows(rows);
    table.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned()).collect::<Vec<_>>().join("\n")
}
