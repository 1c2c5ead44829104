//! What a delivery says over HTTP, as it may be written down: without secrets.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switchboard_plugin_api::PluginError;
use switchboard_plugin_api::protocol::HttpHead;

use crate::egress::{self, EgressError, Response, Trace};
use crate::store::{ExchangeTimings, HttpExchange, SentBody};
use crate::webhooks;

/// Stands in place of a secret.
const MASK: &str = "***";

/// Shorter values of settings are not looked for: they are in every text.
const MIN_SECRET_BYTES: usize = 4;

/// Outcome code of a request that a preview has written down in place of sending it.
pub(crate) const PREVIEWED: &str = "previewed";

/// Headers of Standard Webhooks whose values make the text that is signed, and that of the signatures.
const ID_HEADER: &str = "webhook-id";
const TIMESTAMP_HEADER: &str = "webhook-timestamp";
const SIGNATURE_HEADER: &str = "webhook-signature";

/// Collects the exchanges of one call.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    exchanges: Mutex<Vec<HttpExchange>>,
    /// What was signed, for each exchange of a preview.
    signed: Mutex<Vec<Option<String>>>,
    /// Values that are in nothing that is written down.
    secrets: Vec<String>,
    /// The body of the event.
    event: SentBody,
    /// What is sent in place of what the handler has built, when an attempt is made again as it was.
    as_sent: Option<SentBody>,
    /// Whether nothing is sent.
    preview: bool,
}

/// A request that is written down.
pub(crate) struct Noted {
    exchange: HttpExchange,
    secrets: Vec<String>,
}

impl Transcript {
    /// Begins a transcript of the delivery of an event with this body. `secrets` are the values of the webhook's settings
    /// that nobody may see.
    pub(crate) fn new(event: &[u8], secrets: &[String]) -> Self {
        let secrets = secrets.iter().filter(|secret| secret.len() >= MIN_SECRET_BYTES);
        Self {
            secrets: longest_first(secrets.flat_map(|secret| written(secret)).collect()),
            event: SentBody::of(event),
            ..Self::default()
        }
    }

    /// Sends these bytes, whatever the handler builds.
    pub(crate) fn sending(mut self, body: Option<SentBody>) -> Self {
        self.as_sent = body;
        self
    }

    /// Sends nothing.
    pub(crate) fn preview(mut self) -> Self {
        self.preview = true;
        self
    }

    pub(crate) fn is_preview(&self) -> bool {
        self.preview
    }

    /// Returns what was written down.
    pub(crate) fn take(&self) -> Vec<HttpExchange> {
        std::mem::take(&mut *lock(&self.exchanges))
    }

    /// Returns what was signed, for each exchange of a preview.
    pub(crate) fn take_signed(&self) -> Vec<Option<String>> {
        std::mem::take(&mut *lock(&self.signed))
    }

    /// Replaces what an attempt that is made again as it was sends otherwise.
    ///
    /// # Errors
    ///
    /// When the request is signed: another body would not fit the signature.
    pub(crate) fn body_to_send(&self, head: &HttpHead, body: Vec<u8>) -> Result<Vec<u8>, PluginError> {
        let Some(wanted) = self.as_sent.as_ref().filter(|_| !head.confidential) else { return Ok(body) };
        if wanted.is(&body) {
            return Ok(body);
        }
        let refused = |why: &str| {
            let message = format!("the request cannot be made again as it was: {why}; replay it as a rebuild");
            Err(PluginError::permanent(message).with_code("not_as_sent"))
        };
        if head.headers.iter().any(|(name, _)| name.to_ascii_lowercase().contains("signature")) {
            return refused("the auth method signs another body today");
        }
        match wanted.whole() {
            Some(bytes) => Ok(bytes.to_vec()),
            None => refused("the auth method builds another body today, and the one that was sent is not kept"),
        }
    }

    /// Writes a request down.
    pub(crate) fn note(&self, head: &HttpHead, headers: &[(String, String)], body: &[u8]) -> Noted {
        let mut secrets = self.secrets.clone();
        let mut shown_headers = headers.to_vec();
        egress::mask(&mut shown_headers);
        for ((_, value), (_, shown)) in headers.iter().zip(&shown_headers) {
            // What follows `Bearer ` or `Basic ` is a secret of its own.
            let parts = value.split_ascii_whitespace().filter(|part| part.len() >= MIN_SECRET_BYTES * 2);
            if value != shown {
                secrets.extend(parts.flat_map(written));
            }
        }
        let secrets = longest_first(secrets);
        let mut exchange = HttpExchange {
            method: head.method.clone(),
            url: masked(&secrets, &masked_url(&head.url)).into_owned(),
            confidential: head.confidential,
            signatures: signatures(headers),
            signature_keys: self.signature_keys(headers, body),
            ..HttpExchange::default()
        };
        exchange.body = match head.confidential {
            // Its hash would tell whether a guess is right.
            true => SentBody { length: body.len() as u64, ..SentBody::default() },
            false => SentBody::of(body),
        };
        exchange.body.is_event = exchange.body == self.event;
        if !exchange.body.is_event && !head.confidential && !body.is_empty() {
            // Whole first: a secret that the limit cuts in two would not be found.
            let mut kept = match std::str::from_utf8(body) {
                Ok(text) => masked(&secrets, text).into_owned().into_bytes(),
                Err(_) => masked_bytes(&secrets, body),
            };
            kept.truncate(SentBody::KEPT_BYTES);
            exchange.body.bytes = Some(kept);
        }
        exchange.request_headers = shown_headers;
        Noted { exchange, secrets }
    }

    fn signature_keys(&self, headers: &[(String, String)], body: &[u8]) -> Vec<String> {
        let signatures = header(headers, SIGNATURE_HEADER);
        let by = |signatures| Some(webhooks::key_ids(signatures, &message(headers, body)?, &self.secrets));
        signatures.and_then(by).unwrap_or_default()
    }

    /// Writes down how a request ended.
    pub(crate) fn end(&self, noted: Noted, result: &Result<Response, EgressError>, trace: Trace) {
        let Noted { mut exchange, secrets } = noted;
        if !trace.request_headers.is_empty() {
            exchange.request_headers = trace.request_headers;
        }
        mask_all(&secrets, &mut exchange.request_headers);
        exchange.resolved = trace.resolved.iter().map(ToString::to_string).collect();
        exchange.remote = trace.remote.map(|remote| remote.to_string());
        exchange.proxy = trace.proxy;
        exchange.reused = trace.reused;
        exchange.http_version = trace.http_version.map(str::to_owned);
        exchange.tls_version = trace.tls.and_then(|tls| tls.version).map(str::to_owned);
        exchange.certificate_expires_at = trace.tls.and_then(|tls| tls.expires_at);
        let whole = |time: Option<Duration>| time.map(|time| Duration::from_micros(micros(time)));
        exchange.timings = ExchangeTimings {
            dns: whole(trace.timings.dns),
            connect: whole(trace.timings.connect),
            tls: whole(trace.timings.tls),
            first_byte: whole(trace.timings.first_byte),
            total: whole(Some(trace.timings.total)),
        };
        match result {
            Ok(response) => {
                exchange.status = Some(response.status);
                exchange.response_headers = response.headers.clone();
                egress::mask(&mut exchange.response_headers);
                mask_all(&secrets, &mut exchange.response_headers);
                exchange.truncated = response.truncated;
                if !exchange.confidential && !response.body.is_empty() {
                    let mut text = String::from_utf8_lossy(&response.body).into_owned();
                    if response.truncated {
                        mask_cut_end(&secrets, &mut text);
                    }
                    exchange.response = Some(masked(&secrets, &text).into_owned());
                }
            }
            Err(error) => {
                exchange.status = error.status();
                exchange.error = Some(error.code().to_owned());
            }
        }
        lock(&self.exchanges).push(exchange);
    }

    /// Writes down a request that is not sent, with the headers that it would have.
    pub(crate) fn previewed(
        &self,
        noted: Noted,
        given: &[(String, String)],
        body: &[u8],
        drafted: Result<Vec<(String, String)>, EgressError>,
    ) -> PluginError {
        let Noted { mut exchange, secrets } = noted;
        let signed = if exchange.signatures.is_empty() { None } else { signed(given, body) };
        let error = match drafted {
            Ok(headers) => {
                exchange.request_headers = headers;
                PluginError::permanent("a preview sends nothing").with_code(PREVIEWED)
            }
            Err(error) => {
                exchange.error = Some(error.code().to_owned());
                PluginError::permanent(crate::error::Chain(&error).to_string()).with_code(error.code())
            }
        };
        mask_all(&secrets, &mut exchange.request_headers);
        lock(&self.signed).push(signed.map(|signed| masked(&secrets, &signed).into_owned()));
        lock(&self.exchanges).push(exchange);
        error
    }

    /// Returns an error without secrets in its message.
    pub(crate) fn without_secrets(&self, error: PluginError) -> PluginError {
        let message = error.to_string();
        let Cow::Owned(masked) = self.text(&message) else { return error };
        let error_of = match error.kind() {
            switchboard_plugin_api::ErrorKind::Permanent => PluginError::permanent,
            _ => PluginError::retryable,
        };
        let mut clean = error_of(masked);
        if let Some(code) = error.code() {
            clean = clean.with_code(code);
        }
        match error.retry_after() {
            Some(wait) => clean.with_retry_after(wait),
            None => clean,
        }
    }

    /// Returns a text without secrets.
    pub(crate) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        masked(&self.secrets, text)
    }
}

fn mask_all(secrets: &[String], headers: &mut [(String, String)]) {
    for (_, value) in headers {
        if let Cow::Owned(masked) = masked(secrets, value) {
            *value = masked;
        }
    }
}

fn masked<'t>(secrets: &[String], text: &'t str) -> Cow<'t, str> {
    let mut masked = Cow::Borrowed(text);
    for secret in secrets {
        if masked.contains(secret.as_str()) {
            masked = Cow::Owned(masked.replace(secret.as_str(), MASK));
        }
    }
    masked
}

/// As [`masked`], for what may be no text.
fn masked_bytes(secrets: &[String], bytes: &[u8]) -> Vec<u8> {
    let mut masked = bytes.to_vec();
    for secret in secrets.iter().map(String::as_bytes) {
        let mut from = 0;
        while let Some(at) = masked[from..].windows(secret.len()).position(|window| window == secret) {
            masked.splice(from + at..from + at + secret.len(), MASK.bytes());
            from += at + MASK.len();
        }
    }
    masked
}

/// Masks the end of a text that was cut off, where a secret may have begun.
fn mask_cut_end(secrets: &[String], text: &mut String) {
    // The cut may have gone through a character, of which only a replacement is left.
    let end = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
    let begun = |secret: &String| {
        let mut lengths = secret.char_indices().map(|(at, one)| at + one.len_utf8());
        lengths.rfind(|length| text[..end].ends_with(&secret[..*length]))
    };
    if let Some(length) = secrets.iter().filter_map(begun).max() {
        text.truncate(end - length);
        text.push_str(MASK);
    }
}

/// Sorts secrets so that one which is a part of another does not hide it.
fn longest_first(mut secrets: Vec<String>) -> Vec<String> {
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns how a secret may be written: as it is, in JSON and in a form.
fn written(secret: &str) -> Vec<String> {
    let json = serde_json::Value::from(secret).to_string();
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let mut all = vec![secret.to_owned(), json[1..json.len() - 1].to_owned(), form];
    all.dedup();
    all
}

/// Returns a URL as it is written down: parameters of its query may be secrets.
fn masked_url(url: &str) -> String {
    let Some((start, query)) = url.split_once('?') else { return url.to_owned() };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}={MASK}"),
        None => MASK.to_owned(),
    });
    format!("{start}?{}", pairs.collect::<Vec<_>>().join("&"))
}

fn header<'h>(headers: &'h [(String, String)], wanted: &str) -> Option<&'h str> {
    headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
}

/// Returns the versions of the signatures, as Standard Webhooks writes them: `v1,<base64> v1a,<base64>`.
fn signatures(headers: &[(String, String)]) -> Vec<String> {
    let all = header(headers, SIGNATURE_HEADER).unwrap_or_default().split(' ');
    all.filter_map(|one| one.split_once(',')).map(|(version, _)| version.to_owned()).collect()
}

/// Returns what Standard Webhooks signs.
fn message(headers: &[(String, String)], body: &[u8]) -> Option<Vec<u8>> {
    let (id, time) = (header(headers, ID_HEADER)?, header(headers, TIMESTAMP_HEADER)?);
    Some([id.as_bytes(), b".", time.as_bytes(), b".", body].concat())
}

/// Returns it as a text.
fn signed(headers: &[(String, String)], body: &[u8]) -> Option<String> {
    message(headers, body).map(|message| String::from_utf8_lossy(&message).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(url: &str, headers: &[(&str, &str)]) -> HttpHead {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HttpHead { method: "POST".into(), url: url.into(), headers, ..HttpHead::default() }
    }

    fn noted(transcript: &Transcript, head: &HttpHead, body: &[u8]) -> HttpExchange {
        let noted = transcript.note(head, &head.headers, body);
        let response = "you sent s3cr\\\"t and abcdefgh".to_owned().into_bytes();
        let result = Ok(crate::egress::Response::of(200, response));
        transcript.end(noted, &result, Trace::default());
        transcript.take().remove(0)
    }

    #[test]
    fn a_written_down_url_shows_the_names_in_its_query_and_no_value() {
        assert_eq!(masked_url("https://a.example/x"), "https://a.example/x");
        let masked = masked_url("https://a.example/x?key=s3cret&lang=en&bare");
        assert_eq!(masked, "https://a.example/x?key=***&lang=***&***");
        assert_eq!(masked_url("https://a.example/?a=b?c=d=e"), "https://a.example/?a=***");
    }

    #[test]
    fn no_secret_is_in_what_is_written_down() {
        let transcript = Transcript::new(b"{}", &["s3cr\"t".to_owned(), "abc".to_owned()]);
        let head = head(
            "https://a.example/s3cr%22t?x=1",
            &[("authorization", "Bearer abcdefgh"), ("x-own", "s3cr\"t"), ("x-other", "abc")],
        );
        let exchange = noted(&transcript, &head, br#"{"key":"s3cr\"t"}"#);
        assert_eq!(exchange.url, "https://a.example/***?x=***");
        let headers = [("authorization", "***"), ("x-own", "***"), ("x-other", "abc")];
        assert_eq!(exchange.request_headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(exchange.body.bytes.as_deref(), Some(&br#"{"key":"***"}"#[..]));
        assert_eq!(exchange.response.as_deref(), Some("you sent *** and ***"), "neither setting nor token");
        let error = PluginError::retryable("no s3cr\"t").with_code("x");
        assert_eq!(transcript.without_secrets(error), PluginError::retryable("no ***").with_code("x"));
    }

    #[test]
    fn a_secret_that_a_limit_cuts_in_two_leaves_no_part_of_it() {
        let transcript = Transcript::new(b"{}", &["kéy-0123456789".to_owned(), "kéy-".to_owned()]);
        let head = head("https://a.example/", &[]);
        let before = SentBody::KEPT_BYTES - 6;
        for filler in ["x", "\u{e9}"] {
            // The limit goes through the secret, and through a character where those before it have two bytes.
            let body = format!("-{}kéy-0123456789 and more", filler.repeat(before / filler.len()));
            let kept = noted(&transcript, &head, body.as_bytes()).body.bytes.unwrap();
            let kept = String::from_utf8_lossy(&kept);
            assert!(kept.len() >= before && !kept.contains("kéy"), "{}", &kept[kept.len() - 20..]);
        }
        let no_text = [&b"\xff\x00"[..], "kéy-0123456789".as_bytes(), b"\xff"].concat();
        assert_eq!(noted(&transcript, &head, &no_text).body.bytes.as_deref(), Some(&b"\xff\x00***\xff"[..]));
        let answered = |body: &[u8], truncated: bool| {
            let response = Response { truncated, ..Response::of(200, body.to_vec()) };
            transcript.end(transcript.note(&head, &[], b""), &Ok(response), Trace::default());
            transcript.take().remove(0).response.unwrap()
        };
        assert_eq!(answered("is kéy-01234".as_bytes(), true), "is ***");
        assert_eq!(answered("is kéy".as_bytes(), true), "is ***");
        assert_eq!(answered(b"is k\xc3", true), "is ***");
        assert_eq!(answered("is kéy".as_bytes(), false), "is kéy", "not cut");
        assert_eq!(answered(b"whole", true), "whole");
    }

    #[test]
    fn the_body_of_the_event_is_kept_with_the_event_and_no_confidential_one_at_all() {
        let transcript = Transcript::new(b"{\"data\":1}", &[]);
        let head = head("https://a.example/", &[("webhook-signature", "v1,abc v1a,def")]);
        let exchange = noted(&transcript, &head, b"{\"data\":1}");
        assert!(exchange.body.is_event && exchange.body.bytes.is_none() && exchange.body.length == 10);
        assert_eq!(exchange.signatures, ["v1", "v1a"]);
        let exchange = noted(&transcript, &head, b"other");
        assert_eq!((exchange.body.is_event, exchange.body.bytes.as_deref()), (false, Some(&b"other"[..])));
        let confidential = HttpHead { confidential: true, ..head };
        let exchange = noted(&transcript, &confidential, b"client_secret=x");
        assert_eq!((exchange.body.bytes, exchange.body.sha256.as_str(), exchange.response), (None, "", None));
    }

    #[test]
    fn an_attempt_is_made_again_as_it_was_or_not_at_all() {
        let built = SentBody { bytes: Some(b"built".to_vec()), ..SentBody::of(b"built") };
        let plain = head("https://a.example/", &[]);
        let signed = head("https://a.example/", &[("x-signature", "abc")]);
        let body_of = |wanted: &SentBody, head: &HttpHead, body: &[u8]| {
            let transcript = Transcript::new(b"{}", &[]).sending(Some(wanted.clone()));
            transcript.body_to_send(head, body.to_vec()).map_err(|error| error.code().unwrap().to_owned())
        };
        assert_eq!(body_of(&built, &signed, b"built"), Ok(b"built".to_vec()));
        assert_eq!(body_of(&built, &plain, b"today"), Ok(b"built".to_vec()));
        assert_eq!(body_of(&built, &signed, b"today"), Err("not_as_sent".into()));
        assert_eq!(body_of(&SentBody::of(b"built"), &plain, b"today"), Err("not_as_sent".into()));
        let token = HttpHead { confidential: true, ..plain };
        assert_eq!(body_of(&built, &token, b"grant"), Ok(b"grant".to_vec()));
    }
}
