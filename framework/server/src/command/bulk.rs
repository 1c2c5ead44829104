//! Commands that do something with every task that matches.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard::store::{Bulk, BulkAction, BulkId, BulkState, NewBulk};
use switchboard::{BulkError, Switchboard};

use super::tasks::{TaskMatch, matching};
use super::{Reply, failed};
use crate::exit::{FAILED, MISSING, USAGE};
use crate::output::table;

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BulkCommand {
    /// Make all that match and are dead, done or waiting ready again
    Retry(BulkArgs),
    /// Make all that match and are ready or waiting dead
    Cancel(BulkArgs),
    /// Run all that match and are done or dead once more, each as a task of its own without retries
    Replay {
        /// With the bytes that each sent last, and not as its auth method builds them today
        #[arg(long)]
        as_sent: bool,
        #[command(flatten)]
        args: BulkArgs,
    },
    /// List the operations, the newest first
    List,
    /// Let an operation wait
    Pause {
        /// Its id
        id: i64,
    },
    /// Let an operation go on
    Resume {
        /// Its id
        id: i64,
    },
    /// End an operation; what it has done stays
    Stop {
        /// Its id
        id: i64,
    },
}

#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct BulkArgs {
    #[command(flatten)]
    filter: TaskMatch,
    /// At most so many tasks a second
    #[arg(long, default_value_t = 100, value_name = "N")]
    per_second: u32,
    /// Start only when so many tasks match, as were counted before
    #[arg(long, value_name = "N")]
    expected: Option<u64>,
    /// Start; without it the tasks are only counted
    #[arg(long)]
    yes: bool,
    /// Who asks, for the log
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = "command line")]
    by: String,
}

impl BulkArgs {
    /// Whether something is done, and not only counted.
    pub(super) fn starts(&self) -> bool {
        self.yes
    }
}

pub(super) fn execute(host: &Switchboard, command: BulkCommand) -> Result<Reply> {
    match command {
        BulkCommand::Retry(args) => start(host, BulkAction::Retry, args),
        BulkCommand::Cancel(args) => start(host, BulkAction::Cancel, args),
        BulkCommand::Replay { as_sent: false, args } => start(host, BulkAction::Replay, args),
        BulkCommand::Replay { as_sent: true, args } => start(host, BulkAction::ReplayAsSent, args),
        BulkCommand::List => {
            let bulks = host.bulks().list().map_err(bulk_error)?;
            Reply::new(bulks.iter().map(bulk_json).collect::<Vec<_>>(), bulk_table(&bulks))
        }
        BulkCommand::Pause { id } => set_state(host, id, BulkState::Paused),
        BulkCommand::Resume { id } => set_state(host, id, BulkState::Running),
        BulkCommand::Stop { id } => set_state(host, id, BulkState::Cancelled),
    }
}

fn start(host: &Switchboard, action: BulkAction, args: BulkArgs) -> Result<Reply> {
    let filter = matching(host, &args.filter)?;
    if !args.yes {
        let total = host.bulks().count(&filter).map_err(bulk_error)?;
        let words = action.to_string().replace('_', " ");
        let text = format!("{total} tasks match; --yes starts to {words} them");
        return Reply::new(json!({ "action": action, "total": total, "started": false }), text);
    }
    let BulkArgs { per_second, expected, by, .. } = args;
    let new = NewBulk { action, filter, per_second, expected, by: Some(by) };
    let bulk = host.bulks().start(new).map_err(bulk_error)?;
    let text = format!(
        "bulk operation {} goes over {} tasks; `switchboard task bulk list` shows how far it is",
        bulk.id, bulk.total
    );
    let mut json = bulk_json(&bulk);
    json["started"] = true.into();
    Reply::new(json, text)
}

fn set_state(host: &Switchboard, id: i64, state: BulkState) -> Result<Reply> {
    host.bulks().set_state(BulkId(id), state).map_err(bulk_error)?;
    Reply::new(json!({ "id": id, "state": state }), format!("bulk operation {id} is {state}"))
}

pub(super) fn bulk_json(bulk: &Bulk) -> Value {
    json!({
        "id": bulk.id,
        "action": bulk.action,
        "filter": bulk.filter,
        "per_second": bulk.per_second,
        "state": bulk.state,
        "total": bulk.total,
        "seen": bulk.seen,
        "changed": bulk.changed,
        "by": bulk.by,
        "created_at": bulk.created_at.to_string(),
        "updated_at": bulk.updated_at.to_string(),
    })
}

fn bulk_table(bulks: &[Bulk]) -> String {
    let rows = bulks.iter().map(|bulk| {
        vec![
            bulk.id.to_string(),
            bulk.action.to_string(),
            bulk.state.to_string(),
            format!("{} of {}", bulk.seen, bulk.total),
            bulk.changed.to_string(),
            bulk.by.clone().unwrap_or_else(|| "-".into()),
            bulk.created_at.to_string(),
        ]
    });
    table(&["ID", "ACTION", "STATE", "SEEN", "CHANGED", "BY", "STARTED"], rows, "no bulk operations")
}

fn bulk_error(error: BulkError) -> anyhow::Error {
    let code = match error {
        BulkError::Speed { .. } => USAGE,
        BulkError::Missing { .. } | BulkError::Ended { .. } => MISSING,
        _ => FAILED,
    };
    failed(code, &error)
}
