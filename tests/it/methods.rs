//! The auth methods that come with Switchboard, as receivers see them. `none` and `basic` are in `delivery`.

mod api_key;
mod channel_manager;
mod mailchimp;
mod oauth;
mod signed;
