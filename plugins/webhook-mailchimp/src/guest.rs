//! The guest of an event, as far as the event tells.

use md5::{Digest, Md5};
use serde_json::Value;

/// Names under which host applications announce the same.
const EMAIL: [&str; 3] = ["email", "email_address", "guest_email"];
const FIRST_NAME: [&str; 3] = ["firstname", "first_name", "guest_firstname"];
const LAST_NAME: [&str; 4] = ["surname", "lastname", "last_name", "guest_surname"];

/// Longest address (RFC 5321).
const MAX_EMAIL_BYTES: usize = 254;

/// Ends of the names of events after which a guest is not invited.
const LEAVING: [&str; 4] = ["_deleted", "_cancelled", "_undone", "_noshow"];

/// A guest with an address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) email: String,
    pub(crate) first_name: Option<String>,
    pub(crate) last_name: Option<String>,
}

/// Whether an event is one of a guest who comes: of guests or bookings, and not of kinds of guests.
pub(crate) fn is_wanted(event: &str) -> bool {
    let of_guest = event.starts_with("guest_") && !event.starts_with("guest_type_");
    let comes = !LEAVING.iter().any(|end| event.ends_with(end));
    (of_guest || event.starts_with("booking_")) && comes
}

impl Guest {
    /// Reads the guest from the body of an event: from its properties, or from those of its `guest`.
    pub(crate) fn of(body: &str) -> Option<Self> {
        let body: Value = serde_json::from_str(body).ok()?;
        let data = &body["data"];
        let email = text(data, &EMAIL)?;
        let name_and_domain = email.split_once('@').filter(|(name, domain)| !name.is_empty() && !domain.is_empty());
        if name_and_domain.is_none() || email.len() > MAX_EMAIL_BYTES || email.contains(char::is_whitespace) {
            return None;
        }
        Some(Self { email, first_name: text(data, &FIRST_NAME), last_name: text(data, &LAST_NAME) })
    }

    /// Returns the name under which Mailchimp knows the address: the MD5 hash of its lower case.
    pub(crate) fn hash(&self) -> String {
        Md5::digest(self.email.to_lowercase()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn text(data: &Value, names: &[&str]) -> Option<String> {
    let places = [data, &data["guest"]];
    let mut values = places.iter().flat_map(|place| names.iter().filter_map(|name| place.get(*name)?.as_str()));
    values.find(|value| !value.trim().is_empty()).map(|value| value.trim().to_owned())
}
