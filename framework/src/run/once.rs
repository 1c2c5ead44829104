//! Announcing under an idempotency key: the same key and the same content give the event of the first time.

use std::sync::Arc;

use super::RunState;
use crate::store::{EventId, IdempotencyKey, NewEvent, Timestamp};
use crate::webhooks::{AnnounceError, fingerprint};

/// Longest key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// Announces an event under a key. Whether it was announced before is looked up here, so that nobody is told of it again;
/// the commit looks once more, for what others announce meanwhile.
pub(super) fn announce(state: &Arc<RunState>, event: NewEvent, key: &str) -> Result<EventId, AnnounceError> {
    if !(1..=MAX_KEY_BYTES).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AnnounceError::Key { key: key.chars().take(40).collect::<String>().escape_debug().to_string() });
    }
    let now = Timestamp(state.core.clock.now());
    let window = i64::try_from(state.core.config.retention.idempotency_keys.as_millis()).unwrap_or(i64::MAX);
    let new = IdempotencyKey {
        owner: event.owner,
        key: key.to_owned(),
        event: event.id.clone(),
        fingerprint: fingerprint(&event),
        expires_at: Timestamp(now.0.saturating_add(window)),
    };
    if let Some(first) = state.with_outbox(|outbox| outbox.under_key(&new)) {
        return same(&new, first);
    }
    let found = state.core.store.idempotency_key(new.owner, key, now);
    match found.map_err(|source| AnnounceError::Store { source })? {
        Some(first) => {
            let id = same(&new, first)?;
            state.with_outbox(|outbox| outbox.announce_known(NewEvent { id: id.clone(), ..event }));
            Ok(id)
        }
        None => Ok(state.with_outbox(|outbox| outbox.announce_under(event, new))),
    }
}

/// Returns the first event of a key, when it has the same content.
fn same(new: &IdempotencyKey, first: IdempotencyKey) -> Result<EventId, AnnounceError> {
    if first.fingerprint == new.fingerprint {
        return Ok(first.event);
    }
    Err(AnnounceError::KeyTaken { key: first.key, event: first.event })
}
