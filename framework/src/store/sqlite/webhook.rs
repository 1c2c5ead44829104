//! Webhooks, and with which key their secrets are sealed.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::policy::{key_policy, set_key_policy};
use super::read::{self, all, one, read_failing, read_webhook};
use super::transfer::read_plugin_value;
use super::write::{accept, execute};
use super::{SqliteStore, Sync};
use crate::store::record::webhook_key;
use crate::store::{
    Acceptance, AcceptedTask, Failing, NewWebhook, OwnerId, PluginValue, Receipt, Resealed, SealingStore, StoreError,
    Timestamp, Webhook, WebhookId, WebhookStore,
};

impl WebhookStore for SqliteStore {
    fn add_webhook(&self, webhook: NewWebhook, now: Timestamp) -> Receipt<Webhook> {
        self.change_webhooks(move |connection| add(connection, &webhook, now))
    }

    fn change_webhook(
        &self,
        id: WebhookId,
        seen: u64,
        webhook: NewWebhook,
        now: Timestamp,
    ) -> Receipt<Option<Webhook>> {
        self.change_webhooks(move |connection| change(connection, id, seen, &webhook, now))
    }

    fn set_webhook_enabled(
        &self,
        id: WebhookId,
        seen: Option<u64>,
        enabled: bool,
        reason: Option<String>,
        now: Timestamp,
    ) -> Receipt<bool> {
        self.change_webhooks(move |connection| {
            let sql = "UPDATE webhook SET disabled_reason = CASE WHEN ?1 THEN NULL WHEN enabled THEN ?2 ELSE disabled_reason END,
                       enabled = ?1, updated_at = ?3, version = version + 1, failing_since = NULL, failed_at = NULL,
                       failures = 0, warned = 0 WHERE id = ?4 AND (?5 IS NULL OR version = ?5)";
            Ok(execute(connection, sql, params![enabled, reason, now.0, id.0, seen.map(number)])? > 0)
        })
    }

    fn disable_webhook(
        &self,
        id: WebhookId,
        reason: String,
        told: Acceptance,
        now: Timestamp,
    ) -> Receipt<Option<Vec<AcceptedTask>>> {
        self.change_webhooks(move |connection| {
            let sql = "UPDATE webhook SET enabled = 0, disabled_reason = ?, updated_at = ?, version = version + 1,
                       failing_since = NULL, failed_at = NULL, failures = 0, warned = 0 WHERE id = ? AND enabled";
            if execute(connection, sql, params![reason, now.0, id.0])? == 0 {
                return Ok(None);
            }
            accept(connection, &told).map(Some)
        })
    }

    fn end_tasks_of_webhook(&self, id: WebhookId, reason: String, now: Timestamp) -> Receipt<u64> {
        self.writer.submit(Sync::Full, move |connection| end_tasks(connection, id, &reason, now))
    }

    fn webhook_failed(&self, id: WebhookId, now: Timestamp) -> Receipt<Option<Failing>> {
        self.writer.submit(Sync::Full, move |connection| {
            let sql = "UPDATE webhook SET failing_since = coalesce(failing_since, ?1), failed_at = ?1,
                       failures = failures + 1 WHERE id = ?2 RETURNING failing_since, failed_at, failures, warned";
            Ok(one(connection, sql, params![now.0, id.0], |row| read_failing(row, 0))?.flatten())
        })
    }

    fn webhook_warned(&self, id: WebhookId) -> Receipt<bool> {
        self.writer.submit(Sync::Full, move |connection| {
            Ok(execute(connection, "UPDATE webhook SET warned = 1 WHERE id = ? AND warned = 0", params![id.0])? > 0)
        })
    }

    fn webhook_delivered(&self, id: WebhookId) -> Receipt<()> {
        self.writer.submit(Sync::Full, move |connection| {
            let sql = "UPDATE webhook SET failing_since = NULL, failed_at = NULL, failures = 0, warned = 0
                       WHERE id = ? AND failing_since IS NOT NULL";
            execute(connection, sql, params![id.0]).map(drop)
        })
    }

    fn remove_webhook(&self, id: WebhookId, seen: Option<u64>, now: Timestamp) -> Receipt<bool> {
        self.change_webhooks(move |connection| {
            let sql = "DELETE FROM webhook WHERE id = ?1 AND (?2 IS NULL OR version = ?2)";
            if execute(connection, sql, params![id.0, seen.map(number)])? == 0 {
                return Ok(false);
            }
            set_key_policy(connection, &webhook_key(id), None, now)?;
            end_tasks(connection, id, "webhook removed", now)?;
            Ok(true)
        })
    }

    fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        self.read(|connection| read::webhook(connection, id))
    }

    fn webhooks(&self, owner: Option<OwnerId>) -> Result<Vec<Webhook>, StoreError> {
        self.read(|connection| read::webhooks(connection, owner))
    }

    fn webhooks_for(&self, owner: OwnerId) -> Result<Arc<[Arc<Webhook>]>, StoreError> {
        self.webhooks.of(owner, || self.read(|connection| read::webhooks_for(connection, owner)))
    }
}

impl SealingStore for SqliteStore {
    fn sealing_key(&self) -> Result<Option<String>, StoreError> {
        self.read(sealing_key)
    }

    fn set_sealing_key(&self, seen: Option<String>, key: String) -> Receipt<String> {
        self.writer.submit(Sync::Full, move |connection| {
            let found = sealing_key(connection)?;
            if found != seen {
                return Ok(found.unwrap_or_else(|| key.clone()));
            }
            insert_sealing_key(connection, &key)?;
            Ok(key.clone())
        })
    }

    fn plugin_values(&self) -> Result<Vec<PluginValue>, StoreError> {
        let sql = "SELECT plugin, key, value, expires_at FROM plugin_value ORDER BY plugin, key";
        self.read(|connection| all(connection, sql, [], read_plugin_value))
    }

    fn reseal(&self, resealed: Resealed) -> Receipt<u64> {
        self.change_webhooks(move |connection| {
            let mut count = 0;
            for (id, seen, sealed) in &resealed.webhooks {
                let sql = "UPDATE webhook SET secrets = ?, version = version + 1 WHERE id = ? AND secrets = ?";
                count += execute(connection, sql, params![sealed.0, id.0, seen.0])?;
            }
            for (seen, sealed) in &resealed.plugin_values {
                let sql = "UPDATE plugin_value SET value = ? WHERE plugin = ? AND key = ? AND value = ?";
                count += execute(connection, sql, params![sealed, seen.plugin, seen.key, seen.value])?;
            }
            Ok(count as u64)
        })
    }
}

/// Sets the key, whichever it was.
pub(super) fn insert_sealing_key(connection: &Connection, key: &str) -> Result<(), StoreError> {
    execute(connection, "INSERT OR REPLACE INTO sealing_key (one, id) VALUES (1, ?)", params![key]).map(drop)
}

pub(super) fn sealing_key(connection: &Connection) -> Result<Option<String>, StoreError> {
    one(connection, "SELECT id FROM sealing_key", [], |row| row.get(0))
}

fn add(connection: &Connection, webhook: &NewWebhook, now: Timestamp) -> Result<Webhook, StoreError> {
    let NewWebhook { owner, name, url, method, events, options, secrets } = webhook;
    let sql = format!(
        "INSERT INTO webhook (owner, name, url, method, events, options, secrets, enabled, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?) RETURNING {}",
        read::WEBHOOK_COLUMNS
    );
    let (events, options) = (json(events)?, json(options)?);
    let values = params![owner.0, name, url, method, events, options, secrets.0, now.0, now.0];
    let webhook = one(connection, &sql, values, read_webhook)?.unwrap_or_else(|| Err(missing()))?;
    follow(connection, &webhook, now)?;
    Ok(webhook)
}

/// Lets the policy of a webhook's key follow its record.
fn follow(connection: &Connection, webhook: &Webhook, now: Timestamp) -> Result<(), StoreError> {
    let key = webhook_key(webhook.id);
    let stored = key_policy(connection, &key)?.unwrap_or_default();
    set_key_policy(connection, &key, webhook.policy(&stored).as_ref(), now)
}

/// Returns a version as it is stored.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

fn change(
    connection: &Connection,
    id: WebhookId,
    seen: u64,
    webhook: &NewWebhook,
    now: Timestamp,
) -> Result<Option<Webhook>, StoreError> {
    let NewWebhook { owner, name, url, method, events, options, secrets } = webhook;
    let sql = format!(
        "UPDATE webhook SET owner = ?, name = ?, url = ?, method = ?, events = ?, options = ?, secrets = ?,
         updated_at = ?, version = version + 1 WHERE id = ? AND version = ? RETURNING {}",
        read::WEBHOOK_COLUMNS
    );
    let (events, options) = (json(events)?, json(options)?);
    let values = params![owner.0, name, url, method, events, options, secrets.0, now.0, id.0, number(seen)];
    let changed = one(connection, &sql, values, read_webhook)?.transpose()?;
    changed.iter().try_for_each(|webhook| follow(connection, webhook, now))?;
    Ok(changed)
}

fn end_tasks(connection: &Connection, id: WebhookId, reason: &str, now: Timestamp) -> Result<u64, StoreError> {
    let sql = "UPDATE task SET state = 4, reason = ?, holder = NULL, updated_at = ?
               WHERE webhook = ? AND state IN (0, 2)";
    execute(connection, sql, params![reason, now.0, id.0]).map(|changed| changed as u64)
}

/// Writes what is stored as JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Corrupt { record: "webhook".into(), reason: error.to_string() })
}

fn missing() -> StoreError {
    StoreError::Corrupt { record: "webhook".into(), reason: "an insert gave no row".into() }
}
