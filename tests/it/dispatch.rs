//! Triggers: order, failures, nesting, showtime, languages.

use std::fs;

use serde_json::{Value, json};
use switchboard_tests::Site;

/// Returns the names of the handlers in the JSON of a trigger, in firing order.
fn names(fired: &Value) -> Vec<&str> {
    fired["values"].as_array().unwrap().iter().filter_map(|value| value["name"].as_str()).collect()
}

/// Returns what `hello` says in a language.
fn greeting(site: &Site, language: &str) -> String {
    let fired = site.json(&["trigger", "06000", "hello", "--lang", language, "--payload", r#"{"name":"Ada"}"#]);
    fired["last"]["text"].as_str().unwrap().to_owned()
}

#[test]
fn handlers_of_two_plugins_fire_in_byte_order_of_their_names() {
    let site = Site::with(&["fixture_probe", "fixture_rival"]);
    let fired = site.json(&["trigger", "21001"]);
    assert_eq!(names(&fired), ["01_z", "B", "a_c", "alpha", "x_b"]);
    assert_eq!(fired["last"], json!("x_b"));
}

#[test]
fn a_handler_that_panics_is_reported_and_the_others_run() {
    let site = Site::with(&["fixture_probe"]);
    let output = site.run(&["--json", "trigger", "21002"]);
    assert_eq!(output.code, 1, "{output:?}");
    let fired = output.json();
    assert_eq!(names(&fired), ["a_first", "m_panics", "z_last"]);
    assert_eq!(fired["values"][0]["value"], "a_first");
    assert_eq!(fired["values"][2]["value"], "z_last");
    assert_eq!(fired["last"], "z_last");
    let error = fired["values"][1]["error"].as_str().unwrap();
    assert!(error.contains("probe panics on purpose"), "{error}");
    let (_, line) = error.split_once("probe/src/lib.rs:").unwrap();
    assert!(line.starts_with(|first: char| first.is_ascii_digit()), "{error}");
    assert!(fired["values"][1].get("value").is_none(), "{fired}");

    let log = site.log("Plugins");
    let record = log.lines().find(|line| line.contains("probe panics on purpose")).unwrap();
    for text in ["ERROR", "number=21002", "name=m_panics", "plugin=probe", "lib.rs:"] {
        assert!(record.contains(text), "`{text}` is not in {record}");
    }
}

#[test]
fn a_plugin_that_panicked_is_called_again() {
    let site = Site::with(&["fixture_probe"]);
    let _serving = site.serve();
    for _ in 0..3 {
        let output = site.run(&["trigger", "21002", "m_panics"]);
        assert_eq!(output.code, 1, "{output:?}");
        assert_eq!(site.json(&["trigger", "21001", "alpha"])["last"], "alpha");
    }
}

#[test]
fn a_handler_may_fire_another_trigger() {
    let site = Site::with(&["fixture_probe", "fixture_rival"]);
    let fired = site.json(&["trigger", "21003", "nested"]);
    assert_eq!(fired["last"], json!(["01_z", "B", "a_c", "alpha", "x_b"]));
}

#[test]
fn endless_nesting_is_stopped_with_an_error() {
    let site = Site::with(&["fixture_probe"]);
    let output = site.run(&["--json", "trigger", "21003", "endless"]);
    assert_eq!(output.code, 1, "{output:?}");
    let error = output.json()["values"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("triggers are nested more than 16 deep"), "{error}");
    assert_eq!(site.json(&["trigger", "21001", "alpha"])["last"], "alpha");
}

#[test]
fn a_showtime_value_is_seen_by_the_next_handler_and_not_by_the_next_run() {
    let site = Site::with(&["fixture_probe", "fixture_rival"]);
    let _serving = site.serve();
    let fired = site.json(&["trigger", "21004", "--payload", r#"{"name":"Ada"}"#]);
    assert_eq!(names(&fired), ["a_set", "b_get"]);
    assert_eq!(fired["values"][1]["plugin"], "rival");
    assert_eq!(fired["values"][1]["value"], json!({ "name": "Ada" }));
    let fired = site.json(&["trigger", "21004", "b_get"]);
    assert_eq!(fired["values"], json!([{ "name": "b_get", "plugin": "rival", "value": null }]));
}

#[test]
fn a_collision_is_reported_and_the_plugin_that_sorts_first_stays() {
    let site = Site::with(&["fixture_probe", "fixture_rival"]);
    let text = site.run(&["plugin", "list"]).ok().stdout;
    let line = text.lines().find(|line| line.starts_with("collision:")).unwrap();
    for part in ["21005", "`same`", "`probe` stays", "plugin `rival`", "remove one of the two", "override folder"] {
        assert!(line.contains(part), "`{part}` is not in {line}");
    }
    let collisions = site.json(&["plugin", "list"])["collisions"].clone();
    assert_eq!(collisions.as_array().unwrap().len(), 1, "{collisions}");
    assert_eq!(collisions[0]["kept"], "probe");
    assert_eq!(collisions[0]["left_out"], "rival");
    let fired = site.json(&["trigger", "21005"]);
    assert_eq!(fired["values"], json!([{ "name": "same", "plugin": "probe", "value": "probe" }]));
    let _serving = site.serve();
    assert!(site.log("Plugins").lines().any(|line| line.contains("ERROR") && line.contains("collision")));
}

#[test]
fn a_raw_handler_sees_the_bytes_and_may_answer_with_what_is_no_json() {
    let site = Site::with(&["fixture_probe"]);
    let fired = site.json(&["trigger", "21006", "reverse", "--payload", "no JSON: [1,"]);
    assert_eq!(fired["last"], ",1[ :NOSJ on");
}

#[test]
fn a_handler_that_does_not_exist_is_refused_with_the_names_of_those_that_do() {
    let site = Site::with(&["fixture_probe", "hello"]);
    site.run(&["trigger", "06000", "nope"])
        .refused(4, &["06000", "`nope`", "hello, log_lines, put_off, wait_for_file, whoami"]);
    site.run(&["trigger", "54321", "nope"]).refused(4, &["54321", "`nope`", "no handler"]);
}

#[test]
fn what_is_no_trigger_number_is_refused() {
    let site = Site::new();
    for text in ["7320x", "0", "00000", "100000", "", "+7320", " 7320", "7_320", "99999999999999999999"] {
        site.run(&["trigger", text]).refused(2, &[&format!("`{text}` is not a trigger number"), "00001 to 99999"]);
    }
}

#[test]
fn a_number_that_nothing_answers_gives_nothing() {
    let site = Site::new();
    assert_eq!(site.json(&["trigger", "54321"]), json!({ "number": "54321", "last": null, "values": [] }));
    assert_eq!(site.run(&["trigger", "54321"]).ok().stdout, "nothing answers 54321\n");
}

#[test]
fn a_number_may_be_written_without_leading_zeros() {
    let site = Site::with(&["hello"]);
    let fired = site.json(&["trigger", "6000", "hello"]);
    assert_eq!((&fired["number"], &fired["last"]["text"]), (&json!("06000"), &json!("Hello World!")));
}

#[test]
fn a_plugin_greets_in_the_language_of_the_person_who_asks() {
    let site = Site::with(&["hello"]);
    let _serving = site.serve();
    for (language, expected) in [
        ("en-GB", "Hello Ada!"),
        ("fr-FR", "Bonjour Ada !"),
        ("de-DE", "Hallo Ada!"),
        ("es-ES", "¡Hola, Ada!"),
        // Falls back to German, and to the default language.
        ("de-CH", "Hallo Ada!"),
        ("xx", "Hello Ada!"),
        ("no language at all", "Hello Ada!"),
    ] {
        assert_eq!(greeting(&site, language), expected, "in {language}");
    }
}

#[test]
fn the_default_language_comes_from_the_settings() {
    let site = Site::with(&["hello"]);
    site.settings("[languages]\ndefault = \"fr-FR\"\n");
    assert_eq!(greeting(&site, "xx"), "Bonjour Ada !");
    assert_eq!(site.json(&["trigger", "06000", "hello"])["last"]["text"], "Bonjour le monde !");
}

#[test]
fn an_administrators_text_wins_over_the_plugins() {
    let site = Site::with(&["hello"]);
    let folder = site.path().join("languages/hello");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("de-DE.ftl"), "greeting = Servus { $name }!\n").unwrap();
    assert_eq!(greeting(&site, "de-DE"), "Servus Ada!");
    assert_eq!(greeting(&site, "fr-FR"), "Bonjour Ada !");
    // What the file does not have comes from the plugin.
    let fired = site.json(&["trigger", "06000", "hello", "--lang", "de-DE"]);
    assert_eq!(fired["last"]["text"], "Servus Welt!");
}
