//! Each text of a plugin with the administrator's beside it, and changing the administrator's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fluent_syntax::ast::{Entry, Message, Resource};
use fluent_syntax::parser;
use fluent_syntax::serializer;
use serde::Serialize;

use super::source::{self, Source};
use super::{LanguageError, Languages, chain, parts};

/// One text as it stands in the sources: what the plugin says, and what the administrator says in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TextEntry {
    /// The key.
    pub key: String,
    /// The plugin's text, as Fluent writes it; `None` when only the administrator has one.
    pub own: Option<String>,
    /// The administrator's.
    pub override_text: Option<String>,
    /// Names of the arguments that the plugin fills it with.
    pub arguments: BTreeSet<String>,
}

/// Why an administrator's text cannot be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetTextError {
    /// The language, or the text, cannot be used.
    #[error(transparent)]
    Language(#[from] LanguageError),
    /// The plugin is none.
    #[error("`{plugin}` is no id of a plugin")]
    Plugin {
        /// What was given.
        plugin: String,
    },
    /// The text is none that Fluent reads.
    #[error("the text of `{key}` cannot be read: {reason}; a `{{` that is meant as such is written {{\"{{\"}}")]
    Text {
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The text uses an argument that the plugin does not fill it with, so that it could never be shown.
    #[error("the text of `{key}` uses {unknown}, which the plugin does not give: {known}")]
    Arguments {
        /// The key.
        key: String,
        /// What is used.
        unknown: String,
        /// What there is.
        known: String,
    },
    /// The file holds what would harm whoever reads it.
    #[error("the language file `{path}` cannot be changed here: correct it with an editor")]
    Harmful {
        /// The file.
        path: PathBuf,
        /// What is in it.
        source: LanguageError,
    },
    /// The file cannot be read or written.
    #[error("the language file `{path}` cannot be changed")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Languages {
    /// Returns the texts that exist in exactly this language, by key.
    ///
    /// # Errors
    ///
    /// [`LanguageError::Code`] when `language` is no code.
    pub fn entries(&self, plugin: &str, language: &str) -> Result<Vec<TextEntry>, LanguageError> {
        let language = chain::parse(language)?;
        let mut entries = BTreeMap::<String, TextEntry>::new();
        self.with(plugin, |texts| {
            let (own, overrides) = texts.sources(&language);
            for (sources, is_own) in [(own, true), (overrides, false)] {
                for message in sources.iter().flat_map(|source| source::messages(source)) {
                    let key = message.id.name.to_owned();
                    let entry = entries.entry(key.clone()).or_insert_with(|| TextEntry { key, ..TextEntry::default() });
                    let place = if is_own { &mut entry.own } else { &mut entry.override_text };
                    *place = Some(written(message));
                }
            }
            let mut arguments = texts.arguments();
            for entry in entries.values_mut() {
                entry.arguments = arguments.remove(&entry.key).unwrap_or_default();
            }
        });
        Ok(entries.into_values().collect())
    }

    /// Refuses a text with arguments that the plugin does not fill it with. Of a key that the plugin has in no language
    /// nothing is known.
    fn check_arguments(&self, plugin: &str, key: &str, text: &Message<String>) -> Result<(), SetTextError> {
        let Some(known) = self.with(plugin, |texts| texts.arguments().remove(key)) else { return Ok(()) };
        let mut used = BTreeSet::new();
        parts::arguments(text, |name| {
            used.insert(name.to_owned());
        });
        let unknown = dollars(used.difference(&known));
        if unknown.is_empty() {
            return Ok(());
        }
        let known = if known.is_empty() { "it gives none".into() } else { format!("it gives {}", dollars(&known)) };
        Err(SetTextError::Arguments { key: key.to_owned(), unknown, known })
    }

    /// Sets or removes an administrator's text in `<folder>/<plugin>/<language>.ftl`; the rest of the file stays. It holds
    /// once [`Languages::load_overrides`] has read it.
    ///
    /// # Errors
    ///
    /// When the plugin's id, the language or the text cannot be used, or the file cannot be read or written; nothing is
    /// changed then.
    pub fn set_override(
        &self,
        folder: &Path,
        plugin: &str,
        language: &str,
        key: &str,
        text: Option<&str>,
    ) -> Result<PathBuf, SetTextError> {
        if !crate::plugins::is_id(plugin) {
            return Err(SetTextError::Plugin { plugin: plugin.to_owned() });
        }
        let code = chain::parse(language)?.to_string();
        let message = text.map(|text| message(&code, key, text)).transpose()?;
        if let Some(message) = &message {
            self.check_arguments(plugin, key, message)?;
        }
        change_file(folder, plugin, &code, key, message)
    }
}

/// Writes the names of arguments as Fluent does.
fn dollars<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| format!("`${name}`")).collect::<Vec<_>>().join(", ")
}

fn change_file(
    folder: &Path,
    plugin: &str,
    code: &str,
    key: &str,
    message: Option<Message<String>>,
) -> Result<PathBuf, SetTextError> {
    let path = folder.join(plugin).join(format!("{code}.ftl"));
    let failed = |source| SetTextError::File { path: path.clone(), source };
    let before = match source::read_file(&path) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(failed(source)),
    };
    // The parser recurses as deep as the file nests.
    source::read(code, &before).map_err(|source| SetTextError::Harmful { path: path.clone(), source })?;
    // What is wrong in the file stays as it is, as junk.
    let mut resource = parser::parse(before).unwrap_or_else(|(resource, _)| resource);
    let is_it = |entry: &Entry<String>| matches!(entry, Entry::Message(message) if message.id.name == key);
    let at = resource.body.iter().position(is_it);
    match (at, message.map(Entry::Message)) {
        (Some(at), Some(message)) => resource.body[at] = message,
        (Some(at), None) => drop(resource.body.remove(at)),
        (None, Some(message)) => resource.body.push(message),
        (None, None) => return Ok(path),
    }
    let after = serializer::serialize_with_options(&resource, serializer::Options { with_junk: true });
    // The same rules as when it is read.
    source::read(code, &after)?;
    let unfinished = path.with_extension("ftl.part");
    let written = fs::create_dir_all(folder.join(plugin)).and_then(|()| {
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(after.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)
    });
    written.map_err(failed)?;
    Ok(path)
}

/// Reads one text under a key.
fn message(code: &str, key: &str, text: &str) -> Result<Message<String>, SetTextError> {
    let wrong = |reason: &str| SetTextError::Text { key: key.to_owned(), reason: reason.to_owned() };
    // Lines after the first belong to the text only when they are indented.
    let written = format!("{key} = {}\n", text.trim_end().replace('\n', "\n    "));
    source::read(code, &written)?;
    let parsed = parser::parse(written).map_err(|(_, errors)| {
        let reason = errors.first().map_or_else(|| "it is no text".to_owned(), ToString::to_string);
        wrong(&reason)
    })?;
    let mut entries = parsed.body.into_iter();
    match (entries.next(), entries.next()) {
        (Some(Entry::Message(message)), None) if message.id.name == key && message.value.is_some() => Ok(message),
        _ => Err(wrong("it is more or less than one text, or its key is none")),
    }
}

/// Returns a message as Fluent writes it, without its key.
fn written(message: &Message<&str>) -> String {
    let resource = Resource { body: vec![Entry::Message(Message { comment: None, ..message.clone() })] };
    let text = serializer::serialize(&resource);
    let text = text.strip_prefix(message.id.name).unwrap_or(&text);
    text.trim_start_matches([' ', '=']).trim_end().to_owned()
}

/// The sources of one language.
pub(super) type Sources<'a> = (&'a [Source], &'a [Source]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_beside_the_administrators_own() {
        let languages = Languages::new("en-GB").unwrap();
        languages.add("hello", "en-GB", "greet = Hello, { $name }!\nbye = Bye\n    .title = Farewell\n").unwrap();
        languages.add_override("hello", "en-GB", "greet = Hi { $name }\nextra = More\n").unwrap();
        let entries = languages.entries("hello", "en-GB").unwrap();
        let shown: Vec<_> = entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.own.as_deref(), entry.override_text.as_deref()))
            .collect();
        let expected = [
            ("bye", Some("Bye\n    .title = Farewell"), None),
            ("extra", None, Some("More")),
            ("greet", Some("Hello, { $name }!"), Some("Hi { $name }")),
        ];
        assert_eq!(shown, expected);
        assert!(languages.entries("hello", "no code").is_err());
        assert!(languages.entries("nobody", "en-GB").unwrap().is_empty());
    }

    #[test]
    fn one_override_is_changed_and_the_rest_of_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let languages = Languages::new("en-GB").unwrap();
        let set = |key, text| languages.set_override(folder.path(), "hello", "de-DE", key, text);
        let path = set("greet", Some("Moin { $name }")).unwrap();
        fs::write(&path, "# ours\ngreet = Moin { $name }\n\n# kept\nbye = Tschüss\n").unwrap();
        let _ = set("greet", Some("two\nlines")).unwrap();
        let _ = set("new", Some("neu")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for part in ["two\n    lines", "# kept\nbye = Tschüss", "new = neu"] {
            assert!(text.contains(part), "`{part}` is not in {text}");
        }
        assert!(languages.load_overrides(folder.path()).unwrap().is_empty());
        assert_eq!(languages.text("hello", "de-DE", "greet", &[]), "two\nlines");
        let _ = set("greet", None).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("lines"));
    }

    #[test]
    fn what_is_no_text_no_key_and_no_plugin_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let languages = Languages::new("en-GB").unwrap();
        let deep = "{".repeat(100_000);
        for (plugin, language, key, text) in [
            ("../hello", "de-DE", "greet", "x"),
            ("hello", "../de", "greet", "x"),
            ("hello", "de-DE", "greet", "{ $name"),
            ("hello", "de-DE", "greet", ""),
            ("hello", "de-DE", "greet = a\nother", "x"),
            ("hello", "de-DE", "a b", "x"),
            ("hello", "de-DE", "greet", &deep),
        ] {
            let set = languages.set_override(folder.path(), plugin, language, key, Some(text));
            assert!(set.is_err(), "{plugin} {language} {key}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_text_has_only_arguments_that_the_plugin_gives() {
        let folder = tempfile::tempdir().unwrap();
        let languages = Languages::new("en-GB").unwrap();
        languages.add("hello", "en-GB", "greet = Hello, { $name }!\nbye = Bye\n").unwrap();
        languages.add("hello", "de-DE", "greet = { $count ->\n    [one] a\n   *[other] b\n}\n").unwrap();
        let set = |key, text| languages.set_override(folder.path(), "hello", "de-AT", key, Some(text));
        for text in ["Servus { $name }", "{ NUMBER($count) }", "Servus"] {
            assert!(set("greet", text).is_ok(), "{text}");
        }
        for (key, text, told) in [
            (
                "greet",
                "{ $nam }",
                "the text of `greet` uses `$nam`, which the plugin does not give: it gives `$count`, `$name`",
            ),
            (
                "bye",
                "{ $name ->\n   *[x] { $y }\n}",
                "the text of `bye` uses `$name`, `$y`, which the plugin does not give: it gives none",
            ),
        ] {
            assert_eq!(set(key, text).unwrap_err().to_string(), told);
        }
        assert!(set("of_nobody", "{ $anything }").is_ok());
        let greet = languages.entries("hello", "en-GB").unwrap().pop().unwrap();
        assert_eq!(greet.arguments, ["count", "name"].map(str::to_owned).into());
    }

    #[test]
    fn a_file_that_would_do_harm_is_left_as_it_is_and_other_files_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let languages = Languages::new("en-GB").unwrap();
        let set = |language, text| languages.set_override(folder.path(), "hello", language, "greet", Some(text));
        let path = set("de-DE", "Moin").unwrap();
        for harmful in [format!("greet = {}", "{".repeat(100_000)), format!("greet = {}", "x".repeat(2 << 20))] {
            fs::write(&path, &harmful).unwrap();
            let told = crate::error::Chain(&set("de-DE", "Hallo").unwrap_err()).to_string();
            assert!(told.contains(&path.display().to_string()), "{told}");
            assert_eq!(fs::read_to_string(&path).unwrap(), harmful);
            let _ = set("fr-FR", "Salut").unwrap();
            assert_eq!(languages.load_overrides(folder.path()).unwrap().len(), 1);
            assert_eq!(languages.text("hello", "fr-FR", "greet", &[]), "Salut");
        }
    }
}
