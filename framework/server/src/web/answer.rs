//! What a request gets: a page, a change that was made, or a problem.

use std::error::Error;
use std::fmt;

use askama::Template;
use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Response as HttpResponse, StatusCode};
use axum::response::Response;
use switchboard::error::Chain;
use switchboard::language::SetTextError;
use switchboard::store::{StoreError, Webhook};
use switchboard::{
    BulkError, DeliveryError, PluginFolderError, PluginSettingError, ResumeError, TaskError, WebhookError,
};

use crate::accounts::AccountsError;

/// What was changed, for the audit log, and where the browser goes then.
pub(crate) struct Change {
    /// Who made it, when that is only known now: whoever has just signed in.
    pub(crate) who: Option<String>,
    /// What was done, such as `webhook.disable`.
    pub(crate) action: &'static str,
    /// With what, such as `webhook 3`.
    pub(crate) object: String,
    /// What else is to be known; no secrets.
    pub(crate) detail: String,
    /// What the next page says.
    pub(crate) message: String,
    /// Path of the next page.
    pub(crate) to: String,
    /// In place of the next page, for what can be shown only once.
    pub(crate) instead: Option<Response>,
    /// A cookie to set.
    pub(crate) cookie: Option<String>,
}

impl Change {
    pub(crate) fn new(action: &'static str, object: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            who: None,
            action,
            object: object.into(),
            detail: String::new(),
            message: String::new(),
            to: to.into(),
            instead: None,
            cookie: None,
        }
    }

    pub(crate) fn by(mut self, who: &str) -> Self {
        self.who = Some(who.to_owned());
        self
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(crate) fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    pub(crate) fn instead(mut self, response: Response) -> Self {
        self.instead = Some(response);
        self
    }

    pub(crate) fn cookie(mut self, cookie: String) -> Self {
        self.cookie = Some(cookie);
        self
    }
}

/// What became of a request that may change something.
pub(crate) enum Posted {
    /// Something was changed.
    Changed(Box<Change>),
    /// Nothing was changed: the form is shown again.
    Shown(Response),
}

impl From<Change> for Posted {
    fn from(change: Change) -> Self {
        Self::Changed(Box::new(change))
    }
}

/// What to do about something that is not there.
const GONE: &str = "It may have been removed. Go back to the list.";
/// What to do about something that cannot be used.
const CORRECT: &str = "Go back and correct it.";

/// Why a request cannot be answered as it was meant.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// What happened, to what, and why.
    pub(crate) message: String,
    /// What to do.
    pub(crate) remedy: &'static str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>, remedy: &'static str) -> Self {
        Self { status, message: message.into(), remedy }
    }

    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message, GONE)
    }

    /// What was given cannot be used.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message, CORRECT)
    }

    pub(crate) fn signed_out() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "You are not signed in.", "Sign in, and try again.")
    }

    /// Says what happened and what to do to a program, which has no page to go back to.
    pub(crate) fn told_to_a_program(&self) -> String {
        let remedy = match self.remedy {
            GONE => "It may have been removed.",
            CORRECT => "",
            remedy => remedy,
        };
        let end = if self.message.ends_with(['.', '!', '?']) || remedy.is_empty() { "" } else { "." };
        format!("{}{end} {remedy}", self.message).trim_end().to_owned()
    }

    /// Something that the server needs does not work.
    pub(crate) fn failed(error: &(dyn Error + 'static)) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Chain(error).to_string(),
            "Nothing is lost. Look into the log Admin, and try again.",
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<AccountsError> for Problem {
    fn from(error: AccountsError) -> Self {
        match &error {
            AccountsError::Refused(_) => Self::refused(error.to_string()),
            AccountsError::NoUser(_) | AccountsError::NoToken(_) => Self::missing(error.to_string()),
            _ => Self::failed(&error),
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match &error {
            WebhookError::Missing { .. } => Self::missing(error.to_string()),
            WebhookError::Store { .. }
            | WebhookError::Methods { .. }
            | WebhookError::Secrets { .. }
            | WebhookError::Validation { .. } => Self::failed(&error),
            _ => Self::refused(Chain(&error).to_string()),
        }
    }
}

impl From<TaskError> for Problem {
    fn from(error: TaskError) -> Self {
        match &error {
            TaskError::Missing { .. } => Self::missing(error.to_string()),
            TaskError::Store { .. } => Self::failed(&error),
            _ => Self::refused(Chain(&error).to_string()),
        }
    }
}

impl From<BulkError> for Problem {
    fn from(error: BulkError) -> Self {
        match &error {
            BulkError::Missing { .. } => Self::missing(error.to_string()),
            BulkError::Store { .. } => Self::failed(&error),
            _ => Self::refused(Chain(&error).to_string()),
        }
    }
}

impl From<DeliveryError> for Problem {
    fn from(error: DeliveryError) -> Self {
        match &error {
            DeliveryError::Missing { .. } => Self::missing(error.to_string()),
            DeliveryError::Store { .. } => Self::failed(&error),
            _ => Self::refused(Chain(&error).to_string()),
        }
    }
}

impl From<PluginFolderError> for Problem {
    fn from(error: PluginFolderError) -> Self {
        match &error {
            PluginFolderError::Missing { .. } => Self::missing(error.to_string()),
            PluginFolderError::File { .. } => Self::failed(&error),
            _ => Self::refused(Chain(&error).to_string()),
        }
    }
}

impl From<SetTextError> for Problem {
    fn from(error: SetTextError) -> Self {
        match &error {
            SetTextError::File { .. } => Self::failed(&error),
            _ => Self::refused(Chain(&error).to_string()),
        }
    }
}

impl From<PluginSettingError> for Problem {
    fn from(error: PluginSettingError) -> Self {
        match error {
            PluginSettingError::Plugin(error) => error.into(),
            PluginSettingError::Config { .. } => Self::failed(&error),
            _ => Self::refused(error.to_string()),
        }
    }
}

impl From<ResumeError> for Problem {
    fn from(error: ResumeError) -> Self {
        match &error {
            ResumeError::Store { .. } => Self::failed(&error),
            _ => Self::missing(error.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::failed(&error)
    }
}

/// What else the audit log says about a webhook. A URL may hold secrets before its host and in its query.
pub(crate) fn told_of(webhook: &Webhook) -> String {
    let url = webhook.url.split(['?', '#']).next().unwrap_or_default();
    let url = match url.split_once("://") {
        None => url.to_owned(),
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or_default())
        }
    };
    format!("owner {}, {}, {}", webhook.owner, webhook.method, if url.is_empty() { &webhook.name } else { &url })
}

/// Makes a page of a template.
pub(crate) fn html(template: &impl Template) -> Result<Response, Problem> {
    html_with(StatusCode::OK, template)
}

/// Makes a page of a template with a status of its own.
pub(crate) fn html_with(status: StatusCode, template: &impl Template) -> Result<Response, Problem> {
    let page = template.render().map_err(|error| Problem::failed(&error))?;
    Ok(response(status, "text/html; charset=utf-8", page))
}

/// Makes an answer of plain text.
pub(crate) fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    response(status, "text/plain; charset=utf-8", text.into())
}

/// Sends the browser to a page of this server.
pub(crate) fn see_other(to: &str) -> Response {
    let mut answer = plain(StatusCode::SEE_OTHER, "");
    // Paths are built here, of what was escaped; one that cannot be a header leads to the start.
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    answer.headers_mut().insert(header::LOCATION, to);
    answer
}

/// Makes an answer of a type and a body.
pub(crate) fn response(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut answer = HttpResponse::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
