//! What is around an event's properties in the body that is sent.

use serde::Serialize;
use serde_json::value::RawValue;

use super::event::Properties;
use crate::store::{Envelope, NewEvent};

/// Returns the body of a delivery. It is the same whenever it is asked for, so that every attempt sends the same bytes.
///
/// # Errors
///
/// When the stored body is not what the host has built.
pub(crate) fn body(event: &NewEvent, envelope: Envelope) -> Result<String, String> {
    let stored = String::from_utf8(event.body.clone()).map_err(|_| "it is not UTF-8".to_owned())?;
    match envelope {
        Envelope::Reference => Ok(stored),
        Envelope::Standard => standard(event, &stored).map_err(|error| error.to_string()),
    }
}

/// The envelope of Standard Webhooks. The event's name has a dot after the thing it is about: `booking.added`.
fn standard(event: &NewEvent, stored: &str) -> Result<String, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Stored<'b> {
        #[serde(borrow)]
        data: &'b RawValue,
    }

    #[derive(Serialize)]
    struct Standard<'b> {
        r#type: String,
        timestamp: String,
        data: &'b RawValue,
    }

    let Stored { data } = serde_json::from_str(stored)?;
    let Properties(properties) = serde_json::from_str(data.get())?;
    // The type says it.
    let properties = properties.iter().filter(|(key, _)| key != "task");
    let members = properties.map(|(key, value)| format!("{}:{}", serde_json::Value::from(key.as_str()), value.get()));
    let data = RawValue::from_string(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))?;
    let r#type = event.name.replacen('_', ".", 1);
    serde_json::to_string(&Standard { r#type, timestamp: event.at.to_string(), data: &data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{EventId, OwnerId, Timestamp};

    #[test]
    fn the_standard_envelope_has_a_type_a_time_and_the_properties_as_they_were_written() {
        let event = NewEvent {
            id: EventId::new(),
            name: "booking_marked_noshow".into(),
            owner: OwnerId(62),
            task: None,
            cause: None,
            channel: None,
            depth: 0,
            body: br#"{"data":{"property_uid":7,"price":1.50,"x":{"task":1},"manager_id":62,"task":"booking_marked_noshow"}}"#
                .to_vec(),
            at: Timestamp(1_795_510_800_000),
        };
        let expected = "{\"type\":\"booking.marked_noshow\",\"timestamp\":\"2026-11-24T09:00:00.000Z\",\
                        \"data\":{\"property_uid\":7,\"price\":1.50,\"x\":{\"task\":1},\"manager_id\":62}}";
        assert_eq!(body(&event, Envelope::Standard).unwrap(), expected);
        assert_eq!(body(&event, Envelope::Reference).unwrap().into_bytes(), event.body);
        let damaged = |body: &[u8]| super::body(&NewEvent { body: body.to_vec(), ..event.clone() }, Envelope::Standard);
        assert!(damaged(b"{}").is_err() && damaged(&[255]).is_err() && damaged(b"{\"data\":1}").is_err());
    }
}
