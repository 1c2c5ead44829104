//! How people write the delivery options of a webhook, on the command line and in the form.
//!
//! An error says what is wrong after what was written: "`x` is no rate: …".

use std::num::NonZeroU32;
use std::time::Duration;

use switchboard::config::HumanDuration;
use switchboard::store::Rate;

/// Reads how often a delivery may start: `10/1m`.
pub(crate) fn rate(text: &str) -> Result<Rate, &'static str> {
    let rate = text.split_once('/').and_then(|(starts, per)| {
        let per: HumanDuration = per.trim().parse().ok()?;
        Some(Rate { starts: starts.trim().parse().ok()?, per: per.0 })
    });
    rate.ok_or("is no rate: write for example 10/1m")
}

/// Writes it.
pub(crate) fn rate_text(rate: &Rate) -> String {
    format!("{}/{}", rate.starts, HumanDuration(rate.per))
}

/// Reads how many deliveries may be under way at once.
pub(crate) fn cap(text: &str) -> Result<NonZeroU32, &'static str> {
    text.parse().map_err(|_| "is no number from 1")
}

/// Reads statuses: `400,422`.
pub(crate) fn statuses(text: &str) -> Result<Vec<u16>, &'static str> {
    let statuses: Result<_, _> = text.split(',').map(|part| part.trim().parse()).collect();
    statuses.map_err(|_| "is no list of statuses: write for example 400,422")
}

/// Writes durations with commas between them.
pub(crate) fn durations_text(durations: &[Duration]) -> String {
    durations.iter().map(|one| HumanDuration(*one).to_string()).collect::<Vec<_>>().join(", ")
}
