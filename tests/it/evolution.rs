//! Plugins and hosts of different versions meet.

use std::fs;

use serde_json::json;
use switchboard::API_VERSION;
use switchboard_tests::{Site, library};

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
