//! Files in the plugin folder that are no usable plugins: each is refused with its reason, and the others are loaded.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use switchboard_tests::{Output, Site, library};

use super::broken::{FILES, lies};
use super::elf::Elf;
use super::*;

fn rival() -> Elf {
    Elf(fs::read(library("fixture_rival")).unwrap())
}

/// Returns why a file was refused.
#[track_caller]
fn refusal<'a>(list: &'a Value, name: &str) -> &'a str {
    let mut rows = list["plugins"].as_array().unwrap().iter();
    let row = rows.find(|row| row["file"].as_str().unwrap().ends_with(&format!("/{name}.so")));
    let row = row.unwrap_or_else(|| panic!("{name} is not in {list}"));
    assert_eq!((&row["state"], &row["triggers"]), (&json!("refused"), &json!(0)), "{row}");
    row["reason"].as_str().unwrap()
}

fn check_static(site: &Site, file: &std::path::Path) -> Output {
    site.run(&["plugin", "check", "--level", "static", "--format", "json", file.to_str().unwrap()])
}

#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]
fn every_broken_library_is_refused_with_its_reason_and_the_good_one_is_loaded() {
    let site = Site::with(&["hello"]);
    for broken in FILES {
        let mut elf = rival();
        (broken.damage)(&mut elf);
        fs::write(site.plugins().join(format!("{}.so", broken.name)), elf.0).unwrap();
    }
    let list = site.json(&["plugin", "list"]);
    for broken in FILES {
        let reason = refusal(&list, broken.name);
        assert!(reason.contains(broken.says), "{}: `{}` is not in {reason}", broken.name, broken.says);
        assert!(reason.len() < 3_000 && !reason.contains(char::is_control), "{}: {reason:?}", broken.name);
    }
    let active = list["plugins"].as_array().unwrap().iter().filter(|row| row["state"] == "active").count();
    assert_eq!(active, 1, "{list}");
    assert_eq!(site.json(&["trigger", "06000", "hello"])["last"]["text"], "Hello World!");
}

#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]
fn a_static_check_finds_what_a_host_refuses_without_loading_it() {
    let site = Site::new();
    for broken in FILES.iter().filter(|broken| !broken.check.is_empty()) {
        let mut elf = rival();
        (broken.damage)(&mut elf);
        let file = site.path().join(format!("{}.so", broken.name));
        fs::write(&file, elf.0).unwrap();
        let output = check_static(&site, &file);
        assert_eq!(output.code, 1, "{}: {output:?}", broken.name);
        let report = output.json();
        let failed = report["checks"].as_array().unwrap().iter().filter(|row| row["status"] == "fail");
        let failed: Vec<&str> = failed.map(|row| row["id"].as_str().unwrap()).collect();
        assert!(failed.contains(&broken.check), "{}: {failed:?}", broken.name);
    }
}

#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]
fn a_manifest_that_says_something_else_than_its_library_harms_its_own_calls_only() {
    let site = Site::with(&["hello"]);
    let lies = lies(&rival());
    for (number, elf, _) in &lies {
        fs::write(site.plugins().join(format!("lie{number}.so")), &elf.0).unwrap();
    }
    for (number, _, says) in &lies {
        let fired = site.run(&["--json", "trigger", number]).json();
        let values = fired["values"].as_array().unwrap();
        assert!(!values.is_empty());
        assert!(
            values.iter().any(|value| value["error"].as_str().is_some_and(|error| error.contains(says))),
            "{fired}"
        );
    }
    assert_eq!(site.json(&["trigger", "06000", "hello"])["last"]["text"], "Hello World!");
}

#[test]
fn a_library_that_is_cut_anywhere_is_refused() {
    let site = Site::with(&["hello"]);
    let whole = rival().0;
    let lengths: Vec<usize> = (0..40).map(|part| whole.len() * part / 40 + 7).collect();
    for length in &lengths {
        fs::write(site.plugins().join(format!("cut-{length}.so")), &whole[..*length]).unwrap();
    }
    let list = site.json(&["plugin", "list"]);
    for length in lengths {
        let reason = refusal(&list, &format!("cut-{length}"));
        assert!(reason.contains("incomplete") || reason.contains("not a plugin library"), "{length}: {reason}");
    }
}

#[test]
fn files_of_other_kinds_and_with_odd_names_are_refused_and_shown_harmlessly() {
    let site = Site::with(&["hello"]);
    let at = |name: &str| site.plugins().join(name);
    let _socket = UnixListener::bind(at("socket.so")).unwrap();
    symlink("/dev/zero", at("zero.so")).unwrap();
    symlink("nowhere", at("dangling.so")).unwrap();
    symlink("../plugins", at("loop")).unwrap();
    fs::File::create(at("sparse.so")).unwrap().set_len(8 << 30).unwrap();
    fs::hard_link(at("libhello.so"), at("twin.so")).unwrap();
    fs::write(at(".so"), "hidden").unwrap();
    let long = format!("{}.so", "n".repeat(252));
    for name in ["two\nlines.so", "..so", "-rf.so", "\u{202e}os.live.so", "\u{1b}[2J.so", long.as_str()] {
        fs::write(at(name), "text").unwrap();
    }
    fs::write(site.plugins().join(OsStr::from_bytes(b"not\xffunicode.so")), "text").unwrap();
    let list = site.run(&["--json", "plugin", "list"]).ok();
    let text = site.run(&["plugin", "list"]).ok();
    for output in [&list, &text] {
        let harmful = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!output.stdout.contains(harmful) && !output.stderr.contains(harmful), "{output:?}");
    }
    let list = list.json();
    for (name, says) in [
        ("socket", "no regular file"),
        ("zero", "symbolic link"),
        ("dangling", "symbolic link"),
        ("sparse", "larger than 256 MiB"),
        ("twin", "plugin `hello` is already loaded from"),
        ("two\nlines", "not a plugin library"),
        (".", "not a plugin library"),
        ("-rf", "not a plugin library"),
        ("\u{1b}[2J", "not a plugin library"),
        (&long[..252], "not a plugin library"),
        ("not\u{fffd}unicode", "not a plugin library"),
    ] {
        let reason = refusal(&list, name);
        assert!(reason.contains(says), "{name}: {reason}");
    }
    // What starts with a point has no ending, and a link to a folder is not followed.
    let rows = list["plugins"].as_array().unwrap();
    assert!(!rows.iter().any(|row| row["file"].as_str().unwrap().ends_with("/.so")), "{list}");
    assert!(!rows.iter().any(|row| row["file"].as_str().unwrap().contains("loop")), "{list}");
    assert_eq!(site.json(&["trigger", "06000", "hello"])["last"]["text"], "Hello World!");
}
