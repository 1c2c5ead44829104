//! The pages. Each module answers the routes of one subject.

pub(super) mod account;
pub(super) mod bulks;
pub(super) mod deliveries;
mod field;
pub(super) mod health;
pub(super) mod languages;
pub(super) mod logs;
pub(super) mod overview;
pub(super) mod people;
pub(super) mod plugins;
pub(super) mod problem;
pub(super) mod settings;
pub(super) mod setup;
pub(super) mod sign_in;
mod sparkline;
pub(super) mod tasks;
pub(super) mod triggers;
pub(super) mod webhooks;

use askama::Template;

use super::cx::Cx;
use super::layout::Page;
use super::{answer, form, show};

/// Asks before something is done that cannot be undone: what, and how many.
#[derive(Template)]
#[template(path = "ask.html")]
struct Ask {
    page: Page,
    question: String,
    lines: Vec<String>,
    action: String,
    fields: Vec<(String, String)>,
    button: String,
    back: String,
}
