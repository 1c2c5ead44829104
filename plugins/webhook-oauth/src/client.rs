//! The settings, and the request for a token.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use switchboard_plugin_api::{Context, PluginError, Response};

pub(crate) const TOKEN_URL: &str = "token_url";
pub(crate) const CLIENT_ID: &str = "client_id";
pub(crate) const SECRET: &str = "secret";
pub(crate) const SCOPE: &str = "scope";
pub(crate) const AUDIENCE: &str = "audience";
pub(crate) const STYLE: &str = "auth_style";

/// The two values of [`STYLE`].
pub(crate) const BODY: &str = "body";
pub(crate) const BASIC: &str = "basic";

/// How long a token is used whose server does not say.
const UNKNOWN_LIFE: Duration = Duration::from_secs(5 * 60);

/// How long before its end a token is not used any more.
const SAFETY: Duration = Duration::from_secs(60);

/// What a token server may answer (RFC 6749, section 5.2). Anything else could be a secret and is not repeated.
const ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// Who asks for tokens, and where.
pub(crate) struct Client {
    token_url: String,
    id: String,
    secret: String,
    scope: String,
    audience: String,
    in_header: bool,
}

/// A token and how long it can be used.
pub(crate) struct Token {
    pub(crate) value: String,
    pub(crate) good_for: Duration,
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum TokenFailure {
    /// There was no answer.
    NotSent(PluginError),
    /// The token server said no, with one of [`ERRORS`] or with nothing that can be repeated.
    Refused { status: u16, error: &'static str, retry_after: Option<Duration> },
    /// It answered with success and without a token that can be sent.
    NoToken,
}

impl Client {
    pub(crate) fn read(cx: &Context<'_>) -> Result<Self, PluginError> {
        Ok(Self {
            token_url: cx.required_setting(TOKEN_URL)?,
            id: cx.required_setting(CLIENT_ID)?,
            secret: cx.required_setting(SECRET)?,
            scope: cx.setting(SCOPE).unwrap_or_default(),
            audience: cx.setting(AUDIENCE).unwrap_or_default(),
            in_header: cx.setting(STYLE).is_some_and(|style| style == BASIC),
        })
    }

    /// Returns what tells these settings from others without showing them.
    pub(crate) fn fingerprint(&self) -> String {
        let style = if self.in_header { BASIC } else { BODY };
        let mut hash = Sha256::new();
        for part in [&self.token_url, &self.id, &self.secret, &self.scope, &self.audience, style] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Asks the token server for a token.
    pub(crate) async fn fetch(&self, cx: &Context<'_>) -> Result<Token, TokenFailure> {
        let mut form = vec![("grant_type", "client_credentials")];
        if !self.in_header {
            form.extend([("client_id", self.id.as_str()), ("client_secret", self.secret.as_str())]);
        }
        let optional = [("scope", self.scope.as_str()), ("audience", self.audience.as_str())];
        form.extend(optional.into_iter().filter(|(_, value)| !value.is_empty()));
        let request = cx.http().post(&self.token_url).header("accept", "application/json").form(&form).confidential();
        // RFC 6749, section 2.3.1: both are encoded as in a form before they are put together.
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let request = match self.in_header {
            true => request.basic_auth(&encoded(&self.id), &encoded(&self.secret)),
            false => request,
        };
        read(&request.send().await.map_err(TokenFailure::NotSent)?)
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    /// A number of seconds; some servers write it as a text.
    #[serde(default)]
    expires_in: Value,
}

fn read(response: &Response) -> Result<Token, TokenFailure> {
    let status = response.status();
    if !(200..=299).contains(&status) {
        let told = response.json::<Value>().unwrap_or_default();
        let error = ERRORS.into_iter().find(|error| told["error"] == **error).unwrap_or_default();
        let retry_after = response.header("retry-after").and_then(|value| value.trim().parse().ok());
        return Err(TokenFailure::Refused { status, error, retry_after: retry_after.map(Duration::from_secs) });
    }
    let answer: Answer = response.json().map_err(|_| TokenFailure::NoToken)?;
    let is_bearer = answer.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    let can_be_sent =
        !answer.access_token.is_empty() && answer.access_token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_bearer || !can_be_sent {
        return Err(TokenFailure::NoToken);
    }
    Ok(Token { value: answer.access_token, good_for: good_for(&answer.expires_in) })
}

/// Returns how long a token can be used: until shortly before its end, and for the first half of a short life.
fn good_for(expires_in: &Value) -> Duration {
    let seconds = expires_in.as_u64().or_else(|| expires_in.as_str()?.parse().ok());
    seconds.map_or(UNKNOWN_LIFE, |seconds| {
        let life = Duration::from_secs(seconds);
        life.saturating_sub(SAFETY).max((life / 2).min(SAFETY))
    })
}

impl From<TokenFailure> for PluginError {
    /// Without the answer of the token server, which may repeat a secret, and never as the end of the webhook: it is not
    /// the receiver that said no.
    fn from(failure: TokenFailure) -> Self {
        let (message, retry_after) = match failure {
            TokenFailure::NotSent(error) => return error,
            TokenFailure::NoToken => ("the token server gave no bearer token".to_owned(), None),
            TokenFailure::Refused { status, error: "", retry_after } => {
                (format!("the token server answered {status}"), retry_after)
            }
            TokenFailure::Refused { status, error, retry_after } => {
                (format!("the token server answered {status}, {error}: check the settings"), retry_after)
            }
        };
        let error = Self::retryable(message).with_code("token");
        match retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}
