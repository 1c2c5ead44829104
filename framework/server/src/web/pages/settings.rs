//! The settings of the host, and its mode.

use askama::Template;
use axum::response::Response;
use switchboard::config::{Config, ConfigError, ConfigValue, Edit, FILE_NAME, Mode, Origin};
use switchboard::error::Chain;

use super::answer::{self, Change, Posted, Problem};
use super::{Cx, Page};
use crate::control;
use crate::web::access::Access;

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    page: Page,
    development: bool,
    may_change: bool,
    file: String,
    /// Settings with a value of their own, and all others.
    set: Vec<Setting>,
    usual: Vec<Setting>,
    problem: Option<String>,
}

struct Setting {
    name: String,
    value: String,
    from: String,
}

impl From<ConfigValue> for Setting {
    fn from(one: ConfigValue) -> Self {
        let from = match one.origin {
            Origin::File { line } => format!("line {line}"),
            Origin::Environment { variable } => variable,
            _ => "default".to_owned(),
        };
        let value = if one.value.is_null() { "–".to_owned() } else { one.value.to_string() };
        Self { name: one.key, value, from }
    }
}

/// Shows the mode and every setting. What may be a password is masked, as on the command line.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    let config = Config::load(cx.host().data());
    let development =
        config.as_ref().map_or(cx.host().config().log.mode, |config| config.log.mode) == Mode::Development;
    let file = cx.host().data().join(FILE_NAME);
    let may_change = Access::Administrate.lets(cx.who.as_ref());
    // How the host is set up is for whoever may change it.
    let values = if may_change { Config::origins(cx.host().data(), control::variables()) } else { Ok(Vec::new()) };
    let (usual, set): (Vec<_>, Vec<_>) =
        values.unwrap_or_default().into_iter().partition(|one| matches!(one.origin, Origin::Default));
    answer::html(&Settings {
        page: Page::new(cx, "Settings")?,
        development,
        may_change,
        file: file.display().to_string(),
        set: set.into_iter().map(Setting::from).collect(),
        usual: usual.into_iter().map(Setting::from).collect(),
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
