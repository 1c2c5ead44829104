//! The events that a booking system of the reference's kind announces. Data, not a rule: any name may be announced.

use serde::Serialize;

/// An event that is known by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EventKind {
    /// Its name, such as `booking_added`.
    pub name: &'static str,
    /// The properties that it carries.
    pub properties: Vec<&'static str>,
}

impl EventKind {
    /// Returns an event of the host application's own.
    #[must_use]
    pub fn new(name: &'static str, properties: &[&'static str]) -> Self {
        Self { name, properties: properties.to_vec() }
    }
}

/// Returns the events of the reference together with those of the host application, which take the place of others of the
/// same name.
pub(crate) fn with(own: Vec<EventKind>) -> Vec<EventKind> {
    let mut events = event_catalogue();
    events.retain(|event| !own.iter().any(|other| other.name == event.name));
    events.extend(own);
    events.sort_by_key(|event| event.name);
    events
}

/// Returns the known events of the reference, by name. [`Webhooks::events`](crate::Webhooks::events) also has those of the
/// host application.
///
/// ```
/// let added = switchboard::event_catalogue().into_iter().find(|event| event.name == "booking_added").unwrap();
/// assert_eq!(added.properties, ["property_uid", "contract_uid"]);
/// ```
#[must_use]
pub fn event_catalogue() -> Vec<EventKind> {
    let rows = include_str!("catalogue.tsv").lines().filter_map(|line| line.split_once('\t'));
    rows.map(|(name, properties)| EventKind { name, properties: properties.split(',').collect() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference announces 62 events; its seven without a property are about people and messages.
    #[test]
    fn the_events_of_the_reference_are_all_there_with_their_properties() {
        let events = event_catalogue();
        assert_eq!(events.len(), 62);
        assert!(events.is_sorted_by(|one, next| one.name < next.name), "each once, by name");
        let about_no_property = events.iter().filter(|event| !event.properties.contains(&"property_uid"));
        let expected = "manager_added manager_deleted manager_updated message_created message_recipient_created \
                        message_reminder user_created";
        let found: Vec<_> = about_no_property.map(|event| event.name).collect();
        assert_eq!(found.join(" "), expected);
        assert!(events.iter().all(|event| !event.properties.iter().any(|property| property.trim().is_empty())));
    }
}
