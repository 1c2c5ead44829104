//! Texts in the languages of the people who read them.
//!
//! A plugin ships its texts as [Fluent](https://projectfluent.org) (`key = Text with { $name }`),
//! one source per language. [`Languages`] holds them for all plugins and answers [`Languages::text`]
//! with a string, whatever is missing: each string falls back on its own, for example from `de-CH`
//! over `de-DE` and `de` to `en-GB`, and at the end to its key. An administrator's override stands
//! before the plugin's own text in each of these steps.
//!
//! ```
//! use switchboard::language::Languages;
//!
//! let languages = Languages::new("en-GB")?;
//! languages.add("hello", "en-GB", "greet = Hello, { $name }!\nbye = Bye\n")?;
//! languages.add("hello", "de-DE", "greet = Hallo { $name }!\n")?;
//!
//! let args = [("name", "Ada".into())];
//! assert_eq!(languages.text("hello", "de-CH", "greet", &args), "Hallo Ada!");
//! assert_eq!(languages.text("hello", "de-CH", "bye", &[]), "Bye");
//! assert_eq!(languages.text("hello", "de-CH", "nothing", &[]), "nothing");
//!
//! assert!(languages.add("hello", "not a language", "").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Texts are text: nothing here knows HTML, and pages escape what they get. Dates and currencies
//! are not formatted.

mod chain;
mod entries;
mod guard;
mod overrides;
pub(crate) mod parts;
mod source;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use fluent_bundle::{FluentArgs, FluentValue};
use unic_langid::LanguageIdentifier;

use texts::Texts;

pub use entries::{SetTextError, TextEntry};
pub(crate) use overrides::read_usable;
pub use overrides::{OverrideError, OverrideProblem};
pub(crate) use source::read_file;

/// The texts of all plugins, shared by all threads.
///
/// A change replaces the texts of one plugin as a whole; readers see those before or those after.
pub struct Languages {
    default: LanguageIdentifier,
    plugins: RwLock<BTreeMap<String, Arc<Texts>>>,
}

/// A value a text is filled with.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Argument {
    /// A text, inserted as it is.
    Text(String),
    /// A number, which also chooses between plural forms.
    Number(f64),
}

/// One part of a source that cannot be used; the rest of it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The line in the source, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Why a source is not used at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LanguageError {
    /// The code is not a language.
    #[error("`{code}` is not a language code such as `en-GB`")]
    Code {
        /// What was given.
        code: String,
    },
    /// The source is longer than any file of texts.
    #[error("the texts of `{language}` have {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// The language.
        language: String,
        /// The length of the source.
        bytes: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// Something in the source would harm the host that reads it.
    #[error("the texts of `{language}` are refused, line {line} {reason}")]
    Harmful {
        /// The language.
        language: String,
        /// The line in the source, counted from 1.
        line: usize,
        /// What stands there.
        reason: &'static str,
    },
}

/// Returns a language code as this module writes it: `de_ch` is `de-CH`.
///
/// # Errors
///
/// [`LanguageError::Code`] when it is none.
pub fn canonical(code: &str) -> Result<String, LanguageError> {
    Ok(chain::parse(code)?.to_string())
}

impl Languages {
    /// Returns an empty set of texts that fall back to `default_language`, such as `en-GB`.
    ///
    /// # Errors
    ///
    /// [`LanguageError::Code`] when that is not a language code.
    pub fn new(default_language: &str) -> Result<Self, LanguageError> {
        let default = chain::parse(default_language)?;
        Ok(Self { default, plugins: RwLock::default() })
    }

    /// Adds the texts of a plugin in one language.
    ///
    /// Several sources of one language add up; of a key that comes twice the later text counts, and
    /// the repetition is a problem. The problems of `ftl` are returned, everything else in it is
    /// used.
    ///
    /// # Errors
    ///
    /// [`LanguageError::Code`] when `language` is not a code, [`LanguageError::TooLarge`] and
    /// [`LanguageError::Harmful`] when the source cannot be read safely. Nothing is added then.
    pub fn add(&self, plugin: &str, language: &str, ftl: &str) -> Result<Vec<Problem>, LanguageError> {
        let (language, source, mut problems) = source::read(language, ftl)?;
        self.change(plugin, |texts| {
            problems.extend(texts.repeated(&language, &source));
            texts.add(language, source);
        });
        problems.sort_by_key(|problem| problem.line);
        Ok(problems)
    }

    /// Adds an administrator's texts, which win over the plugin's own; otherwise as
    /// [`Languages::add`].
    ///
    /// # Errors
    ///
    /// As [`Languages::add`].
    pub fn add_override(&self, plugin: &str, language: &str, ftl: &str) -> Result<Vec<Problem>, LanguageError> {
        let (language, source, problems) = source::read(language, ftl)?;
        self.change(plugin, |texts| texts.add_override(language, source));
        Ok(problems)
    }

    /// Removes what the plugin itself added. Overrides stay, they belong to the administrator.
    pub fn remove(&self, plugin: &str) {
        self.change(plugin, Texts::remove_own);
    }

    /// Returns the text of `key`, or of `message.attribute`, for a reader of `language`.
    ///
    /// A code that is no language counts as the default language. A text that cannot be formed in
    /// one language, for example because it wants an argument that is not in `args`, is looked for
    /// in the next. The last resort is `key` itself.
    pub fn text(&self, plugin: &str, language: &str, key: &str, args: &[(&str, Argument)]) -> String {
        let texts = {
            let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
            plugins.get(plugin).map(Arc::clone)
        };
        let Some(texts) = texts else {
            return key.to_owned();
        };
        let wanted = chain::parse(language);
        let wanted = wanted.as_ref().unwrap_or(&self.default);
        let args = fluent_args(args);
        chain::of(wanted, &self.default, texts.languages())
            .into_iter()
            .find_map(|language| texts.format(language, key, &args))
            .unwrap_or_else(|| key.to_owned())
    }

    /// Returns the ids of the plugins that have any text, sorted.
    pub fn plugins(&self) -> Vec<String> {
        self.plugins.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Returns the codes of the languages a plugin has any text in, sorted.
    pub fn languages(&self, plugin: &str) -> Vec<String> {
        self.with(plugin, |texts| texts.languages().map(ToString::to_string).collect())
    }

    /// Returns the keys that exist in exactly this language, sorted, overrides included. The
    /// attribute of a message is `message.attribute`.
    pub fn keys(&self, plugin: &str, language: &str) -> Vec<String> {
        let Ok(language) = chain::parse(language) else {
            return Vec::new();
        };
        self.with(plugin, |texts| texts.keys(&language).into_iter().collect())
    }

    /// Returns what a translator still has to do: each key of the default language that a reader of
    /// another language of this plugin gets in the default language, as (language, key), sorted.
    ///
    /// A language that is completed by a related one, as `de-CH` by `de-DE`, misses nothing that
    /// the other has.
    pub fn missing(&self, plugin: &str) -> Vec<(String, String)> {
        self.with(plugin, |texts| {
            let family = chain::family(&self.default, texts.languages());
            let expected: BTreeSet<String> = family.iter().flat_map(|language| texts.keys(language)).collect();
            let mut missing = Vec::new();
            for language in texts.languages() {
                if family.contains(&language) {
                    continue;
                }
                let own: BTreeSet<String> = chain::family(language, texts.languages())
                    .into_iter()
                    .flat_map(|related| texts.keys(related))
                    .collect();
                for key in expected.difference(&own) {
                    missing.push((language.to_string(), key.clone()));
                }
            }
            missing
        })
    }

    fn with<T: Default>(&self, plugin: &str, read: impl FnOnce(&Texts) -> T) -> T {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        plugins.get(plugin).map(|texts| read(texts)).unwrap_or_default()
    }

    fn change(&self, plugin: &str, change: impl FnOnce(&mut Texts)) {
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        let texts = plugins.entry(plugin.to_owned()).or_default();
        // Copied while someone still reads them, otherwise changed in place.
        change(Arc::make_mut(texts));
        if texts.is_empty() {
            plugins.remove(plugin);
        }
    }
}

impl fmt::Debug for Languages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = self.default.to_string();
        f.debug_struct("Languages").field("default", &default).finish_non_exhaustive()
    }
}

fn fluent_args<'a>(args: &'a [(&str, Argument)]) -> FluentArgs<'a> {
    /// Beyond this the plural rules of the library panic, and a number is no longer exact.
    const LARGEST: f64 = 1e15;
    let mut fluent = FluentArgs::with_capacity(args.len());
    for (name, value) in args {
        let value: FluentValue<'a> = match value {
            Argument::Text(text) => text.as_str().into(),
            Argument::Number(number) if number.abs() < LARGEST => (*number).into(),
            // NaN and the infinities also come here.
            Argument::Number(number) => number.to_string().into(),
        };
        fluent.set((*name).to_owned(), value);
    }
    fluent
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Argument {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Argument {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Argument {
    fn from(number: i32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl From<u32> for Argument {
    fn from(number: u32) -> Self {
        Self::Number(f64::from(number))
    }
}

#[cfg(test)]
mod tests;
