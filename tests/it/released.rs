//! A plugin that was built with an earlier version of plugin-api, in today's host.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard::{
    Arguments, ErrorKind, PluginError, PluginState, PublicTask, Run, Switchboard, TaskReply, TriggerError,
    TriggerNumber,
};
use switchboard_tests::{Answer, RELEASES, Receiver, Site, assets, released, task_of, wait_until};

/// Runs a test for each version of which a plugin is kept.
fn for_each_release(test: impl Fn(&str, &Site)) {
    for version in RELEASES {
        if let Some(site) = Site::with_released(version) {
            test(version, &site);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn open(site: &Site) -> Switchboard {
    Switchboard::builder(site.path()).watch(false).open().unwrap()
}

fn call(run: &Run, name: &str, arguments: Value) -> Result<TaskReply, PluginError> {
    let arguments: Arguments = serde_json::from_value(arguments).unwrap();
    match run.call::<PublicTask>(name, &arguments) {
        Ok(reply) => Ok(reply.unwrap_or_else(|| panic!("nobody has `{name}`"))),
        Err(TriggerError::Handler { source, .. }) => Err(source),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn every_version_of_which_something_is_kept_is_tested() {
    let folders = fs::read_dir(assets("").parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut kept: Vec<String> =
        folders.filter_map(|name| name.to_str().unwrap().strip_prefix("api-").map(ToOwned::to_owned)).collect();
    kept.sort();
    assert_eq!(kept, RELEASES);
}

#[test]
fn what_a_released_version_promised_about_its_types_stays_as_it_was() {
    for version in RELEASES {
        let package = format!("switchboard-plugin-api-{version}.0");
        let unpacked = Command::new("tar")
            .arg("-xzOf")
            .arg(assets(version).join(format!("{package}.crate")))
            .arg(format!("{package}/abi-{version}.txt"))
            .output()
            .unwrap();
        assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
        let kept = root().join("plugin-api").join(format!("abi-{version}.txt"));
        let lines = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(fs::read(kept).unwrap()), lines(unpacked.stdout), "plugin-api {version} is released");
    }
}

#[test]
fn a_released_plugin_is_active_and_asks_the_host_for_what_it_knew() {
    for_each_release(|version, site| {
        site.settings("[plugins.released_1_0]\nlimit = \"12\"\n");
        let host = open(site);
        let report = &host.plugins().plugins[0];
        assert_eq!((report.state, report.reason.as_deref()), (PluginState::Active, None), "{version}");

        let run = host.run().owner(62).language("de-DE").start();
        let greeting = call(&run, "released_greet", json!({ "name": "Ada" })).unwrap();
        assert!(greeting.text.contains("Hallo") && greeting.text.contains("Ada"), "{}", greeting.text);
        let expected = json!({ "showtime": 1, "limit": 12, "language": "de-DE", "owner": 62, "in_time": true });
        assert_eq!(greeting.data, expected);
        let again = call(&run, "released_greet", json!({})).unwrap();
        assert_eq!(again.data["showtime"], 2, "the plugin's own state lasts");

        let fired = call(&run, "released_fire", json!({})).unwrap();
        assert_eq!(fired.data, json!({ "one": 42, "all": [8] }));
        let bytes = run.trigger_named(TriggerNumber::new(21_900), "released", b"abc").unwrap().unwrap();
        assert_eq!(&*bytes, b"cba");

        assert_eq!(call(&run, "released_keep", json!({ "value": [1, 2] })).unwrap().data, Value::Null);
        assert_eq!(call(&run, "released_keep", json!({})).unwrap().data, json!([1, 2]));
        assert_eq!(call(&run, "released_keep", json!({})).unwrap().data, Value::Null);
    });
}

#[test]
fn a_released_plugin_fails_and_panics_as_a_new_one_does() {
    for_each_release(|_, site| {
        let host = open(site);
        let run = host.run().start();
        let error = call(&run, "released_fail", json!({})).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Retryable, Some("released")));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));

        let closing = Receiver::start(|_| Answer::Close);
        for (name, arguments, message) in [
            ("released_panic", json!({}), "a plugin of 1.0 panics"),
            ("released_panic_later", json!({ "url": closing.url("") }), "panics after it has waited"),
        ] {
            let error = call(&run, name, arguments).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Panic, "{error}");
            assert!(error.to_string().contains(message), "{error}");
            assert!(error.place().is_some_and(|place| place.starts_with("plugin/src/lib.rs:")), "{error}");
        }
        assert_eq!(call(&run, "released_log", json!({})).unwrap().text, "logged");
        let log = site.log("Released");
        assert!(log.contains("started") && log.contains("guests=2") && !log.contains("no line at the usual"), "{log}");
    });
}

#[test]
fn a_released_plugin_delivers_from_the_server() {
    for_each_release(|_, site| {
        let receiver = Receiver::friendly();
        let form = &site.json(&["webhook", "methods", "--lang", "de-DE"])[0];
        assert!(form.to_string().contains("Freigegeben") && form.to_string().contains("Schlüssel"), "{form}");
        site.add_webhook(62, &receiver.url("later"), "released", &["--set", "key=first"]);
        let serving = site.serve();
        let id = task_of(&site.emit(62, "booking_added", r#"{"property_uid":7}"#));
        let _ = site.wait_for_task(id, "done");
        let request = receiver.wait_for(1).remove(0);
        assert_eq!((request.path.as_str(), request.header("x-released")), ("/later", "first"));
        assert_eq!(request.json()["data"]["property_uid"], 7);

        site.add_webhook(62, &receiver.url("now"), "released_now", &["--set", "key=second"]);
        let _ = site.emit(62, "booking_added", "{}");
        let paths = || receiver.requests().into_iter().map(|request| request.path).collect::<Vec<_>>();
        wait_until("the webhook with 07310 has its event", || paths().contains(&"/now".to_owned()));

        let payload = json!({ "url": receiver.url("fetch") }).to_string();
        let fetched = site.json(&["trigger", "06000", "released_fetch", "--payload", &payload]);
        assert_eq!(fetched["last"]["data"], 200);
        let deferred = site.json(&["trigger", "06000", "released_later"])["last"]["data"].as_i64().unwrap();
        let _ = site.wait_for_task(deferred, "done");
        let announced = site.json(&["trigger", "06000", "released_announce"])["last"]["text"].clone();
        assert!(announced.as_str().is_some_and(|id| !id.is_empty()), "{announced}");

        assert!(serving.terminate().success());
        let log = site.log("Released");
        assert!(log.contains("a run has ended") && log.contains("announced=1") && log.contains("shut down"), "{log}");
    });
}

#[test]
fn a_released_host_takes_the_plugin_of_its_time() {
    for version in RELEASES {
        let (Some(host), Some(library)) = (released(version, "host"), released(version, "libreleased.so")) else {
            return;
        };
        let run = |arguments: &[&str]| {
            let output = Command::new(&host).arg(&library).args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(run(&[]).ends_with("active\n"), "{version}");
        assert!(run(&["21901", "released", "4"]).ends_with("value: 8\n"), "{version}");
    }
}
