//! What all pages have: title, navigation, who is signed in, and what was just done.

use super::access::Access;
use super::answer::Problem;
use super::cx::Cx;
use super::routes;
use crate::accounts::SESSION_IDLE;

/// The frame of a page.
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) style: String,
    pub(crate) script: String,
    pub(crate) icon: String,
    pub(crate) navigation: Vec<Entry>,
    /// Name of who is signed in.
    pub(crate) user: Option<String>,
    pub(crate) role: String,
    /// What was just done.
    pub(crate) message: Option<String>,
    /// Whether this host is in development mode.
    pub(crate) development: bool,
    /// After how many seconds without a request the session ends.
    pub(crate) idle_seconds: u64,
}

/// An entry of the navigation.
pub(crate) struct Entry {
    pub(crate) path: &'static str,
    pub(crate) label: &'static str,
    pub(crate) current: bool,
}

/// The navigation: path and label.
const NAVIGATION: [(&str, &str); 12] = [
    ("/", "Overview"),
    ("/webhooks", "Webhooks"),
    ("/deliveries", "Deliveries"),
    ("/tasks", "Tasks"),
    ("/plugins", "Plugins"),
    ("/triggers", "Triggers"),
    ("/logs", "Logs"),
    ("/languages", "Languages"),
    ("/settings", "Settings"),
    ("/people", "Users and tokens"),
    ("/audit", "Audit log"),
    ("/account", "Your account"),
];

impl Page {
    /// Makes the frame of a page. The message of what was just done is taken by it.
    pub(crate) fn new(cx: &Cx, title: impl Into<String>) -> Result<Self, Problem> {
        let message = match cx.session() {
            Some(session) => cx.app.accounts.take_message(session)?,
            None => None,
        };
        Ok(Self { message, ..Self::without_message(cx, title) })
    }

    /// Makes the frame of a page that tells something else.
    pub(crate) fn without_message(cx: &Cx, title: impl Into<String>) -> Self {
        let assets = &cx.app.assets;
        let who = cx.who.as_ref();
        let may = |path: &str| routes::access(path).is_some_and(|access| access != Access::Anyone && access.lets(who));
        let entries = NAVIGATION.iter().filter(|(path, _)| may(path));
        let is_current = |path: &str| match path {
            "/" => cx.path == "/",
            _ => cx.path == path || cx.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')),
        };
        let role = who.map(|who| match who.owner {
            Some(owner) => format!("{}, owner {owner}", who.role),
            None => who.role.to_string(),
        });
        Self {
            title: title.into(),
            style: assets.style.clone(),
            script: assets.script.clone(),
            icon: assets.icon.clone(),
            navigation: entries.map(|(path, label)| Entry { path, label, current: is_current(path) }).collect(),
            user: who.map(|who| who.name.clone()),
            role: role.unwrap_or_default(),
            message: None,
            development: cx.host().is_development(),
            idle_seconds: SESSION_IDLE.as_secs(),
        }
    }
}
