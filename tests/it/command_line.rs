//! The command line as programs and people see it.

use std::fs;

use serde_json::{Value, json};
use switchboard_tests::{Output, Receiver, Site};

const SECRET: &str = "correct horse battery staple";
const DEVELOPMENT: &str = "[log]\nlevel = \"debug\"\nmode = \"development\"\n";

/// Checks that an object has exactly these members.
#[track_caller]
fn check_members(object: &Value, expected: &[&str]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let members: Vec<_> = object.as_object().unwrap_or_else(|| panic!("no object: {object}")).keys().collect();
    assert_eq!(members, expected, "in {object}");
}

/// Checks that an array has something in it, and every object in it exactly these members.
#[track_caller]
fn check_rows(rows: &Value, expected: &[&str]) {
    let rows = rows.as_array().unwrap_or_else(|| panic!("no array: {rows}"));
    assert!(!rows.is_empty());
    rows.iter().for_each(|row| check_members(row, expected));
}

/// Checks a time as the whole command line writes it: `2026-07-27T09:00:00.000Z`.
#[track_caller]
fn check_time(time: &Value) {
    let shape: String =
        time.as_str().unwrap().chars().map(|one| if one.is_ascii_digit() { '0' } else { one }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{time}");
}

const WEBHOOK: &[&str] = &[
    "id",
    "owner",
    "name",
    "url",
    "version",
    "method",
    "settings",
    "events",
    "unknown_events",
    "options",
    "headers",
    "has_identity",
    "enabled",
    "disabled_reason",
    "failing",
    "secrets_problem",
    "created_at",
    "updated_at",
];
const TASK: &[&str] = &[
    "id",
    "event_id",
    "webhook",
    "number",
    "name",
    "state",
    "reason",
    "attempts",
    "crashes",
    "waits_for",
    "key",
    "priority",
    "ordered",
    "unique",
    "replay_of",
    "schedule_ms",
    "timeout_ms",
    "run_at",
    "created_at",
];

/// Makes a folder with plugins and a webhook of method `basic`, and returns it with the webhook's id.
fn site_with_webhook(url: &str) -> (Site, String) {
    let site = Site::with(&["hello", "webhook_none", "webhook_basic"]);
    let password = format!("basic_password={SECRET}");
    let id = site.add_webhook(62, url, "basic", &["--set", "basic_username=ada", "--set", &password]);
    (site, id.to_string())
}

#[test]
fn triggers_and_plugins_are_listed_for_programs() {
    let site = Site::with(&["fixture_probe", "fixture_rival"]);
    let triggers = site.json(&["triggers"]);
    check_rows(&triggers, &["number", "name", "plugin", "tier", "kind", "calls", "failures", "suspended"]);
    let order: Vec<_> =
        triggers.as_array().unwrap().iter().map(|row| (row["number"].as_str(), row["name"].as_str())).collect();
    assert!(order.is_sorted(), "not in firing order: {order:?}");
    assert!(order.contains(&(Some("99994"), Some("webhook_watcher"))), "{order:?}");
    let list = site.json(&["plugin", "list"]);
    check_members(&list, &["plugins", "collisions", "suspended"]);
    check_rows(&list["plugins"], &["file", "tier", "id", "version", "title", "enabled", "state", "reason", "triggers"]);
    check_rows(&list["collisions"], &["number", "name", "kept", "left_out"]);
}

#[test]
fn webhooks_are_shown_for_programs() {
    let (site, id) = site_with_webhook("https://example.com/hook");
    let shown = site.json(&["webhook", "show", &id]);
    check_members(&shown, WEBHOOK);
    check_time(&shown["created_at"]);
    assert_eq!(shown["url"], "https://example.com/hook");
    assert_eq!((&shown["owner"], &shown["method"]), (&json!(62), &json!("basic")));
    assert_eq!((&shown["events"], &shown["enabled"]), (&json!([]), &json!(true)));
    assert_eq!(site.json(&["webhook", "list"]), json!([shown]));
    assert_eq!(site.json(&["webhook", "list", "--owner", "62"]), json!([shown]));
    assert_eq!(site.json(&["webhook", "list", "--owner", "63"]), json!([]));
    for (command, enabled) in [("disable", false), ("enable", true)] {
        let changed = site.json(&["webhook", command, &id]);
        check_members(&changed, WEBHOOK);
        assert_eq!(changed["enabled"], json!(enabled));
        assert_eq!(site.json(&["webhook", "show", &id]), changed);
    }
    let removed = site.json(&["webhook", "remove", &id]);
    assert_eq!(removed, json!({ "id": id.parse::<i64>().unwrap(), "removed": true }));
    assert_eq!(site.json(&["webhook", "list"]), json!([]));
}

#[test]
fn a_webhook_may_be_for_some_events_only() {
    let site = Site::with(&["webhook_none"]);
    let events = ["--event", "booking_added", "--event", "booking_cancelled"];
    let id = site.add_webhook(0, "https://example.com/", "none", &events);
    let shown = site.json(&["webhook", "show", &id.to_string()]);
    assert_eq!(shown["events"], json!(["booking_added", "booking_cancelled"]));
    let tasks = |event: &str| {
        let emitted = site.json(&["emit", event, "--owner", "5"]);
        emitted["tasks"].as_array().unwrap().len()
    };
    assert_eq!([tasks("booking_added"), tasks("booking_changed"), tasks("booking_cancelled")], [1, 0, 1]);
}

#[test]
fn auth_methods_are_listed_with_their_forms_in_the_language_that_is_asked_for() {
    let site = Site::with(&["webhook_none", "webhook_basic"]);
    let english = site.json(&["webhook", "methods"]);
    let german = site.json(&["webhook", "methods", "--lang", "de-DE"]);
    for (methods, none, username, password) in [
        (&english, "No authentication", "User name", "Password"),
        (&german, "Keine Anmeldung", "Benutzername", "Passwort"),
    ] {
        check_rows(methods, &["id", "plugin", "title", "notes", "fields"]);
        let ids: Vec<_> = methods.as_array().unwrap().iter().map(|method| &method["id"]).collect();
        assert_eq!(ids, ["basic", "none"]);
        assert_eq!((&methods[1]["title"], &methods[1]["fields"]), (&json!(none), &json!([])));
        let fields = &methods[0]["fields"];
        check_rows(fields, &["key", "format", "title", "description", "default", "required"]);
        assert_eq!((&fields[0]["title"], &fields[0]["format"]), (&json!(username), &json!("input")));
        assert_eq!((&fields[1]["title"], &fields[1]["format"]), (&json!(password), &json!("password")));
    }
    assert_ne!(english[0]["notes"], german[0]["notes"]);
    assert_eq!(site.json(&["webhook", "methods", "--lang", "en-GB"]), english);
    let text = site.run(&["webhook", "methods", "--lang", "de-DE"]).ok().stdout;
    assert!(text.contains("Benutzername") && text.contains("--set basic_password="), "{text}");
}

#[test]
fn an_event_and_its_tasks_are_shown_for_programs() {
    let receiver = Receiver::friendly();
    let (site, id) = site_with_webhook(&receiver.url("hook"));
    let emitted = site.json(&["emit", "booking_added", "--owner", "62", "--data", r#"{"property_uid":7}"#, "--wait"]);
    check_members(&emitted, &["event_id", "known", "tasks", "immediate"]);
    assert_eq!(emitted["immediate"], json!([]));
    let task = &emitted["tasks"][0];
    assert_eq!((&task["state"], task["webhook"].to_string()), (&json!("done"), id.clone()));

    let tasks = site.json(&["task", "list"]);
    check_rows(&tasks, TASK);
    check_time(&tasks[0]["created_at"]);
    check_time(&tasks[0]["run_at"]);
    assert_eq!(tasks[0]["event_id"], emitted["event_id"]);
    assert_eq!(site.json(&["task", "list", "--state", "done", "--webhook", &id]), tasks);
    assert_eq!(site.json(&["task", "list", "--state", "dead"]), json!([]));
    assert_eq!(site.json(&["task", "list", "--after", &tasks[0]["id"].to_string()]), json!([]));

    let shown = site.json(&["task", "show", &tasks[0]["id"].to_string()]);
    check_members(&shown, &[TASK, &["event", "payload", "attempt_list"]].concat());
    assert_eq!((&shown["event"], &shown["state"]), (&json!("booking_added"), &json!("done")));
    assert_eq!(shown["payload"], Value::Null, "the input goes after success");
    let text = site.run(&["task", "show", &tasks[0]["id"].to_string()]).ok().stdout;
    assert!(text.contains("payload: removed after success"), "{text}");
    let attempts = &shown["attempt_list"];
    check_rows(
        attempts,
        &["id", "number", "mode", "started_at", "ended_at", "outcome", "status", "detail", "url", "response"],
    );
    assert_eq!((&attempts[0]["number"], &attempts[0]["status"]), (&json!(1), &json!(200)));
    check_time(&attempts[0]["started_at"]);
    check_time(&attempts[0]["ended_at"]);
}

#[test]
fn in_development_mode_the_input_of_a_finished_task_stays_readable() {
    let receiver = Receiver::friendly();
    let (site, _) = site_with_webhook(&receiver.url("hook"));
    site.settings("[log]\nmode = \"development\"\n[egress]\nallow = [\"127.0.0.0/8\"]\n");
    let emitted = site.json(&["emit", "booking_added", "--owner", "62", "--data", r#"{"property_uid":7}"#, "--wait"]);
    let task = &emitted["tasks"][0];
    assert_eq!(task["state"], "done");
    let shown = site.json(&["task", "show", &task["id"].to_string()]);
    assert_eq!(shown["payload"].as_str().unwrap().as_bytes(), receiver.wait_for(1)[0].body);
}

#[test]
fn an_event_that_nobody_wants_is_accepted_without_tasks() {
    let site = Site::new();
    let emitted = site.json(&["emit", "booking_added", "--owner", "62", "--wait"]);
    assert_eq!((&emitted["tasks"], &emitted["immediate"]), (&json!([]), &json!([])));
    assert!(emitted["event_id"].as_str().is_some_and(|id| !id.is_empty()), "{emitted}");
}

#[test]
fn a_password_is_never_shown() {
    let receiver = Receiver::friendly();
    let (site, id) = site_with_webhook(&receiver.url("hook"));
    let _ = site.run(&["emit", "booking_added", "--owner", "62", "--wait"]).ok();
    let shown = site.json(&["webhook", "show", &id]);
    assert_eq!(shown["settings"], json!({ "basic_username": "ada", "basic_password": "********" }));
    let task = site.json(&["task", "list"])[0]["id"].to_string();
    let commands: &[&[&str]] = &[
        &["webhook", "list"],
        &["webhook", "show", &id],
        &["webhook", "disable", &id],
        &["webhook", "enable", &id],
        &["webhook", "methods"],
        &["task", "show", &task],
        &["log", "show", "Webhooks"],
    ];
    // The second time without the plugin that says which setting is a password.
    for _ in 0..2 {
        for command in commands {
            for output in [site.run(command).ok(), site.run(&[&["--json"], *command].concat()).ok()] {
                assert!(!output.stdout.contains(SECRET) && !output.stderr.contains(SECRET), "{command:?}: {output:?}");
            }
        }
        for file in fs::read_dir(site.plugins()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
    for file in fs::read_dir(site.path().join("logs")).unwrap() {
        assert!(!fs::read_to_string(file.unwrap().path()).unwrap().contains(SECRET));
    }
}

#[test]
fn logs_are_listed_searched_and_filtered() {
    let site = Site::with(&["fixture_probe"]);
    let _ = site.run(&["trigger", "06000", "log_lines"]).ok();
    let channels = site.json(&["log", "list"]);
    check_rows(&channels, &["name", "bytes", "modified", "files"]);
    check_time(&channels[0]["modified"]);
    let names: Vec<_> = channels.as_array().unwrap().iter().map(|channel| &channel["name"]).collect();
    assert_eq!(names, ["Probe"]);

    let messages = |more: &[&str]| -> Vec<String> {
        let records = site.json(&[&["log", "show", "Probe"], more].concat());
        let records = records.as_array().unwrap().clone();
        for record in &records {
            check_members(record, &["time", "level", "channel", "message"]);
            check_time(&record["time"]);
            assert_eq!(record["channel"], "Probe");
        }
        records.iter().map(|record| record["message"].as_str().unwrap().to_owned()).collect()
    };
    let (looked, odd) = (
        "the probe looked answer=42 guest=\"Ada Lovelace\" plugin=probe",
        "the probe saw something odd attempt=2 wait_ms=250 plugin=probe",
    );
    assert_eq!(messages(&[]), [looked, odd]);
    assert_eq!(messages(&["--search", "ada LOVELACE"]), [looked]);
    assert_eq!(messages(&["--level", "warn"]), [odd]);
    assert_eq!(messages(&["--level", "info", "--search", "odd"]), [odd]);
    assert_eq!(messages(&["--limit", "1"]), [odd]);
    assert_eq!(messages(&["--search", "nobody said this"]), Vec::<String>::new());
    assert_eq!(messages(&["--level", "error"]), Vec::<String>::new());
    assert_eq!(site.run(&["log", "show", "Probe", "--level", "error"]).ok().stdout, "no records match\n");
}

#[test]
fn a_debug_line_is_in_its_channel_only_in_development() {
    let site = Site::with(&["fixture_probe"]);
    for settings in ["", "[log]\nlevel = \"debug\"\n", "[log]\nmode = \"development\"\nlevel = \"info\"\n"] {
        site.settings(settings);
        let _ = site.run(&["trigger", "06000", "log_lines"]).ok();
        assert_eq!(site.log("Webhooks"), "", "with {settings}");
    }
    site.settings(DEVELOPMENT);
    let _ = site.run(&["trigger", "06000", "log_lines"]).ok();
    let records = site.json(&["log", "show", "Webhooks", "--search", "Blah blah was done"]);
    assert_eq!(records.as_array().unwrap().len(), 1, "{records}");
    assert_eq!((&records[0]["level"], &records[0]["channel"]), (&json!("debug"), &json!("Webhooks")));
    assert!(!site.log("Probe").contains("Blah blah"));
}

/// Takes out of JSON what is different in every process: how often a handler was called.
fn without_counts(mut json: Value) -> Value {
    for row in json.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        row.remove("calls");
        row.remove("failures");
    }
    json
}

#[test]
fn commands_give_the_same_beside_a_running_host_and_without_one() {
    let receiver = Receiver::friendly();
    let (site, id) = site_with_webhook(&receiver.url("hook"));
    let _ = site.run(&["emit", "booking_added", "--owner", "62", "--wait"]).ok();
    let task = site.json(&["task", "list"])[0]["id"].to_string();
    let commands: &[&[&str]] = &[
        &["triggers"],
        &["plugin", "list"],
        &["webhook", "list"],
        &["webhook", "show", &id],
        &["webhook", "methods", "--lang", "fr-FR"],
        &["task", "list"],
        &["task", "show", &task],
        &["trigger", "06000", "hello", "--lang", "es-ES", "--payload", r#"{"name":"Ada"}"#],
        &["log", "show", "Webhooks"],
    ];
    let all = || -> Vec<(Value, Output)> {
        let both = |command: &&[&str]| (without_counts(site.json(command)), site.run(command).ok());
        commands.iter().map(both).collect()
    };
    let alone = all();
    let serving = site.serve();
    let beside = all();
    for (command, (alone, beside)) in commands.iter().zip(alone.iter().zip(&beside)) {
        assert_eq!(alone.0, beside.0, "{command:?}");
        assert_eq!(alone.1.stdout, beside.1.stdout, "{command:?}");
    }
    // What was changed through the running host is there without it.
    let _ = site.run(&["webhook", "disable", &id]).ok();
    assert!(serving.terminate().success());
    assert_eq!(site.json(&["webhook", "show", &id])["enabled"], json!(false));
}

#[test]
fn the_help_lists_the_commands_and_the_exit_codes() {
    let help = Site::new().run(&["--help"]).ok().stdout;
    for command in ["serve", "emit", "trigger", "triggers", "plugin", "webhook", "task", "log", "demo"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{command}: {help}");
    }
    let (_, codes) = help.split_once("Exit codes:").unwrap();
    for code in 0..=4 {
        assert!(codes.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))), "{code}: {help}");
    }
}

#[test]
fn the_demonstration_adds_up_and_refuses_a_folder_in_use() {
    let site = Site::new();
    let fresh = site.path().join("demonstration");
    let demonstrate = || Site::run_on(&fresh, &["demo", "--events", "40", "--json"]);
    let output = demonstrate();
    assert_eq!(output.code, 0, "{output:?}");
    let report = output.json();
    assert_eq!(report["adds_up"], json!(true), "{report}");
    let before: Vec<_> = fs::read_dir(&fresh).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    demonstrate().refused(2, &["demonstration", "is not empty", "--data"]);
    let after: Vec<_> = fs::read_dir(&fresh).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(before, after);
}
