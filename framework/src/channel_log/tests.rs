use std::thread;

use tempfile::TempDir;

use super::*;

const NOW: i64 = 1_795_485_600_123;

fn open(level: LevelFilter) -> (TempDir, ChannelLog) {
    let folder = tempfile::tempdir().unwrap();
    let log = ChannelLog::open_with_clock(folder.path(), level, Clock::fixed(NOW)).unwrap();
    (folder, log)
}

fn read(folder: &TempDir, channel: &str) -> String {
    std::fs::read_to_string(file_path(folder.path(), channel)).unwrap()
}

fn messages(folder: &TempDir, channel: &str, wanted: &Search) -> Vec<String> {
    let found = search(folder.path(), channel, wanted).unwrap();
    found.into_iter().map(|record| record.message).collect()
}

#[test]
fn the_target_of_a_record_is_its_channel() {
    let (folder, log) = open(LevelFilter::Info);
    log::info!(logger: log, target: "Webhooks", webhook = 3, status = 200; "delivered");
    log::warn!(logger: log, target: "a::b", reason = "no room"; "waiting");
    assert_eq!(read(&folder, "Webhooks"), "2026-11-24T02:00:00.123Z INFO  delivered webhook=3 status=200\n");
    assert_eq!(read(&folder, "a__b"), "2026-11-24T02:00:00.123Z WARN  waiting reason=\"no room\"\n");
}

#[test]
fn a_level_can_be_changed_while_the_log_is_open() {
    let (folder, log) = open(LevelFilter::Warn);
    let clone = log.clone();
    log::info!(logger: log, target: "A", "hidden");
    clone.set_level(LevelFilter::Trace);
    assert_eq!(log.level(), LevelFilter::Trace);
    log::trace!(logger: log, target: "A", "shown");
    log.set_level(LevelFilter::Off);
    log::error!(logger: log, target: "A", "hidden");
    assert_eq!(read(&folder, "A"), "2026-11-24T02:00:00.123Z TRACE shown\n");
}

#[test]
fn lines_of_several_threads_and_of_several_logs_stay_whole() {
    let (folder, first) = open(LevelFilter::Info);
    let second = ChannelLog::open(folder.path(), LevelFilter::Info).unwrap();
    let long = &*"x".repeat(3000);
    thread::scope(|scope| {
        for log in [&first, &second, &first, &second] {
            scope.spawn(move || {
                for n in 0..100 {
                    log::info!(logger: log, target: "A", n, long; "line");
                }
            });
        }
    });
    let text = read(&folder, "A");
    assert_eq!(text.lines().count(), 400);
    assert!(text.lines().all(|line| line.contains(" INFO  line n=") && line.ends_with("xxx")));
}

#[test]
fn made_up_channels_end_in_the_overflow_channel() {
    let (folder, log) = open(LevelFilter::Info);
    for n in 0..MAX_CHANNELS + 5 {
        log::info!(logger: log, target: &format!("C{n}"), n; "hello");
    }
    assert_eq!(channels(folder.path()).unwrap().len(), MAX_CHANNELS + 1);
    assert_eq!(read(&folder, OVERFLOW_CHANNEL).lines().count(), 5);

    let reopened = ChannelLog::open(folder.path(), LevelFilter::Info).unwrap();
    log::info!(logger: reopened, target: "New", "hello");
    log::info!(logger: reopened, target: "C7", "hello");
    assert_eq!(read(&folder, OVERFLOW_CHANNEL).lines().count(), 6);
    assert_eq!(read(&folder, "C7").lines().count(), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn records_lost_on_a_full_disk_are_counted_once_it_has_room() {
    let (folder, log) = open(LevelFilter::Info);
    let path = file_path(folder.path(), "A");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    log::info!(logger: log, target: "A", "first");
    log::info!(logger: log, target: "A", "second");
    std::fs::remove_file(&path).unwrap();
    log::info!(logger: log, target: "A", "third");
    log::info!(logger: log, target: "A", "fourth");
    assert_eq!(
        messages(&folder, "A", &Search::default()),
        ["records lost, the log could not be written count=2", "third", "fourth"]
    );
}

#[cfg(unix)]
#[test]
fn a_log_is_readable_only_by_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, log) = open(LevelFilter::Info);
    log::info!(logger: log, target: "A", "hello");
    let mode = std::fs::metadata(file_path(folder.path(), "A")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[cfg(unix)]
#[test]
fn after_reopen_a_moved_file_is_left_alone() {
    let (folder, log) = open(LevelFilter::Info);
    log::info!(logger: log, target: "A", "old");
    std::fs::rename(file_path(folder.path(), "A"), file_path(folder.path(), "A-1")).unwrap();
    log.reopen();
    log::info!(logger: log, target: "A", "new");
    assert_eq!(messages(&folder, "A-1", &Search::default()), ["old"]);
    assert_eq!(messages(&folder, "A", &Search::default()), ["new"]);
}

#[test]
fn a_folder_that_is_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(ChannelLog::open(&path, LevelFilter::Info), Err(OpenError::Folder { .. })));
}

#[test]
fn a_search_returns_the_newest_records_that_match() {
    let (folder, log) = open(LevelFilter::Debug);
    for n in 0..10 {
        log::info!(logger: log, target: "A", n; "Delivered");
        log::debug!(logger: log, target: "A", n; "step Ä");
    }
    let wanted = Search { text: Some("dELIVERED".to_owned()), limit: 2, ..Search::default() };
    assert_eq!(messages(&folder, "A", &wanted), ["Delivered n=8", "Delivered n=9"]);
    let newest_first = Search { newest_first: true, ..wanted };
    assert_eq!(messages(&folder, "A", &newest_first), ["Delivered n=9", "Delivered n=8"]);
    let umlaut = Search { text: Some("ä n=4".to_owned()), ..Search::default() };
    assert_eq!(messages(&folder, "A", &umlaut), ["step Ä n=4"]);
    let info = Search { level: Some(Level::Info), ..Search::default() };
    assert_eq!(messages(&folder, "A", &info).len(), 10);
    let nothing = Search { limit: 0, ..Search::default() };
    assert!(messages(&folder, "A", &nothing).is_empty());
}

#[test]
fn a_found_record_has_time_level_and_channel() {
    let (folder, log) = open(LevelFilter::Info);
    log::warn!(logger: log, target: "A", n = 1; "late");
    let found = search(folder.path(), "A", &Search::default()).unwrap();
    let [record] = &found[..] else { panic!("one record, not {}", found.len()) };
    assert_eq!(record.time, "2026-11-24T02:00:00.123Z");
    assert_eq!((record.level, &*record.channel), (Level::Warn, "A"));
    assert_eq!(record.message, "late n=1");
}

#[test]
fn lines_that_are_no_records_are_passed_over() {
    let (folder, log) = open(LevelFilter::Info);
    let mut garbage = b"\n\xff\xfe\nhello\n2026 INFO  x\n".to_vec();
    garbage.extend(std::iter::repeat_n(b'y', 200_000));
    garbage.push(b'\n');
    std::fs::write(file_path(folder.path(), "A"), garbage).unwrap();
    log::info!(logger: log, target: "A", "hello");
    assert_eq!(messages(&folder, "A", &Search::default()), ["hello"]);
}

#[test]
fn an_unknown_channel_is_refused_with_the_channels_that_exist() {
    let (folder, log) = open(LevelFilter::Info);
    let message = |channel: &str| search(folder.path(), channel, &Search::default()).unwrap_err().to_string();
    assert_eq!(message("A"), "there is no channel `A`, nothing has been logged yet");
    log::info!(logger: log, target: "Plugins", "hello");
    log::info!(logger: log, target: "Admin", "hello");
    for channel in ["A", "", "../Admin", "Admin.application.log", "Admin\0"] {
        assert_eq!(
            message(channel),
            format!("there is no channel `{channel}`, existing channels are `Admin`, `Plugins`")
        );
    }
}

#[cfg(unix)]
#[test]
fn a_link_is_not_a_channel() {
    let (folder, log) = open(LevelFilter::Info);
    log::info!(logger: log, target: "A", "hello");
    let link = file_path(folder.path(), "B");
    std::os::unix::fs::symlink(file_path(folder.path(), "A"), link).unwrap();
    assert_eq!(channels(folder.path()).unwrap().len(), 1);
    assert!(matches!(search(folder.path(), "B", &Search::default()), Err(SearchError::UnknownChannel { .. })));
}

#[test]
fn channels_tell_size_and_age() {
    let (folder, log) = open(LevelFilter::Info);
    log::info!(logger: log, target: "B", "hello");
    log::info!(logger: log, target: "A", "hello");
    std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
    let found = channels(folder.path()).unwrap();
    assert_eq!(found.iter().map(|c| &*c.name).collect::<Vec<_>>(), ["A", "B"]);
    assert_eq!(found[0].bytes, read(&folder, "A").len() as u64);
    assert!(found[0].modified > 1_750_000_000_000);
    assert!(channels(&folder.path().join("absent")).unwrap().is_empty());
}

fn rotating(bytes: u64, age_ms: i64) -> (TempDir, ChannelLog, Clock) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::fixed(1_795_485_600_123);
    let log = ChannelLog::open_with_clock(folder.path(), LevelFilter::Info, clock.clone()).unwrap();
    log.set_rotation(Rotation { bytes, age_ms, ..Rotation::default() });
    (folder, log, clock)
}

#[test]
fn a_full_file_is_rotated_and_no_record_is_lost_or_cut() {
    let (folder, log, clock) = rotating(10_000, 0);
    for n in 0..1_000 {
        log::info!(logger: log, target: "A", n; "delivered");
        clock.advance(std::time::Duration::from_millis(1));
    }
    let files = Logs::of(folder.path()).files().unwrap();
    assert!(files.len() > 3 && files.iter().all(|file| file.bytes <= 10_000 && file.channel == "A"), "{files:?}");
    assert!(files[0].rotated.is_none() && files[1..].iter().all(|file| file.rotated.is_some()));
    assert_eq!(channels(folder.path()).unwrap()[0].files, files.len());
    let all = Search { limit: 5_000, ..Search::default() };
    let expected: Vec<_> = (0..1_000).map(|n| format!("delivered n={n}")).collect();
    assert_eq!(messages(&folder, "A", &all), expected, "rotated files are searched as well");
}

#[test]
fn an_old_file_is_rotated_also_by_another_log_that_finds_it() {
    let (folder, log, clock) = rotating(0, 3_600_000);
    log::info!(logger: log, target: "A", "first");
    clock.advance(std::time::Duration::from_secs(3_599));
    let other = ChannelLog::open_with_clock(folder.path(), LevelFilter::Info, clock.clone()).unwrap();
    other.set_rotation(log.rotation());
    log::info!(logger: other, target: "A", "second");
    clock.advance(std::time::Duration::from_secs(1));
    log::info!(logger: other, target: "A", "third");
    clock.advance(std::time::Duration::from_secs(2));
    log::info!(logger: log, target: "A", "fourth");
    assert_eq!(Logs::of(folder.path()).files().unwrap().len(), 2);
    assert_eq!(read(&folder, "A").lines().count(), 2, "the first log has seen that the file was rotated");
    assert_eq!(messages(&folder, "A", &Search::default()), ["first", "second", "third", "fourth"]);
}

#[test]
fn rotated_files_go_when_they_are_too_old_or_too_many() {
    let (folder, log, clock) = rotating(200, 0);
    log.set_rotation(Rotation { keep_ms: 60_000, keep_files: 3, ..log.rotation() });
    for n in 0..50 {
        log::info!(logger: log, target: "A", n; "a record that is some fifty bytes long, or more");
        clock.advance(std::time::Duration::from_millis(1));
    }
    let logs = Logs::of(folder.path());
    assert_eq!(logs.files().unwrap().len(), 4);
    clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(log.tidy(), 3);
    assert_eq!(logs.files().unwrap().len(), 1);
}

#[test]
fn records_are_found_by_task_time_and_over_all_channels() {
    let (folder, log, clock) = rotating(0, 0);
    for (target, task) in [("Webhooks", 12), ("Deferred", 12), ("Webhooks", 123), ("Webhooks", 12)] {
        log::info!(logger: log, target: target, task; "delivered");
        clock.advance(std::time::Duration::from_secs(1));
    }
    log::info!(logger: log, target: "Deferred", task = 13, replay_of = 12; "replayed");
    let logs = Logs::of(folder.path());
    let found = |search: Search| -> Vec<String> {
        let records = logs.search(&search).unwrap();
        records.into_iter().map(|record| format!("{} {}", record.channel, record.message)).collect()
    };
    let of_task = Search { task: Some(12), ..Search::default() };
    let expected = ["Webhooks delivered task=12", "Deferred delivered task=12", "Webhooks delivered task=12"];
    assert_eq!(found(of_task.clone())[..3], expected);
    assert_eq!(found(of_task.clone())[3], "Deferred replayed task=13 replay_of=12");
    let second = 1_795_485_601_123;
    let between = Search { since: Some(second), until: Some(second + 1_000), ..Search::default() };
    assert_eq!(found(between), ["Deferred delivered task=12"]);
    let newest = Search { limit: 1, newest_first: true, channel: Some("Webhooks".into()), ..of_task };
    assert_eq!(found(newest), ["Webhooks delivered task=12"]);
}

#[test]
fn a_log_is_opened_by_an_id_that_is_no_path() {
    use std::io::Read;
    let (folder, log) = open(LevelFilter::Info);
    log::info!(logger: log, target: "A", "hello");
    std::fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    std::fs::create_dir(folder.path().join("B.application.log")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("secret.txt"), folder.path().join("C.application.log")).unwrap();
    let logs = Logs::of(folder.path());
    let files = logs.files().unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    let (file, mut content) = logs.open(&files[0].id).unwrap().unwrap();
    let mut text = String::new();
    content.read_to_string(&mut text).unwrap();
    assert!(file.channel == "A" && text.ends_with("hello\n"), "{text}");
    let long = "a".repeat(10_240);
    for id in [
        "A",
        "A.application.log",
        "../A.application.log",
        "..%2fA.application.log",
        "/etc/passwd",
        "A\0",
        "",
        "..",
        "secret.txt",
        "B.application.log",
        "C.application.log",
        "/proc/self/environ",
        &long,
        "0123456789abcdeg",
        "0123456789abcdef",
    ] {
        assert!(logs.open(id).unwrap().is_none(), "{id}");
    }
}

#[cfg(unix)]
#[test]
fn what_became_a_link_since_it_was_listed_is_not_followed() {
    let (folder, log) = open(LevelFilter::Info);
    log::info!(logger: log, target: "A", "hello");
    let id = Logs::of(folder.path()).files().unwrap()[0].name.clone();
    let path = folder.path().join(&id);
    std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    assert!(files::open(folder.path(), &id).unwrap().is_none());
}

#[test]
fn a_follower_gets_what_comes_and_goes_on_after_a_rotation() {
    let (folder, log, clock) = rotating(400, 0);
    log::info!(logger: log, target: "A", "before");
    let mut follower = Logs::of(folder.path()).follow(Search { text: Some("new".into()), ..Search::default() });
    assert!(follower.new_records().is_empty());
    let mut expected = Vec::new();
    for n in 0..30 {
        clock.advance(std::time::Duration::from_secs(2));
        log::info!(logger: log, target: if n % 3 == 0 { "B" } else { "A" }, n; "new");
        log::info!(logger: log, target: "A", "other");
        expected.push(format!("new n={n}"));
        let found: Vec<_> = follower.new_records().into_iter().map(|record| record.message).collect();
        assert_eq!(found, expected[expected.len() - 1..]);
    }
    assert!(Logs::of(folder.path()).files().unwrap().len() > 3);
}
