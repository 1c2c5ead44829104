//! Faults while a plugin is loaded and while it ends.

use std::fs;

use serde_json::json;
use switchboard_tests::{Output, Site, library, wait_until};

use super::*;

/// Checks what the list says of a refused plugin.
#[track_caller]
fn check_refused(fault: &Fault, list: Output, expected: &str) {
    let list = list.ok().json();
    let evil = evil_in(&list);
    assert_eq!((&evil["state"], &evil["triggers"]), (&json!("refused"), &json!(0)), "{}: {list}", fault.number);
    check_says(fault, evil["reason"].as_str().unwrap(), expected);
    let others = list["plugins"].as_array().unwrap().iter().filter(|row| row["state"] == "active").count();
    assert_eq!(others, 1, "{}: {list}", fault.number);
}

#[test]
fn a_plugin_that_fails_while_it_is_loaded_is_refused_and_the_others_are_loaded() {
    for place in [Place::Start, Place::Texts, Place::Form] {
        let refused = faults_of(place, |ends| match ends {
            Ends::Refused(says) => Some(says),
            _ => None,
        });
        for (fault, says) in refused {
            let site = site();
            check_refused(fault, run(&site, fault, &["--json", "plugin", "list"]), says);
            let reply = run(&site, fault, &["--json", "trigger", "06000", "hello"]).ok().json();
            assert_eq!(reply["last"]["text"], "Hello World!");
        }
    }
}

#[test]
fn a_plugin_that_does_not_return_while_it_is_loaded_is_refused_after_the_deadline() {
    for place in [Place::Start, Place::Texts] {
        let late = faults_of(place, |ends| match ends {
            Ends::RefusedLate(says) => Some(says),
            _ => None,
        });
        for (fault, says) in late {
            let site = site_with("5s");
            let _serving = serve(&site, fault);
            check_refused(fault, site.run(&["--json", "plugin", "list"]), says);
            check_others(&site, fault);
            site.wait_for_log("Plugins", says);
        }
    }
}

#[test]
fn texts_that_cannot_be_used_are_told_and_the_plugin_works() {
    let active = faults_of(Place::Texts, |ends| match ends {
        Ends::Active(says) => Some(says),
        _ => None,
    });
    for (fault, says) in active {
        let site = site();
        let list = run(&site, fault, &["--json", "plugin", "list"]).ok().json();
        assert_eq!(evil_in(&list)["state"], "active", "{}: {list}", fault.number);
        assert!(site.log("Plugins").contains(says), "{}: {}", fault.number, site.log("Plugins"));
        check_good(&site, fault);
    }
}

/// Starts a command on auth methods, as people see them.
fn methods(site: &Site, number: &str) -> Output {
    site.run_with(VARIABLE, number, &["webhook", "methods"]).ok()
}

#[test]
fn markup_and_control_characters_in_texts_reach_no_terminal() {
    let site = site();
    // 12 has texts of its own, 21 a form of its own.
    for number in ["12", "21"] {
        for output in [methods(&site, number), site.run_with(VARIABLE, number, &["--json", "webhook", "methods"]).ok()]
        {
            let harmful = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
            assert!(!output.stdout.contains(harmful), "{number}: {output:?}");
        }
    }
    let shown = methods(&site, "21").stdout;
    assert!(shown.contains(r"\u{1b}]0;owned\u{7}Evil\r\nforged  line"), "{shown}");
    // Text is never markup, so nothing is taken out of it.
    let json = site.run_with(VARIABLE, "21", &["--json", "webhook", "methods"]).ok();
    assert!(json.stdout.contains(r"\u009b31mFault"), "{json:?}");
    assert_eq!(json.json()[0]["fields"][0]["title"], "\u{9b}31mFault");
}

#[test]
fn a_form_that_turns_bad_is_left_out_and_told() {
    let turns_bad = faults_of(Place::Form, |ends| match ends {
        Ends::Active(says) => Some(says),
        _ => None,
    });
    for (fault, says) in turns_bad {
        let site = site();
        let list = run(&site, fault, &["--json", "webhook", "methods"]).ok().json();
        assert_eq!(list, json!([]));
        assert!(site.log("Plugins").contains(says) || site.log("Webhooks").contains(says), "{}", site.log("Webhooks"));
        let list = run(&site, fault, &["--json", "plugin", "list"]).ok().json();
        assert_eq!(evil_in(&list)["state"], "active");
    }
}

#[test]
fn a_plugin_that_fails_while_it_ends_is_told_and_the_host_goes_on() {
    let ends = faults_of(Place::End, |ends| match ends {
        Ends::Active(says) => Some(says),
        _ => None,
    });
    for (fault, says) in ends {
        let site = site();
        let serving = serve(&site, fault);
        check_good(&site, fault);
        fs::remove_file(site.plugins().join(library("fixture_evil").file_name().unwrap())).unwrap();
        site.wait_for_log("Plugins", says);
        wait_until("the plugin is gone", || site.json(&["plugin", "list"])["plugins"].as_array().unwrap().len() == 1);
        check_others(&site, fault);
        assert!(serving.terminate().success());
        clear_log(&site, "Plugins");
        // The end of the host is one for its plugins as well.
        site.install("fixture_evil");
        let serving = serve(&site, fault);
        assert!(serving.terminate().success());
        assert!(site.log("Plugins").contains(says), "{}: {}", fault.number, site.log("Plugins"));
    }
}
