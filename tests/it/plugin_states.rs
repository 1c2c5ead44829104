//! What an administrator wants of a plugin, apart from what it does: install, enable, disable, remove, upgrade, roll back,
//! safe mode, dependencies and settings.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switchboard_tests::{Receiver, Site, library, task_of, wait_until};

/// Returns a copy of a library outside the data folder whose manifest names another version of the same length.
fn with_version(site: &Site, plugin: &str, version: &str) -> PathBuf {
    let mut bytes = fs::read(library(plugin)).unwrap();
    let (old, new) = (format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION")), format!("\"version\":\"{version}\""));
    let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
    bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
    let folder = site.path().join("elsewhere");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(library(plugin).file_name().unwrap());
    fs::write(&file, bytes).unwrap();
    file
}

/// Returns what `plugin list` says of a plugin.
#[track_caller]
fn row(site: &Site, id: &str) -> Value {
    let list = site.json(&["plugin", "list"]);
    let mut rows = list["plugins"].as_array().unwrap().iter();
    rows.find(|row| row["id"] == id).unwrap_or_else(|| panic!("{id} is not in {list}")).clone()
}

#[track_caller]
fn check_state(site: &Site, id: &str, state: &str, reason: &str) {
    let row = row(site, id);
    assert_eq!(row["state"], state, "{row}");
    assert!(row["reason"].as_str().unwrap_or_default().contains(reason), "`{reason}` is not in {row}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn greeting(site: &Site) -> Value {
    site.json(&["trigger", "06000", "hello"])["last"]["text"].clone()
}

#[test]
fn a_plugin_is_installed_beside_a_running_host_and_without_one() {
    for serve in [false, true] {
        let site = Site::new();
        let _serving = serve.then(|| site.serve());
        let installed = site.json(&["plugin", "install", text(library("hello"))]);
        assert_eq!((&installed["state"], &installed["enabled"]), (&json!("active"), &json!(true)), "{installed}");
        let file = site.plugins().join(library("hello").file_name().unwrap());
        assert_eq!(installed["file"], json!(file));
        assert_eq!(fs::read(&file).unwrap(), fs::read(library("hello")).unwrap());
        assert_eq!(greeting(&site), "Hello World!");
        let left: Vec<_> = fs::read_dir(site.plugins()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [file]);
    }
}

#[test]
fn nothing_is_installed_over_what_is_there() {
    let site = Site::with(&["hello"]);
    let before = fs::read(site.plugins().join(library("hello").file_name().unwrap())).unwrap();
    let newer = with_version(&site, "hello", "0.2.0");
    site.run(&["plugin", "install", text(&newer)]).refused(2, &["already installed", "plugin upgrade hello"]);
    let other = site.plugins().join(library("fixture_rival").file_name().unwrap());
    fs::write(&other, "a note of ours").unwrap();
    let refused = site.run(&["plugin", "install", text(library("fixture_rival"))]);
    refused.refused(2, &["is there already and is never overwritten"]);
    assert_eq!(fs::read(other).unwrap(), b"a note of ours");
    assert_eq!(fs::read(site.plugins().join(library("hello").file_name().unwrap())).unwrap(), before);
}

#[test]
fn what_is_no_plugin_of_this_host_is_not_installed_and_says_why() {
    let site = Site::new();
    let note = site.path().join("note.so");
    fs::write(&note, "a note").unwrap();
    for (file, why) in [
        (note.as_path(), "not a plugin library"),
        (library("fixture_bare"), "no Switchboard plugin"),
        (library("fixture_newer"), "needs plugin-api 1.99"),
    ] {
        site.run(&["plugin", "install", text(file)]).refused(2, &[why]);
    }
    site.run(&["plugin", "install", "nowhere.so"]).refused(2, &["there is no file"]);
    let refused = site.run(&["plugin", "install", text(library("fixture_refuses"))]);
    refused.refused(1, &["it was not installed", "the licence file is missing"]);
    assert_eq!(site.json(&["plugin", "list"])["plugins"], json!([]));
}

#[test]
fn a_plugin_that_would_end_the_host_is_found_out_in_a_process_of_its_own() {
    let site = Site::with(&["hello"]);
    let serving = site.serve();
    let file = text(library("fixture_dependent"));
    let refused = site.run(&["plugin", "install", file, "--set", "start=abort", "--set", "token=x"]);
    refused.refused(2, &["it would end or hang the host", "signal 6"]);
    assert_eq!(greeting(&site), "Hello World!");
    assert!(serving.terminate().success());
}

#[test]
fn a_disabled_plugin_is_not_opened_and_its_tasks_wait() {
    let receiver = Receiver::friendly();
    let site = Site::with(&["hello", "webhook_none"]);
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let _serving = site.serve();
    let disabled = site.json(&["plugin", "disable", "webhook_none"]);
    assert_eq!((&disabled[0]["state"], &disabled[0]["enabled"]), (&json!("disabled"), &json!(false)), "{disabled}");
    assert!(site.plugins().join("webhook_none.disabled").exists());
    let id = task_of(&site.emit(62, "booking_added", "{}"));
    assert_eq!(site.json(&["plugin", "disable", "webhook_none"])[0]["state"], "disabled", "twice is once");
    assert_eq!(site.json(&["task", "show", &id.to_string()])["state"], "ready");
    assert_eq!(site.json(&["plugin", "enable", "webhook_none"])[0]["state"], "active");
    let _ = site.wait_for_task(id, "done");
    assert_eq!(receiver.wait_for(1).len(), 1);
}

#[test]
fn a_marker_file_disables_a_plugin_by_hand() {
    let site = Site::with(&["hello", "fixture_rival"]);
    let serving = site.serve();
    let file = library("hello").file_name().unwrap().to_str().unwrap().to_owned();
    for marker in [format!("{file}.disabled"), "hello.disabled".to_owned()] {
        let marker = site.plugins().join(marker);
        fs::write(&marker, "").unwrap();
        wait_until("hello is disabled", || row(&site, "hello")["state"] == "disabled");
        check_state(&site, "hello", "disabled", text(&marker));
        check_state(&site, "rival", "active", "");
        fs::remove_file(&marker).unwrap();
        wait_until("hello is active", || row(&site, "hello")["state"] == "active");
    }
    drop(serving);
    fs::write(site.plugins().join(".disabled"), "").unwrap();
    check_state(&site, "rival", "disabled", ".disabled");
    site.run(&["plugin", "enable", "rival"]).refused(2, &["disables every plugin of its folder"]);
}

#[test]
fn a_plugin_that_ends_every_process_is_disabled_without_being_opened() {
    let site = Site::with(&["hello", "fixture_dependent"]);
    site.settings("[plugins.dependent]\nstart = \"abort\"\ntoken = \"x\"\n");
    assert_eq!(site.run(&["plugin", "list"]).signal, Some(6), "it ends whoever opens it");
    assert_eq!(site.json(&["plugin", "disable", "dependent"])[0]["state"], "disabled");
    assert_eq!(greeting(&site), "Hello World!");
    let _ = site.run(&["plugin", "set", "dependent", "--unset", "start"]).ok();
    assert_eq!(site.json(&["plugin", "enable", "dependent"])[0]["state"], "active");
}

#[test]
fn in_safe_mode_no_plugin_is_opened_and_tasks_are_kept() {
    let receiver = Receiver::friendly();
    let site = Site::with(&["hello", "webhook_none", "fixture_dependent"]);
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    fs::write(
        site.path().join("switchboard.toml"),
        "[egress]\nallow = [\"127.0.0.0/8\"]\n[plugins.dependent]\nstart = \"abort\"\n",
    )
    .unwrap();
    let safe = site.serve_with(|command| {
        command.arg("--safe-mode");
    });
    check_state(&site, "hello", "held", "--safe-mode");
    let id = task_of(&site.emit(62, "booking_added", "{}"));
    assert_eq!(site.json(&["task", "show", &id.to_string()])["state"], "ready");
    assert_eq!(site.json(&["plugin", "disable", "dependent"])[0]["state"], "disabled");
    assert!(safe.terminate().success());
    let _serving = site.serve();
    let _ = site.wait_for_task(id, "done");
}

#[test]
fn a_removed_plugin_is_gone_with_its_marker() {
    let site = Site::with(&["hello", "fixture_rival"]);
    let _ = site.run(&["plugin", "disable", "hello"]).ok();
    let removed = site.json(&["plugin", "remove", "hello"]);
    assert_eq!((&removed["id"], &removed["removed"]), (&json!("hello"), &json!(true)));
    let left: Vec<_> = fs::read_dir(site.plugins()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [library("fixture_rival").file_name().unwrap()]);
    site.run(&["plugin", "remove", "hello"]).refused(4, &["there is no plugin `hello`, but `rival`"]);
    for command in ["enable", "disable", "rollback", "show"] {
        site.run(&["plugin", command, "../../etc"]).refused(4, &["there is no plugin"]);
    }
}

#[test]
fn an_upgrade_keeps_the_version_before_and_can_be_undone() {
    let site = Site::with(&["hello"]);
    let _serving = site.serve();
    site.run(&["plugin", "rollback", "hello"]).refused(4, &["no version before is kept"]);
    let newer = with_version(&site, "hello", "0.2.0");
    site.run(&["plugin", "upgrade", "rival", text(&newer)]).refused(2, &["holds plugin `hello` and not `rival`"]);
    let upgraded = site.json(&["plugin", "upgrade", "hello", text(&newer)]);
    assert_eq!((&upgraded["version"], &upgraded["state"]), (&json!("0.2.0"), &json!("active")), "{upgraded}");
    assert_eq!(site.json(&["plugin", "show", "hello"])["previous"], true);
    assert_eq!(greeting(&site), "Hello World!");
    let older = text(library("hello"));
    site.run(&["plugin", "upgrade", "hello", older]).refused(2, &["is older than 0.2.0", "--downgrade"]);
    assert_eq!(site.json(&["plugin", "rollback", "hello"])["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(site.json(&["plugin", "rollback", "hello"])["version"], "0.2.0");
    assert_eq!(site.json(&["plugin", "upgrade", "hello", older, "--downgrade"])["state"], "active");
    site.wait_for_log("Plugins", "plugin replaced");
}

#[test]
fn the_version_before_goes_on_when_the_new_one_does_not_start() {
    for serve in [false, true] {
        let site = Site::with(&["hello"]);
        let _ = site.run(&["plugin", "install", text(library("fixture_dependent")), "--set", "token=x"]).ok();
        let _serving = serve.then(|| site.serve());
        let file = site.plugins().join(library("fixture_dependent").file_name().unwrap());
        let before = fs::read(&file).unwrap();
        let _ = site.run(&["plugin", "set", "dependent", "start=refuse"]).ok();
        let newer = with_version(&site, "fixture_dependent", "0.2.0");
        let refused = site.run(&["plugin", "upgrade", "dependent", text(&newer)]);
        refused.refused(1, &["0.2.0 does not run", "0.1.0 goes on", "it was told to refuse"]);
        assert_eq!(fs::read(&file).unwrap(), before);
        let _ = site.run(&["plugin", "set", "dependent", "--unset", "start"]).ok();
        let row = row(&site, "dependent");
        assert_eq!((&row["state"], &row["version"]), (&json!("active"), &json!("0.1.0")), "{row}");
        site.run(&["plugin", "rollback", "dependent"]).refused(4, &["no version before is kept"]);
    }
}

#[test]
fn an_upgrade_that_the_host_did_not_survive_is_undone_at_the_next_start() {
    let site = Site::with(&["hello"]);
    let file = site.plugins().join(library("hello").file_name().unwrap());
    let kept = PathBuf::from(format!("{}.upgrading", file.display()));
    fs::rename(&file, &kept).unwrap();
    fs::write(&file, "what a power cut has left").unwrap();
    assert_eq!(greeting(&site), "Hello World!");
    assert!(!kept.exists());
    assert!(site.log("Plugins").contains("the version before is back"));
}

#[test]
fn a_plugin_waits_for_the_one_that_it_needs_and_comes_up_with_it() {
    let site = Site::with(&["fixture_dependent"]);
    let _serving = site.serve();
    check_state(&site, "dependent", "waiting", "needs plugin `hello` ^0.1, which is not in the plugin folder");
    site.run(&["trigger", "06000", "dependent"]).refused(4, &["no handler"]);

    // By the order of their names `dependent` comes first; it is opened after what it needs.
    site.install("hello");
    wait_until("both are active", || row(&site, "dependent")["state"] == "active");
    assert_eq!(site.json(&["trigger", "06000", "dependent"])["last"]["text"], "6");

    site.run(&["plugin", "disable", "hello"]).refused(2, &["needed by `dependent`", "--force"]);
    site.run(&["plugin", "remove", "hello"]).refused(2, &["needed by `dependent`"]);
    let _ = site.run(&["plugin", "disable", "hello", "--force"]).ok();
    check_state(&site, "dependent", "waiting", "which is disabled");
    let _ = site.run(&["plugin", "enable", "hello"]).ok();
    check_state(&site, "dependent", "active", "");

    let newer = with_version(&site, "hello", "0.2.0");
    site.run(&["plugin", "upgrade", "hello", text(&newer)]).refused(2, &["needed by `dependent`"]);
    let _ = site.run(&["plugin", "upgrade", "hello", text(&newer), "--force"]).ok();
    check_state(&site, "dependent", "waiting", "and 0.2.0 is active: install a version that will do");
    let detail = site.json(&["plugin", "show", "dependent"]);
    let expected = json!([{ "id": "hello", "version": "^0.1", "active": "0.2.0", "met": false }]);
    assert_eq!(detail["depends"], expected);
    let _ = site.run(&["plugin", "rollback", "hello"]).ok();
    check_state(&site, "dependent", "active", "");
    assert_eq!(site.json(&["plugin", "show", "hello"])["needed_by"], json!(["dependent"]));
}

#[test]
fn settings_have_formats_and_a_password_is_never_shown() {
    let site = Site::with(&["hello", "fixture_dependent"]);
    for serve in [false, true] {
        let serving = serve.then(|| site.serve());
        let set = ["plugin", "set", "dependent", "limit=12", "token=very-secret-42"];
        let shown = site.json(&set)["settings"].clone();
        let limit = json!({
            // Without a host no plugin is opened for this command, so it has no texts either.
            "key": "limit", "title": if serve { "Most at once" } else { "limit" }, "format": "number", "value": "12", "set": true, "default": "6",
            "required": false,
        });
        assert_eq!(shown[2], limit);
        assert_eq!((&shown[1]["value"], &shown[1]["set"]), (&Value::Null, &json!(true)));
        assert_eq!(site.json(&["plugin", "show", "dependent", "--lang", "de-DE"])["settings"][2]["title"], "Höchstens");
        assert_eq!(site.json(&["trigger", "06000", "dependent"])["last"]["text"], "12", "at its next call");
        for output in [site.run(&set).ok(), site.run(&["plugin", "show", "dependent"]).ok()] {
            assert!(!output.stdout.contains("very-secret-42"), "{output:?}");
        }
        site.run(&["plugin", "set", "dependent", "limit=many"]).refused(2, &["`limit`", "is a number"]);
        site.run(&["plugin", "set", "dependent", "colour=red"])
            .refused(2, &["no setting `colour`", "start, token, limit"]);
        site.run(&["plugin", "set", "dependent", "limit"]).refused(2, &["has no `=`"]);
        let typed = site.run_with_input(&["--json", "plugin", "set", "dependent", "limit=-"], "7\n").ok().json();
        assert_eq!(typed["settings"][2]["value"], "7");
        let _ = site.run(&["plugin", "set", "dependent", "--unset", "limit"]).ok();
        assert_eq!(site.json(&["trigger", "06000", "dependent"])["last"]["text"], "6");
        drop(serving);
    }
    assert!(!site.log("Plugins").contains("very-secret-42"));
    let file = fs::read_to_string(site.path().join("switchboard.toml")).unwrap();
    assert!(file.contains("127.0.0.0/8") && file.contains("[plugins.dependent]"), "{file}");
}

/// Makes a folder with a library and language files, as a plugin is handed over.
fn package(site: &Site, name: &str, library: &Path, languages: &[(&str, &str)]) -> PathBuf {
    let folder = site.path().join("elsewhere").join(name);
    fs::create_dir_all(folder.join("languages")).unwrap();
    fs::copy(library, folder.join(library.file_name().unwrap())).unwrap();
    for (language, text) in languages {
        fs::write(folder.join("languages").join(format!("{language}.ftl")), text).unwrap();
    }
    folder
}

/// Returns every path below a folder, and the content of files, so that two looks can be compared.
fn everything_in(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        found.extend(everything_in(&path));
        found.push((path.clone(), fs::read(&path).ok()));
    }
    found.sort();
    found
}

fn greeting_in(site: &Site, language: &str) -> Value {
    site.json(&["trigger", "06000", "hello", "--lang", language])["last"]["text"].clone()
}

#[test]
fn a_folder_with_language_files_is_installed_upgraded_rolled_back_and_removed_with_them() {
    for serve in [false, true] {
        let site = Site::new();
        let _serving = serve.then(|| site.serve());
        let first = package(&site, "first", library("hello"), &[("pl-PL", "greeting = Witaj { $name }!")]);
        let installed = site.json(&["plugin", "install", text(&first)]);
        let own = site.plugins().join("hello");
        assert_eq!(installed["file"], json!(own.join(library("hello").file_name().unwrap())));
        assert_eq!(greeting_in(&site, "pl-PL"), "Witaj World!");
        let before = everything_in(&site.plugins());

        let newer = with_version(&site, "hello", "0.2.0");
        let second = package(
            &site,
            "second",
            &newer,
            &[("pl-PL", "greeting = Hej { $name }!"), ("cs-CZ", "greeting = Ahoj { $name }!")],
        );
        assert_eq!(site.json(&["plugin", "upgrade", "hello", text(&second)])["version"], "0.2.0");
        assert_eq!(
            (greeting_in(&site, "pl-PL"), greeting_in(&site, "cs-CZ")),
            (json!("Hej World!"), json!("Ahoj World!"))
        );
        assert_eq!(site.json(&["plugin", "rollback", "hello"])["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(
            (greeting_in(&site, "pl-PL"), greeting_in(&site, "cs-CZ")),
            (json!("Witaj World!"), json!("Hello World!"))
        );
        let now = everything_in(&site.plugins());
        assert!(before.iter().all(|one| now.contains(one)), "what was there is there again");

        // The same library with other texts is another version as well.
        let third = package(&site, "third", library("hello"), &[("pl-PL", "greeting = Dzien dobry { $name }!")]);
        let _ = site.run(&["plugin", "upgrade", "hello", text(&third)]).ok();
        assert_eq!(greeting_in(&site, "pl-PL"), "Dzien dobry World!");

        let _ = site.run(&["plugin", "remove", "hello"]).ok();
        assert_eq!(everything_in(&site.plugins()), [], "nothing of it stays");
    }
}

#[test]
fn an_installation_that_fails_leaves_everything_as_it_was() {
    for serve in [false, true] {
        let site = Site::with(&["hello"]);
        site.settings("[plugins.dependent]\ntoken = \"kept\"\n");
        let _serving = serve.then(|| site.serve());
        let folder = package(&site, "refused", library("fixture_dependent"), &[("pl-PL", "setting-limit = Naraz")]);
        let before = everything_in(&site.plugins());
        let settings = fs::read_to_string(site.path().join("switchboard.toml")).unwrap();
        let set = ["--set", "start=refuse", "--set", "token=other", "--set", "limit=3"];
        let refused = site.run(&[&["plugin", "install", text(&folder)][..], &set].concat());
        refused.refused(1, &["it was not installed", "it was told to refuse"]);
        assert_eq!(everything_in(&site.plugins()), before);
        let values = |text: &str| text.lines().filter(|line| line.contains('=')).map(str::to_owned).collect::<Vec<_>>();
        let after = fs::read_to_string(site.path().join("switchboard.toml")).unwrap();
        assert_eq!(values(&after), values(&settings));
        assert!(!site.json(&["language", "list"]).to_string().contains("pl-PL"));
    }
}

#[test]
fn an_upgrade_that_fails_leaves_library_texts_and_version_before_as_they_were() {
    for serve in [false, true] {
        let site = Site::with(&["hello"]);
        let first = package(&site, "first", library("fixture_dependent"), &[("pl-PL", "setting-limit = Naraz")]);
        let _ = site.run(&["plugin", "install", text(&first), "--set", "token=x"]).ok();
        let _serving = serve.then(|| site.serve());
        let limit = || site.json(&["plugin", "show", "dependent", "--lang", "pl-PL"])["settings"][2]["title"].clone();
        assert_eq!(limit(), "Naraz");
        let before = everything_in(&site.plugins());
        let _ = site.run(&["plugin", "set", "dependent", "start=refuse"]).ok();
        let newer = with_version(&site, "fixture_dependent", "0.2.0");
        let second = package(
            &site,
            "second",
            &newer,
            &[("pl-PL", "setting-limit = Inaczej"), ("cs-CZ", "setting-limit = Jinak")],
        );
        site.run(&["plugin", "upgrade", "dependent", text(&second)]).refused(1, &["0.1.0 goes on", "told to refuse"]);
        let _ = site.run(&["plugin", "set", "dependent", "--unset", "start"]).ok();
        assert_eq!(everything_in(&site.plugins()), before);
        assert_eq!(limit(), "Naraz");
        check_state(&site, "dependent", "active", "");
    }
}

#[test]
fn an_upgrade_that_would_wait_for_another_plugin_is_undone() {
    let site = Site::with(&["hello"]);
    let _ = site.run(&["plugin", "install", text(library("fixture_dependent")), "--set", "token=x"]).ok();
    // In a library of another version it needs a version of `hello` that is not there.
    let newer = with_version(&site, "fixture_dependent", "0.2.0");
    let mut bytes = fs::read(&newer).unwrap();
    let at = bytes.windows(4).position(|window| window == b"^0.1").unwrap();
    bytes[at..at + 4].copy_from_slice(b"^9.9");
    fs::write(&newer, bytes).unwrap();
    let _serving = site.serve();
    let refused = site.run(&["plugin", "upgrade", "dependent", text(&newer)]);
    refused.refused(1, &["0.1.0 goes on", "needs plugin `hello` ^9.9"]);
    check_state(&site, "dependent", "active", "");
}

#[test]
fn what_is_no_package_is_refused_and_says_why() {
    let site = Site::with(&["hello"]);
    let empty = site.path().join("empty");
    fs::create_dir_all(&empty).unwrap();
    site.run(&["plugin", "install", text(&empty)]).refused(2, &["empty", "exactly one library"]);
    let rival = package(&site, "rival", library("fixture_rival"), &[("no code!", "a = b")]);
    site.run(&["plugin", "install", text(&rival)]).refused(2, &["languages/no code!.ftl", "not a language code"]);
    fs::remove_dir_all(rival.join("languages")).unwrap();
    std::os::unix::fs::symlink("/etc", rival.join("languages")).unwrap();
    site.run(&["plugin", "install", text(&rival)]).refused(2, &["languages", "symbolic link"]);
    fs::copy(library("hello"), rival.join("other.so")).unwrap();
    site.run(&["plugin", "install", text(&rival)]).refused(2, &["exactly one library"]);
    let newer = with_version(&site, "hello", "0.2.0");
    let folder = package(&site, "hello", &newer, &[("pl-PL", "greeting = Hej { $name }!")]);
    site.run(&["plugin", "upgrade", "hello", text(&folder)]).refused(2, &["without a folder for its language files"]);
    assert_eq!(everything_in(&site.path().join("cache/incoming")), []);
}

#[test]
fn no_marker_stays_that_would_disable_what_comes_later() {
    let site = Site::with(&["hello"]);
    let overrides = site.path().join("overrides");
    fs::create_dir(&overrides).unwrap();
    let file = overrides.join(library("hello").file_name().unwrap());
    fs::copy(library("hello"), &file).unwrap();
    let _ = site.run(&["plugin", "disable", "hello"]).ok();
    assert!(overrides.join("hello.disabled").exists() && site.plugins().join("hello.disabled").exists());
    let _ = site.run(&["plugin", "remove", "hello"]).ok();
    assert_eq!(everything_in(&site.plugins()), []);
    check_state(&site, "hello", "disabled", "overrides");
    let _ = site.run(&["plugin", "remove", "hello"]).ok();
    assert_eq!(everything_in(&overrides), []);
    // One that was taken away by hand has left its marker.
    site.install("hello");
    fs::copy(library("hello"), &file).unwrap();
    let _ = site.run(&["plugin", "disable", "hello"]).ok();
    fs::remove_file(&file).unwrap();
    let _ = site.run(&["plugin", "remove", "hello"]).ok();
    assert_eq!(everything_in(&overrides), []);
}
