//! Texts in several languages: Fluent bundles per plugin, and an administrator's overrides above them.
//!
//! Falling back is per text: a language that lacks one takes it from the next in its chain, and at the end the key itself
//! is shown. Texts are text; whoever shows them on a page escapes them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use thiserror::Error;
use unic_langid::LanguageIdentifier;

/// Value of an argument of a text: a number, which chooses plural forms, or text.
pub type Argument = FluentValue<'static>;

/// Another name for a language: the reference ships `sl-SL` files for Slovenian.
const ALIASES: &[(&str, &str)] = &[("sl-SL", "sl-SI")];

/// Why a language file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LanguageError {
    /// The name of the language is none.
    #[error("`{language}` is no language: write it as de-DE")]
    Unknown {
        /// The name.
        language: String,
    },
}

/// Something in a language file that was left out; the rest of the file is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The file, when it came from one.
    pub file: Option<PathBuf>,
    /// Line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "`{}`: ", file.display())?;
        }
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        f.write_str(&self.what)
    }
}

/// The texts of one plugin in one language.
struct Texts {
    bundle: FluentBundle<FluentResource>,
}

impl Texts {
    fn new(language: &LanguageIdentifier) -> Self {
        let mut bundle = FluentBundle::new_concurrent(vec![language.clone()]);
        // Isolation marks around arguments belong to pages that mix directions, not to logs and JSON.
        bundle.set_use_isolating(false);
        Self { bundle }
    }

    fn add(&mut self, source: &str) -> Vec<Problem> {
        let (resource, errors) = match FluentResource::try_new(source.to_owned()) {
            Ok(resource) => (resource, Vec::new()),
            Err((resource, errors)) => (resource, errors),
        };
        let problems = errors.into_iter().map(|error| Problem {
            file: None,
            line: source.get(..error.pos.start).map_or(0, |before| before.matches('\n').count() + 1),
            what: format!("{error}"),
        });
        let problems = problems.collect();
        self.bundle.add_resource_overriding(resource);
        problems
    }

    /// Returns a text, or `None` when it is missing or cannot be formatted.
    fn text(&self, key: &str, arguments: &FluentArgs<'_>) -> Option<String> {
        let pattern = self.bundle.get_message(key)?.value()?;
        let mut errors = Vec::new();
        let text = self.bundle.format_pattern(pattern, Some(arguments), &mut errors);
        errors.is_empty().then(|| text.into_owned())
    }
}

/// The texts of one plugin, or of the administrator for one plugin, by language.
#[derive(Default)]
struct Layer(BTreeMap<String, Texts>);

impl Layer {
    fn add(&mut self, language: &LanguageIdentifier, source: &str) -> Vec<Problem> {
        self.0.entry(language.to_string()).or_insert_with(|| Texts::new(language)).add(source)
    }
}

#[derive(Default)]
struct Layers {
    plugin: Layer,
    overrides: Layer,
}

/// All texts of a host.
pub struct Languages {
    default: LanguageIdentifier,
    plugins: RwLock<BTreeMap<String, Layers>>,
}

impl Languages {
    /// Returns a host's texts before any plugin is loaded. A default that is no language is taken as `en-GB`.
    #[must_use]
    pub fn new(default: &str) -> Self {
        let default = parse(default).or_else(|| parse("en-GB")).unwrap_or_default();
        Self { default, plugins: RwLock::default() }
    }

    /// Adds a Fluent source to a plugin's texts. Entries that are malformed are left out and reported.
    ///
    /// # Errors
    ///
    /// When `language` is no language.
    pub fn add(&self, plugin: &str, language: &str, source: &str) -> Result<Vec<Problem>, LanguageError> {
        let language = known(language)?;
        Ok(self.change(plugin, |layers| layers.plugin.add(&language, source)))
    }

    /// Adds a Fluent source that wins over the plugin's own.
    ///
    /// # Errors
    ///
    /// When `language` is no language.
    pub fn add_override(&self, plugin: &str, language: &str, source: &str) -> Result<Vec<Problem>, LanguageError> {
        let language = known(language)?;
        Ok(self.change(plugin, |layers| layers.overrides.add(&language, source)))
    }

    /// Loads the administrator's overrides: `<folder>/<plugin>/<language>.ftl`. Files that cannot be used are reported.
    #[must_use]
    pub fn load_overrides(&self, folder: &Path) -> Vec<Problem> {
        let mut problems = Vec::new();
        for plugin in entries(folder).into_iter().filter(|path| path.is_dir()) {
            for file in entries(&plugin) {
                let (Some(id), Some(language)) = (name(&plugin), file.extension().and(file.file_stem())) else {
                    continue;
                };
                let result = match std::fs::read_to_string(&file) {
                    Ok(source) => self
                        .add_override(&id, &language.to_string_lossy(), &source)
                        .unwrap_or_else(|error| vec![Problem { file: None, line: 0, what: error.to_string() }]),
                    Err(error) => vec![Problem { file: None, line: 0, what: format!("cannot be read: {error}") }],
                };
                problems.extend(result.into_iter().map(|problem| Problem { file: Some(file.clone()), ..problem }));
            }
        }
        problems
    }

    /// Forgets a plugin's texts; overrides stay.
    pub fn remove(&self, plugin: &str) {
        self.change(plugin, |layers| layers.plugin = Layer::default());
    }

    /// Returns a plugin's text: in `language`, or in the nearest language that has it, or the key itself.
    #[must_use]
    pub fn text(&self, plugin: &str, language: &str, key: &str, arguments: &[(&str, Argument)]) -> String {
        let arguments: FluentArgs<'_> = arguments.iter().map(|(name, value)| (*name, value.clone())).collect();
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        let Some(layers) = plugins.get(plugin) else { return key.to_owned() };
        let found = self.chain(language, layers).into_iter().find_map(|language| {
            let layers = [&layers.overrides, &layers.plugin].into_iter();
            layers.filter_map(|layer| layer.0.get(&language)).find_map(|texts| texts.text(key, &arguments))
        });
        found.unwrap_or_else(|| key.to_owned())
    }

    /// Returns the languages that a plugin has texts in, in byte order.
    #[must_use]
    pub fn languages(&self, plugin: &str) -> Vec<String> {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        plugins.get(plugin).map_or_else(Vec::new, |layers| layers.plugin.0.keys().cloned().collect())
    }

    /// The order in which languages are asked for a text: `de-CH`, then `de-DE`, then the other `de-…`, then `de`, then
    /// the default.
    fn chain(&self, language: &str, layers: &Layers) -> Vec<String> {
        let wanted = parse(language).unwrap_or_else(|| self.default.clone());
        let same_language = |code: &&String| parse(code).is_some_and(|other| other.language == wanted.language);
        let mut chain = vec![wanted.to_string(), main_region(&wanted)];
        chain.extend(layers.overrides.0.keys().chain(layers.plugin.0.keys()).filter(same_language).cloned());
        chain.push(wanted.language.to_string());
        chain.push(self.default.to_string());
        chain
    }

    fn change<V>(&self, plugin: &str, change: impl FnOnce(&mut Layers) -> V) -> V {
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        change(plugins.entry(plugin.to_owned()).or_default())
    }
}

impl fmt::Debug for Languages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Languages").field("default", &self.default).finish_non_exhaustive()
    }
}

fn parse(language: &str) -> Option<LanguageIdentifier> {
    let alias = ALIASES.iter().find(|(name, _)| *name == language).map(|(_, language)| *language);
    alias.unwrap_or(language).parse().ok().filter(|parsed: &LanguageIdentifier| !parsed.language.is_empty())
}

fn known(language: &str) -> Result<LanguageIdentifier, LanguageError> {
    parse(language).ok_or_else(|| LanguageError::Unknown { language: language.escape_debug().to_string() })
}

/// The region that a language is named after, where there is one: `de-DE`, `fr-FR`, `es-ES`.
fn main_region(language: &LanguageIdentifier) -> String {
    format!("{0}-{1}", language.language, language.language.as_str().to_uppercase())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn languages() -> Languages {
        let languages = Languages::new("en-GB");
        for (language, source) in [
            (
                "en-GB",
                "greet = Hello { $name }\nbye = Goodbye\nonly = English only\ncount = { $n ->\n    [one] one guest\n   *[other] { $n } guests\n}",
            ),
            ("de-DE", "greet = Hallo { $name }\nbye = Tschüss\nbroken = { $missing }"),
            ("de-AT", "bye = Servus"),
        ] {
            assert_eq!(languages.add("p", language, source).unwrap(), []);
        }
        languages.add("p", "en-GB", "broken = works").unwrap();
        languages
    }

    #[track_caller]
    fn check(languages: &Languages, language: &str, key: &str, expected: &str) {
        assert_eq!(languages.text("p", language, key, &[("name", "Ada".into()), ("n", 2.0.into())]), expected);
    }

    #[test]
    fn each_text_falls_back_on_its_own() {
        let languages = languages();
        check(&languages, "de-AT", "bye", "Servus");
        check(&languages, "de-AT", "greet", "Hallo Ada");
        check(&languages, "de-CH", "greet", "Hallo Ada");
        check(&languages, "de", "greet", "Hallo Ada");
        check(&languages, "de-CH", "only", "English only");
        check(&languages, "de-CH", "nothing", "nothing");
        check(&languages, "fr-FR", "bye", "Goodbye");
        check(&languages, "no language!", "bye", "Goodbye");
        check(&languages, "en-GB", "count", "2 guests");
    }

    #[test]
    fn a_text_that_cannot_be_formatted_comes_from_the_next_language() {
        check(&languages(), "de-DE", "broken", "works");
    }

    #[test]
    fn an_override_wins_and_stays_when_the_plugin_goes() {
        let languages = languages();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("p")).unwrap();
        std::fs::write(folder.path().join("p/de-DE.ftl"), "bye = Ade\n= broken\n").unwrap();
        let problems = languages.load_overrides(folder.path());
        assert_eq!((problems.len(), problems[0].line), (1, 2));
        check(&languages, "de-DE", "bye", "Ade");
        languages.remove("p");
        check(&languages, "de-DE", "bye", "Ade");
        check(&languages, "de-DE", "greet", "greet");
    }

    #[test]
    fn malformed_entries_are_reported_with_their_line_and_the_others_are_used() {
        let languages = Languages::new("en-GB");
        let problems = languages.add("p", "en-GB", "good = fine\nbad {\nalso = fine too").unwrap();
        assert_eq!(problems[0].line, 2);
        check(&languages, "en-GB", "also", "fine too");
        assert!(languages.add("p", "123!", "a = b").is_err());
        assert_eq!(languages.add("p", "sl-SL", "a = b").unwrap(), []);
        assert_eq!(languages.languages("p"), ["en-GB", "sl-SI"]);
    }
}
