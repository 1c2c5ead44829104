//! What is stored.

mod attempt;
mod bulk;
mod event;
mod exchange;
mod id;
mod idempotency;
mod policy;
mod schedule;
mod state;
mod task;
mod transfer;
mod webhook;
mod wire;

pub use attempt::{Attempt, AttemptFilter, AttemptMode, AttemptResult, NotAMode};
pub(crate) use bulk::Became;
pub use bulk::{Bulk, BulkAction, BulkState, BulkStep, NewBulk, NotABulkAction};
pub use event::{Event, NewEvent};
pub use exchange::{ExchangeTimings, HttpExchange, SentBody};
pub(crate) use exchange::{attempt_bytes, read_exchanges, write_exchanges, written_as_json};
pub use id::{AttemptId, BulkId, EventId, Lease, NotATimestamp, OwnerId, TaskId, Timestamp, WebhookId};
pub use idempotency::{IdempotencyKey, Keyed};
pub use policy::{KeyCounts, KeyPolicy, Rate};
pub use schedule::{Schedule, TaskTemplate};
pub(crate) use state::Move;
pub use state::{NotAState, TaskState};
pub use task::{
    Acceptance, AcceptedTask, Claimed, Ending, Lane, NewTask, NotAPriority, Priority, Recovered, RunEnd, Started, Task,
    TaskCounts, TaskFilter, TaskHead, Unique,
};
pub(crate) use task::{read_schedule, write_schedule};
pub use transfer::{LastIds, PluginValue, Record, StoredPolicy};
pub use webhook::{Envelope, Failing, NewWebhook, Order, Resealed, Sealed, Webhook, WebhookOptions};
pub(crate) use webhook::{WEBHOOK_KEY, webhook_key};
