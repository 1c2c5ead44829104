//! From a [`Request`] to what reqwest sends, and headers back.

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use url::Url;

use super::{EgressError, Request};

/// Headers of the connection: setting them breaks it or smuggles a second request into it.
const FORBIDDEN: [&str; 9] =
    ["connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// How much of a wrong header name or method an error repeats.
const SHOWN: usize = 64;

/// Builds the request to `url`, which is the judged form of `request.url`.
pub(super) fn build(url: Url, request: Request) -> Result<reqwest::Request, EgressError> {
    let method = method(&request.method)?;
    let bodiless = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE);
    let mut built = reqwest::Request::new(method, url);
    *built.headers_mut() = headers(&request.headers)?;
    if !(bodiless && request.body.is_empty()) {
        *built.body_mut() = Some(request.body.into());
    }
    Ok(built)
}

/// Replaces the value of a header that holds a secret.
const MASKED: &str = "***";

/// Parts of names of headers whose values are secrets.
const SECRET: [&str; 8] = ["auth", "cookie", "key", "password", "passwd", "secret", "session", "token"];

/// Returns what is sent, for people: secrets are masked.
pub(super) fn masked(request: &reqwest::Request, user_agent: &HeaderValue) -> Vec<(String, String)> {
    let mut headers = owned(request.headers());
    if !request.headers().contains_key(USER_AGENT) {
        headers.extend([(USER_AGENT.to_string(), String::from_utf8_lossy(user_agent.as_bytes()).into_owned())]);
    }
    mask(&mut headers);
    headers
}

/// Masks the values of headers that hold secrets, by their names: credentials, cookies, keys and tokens.
pub fn mask(headers: &mut [(String, String)]) {
    for (name, value) in headers {
        if is_secret(&name.to_ascii_lowercase()) {
            MASKED.clone_into(value);
        }
    }
}

fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|part| name.contains(part))
}

/// Returns the headers of a response as text.
pub(super) fn owned(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn method(name: &str) -> Result<Method, EgressError> {
    match Method::from_bytes(name.as_bytes()) {
        Ok(method) if method != Method::CONNECT && method != Method::TRACE => Ok(method),
        _ => Err(EgressError::Method { method: shown(name) }),
    }
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, EgressError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let error = |reason| EgressError::Header { name: shown(name), reason };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| error("is not a valid header name"))?;
        // `HeaderName` is lower case.
        if FORBIDDEN.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
            return Err(error("belongs to the connection and cannot be set"));
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| error("has a value with control characters"))?;
        // Keeps HTTP/2 from putting it into a table that later requests share.
        value.set_sensitive(is_secret(name.as_str()));
        headers
            .try_append(name.clone(), value)
            .map_err(|_| EgressError::Header { name: shown(name.as_str()), reason: "is one too many" })?;
    }
    Ok(headers)
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}
