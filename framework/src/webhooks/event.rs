//! From an announcement to the event that is stored: checks, and the body, built once.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::run::RunState;
use crate::store::{EventId, NewEvent, OwnerId, StoreError, Timestamp};

pub(crate) use switchboard_plugin_api::protocol::MAX_EVENT_BODY_BYTES as MAX_BODY_BYTES;
use switchboard_plugin_api::protocol::MAX_EVENT_NAME_BYTES as MAX_NAME_BYTES;

/// How many events may cause one another, so that a plugin that answers its own event does not go on for ever.
const MAX_DEPTH: u32 = 3;

/// How deep the lists and objects of an event's data may be nested, the data itself included. Readers of JSON commonly stop at
/// 128, and the data is sent, and told to watchers, inside some more.
const MAX_NESTING: usize = 100;

/// Ends of the names of fields whose value never leaves the host, whatever an application announces. Names are compared in
/// lower case and without `_` and `-`.
const SECRET_ENDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secretkey",
    "token",
    "apikey",
    "privatekey",
    "accesskey",
    "credentials",
];

/// Why an event cannot be announced.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// The name cannot be used.
    #[error("`{name}` is no event name: 1 to 100 of A-Z, a-z, 0-9, `_`, `-` and `.` are needed")]
    Name {
        /// The name.
        name: String,
    },
    /// The properties are not JSON.
    #[error("the event's data is not JSON")]
    Json {
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The properties are JSON, and no object.
    #[error("the event's data is no JSON object: write {{\"property\": value}}")]
    NotAnObject,
    /// The properties are nested too deep.
    #[error("the event's data is nested deeper than {MAX_NESTING} levels, which receivers cannot read")]
    TooNested,
    /// The body is too large.
    #[error(
        "the event's data makes a body of {bytes} bytes, at most {MAX_BODY_BYTES} are sent: announce ids, not content"
    )]
    TooLarge {
        /// Length of the body.
        bytes: usize,
    },
    /// Too many events have caused one another.
    #[error(
        "the event is the {depth}th in a chain of causes, at most {MAX_DEPTH} are allowed: a handler that announces answers to itself must not"
    )]
    TooDeep {
        /// How many causes lie before it.
        depth: u32,
    },
    /// The owner is negative.
    #[error("`{owner}` is no owner: 0 is the whole site, owners are positive numbers")]
    Owner {
        /// The number.
        owner: i64,
    },
    /// The idempotency key cannot be used.
    #[error("`{key}` is no idempotency key: 1 to 255 printable ASCII characters without blanks are needed")]
    Key {
        /// The start of the key.
        key: String,
    },
    /// Another event was announced under the idempotency key.
    #[error(
        "the idempotency key `{key}` belongs to the event `{event}`, which says something else: use a key of its own for each event"
    )]
    KeyTaken {
        /// The key.
        key: String,
        /// The event that was announced first.
        event: EventId,
    },
    /// The store cannot say whether the idempotency key was used before.
    #[error("it cannot be found out whether the event was announced before; it was not announced")]
    Store {
        /// Why.
        source: StoreError,
    },
}

/// Whether an event can have this name.
pub(crate) fn is_event_name(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(valid)
}

/// Checks an announcement and builds its event.
pub(crate) fn build(run: &RunState, name: &str, data: &str, owner: OwnerId) -> Result<NewEvent, AnnounceError> {
    if !is_event_name(name) {
        return Err(AnnounceError::Name { name: name.escape_debug().to_string() });
    }
    if owner.0 < 0 {
        return Err(AnnounceError::Owner { owner: owner.0 });
    }
    let depth = run.cause.map_or(0, |(_, depth)| depth + 1);
    if depth > MAX_DEPTH {
        return Err(AnnounceError::TooDeep { depth });
    }
    Ok(NewEvent {
        id: EventId::new(),
        name: name.to_owned(),
        owner,
        task: run.subject.task.clone(),
        cause: run.cause.map(|(task, _)| task),
        channel: run.subject.channel.clone(),
        depth,
        body: body(name, data, owner)?,
        at: Timestamp(run.core.clock.now()),
    })
}

/// Builds the body: `{"data":{…,"manager_id":62,"task":"booking_added"}}`, minified, every value as it was written.
///
/// `manager_id` is the owner, unless the event belongs to the whole site or names a manager of its own.
fn body(name: &str, data: &str, owner: OwnerId) -> Result<Vec<u8>, AnnounceError> {
    if is_too_nested(data) {
        return Err(AnnounceError::TooNested);
    }
    let Properties(properties) = match serde_json::from_str(data) {
        Ok(properties) => properties,
        Err(source) if source.is_data() => return Err(AnnounceError::NotAnObject),
        Err(source) => return Err(AnnounceError::Json { source }),
    };
    let has_manager = properties.iter().any(|(key, _)| key == "manager_id");
    let mut body = String::with_capacity(data.len() + name.len() + 40);
    body.push_str("{\"data\":{");
    for (key, value) in properties.iter().filter(|(key, _)| key != "task") {
        push_key(&mut body, key);
        if is_secret(key) {
            body.push_str("\"[redacted]\"");
        } else {
            push_value(&mut body, value.get());
        }
        body.push(',');
    }
    if owner.0 != 0 && !has_manager {
        push_key(&mut body, "manager_id");
        body.push_str(&owner.0.to_string());
        body.push(',');
    }
    push_key(&mut body, "task");
    push_string(&mut body, name);
    body.push_str("}}");
    match body.len() {
        bytes if bytes > MAX_BODY_BYTES => Err(AnnounceError::TooLarge { bytes }),
        _ => Ok(body.into_bytes()),
    }
}

/// Whether JSON is nested too deep. Each level is read by a call of its own, so this is known before the first.
fn is_too_nested(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    json.bytes().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_NESTING
    })
}

fn is_secret(key: &str) -> bool {
    // Most names are ruled out by their last letter, without a copy.
    if !key.ends_with(['d', 'D', 'e', 'E', 't', 'T', 'y', 'Y', 'n', 'N', 's', 'S']) {
        return false;
    }
    let key: String = key.chars().filter(|one| !matches!(one, '_' | '-')).collect::<String>().to_ascii_lowercase();
    SECRET_ENDS.iter().any(|end| key.ends_with(end))
}

fn push_key(body: &mut String, key: &str) {
    push_string(body, key);
    body.push(':');
}

fn push_string(body: &mut String, text: &str) {
    body.push_str(&serde_json::Value::from(text).to_string());
}

/// Copies JSON without the white space between its parts. Only objects can hide secrets, so only they and the lists
/// around them are read again; everything else keeps its very digits.
///
/// The first character says what it is: to try and see costs an error whose message quotes the value.
fn push_value(body: &mut String, json: &str) {
    let json = json.trim();
    let read = match json.as_bytes().first() {
        Some(b'{') => serde_json::from_str(json).map(|object| push_object(body, &object)),
        Some(b'[') => serde_json::from_str(json).map(|list: Vec<&RawValue>| push_list(body, &list)),
        _ => return body.push_str(json),
    };
    // It is part of JSON that has been read already, so this does not happen.
    if read.is_err() {
        body.push_str(json);
    }
}

fn push_object(body: &mut String, Properties(members): &Properties) {
    body.push('{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        push_key(body, key);
        if is_secret(key) {
            body.push_str("\"[redacted]\"");
        } else {
            push_value(body, value.get());
        }
    }
    body.push('}');
}

fn push_list(body: &mut String, items: &[&RawValue]) {
    body.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        push_value(body, item.get());
    }
    body.push(']');
}

/// The members of a JSON object in their order; of two with the same key the last counts.
pub(super) struct Properties(pub(super) Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Properties;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
                let mut seen = std::collections::HashMap::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    match seen.get(&key) {
                        Some(&index) => members[index] = (key, value),
                        None => {
                            seen.insert(key.clone(), members.len());
                            members.push((key, value));
                        }
                    }
                }
                Ok(Properties(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_body(data: &str, owner: i64, expected: &str) {
        let body = body("booking_added", data, OwnerId(owner)).unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn the_body_has_the_reference_shape_and_the_announcers_very_values() {
        check_body(
            "{ \"property_uid\": 7,\n \"price\": 12345678901234567890123.10, \"names\": [ \"é \", \" a\\\"b \" ] }",
            62,
            "{\"data\":{\"property_uid\":7,\"price\":12345678901234567890123.10,\"names\":[\"é \",\" a\\\"b \"],\
             \"manager_id\":62,\"task\":\"booking_added\"}}",
        );
        check_body("{}", 0, "{\"data\":{\"task\":\"booking_added\"}}");
        check_body(
            "{\"manager_id\":9,\"task\":\"x\",\"a\":1,\"a\":2}",
            62,
            "{\"data\":{\"manager_id\":9,\"a\":2,\"task\":\"booking_added\"}}",
        );
    }

    #[test]
    fn a_password_never_gets_into_a_body() {
        check_body(
            "{\"Password\":\"p\",\"user\":{\"token\":[1]},\"list\":[{\"secret\":1}]}",
            0,
            "{\"data\":{\"Password\":\"[redacted]\",\"user\":{\"token\":\"[redacted]\"},\"list\":[{\"secret\":\"[redacted]\"}],\
             \"task\":\"booking_added\"}}",
        );
    }

    #[test]
    fn data_that_is_no_object_or_too_large_is_refused() {
        let refuse = |data: &str| body("x", data, OwnerId(1)).unwrap_err();
        assert!(matches!(refuse("[1]"), AnnounceError::NotAnObject));
        assert!(matches!(refuse("null"), AnnounceError::NotAnObject));
        assert!(matches!(refuse("{\"a\":"), AnnounceError::Json { .. }));
        assert!(matches!(refuse("{\"a\":1} x"), AnnounceError::Json { .. }));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BODY_BYTES));
        assert!(matches!(refuse(&large), AnnounceError::TooLarge { .. }));
    }

    #[test]
    fn data_that_is_nested_deeper_than_readers_follow_is_refused() {
        let nested = |levels: usize, open: &str, close: &str| {
            // The object around it is the first level.
            format!("{{\"a\":{}1{}}}", open.repeat(levels - 1), close.repeat(levels - 1))
        };
        for (open, close) in [("[", "]"), ("{\"b\":", "}")] {
            let deepest = body("x", &nested(MAX_NESTING, open, close), OwnerId(1)).unwrap();
            let read: serde_json::Value = serde_json::from_slice(&deepest).unwrap();
            assert!(read["data"]["a"].is_array() || read["data"]["a"].is_object());
            for levels in [MAX_NESTING + 1, 129, 40_000] {
                let refused = body("x", &nested(levels, open, close), OwnerId(1)).unwrap_err();
                assert!(matches!(refused, AnnounceError::TooNested), "{levels}: {refused}");
            }
        }
        let text = format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(1_000));
        assert!(body("x", &text, OwnerId(1)).is_ok(), "a text may have brackets");
    }

    #[test]
    fn a_field_that_looks_like_a_secret_never_leaves() {
        for key in [
            "password",
            "Password",
            "new_password",
            "user-password",
            "API_KEY",
            "apiKey",
            "access_token",
            "clientSecret",
        ] {
            assert!(is_secret(key), "{key}");
        }
        for key in
            ["name", "email", "token_count", "secretary", "key", "contract_uid", "passwords_changed_at", "guest_type"]
        {
            assert!(!is_secret(key), "{key}");
        }
    }
}
