//! The enabled webhooks of owners whose events came lately, in memory, so that accepting an event reads nothing.
//!
//! Only the host that holds the folder's lock writes to the file, so every change passes through its writer, which calls
//! [`KnownWebhooks::forget`] between the commit and the answer: whoever has heard that a webhook was added, changed or
//! removed announces by what is stored. How often deliveries failed does not concern an announcement: that may be older here.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::store::{OwnerId, StoreError, Webhook};

/// Most owners and webhooks that are kept, counted together. When there are more, all are forgotten and read again.
const MAX_KNOWN: usize = 20_000;

#[derive(Default)]
pub(super) struct KnownWebhooks(RwLock<Known>);

#[derive(Default)]
struct Known {
    /// Grows with every change, so that what was read before it is not kept after it.
    generation: u64,
    by_owner: HashMap<OwnerId, Arc<[Arc<Webhook>]>>,
    /// Owners and webhooks in `by_owner`.
    count: usize,
}

impl KnownWebhooks {
    /// Returns the webhooks of an owner, which `read` takes from the store when they are not known.
    pub(super) fn of(
        &self,
        owner: OwnerId,
        read: impl FnOnce() -> Result<Vec<Webhook>, StoreError>,
    ) -> Result<Arc<[Arc<Webhook>]>, StoreError> {
        let generation = {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(webhooks) = known.by_owner.get(&owner) {
                return Ok(Arc::clone(webhooks));
            }
            known.generation
        };
        let webhooks: Arc<[Arc<Webhook>]> = read()?.into_iter().map(Arc::new).collect();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.generation == generation {
            known.keep(owner, &webhooks);
        }
        Ok(webhooks)
    }

    /// Forgets all, because one has changed.
    pub(super) fn forget(&self) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.generation += 1;
        known.clear();
    }
}

impl Known {
    fn keep(&mut self, owner: OwnerId, webhooks: &Arc<[Arc<Webhook>]>) {
        let more = webhooks.len() + 1;
        if self.count + more > MAX_KNOWN {
            self.clear();
        }
        if self.by_owner.insert(owner, Arc::clone(webhooks)).is_none() {
            self.count += more;
        }
    }

    fn clear(&mut self) {
        self.by_owner.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Result<Vec<Webhook>, StoreError> {
        Ok(Vec::new())
    }

    #[test]
    fn an_owner_is_read_once_until_something_changes() {
        let known = KnownWebhooks::default();
        let mut reads = 0;
        let mut ask = |known: &KnownWebhooks| {
            known.of(OwnerId(1), || {
                reads += 1;
                none()
            })
        };
        ask(&known).unwrap();
        ask(&known).unwrap();
        known.forget();
        ask(&known).unwrap();
        assert_eq!(reads, 2);
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let known = KnownWebhooks::default();
        let changed_meanwhile = || {
            known.forget();
            none()
        };
        known.of(OwnerId(1), changed_meanwhile).unwrap();
        let mut read_again = false;
        known
            .of(OwnerId(1), || {
                read_again = true;
                none()
            })
            .unwrap();
        assert!(read_again);
    }

    #[test]
    fn no_more_than_a_bounded_number_is_kept() {
        let known = KnownWebhooks::default();
        for owner in 0..i64::try_from(2 * MAX_KNOWN).unwrap() {
            known.of(OwnerId(owner), none).unwrap();
        }
        assert!(known.0.read().unwrap().by_owner.len() <= MAX_KNOWN);
    }
}
