//! From an event of the host to a message of the channel.

use serde::Serialize;
use serde_json::{Map, Value};
use switchboard_plugin_api::{Delivery, PluginError};

use crate::mapping::Mapping;

/// What an event changes for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A booking, or a room that is taken off sale, is in this state now.
    Booking(&'static str),
    /// What there is to sell was changed in this way.
    Availability(&'static str),
    /// What it costs was changed.
    Rates,
}

impl Change {
    /// Returns what an event changes; `None` for events that a channel has nothing to do with.
    pub(crate) fn of(event: &str) -> Option<Self> {
        Some(match event {
            "booking_added" => Self::Booking("new"),
            "booking_modified" => Self::Booking("modified"),
            "booking_cancelled" => Self::Booking("cancelled"),
            "booking_marked_noshow" => Self::Booking("no_show"),
            // The same act has two names.
            "blackbooking_added" | "blackbooking_created" => Self::Booking("blocked"),
            "blackbooking_deleted" => Self::Booking("released"),
            "room_added" | "rooms_multiple_added" => Self::Availability("added"),
            "room_updated" => Self::Availability("updated"),
            "room_deleted" | "rooms_multiple_deleted" => Self::Availability("deleted"),
            "tariffs_updated" => Self::Rates,
            _ => return None,
        })
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Booking(_) => "booking",
            Self::Availability(_) => "availability",
            Self::Rates => "rates",
        }
    }

    fn state(self) -> Option<&'static str> {
        match self {
            Self::Booking(state) | Self::Availability(state) => Some(state),
            Self::Rates => None,
        }
    }
}

/// A message of the channel.
#[derive(Debug, Serialize)]
pub(crate) struct Message {
    /// Id of the event, by which the channel drops duplicates.
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// When the event was announced, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_ms: Option<i64>,
    /// The channel's id of the property.
    hotel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    booking: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// The channel's ids of the rooms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rooms: Vec<String>,
    /// What else the event tells, as it tells it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    details: Map<String, Value>,
}

/// Properties that are in the message under other names, or are none of the channel's business.
const NOT_DETAILS: [&str; 9] = [
    "property_uid",
    "contract_uid",
    "room_uid",
    "room_ids",
    "manager_id",
    "task",
    "channel_id",
    "channel_name",
    "channel_data",
];

/// The properties of an event.
pub(crate) struct Told(Map<String, Value>);

impl Told {
    pub(crate) fn read(body: &str) -> Result<Self, PluginError> {
        match serde_json::from_str::<Value>(body)?.get_mut("data").map(Value::take) {
            Some(Value::Object(data)) => Ok(Self(data)),
            _ => Err(PluginError::permanent("the event has no properties: a channel cannot be told anything")
                .with_code("bad_json")),
        }
    }

    /// Whether the change came from this channel. Hosts tell by its id or its name, alone or together in `channel_data`.
    pub(crate) fn is_from(&self, channel: &str) -> bool {
        let own = ["channel_id", "channel_name"].into_iter();
        let nested = self.0.get("channel_data").map(|data| ["channel_id", "channel_name"].map(|key| &data[key]));
        let named = own.filter_map(|key| self.0.get(key)).chain(nested.into_iter().flatten());
        named.filter_map(id).any(|named| named == channel)
    }

    /// Builds the message. The error says why there is nothing to tell this channel.
    pub(crate) fn message(
        mut self,
        delivery: &Delivery,
        change: Change,
        properties: &Mapping,
        rooms: &Mapping,
    ) -> Result<Message, String> {
        let property = self.0.get("property_uid").and_then(id).filter(|property| property != "0");
        let property = property.ok_or("the event names no property")?;
        let hotel = properties.of(&property).ok_or_else(|| format!("the channel does not sell property {property}"))?;
        let named = self.rooms();
        let known: Vec<String> = match rooms.is_empty() {
            true => named.clone(),
            false => named.iter().filter_map(|room| rooms.of(room)).map(ToOwned::to_owned).collect(),
        };
        // A booking counts even where its rooms are not sold: the channel knows it by its number.
        if matches!(change, Change::Availability(_)) && !named.is_empty() && known.is_empty() {
            return Err(format!("the channel does not sell room {}", named.join(", ")));
        }
        let booking = match change {
            Change::Booking(_) => Some(self.0.get("contract_uid").and_then(id).ok_or("the event names no booking")?),
            Change::Availability(_) | Change::Rates => None,
        };
        self.0.retain(|key, _| !NOT_DETAILS.contains(&key.as_str()));
        Ok(Message {
            id: delivery.event_id.clone(),
            kind: change.kind(),
            at_ms: delivery.queued_at_ms,
            hotel: hotel.to_owned(),
            booking,
            state: change.state(),
            rooms: known,
            details: self.0,
        })
    }

    /// Returns the rooms that the event names: one, or a list, which some hosts write as a text.
    fn rooms(&self) -> Vec<String> {
        let list = match self.0.get("room_ids") {
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
            Some(list) => list.clone(),
            None => Value::Null,
        };
        let one = self.0.get("room_uid");
        one.into_iter().chain(list.as_array().into_iter().flatten()).filter_map(id).collect()
    }
}

/// Returns an id as text; hosts write them as numbers or as texts.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
