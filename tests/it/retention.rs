//! What goes because it is old or too much, from the store of a running host.

use std::time::Duration;

use serde_json::json;
use switchboard::store::{
    Acceptance, AttemptResult, Ending, NewTask, RunEnd, SqliteStore, Store, TaskId, TaskStore, Timestamp,
};
use switchboard_tests::{Site, wait_until};

/// Writes a task into the store of a site that no host has, which ended so many days ago.
fn ended(store: &SqliteStore, days: u64, ending: Ending) -> TaskId {
    let age = Duration::from_secs(days * 24 * 60 * 60);
    let at = Timestamp(jiff::Timestamp::now().as_millisecond() - i64::try_from(age.as_millis()).unwrap());
    let task = NewTask {
        number: 21_500,
        name: "old".into(),
        key: "key".into(),
        payload: Some(b"{}".to_vec()),
        at,
        run_at: at,
        hold: true,
        ..NewTask::default()
    };
    let id = store.accept(Acceptance { events: Vec::new(), tasks: vec![task] }).wait().unwrap()[0].head.id;
    let started = store.start(vec![id], at).wait().unwrap().remove(0).unwrap().unwrap();
    let attempt = AttemptResult { ended_at: at, outcome: "ok".into(), ..AttemptResult::default() };
    let end = RunEnd { task: id, lease: started.lease, ending, attempt };
    assert_eq!(store.finish(vec![end]).wait().unwrap(), [true]);
    id
}

#[test]
fn tasks_go_when_they_are_old_and_then_the_first_of_those_that_are_too_many() {
    let site = Site::new();
    let store = SqliteStore::open(&site.path().join("switchboard.db")).unwrap();
    let done = |days| ended(&store, days, Ending::Done { keep_input: false });
    let dead = |days| ended(&store, days, Ending::Dead { reason: "given up".into() });
    let (_old_done, old_dead, _older_dead) = (done(8), dead(8), dead(31));
    // More than go in one step.
    let many: Vec<TaskId> = (0..1_200).map(|_| done(1)).collect();
    store.close();
    drop(store);
    let ids = || -> Vec<i64> {
        let listed = site.json(&["task", "list", "--limit", "10000"]);
        listed.as_array().unwrap().iter().map(|task| task["id"].as_i64().unwrap()).collect()
    };
    let expected = |kept: &[TaskId]| -> Vec<i64> { kept.iter().map(|id| id.0).collect() };
    let serving = site.serve();
    let all = [&[old_dead], &many[..]].concat();
    wait_until("the old ones are gone", || ids() == expected(&all));
    assert!(serving.terminate().success());
    site.settings("[retention]\nmax_tasks = 5\n");
    let _serving = site.serve();
    wait_until("those that are too many are gone", || ids() == expected(&many[many.len() - 5..]));
    assert_eq!(site.json(&["store", "check"])["well"], json!(true));
}
