//! What can go wrong in a run.

use switchboard_plugin_api::{PluginError, TriggerNumber};
use thiserror::Error;

use crate::store::{EventId, StoreError};

/// Why a trigger could not be fired, or why its one handler failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TriggerError {
    /// The actor may not fire this number.
    #[error("trigger {number} needs access level {needed}, `{actor}` has {level}")]
    Denied {
        /// The number.
        number: TriggerNumber,
        /// Who acts.
        actor: String,
        /// The actor's level.
        level: u8,
        /// The level that is needed.
        needed: u8,
    },
    /// The handler failed.
    #[error("trigger {number} `{name}` of plugin `{plugin}` failed")]
    Handler {
        /// The number.
        number: TriggerNumber,
        /// The event name.
        name: String,
        /// The plugin.
        plugin: String,
        /// Why.
        source: PluginError,
    },
    /// The input or the value is not of the trigger's type.
    #[error("a payload of trigger {number} is not of its type")]
    Value {
        /// The number.
        number: TriggerNumber,
        /// Why.
        source: PluginError,
    },
}

/// Why a run could not be finished.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FinishError {
    /// The input of 99994 or 99999 cannot be written.
    #[error("the end of the run cannot be told to its watchers")]
    Input {
        /// Why.
        source: PluginError,
    },
    /// The store cannot take the events and tasks.
    #[error("what the run announced and deferred cannot be stored; nothing of it was accepted")]
    Store {
        /// Why.
        source: StoreError,
    },
    /// The connection to the database broke while the events and tasks were stored.
    #[error(
        "it is not known whether what the run announced and deferred was stored: announce it again under the same idempotency keys, or look for it first"
    )]
    Unsure {
        /// Why.
        source: StoreError,
    },
    /// Another event was announced under an idempotency key of the run, while the run went on.
    #[error(
        "the idempotency key `{key}` belongs to the event `{event}`, which says something else; no event of this run was accepted"
    )]
    KeyTaken {
        /// The key.
        key: String,
        /// The event that was announced first.
        event: EventId,
    },
}

impl FinishError {
    /// Returns what is said of a commit that failed.
    pub(super) fn of_store(source: StoreError) -> Self {
        match source {
            StoreError::Unsure { .. } => Self::Unsure { source },
            source => Self::Store { source },
        }
    }
}
