//! Users, tokens and the audit log: who may use this server, and what they changed.

use std::sync::Arc;
use std::time::Duration;

use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with, put_with};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard::store::Timestamp;

use super::answer::{Answer, Done, Failure};
use super::caller::{Administrate, Caller};
use super::input::{Json, Numbered, Path, Query};
use super::page::{self, Page};
use crate::accounts::{AuditEntry, AuditFilter, NewToken, NewUser, Role, Token as StoredToken, User as StoredUser};
use crate::people::rights_told;
use crate::web::App;

/// Longest life of a token that ends by itself, in seconds: a hundred years.
const LONGEST_LIFE_SECONDS: u64 = 100 * 365 * 24 * 60 * 60;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/users",
            get_with(users, |op| op.id("listUsers").tag("people").summary("List the users, the oldest first"))
                .post_with(add_user, |op| op.id("addUser").tag("people").summary("Add a user")),
        )
        .api_route(
            "/users/{name}",
            get_with(user, |op| op.id("getUser").tag("people").summary("Show a user")).delete_with(remove_user, |op| {
                op.id("removeUser")
                    .tag("people")
                    .summary("Remove a user")
                    .description("The user's sessions end. The last administrator stays.")
            }),
        )
        .api_route(
            "/users/{name}/role",
            put_with(set_role, |op| {
                op.id("setUserRole")
                    .tag("people")
                    .summary("Give a user another role")
                    .description("The user's sessions end. The last administrator stays one.")
            }),
        )
        .api_route(
            "/users/{name}/password",
            put_with(set_password, |op| {
                op.id("setUserPassword")
                    .tag("people")
                    .summary("Give a user another password")
                    .description("The user's sessions end.")
            }),
        )
        .api_route(
            "/tokens",
            get_with(tokens, |op| {
                op.id("listTokens")
                    .tag("people")
                    .summary("List the tokens, the oldest first, also those that are no longer good")
                    .description("The tokens themselves are stored nowhere.")
            })
            .post_with(add_token, |op| {
                op.id("createToken")
                    .tag("people")
                    .summary("Make a token")
                    .description("It is in this answer, and can be shown by nobody later.")
            }),
        )
        .api_route(
            "/tokens/{id}",
            delete_with(revoke, |op| {
                op.id("revokeToken")
                    .tag("people")
                    .summary("Refuse a token from now on")
                    .description("Also the one that makes this call.")
            }),
        )
        .api_route(
            "/audit",
            get_with(audit, |op| {
                op.id("listAudit").tag("people").summary("List who changed what, the newest change first")
            }),
        )
}

/// Somebody who may sign in.
#[derive(Serialize, JsonSchema)]
struct User {
    /// The name.
    name: String,
    /// What the user may do.
    role: Role,
    /// Owner whose webhooks are all that the user sees.
    owner: Option<i64>,
    /// Language of what plugins say to the user; the browser's when there is none.
    language: Option<String>,
    /// When the user was added.
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
}

impl From<StoredUser> for User {
    fn from(user: StoredUser) -> Self {
        let StoredUser { id: _, name, role, owner, language, created_at } = user;
        Self { name, role, owner, language, created_at: created_at.to_string() }
    }
}

/// The path of a user.
#[derive(Deserialize, JsonSchema)]
struct UserPath {
    /// The user's name.
    name: String,
}

/// Which page of a list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Most items on the page; 50 when left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl Wanted {
    /// Returns the page out of a whole list. Users and tokens are few.
    fn of<S, T: From<S>>(&self, mut all: Vec<S>, id: impl Fn(&S) -> i64) -> Result<Page<T>, Failure> {
        let (limit, after) = (page::limit(self.limit)?, page::after(self.cursor.as_deref())?);
        all.sort_by_key(&id);
        let rest = all.into_iter().filter(|one| after.is_none_or(|after| id(one) > after));
        let Page { items, next } = Page::new(rest.take(limit as usize + 1).collect(), limit, id);
        Ok(Page { items: items.into_iter().map(T::from).collect(), next })
    }
}

async fn users(caller: Caller<Administrate>, Query(wanted): Query<Wanted>) -> Result<Answer<Page<User>>, Failure> {
    caller.run(move |call| wanted.of(call.app().accounts.users()?, |user| user.id)).await.map(Answer)
}

async fn user(caller: Caller<Administrate>, Path(UserPath { name }): Path<UserPath>) -> Result<Answer<User>, Failure> {
    caller.run(move |call| Ok(call.app().accounts.user(&name)?.into())).await.map(Answer)
}

/// A user to add.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewUserBody {
    /// The name with which the user signs in.
    name: String,
    /// The password, of 12 characters or more.
    password: String,
    /// What the user may do.
    role: Role,
    /// Owner whose webhooks are all that the user sees; everything when left out.
    #[schemars(range(min = 1))]
    owner: Option<i64>,
}

async fn add_user(caller: Caller<Administrate>, Json(new): Json<NewUserBody>) -> Result<Answer<User, 201>, Failure> {
    let added = caller.run(move |call| {
        let NewUserBody { name, password, role, owner } = new;
        let user = call.app().accounts.add_user(&NewUser { name, password, role, owner })?;
        call.changed("user.add", &format!("user {}", user.name), &rights_told(user.role, user.owner))?;
        Ok(user.into())
    });
    added.await.map(Answer)
}

/// What a user may do.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rights {
    /// The role.
    role: Role,
    /// Owner whose webhooks are all that the user sees; everything when left out.
    #[schemars(range(min = 1))]
    owner: Option<i64>,
}

async fn set_role(
    caller: Caller<Administrate>,
    Path(UserPath { name }): Path<UserPath>,
    Json(Rights { role, owner }): Json<Rights>,
) -> Result<Answer<User>, Failure> {
    let set = caller.run(move |call| {
        let user = call.app().accounts.set_role(&name, role, owner)?;
        call.changed("user.role", &format!("user {}", user.name), &rights_told(user.role, user.owner))?;
        Ok(user.into())
    });
    set.await.map(Answer)
}

/// Another password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// The password, of 12 characters or more.
    password: String,
}

async fn set_password(
    caller: Caller<Administrate>,
    Path(UserPath { name }): Path<UserPath>,
    Json(NewPassword { password }): Json<NewPassword>,
) -> Result<Done, Failure> {
    let set = caller.run(move |call| {
        let accounts = &call.app().accounts;
        let user = accounts.user(&name)?;
        accounts.set_password(&user.name, &password)?;
        call.changed("user.password", &format!("user {}", user.name), "")
    });
    set.await.map(|()| Done)
}

async fn remove_user(caller: Caller<Administrate>, Path(UserPath { name }): Path<UserPath>) -> Result<Done, Failure> {
    let removed = caller.run(move |call| {
        let accounts = &call.app().accounts;
        let user = accounts.user(&name)?;
        accounts.remove_user(&user.name)?;
        call.changed("user.remove", &format!("user {}", user.name), "")
    });
    removed.await.map(|()| Done)
}

/// A token, without the token itself.
#[derive(Serialize, JsonSchema)]
struct Token {
    /// Its id.
    id: i64,
    /// What it is for.
    name: String,
    /// What it may do.
    role: Role,
    /// Owner whose webhooks and events are all that it reaches.
    owner: Option<i64>,
    /// Who made it.
    created_by: String,
    /// When it was made.
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    /// Until when it is good; for ever when none.
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
    /// When it was last used, within a minute.
    #[schemars(extend("format" = "date-time"))]
    used_at: Option<String>,
}

impl From<StoredToken> for Token {
    fn from(token: StoredToken) -> Self {
        let StoredToken { id, name, role, owner, created_by, created_at, expires_at, used_at } = token;
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let (created_at, expires_at, used_at) = (created_at.to_string(), text(expires_at), text(used_at));
        Self { id, name, role, owner, created_by, created_at, expires_at, used_at }
    }
}

/// A token to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewTokenBody {
    /// What it is for.
    name: String,
    /// What it may do.
    role: Role,
    /// Owner whose webhooks and events are all that it reaches; everything when left out.
    #[schemars(range(min = 1))]
    owner: Option<i64>,
    /// How long it is good, in seconds; for ever when left out.
    #[schemars(range(min = 1, max = 3153600000_u64))]
    expires_in_seconds: Option<u64>,
}

/// A token that was made.
#[derive(Serialize, JsonSchema)]
struct MadeToken {
    /// What is known of it later.
    token: Token,
    /// The token itself, for `Authorization: Bearer ...`.
    secret: String,
}

async fn tokens(caller: Caller<Administrate>, Query(wanted): Query<Wanted>) -> Result<Answer<Page<Token>>, Failure> {
    caller.run(move |call| wanted.of(call.app().accounts.tokens()?, |token| token.id)).await.map(Answer)
}

async fn add_token(
    caller: Caller<Administrate>,
    Json(new): Json<NewTokenBody>,
) -> Result<Answer<MadeToken, 201>, Failure> {
    let NewTokenBody { name, role, owner, expires_in_seconds } = new;
    if let Some(seconds) = expires_in_seconds.filter(|seconds| !(1..=LONGEST_LIFE_SECONDS).contains(seconds)) {
        let detail = format!("`expires_in_seconds` is {seconds}, it must be 1 to {LONGEST_LIFE_SECONDS}.");
        return Err(Failure::refused("invalid_body", detail));
    }
    let lifetime = expires_in_seconds.map(Duration::from_secs);
    let made = caller.run(move |call| {
        let new = NewToken { name, role, owner, lifetime, created_by: call.who.name.clone() };
        let (token, secret) = call.app().accounts.add_token(&new)?;
        let object = format!("token {} {}", token.id, token.name);
        call.changed("token.create", &object, &rights_told(token.role, token.owner))?;
        Ok(MadeToken { token: token.into(), secret: secret.reveal().to_owned() })
    });
    made.await.map(Answer)
}

async fn revoke(caller: Caller<Administrate>, Path(Numbered { id }): Path<Numbered>) -> Result<Done, Failure> {
    let revoked = caller.run(move |call| {
        let token = call.app().accounts.revoke_token(id)?;
        let object = format!("token {} {}", token.id, token.name);
        call.changed("token.revoke", &object, &rights_told(token.role, token.owner))
    });
    revoked.await.map(|()| Done)
}

/// A change.
#[derive(Serialize, JsonSchema)]
struct Change {
    /// Its id.
    id: i64,
    /// When it was made.
    #[schemars(extend("format" = "date-time"))]
    at: String,
    /// Who made it: a user, a token, or whoever uses the command line.
    who: String,
    /// By which way: `page`, `api` or `cli`.
    via: String,
    /// What was done, such as `webhook.disable`.
    action: String,
    /// With what, such as `webhook 3`.
    object: String,
    /// What else there is to know.
    detail: String,
}

impl From<AuditEntry> for Change {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, at, who, via, action, object, detail } = entry;
        Self { id, at: at.to_string(), who, via, action, object, detail }
    }
}

/// Which changes to list. One is listed when it matches everything that is given.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WantedChanges {
    /// Made by this user or token.
    who: Option<String>,
    /// Whose action, object or detail contains this text, in any case.
    text: Option<String>,
    /// Most items on the page; 50 when left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

async fn audit(
    caller: Caller<Administrate>,
    Query(wanted): Query<WantedChanges>,
) -> Result<Answer<Page<Change>>, Failure> {
    let WantedChanges { who, text, limit, cursor } = wanted;
    let (limit, before) = (page::limit(limit)?, page::after(cursor.as_deref())?);
    let page = caller.run(move |call| {
        let found = call.app().accounts.audited(&AuditFilter { who, text, before, limit: limit + 1 })?;
        Ok(Page::new(found.into_iter().map(Change::from).collect(), limit, |change: &Change| change.id))
    });
    page.await.map(Answer)
}
