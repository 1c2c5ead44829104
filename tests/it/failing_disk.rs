//! A disk that is full or fails: new work is refused before it is accepted, running work ends, and when the disk is well
//! again everything goes on without a restart.

use std::fs;
use std::process::Command;
use std::sync::{Mutex, mpsc};

use serde_json::json;
use switchboard_tests::{
    Answer, FaultyDisk, PATIENCE, Receiver, Serving, Site, has_faulty_disk, of_attempts, say_skipped, task_of,
    wait_until,
};

/// A receiver that answers `/slow` when it is told to, and everything else at once.
pub(crate) struct HeldReceiver {
    pub(crate) receiver: Receiver,
    /// Tells of each request for `/slow`.
    pub(crate) arrived: mpsc::Receiver<()>,
    /// Lets one of them be answered.
    pub(crate) release: mpsc::Sender<()>,
}

impl HeldReceiver {
    pub(crate) fn start() -> Self {
        let (arrive, arrived) = mpsc::channel::<()>();
        let (release, released) = mpsc::channel::<()>();
        let held = Mutex::new((arrive, released));
        let receiver = Receiver::start(move |request| {
            if request.path.contains("slow") {
                let held = held.lock().unwrap();
                // When the test has ended, nobody hears of it and nobody is held.
                let _ = held.0.send(());
                let _ = held.1.recv();
            }
            Answer::Status(200)
        });
        Self { receiver, arrived, release }
    }
}

/// A host whose disk fails on demand, with a webhook of owner 62 that answers at once and one of owner 63 that waits.
struct Failing {
    site: Site,
    disk: FaultyDisk,
    held: HeldReceiver,
}

impl Failing {
    fn new() -> Self {
        let site = Site::with(&["webhook_none"]);
        let held = HeldReceiver::start();
        site.add_webhook(62, &held.receiver.url("hook"), "none", &[]);
        site.add_webhook(63, &held.receiver.url("slow"), "none", &[]);
        Self { site, disk: FaultyDisk::new(), held }
    }

    fn serve(&self) -> Serving {
        self.site.serve_with(|command| self.disk.put_before(command, self.site.path()))
    }

    /// Announces an event of owner 62, which has to be refused because of the disk.
    #[track_caller]
    fn check_refused(&self, why: &str) {
        let arguments = ["emit", "booking_added", "--owner", "62", "--data", "{\"refused\":true}"];
        self.site.run(&arguments).refused(1, &["the store cannot be written", why]);
    }
}

/// Lets a disk fail while a delivery is running, and checks that all is well before, meanwhile and after.
fn check_recovery(what: &str, text: &str, why: &str) {
    if !has_faulty_disk() {
        return;
    }
    let failing = Failing::new();
    let site = &failing.site;
    let serving = failing.serve();
    let running = task_of(&site.emit(63, "booking_added", "{}"));
    failing.held.arrived.recv_timeout(PATIENCE).unwrap();
    failing.disk.fail(what, text);
    // A log that has been longer has room for a few commits.
    wait_until("new work is refused", || {
        site.run(&["emit", "booking_added", "--owner", "64", "--data", "{}"]).code != 0
    });
    failing.check_refused(why);
    assert_eq!(site.task(running)["state"], "running", "what is there can be seen");
    failing.held.release.send(()).unwrap();
    // The log is on the same disk, and may not be able to tell of it.
    drop(failing.held.receiver.wait_for(1));
    failing.check_refused(why);
    assert_eq!(site.task(running)["state"], "running");
    failing.disk.mend(what);
    let task = site.wait_for_task(running, "done");
    assert_eq!(of_attempts(&task, "outcome"), ["ok"], "it has run once");
    let next = task_of(&site.emit(62, "booking_added", "{}"));
    drop(site.wait_for_task(next, "done"));
    assert_eq!(site.json(&["store", "check"])["well"], true);
    serving.kill();
    // What was refused does not come back.
    let serving = site.serve();
    let last = task_of(&site.emit(62, "booking_added", "{\"last\":true}"));
    drop(site.wait_for_task(last, "done"));
    drop(serving);
    let bodies: Vec<_> =
        failing.held.receiver.requests().iter().map(|request| request.json()["data"].clone()).collect();
    assert!(!bodies.iter().any(|data| data["refused"] == true), "{bodies:?}");
    assert_eq!(bodies.len(), 3, "{bodies:?}");
}

#[test]
fn a_full_disk_refuses_new_work_and_loses_none() {
    check_recovery("full", "0", "full");
}

#[test]
fn a_disk_that_cannot_write_refuses_new_work_and_loses_none() {
    check_recovery("write", "", "a write failed");
}

#[test]
fn a_disk_that_cannot_sync_refuses_new_work_and_loses_none() {
    check_recovery("sync", "0", "a write failed");
}

#[test]
fn a_commit_whose_sync_failed_does_not_come_back_with_the_next_start() {
    if !has_faulty_disk() {
        return;
    }
    let failing = Failing::new();
    let site = &failing.site;
    for _ in 0..3 {
        let serving = failing.serve();
        let before = site.json(&["task", "list"]).as_array().unwrap().len();
        failing.disk.fail("sync", "0");
        failing.check_refused("");
        serving.kill();
        failing.disk.mend("sync");
        assert_eq!(site.json(&["task", "list"]).as_array().unwrap().len(), before, "what was refused is there");
    }
}

#[test]
fn a_disk_that_cannot_read_fails_with_a_reason_and_recovers() {
    if !has_faulty_disk() {
        return;
    }
    let failing = Failing::new();
    let site = &failing.site;
    let _serving = failing.serve();
    let id = task_of(&site.emit(62, "booking_added", "{}"));
    drop(site.wait_for_task(id, "done"));
    failing.disk.fail("read", "");
    let shown = site.run(&["task", "show", &id.to_string()]);
    // What is in memory can be read all the same.
    assert!(shown.code == 0 || shown.stderr.contains("cannot be read"), "{shown:?}");
    failing.disk.mend("read");
    assert_eq!(site.task(id)["state"], "done");
    let next = task_of(&site.emit(62, "booking_added", "{}"));
    drop(site.wait_for_task(next, "done"));
}

#[test]
fn a_replay_in_the_foreground_whose_end_cannot_be_written_ends_when_the_disk_is_well() {
    if !has_faulty_disk() {
        return;
    }
    let failing = Failing::new();
    let site = &failing.site;
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n[log]\nmode = \"development\"\n");
    let _serving = failing.serve();
    let id = task_of(&site.emit(63, "booking_added", "{}"));
    failing.held.arrived.recv_timeout(PATIENCE).unwrap();
    failing.held.release.send(()).unwrap();
    drop(site.wait_for_task(id, "done"));
    let shown = std::thread::scope(|scope| {
        let traced = scope.spawn(|| site.run(&["task", "replay", &id.to_string(), "--trace"]));
        failing.held.arrived.recv_timeout(PATIENCE).unwrap();
        failing.disk.fail("write", "");
        failing.held.release.send(()).unwrap();
        traced.join().unwrap()
    });
    shown.refused(1, &["has run, and how it ended cannot be written down just now", "the store cannot be written"]);
    let tasks = site.json(&["task", "list"]);
    let replay = tasks.as_array().unwrap().iter().find(|task| task["replay_of"] == id).unwrap();
    assert_eq!(replay["state"], "running");
    failing.disk.mend("write");
    let task = site.wait_for_task(replay["id"].as_i64().unwrap(), "done");
    assert_eq!(of_attempts(&task, "outcome"), ["ok"], "it has run once");
    assert_eq!(failing.held.receiver.requests().len(), 2);
}

/// A file system in memory of a fixed size. It goes when it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "switchboard-test"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process may still be ending.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_small_disk_that_fills_up_and_is_cleared_loses_nothing() {
    let Some(disk) = SmallDisk::mount("3m") else {
        return say_skipped(
            "no file system of a fixed size can be mounted here; the fixture for a failing disk stands in",
        );
    };
    let data = disk.0.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("switchboard.toml"), "[egress]\nallow = [\"127.0.0.0/8\"]\n").unwrap();
    let run = |arguments: &[&str]| Site::run_on(&data, arguments);
    let filler = disk.0.path().join("filler");
    let payload = format!("{{\"filling\":\"{}\"}}", "x".repeat(40_000));
    let emit = || run(&["--json", "emit", "booking_added", "--owner", "1", "--data", &payload]);
    drop(run(&["webhook", "list"]).ok());
    let mut accepted = 0;
    let refused = loop {
        let emitted = emit();
        if emitted.code != 0 {
            break emitted;
        }
        accepted += 1;
        // Leaves less and less room.
        let size = fs::metadata(&filler).map_or(0, |file| file.len());
        let _ = fs::write(&filler, vec![0; usize::try_from(size).unwrap() + 100_000]);
    };
    refused.refused(1, &["full"]);
    assert!(accepted > 0);
    fs::remove_file(&filler).unwrap();
    drop(emit().ok());
    assert_eq!(run(&["--json", "store", "check"]).ok().json()["well"], json!(true));
}
