//! An event that only shows whether a webhook works.

use std::sync::Arc;

use super::{WebhookError, Webhooks};
use crate::run::{AnnouncedEvent, Notification, RunBuilder};
use crate::store::WebhookId;

/// Name of the event. Receivers know it by that.
const TEST_EVENT: &str = "webhook_test";

impl Webhooks<'_> {
    /// Sends a test event, `webhook_test`, to one webhook only, whatever events it gets. It is delivered as any other
    /// event, with retries; to a disabled webhook it is not.
    ///
    /// # Errors
    ///
    /// When there is none of that id, or the store fails.
    pub fn send_test(&self, id: WebhookId) -> Result<AnnouncedEvent, WebhookError> {
        let webhook = self.get(id)?;
        let mut run = RunBuilder::new(Arc::clone(self.core())).owner(webhook.owner.0).task(TEST_EVENT).start();
        let data = format!("{{\"webhook\":{id}}}");
        let announced = run.announce_to(webhook, Notification::from_json(TEST_EVENT, data));
        announced.map_err(|source| WebhookError::Announce { source })?;
        let finished = run.finish().map_err(|source| WebhookError::Test { source: Box::new(source) })?;
        finished.events.into_iter().next().ok_or(WebhookError::Missing { id })
    }
}
