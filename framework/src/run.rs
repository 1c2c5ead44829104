//! One run: a request of the host application, from its start to the commit of what it announced.
//!
//! A run holds the values that its minicomponents share (showtime), knows who acts and for whom, and sees one snapshot of
//! the registry from start to end. [`Run::finish`] fires 99994 and 99999, commits the announced events with their
//! deferred tasks in one durable step, and then returns. Delivering is not its work.

mod call;
mod end;
mod error;
mod once;
mod outbox;
mod services;
mod transcript;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use switchboard_plugin_api::host::Payload;
use switchboard_plugin_api::{AccessLevel, PluginError, Trigger, TriggerNumber, access_level};

pub(crate) use call::{Call, CallOptions, OwnedCall};
pub(crate) use end::finish;
pub use error::{FinishError, TriggerError};
pub(crate) use outbox::Outbox;
pub use outbox::{AnnouncedEvent, Finished, ImmediateResult};
pub(crate) use services::plugin_value_purpose;
pub(crate) use transcript::{PREVIEWED, Transcript};

use crate::core::Core;
use crate::dispatcher::{self, Broadcast, HandlerValue, Values};
use crate::registry::{Minicomponent, Registry};
use crate::store::{EventId, OwnerId, TaskId, Webhook};
use crate::webhooks::{self, AnnounceError, Planned};

/// How deep triggers may be nested; a handler that fires itself is stopped here.
const MAX_DEPTH: u32 = 16;

/// Who runs, for whom and about what.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) actor: Option<String>,
    pub(crate) level: AccessLevel,
    pub(crate) owner: OwnerId,
    pub(crate) subject: Option<String>,
    pub(crate) task: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) language: String,
}

impl Subject {
    /// The host itself, which may do everything, for the whole site.
    pub(crate) fn host(core: &Core) -> Self {
        Self {
            actor: None,
            level: AccessLevel::ADMINISTRATOR,
            owner: OwnerId(0),
            subject: None,
            task: None,
            channel: None,
            language: core.config.languages.default.clone(),
        }
    }
}

/// What the minicomponents of one run share.
pub(crate) struct RunState {
    pub(crate) core: Arc<Core>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) subject: Subject,
    /// The deferred task that this run works on, and how many causes lie before it.
    pub(crate) cause: Option<(TaskId, u32)>,
    /// Empty until the first handler is suppressed, so that asking costs no lock in all other runs.
    suppressed: OnceLock<RwLock<HashSet<(TriggerNumber, String)>>>,
    showtime: Mutex<BTreeMap<String, Vec<u8>>>,
    outbox: Mutex<Outbox>,
}

impl RunState {
    pub(crate) fn new(core: Arc<Core>, subject: Subject) -> Self {
        Self {
            registry: core.registry.load_full(),
            core,
            subject,
            cause: None,
            suppressed: OnceLock::new(),
            showtime: Mutex::default(),
            outbox: Mutex::default(),
        }
    }

    pub(crate) fn showtime(&self, key: &str) -> Option<Vec<u8>> {
        self.showtime.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(crate) fn set_showtime(&self, key: &str, value: Vec<u8>) {
        self.showtime.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), value);
    }

    pub(crate) fn with_outbox<V>(&self, change: impl FnOnce(&mut Outbox) -> V) -> V {
        change(&mut self.outbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[inline]
    fn is_suppressed(&self, one: &Minicomponent) -> bool {
        self.suppressed.get().is_some_and(|suppressed| {
            suppressed.read().unwrap_or_else(PoisonError::into_inner).contains(&(one.number, one.name.clone()))
        })
    }

    /// Calls all handlers of a number in firing order.
    pub(crate) fn broadcast(self: &Arc<Self>, number: TriggerNumber, input: &[u8], depth: u32) -> Broadcast {
        // Most numbers have one handler. Its value is written where the caller looks for it.
        if let [one] = self.registry.handlers(number)
            && !self.is_suppressed(one)
        {
            return Broadcast { number, values: Values::from_buf([self.value(one, input, depth)]) };
        }
        Broadcast { number, values: self.values(number, input, depth) }
    }

    #[inline(never)]
    fn values(self: &Arc<Self>, number: TriggerNumber, input: &[u8], depth: u32) -> Values {
        let handlers = self.registry.handlers(number).iter().filter(|one| !self.is_suppressed(one));
        handlers.map(|one| self.value(one, input, depth)).collect()
    }

    /// Calls the handler `name` of a number; `None` when there is none.
    pub(crate) fn named(
        self: &Arc<Self>,
        number: TriggerNumber,
        name: &str,
        input: &[u8],
        depth: u32,
    ) -> Option<HandlerValue> {
        let minicomponent = self.registry.handler(number, name).filter(|one| !self.is_suppressed(one))?;
        Some(self.value(minicomponent, input, depth))
    }

    #[inline(always)]
    fn value(self: &Arc<Self>, minicomponent: &Arc<Minicomponent>, input: &[u8], depth: u32) -> HandlerValue {
        let result = self.call_at(minicomponent, input, depth, &CallOptions::NONE);
        HandlerValue { minicomponent: Arc::clone(minicomponent), result }
    }

    /// Calls one handler.
    pub(crate) fn call(
        self: &Arc<Self>,
        minicomponent: &Arc<Minicomponent>,
        input: &[u8],
        options: &CallOptions,
    ) -> Result<Payload, PluginError> {
        self.call_at(minicomponent, input, 0, options)
    }

    /// Calls one handler with `depth` triggers around it.
    #[inline(always)]
    fn call_at(
        self: &Arc<Self>,
        minicomponent: &Arc<Minicomponent>,
        input: &[u8],
        depth: u32,
        options: &CallOptions,
    ) -> Result<Payload, PluginError> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        dispatcher::call(&Call::new(self, minicomponent, depth, options), input)
    }
}

#[cold]
fn too_deep() -> PluginError {
    PluginError::permanent(format!("triggers are nested more than {MAX_DEPTH} deep"))
}

/// A run that has not started: who acts, for whom, in which language.
#[must_use = "a run starts with `start`"]
pub struct RunBuilder {
    core: Arc<Core>,
    subject: Subject,
}

impl RunBuilder {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let subject = Subject::host(&core);
        Self { core, subject }
    }

    /// Says who acts, and with which access level. Without it the host itself acts, which may do everything.
    pub fn actor(mut self, name: impl Into<String>, level: AccessLevel) -> Self {
        self.subject.actor = Some(name.into());
        self.subject.level = level;
        self
    }

    /// Sets the owner of the subject that the run is about; 0 is the whole site. Announced events belong to it unless
    /// they name another owner.
    pub fn owner(mut self, owner: i64) -> Self {
        self.subject.owner = OwnerId(owner);
        self
    }

    /// Names what the run is about, such as a property.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject.subject = Some(subject.into());
        self
    }

    /// Names the host's task, such as `save_booking`.
    pub fn task(mut self, task: impl Into<String>) -> Self {
        self.subject.task = Some(task.into());
        self
    }

    /// Names the channel that the change comes from, such as a sales channel whose booking is imported. Deliveries carry it,
    /// so that an auth method does not send the change back there.
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.subject.channel = Some(channel.into());
        self
    }

    /// Sets the language of the person who is served, such as `de-DE`.
    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.subject.language = language.into();
        self
    }

    /// Starts the run.
    pub fn start(self) -> Run {
        Run { state: Arc::new(RunState::new(self.core, self.subject)), finished: false }
    }
}

/// An event to announce.
#[derive(Clone, Debug)]
pub struct Notification {
    event: String,
    data: String,
    owner: Option<OwnerId>,
    idempotency_key: Option<String>,
}

impl Notification {
    /// Returns a notification with the properties of the event, which serialise to a JSON object.
    ///
    /// # Errors
    ///
    /// When `data` cannot be written as JSON. That it is an object, and not too large, is checked when it is announced.
    pub fn new(event: impl Into<String>, data: &impl Serialize) -> Result<Self, AnnounceError> {
        let data = serde_json::to_string(data).map_err(|source| AnnounceError::Json { source })?;
        Ok(Self { event: event.into(), data, owner: None, idempotency_key: None })
    }

    /// Returns a notification whose properties are JSON text already; numbers are sent digit by digit as written.
    #[must_use]
    pub fn from_json(event: impl Into<String>, data: impl Into<String>) -> Self {
        Self { event: event.into(), data: data.into(), owner: None, idempotency_key: None }
    }

    /// Sets the owner of the subject that the event is about, when it is not the run's.
    #[must_use]
    pub fn owner(mut self, owner: i64) -> Self {
        self.owner = Some(OwnerId(owner));
        self
    }

    /// Gives the event an idempotency key: 1 to 255 printable ASCII characters, such as the id of the booking and what
    /// happened to it. Announced again under the same key for the same owner within `retention.idempotency_keys` (a day by
    /// default), an event with the same content is not announced, and has the id of the first; one with another content is
    /// refused. So an application that did not hear the answer may ask again.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use switchboard::{Notification, Switchboard};
    ///
    /// let switchboard = Switchboard::open("switchboard-data")?;
    /// let mut ids = Vec::new();
    /// for _ in 0..2 {
    ///     let mut run = switchboard.run().owner(62).start();
    ///     let added = Notification::from_json("booking_added", r#"{"contract_uid": 41}"#);
    ///     run.announce(added.idempotency_key("booking-41-added"))?;
    ///     ids.push(run.finish()?.events[0].id.clone());
    /// }
    /// assert_eq!(ids[0], ids[1]); // one event, delivered once
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

/// A run that goes on.
///
/// Dropping it without [`Run::finish`] or [`Run::discard`] commits what was announced and deferred all the same, and logs a
/// warning.
pub struct Run {
    state: Arc<RunState>,
    finished: bool,
}

impl Run {
    /// Sets a value that the minicomponents of this run see, and that is gone after it.
    ///
    /// # Errors
    ///
    /// When the value cannot be written as JSON.
    pub fn set_showtime(&self, key: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.state.set_showtime(key, serde_json::to_vec(value)?);
        Ok(())
    }

    /// Returns a value of this run.
    ///
    /// # Errors
    ///
    /// When the value is of another type.
    pub fn showtime<V: DeserializeOwned>(&self, key: &str) -> Result<Option<V>, serde_json::Error> {
        self.state.showtime(key).map(|value| serde_json::from_slice(&value)).transpose()
    }

    pub(crate) fn state(&self) -> &Arc<RunState> {
        &self.state
    }

    /// Keeps one handler from running in this run.
    pub fn suppress(&mut self, number: TriggerNumber, name: &str) {
        let suppressed = self.state.suppressed.get_or_init(RwLock::default);
        suppressed.write().unwrap_or_else(PoisonError::into_inner).insert((number, name.to_owned()));
    }

    /// Returns whether anything answers `number`.
    #[must_use]
    pub fn exists(&self, number: TriggerNumber) -> bool {
        self.state.registry.exists(number)
    }

    /// Returns whether `name` answers `number`.
    #[must_use]
    pub fn exists_named(&self, number: TriggerNumber, name: &str) -> bool {
        self.state.registry.exists_named(number, name)
    }

    /// Fires all handlers of a number with bytes. A number that nothing answers gives an empty list.
    ///
    /// # Errors
    ///
    /// When the actor's level is too low.
    #[inline]
    pub fn trigger(&self, number: TriggerNumber, input: &[u8]) -> Result<Broadcast, TriggerError> {
        self.check_access(number)?;
        Ok(self.state.broadcast(number, input, 0))
    }

    /// Fires one handler with bytes; `None` when there is none of that name.
    ///
    /// # Errors
    ///
    /// When the actor's level is too low, or the handler fails.
    pub fn trigger_named(
        &self,
        number: TriggerNumber,
        name: &str,
        input: &[u8],
    ) -> Result<Option<Payload>, TriggerError> {
        let Some(HandlerValue { minicomponent, result }) = self.trigger_one(number, name, input)?.values.pop() else {
            return Ok(None);
        };
        let plugin = &minicomponent.plugin;
        let failed =
            |source| TriggerError::Handler { number, name: name.to_owned(), plugin: plugin.to_string(), source };
        result.map(Some).map_err(failed)
    }

    /// Fires one handler with bytes and says what became of it, as [`Run::trigger`] does for all.
    ///
    /// # Errors
    ///
    /// When the actor's level is too low.
    pub fn trigger_one(&self, number: TriggerNumber, name: &str, input: &[u8]) -> Result<Broadcast, TriggerError> {
        self.check_access(number)?;
        Ok(Broadcast { number, values: self.state.named(number, name, input, 0).into_iter().collect() })
    }

    /// Fires all handlers of trigger `T`.
    ///
    /// # Errors
    ///
    /// When the actor's level is too low, or the input cannot be written.
    pub fn broadcast<T: Trigger>(&self, input: &T::Input) -> Result<Broadcast<T::Output>, TriggerError> {
        let input = self.write::<T>(input)?;
        Ok(self.trigger(T::NUMBER, &input)?.typed())
    }

    /// Fires the handler `name` of trigger `T`; `None` when there is none of that name.
    ///
    /// # Errors
    ///
    /// When the actor's level is too low, the handler fails, or its value is not `T::Output`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use switchboard::{Arguments, PublicTask, Switchboard};
    ///
    /// let switchboard = Switchboard::open("switchboard-data")?;
    /// let run = switchboard.run().language("fr-FR").start();
    /// if let Some(reply) = run.call::<PublicTask>("hello", &Arguments::default())? {
    ///     println!("{}", reply.text);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call<T: Trigger>(&self, name: &str, input: &T::Input) -> Result<Option<T::Output>, TriggerError> {
        let input = self.write::<T>(input)?;
        let Some(value) = self.trigger_named(T::NUMBER, name, &input)? else { return Ok(None) };
        dispatcher::read_json(T::NUMBER, name, &value)
            .map(Some)
            .map_err(|source| TriggerError::Value { number: T::NUMBER, source })
    }

    fn write<T: Trigger>(&self, input: &T::Input) -> Result<Vec<u8>, TriggerError> {
        dispatcher::write_json(T::NUMBER, input).map_err(|source| TriggerError::Value { number: T::NUMBER, source })
    }

    #[inline]
    fn check_access(&self, number: TriggerNumber) -> Result<(), TriggerError> {
        let level = self.state.subject.level;
        // Nothing needs more, and the host itself fires most triggers.
        if level >= AccessLevel::ADMINISTRATOR { Ok(()) } else { self.check_level(number, level) }
    }

    fn check_level(&self, number: TriggerNumber, level: AccessLevel) -> Result<(), TriggerError> {
        let needed = access_level(number);
        if level >= needed {
            return Ok(());
        }
        let actor = self.state.subject.actor.clone().unwrap_or_else(|| "nobody".into());
        Err(TriggerError::Denied { number, actor, level: level.0, needed: needed.0 })
    }

    /// Announces an event. It is committed by [`Run::finish`]; the same event with the same properties for the same owner
    /// counts once in a run.
    ///
    /// # Errors
    ///
    /// When the event's name is not usable, or its properties are no JSON object or larger than 256 KiB; when its
    /// idempotency key belongs to an event with another content, or the store cannot say.
    pub fn announce(&mut self, notification: Notification) -> Result<EventId, AnnounceError> {
        let owner = notification.owner.unwrap_or(self.state.subject.owner);
        let event = webhooks::event::build(&self.state, &notification.event, &notification.data, owner)?;
        match &notification.idempotency_key {
            Some(key) => once::announce(&self.state, event, key),
            None => Ok(self.state.with_outbox(|outbox| outbox.announce(event))),
        }
    }

    /// Announces an event to one webhook, whatever events that one gets.
    pub(crate) fn announce_to(&mut self, webhook: Webhook, notification: Notification) -> Result<(), AnnounceError> {
        let id = self.announce(notification)?;
        let planned = Planned::alone(&self.state, webhook);
        // Planned here, it is left alone by the watchers at the end of the run. Nothing in it can fail.
        let _ = self.state.with_outbox(|outbox| outbox.plan(&id.0, |_| Ok(vec![planned])));
        Ok(())
    }

    /// Announces an event under an id that it has already.
    pub(crate) fn announce_as(&mut self, id: EventId, event: &str, data: &str) -> Result<(), AnnounceError> {
        let mut event = webhooks::event::build(&self.state, event, data, self.state.subject.owner)?;
        event.id = id;
        self.state.with_outbox(|outbox| outbox.announce(event));
        Ok(())
    }

    /// Ends the run without accepting what it announced or deferred. What its triggers have done stays done.
    pub fn discard(mut self) {
        self.finished = true;
    }

    /// Ends the run: fires 99994 and 99999, commits the announced events with their deliveries and what was
    /// [deferred](Run::defer), and performs the immediate deliveries. All of it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// When the store cannot take it, or an idempotency key of its events was used meanwhile for another content. Nothing of
    /// this run was accepted then, except perhaps after [`FinishError::Unsure`].
    pub fn finish(mut self) -> Result<Finished, FinishError> {
        self.finished = true;
        finish(&self.state)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.finished || self.state.with_outbox(|outbox| outbox.is_empty()) {
            return;
        }
        let log = &self.state.core.log;
        log::warn!(logger: log, target: webhooks::CHANNEL, task = self.state.subject.task.as_deref().unwrap_or("-");
            "a run was dropped unfinished; what it announced and deferred is committed");
        if let Err(error) = finish(&self.state) {
            log::error!(logger: log, target: webhooks::CHANNEL, error = crate::error::Chain(&error).to_string();
                "what a run announced and deferred is lost");
        }
    }
}

/// Time that a call has when nothing says otherwise.
pub(crate) const UNLIMITED: Duration = Duration::from_secs(60 * 60);
