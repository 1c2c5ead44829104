//! The texts of one plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentValue};
use unic_langid::LanguageIdentifier;

use super::entries::Sources;
use super::source::{self, Source};
use super::{Problem, parts};

/// How many digits after the point a text can ask for; the library repeats `0` without a limit.
const MAX_FRACTION_DIGITS: usize = 15;

/// All languages of one plugin.
#[derive(Clone, Default)]
pub(super) struct Texts(BTreeMap<LanguageIdentifier, Language>);

/// One language of one plugin.
#[derive(Clone, Default)]
struct Language {
    own: Vec<Source>,
    overrides: Vec<Source>,
    /// The overrides over the plugin's own texts, so that each can use the other's terms.
    merged: Option<Arc<FluentBundle<Source>>>,
    /// The plugin's own texts, for an override that cannot be formatted.
    plain: Option<Arc<FluentBundle<Source>>>,
}

impl Texts {
    pub(super) fn add(&mut self, language: LanguageIdentifier, source: Source) {
        self.edit(language, |texts| texts.own.push(source));
    }

    pub(super) fn add_override(&mut self, language: LanguageIdentifier, source: Source) {
        self.edit(language, |texts| texts.overrides.push(source));
    }

    pub(super) fn remove_own(&mut self) {
        self.edit_all(|texts| texts.own.clear());
    }

    pub(super) fn remove_overrides(&mut self) {
        self.edit_all(|texts| texts.overrides.clear());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn languages(&self) -> impl Iterator<Item = &LanguageIdentifier> + Clone {
        self.0.keys()
    }

    /// Returns the sources of exactly this language: the plugin's own, and the administrator's.
    pub(super) fn sources(&self, language: &LanguageIdentifier) -> Sources<'_> {
        self.0.get(language).map_or((&[], &[]), |texts| (&texts.own, &texts.overrides))
    }

    /// Returns the names of the arguments of each of the plugin's own texts, in whichever language.
    pub(super) fn arguments(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut arguments = BTreeMap::<String, BTreeSet<String>>::new();
        let own = self.0.values().flat_map(|texts| &texts.own);
        for message in own.flat_map(|source| source::messages(source)) {
            let of_key = arguments.entry(message.id.name.to_owned()).or_default();
            parts::arguments(message, |name| {
                of_key.insert(name.to_owned());
            });
        }
        arguments
    }

    /// Returns a problem for each entry of `source` that the plugin already has in `language`.
    pub(super) fn repeated(&self, language: &LanguageIdentifier, source: &Source) -> Vec<Problem> {
        let Some(texts) = self.0.get(language) else {
            return Vec::new();
        };
        let known: BTreeSet<&str> = texts.own.iter().flat_map(|own| source::names(own)).collect();
        let names: BTreeMap<&str, &str> = source::names(source).map(|name| (name, name)).collect();
        let repeated = names.into_values().filter(|name| known.contains(name));
        repeated.map(|name| source::repetition(source, name)).collect()
    }

    /// Returns the keys of exactly this language.
    pub(super) fn keys(&self, language: &LanguageIdentifier) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        let Some(texts) = self.0.get(language) else {
            return keys;
        };
        for source in texts.own.iter().chain(&texts.overrides) {
            for message in source::messages(source) {
                if message.value.is_some() {
                    keys.insert(message.id.name.to_owned());
                }
                for attribute in &message.attributes {
                    keys.insert(format!("{}.{}", message.id.name, attribute.id.name));
                }
            }
        }
        keys
    }

    /// Returns the text of `key` in exactly this language; `None` when it has none or it cannot be
    /// formatted.
    pub(super) fn format(&self, language: &LanguageIdentifier, key: &str, args: &FluentArgs<'_>) -> Option<String> {
        let texts = self.0.get(language)?;
        let bundles = [texts.merged.as_deref(), texts.plain.as_deref()];
        bundles.into_iter().flatten().find_map(|bundle| format(bundle, key, args))
    }

    fn edit(&mut self, language: LanguageIdentifier, edit: impl FnOnce(&mut Language)) {
        let texts = self.0.entry(language.clone()).or_default();
        edit(texts);
        texts.rebuild(&language);
    }

    fn edit_all(&mut self, edit: impl Fn(&mut Language)) {
        for (language, texts) in &mut self.0 {
            edit(texts);
            texts.rebuild(language);
        }
        self.0.retain(|_, texts| texts.merged.is_some());
    }
}

impl Language {
    fn rebuild(&mut self, language: &LanguageIdentifier) {
        self.merged = bundle(language, self.own.iter().chain(&self.overrides));
        self.plain = if self.overrides.is_empty() { None } else { bundle(language, self.own.iter()) };
    }
}

fn bundle<'a>(
    language: &LanguageIdentifier,
    sources: impl Iterator<Item = &'a Source>,
) -> Option<Arc<FluentBundle<Source>>> {
    let mut sources = sources.peekable();
    sources.peek()?;
    let mut bundle = FluentBundle::new_concurrent(vec![language.clone()]);
    // The marks that isolate an inserted text from its surroundings show up in logs and JSON.
    bundle.set_use_isolating(false);
    bundle.add_function("NUMBER", number).expect("a new bundle has no function of that name");
    for source in sources {
        bundle.add_resource_overriding(Arc::clone(source));
    }
    Some(Arc::new(bundle))
}

/// The function `NUMBER` of Fluent, with a limit on the digits it makes.
fn number<'a>(positional: &[FluentValue<'a>], named: &FluentArgs<'_>) -> FluentValue<'a> {
    let Some(FluentValue::Number(number)) = positional.first() else {
        return FluentValue::Error;
    };
    let mut number = number.clone();
    number.options.merge(named);
    if let Some(digits) = &mut number.options.minimum_fraction_digits {
        *digits = MAX_FRACTION_DIGITS.min(*digits);
    }
    FluentValue::Number(number)
}

fn format(bundle: &FluentBundle<Source>, key: &str, args: &FluentArgs<'_>) -> Option<String> {
    let (id, attribute) = match key.split_once('.') {
        Some((id, attribute)) => (id, Some(attribute)),
        None => (key, None),
    };
    let message = bundle.get_message(id)?;
    let pattern = match attribute {
        Some(attribute) => message.get_attribute(attribute)?.value(),
        None => message.value()?,
    };
    // The guard keeps out what is known to make the library panic. A text is not worth the thread
    // of whoever asked for it, should something have been forgotten.
    catch_unwind(AssertUnwindSafe(|| {
        let mut errors = Vec::new();
        let text = bundle.format_pattern(pattern, Some(args), &mut errors).into_owned();
        errors.is_empty().then_some(text)
    }))
    .unwrap_or_default()
}
