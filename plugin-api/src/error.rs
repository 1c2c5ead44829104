//! The error of a handler, and what it decides about a deferred task.

use core::fmt;
use core::time::Duration;

/// What a [`PluginError`] means for the task that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The same call may succeed later: a deferred task is tried again on its schedule.
    Retryable,
    /// The same call can never succeed: a deferred task becomes a dead letter at once.
    Permanent,
    /// The handler panicked. The host treats it like [`ErrorKind::Retryable`].
    Panic,
}

/// Why a handler failed.
///
/// The kind decides what happens to a deferred task; a trigger that is not deferred only reports the message.
///
/// ```
/// use std::time::Duration;
/// use switchboard_plugin_api::{ErrorKind, PluginError};
///
/// let error = PluginError::retryable("the receiver is busy").with_retry_after(Duration::from_secs(30));
/// assert_eq!(error.kind(), ErrorKind::Retryable);
/// assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
/// assert_eq!(error.to_string(), "the receiver is busy");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    /// Boxed, so that a `Result` costs a successful handler no more than a pointer.
    details: Box<Details>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Details {
    kind: ErrorKind,
    message: String,
    code: Option<String>,
    place: Option<String>,
    retry_after: Option<Duration>,
}

impl PluginError {
    /// Returns an error after which a deferred task is tried again.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Retryable, message)
    }

    /// Returns an error that ends a deferred task as a dead letter.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Permanent, message)
    }

    /// Returns the error of a panic at `place` (`file:line`).
    pub(crate) fn panic(message: impl Into<String>, place: Option<String>) -> Self {
        Self::of(ErrorKind::Panic, message).with_place(place).with_code("plugin_panic")
    }

    pub(crate) fn of(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { details: Box::new(Details { kind, message, code: None, place: None, retry_after: None }) }
    }

    /// Asks for the next attempt no earlier than `wait` from now, as `Retry-After` does in HTTP.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.details.retry_after = Some(wait);
        self
    }

    /// Adds a short machine-readable outcome such as `http_5xx` or `timeout_total`, shown with the attempt.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.details.code = Some(code.into());
        self
    }

    #[must_use]
    pub(crate) fn with_place(mut self, place: Option<String>) -> Self {
        self.details.place = place;
        self
    }

    /// The message without what `Display` puts before it.
    pub(crate) fn bare_message(&self) -> &str {
        &self.details.message
    }

    /// Returns what the error means for a deferred task.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.details.kind
    }

    /// Returns the outcome code, when there is one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.details.code.as_deref()
    }

    /// Returns where a panic happened, as `file:line`.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.details.place.as_deref()
    }

    /// Returns the wait that the receiver or the plugin asked for.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.details.retry_after
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.bare_message();
        match (self.kind(), self.place()) {
            (ErrorKind::Panic, Some(place)) => write!(f, "panicked at {place}: {message}"),
            (ErrorKind::Panic, None) => write!(f, "panicked: {message}"),
            _ => f.write_str(message),
        }
    }
}

impl std::error::Error for PluginError {}

impl From<serde_json::Error> for PluginError {
    /// JSON that cannot be read now cannot be read later either.
    fn from(error: serde_json::Error) -> Self {
        Self::permanent(format!("JSON: {error}")).with_code("bad_json")
    }
}
