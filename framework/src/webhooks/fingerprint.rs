//! What tells the content of one event from that of another: a digest that does not change with the order in which an
//! announcer writes the properties, and does with every value.

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::event::Properties;
use crate::store::NewEvent;

/// Returns the fingerprint of an event: of its name, its task and its properties.
pub(crate) fn fingerprint(event: &NewEvent) -> Vec<u8> {
    let mut content = String::with_capacity(event.body.len() + 64);
    content.push_str(&event.name);
    content.push('\n');
    content.push_str(event.task.as_deref().unwrap_or_default());
    content.push('\n');
    push(&mut content, &String::from_utf8_lossy(&event.body));
    Sha256::digest(content).to_vec()
}

/// Adds a value with the members of its objects in order. Numbers stay as they are written, digit by digit.
fn push(content: &mut String, json: &str) {
    let json = json.trim();
    match json.as_bytes().first() {
        Some(b'{') => {
            let Ok(Properties(mut members)) = serde_json::from_str(json) else { return content.push_str(json) };
            members.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
            content.push('{');
            for (key, value) in &members {
                content.push_str(&serde_json::Value::from(key.as_str()).to_string());
                content.push(':');
                push(content, value.get());
                content.push(',');
            }
            content.push('}');
        }
        Some(b'[') => {
            let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(json) else { return content.push_str(json) };
            content.push('[');
            for item in items {
                push(content, item.get());
                content.push(',');
            }
            content.push(']');
        }
        _ => content.push_str(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{EventId, OwnerId, Timestamp};

    fn of(body: &str, task: Option<&str>) -> Vec<u8> {
        fingerprint(&NewEvent {
            id: EventId::new(),
            name: "booking_added".into(),
            owner: OwnerId(62),
            task: task.map(str::to_owned),
            channel: None,
            cause: None,
            depth: 0,
            body: body.into(),
            at: Timestamp(0),
        })
    }

    #[test]
    fn the_order_of_properties_does_not_matter_and_every_value_does() {
        let first = of(r#"{"data":{"a":1,"b":[{"c":1,"d":2}]}}"#, None);
        assert_eq!(first, of(r#"{"data":{"b":[{"d":2,"c":1}],"a":1}}"#, None));
        for other in [
            r#"{"data":{"a":1,"b":[{"c":1,"d":3}]}}"#,
            r#"{"data":{"a":1.0,"b":[{"c":1,"d":2}]}}"#,
            r#"{"data":{"a":"1","b":[{"c":1,"d":2}]}}"#,
            r#"{"data":{"b":[{"c":1,"d":2}]}}"#,
        ] {
            assert_ne!(first, of(other, None), "{other}");
        }
        assert_ne!(first, of(r#"{"data":{"a":1,"b":[{"c":1,"d":2}]}}"#, Some("save")));
        // Two numbers that are the same for a machine with 64 bits.
        assert_ne!(of(r#"{"n":12345678901234567890123.10}"#, None), of(r#"{"n":12345678901234567890123.20}"#, None));
    }
}
