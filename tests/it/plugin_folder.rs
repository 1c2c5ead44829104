//! The plugin folder: what is refused and why, and what happens when it changes under a running host.

use std::env::consts::DLL_EXTENSION;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use switchboard_tests::{Site, library, wait_until};

/// Returns the path of a library with this name in the plugin folder.
fn named(site: &Site, name: &str) -> PathBuf {
    site.plugins().join(format!("{name}.{DLL_EXTENSION}"))
}

/// Returns what `plugin list` says of a file.
#[track_caller]
fn report(site: &Site, file: &Path) -> Value {
    let report = site.json(&["plugin", "list"]);
    let mut rows = report["plugins"].as_array().unwrap().iter();
    rows.find(|row| row["file"] == json!(file)).unwrap_or_else(|| panic!("{file:?} is not in {report}")).clone()
}

/// Checks that a file is refused with a reason that contains these texts, and that the plugin beside it works.
#[track_caller]
fn check_refused(site: &Site, file: &Path, texts: &[&str]) {
    let row = report(site, file);
    assert_eq!(row["state"], "refused", "{row}");
    assert_eq!(row["triggers"], json!(0), "{row}");
    let reason = row["reason"].as_str().unwrap();
    for text in texts {
        assert!(reason.contains(text), "`{text}` is not in {row}");
    }
    check_hello(site);
}

/// Checks that `hello` is active and greets.
#[track_caller]
fn check_hello(site: &Site) {
    assert_eq!(site.json(&["trigger", "06000", "hello"])["last"]["text"], "Hello World!");
}

/// Returns the ids of the active plugins.
fn active(site: &Site) -> Vec<String> {
    let report = site.json(&["plugin", "list"]);
    let rows = report["plugins"].as_array().unwrap().iter().filter(|row| row["state"] == "active");
    rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// Puts bytes under a name as a careful administrator does: nobody ever sees half of them.
fn put(file: &Path, bytes: &[u8]) {
    let unfinished = file.with_extension("part");
    fs::write(&unfinished, bytes).unwrap();
    fs::rename(unfinished, file).unwrap();
}

/// Changes bytes of a copy of `hello`.
fn patched(site: &Site, name: &str, offset: usize, patch: &[u8]) -> PathBuf {
    let mut bytes = fs::read(library("hello")).unwrap();
    bytes[offset..offset + patch.len()].copy_from_slice(patch);
    let file = named(site, name);
    put(&file, &bytes);
    file
}

#[test]
fn an_empty_folder_says_what_to_do() {
    let text = Site::new().run(&["plugin", "list"]).ok().stdout;
    assert!(text.contains("no plugins yet: place a library into "), "{text}");
}

#[test]
fn a_good_plugin_is_listed_with_what_it_says_of_itself() {
    let site = Site::with(&["hello"]);
    let file = named(&site, "libhello");
    let row = report(&site, &file);
    assert_eq!(
        row,
        json!({
            "file": file, "tier": "plugin", "id": "hello", "version": env!("CARGO_PKG_VERSION"), "title": "Hello",
            "enabled": true, "state": "active", "reason": null, "triggers": 2,
        })
    );
}

#[test]
fn a_text_under_the_name_of_a_library_is_refused() {
    let site = Site::with(&["hello"]);
    let file = named(&site, "text");
    fs::write(&file, "this is a note and no library\n").unwrap();
    check_refused(&site, &file, &["not a plugin library", "content"]);
}

#[test]
fn an_empty_file_is_refused() {
    let site = Site::with(&["hello"]);
    let file = named(&site, "empty");
    fs::write(&file, "").unwrap();
    check_refused(&site, &file, &["not a plugin library", "empty"]);
}

#[test]
fn a_library_that_was_copied_in_part_is_refused_at_every_length() {
    let site = Site::with(&["hello"]);
    let whole = fs::read(library("hello")).unwrap();
    let lengths = [1, 4, 16, 63, 64, 200, 4_096, whole.len() / 4, whole.len() / 2, whole.len() - 1];
    for length in lengths {
        put(&named(&site, &format!("cut-{length}")), &whole[..length]);
    }
    for length in lengths {
        let row = report(&site, &named(&site, &format!("cut-{length}")));
        let reason = row["reason"].as_str().unwrap();
        let incomplete = reason.contains("incomplete") && reason.contains("copy it again");
        // A few bytes do not even show that it was to be a library.
        let no_library = length < 16 && reason.contains("not a plugin library");
        assert!(row["state"] == "refused" && (incomplete || no_library), "{length} bytes: {row}");
    }
    check_hello(&site);
}

#[test]
fn a_folder_under_the_name_of_a_library_is_refused() {
    let site = Site::with(&["hello"]);
    let file = named(&site, "folder");
    fs::create_dir(&file).unwrap();
    check_refused(&site, &file, &["not a plugin library", "folder"]);
}

#[test]
fn a_fifo_is_refused_and_nothing_waits_for_it() {
    let site = Site::with(&["hello"]);
    let file = named(&site, "fifo");
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    check_refused(&site, &file, &["not a plugin library", "no regular file"]);
}

#[test]
fn links_are_refused_even_when_they_lead_in_a_circle() {
    let site = Site::with(&["hello"]);
    for (name, target) in [("circle", named(&site, "circle")), ("link", library("hello").into())] {
        let file = named(&site, name);
        symlink(target, &file).unwrap();
        check_refused(&site, &file, &["symbolic link", "copy the library itself"]);
    }
}

#[test]
fn a_library_that_is_no_plugin_is_refused() {
    let site = Site::with(&["hello"]);
    let file = site.install("fixture_bare");
    check_refused(&site, &file, &["no Switchboard plugin", "`export_plugin!`"]);
}

#[test]
fn a_plugin_that_needs_a_newer_host_is_refused_with_both_versions() {
    let site = Site::with(&["hello"]);
    let file = site.install("fixture_newer");
    let provided = format!("this host has {}", switchboard_plugin_api::API_VERSION);
    check_refused(&site, &file, &["needs plugin-api 1.99", &provided, "update Switchboard", "older version"]);
    site.run(&["trigger", "06000", "newer"]).refused(4, &["it has hello"]);
}

#[test]
fn a_plugin_that_refuses_to_start_is_refused_with_its_reason() {
    let site = Site::with(&["hello"]);
    let file = site.install("fixture_refuses");
    check_refused(&site, &file, &["the licence file is missing"]);
    site.run(&["trigger", "06000", "refuses"]).refused(4, &["it has hello"]);
}

#[test]
fn the_same_plugin_under_two_names_is_loaded_once() {
    let site = Site::with(&["hello"]);
    let file = named(&site, "zz");
    fs::copy(library("hello"), &file).unwrap();
    let row = report(&site, &file);
    let reason = row["reason"].as_str().unwrap();
    assert_eq!(row["state"], "refused");
    for text in ["plugin `hello` is already loaded from", "libhello", "remove one of the two"] {
        assert!(reason.contains(text), "{row}");
    }
    check_hello(&site);
}

#[test]
fn the_other_copy_of_a_plugin_takes_over_when_the_first_is_removed() {
    let site = Site::with(&["hello"]);
    let other = named(&site, "zz");
    fs::copy(library("hello"), &other).unwrap();
    let _serving = site.serve();
    assert_eq!(report(&site, &other)["state"], "refused");
    fs::remove_file(named(&site, "libhello")).unwrap();
    wait_until("the other copy is active", || report(&site, &other)["state"] == "active");
    check_hello(&site);
}

#[test]
#[cfg(target_os = "linux")]
fn a_library_for_another_processor_is_refused_with_both_platforms() {
    let site = Site::with(&["hello"]);
    // `e_machine` of the ELF header: 183 is AArch64, 243 is RISC-V.
    let (machine, name) = if cfg!(target_arch = "aarch64") { (243_u16, "Riscv64") } else { (183, "Aarch64") };
    let file = patched(&site, "foreign", 18, &machine.to_le_bytes());
    check_refused(&site, &file, &[&format!("built for {name}"), "this host runs on ", "build the plugin for this"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_library_with_a_damaged_header_is_refused() {
    let site = Site::with(&["hello"]);
    // Class, type, offset of the program headers, offset of the section headers, number of program headers.
    for (name, offset, patch) in [
        ("class", 4, &[9_u8][..]),
        ("type", 16, &[1, 0]),
        ("program-headers", 32, &[0xff; 8]),
        ("section-headers", 40, &[0xff; 8]),
        ("count", 56, &[0xff; 2]),
    ] {
        let file = patched(&site, name, offset, patch);
        check_refused(&site, &file, &[]);
    }
}

#[test]
fn a_running_host_writes_every_refusal_to_its_log() {
    let site = Site::with(&["hello", "fixture_bare", "fixture_newer"]);
    let _serving = site.serve();
    let log = site.log("Plugins");
    for texts in [["libfixture_bare", "no manifest"], ["libfixture_newer", "needs plugin-api 1.99"]] {
        let mut lines = log.lines().filter(|line| line.contains("ERROR") && line.contains("plugin refused"));
        assert!(lines.any(|line| texts.iter().all(|text| line.contains(text))), "{texts:?} are not in {log}");
    }
}

#[test]
fn files_with_other_endings_are_left_alone() {
    let site = Site::with(&["hello"]);
    fs::write(site.plugins().join("README.md"), "what the plugins do").unwrap();
    fs::write(site.plugins().join("libhello.part"), "half a library").unwrap();
    assert_eq!(site.json(&["plugin", "list"])["plugins"].as_array().unwrap().len(), 1);
}

#[test]
fn a_plugin_that_is_copied_into_the_folder_of_a_running_host_becomes_active() {
    let site = Site::new();
    let serving = site.serve();
    site.run(&["trigger", "06000", "hello"]).refused(4, &["no handler"]);
    site.install("hello");
    wait_until("hello is active", || active(&site) == ["hello"]);
    check_hello(&site);
    assert!(serving.terminate().success());
}

#[test]
fn a_plugin_that_is_removed_is_not_called_any_more_and_its_running_call_ends_well() {
    let site = Site::with(&["fixture_probe", "hello"]);
    let _serving = site.serve();
    let (started, path) = (site.path().join("started"), site.path().join("go-on"));
    let payload = json!({ "started": started, "path": path }).to_string();
    let mut waiting = site.command(&["--json", "trigger", "06000", "wait_for_file", "--payload", &payload]);
    let waiting = waiting.stdout(Stdio::piped()).spawn().unwrap();
    wait_until("the call has started", || started.exists());

    fs::remove_file(named(&site, "libfixture_probe")).unwrap();
    wait_until("the plugin is gone", || active(&site) == ["hello"]);
    site.run(&["trigger", "06000", "whoami"]).refused(4, &["`whoami`", "it has hello"]);
    check_hello(&site);

    fs::write(&path, "").unwrap();
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let fired: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(fired["last"]["text"], "done");
    site.wait_for_log("Plugins", "plugin removed");
}

#[test]
fn a_file_that_is_replaced_by_another_plugin_is_that_plugin() {
    let site = Site::new();
    let file = named(&site, "plugin");
    put(&file, &fs::read(library("hello")).unwrap());
    let _serving = site.serve();
    check_hello(&site);
    put(&file, &fs::read(library("fixture_rival")).unwrap());
    wait_until("the rival is active", || active(&site) == ["rival"]);
    site.run(&["trigger", "06000", "hello"]).refused(4, &["no handler"]);
    assert_eq!(site.json(&["trigger", "21001", "x_b"])["last"], "x_b");
}

#[test]
fn a_running_plugin_goes_on_when_its_file_is_overwritten_with_nonsense() {
    let site = Site::with(&["hello"]);
    let _serving = site.serve();
    let file = named(&site, "libhello");
    // In place, as `cp` does: the running code must not be touched by it.
    fs::write(&file, "this is a note and no library\n").unwrap();
    wait_until("the new content is judged", || report(&site, &file)["reason"].is_string());
    let row = report(&site, &file);
    assert_eq!((&row["state"], &row["id"]), (&json!("active"), &json!("hello")), "{row}");
    check_hello(&site);
    site.wait_for_log("Plugins", "new version refused, the old one goes on");
    fs::copy(library("hello"), &file).unwrap();
    wait_until("the file is good again", || report(&site, &file)["reason"].is_null());
    check_hello(&site);
}

#[test]
fn a_plugin_may_have_a_folder_of_its_own_with_texts_beside_it() {
    let site = Site::new();
    let folder = site.plugins().join("hello");
    fs::create_dir_all(folder.join("languages")).unwrap();
    let file = folder.join(library("hello").file_name().unwrap());
    fs::copy(library("hello"), &file).unwrap();
    fs::write(folder.join("languages/it-IT.ftl"), "greeting = Ciao { $name }!\neverybody = mondo\n").unwrap();
    assert_eq!(report(&site, &file)["state"], "active");
    let fired = site.json(&["trigger", "06000", "hello", "--lang", "it-IT"]);
    assert_eq!(fired["last"]["text"], "Ciao mondo!");
    check_hello(&site);
}

#[test]
fn the_override_folder_wins_over_the_plugin_folder() {
    let site = Site::with(&["hello"]);
    let overrides = site.path().join("overrides");
    fs::create_dir(&overrides).unwrap();
    let file = overrides.join(library("hello").file_name().unwrap());
    fs::copy(library("hello"), &file).unwrap();
    let report = site.json(&["plugin", "list"]);
    assert_eq!(report["collisions"], json!([]));
    let tiers: Vec<_> = report["plugins"].as_array().unwrap().iter().map(|row| row["tier"].clone()).collect();
    assert_eq!(tiers, ["plugin", "site"]);
    let triggers = site.json(&["triggers"]);
    let row = triggers.as_array().unwrap().iter().find(|row| row["number"] == "06000").unwrap();
    assert_eq!((&row["name"], &row["tier"]), (&json!("hello"), &json!("site")));
    let fired = site.json(&["trigger", "06000"]);
    assert_eq!(fired["values"].as_array().unwrap().len(), 1);
    check_hello(&site);
}

#[test]
fn the_plugin_goes_on_when_its_override_is_removed() {
    let site = Site::with(&["hello"]);
    let overrides = site.path().join("overrides");
    fs::create_dir(&overrides).unwrap();
    let file = overrides.join(library("hello").file_name().unwrap());
    fs::copy(library("hello"), &file).unwrap();
    let _serving = site.serve();
    check_hello(&site);
    fs::remove_file(&file).unwrap();
    wait_until("the override is gone", || site.json(&["plugin", "list"])["plugins"].as_array().unwrap().len() == 1);
    check_hello(&site);
}
