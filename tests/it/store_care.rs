//! `switchboard store`: check, copy and move, beside a running host and without one.

use std::fs;

use serde_json::json;
use switchboard_tests::{Receiver, Site, task_of};

/// A site with a webhook that has a password, a task that is done and one that waits for an hour.
fn used_site() -> (Site, Receiver) {
    let site = Site::with(&["webhook_none", "webhook_basic"]);
    let receiver = Receiver::friendly();
    let secret = ["--set", "basic_username=ada", "--set", "basic_password=open-sesame"];
    site.add_webhook(62, &receiver.url("hook"), "basic", &secret);
    site.add_webhook(63, &receiver.url("later"), "none", &[]);
    (site, receiver)
}

#[test]
fn a_store_is_checked_copied_and_moved_beside_a_running_host() {
    let (site, receiver) = used_site();
    let serving = site.serve();
    let done = task_of(&site.emit(62, "booking_added", "{\"property_uid\":7}"));
    drop(site.wait_for_task(done, "done"));
    let checked = site.json(&["store", "check"]);
    assert_eq!((&checked["well"], &checked["tasks"]), (&json!(true), &json!(1)));
    let new = tempfile::tempdir().unwrap();
    let file = |name: &str| new.path().join(name).to_str().unwrap().to_owned();
    assert!(site.run(&["store", "backup", &file("copy.db")]).ok().stdout.starts_with("copied the store to"));
    site.run(&["store", "backup", &file("copy.db")]).refused(1, &["copy.db", "there is a file of that name"]);
    let exported = site.run(&["store", "export", &file("all.jsonl")]).ok();
    assert!(exported.stdout.contains("secrets are sealed"), "{exported:?}");
    site.run(&["store", "export", &file("all.jsonl")]).refused(1, &["there is a file of that name"]);
    let text = fs::read_to_string(file("all.jsonl")).unwrap();
    assert!(text.starts_with("{\"switchboard_export\":1,") && !text.contains("open-sesame"), "{text}");
    #[cfg(unix)]
    for name in ["copy.db", "all.jsonl"] {
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(file(name)).unwrap());
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    site.run(&["store", "import", &file("all.jsonl")]).refused(1, &["in use by the host with pid"]);
    assert!(serving.terminate().success());
    site.run(&["store", "import", &file("all.jsonl")]).refused(1, &["not empty"]);

    let moved = Site::with(&["webhook_none", "webhook_basic"]);
    assert!(moved.run(&["store", "import", &file("all.jsonl")]).ok().stdout.contains("imported"));
    let copied = Site::with(&["webhook_none", "webhook_basic"]);
    fs::copy(file("copy.db"), copied.path().join("switchboard.db")).unwrap();
    for other in [&moved, &copied] {
        other.run(&["webhook", "list"]).refused(1, &["are sealed with the key", "secrets.keys", "Nothing was changed"]);
        site.copy_keys(other);
        let _serving = other.serve();
        assert_eq!(other.task(done)["state"], "done");
        let next = task_of(&other.emit(62, "booking_added", "{}"));
        assert_eq!(next, done + 1, "ids go on");
        drop(other.wait_for_task(next, "done"));
        assert_eq!(other.json(&["store", "check"])["well"], true);
    }
    assert_eq!(receiver.wait_for(3).len(), 3, "what was done is not done again");
}

#[test]
fn an_export_that_is_not_whole_is_not_taken() {
    let (site, _receiver) = used_site();
    let file = site.path().join("all.jsonl");
    let name = file.to_str().unwrap();
    drop(site.run(&["store", "export", name]).ok());
    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let check = |text: String, expected: &str| {
        let other = Site::new();
        fs::write(&file, text).unwrap();
        other.run(&["store", "import", name]).refused(1, &["all.jsonl", expected]);
        assert_eq!(other.json(&["webhook", "list"]), json!([]), "nothing was taken");
    };
    check(lines[..lines.len() - 1].join("\n"), "cut off");
    check(whole[..whole.len() - 30].to_owned(), "damaged in line");
    check([&lines[..2], &lines[3..]].concat().join("\n"), "it should have");
    check(whole.replacen("\"owner\":62", "\"owner\":\"x\"", 1), "damaged in line");
    check(whole.replacen("switchboard_export\":1", "switchboard_export\":2", 1), "format 2");
    check("{\"hello\":1}\n".into(), "no export");
    check(String::new(), "no export");
}

#[test]
fn a_damaged_store_is_told_by_the_check_and_refused_by_the_host() {
    let (site, _receiver) = used_site();
    for _ in 0..30 {
        drop(site.emit(62, "booking_added", "{}"));
    }
    let path = site.path().join("switchboard.db");
    let mut content = fs::read(&path).unwrap();
    let pages = content.len() / 4096;
    for page in pages - 6..pages - 3 {
        content[page * 4096..(page + 1) * 4096].fill(0x5a);
    }
    fs::write(&path, &content).unwrap();
    let checked = site.run(&["store", "check"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.stdout.contains("the file is damaged") && checked.stdout.contains("backup"), "{checked:?}");
    site.run(&["task", "list"]).refused(1, &["switchboard.db", "is damaged", "backup", "it was not changed"]);
    assert!(fs::read(&path).unwrap() == content, "it was changed");
    let nothing = Site::new();
    nothing.run(&["store", "check"]).refused(1, &["there is no store", "--data"]);
}
