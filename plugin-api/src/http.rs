//! HTTP through the host: one guard, one TLS stack and one connection pool for all plugins.

use core::time::Duration;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::{self, HttpHead, HttpReply};
use crate::{Context, Delivered, Delivery, PluginError};

/// The host's HTTP client.
///
/// ```
/// use switchboard_plugin_api::prelude::*;
///
/// async fn balance(cx: &Context<'_>) -> Result<u64, PluginError> {
///     let response = cx.http().get("https://example.com/balance").bearer_auth("key").send().await?;
///     response.successful()?.json()
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Http<'c, 'a> {
    context: &'c Context<'a>,
}

impl<'c, 'a> Http<'c, 'a> {
    pub(crate) fn new(context: &'c Context<'a>) -> Self {
        Self { context }
    }

    /// Starts a request with any method but `CONNECT` and `TRACE`, which the host refuses.
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// async fn replace(cx: &Context<'_>, url: &str) -> Result<u16, PluginError> {
    ///     Ok(cx.http().request("PUT", url).json(&[1, 2]).send().await?.successful()?.status())
    /// }
    /// ```
    pub fn request(&self, method: &str, url: impl Into<String>) -> RequestBuilder<'c, 'a> {
        let head = HttpHead { method: method.to_owned(), url: url.into(), ..HttpHead::default() };
        RequestBuilder { context: self.context, head, body: Vec::new(), error: None }
    }

    /// Starts a GET request.
    pub fn get(&self, url: impl Into<String>) -> RequestBuilder<'c, 'a> {
        self.request("GET", url)
    }

    /// Starts a POST request.
    pub fn post(&self, url: impl Into<String>) -> RequestBuilder<'c, 'a> {
        self.request("POST", url)
    }

    /// Starts the POST of a delivery: the exact body to the webhook's URL, with the headers that receivers rely on
    /// (`content-type`, `webhook-id`, `webhook-event`, `webhook-attempt`; the host adds `webhook-timestamp`).
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// async fn deliver(cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
    ///     let key = cx.required_setting("key")?;
    ///     cx.http().deliver(&delivery).header("x-api-key", key).send().await?.delivered()
    /// }
    /// ```
    pub fn deliver(&self, delivery: &Delivery) -> RequestBuilder<'c, 'a> {
        self.post(delivery.url.as_str())
            .header("content-type", "application/json")
            .header("webhook-id", delivery.event_id.as_str())
            .header("webhook-event", delivery.event.as_str())
            .header("webhook-attempt", delivery.attempt.to_string())
            .body(delivery.body.as_bytes())
    }
}

/// A request that is being put together.
///
/// ```
/// use std::time::Duration;
/// use switchboard_plugin_api::prelude::*;
/// use switchboard_plugin_api::serde_json::{Value, json};
///
/// async fn order(cx: &Context<'_>) -> Result<Value, PluginError> {
///     let request = cx.http().post("https://example.com/orders").basic_auth("ada", "secret");
///     let request = request.header("x-trace", "7").json(&json!({ "nights": 2 })).timeout(Duration::from_secs(4));
///     request.send().await?.successful()?.json()
/// }
///
/// fn token(cx: &Context) -> Result<String, PluginError> {
///     let form = [("grant_type", "client_credentials"), ("scope", "events")];
///     let response = cx.http().post("https://example.com/token").form(&form).send_blocking()?;
///     Ok(response.successful()?.text().into_owned())
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent before `send` or `send_blocking`"]
pub struct RequestBuilder<'c, 'a> {
    context: &'c Context<'a>,
    head: HttpHead,
    body: Vec<u8>,
    error: Option<PluginError>,
}

impl RequestBuilder<'_, '_> {
    /// Adds a header; a name may come more than once. The host refuses headers that belong to the connection, such as
    /// `host` or `content-length`, and values with control characters, with a permanent error when the request is sent.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.head.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a parameter to the query of the URL, behind what is there, as the WHATWG URL standard serialises it. A host of
    /// 1.1 masks its value wherever it shows the URL.
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// async fn state(cx: &Context<'_>) -> Result<u16, PluginError> {
    ///     // https://example.com/state?lang=en&key=a%26b
    ///     let request = cx.http().get("https://example.com/state?lang=en").query("key", "a&b");
    ///     Ok(request.send().await?.status())
    /// }
    /// ```
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let url = &mut self.head.url;
        // A fragment is never sent.
        url.truncate(url.find('#').unwrap_or(url.len()));
        let separator = match url.find('?') {
            None => "?",
            Some(_) if url.ends_with(['?', '&']) => "",
            Some(_) => "&",
        };
        let pair = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        self.head.url = format!("{url}{separator}{pair}");
        self
    }

    /// Says that the answer is a secret, such as a token: the host neither logs nor stores it, only that it came. Since 1.1;
    /// a host of 1.0 may store the answer to the last request of a delivery.
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// async fn token(cx: &Context<'_>) -> Result<String, PluginError> {
    ///     let request = cx.http().post("https://example.com/token").form(&[("grant_type", "client_credentials")]);
    ///     Ok(request.confidential().send().await?.successful()?.text().into_owned())
    /// }
    /// ```
    pub fn confidential(mut self) -> Self {
        self.head.confidential = true;
        self
    }

    /// Adds `Authorization: Basic` as RFC 7617 describes it, in UTF-8.
    pub fn basic_auth(self, username: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{username}:{password}"));
        self.header("authorization", format!("Basic {credentials}"))
    }

    /// Adds `Authorization: Bearer` as RFC 6750 describes it.
    pub fn bearer_auth(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sets the body, which is sent as it is.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body and its content type. A value that cannot be written fails when the request is sent.
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.body = body,
            Err(error) => self.error = Some(error.into()),
        }
        self.header("content-type", "application/json")
    }

    /// Sets a form body (`application/x-www-form-urlencoded`, as the WHATWG URL standard serialises it).
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body = encoded.into_bytes();
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// Sets the longest wait for the whole answer, in whole milliseconds. The deadline of the call holds as well; without
    /// this, it alone.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.head.timeout_ms = Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Sends the request from an asynchronous handler.
    ///
    /// # Errors
    ///
    /// When no complete answer came: the URL, a header or the address is refused (permanent, with codes such as `bad_url`
    /// and `blocked`), or the connection, TLS or a deadline failed (retryable, `dns`, `connect`, `tls`, `timeout_total` and
    /// others). An answer with an error status is no error here; see [`Response::successful`].
    pub async fn send(self) -> Result<Response, PluginError> {
        let head = self.head()?;
        let (head, body) = self.context.host().service_async(protocol::HTTP, head, self.body).await?;
        Response::read(&head, body)
    }

    /// Sends the request from a synchronous handler; the thread waits.
    ///
    /// # Errors
    ///
    /// As [`RequestBuilder::send`].
    pub fn send_blocking(self) -> Result<Response, PluginError> {
        let (head, body) = self.context.host().service(protocol::HTTP, &self.head()?, &self.body)?;
        Response::read(&head, body)
    }

    fn head(&self) -> Result<Vec<u8>, PluginError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None => Ok(serde_json::to_vec(&self.head)?),
        }
    }
}

/// An answer with any status.
///
/// ```
/// use switchboard_plugin_api::prelude::*;
/// use switchboard_plugin_api::serde_json::Value;
///
/// async fn state(cx: &Context<'_>) -> Result<Option<Value>, PluginError> {
///     let response = cx.http().get("https://example.com/state").send().await?;
///     if response.status() == 404 {
///         return Ok(None); // an answer like any other here
///     }
///     if response.truncated() {
///         return Err(PluginError::permanent("the state is larger than the host reads"));
///     }
///     response.successful()?.json().map(Some)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Response {
    head: HttpReply,
    body: Vec<u8>,
}

impl Response {
    fn read(head: &[u8], body: Vec<u8>) -> Result<Self, PluginError> {
        Ok(Self { head: serde_json::from_slice(head)?, body })
    }

    /// Returns the status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// Returns the first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the body, cut at the host's limit (64 KiB unless configured).
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns whether the body was longer than the host's limit.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.head.truncated
    }

    /// Returns the body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    ///
    /// A retryable error when the body is not JSON of that type: a proxy's error page may be gone next time.
    pub fn json<V: DeserializeOwned>(&self) -> Result<V, PluginError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            PluginError::retryable(format!("the answer is not the JSON that was expected: {error}"))
                .with_code("bad_answer")
        })
    }

    /// Returns how long the receiver asks to be left alone: `Retry-After` (RFC 9110) in seconds or as an HTTP date; `None`
    /// when it does not ask, or nobody can read what it wrote.
    ///
    /// A date is measured from the receiver's own `Date`, where it sends one, so that a wrong clock does not change the wait;
    /// one that has passed is no wait. The host waits 24 hours at most.
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// async fn accepts_orders(cx: &Context<'_>) -> Result<bool, PluginError> {
    ///     let response = cx.http().get("https://example.com/health").send().await?;
    ///     Ok(response.retry_after().is_none())
    /// }
    /// ```
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.header("retry-after")?.trim();
        if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            // Only a number that is too large cannot be read.
            return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
        }
        let until = httpdate::parse_http_date(value).ok()?;
        let theirs = self.header("date").and_then(|date| httpdate::parse_http_date(date.trim()).ok());
        Some(until.duration_since(theirs.unwrap_or_else(SystemTime::now)).unwrap_or_default())
    }

    /// Returns the response when its status is 200 to 299.
    ///
    /// # Errors
    ///
    /// Otherwise an error with the status and its class as code (`http_3xx`, `http_4xx`, `http_5xx`, `rate_limited`,
    /// `gone`); `gone` (410) is permanent, the others are retryable, no earlier than [`Response::retry_after`] asks.
    pub fn successful(self) -> Result<Self, PluginError> {
        let status = self.status();
        let code = match status {
            200..=299 => return Ok(self),
            410 => "gone",
            429 => "rate_limited",
            300..=399 => "http_3xx",
            400..=499 => "http_4xx",
            500..=599 => "http_5xx",
            _ => "protocol",
        };
        let message = match (status, self.header("location")) {
            (300..=399, Some(location)) => {
                // What follows may be the query of this request, and a secret in it.
                let location = location.split(['?', '#']).next().unwrap_or_default();
                format!("the receiver answered {status} and points to {location}: update the URL")
            }
            _ => format!("the receiver answered {status}"),
        };
        let error = match status {
            410 => PluginError::permanent(message),
            _ => PluginError::retryable(message),
        };
        let error = match self.retry_after() {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        };
        Err(error.with_code(code))
    }

    /// Turns the answer to a delivery into the handler's result.
    ///
    /// # Errors
    ///
    /// As [`Response::successful`].
    pub fn delivered(self) -> Result<Delivered, PluginError> {
        Ok(Delivered::with_status(self.successful()?.status()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Response { head: HttpReply { status, headers, truncated: false }, body: Vec::new() }
    }

    #[test]
    fn a_status_decides_whether_a_delivery_is_tried_again() {
        use crate::ErrorKind::{Permanent, Retryable};
        assert_eq!(response(204, &[]).delivered().unwrap().status, Some(204));
        for (status, kind, code) in [
            (301, Retryable, "http_3xx"),
            (404, Retryable, "http_4xx"),
            (410, Permanent, "gone"),
            (429, Retryable, "rate_limited"),
            (503, Retryable, "http_5xx"),
        ] {
            let error = response(status, &[]).delivered().unwrap_err();
            assert_eq!((error.kind(), error.code()), (kind, Some(code)), "{status}");
        }
        let error = response(307, &[("location", "https://a.example/b?key=s3cret")]).delivered().unwrap_err();
        assert_eq!(error.to_string(), "the receiver answered 307 and points to https://a.example/b: update the URL");
    }

    #[test]
    fn a_receiver_can_ask_for_a_wait_in_seconds_or_until_a_date() {
        const NINE: &str = "Tue, 24 Nov 2026 09:00:00 GMT";
        let asked = |retry_after, date| {
            let headers = [("Retry-After", retry_after), ("Date", date)];
            response(503, &headers).delivered().unwrap_err().retry_after()
        };
        for (retry_after, seconds) in [
            ("120", 120),
            (" 0 ", 0),
            ("99999999999999999999", u64::MAX),
            ("Tue, 24 Nov 2026 09:02:00 GMT", 120),
            ("Tuesday, 24-Nov-26 09:02:00 GMT", 120),
            ("Tue Nov 24 09:02:00 2026", 120),
            ("Tue, 24 Nov 2026 08:00:00 GMT", 0),
        ] {
            assert_eq!(asked(retry_after, NINE), Some(Duration::from_secs(seconds)), "{retry_after}");
        }
        for unreadable in ["", "soon", "-1", "1.5", "+5", "Tue, 32 Nov 2026 09:00:00 GMT"] {
            assert_eq!(asked(unreadable, NINE), None, "{unreadable}");
        }
        // Without a usable `Date` the clock of this machine counts.
        let far = asked("Fri, 31 Dec 9999 23:59:59 GMT", "now").unwrap();
        assert!(far > Duration::from_secs(7_000 * 365 * 24 * 60 * 60));
        assert_eq!(asked("Thu, 01 Jan 1970 00:00:00 GMT", ""), Some(Duration::ZERO));
    }
}
