//! Commands about the attempts of deliveries.

use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard::store::{AttemptFilter, AttemptId, AttemptMode, EventId, OwnerId, TaskId, WebhookId};
use switchboard::{BulkError, DeliveryError, Replay, Switchboard};

use super::bulk::bulk_json;
use super::show::deliveries as show;
use super::tasks::{ago, task_error, usage};
use super::{Reply, failed};
use crate::exit::{FAILED, MISSING, NOT_DELIVERED, USAGE};

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeliveryCommand {
    /// List attempts, the newest first
    List(DeliveryQuery),
    /// Show an attempt: what was sent, what came back, how long each step took, and the other tries
    Show {
        /// Its id
        id: i64,
    },
    /// Send a delivery once more, without retries, also when its webhook is disabled
    Replay {
        /// Id of one of its attempts
        id: i64,
        /// Let the auth method build the request anew, in place of sending the same bytes
        #[arg(long)]
        rebuild: bool,
        /// Return when it has ended, and show it
        #[arg(long)]
        wait: bool,
        /// Longest wait in seconds
        #[arg(long, default_value_t = 60, value_name = "SECONDS", requires = "wait")]
        timeout: u64,
        /// Who asks, for the log
        #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = "command line")]
        by: String,
    },
    /// Show what the auth method would send now, and the text that it would sign; nothing is sent
    Preview {
        /// Id of an attempt of the delivery
        id: i64,
    },
    /// Print a curl command that makes the request of an attempt again; secrets are masked in it
    Curl {
        /// Its id
        id: i64,
    },
    /// Deliver again what a webhook has never got
    Recover {
        /// Id of the webhook
        webhook: i64,
        /// What was announced then or later: a moment such as 2026-11-24T02:00:00Z, or a duration ago such as 2h
        #[arg(long, value_name = "TIME")]
        since: String,
        /// At most so many deliveries a second
        #[arg(long, default_value_t = 100, value_name = "N")]
        per_second: u32,
        /// Start; without it the deliveries are only counted
        #[arg(long)]
        yes: bool,
        /// Who asks, for the log
        #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = "command line")]
        by: String,
    },
}

/// Which attempts to list.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
pub(crate) struct DeliveryQuery {
    /// Only attempts to this webhook
    #[arg(long, value_name = "ID")]
    webhook: Option<i64>,
    /// Only attempts of events of this owner
    #[arg(long, value_name = "N")]
    owner: Option<i64>,
    /// Only attempts of events of this name, or of the event of this id (msg_...)
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Only attempts of this task
    #[arg(long, value_name = "ID")]
    task: Option<i64>,
    /// Only attempts with this outcome, such as ok or http_5xx
    #[arg(long, value_name = "CODE", conflicts_with = "failed")]
    outcome: Option<String>,
    /// Only attempts that have failed
    #[arg(long)]
    failed: bool,
    /// Only attempts with this HTTP status
    #[arg(long, value_name = "N")]
    status: Option<NonZeroU16>,
    /// Only attempts made for this reason: deferred, immediate, replay, bulk or test
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// Only attempts begun then or later: a moment such as 2026-11-24T02:00:00Z, or a duration ago such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only attempts begun before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only attempts with this text in what was sent, in the answer, in the URL or in the outcome
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// The oldest first
    #[arg(long)]
    oldest_first: bool,
    /// Only attempts after this id in the order of the list, for paging
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

impl DeliveryCommand {
    /// Whether a process that does this on its own has to run deferred tasks.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Replay { wait: true, .. })
    }
}

pub(super) fn execute(host: &Switchboard, command: DeliveryCommand) -> Result<Reply> {
    let webhooks = host.webhooks();
    let deliveries = webhooks.deliveries();
    match command {
        DeliveryCommand::List(query) => {
            let attempts = deliveries.find(&filter(host, query)?).map_err(delivery_error)?;
            let rows: Vec<Value> = attempts.iter().map(show::attempt_json).collect();
            Reply::new(rows, show::attempts(&attempts))
        }
        DeliveryCommand::Show { id } => whole(host, AttemptId(id)),
        DeliveryCommand::Replay { id, rebuild, wait, timeout, by } => {
            let replay = if rebuild { Replay::Rebuild } else { Replay::AsSent };
            let task = deliveries.replay(AttemptId(id), replay, &by).map_err(delivery_error)?;
            if !wait {
                let text = format!("task {} replays attempt {id}", task.id);
                return Reply::new(json!({ "task": task.id, "attempt": null }), text);
            }
            host.tasks().wait(&[task.id], Duration::from_secs(timeout)).map_err(task_error)?;
            let made = host.tasks().attempts(task.id).map_err(task_error)?.pop();
            let Some(made) = made.filter(|made| made.ended_at.is_some()) else {
                let text = format!("task {} replays attempt {id} and has not ended yet", task.id);
                let mut reply = Reply::new(json!({ "task": task.id, "attempt": null }), text)?;
                reply.exit = NOT_DELIVERED;
                return Ok(reply);
            };
            let mut reply = whole(host, made.id)?;
            reply.json = json!({ "task": task.id, "attempt": reply.json });
            reply.exit = if made.failed() { NOT_DELIVERED } else { 0 };
            Ok(reply)
        }
        DeliveryCommand::Preview { id } => {
            let preview = deliveries.preview(AttemptId(id)).map_err(delivery_error)?;
            Reply::new(show::preview_json(&preview), show::preview(&preview))
        }
        DeliveryCommand::Curl { id } => {
            let command = deliveries.curl(AttemptId(id)).map_err(delivery_error)?;
            Reply::new(json!({ "curl": command }), command)
        }
        DeliveryCommand::Recover { webhook, since, per_second, yes, by } => {
            let (since, webhook) = (ago(host, "--since", &since)?, WebhookId(webhook));
            webhooks.get(webhook).map_err(super::webhooks::webhook_error)?;
            if !yes {
                let total = deliveries.count_recoverable(webhook, since).map_err(delivery_error)?;
                let text = format!("{total} deliveries have never arrived; --yes starts to make them again");
                return Reply::new(json!({ "total": total, "started": false }), text);
            }
            let bulk = deliveries.recover(webhook, since, per_second, &by).map_err(delivery_error)?;
            let mut json = bulk_json(&bulk);
            json["started"] = true.into();
            let text = format!(
                "bulk operation {} makes {} deliveries again; `switchboard task bulk list` shows how far it is",
                bulk.id, bulk.total
            );
            Reply::new(json, text)
        }
    }
}

fn whole(host: &Switchboard, id: AttemptId) -> Result<Reply> {
    let webhooks = host.webhooks();
    let deliveries = webhooks.deliveries();
    let attempt = deliveries.get(id).map_err(delivery_error)?;
    let tries = deliveries.tries(&attempt).map_err(delivery_error)?;
    let bodies = attempt.exchanges.iter().map(|exchange| deliveries.body(&attempt, exchange));
    let bodies = bodies.collect::<Result<Vec<_>, _>>().map_err(delivery_error)?;
    Reply::new(show::whole_json(&attempt, &bodies, &tries), show::whole(&attempt, &bodies, &tries))
}

fn filter(host: &Switchboard, query: DeliveryQuery) -> Result<AttemptFilter> {
    let mode = query.mode.map(|mode| {
        let wrong = |error| usage(format!("`--mode {mode}` is {error}"));
        mode.parse::<AttemptMode>().map_err(wrong)
    });
    let (event, event_name) = match query.event {
        Some(event) if event.starts_with("msg_") => (Some(EventId(event)), None),
        name => (None, name),
    };
    Ok(AttemptFilter {
        webhook: query.webhook.map(WebhookId),
        owner: query.owner.map(OwnerId),
        event,
        event_name,
        task: query.task.map(TaskId),
        outcome: query.outcome,
        failed: query.failed.then_some(true),
        status: query.status.map(NonZeroU16::get),
        mode: mode.transpose()?,
        since: query.since.as_deref().map(|text| ago(host, "--since", text)).transpose()?,
        until: query.until.as_deref().map(|text| ago(host, "--until", text)).transpose()?,
        text: query.search,
        after: query.after.map(AttemptId),
        oldest_first: query.oldest_first,
        limit: query.limit,
    })
}

fn delivery_error(error: DeliveryError) -> anyhow::Error {
    let code = match &error {
        DeliveryError::Missing { .. } => MISSING,
        DeliveryError::Bulk { source: BulkError::Speed { .. } } => USAGE,
        _ => FAILED,
    };
    failed(code, &error)
}
