//! The engine as a file on a disk.

use std::fs;

use super::*;
use crate::store::{PolicyStore, conformance, holder};

fn open(folder: &Path) -> Result<SqliteStore, StoreOpenError> {
    SqliteStore::open(&folder.join("switchboard.db"))
}

fn ready(store: &SqliteStore) -> Vec<TaskId> {
    conformance::ids_in(store, crate::store::TaskState::Ready)
}

fn ids(heads: &[crate::store::TaskHead]) -> Vec<TaskId> {
    heads.iter().map(|head| head.id).collect()
}

fn fresh() -> (Box<dyn Store>, Box<conformance::Sql>) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let sql = move |sql: &str| {
        Connection::open(folder.path().join("switchboard.db")).unwrap().execute_batch(sql).unwrap();
    };
    (Box::new(store), Box::new(sql))
}

#[test]
fn it_behaves_as_a_store() {
    conformance::run(&fresh);
}

#[test]
fn it_does_what_a_simple_model_does() {
    crate::store::model::run(&fresh);
}

#[test]
fn everything_moves_into_an_empty_store_or_nothing() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [from, to] = [0, 1].map(|index| open(folders[index].path()).unwrap());
    conformance::move_everything(&from, &to);
}

#[test]
fn what_was_accepted_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let heads = conformance::accept(&store, 3);
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!(ready(&store), ids(&heads));
}

#[test]
fn a_lane_whose_first_tasks_are_damaged_gives_those_behind_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for ordered in [false, true] {
        let task = crate::store::NewTask {
            number: 21_500,
            name: "n".into(),
            key: format!("ordered {ordered}"),
            ordered,
            ..Default::default()
        };
        let lane = Lane { number: task.number, name: task.name.clone(), key: task.key.clone() };
        let accepted = store.accept(Acceptance { events: Vec::new(), tasks: vec![task; 6] }).wait().unwrap();
        let ids: Vec<TaskId> = accepted.iter().map(|task| task.head.id).collect();
        // More of them than one claim looks at, or the lane would be taken for one that waits for its ordered key.
        let damage = "UPDATE task SET attempts = -1 WHERE id BETWEEN ? AND ?";
        let database = Connection::open(folder.path().join("switchboard.db")).unwrap();
        database.execute(damage, (ids[0].0, ids[4].0)).unwrap();
        let claimed = store.claim(vec![lane], 2).wait().unwrap().remove(0);
        assert_eq!((claimed.heads.len(), claimed.heads[0].id, claimed.more), (1, ids[5], false), "ordered: {ordered}");
        let reason = |id: TaskId| -> String {
            database.query_row("SELECT reason FROM task WHERE id = ? AND state = 4", [id.0], |row| row.get(0)).unwrap()
        };
        assert!(ids[..5].iter().all(|id| reason(*id).starts_with("corrupt: ")));
        let filter = TaskFilter { key: Some(format!("ordered {ordered}")), ..TaskFilter::default() };
        let listed = store.tasks(&filter).unwrap();
        assert_eq!(
            listed.iter().map(|task| task.id).collect::<Vec<_>>(),
            ids,
            "a damaged one hides none of the others"
        );
        assert!(listed[0].reason.as_deref().unwrap().starts_with("corrupt: ") && listed[0].name == "n");
    }
}

#[test]
fn what_an_operation_takes_back_is_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let task = |key: &str, unique: Option<&str>| crate::store::NewTask {
        number: 21_500,
        name: "n".into(),
        key: key.into(),
        unique: unique.map(|key| crate::store::Unique { key: key.into(), window: std::time::Duration::ZERO }),
        ..Default::default()
    };
    let accept = |tasks| store.accept(Acceptance { events: Vec::new(), tasks });
    accept(vec![task("damaged", Some("u"))]).wait().unwrap();
    let database = Connection::open(folder.path().join("switchboard.db")).unwrap();
    database.execute("UPDATE task SET attempts = -1", []).unwrap();
    // The second fails when the first task is in the table already, and takes neither of its neighbours with it.
    let before = accept(vec![task("a", None)]);
    let refused = accept(vec![task("b", None), task("b", Some("u"))]);
    let after = accept(vec![task("a", None)]);
    assert!(matches!(refused.wait(), Err(StoreError::Corrupt { .. })));
    assert!(before.wait().is_ok() && after.wait().is_ok());
    let counts: Vec<_> = store.key_counts().unwrap().into_iter().map(|key| (key.key, key.ready)).collect();
    assert_eq!(counts, [("a".into(), 2), ("damaged".into(), 1)]);
    assert_eq!(store.task_counts().unwrap().ready, 3);
}

#[test]
fn what_changes_after_it_was_found_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let [first, second] = ids(&conformance::accept(&store, 2)).try_into().unwrap();
    let dead = |id| assert!(store.cancel_task(id, Timestamp(20)).wait().unwrap());
    let retry = |id| assert!(store.retry_task(id, Timestamp(30)).wait().unwrap().is_some());
    [first, second].into_iter().for_each(dead);
    let filter = TaskFilter { state: Some(crate::store::TaskState::Dead), ..TaskFilter::default() };
    let bulk = NewBulk { action: crate::store::BulkAction::Retry, filter, per_second: 10, expected: None, by: None };
    let id = store.add_bulk(bulk, Timestamp(25)).wait().unwrap().unwrap().id;
    let next = store.read(|connection| bulk::next(connection, id, 10)).unwrap();
    retry(first);
    let step = move |connection: &Connection| bulk::step(connection, id, &next, Timestamp(40));
    let step = store.writer.submit(Sync::Full, step).wait().unwrap().unwrap();
    assert_eq!((step.bulk.state, step.bulk.seen, step.bulk.changed), (BulkState::Done, 2, 1));

    [first, second].into_iter().for_each(dead);
    let retention = Retention { dead_before: Timestamp(50), ..conformance::care::ALL };
    let old = store.read(|connection| prune::look(connection, &retention, 10)).unwrap();
    retry(first);
    let remove = move |connection: &Connection| prune::remove(connection, &old, &retention, 10);
    assert_eq!(store.writer.submit(Sync::Full, remove).wait().unwrap(), 1);
    assert_eq!((ready(&store), store.task(second).unwrap()), (vec![first], None));
}

#[test]
fn a_receipt_can_be_waited_for_on_a_thread_of_a_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // More often than a task may poll before its runtime asks it to give way.
    runtime.block_on(async { (0..300).for_each(|_| drop(conformance::accept(&store, 1))) });
    assert_eq!(ready(&store).len(), 300);
}

#[test]
fn a_second_host_is_refused_with_the_pid_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(holder(folder.path()), None);
    let store = open(folder.path()).unwrap();
    assert_eq!(holder(folder.path()), Some(std::process::id()));
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreOpenError::InUse { pid, .. } if pid == std::process::id()), "{error}");
    drop(store);
    assert_eq!(holder(folder.path()), None);
    open(folder.path()).unwrap();
}

#[track_caller]
fn check_refused(content: &[u8], expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("switchboard.db");
    fs::write(&path, content).unwrap();
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains(expected) && error.contains("it was not changed"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), content);
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.file_name()).collect();
    assert_eq!(files.len(), 2, "only the file and the lock: {files:?}");
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_not_changed() {
    check_refused(b"dear diary", "no SQLite database");
    check_refused(&[0; 4096], "no SQLite database");
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1);").unwrap();
    check_refused(&fs::read(&other).unwrap(), "a SQLite database of another program");
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let path = folder.path().join("switchboard.db");
    Connection::open(&path).unwrap().execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 99;").unwrap();
    let content = fs::read(&path).unwrap();
    check_refused(&content, "schema version 99");
}

/// A store with enough in it that it has many pages, and its file.
fn filled(folder: &Path) -> PathBuf {
    let store = open(folder).unwrap();
    conformance::accept(&store, 2_000);
    folder.join("switchboard.db")
}

#[track_caller]
fn check_damaged(damage: impl FnOnce(&mut Vec<u8>)) {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let mut content = fs::read(&path).unwrap();
    assert!(content.len() > 20 * 4096);
    damage(&mut content);
    fs::write(&path, &content).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreOpenError::Damaged { .. } | StoreOpenError::Foreign { .. }), "{error}");
    let sentence = error.to_string();
    assert!(sentence.contains(path.to_str().unwrap()) && sentence.contains("it was not changed"), "{sentence}");
    assert!(fs::read(&path).unwrap() == content, "the file was changed");
}

#[test]
fn a_damaged_file_is_refused_and_not_changed() {
    check_damaged(|content| content.truncate(10 * 4096));
    check_damaged(|content| content.truncate(5_000));
    check_damaged(|content| content.truncate(60));
    check_damaged(|content| content[..100].fill(0));
    check_damaged(|content| content[..4096].fill(0));
    check_damaged(|content| content[100..4096].fill(0xff));
    check_damaged(|content| content[8 * 4096..9 * 4096].fill(0xa5));
}

#[test]
fn a_log_whose_database_is_gone_is_not_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let log = log_file::of(&path);
    for empty in [true, false] {
        if empty {
            fs::write(&path, b"").unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        fs::write(&log, b"the log").unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("its log") && error.contains("it was not changed"), "{error}");
        assert_eq!(fs::read(&log).unwrap(), b"the log");
    }
}

#[test]
fn a_check_finds_damaged_pages_and_records_that_contradict_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let check = || SqliteStore::open_to_read(&path).unwrap().check().unwrap();
    assert_eq!(check(), Vec::<String>::new());
    let contradict = Connection::open(&path).unwrap();
    contradict
        .execute_batch(
            "UPDATE task SET state = 1 WHERE id = 1; UPDATE task SET state = 9 WHERE id = 2;
             UPDATE task SET event = 'msg_gone' WHERE id = 3;
             UPDATE task SET state = 3, holder = 1 WHERE id = 5; UPDATE task SET schedule = 'soon' WHERE id = 6;
             INSERT INTO attempt (task, number, mode, started_at) VALUES (9, 1, 'deferred', 1);
             INSERT INTO webhook (id, owner, url, method, secrets, events, enabled, created_at, updated_at)
             VALUES (5, 0, 'https://example.com', 'none', '', 'no JSON', 1, 1, 1);",
        )
        .unwrap();
    let found = check().join("\n");
    for expected in [
        "task 1 runs without an attempt",
        "task 2 is in no state",
        "task 3 has not ended and its event is gone",
        "task 5 has ended and is held",
        "task 6 is damaged",
        "task 9 does not run and has an attempt",
        "webhook 5 is damaged",
        "the tasks of key `webhook:1` are not as many as were counted",
        "the tasks in all, or the bytes of the attempts, are not as many as were counted",
    ] {
        assert!(found.contains(expected), "`{expected}` is not in\n{found}");
    }
    drop(contradict);
    let mut content = fs::read(&path).unwrap();
    content[8 * 4096..9 * 4096].fill(0xa5);
    fs::write(&path, content).unwrap();
    assert!(check()[0].starts_with("the file is damaged"));
}

#[test]
fn a_copy_that_is_made_beside_a_busy_host_is_whole_and_takes_nobodys_place() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    conformance::accept(&store, 500);
    let beside = SqliteStore::open_to_read(&folder.path().join("switchboard.db")).unwrap();
    let copy = folder.path().join("copy").join("switchboard.db");
    fs::create_dir(copy.parent().unwrap()).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| (0..50).for_each(|_| drop(conformance::accept(&store, 1))));
        beside.backup(&copy).unwrap();
    });
    let error = beside.backup(&copy).unwrap_err().to_string();
    assert!(error.contains("there is a file of that name"), "{error}");
    assert_eq!(fs::read_dir(copy.parent().unwrap()).unwrap().count(), 1, "nothing unfinished is left");
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&copy).unwrap()) & 0o777, 0o600);
    let copied = open(copy.parent().unwrap()).unwrap();
    assert_eq!(copied.check().unwrap(), Vec::<String>::new());
    let count = ready(&copied).len();
    assert!((500..=550).contains(&count), "{count}");
    assert!(beside.accept(Acceptance::default()).wait().is_err(), "it is only read");
}
