//! The host that a plugin sees while it is checked. Nothing that it asks for leaves the process.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use switchboard_plugin_api::host::{CallHost, PluginHost, RunningPlugin, ServiceAnswer, ServiceFuture};
use switchboard_plugin_api::protocol::{
    self, HttpReply, KeyHead, RunInfo, SleepHead, TextHead, TriggerHead, TriggerReply, TriggerValue,
};
use switchboard_plugin_api::{HandlerKind, PluginError};

use super::worker::Handler;

use crate::language::{Argument, Languages};

/// Language in which everything is asked for, and to which all texts fall back.
pub(super) const DEFAULT_LANGUAGE: &str = "en-GB";

/// How the services answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// As those of a host on which everything works.
    #[default]
    Works,
    /// As those of a host that has none.
    HasNone,
    /// With an error that may pass.
    FailsForNow,
    /// With an error that stays.
    FailsForGood,
    /// With bytes that are no answer.
    Garbage,
    /// Those that reach beyond the host's memory do not answer a thread before [`CheckHost::release`].
    HoldsThreads,
    /// Those that are asked for a future never answer.
    HoldsFutures,
}

/// What every deadline is, unless a check sets it to nothing.
const TIME_LEFT_MS: u64 = 30_000;

/// What a token server answers (RFC 6749, section 5.1).
const TOKEN: &str = r#"{"access_token":"checked","token_type":"Bearer","expires_in":3600}"#;

/// The time: 2026-01-01T00:00:00Z, in milliseconds since the Unix epoch.
const NOW_MS: i64 = 1_767_225_600_000;

/// A host in which nothing is real.
pub(super) struct CheckHost {
    behaviour: Mutex<Behaviour>,
    /// Settings that were given; they are those of the plugin and of every webhook.
    settings: BTreeMap<String, String>,
    /// What every setting is, when a check asks for odd ones.
    every_setting: Mutex<Option<String>>,
    /// Settings made up for the webhook in a delivery.
    of_webhook: Mutex<BTreeMap<String, String>>,
    values: Mutex<BTreeMap<String, Vec<u8>>>,
    languages: Languages,
    plugin: String,
    time_left_ms: AtomicU64,
    cancelled: AtomicBool,
    gate: Gate,
    /// The plugin itself, whose triggers it can fire.
    own: OnceLock<Own>,
}

struct Own {
    /// Weak, because the plugin holds the host.
    plugin: Weak<RunningPlugin>,
    handlers: Vec<Handler>,
}

/// How many triggers may lie around one another, as in a real host.
const MAX_DEPTH: u32 = 16;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Lets calls wait, and tells how many do.
#[derive(Default)]
struct Gate {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CheckHost {
    pub(super) fn new(plugin: &str, settings: BTreeMap<String, String>) -> Self {
        Self {
            behaviour: Mutex::default(),
            settings,
            every_setting: Mutex::default(),
            of_webhook: Mutex::default(),
            values: Mutex::default(),
            languages: Languages::new(DEFAULT_LANGUAGE).expect("the default language is a language"),
            plugin: plugin.to_owned(),
            time_left_ms: AtomicU64::new(TIME_LEFT_MS),
            cancelled: AtomicBool::new(false),
            gate: Gate::default(),
            own: OnceLock::new(),
        }
    }

    /// Lets the plugin fire its own synchronous handlers, as it can in a real host.
    pub(super) fn let_it_fire(&self, plugin: &Arc<RunningPlugin>, handlers: Vec<Handler>) {
        // A host is made for one plugin, so nothing is there yet.
        let _ = self.own.set(Own { plugin: Arc::downgrade(plugin), handlers });
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        *lock(&self.behaviour) = behaviour;
    }

    /// Answers every question for a setting with this.
    pub(super) fn set_every_setting(&self, value: Option<String>) {
        *lock(&self.every_setting) = value;
    }

    pub(super) fn set_webhook(&self, settings: BTreeMap<String, String>) {
        *lock(&self.of_webhook) = settings;
    }

    /// Lets the deadline pass, and nobody wait for the call any more.
    pub(super) fn give_up(&self, deadline_passed: bool, cancelled: bool) {
        self.time_left_ms.store(if deadline_passed { 0 } else { TIME_LEFT_MS }, Ordering::Relaxed);
        self.cancelled.store(cancelled, Ordering::Relaxed);
    }

    pub(super) fn languages(&self) -> &Languages {
        &self.languages
    }

    /// Waits until a call waits in a service, or until `patience` is over.
    pub(super) fn is_waited_for(&self, patience: Duration) -> bool {
        let state = lock(&self.gate.state);
        let waited = self.gate.changed.wait_timeout_while(state, patience, |(waiting, _)| *waiting == 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.0 > 0
    }

    /// Lets waiting calls go on.
    pub(super) fn release(&self) {
        lock(&self.gate.state).1 = true;
        self.gate.changed.notify_all();
    }

    fn wait_at_gate(&self) {
        let mut state = lock(&self.gate.state);
        state.0 += 1;
        self.gate.changed.notify_all();
        let mut state = self.gate.changed.wait_while(state, |(_, open)| !*open).unwrap_or_else(PoisonError::into_inner);
        state.0 -= 1;
    }

    fn setting(&self, head: &[u8]) -> ServiceAnswer {
        let head: KeyHead<'_> = serde_json::from_slice(head)?;
        let odd = lock(&self.every_setting).clone();
        let own = || self.settings.get(&*head.key).cloned().or_else(|| lock(&self.of_webhook).get(&*head.key).cloned());
        Ok(found(odd.or_else(own).map(String::into_bytes)))
    }

    fn text(&self, head: &[u8]) -> ServiceAnswer {
        let head: TextHead<'_> = serde_json::from_slice(head)?;
        let argument = |value: &serde_json::Value| match (value.as_f64(), value.as_str()) {
            (Some(number), _) => Argument::Number(number),
            (None, Some(text)) => Argument::Text(text.to_owned()),
            (None, None) => Argument::Text(value.to_string()),
        };
        let arguments: Vec<(&str, Argument)> =
            head.arguments.iter().map(|(name, value)| (name.as_str(), argument(value))).collect();
        Ok((Vec::new(), self.languages.text(&self.plugin, DEFAULT_LANGUAGE, &head.key, &arguments).into_bytes()))
    }

    fn trigger(&self, head: &TriggerHead<'_>, body: &[u8]) -> ServiceAnswer {
        let mut reply = TriggerReply::default();
        if DEPTH.get() == MAX_DEPTH {
            return Err(PluginError::permanent(format!("triggers are nested more than {MAX_DEPTH} deep")));
        }
        if let Some((plugin, handlers)) = self.own.get().and_then(|own| Some((own.plugin.upgrade()?, &own.handlers))) {
            let meant = |handler: &&Handler| {
                handler.number == head.number && head.name.as_ref().is_none_or(|name| *name == handler.name)
            };
            for handler in handlers.iter().filter(meant).filter(|handler| handler.kind == HandlerKind::Sync) {
                DEPTH.set(DEPTH.get() + 1);
                let result = plugin.call(handler.index, self, body);
                DEPTH.set(DEPTH.get() - 1);
                let mut value = TriggerValue { name: handler.name.clone(), ..TriggerValue::default() };
                match result {
                    Ok(output) => value.value = serde_json::from_slice(&output).ok(),
                    Err(error) => value.error = Some(error.to_string()),
                }
                reply.values.push(value);
            }
        }
        Ok((serde_json::to_vec(&reply)?, Vec::new()))
    }

    fn works(&self, name: &str, head: &[u8], body: &[u8]) -> ServiceAnswer {
        let key = |head| serde_json::from_slice::<KeyHead<'_>>(head).map(|head| head.key.into_owned());
        match name {
            protocol::TEXT => self.text(head),
            protocol::SETTING => self.setting(head),
            protocol::SHOWTIME_GET | protocol::KEPT_GET => Ok(found(lock(&self.values).get(&key(head)?).cloned())),
            protocol::SHOWTIME_SET | protocol::KEPT_SET => {
                lock(&self.values).insert(key(head)?, body.to_vec());
                Ok((Vec::new(), Vec::new()))
            }
            protocol::TRIGGER => self.trigger(&serde_json::from_slice(head)?, body),
            protocol::RUN => {
                let mut run = RunInfo::default();
                DEFAULT_LANGUAGE.clone_into(&mut run.language);
                Ok((serde_json::to_vec(&run)?, Vec::new()))
            }
            protocol::HTTP => {
                let reply = HttpReply { status: 200, ..HttpReply::default() };
                // A token server is asked for tokens, and what comes after depends on one.
                let asks_for_token = body.starts_with(b"grant_type=");
                let answer: &[u8] = if asks_for_token { TOKEN.as_bytes() } else { b"{}" };
                Ok((serde_json::to_vec(&reply)?, answer.to_vec()))
            }
            // Time stands still.
            protocol::CLOCK => Ok((serde_json::to_vec(&NOW_MS)?, Vec::new())),
            // Time does not pass here: a wait is over at once, or cut short when no time is left.
            protocol::SLEEP if self.time_left().is_zero() => {
                let head: SleepHead = serde_json::from_slice(head)?;
                Err(protocol::cut_short(Duration::from_millis(head.time_ms)))
            }
            protocol::SLEEP => Ok((Vec::new(), Vec::new())),
            protocol::DEFER | protocol::DEFER_WITH => Ok((b"1".to_vec(), Vec::new())),
            protocol::ANNOUNCE => Ok((b"\"msg_1\"".to_vec(), Vec::new())),
            _ => Err(unknown(name)),
        }
    }

    fn answer(&self, name: &str, head: &[u8], body: &[u8]) -> ServiceAnswer {
        let behaviour = *lock(&self.behaviour);
        match behaviour {
            Behaviour::Works => self.works(name, head, body),
            Behaviour::HasNone => Err(unknown(name)),
            Behaviour::FailsForNow => {
                Err(PluginError::retryable("this host fails on purpose").with_code("timeout_total"))
            }
            Behaviour::FailsForGood => Err(PluginError::permanent("this host fails on purpose").with_code("blocked")),
            Behaviour::Garbage => Ok((b"\xff{not json".to_vec(), vec![0xff, 0, 0x80])),
            Behaviour::HoldsThreads => {
                if !matches!(name, protocol::SETTING | protocol::TEXT | protocol::RUN) {
                    self.wait_at_gate();
                }
                self.works(name, head, body)
            }
            Behaviour::HoldsFutures => self.works(name, head, body),
        }
    }
}

fn unknown(name: &str) -> PluginError {
    PluginError::permanent(format!("this host has no service `{name}`"))
}

fn found(value: Option<Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
    value.map_or_else(|| (b"false".to_vec(), Vec::new()), |value| (b"true".to_vec(), value))
}

impl CallHost for CheckHost {
    fn service(&self, name: &str, head: &[u8], body: &[u8]) -> ServiceAnswer {
        self.answer(name, head, body)
    }

    fn service_async(&self, name: &str, head: Vec<u8>, body: Vec<u8>) -> ServiceFuture {
        if *lock(&self.behaviour) == Behaviour::HoldsFutures {
            // It is dropped while it waits; nobody ever wakes it.
            return Box::pin(std::future::pending());
        }
        let answer = self.answer(name, &head, &body);
        Box::pin(async { answer })
    }

    fn time_left(&self) -> Duration {
        Duration::from_millis(self.time_left_ms.load(Ordering::Relaxed))
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

impl PluginHost for CheckHost {
    fn log(&self, _level: log::Level, _channel: &str, _message: &str, _fields: &[(String, String)]) {}

    fn log_level(&self) -> log::LevelFilter {
        log::LevelFilter::Trace
    }

    fn service(&self, name: &str, head: &[u8], body: &[u8]) -> ServiceAnswer {
        let behaviour = *lock(&self.behaviour);
        match behaviour {
            // As a real host outside calls.
            Behaviour::Works | Behaviour::HoldsThreads | Behaviour::HoldsFutures => match name {
                protocol::SETTING => self.setting(head),
                _ => Err(unknown(name)),
            },
            _ => self.answer(name, head, body),
        }
    }
}
