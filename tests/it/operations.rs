//! What whoever runs a host needs around it: configuration, health, service manager, completions, manual, texts.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use switchboard_tests::{Receiver, Site, say_skipped, switchboard, wait_until};

fn setting(values: &Value, key: &str) -> Value {
    values.as_array().unwrap().iter().find(|value| value["key"] == key).unwrap_or_else(|| panic!("no {key}")).clone()
}

#[test]
fn every_setting_is_shown_with_where_its_value_comes_from() {
    let site = Site::new();
    site.settings(
        "[log]\nkeep = \"7d\"\n\n[store]\nurl = \"postgres://u:geheim@h/d\"\n[plugins.hello]\ngreeting = \"x\"\n",
    );
    let output = site.run_with("SWITCHBOARD_DEFERRED_THREADS", "9", &["--json", "config", "show", "--origin"]).ok();
    assert!(!output.stdout.contains("geheim"), "{output:?}");
    let values = output.json();
    for (key, value, origin) in [
        ("log.keep", json!("7d"), json!({ "from": "file", "line": 2 })),
        ("log.mode", json!("production"), json!({ "from": "default" })),
        ("log.level", json!(null), json!({ "from": "default" })),
        ("store.url", json!("********"), json!({ "from": "file", "line": 5 })),
        ("plugins.hello", json!({ "greeting": "********" }), json!({ "from": "file", "line": 6 })),
        ("deferred.threads", json!(9), json!({ "from": "environment", "variable": "SWITCHBOARD_DEFERRED_THREADS" })),
    ] {
        assert_eq!(setting(&values, key), json!({ "key": key, "value": value, "origin": origin }));
    }
    let text = site.run(&["config", "show", "log.keep", "--origin"]).ok().stdout;
    assert!(text.contains("switchboard.toml line 2") && text.lines().count() == 2, "{text}");
}

#[test]
fn a_configuration_is_checked_before_a_host_meets_it() {
    let site = Site::new();
    let _ = site.run(&["config", "check"]).ok();
    site.settings("[log]\nmodes = \"production\"\n");
    site.run(&["config", "check"]).refused(2, &["line 2", "unknown key `log.modes`", "did you mean `log.mode`?"]);
    site.settings("");
    let refused = site.run_with("SWITCHBOARD_LOG_MODE", "loud", &["config", "check"]);
    refused.refused(2, &["variable `SWITCHBOARD_LOG_MODE`", "`log.mode`"]);
    fs::remove_file(site.path().join("switchboard.toml")).unwrap();
    assert_eq!(site.json(&["config", "check"])["exists"], false);
}

#[test]
fn the_mode_is_switched_while_a_host_runs_and_the_file_keeps_its_comments() {
    let site = Site::with(&["fixture_probe"]);
    site.settings("# ours\n[log]\nmode = \"production\" # for now\n");
    let _serving = site.serve();
    let _ = site.run(&["trigger", "06000", "log_lines"]).ok();
    assert_eq!(site.log("Webhooks"), "");
    let set = site.json(&["config", "set", "log.mode", "development"]);
    assert_eq!(set, json!({ "key": "log.mode", "value": "development", "restart": false }));
    let _ = site.run(&["trigger", "06000", "log_lines"]).ok();
    assert!(site.log("Webhooks").contains("DEBUG Blah blah was done"));
    let text = fs::read_to_string(site.path().join("switchboard.toml")).unwrap();
    assert_eq!(text, "# ours\n[log]\nmode = \"development\" # for now\n");

    assert_eq!(site.json(&["config", "set", "deferred.threads", "2"])["restart"], true);
    site.run(&["config", "set", "log.mod", "x"]).refused(2, &["did you mean `log.mode`?"]);
    site.run(&["config", "set", "log.mode", "loud"]).refused(2, &["`log.mode`"]);
    let _ = site.run(&["config", "unset", "log.mode"]).ok();
    assert_eq!(setting(&site.json(&["config", "show"]), "log.mode")["value"], "production");
}

/// Returns what the doctor says of one thing: its worst state, and all findings and remedies.
pub(crate) fn diagnosis(site: &Site, what: &str) -> (String, String) {
    let report = site.run(&["--json", "doctor"]).json();
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["what"] == what);
    let findings: Vec<&Value> = findings.collect();
    let rank = |state: &&str| ["well", "warn", "fail"].iter().position(|other| other == state);
    let worst = findings.iter().map(|finding| finding["state"].as_str().unwrap()).max_by_key(rank).unwrap();
    (worst.to_owned(), findings.iter().map(ToString::to_string).collect())
}

#[test]
fn a_well_host_is_well_beside_it_and_without_it() {
    let site = Site::with(&["hello"]);
    for serve in [false, true] {
        let serving = serve.then(|| site.serve());
        let report = site.json(&["doctor"]);
        assert_eq!(report["well"], true, "{report}");
        for what in ["data folder", "host", "configuration", "store", "clock", "disk", "plugins", "languages", "egress"]
        {
            let (state, text) = diagnosis(&site, what);
            assert!(state == "well" || (what == "disk" && state == "warn"), "{text}");
        }
        let (_, host) = diagnosis(&site, "host");
        assert!(host.contains(if serving.is_some() { "answers" } else { "none runs" }), "{host}");
    }
}

#[test]
fn what_is_not_well_comes_with_what_to_do() {
    let site = Site::with(&["hello", "fixture_bare"]);
    let rights = |mode| fs::set_permissions(site.plugins(), fs::Permissions::from_mode(mode)).unwrap();
    rights(0o777);
    fs::create_dir_all(site.path().join("languages/hello")).unwrap();
    fs::write(site.path().join("languages/hello/en-GB.ftl"), "greeting = { $name\n").unwrap();
    site.settings("[log]\nmodes = 1\n");
    for (what, state, texts) in [
        ("rights", "fail", &["everybody may write into", "chmod o-w"][..]),
        ("plugins", "fail", &["libfixture_bare", "no Switchboard plugin", "plugin check"]),
        ("languages", "warn", &["en-GB.ftl"]),
        ("configuration", "fail", &["did you mean `log.mode`?"]),
    ] {
        let (found, text) = diagnosis(&site, what);
        assert_eq!(found, state, "{text}");
        texts.iter().for_each(|part| assert!(text.contains(part), "`{part}` is not in {text}"));
    }
    let output = site.run(&["doctor"]);
    assert_eq!(output.code, 1);
    assert!(output.stdout.contains("FAIL  rights: ") && output.stdout.contains("to be put right"), "{output:?}");
    rights(0o755);
}

#[test]
fn a_service_manager_hears_that_the_host_is_ready_works_and_stops() {
    let site = Site::new();
    let path = site.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let hear = |wanted: &str| {
        let mut bytes = [0; 4_096];
        loop {
            let length = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("never heard {wanted}: {error}"));
            let text = std::str::from_utf8(&bytes[..length]).unwrap();
            if text.lines().any(|line| line.starts_with(wanted)) {
                return text.to_owned();
            }
        }
    };
    let serving = site.serve_with(|command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    });
    let ready = hear("READY=1");
    assert!(ready.contains(&format!("STATUS=ready on http://{}", serving.address)), "{ready}");
    for _ in 0..2 {
        assert!(hear("WATCHDOG=1").contains("0 tasks to do, 0 dead"));
    }
    serving.signal("TERM");
    let _ = hear("STOPPING=1");
    assert!(serving.wait().success());
}

#[test]
fn the_unit_is_one_that_systemd_reads() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("dist/switchboard.service");
    let text = fs::read_to_string(unit).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The program is not installed here, and the user is not there.
    let text = text.replace("/usr/local/bin/switchboard", switchboard().to_str().unwrap());
    let text = text.replace("User=switchboard\n", "").replace("Group=switchboard\n", "");
    let unit = folder.path().join("switchboard.service");
    fs::write(&unit, text).unwrap();
    match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let about: Vec<_> = said.lines().filter(|line| line.contains("switchboard.service")).collect();
            assert!(output.status.success() && about.is_empty(), "{said}");
        }
        Err(error) => say_skipped(&format!("the unit is not verified: systemd-analyze: {error}")),
    }
}

#[test]
fn every_shell_has_completions_and_every_command_a_page_of_the_manual() {
    let site = Site::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = site.run(&["completions", shell]).ok().stdout;
        assert!(script.contains("switchboard") && script.contains("rollback"), "{shell}");
    }
    let folder = site.path().join("man");
    let pages = site.json(&["man", folder.to_str().unwrap()])["pages"].clone();
    for page in ["switchboard.1", "switchboard-serve.1", "switchboard-plugin-install.1"] {
        assert!(pages.as_array().unwrap().contains(&json!(page)), "{pages}");
        let text = fs::read_to_string(folder.join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains("SYNOPSIS"), "{text}");
    }
    assert!(!pages.to_string().contains("check-worker"), "{pages}");
}

#[test]
fn an_administrators_text_stands_beside_the_plugins_and_holds_at_once() {
    let site = Site::with(&["hello"]);
    for serve in [false, true] {
        let serving = serve.then(|| site.serve());
        let greeting = || site.json(&["trigger", "06000", "hello", "--lang", "de-DE"])["last"]["text"].clone();
        let before = greeting();
        let text = "Moin { $name }!";
        let changed = site.json(&["language", "override", "hello", "de-DE", "greeting", text]);
        assert_eq!(changed["file"], json!(site.path().join("languages/hello/de-DE.ftl")));
        assert!(greeting().as_str().unwrap().starts_with("Moin "), "{}", greeting());
        let shown = site.json(&["language", "show", "hello", "de-DE", "--overridden"]);
        assert_eq!((shown.as_array().unwrap().len(), &shown[0]["override_text"]), (1, &json!(text)));
        assert!(shown[0]["own"].as_str().unwrap().contains("{ $name }"), "{shown}");
        let list = site.json(&["language", "list"]);
        let row = list.as_array().unwrap().iter().find(|row| row["language"] == "de-DE").unwrap();
        assert_eq!((&row["plugin"], &row["overridden"], &row["missing"]), (&json!("hello"), &json!(1), &json!(0)));
        site.run(&["language", "override", "hello", "de-DE", "greeting", "{ $na"]).refused(2, &["cannot be read"]);
        site.run(&["language", "override", "../x", "de-DE", "greeting", "x"]).refused(2, &["no id of a plugin"]);
        let _ = site.run(&["language", "override", "hello", "de-DE", "greeting", "--remove"]).ok();
        assert_eq!(greeting(), before);
        drop(serving);
    }
}

#[test]
fn a_command_that_follows_prints_one_object_a_line() {
    let site = Site::with(&["fixture_probe"]);
    let mut command = site.command(&["--json", "log", "follow"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, shown) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || lines.for_each(|line| drop(sender.send(line.unwrap()))));
    // It shows what comes after its start, of which nobody hears: so something comes until it has shown a line.
    let mut all: Vec<String> = Vec::new();
    wait_until("the follower shows a record", || {
        let _ = site.run(&["trigger", "06000", "log_lines"]).ok();
        all.extend(shown.try_iter());
        !all.is_empty()
    });
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    reader.join().unwrap();
    all.extend(shown.try_iter());
    for line in all {
        let record: Value = serde_json::from_str(&line).unwrap();
        assert!(record["time"].is_string() && record["message"].is_string(), "{record}");
    }
}

#[test]
fn a_bundle_holds_what_a_helper_needs_and_no_payload_and_no_secret() {
    let receiver = Receiver::friendly();
    let site = Site::with(&["webhook_basic", "fixture_dependent"]);
    site.settings(
        "[egress]\nallow = [\"127.0.0.0/8\"]\n[log]\nmode = \"development\"\n[plugins.dependent]\ntoken = \"geheim\"\n",
    );
    let settings = ["--set", "basic_username=ada", "--set", "basic_password=geheim"];
    site.add_webhook(0, &format!("{}?key=geheim", receiver.url("hook")), "basic", &settings);
    let serving = site.serve();
    let data = r#"{"guest": "geheim"}"#;
    let _ = site.run(&["emit", "booking_added", "--owner", "0", "--data", data, "--wait"]).ok();
    let folder = tempfile::tempdir().unwrap();
    let bundle = |name: &str| {
        let file = folder.path().join(name);
        let _ = site.run(&["doctor", "--bundle", file.to_str().unwrap()]);
        let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap());
        assert_eq!(mode & 0o077, 0, "others may read it");
        let text = std::fs::read_to_string(file).unwrap();
        assert!(!text.contains("geheim"), "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let beside = bundle("beside.json");
    assert_eq!(beside["versions"]["switchboard"], env!("CARGO_PKG_VERSION"));
    assert!(beside["findings"].as_array().unwrap().iter().any(|one| one["what"] == "store"), "{beside}");
    let mode = beside["settings"].as_array().unwrap().iter().find(|one| one["key"] == "log.mode").unwrap();
    assert_eq!(mode["value"], "development");
    assert!(beside["plugins"]["of_the_host"].to_string().contains("webhook_basic"), "{beside}");
    assert!(beside["logs"]["Webhooks"].to_string().contains("delivered webhook=1"), "{beside}");
    assert!(serving.terminate().success());
    let alone = bundle("alone.json");
    assert!(alone["plugins"]["of_the_files"].to_string().contains("\"id\":\"webhook_basic\""), "{alone}");
}
