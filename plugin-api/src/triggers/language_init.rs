use serde::{Deserialize, Serialize};

use super::Trigger;
use crate::TriggerNumber;

/// 00005: a plugin hands over its texts. Fired once for each plugin when it is activated.
pub struct LanguageInit;

impl Trigger for LanguageInit {
    const NUMBER: TriggerNumber = TriggerNumber::new(5);
    type Input = LanguageRequest;
    type Output = LanguageFiles;
}

/// Input of [`LanguageInit`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LanguageRequest {
    /// The host's default language, such as `en-GB`.
    #[serde(default)]
    pub default_language: String,
}

/// Output of [`LanguageInit`]: Fluent sources by language.
///
/// ```
/// use switchboard_plugin_api::LanguageFiles;
///
/// let files = LanguageFiles::new()
///     .file("en-GB", "hello = Hello { $name }!")
///     .file("fr-FR", "hello = Bonjour { $name } !");
/// assert_eq!(files.files.len(), 2);
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LanguageFiles {
    /// The files, in any order. A later file of the same language adds to an earlier one.
    #[serde(default)]
    pub files: Vec<LanguageFile>,
}

impl LanguageFiles {
    /// Returns an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the Fluent source of a language, usually by `include_str!`.
    #[must_use]
    pub fn file(mut self, language: impl Into<String>, fluent: impl Into<String>) -> Self {
        self.files.push(LanguageFile { language: language.into(), fluent: fluent.into() });
        self
    }
}

/// The texts of one language.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LanguageFile {
    /// Language with region, as BCP 47 writes it: `de-DE`.
    pub language: String,
    /// Source in the Fluent syntax.
    pub fluent: String,
}
