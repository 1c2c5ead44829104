//! Reading one Fluent source.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use fluent_bundle::FluentResource;
use fluent_syntax::ast::{Entry, Message};
use fluent_syntax::parser::{ErrorKind, ParserError};
use unic_langid::LanguageIdentifier;

use super::{LanguageError, Problem, chain, guard};

/// The longest source; the texts of a large application in one language have a tenth of this.
const MAX_BYTES: usize = 1024 * 1024;

/// A parsed source, shared by the bundles that use it.
pub(super) type Source = Arc<FluentResource>;

/// Reads a file of texts, of one that is too long no more than shows that.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        let error = format!("it has more than {MAX_BYTES} bytes, the limit of a language file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads `ftl`; what cannot be parsed is reported, the rest is returned.
pub(super) fn read(language: &str, ftl: &str) -> Result<(LanguageIdentifier, Source, Vec<Problem>), LanguageError> {
    let language = chain::parse(language)?;
    if ftl.len() > MAX_BYTES {
        return Err(LanguageError::TooLarge { language: language.to_string(), bytes: ftl.len(), limit: MAX_BYTES });
    }
    if let Some((line, reason)) = guard::refuse(ftl) {
        return Err(LanguageError::Harmful { language: language.to_string(), line, reason });
    }
    // Editors on Windows put a byte order mark first, which would spoil the first entry.
    let ftl = ftl.strip_prefix('\u{feff}').unwrap_or(ftl);
    let (source, errors) = match FluentResource::try_new(ftl.to_owned()) {
        Ok(source) => (source, Vec::new()),
        Err((source, errors)) => (source, errors),
    };
    let mut problems: Vec<Problem> = errors.iter().map(|error| problem(ftl, error)).collect();
    problems.extend(repeated_inside(&source));
    Ok((language, Arc::new(source), problems))
}

/// Returns the messages of `source`.
pub(super) fn messages(source: &FluentResource) -> impl Iterator<Item = &Message<&str>> {
    source.entries().filter_map(|entry| match entry {
        Entry::Message(message) => Some(message),
        _ => None,
    })
}

/// Returns the name of a message or term as the bundle knows it, which has one set of names for
/// both.
pub(super) fn names(source: &FluentResource) -> impl Iterator<Item = &str> {
    source.entries().filter_map(|entry| match entry {
        Entry::Message(message) => Some(message.id.name),
        Entry::Term(term) => Some(term.id.name),
        _ => None,
    })
}

/// Returns a problem for `name`, which the source already had.
pub(super) fn repetition(source: &FluentResource, name: &str) -> Problem {
    Problem {
        line: line_of(source.source(), name),
        reason: format!("`{name}` is defined before, this text replaces it"),
    }
}

fn repeated_inside(source: &FluentResource) -> Vec<Problem> {
    let mut seen = std::collections::BTreeSet::new();
    let repeated = names(source).filter(|name| !seen.insert(*name));
    repeated.map(|name| repetition(source, name)).collect()
}

/// Returns the line of the last entry called `name`. Names point into the text they come from.
fn line_of(text: &str, name: &str) -> usize {
    let start = (name.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    line_at(text, start)
}

fn line_at(text: &str, position: usize) -> usize {
    let before = &text.as_bytes()[..position.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

fn problem(text: &str, error: &ParserError) -> Problem {
    Problem { line: line_at(text, error.pos.start), reason: reason(&error.kind) }
}

fn reason(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::ExpectedToken(token) => format!("`{token}` is missing here"),
        ErrorKind::ExpectedMessageField { entry_id } => format!("`{entry_id}` has no text"),
        ErrorKind::ExpectedTermField { entry_id } => format!("the term `-{entry_id}` has no text"),
        other => {
            let mut text = other.to_string();
            // The library writes sentences; a reason continues one.
            text.get_mut(..1).map(str::make_ascii_lowercase).unwrap_or_default();
            text
        }
    }
}
