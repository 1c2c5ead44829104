//! Webhooks as calls have them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use switchboard::{ShownWebhook, WebhookDraft};

use super::merged;
use crate::web::api::answer::Failure;

/// A webhook, without its secrets.
#[derive(Serialize, JsonSchema)]
pub(super) struct Webhook {
    /// Its id.
    pub(super) id: i64,
    /// Grows with every change; see `if_version` of the operations that make one.
    version: u64,
    /// Owner whose events it gets; 0 gets everybody's.
    owner: i64,
    /// What people call it; may be empty.
    name: String,
    /// URL of the receiver; empty where the auth method knows it by itself.
    url: String,
    /// Id of the auth method.
    method: String,
    /// Settings of the auth method; secrets are `********`.
    settings: BTreeMap<String, String>,
    /// Names of the events that it gets, in which `*` stands for any characters; all when empty.
    events: Vec<String>,
    /// How it is delivered to.
    #[schemars(with = "Options")]
    options: Value,
    /// Names of its custom headers.
    headers: Vec<String>,
    /// Whether it has a client certificate.
    has_identity: bool,
    /// Whether it gets events.
    enabled: bool,
    /// Why it is disabled.
    disabled_reason: Option<String>,
    /// Its failures since the last delivery that arrived.
    failing: Option<Failing>,
    /// Why its secrets cannot be opened, so that nothing can be delivered to it.
    secrets_problem: Option<String>,
    /// Why it would not be delivered to just now, where the host knows. Not in lists.
    warning: Option<String>,
    /// When it was added.
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    /// When it last changed.
    #[schemars(extend("format" = "date-time"))]
    updated_at: String,
}

/// Failures without a success between them.
#[derive(Serialize, JsonSchema)]
struct Failing {
    /// When the first attempt failed.
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// When the last one failed.
    #[schemars(extend("format" = "date-time"))]
    last: String,
    /// How many failed.
    attempts: u32,
}

impl From<ShownWebhook> for Webhook {
    fn from(webhook: ShownWebhook) -> Self {
        let failing =
            |one: switchboard::ShownFailing| Failing { since: one.since, last: one.last, attempts: one.attempts };
        Self {
            id: webhook.id.0,
            version: webhook.version,
            owner: webhook.owner,
            name: webhook.name,
            url: webhook.url,
            method: webhook.method,
            settings: webhook.settings,
            events: webhook.events,
            options: serde_json::to_value(&webhook.options).unwrap_or_default(),
            headers: webhook.headers,
            has_identity: webhook.has_identity,
            enabled: webhook.enabled,
            disabled_reason: webhook.disabled_reason,
            failing: webhook.failing.map(failing),
            secrets_problem: webhook.secrets_problem,
            warning: None,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

impl Webhook {
    pub(super) fn with_warning(self, warning: Option<String>) -> Self {
        Self { warning, ..self }
    }
}

/// How a webhook is delivered to. What is `null` is as the configuration of the host says.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the names and bounds of `WebhookOptions`, for the document")]
struct Options {
    /// Whether deliveries are made at once, in the time of whoever announces, where the auth method can.
    immediate: Option<bool>,
    /// Whether an immediate delivery that fails becomes a deferred one, where the auth method can.
    then_queue: Option<bool>,
    /// The time for one deferred attempt, in milliseconds.
    #[schemars(range(min = 1000, max = 60000))]
    timeout_ms: Option<u64>,
    /// The time for one immediate delivery, in milliseconds.
    #[schemars(range(min = 1000, max = 10000))]
    immediate_timeout_ms: Option<u64>,
    /// The time for the lookup of the receiver's name, in milliseconds.
    #[schemars(range(min = 1000, max = 60000))]
    dns_timeout_ms: Option<u64>,
    /// The time for the connection, in milliseconds.
    #[schemars(range(min = 1000, max = 60000))]
    connect_timeout_ms: Option<u64>,
    /// The time for the TLS handshake, in milliseconds.
    #[schemars(range(min = 1000, max = 60000))]
    tls_timeout_ms: Option<u64>,
    /// The time from the connection to the head of the answer, in milliseconds.
    #[schemars(range(min = 1000, max = 60000))]
    first_byte_timeout_ms: Option<u64>,
    /// Wait before each attempt, the first included, in milliseconds; at most 7 days in all.
    #[schemars(length(min = 1, max = 20))]
    schedule_ms: Option<Vec<u64>>,
    /// How many deliveries may be under way at once.
    #[schemars(range(min = 1, max = 64))]
    cap: Option<u32>,
    /// How often one may start.
    rate: Option<Starts>,
    /// Which deliveries wait for one another.
    order: Option<Order>,
    /// Statuses after which a delivery is given up at once.
    #[schemars(length(max = 50))]
    stop_on: Option<Vec<u16>>,
    /// Certificate authorities in PEM that are trusted in place of the machine's.
    ca_pem: Option<String>,
    /// Whether the receiver is asked for its consent, as CloudEvents describes, before the webhook is stored.
    handshake: Option<bool>,
    /// What is around the event's properties in the body.
    envelope: Option<Envelope>,
}

/// So many starts in a time.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "for the document")]
struct Starts {
    /// Number of starts.
    #[schemars(range(min = 1))]
    starts: u32,
    /// In this time, in milliseconds.
    #[schemars(range(min = 1))]
    per_ms: u64,
}

/// Which deliveries wait for one another: none, all to the webhook, or those about the same subject.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "for the document")]
enum Order {
    None,
    Webhook,
    Subject,
}

/// What is around the properties: `{"data": …}`, or the envelope of Standard Webhooks.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "for the document")]
enum Envelope {
    Reference,
    Standard,
}

/// A webhook to add: as a change, with a method.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct NewWebhook(pub(super) Change);

impl JsonSchema for NewWebhook {
    fn schema_name() -> Cow<'static, str> {
        "NewWebhook".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Change::json_schema(generator);
        schema.insert("description".into(), "A webhook to add.".into());
        schema.insert("required".into(), serde_json::json!(["method"]));
        schema
    }
}

/// What a webhook is to become. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// Owner whose events it gets; 0 gets everybody's. Of a new webhook the caller's own when left out, else 0.
    #[schemars(range(min = 0))]
    pub(super) owner: Option<i64>,
    /// Id of the auth method.
    pub(super) method: Option<String>,
    /// Language in which the auth method says what is wrong, such as `de-DE`.
    language: Option<String>,
    /// What people call it.
    name: Option<String>,
    /// URL of the receiver.
    url: Option<String>,
    /// Settings of the auth method. One that is left out keeps its value; an empty one is taken away.
    settings: Option<BTreeMap<String, String>>,
    /// Names of the events that it gets, in which `*` stands for any characters; all when empty.
    events: Option<Vec<String>>,
    /// How it is delivered to. An option that is left out keeps its value.
    #[schemars(with = "Option<Options>")]
    options: Option<Map<String, Value>>,
    /// Custom headers by name, all of them. One that is `null` keeps the value that it has.
    headers: Option<BTreeMap<String, Option<String>>>,
    /// Client certificate and its private key in PEM; an empty text takes it away.
    identity_pem: Option<String>,
}

impl Change {
    /// Returns the names of what is changed, for the audit log.
    pub(super) fn fields(&self) -> String {
        let fields = [
            ("owner", self.owner.is_some()),
            ("method", self.method.is_some()),
            ("name", self.name.is_some()),
            ("url", self.url.is_some()),
            ("settings", self.settings.is_some()),
            ("events", self.events.is_some()),
            ("options", self.options.is_some()),
            ("headers", self.headers.is_some()),
            ("identity_pem", self.identity_pem.is_some()),
        ];
        fields.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Changes a draft.
    pub(super) fn apply(self, draft: WebhookDraft) -> Result<WebhookDraft, Failure> {
        Ok(WebhookDraft {
            name: self.name.unwrap_or(draft.name),
            url: self.url.unwrap_or(draft.url),
            settings: self.settings.unwrap_or(draft.settings),
            events: self.events.unwrap_or(draft.events),
            options: match self.options {
                Some(given) => merged(&draft.options, given)?,
                None => draft.options,
            },
            headers: self.headers.map_or(draft.headers, |headers| headers.into_iter().collect()),
            identity_pem: self.identity_pem.or(draft.identity_pem),
            owner: self.owner.unwrap_or(draft.owner),
            method: self.method.unwrap_or(draft.method),
            language: self.language.or(draft.language),
        })
    }
}
