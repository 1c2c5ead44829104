//! What cannot be used is refused in one sentence, and nothing that was there before is lost.

use std::fs;
use std::net::TcpListener;

use serde_json::json;
use switchboard_tests::{Output, Receiver, Site};

const BASIC: &[&str] = &["--set", "basic_username=ada", "--set", "basic_password=pass"];

/// Tries to add a webhook.
fn add(site: &Site, owner: &str, url: &str, method: &str, more: &[&str]) -> Output {
    let arguments = ["webhook", "add", "--owner", owner, "--url", url, "--method", method];
    site.run(&[&arguments[..], more].concat())
}

/// Checks that the folder has this many webhooks and tasks.
#[track_caller]
fn check_counts(site: &Site, webhooks: usize, tasks: usize) {
    assert_eq!(site.json(&["webhook", "list"]).as_array().unwrap().len(), webhooks);
    assert_eq!(site.json(&["task", "list"]).as_array().unwrap().len(), tasks);
}

#[test]
fn a_webhook_with_a_url_that_cannot_be_used_is_refused() {
    let site = Site::with(&["webhook_none"]);
    for (url, text) in [
        ("nonsense", "no absolute URL"),
        ("", "neither a URL nor a name"),
        ("//example.com/hook", "no absolute URL"),
        ("ftp://example.com/", "`ftp` is no scheme for webhooks"),
        ("file:///etc/passwd", "`file` is no scheme for webhooks"),
        ("https://ada:pass@example.com/", "cannot carry a user name or password"),
        ("https://example.com/a b", "cannot contain ` `"),
        ("https://example.com/\r\nhost: x", "cannot be used"),
    ] {
        add(&site, "1", url, "none", &[]).refused(2, &["the URL ", text]);
    }
    check_counts(&site, 0, 0);
    site.add_webhook(1, "https://example.com/", "none", &[]);
}

#[test]
fn a_private_address_is_refused_until_an_administrator_allows_it() {
    let site = Site::with(&["webhook_none"]);
    site.settings("");
    for url in [
        "http://127.0.0.1:10/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/meta-data/",
        "http://192.168.0.1/",
    ] {
        add(&site, "1", url, "none", &[])
            .refused(2, &["is refused by rule `", "an administrator can allow it", "`egress.allow`"]);
    }
    add(&site, "1", "http://localhost/", "none", &[]).refused(2, &["`localhost`", "`egress.allow`"]);
    check_counts(&site, 0, 0);
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n");
    site.add_webhook(1, "http://127.0.0.1:10/", "none", &[]);
    add(&site, "1", "http://10.1.2.3/", "none", &[]).refused(2, &["10.1.2.3", "`egress.allow`"]);
}

#[test]
fn a_webhook_whose_method_or_settings_do_not_fit_is_refused() {
    let site = Site::with(&["webhook_none", "webhook_basic"]);
    let url = "https://example.com/";
    add(&site, "1", url, "oauth", &[]).refused(2, &["`oauth`", "basic, none", "plugin folder"]);
    add(&site, "1", url, "basic", &BASIC[..2]).refused(2, &["`basic`", "`basic_password`", "--set basic_password="]);
    add(&site, "1", url, "basic", &["--set", "basic_username=", "--set", "basic_password=p"])
        .refused(2, &["`basic_username`"]);
    add(&site, "1", url, "basic", &[BASIC, &["--set", "colour=red"]].concat())
        .refused(2, &["no setting `colour`", "basic_username", "basic_password"]);
    add(&site, "1", url, "basic", &["--set", "basic_username"]).refused(2, &["--set KEY=VALUE"]);
    check_counts(&site, 0, 0);
    site.add_webhook(1, url, "basic", BASIC);
}

#[test]
fn a_negative_owner_is_refused() {
    let site = Site::with(&["webhook_none"]);
    add(&site, "-1", "https://example.com/", "none", &[]).refused(2, &["`-1` is no owner", "0 is the whole site"]);
    site.run(&["emit", "booking_added", "--owner", "-1"]).refused(2, &["`-1` is no owner"]);
    check_counts(&site, 0, 0);
}

#[test]
fn an_event_whose_data_is_no_json_object_is_refused() {
    let site = Site::with(&["webhook_none"]);
    site.add_webhook(0, "https://example.com/", "none", &[]);
    let emit = |data: &str| site.run(&["emit", "booking_added", "--owner", "1", "--data", data]);
    for data in ["{", "", "booking", "{'a': 1}", "{\"a\": 1} {}", "{\"a\": NaN}"] {
        emit(data).refused(2, &["the event's data is not JSON"]);
    }
    for data in ["[]", "\"text\"", "7", "null", "[{\"a\": 1}]"] {
        emit(data).refused(2, &["no JSON object"]);
    }
    emit("@a file that does not exist").refused(1, &["cannot read --data from `a file that does not exist`"]);
    check_counts(&site, 1, 0);
    let _ = emit("{}").ok();
    check_counts(&site, 1, 1);
}

#[test]
fn an_event_larger_than_256_kib_is_refused_and_one_at_the_limit_is_accepted() {
    let site = Site::with(&["webhook_none"]);
    site.add_webhook(0, "https://example.com/", "none", &[]);
    let emit = |bytes: usize| {
        let data = json!({ "text": "a".repeat(bytes) }).to_string();
        site.run_with_input(&["emit", "large", "--owner", "0", "--data", "-"], &data)
    };
    // What the body has around the text: {"data":{"text":"","task":"large"}}.
    let around = r#"{"data":{"text":"","task":"large"}}"#.len();
    let limit = 256 * 1024 - around;
    emit(limit + 1).refused(2, &["262145 bytes", "at most 262144"]);
    emit(3_000_000).refused(2, &["at most 262144"]);
    check_counts(&site, 1, 0);
    let _ = emit(limit).ok();
    check_counts(&site, 1, 1);
}

#[test]
fn an_event_name_that_cannot_be_used_is_refused() {
    let site = Site::with(&["webhook_none"]);
    site.add_webhook(0, "https://example.com/", "none", &[]);
    let long = "e".repeat(101);
    for name in ["", "booking added", "booking/added", "größe", "a\nb", long.as_str()] {
        site.run(&["emit", name, "--owner", "1"]).refused(2, &["is no event name", "1 to 100 of"]);
    }
    check_counts(&site, 1, 0);
    let _ = site.run(&["emit", &long[1..], "--owner", "1"]).ok();
    check_counts(&site, 1, 1);
}

#[test]
fn a_mistake_in_the_settings_is_named_with_file_line_and_key() {
    let site = Site::new();
    for (toml, texts) in [
        ("# limits\n[deferred]\ntreads = 3\n", &["line 3", "`deferred.treads`", "`deferred.threads`"][..]),
        ("colour = \"red\"\n", &["line 1", "`colour`"]),
        ("[deferred]\n\nthreads = \"many\"\n", &["line 3", "`deferred.threads`"]),
        ("[deferred]\nthreads = 0\n", &["line 2", "`deferred.threads`", "1 to 256"]),
        ("[deferred]\nschedule = [\"0s\", \"5\"]\n", &["line 2", "`deferred.schedule", "no unit"]),
        ("[egress]\nallow = [\"10.0.0.0/40\"]\n", &["line 2", "`egress.allow"]),
        ("[log]\nlevel = \"loud\"\n", &["line 2", "`log.level`"]),
        ("[deferred\n", &["line 1"]),
    ] {
        site.settings(toml);
        for arguments in [&["plugin", "list"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            site.run(arguments).refused(2, &[&["switchboard.toml"], texts].concat());
        }
    }
    site.settings("");
    let _ = site.run(&["plugin", "list"]).ok();
}

#[test]
fn a_data_folder_that_cannot_be_made_is_refused() {
    let site = Site::new();
    let file = site.path().join("a-file");
    fs::write(&file, "mine").unwrap();
    for data in [file.clone(), file.join("below"), file.join("far/below")] {
        let named = data.display().to_string();
        for arguments in
            [&["plugin", "list"][..], &["emit", "e", "--owner", "1"], &["serve", "--listen", "127.0.0.1:0"]]
        {
            Site::run_on(&data, arguments).refused(1, &[&named, "cannot be made or used", "--data"]);
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_file_where_a_folder_is_needed_is_refused() {
    for name in ["logs", "languages", "overrides", "plugins"] {
        let site = Site::new();
        let path = site.path().join(name);
        let _ = fs::remove_dir(&path);
        fs::write(&path, "mine").unwrap();
        site.run(&["triggers"]).refused(1, &[&path.display().to_string()]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        fs::remove_file(&path).unwrap();
        let _ = site.run(&["triggers"]).ok();
    }
}

/// Returns an empty SQLite database of another program: one page with an empty schema.
fn foreign_database() -> Vec<u8> {
    let mut page = vec![0_u8; 4096];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[16..24].copy_from_slice(&[0x10, 0, 1, 1, 0, 64, 32, 32]);
    page[24..32].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    page[44..48].copy_from_slice(&[0, 0, 0, 4]);
    page[56..60].copy_from_slice(&[0, 0, 0, 1]);
    page[60..64].copy_from_slice(&[0, 0, 0, 3]);
    page[68..72].copy_from_slice(b"MINE");
    page[92..96].copy_from_slice(&[0, 0, 0, 1]);
    page[100..108].copy_from_slice(&[0x0d, 0, 0, 0, 0, 0x10, 0, 0]);
    page
}

#[test]
fn a_store_that_is_not_ours_is_refused_and_unchanged() {
    for bytes in [b"my shopping list\n".to_vec(), vec![0xff; 8192], foreign_database()] {
        let site = Site::new();
        let store = site.path().join("switchboard.db");
        fs::write(&store, &bytes).unwrap();
        for arguments in [&["task", "list"][..], &["emit", "e", "--owner", "1"], &["serve", "--listen", "127.0.0.1:0"]]
        {
            site.run(arguments).refused(1, &["switchboard.db", "it was not changed", "move it away"]);
        }
        assert_eq!(fs::read(&store).unwrap(), bytes);
        fs::rename(&store, site.path().join("theirs.db")).unwrap();
        check_counts(&site, 0, 0);
    }
}

#[test]
fn a_store_that_is_a_folder_is_refused() {
    let site = Site::new();
    fs::create_dir(site.path().join("switchboard.db")).unwrap();
    site.run(&["task", "list"]).refused(1, &["switchboard.db"]);
}

#[test]
fn a_second_host_on_the_same_folder_is_refused_with_the_pid_of_the_first() {
    let site = Site::new();
    let serving = site.serve();
    let pid = serving.pid().to_string();
    let second = site.run(&["serve", "--listen", "127.0.0.1:0"]);
    second.refused(1, &["in use", &format!("pid {pid}"), &site.path().display().to_string()]);
    // The first one goes on.
    check_counts(&site, 0, 0);
    assert!(serving.terminate().success());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    site.run(&["serve", "--listen", &address]).refused(1, &["cannot listen on", &address, "with --listen"]);
    drop(taken);
    let _serving = site.serve();
}

#[test]
fn an_id_that_nothing_has_is_refused() {
    let site = Site::with(&["webhook_none"]);
    for command in ["show", "retry"] {
        site.run(&["task", command, "99"]).refused(4, &["no task 99", "`switchboard task list`"]);
    }
    for command in ["show", "enable", "disable", "remove"] {
        site.run(&["webhook", command, "99"]).refused(4, &["no webhook 99", "`switchboard webhook list`"]);
    }
    let id = site.add_webhook(1, "https://example.com/", "none", &[]).to_string();
    let _ = site.run(&["webhook", "remove", &id]).ok();
    site.run(&["webhook", "show", &id]).refused(4, &[&format!("no webhook {id}")]);
}

#[test]
fn a_channel_that_does_not_exist_is_refused_and_no_other_file_is_read() {
    let site = Site::with(&["fixture_probe"]);
    site.run(&["log", "show", "Probe"]).refused(4, &["`Probe`", "nothing has been logged yet"]);
    let _ = site.run(&["trigger", "06000", "log_lines"]).ok();
    for channel in ["Nope", "../switchboard", "/etc/passwd", ""] {
        site.run(&["log", "show", channel]).refused(4, &["there is no channel", "`Probe`"]);
    }
}

#[test]
fn a_running_host_refuses_in_the_same_words_and_goes_on() {
    let site = Site::with(&["webhook_none"]);
    let receiver = Receiver::friendly();
    site.add_webhook(1, &receiver.url("hook"), "none", &[]);
    let alone = [
        site.run(&["webhook", "show", "99"]),
        add(&site, "1", "nonsense", "none", &[]),
        site.run(&["emit", "a b", "--owner", "1"]),
        site.run(&["trigger", "06000", "nope"]),
    ];
    let _serving = site.serve();
    let beside = [
        site.run(&["webhook", "show", "99"]),
        add(&site, "1", "nonsense", "none", &[]),
        site.run(&["emit", "a b", "--owner", "1"]),
        site.run(&["trigger", "06000", "nope"]),
    ];
    for (alone, beside) in alone.iter().zip(&beside) {
        assert_eq!((alone.code, &alone.stderr), (beside.code, &beside.stderr));
        beside.refused(beside.code, &["error: "]);
    }
    let _ = site.run(&["emit", "booking_added", "--owner", "1", "--wait"]).ok();
    assert_eq!(receiver.wait_for(1).len(), 1);
}
