//! Users, tokens and the audit log.

use std::time::Duration;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use switchboard::config::HumanDuration;

use super::answer::{self, Change, Posted, Problem};
use super::form::query;
use super::show::{State, Time};
use super::{Ask, Cx, Page};
use crate::accounts::{AuditFilter, NewToken, NewUser, Role};

/// How many changes one page shows.
const PAGE: u32 = 100;

#[derive(Template)]
#[template(path = "people.html")]
struct People {
    page: Page,
    wrong: Option<String>,
    users: Vec<UserRow>,
    tokens: Vec<TokenRow>,
    roles: Vec<Role>,
}

struct UserRow {
    name: String,
    role: String,
    owner: String,
    added: Time,
}

struct TokenRow {
    id: i64,
    name: String,
    role: String,
    owner: String,
    state: State,
    expires: Option<Time>,
    used: Option<Time>,
}

fn owner(owner: Option<i64>) -> String {
    owner.map_or_else(|| "everything".into(), |owner| format!("owner {owner} only"))
}

/// Lists users and tokens.
pub(crate) fn list(cx: &Cx) -> Result<Response, Problem> {
    people(cx, StatusCode::OK, None)
}

fn people(cx: &Cx, status: StatusCode, wrong: Option<String>) -> Result<Response, Problem> {
    let now = cx.host().now().0;
    let users = cx.app.accounts.users()?.into_iter().map(|user| UserRow {
        name: user.name,
        role: user.role.to_string(),
        owner: owner(user.owner),
        added: user.created_at.into(),
    });
    let tokens = cx.app.accounts.tokens()?.into_iter().map(|token| TokenRow {
        id: token.id,
        role: token.role.to_string(),
        owner: owner(token.owner),
        state: if token.is_good(now) { State::good("good") } else { State::off("expired") },
        expires: token.expires_at.map(Time::from),
        used: token.used_at.map(Time::from),
        name: token.name,
    });
    let (users, tokens) = (users.collect(), tokens.collect());
    let page = Page::new(cx, "Users and tokens")?;
    answer::html_with(status, &People { page, wrong, users, tokens, roles: Role::ALL.to_vec() })
}

fn again(cx: &Cx, problem: Problem) -> Result<Posted, Problem> {
    if problem.status.is_server_error() {
        return Err(problem);
    }
    Ok(Posted::Shown(people(cx, problem.status, Some(problem.message))?))
}

/// Reads a role and an owner.
fn rights(cx: &Cx) -> Result<(Role, Option<i64>), Problem> {
    let role = cx.form.text("role").unwrap_or_default().parse().map_err(Problem::refused)?;
    let owner = cx.form.text("owner").map(str::parse).transpose();
    Ok((role, owner.map_err(|_| Problem::refused("An owner is a number."))?))
}

/// Adds a user.
pub(crate) fn add_user(cx: &Cx) -> Result<Posted, Problem> {
    let added = rights(cx).and_then(|(role, owner)| {
        let name = cx.form.text("name").unwrap_or_default().to_owned();
        let password = cx.form.raw("password").unwrap_or_default().to_owned();
        Ok(cx.app.accounts.add_user(&NewUser { name, password, role, owner })?)
    });
    let user = match added {
        Ok(user) => user,
        Err(problem) => return again(cx, problem),
    };
    let detail = format!("{}, {}", user.role, owner(user.owner));
    let change = Change::new("user.add", format!("user {}", user.name), "/people").detail(detail);
    Ok(change.message(format!("User {} is added.", user.name)).into())
}

/// Asks whether to remove a user.
pub(crate) fn ask_to_remove_user(cx: &Cx) -> Result<Response, Problem> {
    let user = cx.app.accounts.user(cx.parameter("name"))?;
    answer::html(&Ask {
        page: Page::new(cx, format!("Remove user {}?", user.name))?,
        question: format!("This is {}, {}, {}.", user.name, user.role, owner(user.owner)),
        lines: vec!["The user's sessions end at once. What the user changed stays in the audit log.".into()],
        action: format!("/people/users/{}/remove", user.name),
        fields: Vec::new(),
        button: "Remove 1 user".into(),
        back: "/people".into(),
    })
}

/// Removes a user.
pub(crate) fn remove_user(cx: &Cx) -> Result<Posted, Problem> {
    let name = cx.parameter("name");
    cx.app.accounts.remove_user(name)?;
    let change = Change::new("user.remove", format!("user {name}"), "/people");
    Ok(change.message(format!("User {name} is removed.")).into())
}

#[derive(Template)]
#[template(path = "token.html")]
struct Shown {
    page: Page,
    name: String,
    secret: String,
}

/// Makes a token, and shows it this once.
pub(crate) fn add_token(cx: &Cx) -> Result<Posted, Problem> {
    let made = rights(cx).and_then(|(role, owner)| {
        let lifetime = match cx.form.text("expires") {
            None => None,
            Some(text) => Some(text.parse::<HumanDuration>().map_err(|error| Problem::refused(error.to_string()))?.0),
        };
        if lifetime == Some(Duration::ZERO) {
            return Err(Problem::refused("The token would be good for nothing."));
        }
        let name = cx.form.text("name").unwrap_or_default().to_owned();
        let created_by = cx.principal()?.name.clone();
        Ok(cx.app.accounts.add_token(&NewToken { name, role, owner, lifetime, created_by })?)
    });
    let (token, secret) = match made {
        Ok(made) => made,
        Err(problem) => return again(cx, problem),
    };
    let page = Page::new(cx, format!("Token {}", token.id))?;
    let shown = Shown { page, name: token.name.clone(), secret: secret.reveal().to_owned() };
    let change = Change::new("token.create", format!("token {} {}", token.id, token.name), "/people");
    Ok(change.detail(format!("{}, {}", token.role, owner(token.owner))).instead(answer::html(&shown)?).into())
}

/// Asks whether to revoke a token.
pub(crate) fn ask_to_revoke(cx: &Cx) -> Result<Response, Problem> {
    let id: i64 = cx.id("id")?;
    let token = cx.app.accounts.tokens()?.into_iter().find(|token| token.id == id);
    let Some(token) = token else { return Err(Problem::missing(format!("There is no token {id}."))) };
    answer::html(&Ask {
        page: Page::new(cx, format!("Revoke token {id}?"))?,
        question: format!("This is token {id}, “{}”, {}, {}.", token.name, token.role, owner(token.owner)),
        lines: vec!["Programs that use it are refused at once.".into()],
        action: format!("/people/tokens/{id}/revoke"),
        fields: Vec::new(),
        button: "Revoke 1 token".into(),
        back: "/people".into(),
    })
}

/// Refuses a token from now on.
pub(crate) fn revoke(cx: &Cx) -> Result<Posted, Problem> {
    let token = cx.app.accounts.revoke_token(cx.id("id")?)?;
    let change = Change::new("token.revoke", format!("token {} {}", token.id, token.name), "/people");
    Ok(change.message(format!("Token {} is revoked.", token.id)).into())
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Audit {
    page: Page,
    who: String,
    text: String,
    rows: Vec<AuditRow>,
    more: Option<String>,
}

struct AuditRow {
    at: Time,
    who: String,
    via: String,
    action: String,
    object: String,
    detail: String,
}

/// Shows who changed what.
pub(crate) fn audit(cx: &Cx) -> Result<Response, Problem> {
    let before = cx.query.text("before").map(str::parse).transpose();
    let filter = AuditFilter {
        who: cx.query.text("who").map(str::to_owned),
        text: cx.query.text("text").map(str::to_owned),
        before: before.map_err(|_| Problem::refused("There is no such page."))?,
        limit: PAGE,
    };
    let entries = cx.app.accounts.audited(&filter)?;
    let (who, text) = (filter.who.unwrap_or_default(), filter.text.unwrap_or_default());
    let more = entries
        .last()
        .filter(|_| entries.len() == PAGE as usize)
        .map(|last| format!("/audit?{}", query(&[("who", &who), ("text", &text), ("before", &last.id.to_string())])));
    let rows = entries.into_iter().map(|entry| AuditRow {
        at: entry.at.into(),
        who: entry.who,
        via: entry.via,
        action: entry.action,
        object: entry.object,
        detail: entry.detail,
    });
    let rows = rows.collect();
    answer::html(&Audit { page: Page::new(cx, "Audit log")?, who, text, rows, more })
}
