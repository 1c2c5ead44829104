//! Switchboard: a plugin framework for native Rust plugins with numbered triggers, and durable webhooks on top of it.
//!
//! A host application opens a [`Switchboard`] on a data folder. Plugins are libraries in its `plugins` folder; each
//! answers trigger numbers under event names. The application starts a [`Run`] for each of its requests, fires triggers
//! in it, and announces what happened. [`Run::finish`] returns when the announced events are on disk; they are delivered
//! to the webhooks of their owners in the background.
//!
//! ```no_run
//! use switchboard::{Arguments, Notification, PublicTask, Switchboard};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let switchboard = Switchboard::open("switchboard-data")?;
//!
//! let mut run = switchboard.run().actor("ada", switchboard::AccessLevel::MANAGER).owner(62).language("de-DE").start();
//! if let Some(reply) = run.call::<PublicTask>("hello", &Arguments::default())? {
//!     println!("{}", reply.text);
//! }
//! run.announce(Notification::from_json("booking_added", r#"{"property_uid": 7, "contract_uid": 41}"#))?;
//! run.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! It serves no pages and parses no command line: the crate `switchboard-server` does. It does not fetch or update
//! plugins. It does not deliver exactly once, which nobody can: a receiver drops duplicates by `webhook-id`.

mod activation;
mod bulks;
pub mod channel_log;
pub mod check;
pub mod clock;
pub mod config;
mod core;
mod deadline;
mod defer;
mod deferred;
mod dispatcher;
pub mod egress;
pub mod error;
mod health;
mod keys;
pub mod language;
mod live;
mod metrics;
pub mod outbox;
mod payload_files;
mod plugins;
mod registry;
mod run;
mod runtime;
mod schedules;
pub mod store;
mod suspension;
mod switchboard;
mod tasks;
mod vault;
mod webhooks;
mod work;

pub use bulks::{BulkError, Bulks};
pub use defer::{DeferError, DeferOptions, DeferredTask};
pub use deferred::{BreakerState, RecurrenceError, TaskOutcome};
pub use dispatcher::{Broadcast, HandlerValue, Values};
pub use health::{Check, Health};
pub use keys::{Keys, SealingError, SecretKey};
pub use metrics::{Counted, Histogram, MetricsReport, MinuteOfAttempts};
pub use plugins::{LoadReport, PluginReport, PluginState, Refusal};
pub use registry::{BuiltIn, CallCounts, CallFailure, CallTimes, Collision, Minicomponent, Registry, Tier};
pub use run::{AnnouncedEvent, FinishError, Finished, ImmediateResult, Notification, Run, RunBuilder, TriggerError};
pub use schedules::{ScheduleDraft, ScheduleError, Schedules};
pub use suspension::{ResumeError, Suspension};
pub use switchboard::{
    DetailDependency, DetailMinicomponent, DetailSetting, OpenError, PluginDetail, PluginFolder, PluginFolderError,
    PluginPackage, PluginSettingError, Switchboard, SwitchboardBuilder, WorkOn,
};
pub use switchboard_plugin_api::host::{CallHost, Payload, ServiceAnswer};
pub use switchboard_plugin_api::{
    API_VERSION, AccessLevel, Arguments, AuthMethod, ErrorKind, FieldFormat, FieldOption, FieldProblem, FormField,
    HandlerKind, NotATriggerNumber, PluginError, PublicTask, TaskReply, Trigger, TriggerNumber,
};
pub use tasks::{KeyState, TaskError, TaskTrace, Tasks};
pub use vault::{KEYS_VARIABLE, KeyError, VaultError};
pub use webhooks::{
    AnnounceError, Deliveries, DeliveryError, EventKind, FilledField, Form, Method, Preview, PreviewedRequest, Problem,
    Replay, ShownFailing, ShownWebhook, WebhookDraft, WebhookError, WebhookProblem, Webhooks, event_catalogue,
};
