//! What a user sets for himself or herself.

use std::collections::BTreeSet;
use std::time::Instant;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{self, Change, Posted, Problem};
use super::{Cx, Page};
use crate::accounts::{AccountsError, Session};
use crate::web::dispatch::session_cookie;

#[derive(Template)]
#[template(path = "account.html")]
struct Account {
    page: Page,
    language: String,
    browser: String,
    languages: BTreeSet<String>,
    wrong: Option<String>,
}

/// Shows what can be set.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    account(cx, StatusCode::OK, None)
}

fn account(cx: &Cx, status: StatusCode, wrong: Option<String>) -> Result<Response, Problem> {
    let language = session(cx)?.user.language.clone().unwrap_or_default();
    let languages = BTreeSet::from(["de-DE", "en-GB", "es-ES", "fr-FR", "it-IT", "nl-NL"].map(str::to_owned));
    let page = Page::new(cx, "Your account")?;
    answer::html_with(status, &Account { page, language, browser: cx.language(), languages, wrong })
}

/// Sets the language in which plugins speak.
pub(crate) fn set_language(cx: &Cx) -> Result<Posted, Problem> {
    let session = session(cx)?;
    let language = cx.form.text("language");
    let valid = |code: &str| code.len() <= 35 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if let Some(code) = language.filter(|code| !valid(code)) {
        let wrong = format!("`{code}` is no language: write a code such as de-DE.");
        return Ok(Posted::Shown(account(cx, StatusCode::UNPROCESSABLE_ENTITY, Some(wrong))?));
    }
    cx.app.accounts.set_language(session.user.id, language)?;
    let change = Change::new("user.language", format!("user {}", session.user.name), "/account");
    Ok(change.detail(language.unwrap_or("as the browser says")).message("The language was saved.").into())
}

/// Changes the user's own password.
pub(crate) fn set_password(cx: &Cx) -> Result<Posted, Problem> {
    let name = &session(cx)?.user.name;
    let again = |wrong: String| Ok(Posted::Shown(account(cx, StatusCode::UNPROCESSABLE_ENTITY, Some(wrong))?));
    let old = cx.form.raw("old").unwrap_or_default();
    if let Err(wait) = cx.app.limiter.take(cx.address, Instant::now()) {
        return again(format!("There were too many wrong passwords: try again in {} seconds.", wait.as_secs().max(1)));
    }
    if cx.app.accounts.check_password(name, old)?.is_none() {
        return again("The present password is wrong.".into());
    }
    cx.app.limiter.forget(cx.address);
    match cx.app.accounts.set_password(name, cx.form.raw("new").unwrap_or_default()) {
        Ok(()) => {}
        Err(AccountsError::Refused(wrong)) => return again(wrong),
        Err(error) => return Err(error.into()),
    }
    let change = Change::new("user.password", format!("user {name}"), "/sign-in");
    Ok(change.cookie(session_cookie(&cx.app, None)).into())
}

/// A token has no account.
fn session(cx: &Cx) -> Result<&Session, Problem> {
    cx.session().ok_or_else(Problem::signed_out)
}
