//! HTTP exchanges of an attempt, as they are written down.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::wire;

/// One HTTP request of an attempt and how it ended.
///
/// Secrets are masked with `***` before this is made: credentials, cookies and keys among the headers, the values of the
/// query, and whatever is the value of a password field of the webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HttpExchange {
    /// The method, such as `POST`.
    pub method: String,
    /// The URL; the values in its query are masked.
    pub url: String,
    /// The headers as they were sent, masked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<(String, String)>,
    /// What was sent.
    pub body: SentBody,
    /// The signatures that it carried, such as `v1`, in the order of the header `webhook-signature`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<String>,
    /// Which key made each of them: the start of the SHA-256 of the secret, or of the public half of a pair, as the receiver
    /// has it; an empty text where no secret of the webhook did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signature_keys: Vec<String>,
    /// The addresses of the receiver's name; none for an address in the URL and for a connection that was there already.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolved: Vec<String>,
    /// The address and port that were connected to: the receiver's, or the proxy's where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The proxy as `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Whether the connection was there already. Then it has no times of its own.
    pub reused: bool,
    /// The HTTP version of the answer: `HTTP/1.1` or `HTTP/2.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_version: Option<String>,
    /// The TLS version: `TLSv1.2` or `TLSv1.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// When the receiver's certificate expires, in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_expires_at: Option<i64>,
    /// How long each phase took.
    pub timings: ExchangeTimings,
    /// The status that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The headers of the answer, masked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<(String, String)>,
    /// The start of the answer's body, 64 KiB unless configured otherwise; bytes that are not UTF-8 are replaced. None
    /// when there was none or it is confidential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// Whether the answer's body was longer than what was read.
    pub truncated: bool,
    /// Whether the request was marked as one whose answer is a secret, such as a token. Neither body is kept then.
    pub confidential: bool,
    /// The outcome code when no whole answer came, such as `connect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The body of a request: its length and hash always, its bytes where they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SentBody {
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Whether it was the body of the event, which is stored once, with the event.
    pub is_event: bool,
    /// Its bytes when it was another one, the first 32 KiB of it. Not kept for confidential requests, nor after success
    /// unless the host is in development mode.
    #[serde(with = "wire::optional_bytes", skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Vec<u8>>,
}

impl SentBody {
    /// How much of a body is kept that a plugin has built, in bytes.
    pub const KEPT_BYTES: usize = 32 << 10;

    /// Returns what is written down of `body`, without its bytes.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self { length: body.len() as u64, sha256: hash(body), is_event: false, bytes: None }
    }

    /// Returns whether `body` is what was sent.
    #[must_use]
    pub fn is(&self, body: &[u8]) -> bool {
        self.length == body.len() as u64 && self.sha256 == hash(body)
    }

    /// Returns the bytes when all of them are kept here.
    #[must_use]
    pub fn whole(&self) -> Option<&[u8]> {
        self.bytes.as_deref().filter(|bytes| bytes.len() as u64 == self.length)
    }
}

fn hash(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
    text
}

/// How long each phase of an exchange took; `None` for one that did not happen or did not end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ExchangeTimings {
    /// The lookup of the name.
    #[serde(rename = "dns_us", with = "wire::optional_us", skip_serializing_if = "Option::is_none")]
    pub dns: Option<Duration>,
    /// The connection.
    #[serde(rename = "connect_us", with = "wire::optional_us", skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    /// The TLS handshake.
    #[serde(rename = "tls_us", with = "wire::optional_us", skip_serializing_if = "Option::is_none")]
    pub tls: Option<Duration>,
    /// From the connection to the head of the answer.
    #[serde(rename = "first_byte_us", with = "wire::optional_us", skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Duration>,
    /// Everything, to the last byte or to the failure.
    #[serde(rename = "total_us", with = "wire::optional_us", skip_serializing_if = "Option::is_none")]
    pub total: Option<Duration>,
}

/// Writes exchanges for their column. The answer to the last is not among them: it has a column of its own, in which it
/// is searched as the text that it is.
pub(crate) fn write_exchanges(exchanges: &[HttpExchange]) -> Option<String> {
    let (last, before) = exchanges.split_last()?;
    let last = HttpExchange { response: None, ..last.clone() };
    let all: Vec<&HttpExchange> = before.iter().chain([&last]).collect();
    // Nothing in it can fail: no map, and no number that JSON does not have.
    serde_json::to_string(&all).ok()
}

/// Returns how large an attempt is in the store, in bytes: what is in every row, and what differs.
pub(crate) fn attempt_bytes(response: Option<&str>, exchanges: Option<&str>) -> i64 {
    const EVERY_ROW: usize = 400;
    let bytes = EVERY_ROW + response.map_or(0, str::len) + exchanges.map_or(0, str::len);
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Returns a text as it stands inside a JSON text, to look for it there.
pub(crate) fn written_as_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Reads what [`write_exchanges`] wrote.
pub(crate) fn read_exchanges(text: &str, response: Option<&String>) -> Result<Vec<HttpExchange>, serde_json::Error> {
    let mut exchanges: Vec<HttpExchange> = serde_json::from_str(text)?;
    if let Some(last) = exchanges.last_mut() {
        last.response = response.cloned();
    }
    Ok(exchanges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_read_as_they_were_written() {
        let first = HttpExchange {
            method: "POST".into(),
            body: SentBody { bytes: Some(vec![0, 255]), ..SentBody::of(&[0, 255]) },
            response: Some("first".into()),
            timings: ExchangeTimings { dns: Some(Duration::from_micros(1_500)), ..ExchangeTimings::default() },
            ..HttpExchange::default()
        };
        let last = HttpExchange { response: Some("last".into()), truncated: true, ..HttpExchange::default() };
        let exchanges = [first, last];
        let text = write_exchanges(&exchanges).unwrap();
        assert!(text.contains("first") && !text.contains("last"), "{text}");
        assert_eq!(read_exchanges(&text, Some(&"last".into())).unwrap(), exchanges);
        assert_eq!(write_exchanges(&[]), None);
    }

    #[test]
    fn a_body_is_known_by_its_length_and_hash() {
        let body = SentBody::of(b"abc");
        assert_eq!(body.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(body.is(b"abc") && !body.is(b"abd") && !body.is(b""));
        assert_eq!(body.whole(), None);
    }
}
