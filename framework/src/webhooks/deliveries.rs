//! The attempts of deliveries: what was sent and what came back, and making them again.

use std::sync::Arc;

use switchboard_plugin_api::{DeferredDelivery, DeliveryMode, ImmediateDelivery, Trigger, TriggerNumber};
use thiserror::Error;

use super::{CHANNEL, Receiver, curl, delivery, fan_out};
use crate::bulks::{BulkError, Bulks};
use crate::core::Core;
use crate::registry::Registry;
use crate::run::{CallOptions, PREVIEWED, RunState, Subject};
use crate::store::{
    Acceptance, Attempt, AttemptFilter, AttemptId, AttemptMode, Bulk, BulkAction, Event, HttpExchange, NewBulk,
    NewTask, SentBody, StoreError, Task, TaskFilter, TaskState, Timestamp, Webhook, WebhookId,
};

use crate::vault::VaultError;

/// The attempts of one host, or of all hosts of its store.
pub struct Deliveries<'a> {
    core: &'a Arc<Core>,
}

/// How a delivery is made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// With the bytes that were sent, the same id, a new time, and today's URL and secrets.
    #[default]
    AsSent,
    /// As the auth method builds it today.
    Rebuild,
}

/// What a delivery would send now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Preview {
    /// The requests, in order. None has been sent, so that there is nothing after one whose answer matters, such as a request
    /// for a token.
    pub requests: Vec<PreviewedRequest>,
    /// Why there is no request, or no whole one.
    pub note: Option<String>,
}

/// A request that is not sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PreviewedRequest {
    /// Method, URL and headers, masked.
    pub request: HttpExchange,
    /// The body; none of a confidential request.
    pub body: Option<Vec<u8>>,
    /// The text of which the header `webhook-signature` holds the signatures: id, time and body with dots between them.
    pub signed: Option<String>,
}

impl PreviewedRequest {
    /// Returns a command for a POSIX shell that sends the request. Secrets are masked in it.
    #[must_use]
    pub fn curl(&self) -> String {
        curl::curl(&self.request, self.body.as_deref())
    }
}

/// Why an attempt cannot be shown or made again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// There is no such attempt.
    #[error("there is no attempt {id}; `switchboard delivery list` shows them")]
    Missing {
        /// The id.
        id: AttemptId,
    },
    /// It delivers nothing.
    #[error("attempt {id} delivers no event to a webhook; `switchboard task replay` runs its task once more")]
    NoDelivery {
        /// The id.
        id: AttemptId,
    },
    /// It goes on.
    #[error("attempt {id} has not ended")]
    Running {
        /// The id.
        id: AttemptId,
    },
    /// Its webhook is gone.
    #[error("the webhook of attempt {id} has been removed")]
    WebhookRemoved {
        /// The id.
        id: AttemptId,
    },
    /// No plugin performs its method.
    #[error("no plugin performs the auth method `{method}` just now: place its library back")]
    PluginMissing {
        /// The method.
        method: String,
    },
    /// What it was made of is gone.
    #[error(
        "the body of attempt {id} is gone: it is removed when an event has been delivered, except in development mode \
         (`[log] mode = \"development\"`)"
    )]
    BodyGone {
        /// The id.
        id: AttemptId,
    },
    /// It sent nothing that could be sent again.
    #[error("attempt {id} sent nothing to the receiver; replay it as a rebuild")]
    NothingSent {
        /// The id.
        id: AttemptId,
    },
    /// The secrets of the webhook cannot be opened.
    #[error("the secrets of the webhook cannot be opened")]
    Secrets {
        /// Why.
        source: VaultError,
    },
    /// The bulk operation cannot be started.
    #[error("the deliveries cannot be recovered")]
    Bulk {
        /// Why.
        source: BulkError,
    },
    /// The store failed.
    #[error("the attempts cannot be read or changed")]
    Store {
        /// Why.
        source: StoreError,
    },
}

impl<'a> super::Webhooks<'a> {
    /// Returns the attempts of deliveries.
    #[must_use]
    pub fn deliveries(&self) -> Deliveries<'a> {
        Deliveries::new(self.core)
    }
}

impl<'a> Deliveries<'a> {
    fn new(core: &'a Arc<Core>) -> Self {
        Self { core }
    }

    /// Returns the attempts that match, the newest first, without their exchanges; [`Deliveries::get`] has them. The next page
    /// begins after the last id of this one.
    ///
    /// # Errors
    ///
    /// When the store fails.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use switchboard::Switchboard;
    /// use switchboard::store::{AttemptFilter, WebhookId};
    ///
    /// let switchboard = Switchboard::open("switchboard-data")?;
    /// let webhooks = switchboard.webhooks();
    /// let filter = AttemptFilter { webhook: Some(WebhookId(3)), failed: Some(true), ..AttemptFilter::default() };
    /// for attempt in webhooks.deliveries().find(&filter)? {
    ///     println!("{} {:?}", attempt.started_at, attempt.detail);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find(&self, filter: &AttemptFilter) -> Result<Vec<Attempt>, DeliveryError> {
        self.core.store.find_attempts(filter).map_err(store)
    }

    /// Returns one attempt with everything.
    ///
    /// # Errors
    ///
    /// When there is none of that id, or the store fails.
    pub fn get(&self, id: AttemptId) -> Result<Attempt, DeliveryError> {
        self.core.store.attempt(id).map_err(store)?.ok_or(DeliveryError::Missing { id })
    }

    /// Returns all tries to deliver what an attempt delivers, the first first: of its task, of replays, and those that were
    /// made at once. At most 1,000, without their exchanges.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn tries(&self, attempt: &Attempt) -> Result<Vec<Attempt>, DeliveryError> {
        let filter = match (&attempt.event, attempt.webhook, attempt.task) {
            (Some(event), Some(webhook), _) => {
                AttemptFilter { event: Some(event.clone()), webhook: Some(webhook), ..AttemptFilter::default() }
            }
            (_, _, Some(task)) => AttemptFilter { task: Some(task), ..AttemptFilter::default() },
            _ => return Ok(vec![attempt.clone()]),
        };
        self.find(&AttemptFilter { oldest_first: true, limit: 1_000, ..filter })
    }

    /// Returns the event of an attempt; `None` when it is no longer kept. Its body is empty when only that is gone.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn event(&self, attempt: &Attempt) -> Result<Option<Event>, DeliveryError> {
        match &attempt.event {
            Some(event) => self.core.store.event(event).map_err(store),
            None => Ok(None),
        }
    }

    /// Returns the bytes that an exchange of an attempt sent; `None` when they are not kept. Of a body that a plugin has
    /// built, at most the first 32 KiB are.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn body(&self, attempt: &Attempt, exchange: &HttpExchange) -> Result<Option<Vec<u8>>, DeliveryError> {
        if !exchange.body.is_event {
            return Ok(exchange.body.bytes.clone());
        }
        let event = self.event(attempt)?;
        Ok(event.map(|event| event.body).filter(|body| exchange.body.is(body)))
    }

    /// Makes a delivery once more, as a task of its own, once, whatever comes of it. It is made although the webhook is
    /// disabled, its failure counts for nothing, and the tries of the first task go on as they were. `by` is who asks for it,
    /// for the log.
    ///
    /// # Errors
    ///
    /// When there is none of that id, it goes on, its webhook or its body is gone, it has sent nothing that could be sent
    /// again, or the store fails.
    pub fn replay(&self, id: AttemptId, replay: Replay, by: &str) -> Result<Task, DeliveryError> {
        let attempt = self.get(id)?;
        let (event, webhook) = self.delivered(&attempt)?;
        if attempt.ended_at.is_none() {
            return Err(DeliveryError::Running { id });
        }
        let as_sent = match replay {
            Replay::Rebuild => None,
            Replay::AsSent => {
                let sent = attempt.exchanges.last().filter(|exchange| !exchange.confidential);
                let sent = sent.ok_or(DeliveryError::NothingSent { id })?;
                if !sent.body.is_event && sent.body.whole().is_none() {
                    return Err(DeliveryError::BodyGone { id });
                }
                Some(id)
            }
        };
        let number = kind(&self.core.registry.load(), &webhook).unwrap_or(DeferredDelivery::NUMBER);
        let now = Timestamp(self.core.clock.now());
        let origin = attempt.task.map_or_else(|| format!("attempt {id}"), |task| task.to_string());
        let new = NewTask {
            event: Some(event.id.clone()),
            webhook: Some(webhook.id),
            number: number.get(),
            name: webhook.method.clone(),
            key: format!("replay:{origin}"),
            host: fan_out::remote_host(&webhook.url),
            at: now,
            run_at: now,
            schedule: Some(vec![std::time::Duration::ZERO]),
            replay_of: attempt.task,
            mode: Some(AttemptMode::Replay),
            as_sent,
            ..NewTask::default()
        };
        let accepted = self.core.accept(Acceptance { events: Vec::new(), tasks: vec![new] }).map_err(store)?;
        let task = accepted.first().map(|task| task.head.id).ok_or_else(|| store(StoreError::Closed))?;
        let kind = if as_sent.is_some() { "as sent" } else { "rebuild" };
        log::info!(logger: self.core.log, target: CHANNEL, attempt = id.to_string(), replay = task.to_string(), kind,
            webhook = webhook.id.to_string(), by; "a delivery is replayed");
        self.core.store.task(task).map_err(store)?.ok_or_else(|| store(StoreError::Closed))
    }

    /// Returns what a rebuild of a delivery would send just now. The auth method is asked, and nothing is sent or changed.
    ///
    /// # Errors
    ///
    /// When there is none of that id, its webhook, its plugin or its body is gone, or the store fails.
    pub fn preview(&self, id: AttemptId) -> Result<Preview, DeliveryError> {
        let attempt = self.get(id)?;
        let (event, webhook) = self.delivered(&attempt)?;
        let mut subject = Subject::host(self.core);
        subject.owner = event.owner;
        subject.task.clone_from(&event.task);
        subject.channel.clone_from(&event.channel);
        let run = Arc::new(RunState::new(Arc::clone(self.core), subject));
        let missing = || DeliveryError::PluginMissing { method: webhook.method.clone() };
        let number = kind(&run.registry, &webhook).ok_or_else(missing)?;
        let handler = run.registry.handler(number, &webhook.method).ok_or_else(missing)?;
        let receiver = Receiver::of(&self.core.vault, &webhook).map_err(|source| DeliveryError::Secrets { source })?;
        let transcript = Arc::new(delivery::transcript(&run, &event, &webhook, &receiver).preview());
        let options = CallOptions {
            timeout: webhook.options.timeout.or(Some(self.core.config.deferred.timeout)),
            receiver: Some(Arc::new(receiver)),
            transcript: Some(Arc::clone(&transcript)),
            ..CallOptions::default()
        };
        let input = delivery::input(&event, &webhook, 1, DeliveryMode::Deferred);
        let outcome =
            delivery::outcome(input.and_then(|input| run.call(handler, &input, &options)), handler, &transcript);
        let requests = outcome.exchanges.into_iter().zip(transcript.take_signed()).map(|(request, signed)| {
            let body = if request.body.is_event { Some(event.body.clone()) } else { request.body.bytes.clone() };
            PreviewedRequest { request, body, signed }
        });
        let requests: Vec<_> = requests.collect();
        let note = match outcome.result {
            Ok(note) => note,
            Err(error) if error.code() == Some(PREVIEWED) => requests
                .last()
                .filter(|last| last.request.confidential)
                .map(|_| "what follows depends on the answer to this request, and a preview sends nothing".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        Ok(Preview { requests, note })
    }

    /// Returns a command for a POSIX shell that makes the request of an attempt to the receiver again. Secrets are masked in
    /// it.
    ///
    /// # Errors
    ///
    /// When there is none of that id, it sent nothing, or the store fails.
    pub fn curl(&self, id: AttemptId) -> Result<String, DeliveryError> {
        let attempt = self.get(id)?;
        let exchange = attempt.delivery().ok_or(DeliveryError::NothingSent { id })?;
        Ok(curl::curl(exchange, self.body(&attempt, exchange)?.as_deref()))
    }

    /// Counts the deliveries to a webhook that [`Deliveries::recover`] would make.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn count_recoverable(&self, webhook: WebhookId, since: Timestamp) -> Result<u64, DeliveryError> {
        self.core.store.count_tasks(&self.recoverable(webhook, since)?).map_err(store)
    }

    /// Makes every delivery to a webhook again that was accepted at `since` or later, was given up, and has never arrived, with
    /// all tries of its schedule; of a webhook with an owner, those of the owner's events. A bulk operation does it, at most `per_second` of them a second: it survives a restart,
    /// and [`Bulks`] pauses and ends it.
    ///
    /// # Errors
    ///
    /// When the speed is out of range, or the store fails.
    pub fn recover(
        &self,
        webhook: WebhookId,
        since: Timestamp,
        per_second: u32,
        by: &str,
    ) -> Result<Bulk, DeliveryError> {
        let filter = self.recoverable(webhook, since)?;
        let new = NewBulk { action: BulkAction::Retry, filter, per_second, expected: None, by: Some(by.to_owned()) };
        let bulk = Bulks::new(self.core).start(new).map_err(|source| DeliveryError::Bulk { source })?;
        log::info!(logger: self.core.log, target: CHANNEL, webhook = webhook.to_string(), bulk = bulk.id.to_string(),
            deliveries = bulk.total, by; "deliveries are recovered");
        Ok(bulk)
    }

    /// Returns which tasks a recovery is over. Of a webhook that has changed hands, not those of its former owner's events.
    fn recoverable(&self, webhook: WebhookId, since: Timestamp) -> Result<TaskFilter, DeliveryError> {
        let owner = self.core.store.webhook(webhook).map_err(store)?.map(|webhook| webhook.owner);
        Ok(TaskFilter {
            state: Some(TaskState::Dead),
            webhook: Some(webhook),
            owner: owner.filter(|owner| owner.0 != 0),
            since: Some(since),
            undelivered: true,
            ..TaskFilter::default()
        })
    }

    /// Returns what an attempt delivers, and where.
    fn delivered(&self, attempt: &Attempt) -> Result<(Event, Webhook), DeliveryError> {
        let id = attempt.id;
        let (Some(_), Some(webhook)) = (&attempt.event, attempt.webhook) else {
            return Err(DeliveryError::NoDelivery { id });
        };
        let webhook = self.core.store.webhook(webhook).map_err(store)?;
        let event = self.event(attempt)?.filter(|event| !event.body.is_empty());
        Ok((event.ok_or(DeliveryError::BodyGone { id })?, webhook.ok_or(DeliveryError::WebhookRemoved { id })?))
    }
}

/// Returns which of its handlers an auth method delivers with; `None` when no plugin performs it.
fn kind(registry: &Registry, webhook: &Webhook) -> Option<TriggerNumber> {
    let numbers = [DeferredDelivery::NUMBER, ImmediateDelivery::NUMBER];
    numbers.into_iter().find(|number| registry.exists_named(*number, &webhook.method))
}

/// Returns the body that an attempt sent, with its bytes where that was the event's.
pub(crate) fn with_event(mut body: SentBody, event: &Event) -> SentBody {
    if body.is_event {
        body.bytes = Some(event.body.clone());
    }
    body
}

fn store(source: StoreError) -> DeliveryError {
    DeliveryError::Store { source }
}
