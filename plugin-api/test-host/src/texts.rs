//! The plugin's texts, with the fallback of a real host: each text for itself, from the language over its relatives to
//! `en-GB`.

use std::collections::{BTreeMap, BTreeSet};

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use fluent_syntax::ast::Entry;
use serde_json::Value;
use unic_langid::LanguageIdentifier;

/// The language to which every text falls back at last.
pub(crate) const DEFAULT_LANGUAGE: &str = "en-GB";

/// A host takes larger numbers as text, because the plural rules cannot.
const LARGEST_NUMBER: f64 = 1e15;

/// How many digits after the point a text can ask for.
const MAX_FRACTION_DIGITS: usize = 15;

#[derive(Default)]
pub(crate) struct Texts {
    languages: BTreeMap<LanguageIdentifier, Language>,
    problems: Vec<String>,
}

struct Language {
    bundle: FluentBundle<FluentResource>,
    keys: BTreeSet<String>,
}

impl Texts {
    /// Adds a source. What cannot be used is kept as a problem, the rest is used.
    pub(crate) fn add(&mut self, code: &str, fluent: &str) {
        let Ok(language) = code.parse::<LanguageIdentifier>() else {
            self.problems.push(format!("`{code}` is not a language code such as `en-GB`"));
            return;
        };
        let source = match FluentResource::try_new(fluent.trim_start_matches('\u{feff}').to_owned()) {
            Ok(source) => source,
            Err((source, errors)) => {
                for error in errors {
                    let before = fluent.get(..error.pos.start).unwrap_or_default();
                    let line = 1 + before.matches('\n').count();
                    self.problems.push(format!("{language}, line {line}: {error}"));
                }
                source
            }
        };
        let entry = self.languages.entry(language.clone()).or_insert_with(|| {
            let mut bundle = FluentBundle::new_concurrent(vec![language]);
            bundle.set_use_isolating(false);
            bundle.add_function("NUMBER", number).expect("a new bundle has no function of that name");
            Language { bundle, keys: BTreeSet::new() }
        });
        for message in source.entries() {
            let Entry::Message(message) = message else { continue };
            if message.value.is_some() {
                entry.keys.insert(message.id.name.to_owned());
            }
            for attribute in &message.attributes {
                entry.keys.insert(format!("{}.{}", message.id.name, attribute.id.name));
            }
        }
        entry.bundle.add_resource_overriding(source);
    }

    /// Returns the text, or `None` when no language of the chain can form it.
    pub(crate) fn text(&self, language: &str, key: &str, arguments: &[(String, Value)]) -> Option<String> {
        let mut args = FluentArgs::with_capacity(arguments.len());
        for (name, value) in arguments {
            args.set(name.clone(), argument(value));
        }
        let wanted: Option<LanguageIdentifier> = language.parse().ok();
        let families = wanted.into_iter().chain(DEFAULT_LANGUAGE.parse()).flat_map(|language| self.family(&language));
        families.into_iter().find_map(|language| self.languages.get(language)?.format(key, &args))
    }

    /// Returns what is wrong with the sources.
    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }

    pub(crate) fn languages(&self) -> impl Iterator<Item = String> {
        self.languages.keys().map(ToString::to_string)
    }

    /// Returns the keys that a reader of `language` gets in it or in one of its relatives.
    pub(crate) fn keys(&self, language: &str) -> BTreeSet<String> {
        let language = language.parse::<LanguageIdentifier>();
        let family = language.iter().flat_map(|language| self.family(language));
        family
            .filter_map(|language| self.languages.get(language))
            .flat_map(|found| found.keys.iter().cloned())
            .collect()
    }

    /// The language itself, its main region (`de-DE`), its other regions, then without a region.
    fn family(&self, wanted: &LanguageIdentifier) -> Vec<&LanguageIdentifier> {
        let mut family: Vec<_> =
            self.languages.keys().filter(|language| language.language == wanted.language).collect();
        family.sort_by_cached_key(|language| {
            let main = |region: &str| region.eq_ignore_ascii_case(language.language.as_str());
            let step = match language.region {
                _ if *language == wanted => 0,
                Some(region) if main(region.as_str()) => 1,
                Some(_) => 2,
                None => 3,
            };
            (step, language.to_string())
        });
        family
    }
}

impl Language {
    fn format(&self, key: &str, args: &FluentArgs<'_>) -> Option<String> {
        let (id, attribute) = match key.split_once('.') {
            Some((id, attribute)) => (id, Some(attribute)),
            None => (key, None),
        };
        let message = self.bundle.get_message(id)?;
        let pattern = match attribute {
            Some(attribute) => message.get_attribute(attribute)?.value(),
            None => message.value()?,
        };
        let mut errors = Vec::new();
        let text = self.bundle.format_pattern(pattern, Some(args), &mut errors).into_owned();
        errors.is_empty().then_some(text)
    }
}

/// The function `NUMBER` of Fluent, with a host's limit on the digits it makes.
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

fn argument(value: &Value) -> FluentValue<'static> {
    match value {
        Value::String(text) => text.clone().into(),
        Value::Number(number) => match number.as_f64() {
            Some(number) if number.abs() < LARGEST_NUMBER => number.into(),
            // A large integer keeps its digits.
            Some(float) if number.is_f64() => float.to_string().into(),
            _ => number.to_string().into(),
        },
        other => other.to_string().into(),
    }
}
