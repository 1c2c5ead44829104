use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Trigger;
use crate::TriggerNumber;

/// 06000: a task that anybody may ask for by name, such as a page or a scheduled piece of work.
pub struct PublicTask;

impl Trigger for PublicTask {
    const NUMBER: TriggerNumber = TriggerNumber::new(6_000);
    type Input = Arguments;
    type Output = TaskReply;
}

/// Input of [`PublicTask`]: what the caller asked for, as a JSON object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Arguments(pub Map<String, Value>);

impl Arguments {
    /// Returns the text under `key`, or `None` when it is absent or no text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// Returns the value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }
}

/// Output of [`PublicTask`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskReply {
    /// The answer for people. It is text, never markup.
    #[serde(default)]
    pub text: String,
    /// The answer for programs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl TaskReply {
    /// Returns an answer for people.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), data: Value::Null }
    }

    /// Adds an answer for programs.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }
}
