//! Webhooks, and with which key their secrets are sealed.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::change::{accept_task, changed};
use super::policy::{self, set_key_policy};
use super::read::{self, webhook_columns};
use super::session::{Failure, Session};
use super::write::{self, Events, text};
use super::{Kind, PostgresStore};
use crate::store::record::webhook_key;
use crate::store::{
    Acceptance, AcceptedTask, Failing, KeyPolicy, NewWebhook, OwnerId, PluginValue, Receipt, Resealed, SealingStore,
    StoreError, Timestamp, Webhook, WebhookId, WebhookStore,
};

impl WebhookStore for PostgresStore {
    fn add_webhook(&self, webhook: NewWebhook, now: Timestamp) -> Receipt<Webhook> {
        self.change(Kind::POLICIES, async move |session: &Session| {
            let added = add(session, &webhook, now).await?;
            let added = added.ok_or_else(|| Failure::broken("an insert gave no row"))?;
            follow(session, &added, now).await?;
            Ok(added)
        })
    }

    fn change_webhook(
        &self,
        id: WebhookId,
        seen: u64,
        webhook: NewWebhook,
        now: Timestamp,
    ) -> Receipt<Option<Webhook>> {
        self.change(Kind::POLICIES, async move |session: &Session| {
            let changed = change(session, id, seen, &webhook, now).await?;
            if let Some(webhook) = &changed {
                follow(session, webhook, now).await?;
            }
            Ok(changed)
        })
    }

    fn set_webhook_enabled(
        &self,
        id: WebhookId,
        seen: Option<u64>,
        enabled: bool,
        reason: Option<String>,
        now: Timestamp,
    ) -> Receipt<bool> {
        self.change(Kind::OWN, async move |session: &Session| {
            let sql = "UPDATE webhook SET disabled_reason = CASE WHEN $2 THEN NULL WHEN enabled THEN $3
                       ELSE disabled_reason END, enabled = $2, updated_at = $4, version = version + 1,
                       failing_since = NULL, failed_at = NULL, failures = 0, warned = false
                       WHERE id = $1 AND ($5::bigint IS NULL OR version = $5)";
            let reason = reason.as_deref().map(text);
            changed(session, sql, &[&id.0, &enabled, &reason, &now.0, &seen.map(number)]).await
        })
    }

    fn disable_webhook(
        &self,
        id: WebhookId,
        reason: String,
        told: Acceptance,
        now: Timestamp,
    ) -> Receipt<Option<Vec<AcceptedTask>>> {
        let host = self.host;
        let kind = Kind { holds: told.tasks.iter().any(write::is_held), ..Kind::WORK };
        self.change(kind, async move |session: &Session| {
            let sql =
                "UPDATE webhook SET enabled = false, disabled_reason = $2, updated_at = $3, version = version + 1,
                       failing_since = NULL, failed_at = NULL, failures = 0, warned = false WHERE id = $1 AND enabled";
            if !changed(session, sql, &[&id.0, &text(&reason), &now.0]).await? {
                return Ok(None);
            }
            accept(session, host, &told).await.map(Some)
        })
    }

    fn end_tasks_of_webhook(&self, id: WebhookId, reason: String, now: Timestamp) -> Receipt<u64> {
        self.change(Kind::WORK, async move |session: &Session| end_tasks(session, id, &reason, now).await)
    }

    fn webhook_failed(&self, id: WebhookId, now: Timestamp) -> Receipt<Option<Failing>> {
        self.change(Kind::OWN, async move |session: &Session| {
            let sql = "UPDATE webhook SET failing_since = coalesce(failing_since, $2), failed_at = $2,
                       failures = failures + 1 WHERE id = $1 RETURNING failing_since, failed_at, failures, warned";
            let rows = session.query(sql, &[&id.0, &now.0]).await?;
            Ok(rows.first().and_then(|row| read::failing(row, 0)))
        })
    }

    fn webhook_warned(&self, id: WebhookId) -> Receipt<bool> {
        self.change(Kind::OWN, async move |session: &Session| {
            changed(session, "UPDATE webhook SET warned = true WHERE id = $1 AND NOT warned", &[&id.0]).await
        })
    }

    fn webhook_delivered(&self, id: WebhookId) -> Receipt<()> {
        self.change(Kind::OWN, async move |session: &Session| {
            let sql = "UPDATE webhook SET failing_since = NULL, failed_at = NULL, failures = 0, warned = false
                       WHERE id = $1 AND failing_since IS NOT NULL";
            session.execute(sql, &[&id.0]).await.map(drop)
        })
    }

    fn remove_webhook(&self, id: WebhookId, seen: Option<u64>, now: Timestamp) -> Receipt<bool> {
        self.change(Kind::WORK, async move |session: &Session| {
            let sql = "DELETE FROM webhook WHERE id = $1 AND ($2::bigint IS NULL OR version = $2)";
            if !changed(session, sql, &[&id.0, &seen.map(number)]).await? {
                return Ok(false);
            }
            set_key_policy(session, &webhook_key(id), None, now).await?;
            end_tasks(session, id, "webhook removed", now).await?;
            Ok(true)
        })
    }

    fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        self.read(async move |session: &Session| read::webhook_by_id(session, id).await)
    }

    fn webhooks(&self, owner: Option<OwnerId>) -> Result<Vec<Webhook>, StoreError> {
        self.read(async move |session: &Session| read::webhooks(session, owner).await)
    }

    fn webhooks_for(&self, owner: OwnerId) -> Result<Arc<[Arc<Webhook>]>, StoreError> {
        // Read each time: another host of the database may have changed them a moment ago.
        let webhooks = self.read(async move |session: &Session| read::webhooks_for(session, owner).await)?;
        Ok(webhooks.into_iter().map(Arc::new).collect())
    }
}

impl SealingStore for PostgresStore {
    fn sealing_key(&self) -> Result<Option<String>, StoreError> {
        self.read(async move |session: &Session| {
            Ok(session.row("SELECT id FROM sealing_key", &[]).await?.map(|row| row.get(0)))
        })
    }

    fn set_sealing_key(&self, seen: Option<String>, key: String) -> Receipt<String> {
        self.change(Kind::OWN, async move |session: &Session| set_sealing_key(session, seen.as_ref(), &key).await)
    }

    fn plugin_values(&self) -> Result<Vec<PluginValue>, StoreError> {
        self.read(async move |session: &Session| {
            let sql = "SELECT plugin, key, value, expires_at FROM plugin_value ORDER BY plugin, key";
            let read = |row: &Row| PluginValue {
                plugin: row.get(0),
                key: row.get(1),
                value: row.get(2),
                expires_at: row.get::<_, Option<i64>>(3).map(Timestamp),
            };
            Ok(session.query(sql, &[]).await?.iter().map(read).collect())
        })
    }

    fn reseal(&self, resealed: Resealed) -> Receipt<u64> {
        self.change(Kind::OWN, async move |session: &Session| {
            let mut count = 0;
            for (id, seen, sealed) in &resealed.webhooks {
                let sql = "UPDATE webhook SET secrets = $2, version = version + 1 WHERE id = $1 AND secrets = $3";
                count += session.execute(sql, &[&id.0, &sealed.0, &seen.0]).await?;
            }
            for (seen, sealed) in &resealed.plugin_values {
                let sql = "UPDATE plugin_value SET value = $1 WHERE plugin = $2 AND key = $3 AND value = $4";
                count += session.execute(sql, &[sealed, &seen.plugin, &seen.key, &seen.value]).await?;
            }
            Ok(count)
        })
    }
}

async fn set_sealing_key(session: &Session, seen: Option<&String>, key: &String) -> Result<String, Failure> {
    // The row is written by one transaction at a time, so that two hosts that start at once agree.
    match seen {
        None => {
            session.execute("INSERT INTO sealing_key (one, id) VALUES (1, $1) ON CONFLICT DO NOTHING", &[key]).await?
        }
        Some(seen) => session.execute("UPDATE sealing_key SET id = $1 WHERE id = $2", &[key, seen]).await?,
    };
    let found = session.row("SELECT id FROM sealing_key", &[]).await?;
    Ok(found.map_or_else(|| key.clone(), |row| row.get(0)))
}

async fn add(session: &Session, webhook: &NewWebhook, now: Timestamp) -> Result<Option<Webhook>, Failure> {
    let sql = concat!(
        "INSERT INTO webhook (owner, name, url, method, events, options, secrets, enabled, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, true, $8, $8) RETURNING ",
        webhook_columns!("webhook")
    );
    let NewWebhook { owner, name, url, method, events, options, secrets } = webhook;
    let (name, url, method) = (text(name), text(url), text(method));
    let (events, options) = (json(events)?, json(options)?);
    first(session, sql, &[&owner.0, &name, &url, &method, &events, &options, &secrets.0, &now.0]).await
}

/// Takes what tells of a webhook.
async fn accept(session: &Session, host: i64, told: &Acceptance) -> Result<Vec<AcceptedTask>, Failure> {
    let mut events = Events::default();
    told.events.iter().for_each(|event| events.push(event));
    session.query(write::ACCEPT_EVENTS, &events.columns()).await?;
    let mut accepted = Vec::with_capacity(told.tasks.len());
    for task in &told.tasks {
        accepted.push(accept_task(session, host, task).await?);
    }
    Ok(accepted)
}

/// Lets the policy of a webhook's key follow its record.
async fn follow(session: &Session, webhook: &Webhook, now: Timestamp) -> Result<(), Failure> {
    // Whether the key is paused is not the record's: it is neither read nor written, so that a pause which another host
    // sets at the same time stays.
    let policy = webhook.policy(&KeyPolicy::default()).unwrap_or_default();
    let sql = "INSERT INTO key_policy (key, cap, starts, per_ms, paused, updated_at) VALUES ($1, $2, $3, $4, false, $5)
               ON CONFLICT (key) DO UPDATE SET cap = excluded.cap, starts = excluded.starts, per_ms = excluded.per_ms,
               updated_at = excluded.updated_at";
    let (key, (cap, starts, per_ms)) = (webhook_key(webhook.id), policy::numbers(&policy));
    session.execute(sql, &[&key, &cap, &starts, &per_ms, &now.0]).await?;
    let empty = "DELETE FROM key_policy WHERE key = $1 AND cap IS NULL AND starts IS NULL AND NOT paused";
    session.execute(empty, &[&key]).await.map(drop)
}

/// Returns a version as it is stored.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

async fn change(
    session: &Session,
    id: WebhookId,
    seen: u64,
    webhook: &NewWebhook,
    now: Timestamp,
) -> Result<Option<Webhook>, Failure> {
    let sql = concat!(
        "UPDATE webhook SET owner = $3, name = $4, url = $5, method = $6, events = $7, options = $8, secrets = $9,
         updated_at = $10, version = version + 1 WHERE id = $1 AND version = $2 RETURNING ",
        webhook_columns!("webhook")
    );
    let NewWebhook { owner, name, url, method, events, options, secrets } = webhook;
    let (name, url, method) = (text(name), text(url), text(method));
    let (events, options) = (json(events)?, json(options)?);
    let values: &[&(dyn ToSql + Sync)] =
        &[&id.0, &number(seen), &owner.0, &name, &url, &method, &events, &options, &secrets.0, &now.0];
    first(session, sql, values).await
}

async fn first(
    session: &Session,
    sql: &'static str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Option<Webhook>, Failure> {
    let rows = session.query(sql, values).await?;
    rows.first().map(|row| read::webhook(row, 0)).transpose().map_err(Failure::Store)
}

async fn end_tasks(session: &Session, id: WebhookId, reason: &str, now: Timestamp) -> Result<u64, Failure> {
    let sql = "UPDATE task SET state = 4, reason = $3, holder = NULL, updated_at = $2
               WHERE webhook = $1 AND state IN (0, 2)";
    session.execute(sql, &[&id.0, &now.0, &text(reason)]).await
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let damaged =
        |error: serde_json::Error| StoreError::Corrupt { record: "webhook".into(), reason: error.to_string() };
    serde_json::to_string(value).map_err(damaged).map_err(Failure::Store)
}
