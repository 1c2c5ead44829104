use std::fs;

use super::*;

fn languages() -> Languages {
    Languages::new("en-GB").unwrap()
}

#[track_caller]
fn check_text(languages: &Languages, language: &str, key: &str, expected: &str) {
    let args = [("count", 2.into()), ("name", "Ada".into())];
    assert_eq!(languages.text("p", language, key, &args), expected);
}

#[test]
fn each_string_falls_back_on_its_own() {
    let languages = languages();
    languages.add("p", "en-GB", "a = A\nb = B\nc = C\nd = D\n").unwrap();
    languages.add("p", "de", "a = de\nb = de\nc = de\n").unwrap();
    languages.add("p", "de-DE", "a = de-DE\nb = de-DE\n").unwrap();
    languages.add("p", "de-CH", "a = de-CH\n").unwrap();
    for (key, expected) in [("a", "de-CH"), ("b", "de-DE"), ("c", "de"), ("d", "D"), ("e", "e")] {
        check_text(&languages, "de-CH", key, expected);
    }
}

#[test]
fn an_override_stands_before_the_plugin_in_each_step() {
    let languages = languages();
    languages.add("p", "de-DE", "a = plugin\nb = plugin { -brand }\n-brand = Old\n").unwrap();
    languages.add_override("p", "de-DE", "a = override { -brand }\n-brand = New\n").unwrap();
    languages.add("p", "de-CH", "a = plugin ch\n").unwrap();
    check_text(&languages, "de-DE", "a", "override New");
    check_text(&languages, "de-DE", "b", "plugin New");
    check_text(&languages, "de-CH", "a", "plugin ch");
}

#[test]
fn a_text_that_cannot_be_formed_falls_to_the_next() {
    let languages = languages();
    languages.add("p", "en-GB", "a = Hello { $name }\nb = { $nobody }\n").unwrap();
    languages.add("p", "de-DE", "a = Hallo { $nobody }\nc = plugin\n").unwrap();
    languages.add_override("p", "de-DE", "c = { $nobody }\n").unwrap();
    check_text(&languages, "de-DE", "a", "Hello Ada");
    check_text(&languages, "de-DE", "b", "b");
    check_text(&languages, "de-DE", "c", "plugin");
}

#[test]
fn a_code_that_is_no_language_counts_as_the_default() {
    let languages = languages();
    languages.add("p", "en-GB", "a = A").unwrap();
    check_text(&languages, "english please", "a", "A");
    check_text(&languages, "", "a", "A");
}

#[test]
fn numbers_choose_the_plural_of_the_language() {
    let languages = languages();
    let ftl = "n = { $count ->\n    [one] ein\n    [few] nekaj\n   *[other] { $count }\n}\n";
    languages.add("p", "sl-SI", ftl).unwrap();
    let text = |count: f64| languages.text("p", "sl-SL", "n", &[("count", count.into())]);
    assert_eq!(text(1.0), "ein");
    assert_eq!(text(3.0), "nekaj");
    assert_eq!(text(7.5), "nekaj");
    assert_eq!(text(100.0), "100");
}

#[test]
fn no_number_brings_the_process_down() {
    let languages = languages();
    let ftl = "n = { $count ->\n    [one] one\n   *[other] { $count }\n}\n\
               d = { NUMBER($count, minimumFractionDigits: 999999999999999) ->\n\
               \x20   [one] one\n   *[other] many\n}\n";
    assert_eq!(languages.add("p", "en-GB", ftl), Ok(vec![]));
    let text = |key: &str, n: f64| languages.text("p", "en-GB", key, &[("count", n.into())]);
    for number in [f64::NAN, f64::INFINITY, 1e300, -1e19, 1e15] {
        assert_eq!(text("n", number), number.to_string());
    }
    for number in [1e-300, 0.1 + 0.2, 123_456_789_012_345.67, -0.0, 999_999_999_999_999.0] {
        assert_eq!(text("n", number), number.to_string());
        assert_eq!(text("d", number), "many");
    }
}

#[test]
fn a_text_that_explodes_or_turns_in_a_circle_is_given_up() {
    let languages = languages();
    let mut ftl = "a0 = x\n".to_owned();
    for n in 1..30 {
        ftl += &format!("a{n} = {}\n", format!("{{ a{} }}", n - 1).repeat(10));
    }
    ftl += "round = { about }\nabout = { round }\n";
    languages.add("p", "en-GB", &ftl).unwrap();
    check_text(&languages, "en-GB", "a29", "a29");
    check_text(&languages, "en-GB", "round", "round");
}

#[test]
fn malformed_entries_are_reported_with_their_line_and_the_rest_is_used() {
    let languages = languages();
    let ftl = "\u{feff}a = A\n\nb B\nc = { $x\nd = D\n-t =\ne =\nf = F\n";
    let problems = languages.add("p", "en-GB", ftl).unwrap();
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "line 3: `=` is missing here",
            "line 5: `}` is missing here",
            "line 6: the term `-t` has no text",
            "line 7: `e` has no text",
        ]
    );
    assert_eq!(languages.keys("p", "en-GB"), ["a", "d", "f"]);
}

#[test]
fn a_repeated_key_is_reported_and_the_later_text_counts() {
    let languages = languages();
    let problems = languages.add("p", "en-GB", "a = 1\nb = 1\na = 2\n").unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].to_string(), "line 3: `a` is defined before, this text replaces it");
    let problems = languages.add("p", "en-GB", "\nb = 2\nc = 2\n").unwrap();
    assert_eq!(problems[0].to_string(), "line 2: `b` is defined before, this text replaces it");
    check_text(&languages, "en-GB", "a", "2");
    check_text(&languages, "en-GB", "b", "2");
    check_text(&languages, "en-GB", "c", "2");
}

#[test]
fn a_source_that_cannot_be_read_safely_is_refused_whole() {
    let languages = languages();
    assert_eq!(
        languages.add("p", "english please", "").unwrap_err().to_string(),
        "`english please` is not a language code such as `en-GB`"
    );
    assert_eq!(
        languages.add("p", "de", &format!("a = A\nb = {}", "{".repeat(100_000))).unwrap_err(),
        LanguageError::Harmful { language: "de".to_owned(), line: 2, reason: "nests too deep" }
    );
    assert!(matches!(languages.add("p", "de", &"#".repeat(2_000_000)), Err(LanguageError::TooLarge { .. })));
    assert!(languages.languages("p").is_empty());
}

#[test]
fn texts_are_text() {
    let languages = languages();
    languages.add("p", "en-GB", "a = <b>&amp;</b> { $name }\n").unwrap();
    let args = [("name", "<script>\u{2028}".into())];
    assert_eq!(languages.text("p", "en-GB", "a", &args), "<b>&amp;</b> <script>\u{2028}");
}

#[test]
fn attributes_are_texts_of_their_own() {
    let languages = languages();
    languages.add("p", "en-GB", "login = Log in\n    .title = Welcome\nonly =\n    .x = X\n").unwrap();
    assert_eq!(languages.keys("p", "en-GB"), ["login", "login.title", "only.x"]);
    check_text(&languages, "en-GB", "login.title", "Welcome");
    check_text(&languages, "en-GB", "login.nothing", "login.nothing");
    check_text(&languages, "en-GB", "only", "only");
}

#[test]
fn removing_a_plugin_leaves_the_overrides_and_the_other_plugins() {
    let languages = languages();
    languages.add("p", "en-GB", "a = plugin\nb = plugin\n").unwrap();
    languages.add_override("p", "en-GB", "a = override\n").unwrap();
    languages.add("q", "en-GB", "a = other\n").unwrap();
    languages.remove("p");
    languages.remove("unknown");
    check_text(&languages, "en-GB", "a", "override");
    check_text(&languages, "en-GB", "b", "b");
    assert_eq!(languages.text("q", "en-GB", "a", &[]), "other");
    languages.remove("q");
    assert!(languages.languages("q").is_empty());
}

#[test]
fn missing_tells_what_readers_get_in_the_default_language() {
    let languages = languages();
    languages.add("p", "en-GB", "a = A\nb = B\nc = C\n").unwrap();
    languages.add("p", "en-US", "a = A\n").unwrap();
    languages.add("p", "de-DE", "a = A\nz = Z\n").unwrap();
    languages.add_override("p", "de-CH", "b = B\n").unwrap();
    languages.add("p", "fr-FR", "a = A\nb = B\nc = C\n").unwrap();
    let expected = [("de-CH", "c"), ("de-DE", "c")];
    let expected = expected.map(|(language, key)| (language.to_owned(), key.to_owned()));
    assert_eq!(languages.missing("p"), expected);
    assert_eq!(languages.languages("p"), ["de-CH", "de-DE", "en-GB", "en-US", "fr-FR"]);
}

#[test]
fn overrides_are_read_from_files_and_replace_the_former_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("p")).unwrap();
    fs::write(path("p/en-GB.ftl"), "a = one\nbroken\n").unwrap();
    fs::write(path("p/english please.ftl"), "a = two\n").unwrap();
    fs::write(path("p/de.ftl"), b"\xff").unwrap();
    fs::write(path("p/notes.txt"), "a = three\n").unwrap();
    fs::write(path("stray.ftl"), "a = four\n").unwrap();
    let languages = languages();
    languages.add("p", "en-GB", "a = plugin\n").unwrap();
    languages.add_override("gone", "en-GB", "a = former\n").unwrap();

    let problems = languages.load_overrides(folder.path()).unwrap();
    assert!(matches!(
        &problems[..],
        [
            OverrideProblem::Read { .. },
            OverrideProblem::Entry { problem: Problem { line: 2, .. }, .. },
            OverrideProblem::File { source: LanguageError::Code { .. }, .. },
        ]
    ));
    check_text(&languages, "en-GB", "a", "one");
    assert_eq!(languages.text("gone", "en-GB", "a", &[]), "a");

    fs::remove_dir_all(path("p")).unwrap();
    assert!(languages.load_overrides(folder.path()).unwrap().is_empty());
    check_text(&languages, "en-GB", "a", "plugin");
    assert!(languages.load_overrides(&path("absent")).unwrap().is_empty());
}
