//! Signing in and out.

use std::time::Instant;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{self, Change, Posted, Problem};
use super::{Cx, Page};
use crate::accounts::NewAudit;
use crate::web::dispatch::{CHANNEL, session_cookie};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct Form<'a> {
    page: Page,
    folder: String,
    to: &'a str,
    name: &'a str,
    no_users: bool,
    wrong: Option<String>,
}

/// Shows the form.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    if cx.who.is_some() {
        return Ok(answer::see_other(own_path(cx.query.text("to"))));
    }
    form(cx, StatusCode::OK, cx.query.text("to"), "", None)
}

/// Signs somebody in. The session is a new one in any case, so that nobody can have prepared it.
pub(crate) fn sign_in(cx: &Cx) -> Result<Posted, Problem> {
    let name = cx.form.text("name").unwrap_or_default();
    let password = cx.form.raw("password").unwrap_or_default();
    let to = cx.form.text("to");
    if let Err(wait) = cx.app.limiter.take(cx.address, Instant::now()) {
        let wrong = format!("There were too many wrong passwords: try again in {} seconds.", wait.as_secs().max(1));
        return Ok(Posted::Shown(form(cx, StatusCode::TOO_MANY_REQUESTS, to, name, Some(wrong))?));
    }
    let Some(user) = cx.app.accounts.check_password(name, password)? else {
        let who: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        log::warn!(logger: cx.host().log(), target: CHANNEL, who, address = cx.address.to_string();
            "wrong name or password");
        let (object, detail) = (format!("user {who}"), format!("wrong name or password, from {}", cx.address));
        let refused = NewAudit { who: &who, via: "page", action: "session.refuse", object: &object, detail: &detail };
        cx.app.accounts.audit(&refused)?;
        let wrong = "The name or the password is wrong.".to_owned();
        return Ok(Posted::Shown(form(cx, StatusCode::UNPROCESSABLE_ENTITY, to, name, Some(wrong))?));
    };
    cx.app.limiter.forget(cx.address);
    if let Some(session) = cx.session() {
        cx.app.accounts.end_session(session)?;
    }
    let secret = cx.app.accounts.start_session(&user)?;
    let change = Change::new("session.start", format!("user {}", user.name), own_path(to));
    let change = change.by(&user.name).detail(format!("from {}", cx.address));
    Ok(change.cookie(session_cookie(&cx.app, Some(secret.reveal()))).into())
}

/// Signs out.
pub(crate) fn sign_out(cx: &Cx) -> Result<Posted, Problem> {
    let Some(session) = cx.session() else { return Err(Problem::signed_out()) };
    cx.app.accounts.end_session(session)?;
    let change = Change::new("session.end", format!("user {}", session.user.name), "/sign-in");
    Ok(change.cookie(session_cookie(&cx.app, None)).into())
}

fn form(cx: &Cx, status: StatusCode, to: Option<&str>, name: &str, wrong: Option<String>) -> Result<Response, Problem> {
    let page = Page { user: None, ..Page::without_message(cx, "Sign in") };
    let no_users = !cx.app.accounts.has_users()?;
    let folder = cx.host().data().display().to_string();
    answer::html_with(status, &Form { page, folder, to: own_path(to), name, no_users, wrong })
}

/// Returns a path of this server, and the overview for everything that could lead elsewhere.
fn own_path(to: Option<&str>) -> &str {
    let own = |to: &&str| {
        to.starts_with('/') && !to[1..].starts_with(['/', '\\']) && !to.chars().any(|c| c.is_control() || c == '\\')
    };
    to.filter(own).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_this_server_only() {
        assert_eq!(own_path(Some("/webhooks/3")), "/webhooks/3");
        for to in ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "/a\\..\\b", "/\n/x", ""] {
            assert_eq!(own_path(Some(to)), "/", "{to:?}");
        }
    }
}
