//! In which languages a text is looked for, and in which order.

use unic_langid::LanguageIdentifier;

use super::LanguageError;

/// Codes people use for a language that has another code. `SL` is Sierra Leone; Slovenia is `SI`.
const ALIASES: [(&str, &str); 1] = [("sl-SL", "sl-SI")];

/// Reads a code in any case, with `-` or `_`.
pub(super) fn parse(code: &str) -> Result<LanguageIdentifier, LanguageError> {
    let error = || LanguageError::Code { code: code.to_owned() };
    let language: LanguageIdentifier = code.parse().map_err(|_| error())?;
    for (alias, name) in ALIASES {
        if language == alias {
            return name.parse().map_err(|_| error());
        }
    }
    Ok(language)
}

/// Returns those of `loaded` in which a text for a reader of `wanted` is looked for, the best
/// first: the family of `wanted`, then the family of `default`.
pub(super) fn of<'a>(
    wanted: &LanguageIdentifier,
    default: &LanguageIdentifier,
    loaded: impl Iterator<Item = &'a LanguageIdentifier> + Clone,
) -> Vec<&'a LanguageIdentifier> {
    let mut chain = family(wanted, loaded.clone());
    for language in family(default, loaded) {
        if !chain.contains(&language) {
            chain.push(language);
        }
    }
    chain
}

/// Returns those of `loaded` that a reader of `wanted` understands: `wanted` itself, then its
/// language in other regions, then its language without a region.
pub(super) fn family<'a>(
    wanted: &LanguageIdentifier,
    loaded: impl Iterator<Item = &'a LanguageIdentifier>,
) -> Vec<&'a LanguageIdentifier> {
    let mut family: Vec<&LanguageIdentifier> = loaded.filter(|language| language.language == wanted.language).collect();
    family.sort_by_cached_key(|language| {
        let step = if *language == wanted {
            0
        } else if is_main_region(language) {
            1
        } else if language.region.is_some() {
            2
        } else {
            3
        };
        (step, language.to_string())
    });
    family
}

/// Tells whether the region is named as the language, which is mostly where it comes from: `de-DE`.
fn is_main_region(language: &LanguageIdentifier) -> bool {
    language.region.is_some_and(|region| region.as_str().eq_ignore_ascii_case(language.language.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_chain(wanted: &str, loaded: &[&str], expected: &[&str]) {
        let loaded: Vec<_> = loaded.iter().map(|code| parse(code).unwrap()).collect();
        let default = parse("en-GB").unwrap();
        let chain = of(&parse(wanted).unwrap(), &default, loaded.iter());
        let chain: Vec<_> = chain.iter().map(ToString::to_string).collect();
        assert_eq!(chain, expected);
    }

    #[test]
    fn a_region_falls_back_to_the_main_region_then_the_others_then_the_language() {
        let loaded = ["en-GB", "de", "de-AT", "de-DE", "de-CH", "fr-FR"];
        check_chain("de-CH", &loaded, &["de-CH", "de-DE", "de-AT", "de", "en-GB"]);
        check_chain("de-LI", &loaded, &["de-DE", "de-AT", "de-CH", "de", "en-GB"]);
        check_chain("de", &loaded, &["de", "de-DE", "de-AT", "de-CH", "en-GB"]);
        check_chain("fr", &loaded, &["fr-FR", "en-GB"]);
        check_chain("it-IT", &loaded, &["en-GB"]);
        check_chain("en-GB", &loaded, &["en-GB"]);
    }

    #[test]
    fn the_default_falls_back_to_its_own_relatives() {
        check_chain("de-DE", &["en-US", "en"], &["en-US", "en"]);
    }

    #[test]
    fn codes_are_read_in_any_spelling_and_aliases_are_one_language() {
        assert_eq!(parse("DE_ch").unwrap().to_string(), "de-CH");
        check_chain("sl-SL", &["sl-SI"], &["sl-SI"]);
        check_chain("sl_si", &["sl-SL"], &["sl-SI"]);
        for code in ["", "../x", "english please", "d", "de-DE-"] {
            assert!(parse(code).is_err(), "`{code}`");
        }
    }
}
