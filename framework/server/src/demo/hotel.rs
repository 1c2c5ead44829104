//! A morning at a small hotel, as events.

use serde_json::{Map, Value, json};

/// The events that are about bookings.
pub(super) const BOOKINGS: &[&str] =
    &["booking_added", "booking_cancelled", "booking_marked_noshow", "booking_modified"];

/// What a front desk does all the time; the rest of the catalogue happens once in a while.
const OFTEN: &[&str] = &[
    "booking_added",
    "guest_checkedin",
    "booking_modified",
    "guest_checkedout",
    "tariffs_updated",
    "invoice_created",
    "booking_note_saved",
    "guest_saved",
    "booking_cancelled",
    "property_state_change",
];

/// The owners and the property that each of them has.
const PROPERTIES: &[(i64, u32)] = &[(11, 7), (12, 8), (13, 9)];

/// One thing that happens.
pub(super) struct Happening {
    pub(super) name: &'static str,
    pub(super) owner: i64,
    pub(super) data: Value,
}

/// Returns `count` happenings, in order. The first ones include every event of the catalogue.
pub(super) fn morning(count: u32) -> impl Iterator<Item = Happening> {
    let catalogue = switchboard::event_catalogue();
    (0..count).zip(PROPERTIES.iter().cycle()).map(move |(number, (owner, property))| {
        let index = usize::try_from(number).unwrap_or(0);
        // Every third event is the next of the catalogue, the others are the daily business.
        let name =
            if index % 3 == 0 { catalogue[index / 3 % catalogue.len()].name } else { OFTEN[index % OFTEN.len()] };
        let kind = catalogue.iter().find(|kind| kind.name == name);
        let properties = kind.map_or(&[][..], |kind| &kind.properties);
        let data: Map<String, Value> =
            properties.iter().map(|key| ((*key).to_owned(), value(key, number, *property, *owner))).collect();
        Happening { name, owner: *owner, data: data.into() }
    })
}

/// A value as the reference sends it: ids as numbers, lists of ids as JSON text.
fn value(key: &str, number: u32, property: u32, owner: i64) -> Value {
    match key {
        "property_uid" => json!(property),
        "manager_id" => json!(owner),
        "room_ids" | "property_ids" => json!(format!("[{property}]")),
        "name" => json!("Zoë O'Hara & Söhne"),
        "username" => json!(format!("guest{number}")),
        "email" => json!(format!("guest{number}@example.com")),
        "password" => json!("this must not leave the house"),
        "depositref" | "plugin" | "resource_type" => json!(format!("{key}-{number}")),
        "added_image" | "deleted_image" => json!(format!("room {number} (\"sea view\").jpg")),
        "changeover_day_of_week" => json!(number % 7),
        _ => json!(1000 + number),
    }
}
