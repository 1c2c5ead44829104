//! Group I: the texts that a plugin hands over and those beside it.

use std::collections::{BTreeMap, BTreeSet};

use fluent_syntax::ast::Entry;
use switchboard_plugin_api::{LanguageFiles, LanguageInit, Trigger};

use super::host::DEFAULT_LANGUAGE;
use super::payloads;
use super::worker::Session;
use crate::language::Languages;
use crate::language::parts::{self, Part};

/// The texts of a plugin as it gives them: language and source.
type Sources = Vec<(String, String)>;

/// Collects the texts. `None` when the check does not apply or the plugin cannot be asked.
fn sources(session: &mut Session<'_>) -> Option<Sources> {
    let running = session.start()?;
    let mut sources = Sources::new();
    for handler in session.handlers.clone().iter().filter(|handler| handler.number == LanguageInit::NUMBER.get()) {
        let files = session.call(&running, handler, &payloads::sample(handler.number)).ok()?;
        let files: LanguageFiles = serde_json::from_slice(&files).ok()?;
        sources.extend(files.files.into_iter().map(|file| (file.language, file.fluent)));
    }
    let beside = session.job.languages.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    for path in beside.flatten().flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "ftl")
            && let (Some(language), Ok(source)) = (path.file_stem(), crate::language::read_file(&path))
        {
            sources.push((language.to_string_lossy().into_owned(), source));
        }
    }
    if sources.is_empty() {
        session.report.skip("the plugin has no texts");
        return None;
    }
    Some(sources)
}

/// I1.
pub(super) fn readable(session: &mut Session<'_>) {
    let Some(sources) = sources(session) else { return };
    let (_, problems) = load(&sources);
    for (language, problem) in problems {
        session.fail(format!("a text of {language} cannot be used: {problem}"), "correct the file");
    }
}

/// Reads the sources as a host does. A source that would do harm is not parsed.
fn load(sources: &Sources) -> (Languages, Vec<(String, String)>) {
    let languages = Languages::new(DEFAULT_LANGUAGE).expect("the default language is a language");
    let mut problems = Vec::new();
    for (language, source) in sources {
        match languages.add("plugin", language, source) {
            Ok(found) => problems.extend(found.iter().map(|problem| (language.clone(), problem.to_string()))),
            Err(error) => problems.push((language.clone(), error.to_string())),
        }
    }
    (languages, problems)
}

/// I2.
pub(super) fn complete(session: &mut Session<'_>) {
    let Some(sources) = sources(session) else { return };
    let (languages, _) = load(&sources);
    if languages.keys("plugin", DEFAULT_LANGUAGE).is_empty() {
        let found = format!("there are texts, but none in {DEFAULT_LANGUAGE}");
        session.warn(found, "add that language: all others fall back to it");
    }
    for (language, key) in languages.missing("plugin") {
        session.warn(format!("the text `{key}` is missing in {language}"), "translate it");
    }
}

/// I3.
pub(super) fn arguments(session: &mut Session<'_>) {
    let Some(texts) = parsed(session) else { return };
    let Some(expected) = texts.get(DEFAULT_LANGUAGE).cloned() else { return };
    for (language, texts) in texts.iter().filter(|(language, _)| *language != DEFAULT_LANGUAGE) {
        for (key, text) in texts {
            let Some(default) = expected.get(key) else { continue };
            let more: Vec<_> = text.arguments.difference(&default.arguments).map(String::as_str).collect();
            let fewer: Vec<_> = default.arguments.difference(&text.arguments).map(String::as_str).collect();
            if !more.is_empty() {
                session.fail(
                    format!(
                        "the text `{key}` in {language} uses ${}, which {DEFAULT_LANGUAGE} does not",
                        more.join(", $")
                    ),
                    "use the same arguments: with one that is not given, the text cannot be formed",
                );
            }
            if !fewer.is_empty() {
                session.warn(
                    format!("the text `{key}` in {language} leaves out ${}", fewer.join(", $")),
                    "use the same arguments in every language",
                );
            }
        }
    }
}

/// I4.
pub(super) fn markup(session: &mut Session<'_>) {
    let Some(texts) = parsed(session) else { return };
    for (language, texts) in texts {
        for (key, _) in texts.iter().filter(|(_, text)| text.has_markup) {
            session.warn(
                format!("the text `{key}` in {language} holds markup"),
                "write plain text: a page shows it as it is, with every bracket",
            );
        }
    }
}

#[derive(Clone, Default)]
struct Text {
    arguments: BTreeSet<String>,
    has_markup: bool,
}

/// What is in the texts of each language, by key.
fn parsed(session: &mut Session<'_>) -> Option<BTreeMap<String, BTreeMap<String, Text>>> {
    let sources = sources(session)?;
    let mut languages: BTreeMap<String, BTreeMap<String, Text>> = BTreeMap::new();
    for (language, source) in &sources {
        let harmless =
            Languages::new(DEFAULT_LANGUAGE).is_ok_and(|check| check.add("plugin", language, source).is_ok());
        if !harmless {
            continue;
        }
        let resource = fluent_syntax::parser::parse(source.as_str()).unwrap_or_else(|(resource, _)| resource);
        let texts = languages.entry(language.clone()).or_default();
        for entry in &resource.body {
            let Entry::Message(message) = entry else { continue };
            let own = message.value.as_ref().map(|pattern| (message.id.name.to_owned(), pattern));
            let attributes = message.attributes.iter();
            let attributes =
                attributes.map(|attribute| (format!("{}.{}", message.id.name, attribute.id.name), &attribute.value));
            for (key, pattern) in own.into_iter().chain(attributes) {
                let mut text = Text::default();
                parts::visit(pattern, &mut |part| match part {
                    Part::Text(value) => text.has_markup |= is_markup(value),
                    Part::Argument(name) => {
                        text.arguments.insert(name.to_owned());
                    }
                });
                texts.insert(key, text);
            }
        }
    }
    Some(languages)
}

/// Whether a text looks like HTML: a tag, or a character by its name.
fn is_markup(text: &str) -> bool {
    let opens =
        |rest: &str| rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/' || first == '!');
    let tag = text.match_indices('<').any(|(at, _)| opens(&text[at + 1..]) && text[at..].contains('>'));
    let named = text.match_indices('&').any(|(at, _)| {
        let name: String =
            text[at + 1..].chars().take_while(|one| one.is_ascii_alphanumeric() || *one == '#').collect();
        !name.is_empty() && text[at + 1 + name.len()..].starts_with(';')
    });
    tag || named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_told_from_text() {
        for markup in ["<b>bold</b>", "a <br/> b", "fish &amp; chips", "&#38;", "</p>"] {
            assert!(is_markup(markup), "{markup}");
        }
        for text in ["1 < 2", "a <- b", "Q&A", "R & D; more", "<3", "x > y"] {
            assert!(!is_markup(text), "{text}");
        }
    }
}
