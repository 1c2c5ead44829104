//! Payloads: samples of what a host sends, and what nobody should send.

use serde::Serialize;
use serde_json::json;
use switchboard_plugin_api::{
    Arguments, DeferredDelivery, Delivery, ImmediateDelivery, LanguageInit, LanguageRequest, PublicTask, Trigger,
    ValidationRequest, WebhookValidation,
};

use super::host::DEFAULT_LANGUAGE;
use crate::webhooks::MAX_BODY_BYTES;

/// How deep the deep payloads nest.
const DEPTH: usize = 10_000;

/// Returns a payload such as a host sends under that number; an empty object for numbers that are not the framework's.
pub(super) fn sample(number: u32) -> Vec<u8> {
    const LANGUAGES: u32 = LanguageInit::NUMBER.get();
    const TASK: u32 = PublicTask::NUMBER.get();
    const VALIDATION: u32 = WebhookValidation::NUMBER.get();
    const IMMEDIATE: u32 = ImmediateDelivery::NUMBER.get();
    const DEFERRED: u32 = DeferredDelivery::NUMBER.get();
    match number {
        LANGUAGES => {
            let mut request = LanguageRequest::default();
            DEFAULT_LANGUAGE.clone_into(&mut request.default_language);
            bytes(&request)
        }
        TASK => bytes(&Arguments::default()),
        VALIDATION => {
            let mut request = ValidationRequest::default();
            request.url = delivery().url;
            bytes(&request)
        }
        IMMEDIATE | DEFERRED => bytes(&delivery()),
        99_994 | 99_999 => bytes(&json!({
            "task": "check",
            "announced": [{ "event_id": "msg_1", "event": "booking_added", "owner": 1, "data": { "contract_uid": 7 } }],
        })),
        _ => b"{}".to_vec(),
    }
}

fn delivery() -> Delivery {
    let mut delivery = Delivery::default();
    delivery.event_id = "msg_01J0CHECK".into();
    delivery.event = "booking_added".into();
    delivery.owner = 1;
    delivery.task = Some("check".into());
    delivery.webhook = 1;
    delivery.url = "https://receiver.example/hook".into();
    delivery.body = r#"{"data":{"contract_uid":7,"property_uid":3,"task":"booking_added"}}"#.into();
    delivery.attempt = 1;
    delivery
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts, numbers and lists always serialise")
}

/// A payload and what it is called.
pub(super) type Named = (&'static str, Vec<u8>);

/// Returns payloads at the limits of what a host sends, each with its name.
pub(super) fn sizes(number: u32) -> Vec<Named> {
    let mut largest = sample(number);
    // White space behind the value is JSON as well.
    largest.resize(MAX_BODY_BYTES, b' ');
    let mut too_large = largest.clone();
    too_large.push(b' ');
    let long = "x".repeat(MAX_BODY_BYTES - 14);
    vec![
        ("an empty payload", Vec::new()),
        ("one byte, `0`", b"0".to_vec()),
        ("one byte, NUL", vec![0]),
        ("a payload of the largest size", largest),
        ("a payload that is one byte too large", too_large),
        ("an object with a text of the largest size", format!(r#"{{"padding":"{long}"}}"#).into_bytes()),
    ]
}

/// Returns payloads that are broken, or that a careless reader breaks at, each with its name.
pub(super) fn hostile(number: u32) -> Vec<Named> {
    let sample = sample(number);
    let with = |before: &[u8], after: &[u8]| [before, &sample, after].concat();
    let text = |json: &str| json.as_bytes().to_vec();
    vec![
        ("text that is no JSON", text("this is no JSON")),
        ("half of a sample", sample[..sample.len() / 2].to_vec()),
        ("a sample and something behind it", with(b"", b"]")),
        ("null", text("null")),
        ("a list in place of an object", text("[1,2,3]")),
        ("arrays nested 10,000 deep", text(&("[".repeat(DEPTH) + &"]".repeat(DEPTH)))),
        ("objects nested 10,000 deep", text(&(r#"{"a":"#.repeat(DEPTH) + "1" + &"}".repeat(DEPTH)))),
        ("10,000 open brackets", text(&"[".repeat(DEPTH))),
        (
            "the same key twice",
            text(r#"{"url":1,"url":2,"event":"a","event":"b","default_language":"x","default_language":"y"}"#),
        ),
        ("a NUL in a text", text(r#"{"name":"a\u0000b","event":"\u0000","default_language":"\u0000"}"#)),
        ("NUL bytes", vec![0; 64]),
        ("a NUL behind a sample", with(b"", b"\0")),
        ("bytes that are no UTF-8", with(b"", b"\xff\xfe\x80")),
        ("a text that is no UTF-8", b"{\"name\":\"\xff\xc0\x80\"}".to_vec()),
        ("half of a surrogate pair", text(r#"{"name":"\ud800","event":"\udfff"}"#)),
        ("a byte order mark before a sample", with(b"\xef\xbb\xbf", b"")),
        ("numbers beyond every type", text(r#"{"owner":1e999,"attempt":-1,"webhook":99999999999999999999,"a":-0.0}"#)),
        (
            "fields of other types",
            text(r#"{"event_id":1,"event":[],"url":{},"body":null,"attempt":"x","default_language":7}"#),
        ),
        ("an object with 10,000 keys", {
            let keys: Vec<String> = (0..DEPTH).map(|key| format!("\"k{key}\":{key}")).collect();
            text(&format!("{{{}}}", keys.join(",")))
        }),
        ("control characters and line ends", text("{\"name\":\"\\r\\n\\u001b[31m\\u202e\",\"event\":\"a\\r\\nb: c\"}")),
    ]
}

/// Returns a payload made from a sample by chance, or from nothing.
pub(super) fn random(number: u32, chance: &mut fastrand::Rng) -> Vec<u8> {
    let mut payload = sample(number);
    match chance.u8(..10) {
        0 => {
            payload = vec![0; chance.usize(..300)];
            chance.fill(&mut payload);
        }
        1 => payload.truncate(chance.usize(..=payload.len())),
        2 | 3 => payload = value(chance, 0).to_string().into_bytes(),
        4 => {
            // The fields of the sample, with values that they do not have.
            if let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_slice(&payload) {
                for (_, field) in &mut fields {
                    if chance.bool() {
                        *field = value(chance, 2);
                    }
                }
                payload = serde_json::Value::Object(fields).to_string().into_bytes();
            }
        }
        _ => {
            for _ in 0..chance.usize(1..8) {
                let at = chance.usize(..payload.len().max(1));
                match (payload.get_mut(at), chance.u8(..3)) {
                    (Some(byte), 0) => *byte ^= 1 << chance.u8(..8),
                    (Some(byte), 1) => *byte = *chance.choice(b"{}[]\",:0e-\\\0").unwrap_or(&0),
                    (Some(_), _) => drop(payload.remove(at)),
                    (None, _) => payload.push(chance.u8(..)),
                }
            }
        }
    }
    payload
}

fn value(chance: &mut fastrand::Rng, depth: usize) -> serde_json::Value {
    match chance.u8(..if depth > 3 { 5 } else { 7 }) {
        0 => serde_json::Value::Null,
        1 => json!(chance.bool()),
        2 => json!(chance.i64(..)),
        3 => json!(f64::from_bits(chance.u64(..))),
        4 => json!((0..chance.usize(..40)).map(|_| chance.char(..)).collect::<String>()),
        5 => (0..chance.usize(..6)).map(|_| value(chance, depth + 1)).collect(),
        _ => {
            let names = ["name", "event", "url", "body", "attempt", "owner", "id", "", "\0"];
            let key = |chance: &mut fastrand::Rng| (*chance.choice(names.iter()).unwrap_or(&"")).to_owned();
            let fields = (0..chance.usize(..6)).map(|_| (key(chance), value(chance, depth + 1)));
            serde_json::Value::Object(fields.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_payloads() {
        let payloads = |seed| {
            let mut chance = fastrand::Rng::with_seed(seed);
            (0..200).map(|_| random(7_320, &mut chance)).collect::<Vec<_>>()
        };
        assert_eq!(payloads(7), payloads(7));
        assert_ne!(payloads(7), payloads(8));
    }

    #[test]
    fn the_largest_payload_has_the_size_that_an_event_may_have() {
        let sizes = sizes(7_320);
        let of = |name: &str| sizes.iter().find(|(what, _)| *what == name).unwrap().1.clone();
        assert_eq!(of("a payload of the largest size").len(), MAX_BODY_BYTES);
        assert_eq!(of("a payload that is one byte too large").len(), MAX_BODY_BYTES + 1);
        assert_eq!(of("an object with a text of the largest size").len(), MAX_BODY_BYTES);
        assert!(serde_json::from_slice::<Delivery>(&of("a payload of the largest size")).is_ok());
    }
}
