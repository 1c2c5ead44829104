//! Whether the host works, and its numbers: for whoever supervises it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use switchboard::Health;

use super::answer::Failure;
use super::caller::{Caller, Site, blocking};
use super::metrics;
use crate::web::App;
use crate::web::access::Access;
use crate::web::dispatch::Secrets;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/readyz", get(ready)).route("/metrics", get(show_metrics))
}

/// What somebody who may see it is told.
#[derive(Serialize)]
struct Details {
    ready: bool,
    checks: Health,
}

/// Says whether the host works; why not, only to whom that concerns.
async fn ready(State(app): State<Arc<App>>, request: Request) -> Result<Response, Failure> {
    let secrets = Secrets::of(&app, request.headers());
    let (health, details) = blocking(move || {
        let who = secrets.principal(&app)?;
        Ok::<_, Failure>((app.host.health(), Access::Site.lets(who.as_ref())))
    })
    .await??;
    let ready = health.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !details {
        return Ok((status, if ready { "ok\n" } else { "not ready\n" }).into_response());
    }
    let body = serde_json::to_string_pretty(&Details { ready, checks: health }).unwrap_or_default();
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn show_metrics(caller: Caller<Site>) -> Result<Response, Failure> {
    let report = caller.run(|call| Ok(call.host().metrics()?)).await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::text(&report)).into_response())
}
