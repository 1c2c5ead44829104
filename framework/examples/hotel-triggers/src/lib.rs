//! What a hotel application asks of its plugins: one type for each number, with what goes in and what comes out.
//!
//! The application and every plugin depend on this crate, so a handler with other types does not compile. Both sides see
//! JSON: a field that comes later has a default, and a plugin that was built before it goes on working.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use switchboard_plugin_api::{Trigger, TriggerNumber};

/// 21600: every plugin may give a discount. Fired as a broadcast.
pub struct DiscountOffer;

impl Trigger for DiscountOffer {
    const NUMBER: TriggerNumber = TriggerNumber::new(21_600);
    type Input = Stay;
    type Output = Option<Discount>;
}

/// Input of [`DiscountOffer`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stay {
    /// How long the guests stay.
    pub nights: u32,
    /// How many they are.
    pub guests: u32,
    /// Through which channel they book. It came later; a plugin of the time before does not know it.
    #[serde(default)]
    pub channel: Option<String>,
}

/// Output of [`DiscountOffer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Discount {
    /// Share of the price, in percent.
    pub percent: u32,
    /// What it is for, in the language of the guest.
    pub reason: String,
}

/// 21601: the confirmation's greeting. Fired by name: an owner chooses one.
pub struct Greeting;

impl Trigger for Greeting {
    const NUMBER: TriggerNumber = TriggerNumber::new(21_601);
    type Input = String;
    type Output = String;
}
