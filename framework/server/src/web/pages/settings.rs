//! The settings of the host, and its mode.

use askama::Template;
use axum::response::Response;
use switchboard::config::{Config, ConfigError, Edit, FILE_NAME, Mode};
use switchboard::error::Chain;

use super::answer::{self, Change, Posted, Problem};
use super::{Cx, Page};
use crate::web::access::Access;

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    page: Page,
    development: bool,
    may_change: bool,
    file: String,
    text: String,
    problem: Option<String>,
}

/// Shows the mode and the file.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    let config = Config::load(cx.host().data());
    let development =
        config.as_ref().map_or(cx.host().config().log.mode, |config| config.log.mode) == Mode::Development;
    let file = cx.host().data().join(FILE_NAME);
    let may_change = Access::Administrate.lets(cx.who.as_ref());
    // The file may hold passwords of plugins and of the store: only whoever may change it sees it.
    let text = if may_change { std::fs::read_to_string(&file).unwrap_or_default() } else { String::new() };
    answer::html(&Settings {
        page: Page::new(cx, "Settings")?,
        development,
        may_change,
        file: file.display().to_string(),
        text,
        problem: config.err().map(|error| Chain(&error).to_string()),
    })
}

/// Sets the mode.
pub(crate) fn set_mode(cx: &Cx) -> Result<Posted, Problem> {
    let mode = cx.form.text("mode").unwrap_or_default();
    if !matches!(mode, "development" | "production") {
        return Err(Problem::refused("A host is in production or in development mode."));
    }
    let refused = |error: ConfigError| Problem::refused(Chain(&error).to_string());
    Edit::of(cx.host().data()).and_then(|edit| edit.set("log.mode", mode)?.save()).map_err(refused)?;
    cx.host().reload_config().map_err(refused)?;
    let change = Change::new("settings.mode", "switchboard.toml", "/settings").detail(mode);
    Ok(change.message(format!("The host is in {mode} mode.")).into())
}
