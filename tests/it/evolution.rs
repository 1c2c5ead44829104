//! Plugins and hosts of different versions meet.

use std::fs;
use std::process::Command;

use serde_json::json;
use switchboard::API_VERSION;
use switchboard_tests::{RELEASES, Site, library, released};

/// Judges a library in each released host, loads it there and, with a call, calls a handler. Returns what they say.
fn in_released_hosts(plugin: &str, call: &[&str]) -> Vec<(&'static str, String)> {
    let hosts = RELEASES.iter().filter(|version| **version != API_VERSION);
    let hosts = hosts.filter_map(|version| Some((*version, released(version, "host")?)));
    let said = hosts.map(|(version, host)| {
        let output = Command::new(host).arg(library(plugin)).args(call).output().unwrap();
        (version, String::from_utf8(output.stdout).unwrap())
    });
    said.collect()
}

/// Installs `hello` with versions of plugin-api in its manifest that are as long as the real ones.
fn site_with_versions(api: &str, needs_api: &str) -> Site {
    let mut bytes = fs::read(library("hello")).unwrap();
    for (field, version) in [("api", api), ("needs_api", needs_api)] {
        let (old, new) = (format!("\"{field}\":\"{API_VERSION}\""), format!("\"{field}\":\"{version}\""));
        let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
        bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
    }
    let site = Site::new();
    fs::write(site.plugins().join(library("hello").file_name().unwrap()), bytes).unwrap();
    site
}

#[track_caller]
fn check_refused(api: &str, needs_api: &str, texts: &[&str]) {
    let listed = site_with_versions(api, needs_api).json(&["plugin", "list"])["plugins"][0].clone();
    assert_eq!(listed["state"], "refused", "{listed}");
    let reason = listed["reason"].as_str().unwrap();
    for text in texts {
        assert!(reason.contains(text), "`{text}` is not in {reason}");
    }
}

#[test]
fn a_newer_plugin_that_needs_nothing_new_loads_and_works() {
    let site = site_with_versions("1.9", "1.0");
    let payload = r#"{"name":"Ada"}"#;
    let fired = site.json(&["trigger", "06000", "hello", "--payload", payload]);
    assert_eq!(fired["last"], json!({ "text": "Hello Ada!" }));
}

#[test]
fn a_newer_plugin_that_needs_what_is_new_is_refused_with_both_versions_and_the_remedy() {
    check_refused(
        "1.9",
        "1.9",
        &["needs plugin-api 1.9", &format!("this host has {API_VERSION}"), "update Switchboard"],
    );
}

#[test]
fn a_plugin_of_another_major_version_is_refused_with_both_versions_and_the_remedy() {
    check_refused(
        "2.0",
        "2.0",
        &["built for plugin-api 2.0", &format!("this host has {API_VERSION}"), "rebuild the plugin"],
    );
}

#[test]
fn a_released_host_refuses_a_plugin_of_today_with_both_versions_and_the_remedy() {
    for (version, said) in in_released_hosts("hello", &[]) {
        let expected = format!(
            "refused: needs plugin-api {API_VERSION}, this host has {version}: update Switchboard or use an older version \
             of the plugin\n"
        );
        assert_eq!(said, expected);
    }
}

#[test]
fn a_released_host_takes_a_plugin_of_today_that_can_do_without_what_is_new() {
    for (version, said) in in_released_hosts("fixture_waits", &[]) {
        assert_eq!(said, "active\n", "{version}");
    }
    for (version, said) in in_released_hosts("fixture_waits", &["21020", "at_once", "7"]) {
        assert_eq!(said, "value: 7\n", "{version}");
    }
}

#[test]
fn a_service_that_a_released_host_does_not_have_is_an_error_of_the_one_call() {
    for (name, service) in [("timer", "sleep"), ("blocking", "sleep"), ("at_will", "defer_with")] {
        for (version, said) in in_released_hosts("fixture_waits", &["21020", name, "7"]) {
            let expected = format!("failed: this host has no service `{service}`: update Switchboard\n");
            assert!(said.ends_with(&expected), "{version}: {said}");
        }
    }
}
