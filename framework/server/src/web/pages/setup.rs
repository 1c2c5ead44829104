//! The first user, made through the link that `serve` prints.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{self, Change, Posted, Problem};
use super::{Cx, Page};
use crate::accounts::{AccountsError, NewUser, Role};
use crate::web::dispatch::session_cookie;

#[derive(Template)]
#[template(path = "setup.html")]
struct Form<'a> {
    page: Page,
    token: &'a str,
    name: &'a str,
    wrong: Option<String>,
}

/// Shows the form for the first user.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    let token = cx.query.text("token").unwrap_or_default();
    check(cx, token)?;
    answer::html(&Form { page: outside(cx), token, name: "", wrong: None })
}

/// Makes the first user, and signs it in.
pub(crate) fn make(cx: &Cx) -> Result<Posted, Problem> {
    let token = cx.form.text("token").unwrap_or_default();
    check(cx, token)?;
    let name = cx.form.text("name").unwrap_or_default();
    let password = cx.form.raw("password").unwrap_or_default().to_owned();
    let new = NewUser { name: name.to_owned(), password, role: Role::Administrator, owner: None };
    let user = match cx.app.accounts.add_first_user(&new) {
        Ok(user) => user,
        Err(AccountsError::Refused(wrong)) => {
            let form = Form { page: outside(cx), token, name, wrong: Some(wrong) };
            return Ok(Posted::Shown(answer::html_with(StatusCode::UNPROCESSABLE_ENTITY, &form)?));
        }
        Err(error) => return Err(error.into()),
    };
    cx.app.setup.close();
    let secret = cx.app.accounts.start_session(&user)?;
    let change = Change::new("user.add", format!("user {}", user.name), "/").by(&user.name);
    let change = change.detail("the first administrator, with the set-up link");
    Ok(change.cookie(session_cookie(&cx.app, Some(secret.reveal()))).into())
}

/// The set-up is open to whoever has the link, as long as there is no user.
fn check(cx: &Cx, token: &str) -> Result<(), Problem> {
    if cx.app.setup.is(token) && !cx.app.accounts.has_users()? {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "This set-up link is not good any more.",
        "`switchboard serve` prints a new one when it starts and there is no user yet; `switchboard user add` makes one \
         without it.",
    ))
}

fn outside(cx: &Cx) -> Page {
    Page { user: None, ..Page::without_message(cx, "Set up") }
}
