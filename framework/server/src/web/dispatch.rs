//! From a request to the function that answers it: who asks, whether that one may, the body, and the audit log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::Response;

use super::access::{Access, Principal};
use super::answer::{self, Change, Posted, Problem};
use super::cx::Cx;
use super::form::{Form, query};
use super::gate;
use super::pages::problem;
use super::routes::{Act, Route};
use super::{App, assets};
use crate::accounts::{AccountsError, NewAudit};

/// Largest body, in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// Log channel of what happens on the pages.
pub(super) const CHANNEL: &str = "Admin";

/// Answers a request.
pub(super) async fn answer(app: Arc<App>, route: &'static Route, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let parameters = match RawPathParams::from_request_parts(&mut parts, &()).await {
        Ok(parameters) => parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        Err(RawPathParamsRejection::MissingPathParams(_)) => Vec::new(),
        Err(_) => return answer::plain(StatusCode::BAD_REQUEST, "The address is not UTF-8.\n"),
    };
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let peer = peer.unwrap_or(std::net::IpAddr::from([0, 0, 0, 0]));
    let mut cx = Cx {
        secrets: Secrets::of(&app, &parts.headers),
        address: app.gate.address(&parts.headers, peer),
        who: None,
        path: parts.uri.path().to_owned(),
        query: Form::read(parts.uri.query().unwrap_or_default().as_bytes()),
        form: Form::default(),
        accepted: parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).map(str::to_owned),
        parameters,
        app,
    };
    // Known before the body is read: nobody's body is read in vain.
    let known = blocking(move || {
        cx.who = cx.secrets.principal(&cx.app)?;
        Ok::<_, AccountsError>(cx)
    });
    cx = match known.await {
        Ok(Ok(cx)) => cx,
        Ok(Err(error)) => return problem::page(None, &error.into()),
        Err(answer) => return answer,
    };
    if !route.access.lets(cx.who.as_ref()) {
        return refused(&cx, route.access, &parts.method);
    }
    if parts.method == Method::POST {
        let read = tokio::time::timeout(BODY_TIMEOUT, body::to_bytes(body, MAX_BODY_BYTES)).await;
        match read {
            Ok(Ok(bytes)) => cx.form = Form::read(&bytes),
            Ok(Err(_)) => {
                return answer::plain(StatusCode::PAYLOAD_TOO_LARGE, "This is too large: at most 1 MiB are taken.\n");
            }
            Err(_) => return answer::plain(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time.\n"),
        }
    }
    match blocking(move || act(route, &cx)).await {
        Ok(answer) | Err(answer) => answer,
    }
}

/// Runs something that waits for the store or for a plugin. A panic in it is an answer as well.
async fn blocking<V: Send + 'static>(work: impl FnOnce() -> V + Send + 'static) -> Result<V, Response> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        let text = "The server has made a mistake. What it printed to standard error says where.\n";
        answer::plain(StatusCode::INTERNAL_SERVER_ERROR, text)
    })
}

fn act(route: &Route, cx: &Cx) -> Response {
    let answered = match route.act {
        Act::Show(show) => show(cx),
        Act::Post(post) => post(cx).and_then(|posted| match posted {
            Posted::Shown(answer) => Ok(answer),
            Posted::Changed(change) => changed(cx, *change),
        }),
    };
    answered.unwrap_or_else(|problem| {
        if problem.status.is_server_error() {
            log::error!(logger: cx.host().log(), target: CHANNEL, path = cx.path, error = problem.message;
                "a page cannot be shown");
        }
        problem::page(Some(cx), &problem)
    })
}

/// Writes a change into the audit log, and leads on.
fn changed(cx: &Cx, change: Change) -> Result<Response, Problem> {
    let via = if cx.session().is_some() || cx.who.is_none() { "page" } else { "api" };
    let Change { who, action, object, detail, message, to, instead, cookie } = change;
    let who = who.as_deref().or(cx.who.as_ref().map(|who| who.name.as_str())).unwrap_or("nobody");
    let written = cx.app.accounts.audit(&NewAudit { who, via, action, object: &object, detail: &detail });
    log::info!(logger: cx.host().log(), target: CHANNEL, who, via, action, object; "changed");
    if let Err(error) = written {
        log::error!(logger: cx.host().log(), target: CHANNEL, who, action, object,
            error = switchboard::error::Chain(&error).to_string(); "a change cannot be written into the audit log");
        return Err(error.into());
    }
    if let Some(session) = cx.session().filter(|_| !message.is_empty()) {
        cx.app.accounts.leave_message(session, &message)?;
    }
    let mut answer = instead.unwrap_or_else(|| answer::see_other(&to));
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// Answers somebody who may not use a route.
fn refused(cx: &Cx, access: Access, method: &Method) -> Response {
    if cx.who.is_none() {
        if *method == Method::POST {
            return problem::page(Some(cx), &Problem::signed_out());
        }
        // Only the path: what a query holds may be long.
        return answer::see_other(&format!("/sign-in?{}", query(&[("to", &cx.path)])));
    }
    let problem = Problem::new(
        StatusCode::FORBIDDEN,
        format!("Only {access} may use this page."),
        "Ask an administrator for another role, or sign in as somebody else.",
    );
    problem::page(Some(cx), &problem)
}

/// The secrets with which a request says who it is from.
#[derive(Clone)]
pub(super) struct Secrets {
    token: Option<String>,
    session: Option<String>,
    /// Whether a person asks, and not a page by itself.
    used: bool,
}

impl Secrets {
    pub(super) fn of(app: &App, headers: &HeaderMap) -> Self {
        Self {
            token: gate::bearer(headers).map(str::to_owned),
            session: cookie(headers, cookie_name(app)),
            used: !headers.contains_key(assets::BY_ITSELF),
        }
    }

    /// The same without anybody who asks, for looking again later.
    pub(super) fn by_itself(&self) -> Self {
        Self { used: false, ..self.clone() }
    }

    pub(super) fn principal(&self, app: &App) -> Result<Option<Principal>, AccountsError> {
        // A request with a token is from that token, whatever else it has.
        match (&self.token, &self.session) {
            (Some(token), _) => Ok(app.accounts.token(token)?.map(Principal::from)),
            (None, Some(session)) => Ok(app.accounts.session(session, self.used)?.map(Principal::from)),
            (None, None) => Ok(None),
        }
    }
}

/// Returns the name of the session's cookie. Browsers take one with `__Host-` over HTTPS only.
fn cookie_name(app: &App) -> &'static str {
    if app.gate.is_secure() { "__Host-switchboard" } else { "switchboard" }
}

/// Writes the session's cookie; without a secret, one that removes it.
pub(super) fn session_cookie(app: &App, secret: Option<&str>) -> String {
    let secure = if app.gate.is_secure() { "; Secure" } else { "" };
    let end = if secret.is_none() { "; Max-Age=0" } else { "" };
    format!("{}={}; Path=/; HttpOnly; SameSite=Strict{secure}{end}", cookie_name(app), secret.unwrap_or_default())
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
}
