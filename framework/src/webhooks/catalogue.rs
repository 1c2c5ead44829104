//! The events that a booking system of the reference's kind announces. Data, not a rule: any name may be announced.

/// An event that is known by name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventKind {
    /// Its name, such as `booking_added`.
    pub name: &'static str,
    /// The properties that it carries.
    pub properties: Vec<&'static str>,
}

/// Returns the known events, by name.
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
