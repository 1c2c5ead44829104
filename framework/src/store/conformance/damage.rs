//! What becomes of records that cannot be read.

use super::care::{add_bulk, given_up_event};
use super::webhooks::add;
use super::*;
use crate::store::{Attempt, BulkAction, BulkState, StoreError};

type DamagedCase = (&'static str, fn(&dyn Store, &Sql));

pub(super) const CASES: &[DamagedCase] = &[
    ("a bulk operation counts what is damaged as unchanged and goes on", bulk),
    ("a task whose webhook is damaged is not started, and the others of its group are", starts),
];

fn bulk(store: &dyn Store, sql: &Sql) {
    let ids = [(); 3].map(|()| given_up_event(store));
    sql(&format!("UPDATE attempt SET exchanges = 'no JSON' WHERE task = {}", ids[1]));
    let filter = TaskFilter { state: Some(TaskState::Dead), ..TaskFilter::default() };
    let id = add_bulk(store, BulkAction::ReplayAsSent, filter).id;
    let step = store.bulk_step(id, 10, Timestamp(62)).wait().unwrap().unwrap();
    assert_eq!((step.bulk.state, step.bulk.seen, step.bulk.changed), (BulkState::Done, 3, 2));
}

fn starts(store: &dyn Store, sql: &Sql) {
    let (damaged, well) = (add(store, 62).id, add(store, 62).id);
    let one = event("a");
    let tasks = [damaged, well].map(|webhook| task(&one, Some(webhook.0)));
    let ids: Vec<_> = accept_tasks(store, vec![one], tasks.to_vec()).iter().map(|task| task.head.id).collect();
    sql(&format!("UPDATE webhook SET options = 'no JSON' WHERE id = {damaged}"));
    let mut answers = store.start(ids.clone(), Timestamp(20)).wait().unwrap().into_iter();
    let refused = answers.next().unwrap().unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    assert_eq!(answers.next().unwrap().unwrap().unwrap().task.id, ids[1]);
    let left = store.task(ids[0]).unwrap().unwrap();
    assert_eq!((left.state, left.attempts, left.held), (TaskState::Ready, 0, true));
    assert_eq!(store.attempts(ids[0]).unwrap(), Vec::<Attempt>::new());
    sql(&format!("UPDATE webhook SET options = '{{}}' WHERE id = {damaged}"));
    assert_eq!(started(store, ids[0], Timestamp(30)).unwrap().task.attempts, 1);
}
