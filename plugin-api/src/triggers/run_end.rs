use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Trigger;
use crate::TriggerNumber;

/// 99994: the run's work is done; watchers look at what it announced. The built-in `webhook_watcher` is one of them.
pub struct AfterRun;

impl Trigger for AfterRun {
    const NUMBER: TriggerNumber = TriggerNumber::new(99_994);
    type Input = RunEnd;
    type Output = Value;
}

/// 99999: the very end of a run.
pub struct EndOfRun;

impl Trigger for EndOfRun {
    const NUMBER: TriggerNumber = TriggerNumber::new(99_999);
    type Input = RunEnd;
    type Output = Value;
}

/// Input of [`AfterRun`] and [`EndOfRun`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunEnd {
    /// Task of the host, when it has a name.
    #[serde(default)]
    pub task: Option<String>,
    /// What the run announced, each once, in order.
    #[serde(default)]
    pub announced: Vec<Announced>,
}

/// One notification of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Announced {
    /// Id of the event.
    pub event_id: String,
    /// Name of the event.
    pub event: String,
    /// Owner whose event it is; 0 is the whole site.
    #[serde(default)]
    pub owner: i64,
    /// Its properties.
    #[serde(default)]
    pub data: Value,
}
