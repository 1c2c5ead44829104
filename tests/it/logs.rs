//! The logs as an administrator reads them, and development mode.

use std::fs;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use switchboard_tests::{Receiver, Site, switchboard, task_of, wait_until};

const EGRESS: &str = "[egress]\nallow = [\"127.0.0.0/8\"]\n";

fn messages(records: &Value) -> Vec<&str> {
    records.as_array().unwrap().iter().map(|record| record["message"].as_str().unwrap()).collect()
}

#[test]
fn what_a_plugin_logs_for_webhooks_stands_in_the_log_of_webhooks_while_the_mode_allows_it() {
    let site = Site::with(&["fixture_probe"]);
    let _serving = site.serve();
    let fire = || drop(site.run(&["trigger", "06000", "log_lines"]).ok());
    fire();
    assert_eq!(site.log("Webhooks"), "", "DEBUG is for development");

    site.settings(&format!("{EGRESS}[log]\nmode = \"development\"\n"));
    site.wait_for_log("Plugins", "log settings changed mode=development level=DEBUG");
    fire();
    let log = fs::read_to_string(site.path().join("logs/Webhooks.application.log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    let rest = log.split_once(' ').unwrap().1;
    assert_eq!(rest, "DEBUG Blah blah was done plugin=probe\n");
    assert!(!site.log("Probe").contains("Blah blah"));

    site.settings(EGRESS);
    site.wait_for_log("Plugins", "log settings changed mode=production level=INFO");
    fire();
    assert_eq!(fs::read_to_string(site.path().join("logs/Webhooks.application.log")).unwrap(), log);
}

#[test]
fn a_log_is_downloaded_whole_or_not_at_all() {
    let site = Site::new();
    let logs = site.path().join("logs");
    fs::create_dir_all(&logs).unwrap();
    let line = "2026-11-24T12:00:00.000Z INFO  a record\n";
    fs::write(logs.join("Webhooks.application.log"), line.repeat(1_000)).unwrap();
    let id = site.json(&["log", "list", "--files"])[0]["id"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.log");
    // A disk with room for a part of it only.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let arguments = ["log", "download", &id, copy.to_str().unwrap()];
    let mut cut = Command::new("bash");
    cut.args(["-c", script]).arg(switchboard()).arg("--data").arg(site.path()).args(arguments);
    let cut = cut.output().unwrap();
    assert_eq!(cut.status.code(), Some(1), "{cut:?}");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left of it");
    drop(site.run(&arguments).ok());
    assert_eq!(fs::read_to_string(&copy).unwrap(), line.repeat(1_000));
}

#[test]
fn a_configuration_that_cannot_be_used_changes_nothing_in_a_running_host() {
    let site = Site::with(&["fixture_probe"]);
    let serving = site.serve();
    site.settings("[log]\nmode = \"developement\"\n");
    site.wait_for_log("Plugins", "the configuration file cannot be used: what held before goes on");
    site.settings(&format!("{EGRESS}[deferred]\nthreads = 2\n"));
    site.wait_for_log("Plugins", "these sections hold after a restart sections=deferred");
    assert!(serving.terminate().success());
}

#[test]
fn in_production_a_successful_delivery_is_found_by_its_task() {
    let receiver = Receiver::friendly();
    let site = Site::with(&["webhook_none"]);
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let serving = site.serve();
    let id = task_of(&site.emit(62, "booking_added", "{}"));
    let _ = site.wait_for_task(id, "done");
    let task = id.to_string();
    let found = site.json(&["log", "search", "--task", &task, "--level", "info"]);
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!((&found[0]["channel"], &found[0]["level"]), (&json!("Webhooks"), &json!("info")));
    assert!(
        messages(&found)[0].starts_with("delivered webhook=") && messages(&found)[0].contains(&format!("task={id}"))
    );
    assert_eq!(site.json(&["log", "search", "background"]), json!([]));
    assert!(!site.path().join("deferred_tasks").exists(), "the payload goes after success");
    assert!(serving.terminate().success());
}

#[test]
fn in_development_each_dispatch_names_its_replay_and_the_payload_stays_readable() {
    let receiver = Receiver::friendly();
    let site = Site::with(&["webhook_none"]);
    site.settings(&format!("{EGRESS}[log]\nmode = \"development\"\n"));
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let serving = site.serve();
    let id = task_of(&site.emit(62, "booking_added", r#"{"property_uid":7}"#));
    let _ = site.wait_for_task(id, "done");
    let body = receiver.wait_for(1).remove(0).body;

    let found = site.json(&["log", "search", "background"]);
    let [line] = messages(&found)[..] else { panic!("{found}") };
    for text in [format!("task={id} "), "number=07320".into(), "event=booking_added".into(), "attempt=1".into()] {
        assert!(line.contains(&text), "`{text}` is not in {line}");
    }
    assert!(line.contains(&format!("replay=\"switchboard task replay {id}\"")), "{line}");
    assert!(line.contains(&format!("page=http://{}/tasks/{id}", serving.address)), "{line}");

    let file = site.path().join("deferred_tasks").join(id.to_string());
    assert_eq!(fs::read(&file).unwrap(), body);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let shown = site.json(&["task", "show", &id.to_string()]);
    assert_eq!(shown["payload"].as_str().unwrap().as_bytes(), body);

    let replayed = site.json(&["task", "replay", &id.to_string()])["id"].as_i64().unwrap();
    let _ = site.wait_for_task(replayed, "done");
    assert_eq!(receiver.wait_for(2)[1].body, body);

    site.settings(EGRESS);
    wait_until("nothing of a payload is kept in production", || !file.exists());
    let next = task_of(&site.emit(62, "booking_added", r#"{"property_uid":8}"#));
    let _ = site.wait_for_task(next, "done");
    assert_eq!(site.json(&["task", "show", &next.to_string()])["payload"], Value::Null);
    assert_eq!(site.json(&["log", "search", "background"]).as_array().unwrap().len(), 2);
}

#[test]
fn records_are_followed_as_they_come() {
    let site = Site::with(&["fixture_probe"]);
    let _ = site.run(&["trigger", "06000", "log_lines"]).ok();
    let mut command = site.command(&["--json", "log", "follow", "Probe", "--level", "warn"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // It has read what there was when it shows the first line that comes.
    let log = site.path().join("logs/Probe.application.log");
    let writer = std::thread::spawn(move || {
        for n in 0_u32.. {
            let Ok(mut file) = fs::OpenOptions::new().append(true).open(&log) else { return };
            if file.write_all(format!("2026-11-24T02:00:00.123Z WARN  new n={n}\n").as_bytes()).is_err() {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
    });
    let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(line["message"].as_str().unwrap().starts_with("new n="), "{line}");
    assert_eq!((&line["level"], &line["channel"]), (&json!("warn"), &json!("Probe")));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    drop(site);
    writer.join().unwrap();
}

#[test]
fn a_log_is_searched_in_less_memory_than_it_is_long() {
    let site = Site::new();
    let logs = site.path().join("logs");
    fs::create_dir_all(&logs).unwrap();
    let mut file = fs::File::create(logs.join("Webhooks.application.log")).unwrap();
    file.write_all(b"2026-11-24T02:00:00.123Z INFO  the first record task=1\n").unwrap();
    // A hole: read as zeros, with no room on the disk. Whoever kept it in memory would not have enough.
    file.seek(SeekFrom::Start(1 << 30)).unwrap();
    file.write_all(b"\n2026-11-24T02:00:01.123Z INFO  the last record task=2\n").unwrap();
    let search = |arguments: &[&str]| {
        let script = "ulimit -v 524288; exec \"$0\" \"$@\"";
        let mut command = Command::new("bash");
        command
            .args(["-c", script])
            .arg(switchboard())
            .arg("--data")
            .arg(site.path())
            .args(["--json", "log", "search"]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(messages(&search(&["--task", "1"])), ["the first record task=1"]);
    assert_eq!(messages(&search(&["--limit", "1"])), ["the last record task=2"]);
}

#[test]
fn files_are_listed_with_ids_that_say_nothing_about_them() {
    let site = Site::with(&["fixture_probe"]);
    let _ = site.run(&["trigger", "06000", "log_lines"]).ok();
    fs::write(site.path().join("logs/Probe.application.log.20260101T000000000-0"), "x\n").unwrap();
    fs::write(site.path().join("logs/notes.txt"), "x\n").unwrap();
    let files = site.json(&["log", "list", "--files"]);
    let rotated: Vec<_> = files.as_array().unwrap().iter().map(|file| file["rotated"].clone()).collect();
    assert_eq!(rotated, [Value::Null, json!("2026-01-01T00:00:00.000Z")]);
    for file in files.as_array().unwrap() {
        let id = file["id"].as_str().unwrap();
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{file}");
    }
    assert_eq!(site.json(&["log", "list"])[0]["files"], 2);
}
