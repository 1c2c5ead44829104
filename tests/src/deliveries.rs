//! Events and their tasks, as the command line shows them.

use serde_json::Value;

use crate::{Output, Site, wait_until};

impl Site {
    /// Announces an event, without waiting for its deliveries.
    #[must_use]
    #[track_caller]
    pub fn emit(&self, owner: i64, event: &str, data: &str) -> Value {
        let owner = owner.to_string();
        self.json(&["emit", event, "--owner", &owner, "--data", data])
    }

    /// Announces an event, and waits for the end of the first attempts.
    #[must_use]
    pub fn emit_and_wait(&self, owner: i64, event: &str, data: &str) -> Output {
        let owner = owner.to_string();
        self.run(&["--json", "emit", event, "--owner", &owner, "--data", data, "--wait"])
    }

    /// Returns a task with its attempts.
    #[must_use]
    #[track_caller]
    pub fn task(&self, id: i64) -> Value {
        self.json(&["task", "show", &id.to_string()])
    }

    /// Waits until a task is in a state, and returns it.
    #[must_use]
    #[track_caller]
    pub fn wait_for_task(&self, id: i64, state: &str) -> Value {
        let mut task = Value::Null;
        wait_until(&format!("task {id} is {state}"), || {
            task = self.task(id);
            task["state"] == state
        });
        task
    }
}

/// Returns the webhooks that an event was accepted for, from what `emit` printed.
#[must_use]
#[track_caller]
pub fn webhooks_of(emitted: &Value) -> Vec<i64> {
    emitted["tasks"].as_array().unwrap().iter().map(|task| task["webhook"].as_i64().unwrap()).collect()
}

/// Returns the id of an event's only task, from what `emit` printed.
#[must_use]
#[track_caller]
pub fn task_of(emitted: &Value) -> i64 {
    let tasks = emitted["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 1, "{emitted}");
    tasks[0]["id"].as_i64().unwrap()
}

/// Returns one field of each attempt of a task, from what `task show` printed.
#[must_use]
#[track_caller]
pub fn of_attempts(task: &Value, field: &str) -> Vec<Value> {
    task["attempt_list"].as_array().unwrap().iter().map(|attempt| attempt[field].clone()).collect()
}
