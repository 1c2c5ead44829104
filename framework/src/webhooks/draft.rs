//! A webhook as somebody wants it, and what is wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use serde::Serialize;

use super::filter::is_pattern;
use super::methods::{self, Method};
use super::moved;
use super::secrets::WebhookSecrets;
use crate::config::schedule_problem;
use crate::egress::{Egress, TlsOptions, TlsOptionsError};
use crate::error::Chain;
use crate::store::{Order, OwnerId, Webhook, WebhookOptions};

/// A webhook to be added, or what an existing one is to become.
///
/// Secrets are written and never read: what is absent of them stays as it is. Its `Debug` shows none.
#[derive(Clone, Default)]
pub struct WebhookDraft {
    /// What people call it; may be empty.
    pub name: String,
    /// Owner whose events it gets; 0 is the whole site and gets everybody's.
    pub owner: i64,
    /// URL of the receiver; may be empty where there is a name and the auth method knows the receiver by itself.
    pub url: String,
    /// Id of the auth method.
    pub method: String,
    /// Settings of the auth method by key. One that is absent keeps its value; an empty one is taken away.
    pub settings: BTreeMap<String, String>,
    /// Names of the events it gets, in which `*` stands for any characters; all when empty.
    pub events: Vec<String>,
    /// How it is delivered to.
    pub options: WebhookOptions,
    /// Custom headers of requests to the URL. One without a value keeps the value that it has.
    pub headers: Vec<(String, Option<String>)>,
    /// Client certificate and its private key in PEM. `None` keeps it, an empty text takes it away.
    pub identity_pem: Option<String>,
    /// Language of the person who saves it, in which the auth method says what is wrong; the host's default when `None`.
    pub language: Option<String>,
}

impl fmt::Debug for WebhookDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookDraft")
            .field("name", &self.name)
            .field("owner", &self.owner)
            .field("url", &self.url)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// What is wrong with one field of a draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WebhookProblem {
    /// The field: `name`, `owner`, `url`, `method`, `settings.KEY`, `events`, `headers`, `identity_pem`, or an option such
    /// as `schedule`; empty for the webhook as a whole.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl WebhookProblem {
    pub(super) fn new(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { field: field.into(), message: message.to_string() }
    }
}

impl fmt::Display for WebhookProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "`{}`: {}", self.field.strip_prefix("settings.").unwrap_or(&self.field), self.message)
    }
}

const MAX_NAME_CHARS: usize = 200;
const MAX_PATTERNS: usize = 200;
const MAX_HEADERS: usize = 50;
const MAX_HEADER_BYTES: usize = 8 << 10;
const MAX_STATUSES: usize = 50;
const MAX_CAP: u32 = 64;
/// The times that an attempt may have.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
const IMMEDIATE_TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10);

/// Headers of the connection, of the body and of the delivery itself.
const FORBIDDEN_HEADERS: [&str; 9] =
    ["host", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive", "expect", "accept-encoding"];
const FORBIDDEN_STARTS: [&str; 3] = ["content-", "proxy-", "webhook-"];

/// Puts the secrets of a draft together with those that the webhook has, as long as it stays where it is. `before` is the
/// webhook with its secrets.
pub(super) fn merge(
    draft: &WebhookDraft,
    method: Option<&Method>,
    before: Option<(&Webhook, WebhookSecrets)>,
    problems: &mut Vec<WebhookProblem>,
) -> WebhookSecrets {
    let (before, old) = before.unzip();
    let old = old.unwrap_or_default();
    let mut secrets = WebhookSecrets::default();
    // The settings of another method mean nothing to this one.
    let same = before.is_some_and(|before| before.method == draft.method);
    let mut settings = if same { old.settings.clone() } else { BTreeMap::new() };
    settings.extend(draft.settings.clone());
    match method {
        Some(method) => {
            if let Some(before) = before {
                moved::check(draft, method, before, &old, &settings, problems);
            }
            settings.retain(|key, _| draft.settings.contains_key(key) || method.has(key));
            let (complete, wrong) = methods::complete(method, settings);
            secrets.settings = complete;
            problems.extend(
                wrong
                    .into_iter()
                    .map(|problem| WebhookProblem::new(format!("settings.{}", problem.key().escape_debug()), &problem)),
            );
        }
        None => secrets.settings = settings,
    }
    secrets.headers = merge_headers(draft, &old.headers, problems);
    secrets.identity_pem = match &draft.identity_pem {
        None => old.identity_pem,
        Some(pem) => Some(pem.clone()).filter(|pem| !pem.trim().is_empty()),
    };
    secrets
}

fn merge_headers(
    draft: &WebhookDraft,
    old: &[(String, String)],
    problems: &mut Vec<WebhookProblem>,
) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in &draft.headers {
        let kept = || old.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
        match value.clone().or_else(kept) {
            Some(value) => headers.push((name.clone(), value)),
            None => problems.push(WebhookProblem::new("headers", format!("`{}` has no value", name.escape_debug()))),
        }
    }
    headers
}

/// Returns what is wrong with a draft by itself; `secrets` are those that it would have.
pub(super) fn check(
    draft: &WebhookDraft,
    secrets: &WebhookSecrets,
    egress: &Egress,
    problems: &mut Vec<WebhookProblem>,
) {
    let mut add = |field: &str, message: &dyn fmt::Display| problems.push(WebhookProblem::new(field, message));
    if draft.owner < 0 {
        let owner = draft.owner;
        add("owner", &format_args!("`{owner}` is no owner: 0 is the whole site, owners are positive numbers"));
    }
    if draft.name.chars().count() > MAX_NAME_CHARS || draft.name.chars().any(char::is_control) {
        add("name", &format_args!("a name has at most {MAX_NAME_CHARS} characters and none that controls a terminal"));
    }
    if draft.url.is_empty() && draft.name.trim().is_empty() {
        add(
            "url",
            &"there is neither a URL nor a name: give the URL of the receiver, or a name where the auth method \
                     knows the receiver by itself",
        );
    }
    if !draft.url.is_empty()
        && let Err(refusal) = egress.judge(&draft.url)
    {
        let url = draft.url.escape_debug();
        add("url", &format_args!("the URL `{url}` cannot be used: {}", Chain(&refusal)));
    }
    if draft.events.len() > MAX_PATTERNS {
        add("events", &format_args!("a filter has at most {MAX_PATTERNS} names: use `*`, as in `booking_*`"));
    }
    for name in draft.events.iter().filter(|name| !is_pattern(name)) {
        let name = name.escape_debug();
        add(
            "events",
            &format_args!(
                "`{name}` is no event name: 1 to 100 of A-Z, a-z, 0-9, `_`, `-` and `.` are needed, and `*` for any of them"
            ),
        );
    }
    check_headers(&secrets.headers, draft, &mut add);
    check_options(&draft.options, draft, &mut add);
    check_tls(&draft.options, secrets, &mut add);
}

type Add<'a> = &'a mut dyn FnMut(&str, &dyn fmt::Display);

fn check_headers(headers: &[(String, String)], draft: &WebhookDraft, add: Add<'_>) {
    if headers.len() > MAX_HEADERS {
        add("headers", &format_args!("there are {} custom headers, at most {MAX_HEADERS} are sent", headers.len()));
    }
    if !headers.is_empty() && draft.url.is_empty() {
        add("headers", &"they are sent to the URL of the webhook, and it has none");
    }
    for (index, (name, value)) in headers.iter().enumerate() {
        let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
        let lower = name.to_ascii_lowercase();
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            add("headers", &format_args!("`{shown}` is not a valid header name"));
        } else if FORBIDDEN_HEADERS.contains(&&*lower) || FORBIDDEN_STARTS.iter().any(|start| lower.starts_with(start))
        {
            add(
                "headers",
                &format_args!("`{shown}` belongs to the connection, the body or the delivery and cannot be set"),
            );
        } else if headers[..index].iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            add("headers", &format_args!("`{shown}` is there twice"));
        } else if value.len() > MAX_HEADER_BYTES || HeaderValue::from_str(value).is_err() {
            // Not the value, which may be a secret.
            add(
                "headers",
                &format_args!(
                    "the value of `{shown}` is longer than {MAX_HEADER_BYTES} bytes or has control characters"
                ),
            );
        }
    }
}

fn check_options(options: &WebhookOptions, draft: &WebhookDraft, add: Add<'_>) {
    if options.timeout.is_some_and(|timeout| !TIMEOUTS.contains(&timeout)) {
        add("timeout", &"a deferred attempt has 1 to 60 seconds");
    }
    if options.immediate_timeout.is_some_and(|timeout| !IMMEDIATE_TIMEOUTS.contains(&timeout)) {
        add("immediate_timeout", &"an immediate delivery has 1 to 10 seconds");
    }
    let phases = [
        ("dns_timeout", options.dns_timeout),
        ("connect_timeout", options.connect_timeout),
        ("tls_timeout", options.tls_timeout),
        ("first_byte_timeout", options.first_byte_timeout),
    ];
    for (field, timeout) in phases {
        if timeout.is_some_and(|timeout| !TIMEOUTS.contains(&timeout)) {
            add(field, &"a phase of an attempt has 1 to 60 seconds");
        }
    }
    if let Some(problem) = options.schedule.as_deref().and_then(schedule_problem) {
        add("schedule", &format_args!("the schedule {problem}"));
    }
    if options.cap.is_some_and(|cap| cap.get() > MAX_CAP) {
        add("cap", &format_args!("1 to {MAX_CAP} deliveries may be under way at once"));
    }
    if options.rate.is_some_and(|rate| !crate::tasks::RATE_TIMES.contains(&rate.per)) {
        add("rate", &"a rate counts its starts in 1 ms to 24 h");
    }
    let statuses = &options.stop_on;
    if statuses.len() > MAX_STATUSES || statuses.iter().any(|status| !(300..=599).contains(status)) {
        add("stop_on", &format_args!("at most {MAX_STATUSES} statuses of 300 to 599 stop a delivery"));
    }
    if options.handshake && draft.url.is_empty() {
        add("handshake", &"a receiver is asked at its URL, and there is none");
    }
    if options.order == Order::Subject && (options.cap.is_some() || options.rate.is_some()) {
        add("order", &"with one delivery at a time for each subject, a cap or a rate of the webhook cannot be kept");
    }
    if options.immediate && options.order != Order::None {
        add("order", &"deliveries that are made at once cannot wait for one another");
    }
}

fn check_tls(options: &WebhookOptions, secrets: &WebhookSecrets, add: Add<'_>) {
    let tls = TlsOptions { ca_pem: options.ca_pem.clone(), identity_pem: secrets.identity_pem.clone() };
    if let Err(error) = tls.check() {
        let field = match &error {
            TlsOptionsError::Identity => "identity_pem",
            TlsOptionsError::Ca => "ca_pem",
            _ if tls.identity_pem.is_some() => "identity_pem",
            _ => "ca_pem",
        };
        add(field, &Chain(&error));
    }
}

/// Returns the owner of a draft.
pub(super) fn owner(draft: &WebhookDraft) -> OwnerId {
    OwnerId(draft.owner)
}
