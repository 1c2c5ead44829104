//! `plugin check`: what it says of this repository's plugins, and of libraries that are none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use switchboard_tests::{library, switchboard};

/// What a check printed, as JSON, and its exit code.
struct Checked {
    code: i32,
    report: Value,
}

fn command(file: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(switchboard());
    command.args(["plugin", "check"]).args(arguments).arg(file);
    if !arguments.contains(&"--timeout") {
        // Other tests load the machine; a check that hangs still ends.
        command.args(["--timeout", "300"]);
    }
    command
}

#[track_caller]
fn check(file: &Path, arguments: &[&str]) -> Checked {
    let output = command(file, arguments).arg("--format=json").output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    Checked { code: output.status.code().unwrap(), report }
}

impl Checked {
    fn rows(&self) -> &[Value] {
        self.report["checks"].as_array().unwrap()
    }

    /// Returns the ids of the checks with this status.
    fn with(&self, status: &str) -> Vec<&str> {
        let rows = self.rows().iter().filter(|row| row["status"] == status);
        rows.map(|row| row["id"].as_str().unwrap()).collect()
    }

    #[track_caller]
    fn row(&self, id: &str) -> &Value {
        self.rows().iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no {id} in {}", self.report))
    }

    /// Checks that this check failed and names each of the texts in what it found or advises.
    #[track_caller]
    fn failed(&self, id: &str, texts: &[&str]) {
        let row = self.row(id);
        assert_eq!(row["status"], "fail", "{row}");
        let findings = row["findings"].to_string();
        for text in texts {
            assert!(findings.contains(text), "`{text}` is not in {findings}");
        }
    }
}

/// Writes a changed copy of a library.
fn changed(library: &Path, change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(library.file_name().unwrap());
    let mut bytes = fs::read(library).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn every_plugin_of_this_repository_passes_the_strict_level() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("plugins");
    let mut names: Vec<_> =
        fs::read_dir(plugins).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        // Settings that only their author can make up, so that deliveries succeed as well.
        let settings: &[&str] = match name.as_str() {
            "channel-manager" => &["--set", "channel_properties=3 = HTL-3", "--set", "channel_rooms=5 = DBL"],
            "webhook-signed" => {
                &["--set", "signed_secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "--set", "signed_old_secrets="]
            }
            _ => &[],
        };
        let checked = check(library(&name.replace('-', "_")), &[&["--level", "strict"], settings].concat());
        let noted: Vec<_> = checked.rows().iter().filter(|row| row["status"] != "pass").collect();
        assert_eq!(checked.code, 0, "{name}: {noted:#?}");
        assert_eq!(checked.report["passed"], true);
        // Slow machines may be warned of slow loading; nothing else.
        assert!(checked.with("warn").iter().all(|id| *id == "D2"), "{name}: {noted:#?}");
        if cfg!(target_os = "linux") {
            assert!(
                checked.with("skip").iter().all(|id| matches!(*id, "E5" | "I1" | "I2" | "I3" | "I4")),
                "{noted:#?}"
            );
        }
    }
}

#[test]
fn a_plugin_that_asks_the_host_while_it_starts_can_be_checked() {
    // A lock of the check's own host was held while it answered such a question.
    let checked = check(library("fixture_services"), &["--only", "D,E4"]);
    assert_eq!(checked.code, 0, "{}", checked.report);
    assert!(checked.with("skip").is_empty(), "{}", checked.report);
}

#[test]
fn the_static_level_reads_and_runs_nothing() {
    let checked = check(library("hello"), &["--level", "static"]);
    assert_eq!(checked.code, 0, "{}", checked.report);
    assert!(checked.rows().iter().all(|row| matches!(row["group"].as_str(), Some("the file" | "the manifest"))));
    assert_eq!(checked.report["manifest"]["id"], "hello");
}

#[test]
fn a_check_can_be_chosen_or_left_out() {
    let checked = check(library("hello"), &["--level", "static", "--only", "F2,b3", "--seed", "42"]);
    assert_eq!(checked.with("pass"), ["B3", "F2"]);
    assert_eq!(checked.report["seed"], 42);
    let checked = check(library("hello"), &["--level", "static", "--exclude", "A"]);
    assert!(checked.rows().iter().all(|row| row["group"] == "the manifest"), "{}", checked.report);
}

#[test]
fn a_plugin_that_does_not_start_fails_with_its_own_words_and_nothing_else_is_tried() {
    let checked = check(library("fixture_refuses"), &[]);
    assert_eq!(checked.code, 1);
    checked.failed("D3", &["the licence file is missing", "--set KEY=VALUE"]);
    assert_eq!(checked.with("fail"), ["D3"]);
    assert!(checked.row("F4")["note"].as_str().unwrap().contains("has to pass first"));
}

#[test]
fn what_no_host_loads_is_never_loaded() {
    for (name, id, text) in [("fixture_newer", "B4", "needs plugin-api 1.99"), ("fixture_bare", "A9", "export_plugin!")]
    {
        let checked = check(library(name), &["--level", "strict"]);
        assert_eq!(checked.code, 1);
        checked.failed(id, &[text]);
        assert_eq!(checked.row("D1")["status"], "skip", "{name}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_damaged_library_is_told_from_its_bytes() {
    let hello = library("hello");
    let (_folder, cut) = changed(hello, |bytes| bytes.truncate(bytes.len() / 2));
    let checked = check(&cut, &["--level", "strict"]);
    assert_eq!(checked.code, 1);
    checked.failed("A6", &["copy the library again"]);
    assert_eq!(checked.row("D1")["status"], "skip");
    // Byte 18 of an ELF header is the processor, here AArch64 or x86-64, whatever this is not.
    let other = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    let (_folder, foreign) = changed(hello, |bytes| bytes[18] = other);
    check(&foreign, &[]).failed("A4", &["this host runs on"]);
    // Each program header of 64-bit ELF has its flags at byte 4: readable, writable, executable.
    let (_folder, writable) = changed(hello, |bytes| {
        let header = |index: usize| 64 + 56 * index;
        let loaded = (0..16).find(|index| bytes[header(*index)] == 1 && bytes[header(*index) + 4] == 5).unwrap();
        bytes[header(loaded) + 4] = 7;
    });
    check(&writable, &["--level", "static"]).failed("A7", &["writable and executable"]);
}

#[test]
#[cfg(unix)]
fn a_file_that_others_can_change_and_what_is_no_file_are_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (folder, path) = changed(library("hello"), |_| {});
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    check(&path, &["--level", "static"]).failed("A2", &["everybody can change", "chmod o-w"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(check(&path, &["--level", "static"]).code, 0);
    let link = folder.path().join("link.so");
    symlink(&path, &link).unwrap();
    check(&link, &[]).failed("A1", &["symbolic link"]);
    check(folder.path(), &[]).failed("A1", &["folder"]);
}

#[test]
fn a_second_library_of_the_same_id_in_the_folder_is_noticed() {
    let (folder, path) = changed(library("hello"), |_| {});
    let mut other = fs::read(&path).unwrap();
    other.push(0);
    fs::write(folder.path().join("again").with_extension(std::env::consts::DLL_EXTENSION), other).unwrap();
    let checked = check(&path, &["--level", "static"]);
    assert_eq!((checked.code, checked.with("warn")), (0, vec!["B7"]));
    assert_eq!(check(&path, &["--level", "static", "--deny-warnings"]).code, 1);
}

#[test]
fn the_report_for_people_ends_with_a_verdict_and_what_to_do() {
    let output = command(library("fixture_refuses"), &["--level", "basic", "--seed", "7"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("level basic, seed 7"), "{text}");
    let last: Vec<_> = text.lines().rev().take(2).collect();
    assert!(last[1].starts_with("NOT passed:") && last[0].contains("--only D3 --seed 7"), "{text}");
    let output = command(library("hello"), &["--level", "static"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().last().unwrap().starts_with("passed: "), "{text}");
}

#[test]
fn the_report_for_build_servers_counts_what_failed() {
    let output = command(library("fixture_refuses"), &["--level", "basic", "--format", "junit"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("<?xml") && text.trim_end().ends_with("</testsuites>"), "{text}");
    assert!(text.contains("failures=\"1\" errors=\"0\""), "{text}");
    assert!(text.contains("<failure message=\"the plugin failed to start: the licence file is missing\">"), "{text}");
    assert_eq!(text.matches("<testcase ").count(), text.matches("</testcase>").count());
}

#[test]
fn a_command_line_that_cannot_be_used_says_why() {
    for (file, arguments, text) in [
        (Path::new("no-such-file.so"), &[][..], "there is no file"),
        (library("hello"), &["--only", "Z9"], "there is no check `Z9`"),
        (library("hello"), &["--set", "key"], "--set KEY=VALUE"),
        (library("hello"), &["--level", "fuzzy"], "invalid value"),
    ] {
        let output = command(file, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(text), "{output:?}");
    }
    let help = Command::new(switchboard()).args(["plugin", "check", "--help"]).output().unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("4  a check took longer than it may"), "{help:?}");
}

/// Does one check of the fixture `evil` while it commits a fault.
fn commit(fault: u32, id: &str, timeout: &str) -> Checked {
    let variable = format!("SWITCHBOARD_EVIL={fault}");
    check(library("fixture_evil"), &["--only", id, "--timeout", timeout, "--env", &variable, "--seed", "1"])
}

#[test]
fn a_plugin_that_ends_its_process_is_a_crash_whatever_the_exit_status() {
    for (fault, id, text) in [
        (2, "D3", "starting the plugin"),
        (3, "D3", "with exit status 0 while starting the plugin"),
        (34, "F1", "calling 06000 `evil` with a sample payload"),
        (35, "F1", "calling 06000 `evil` with a sample payload"),
        (37, "F1", "with exit status 0 while calling 06000 `evil`"),
        (38, "F1", "calling 06000 `evil` with a sample payload"),
    ] {
        let checked = commit(fault, id, "300");
        assert_eq!((checked.code, checked.with("crash")), (3, vec![id]), "fault {fault}: {}", checked.report);
        let findings = checked.row(id)["findings"].to_string();
        assert!(findings.contains(text), "fault {fault}: {findings}");
    }
}

#[test]
fn a_plugin_that_never_answers_is_killed_and_nothing_of_it_is_left() {
    for (fault, id) in [(4, "D3"), (8, "D1"), (42, "F1"), (43, "F1")] {
        let folder = tempfile::tempdir().unwrap();
        let variable = format!("SWITCHBOARD_EVIL={fault}");
        let mut command = Command::new(switchboard());
        command.args(["plugin", "check", "--json", "--timeout", "1", "--only", id, "--env", &variable]);
        let output = command.arg(library("fixture_evil")).env("TMPDIR", folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "fault {fault}: {output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["checks"][0]["status"], "timeout", "fault {fault}: {report}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "fault {fault}");
    }
}

#[test]
fn what_a_handler_gives_or_panics_with_is_found() {
    for (fault, id, text) in [
        (1, "D3", "evil panics in its constructor"),
        (9, "F1", "00005 `evil` panicked at"),
        (16, "F5", "a format that this host does not know"),
        (17, "F5", "not of the type of its trigger"),
        (22, "F1", "evil panics on purpose"),
        (26, "F1", "panicked at"),
        (6, "D3", "writes to standard output"),
        (11, "I1", "cannot be used"),
        (14, "I1", "nests too deep"),
    ] {
        let checked = commit(fault, id, "300");
        assert_eq!(checked.code, 1, "fault {fault}: {}", checked.report);
        checked.failed(id, &[text]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_plugin_does_to_its_process_is_seen() {
    for (fault, id, text) in [
        (47, "H7", "still open"),
        (48, "H1", "the locale of the process was `C` and is"),
        (49, "H3", "the working directory was"),
        (50, "H4", "the umask was"),
        (51, "H5", "environment variables were changed"),
        (52, "H2", "signals"),
        (53, "H12", "standard output"),
        (54, "H7", "closed, although the host's"),
        (5, "H9", "100 threads go on"),
    ] {
        let checked = commit(fault, id, "300");
        assert_eq!(checked.code, 1, "fault {fault}: {}", checked.report);
        checked.failed(id, &[text]);
        // Without the fault the same plugin passes the same check.
        assert_eq!(commit(0, id, "300").with("pass"), [id]);
    }
    let checked = commit(45, "H13", "20");
    assert_eq!((checked.code, checked.with("warn")), (0, vec!["H13"]), "{}", checked.report);
    assert_eq!(commit(0, "H13", "20").with("pass"), ["H13"]);
}
