//! The HTTP API under `/api/v1`: everything that a host application needs, in any language.
//!
//! A handler says in its parameters who may call it ([`Caller`]) and what it takes, and in its value what it gives. The
//! OpenAPI document is made from these types, so that it cannot say anything else than the code does.

mod answer;
mod bulks;
mod caller;
mod deliveries;
mod document;
mod events;
mod health;
mod input;
mod keys;
mod languages;
mod logs;
mod methods;
mod metrics;
mod page;
mod people;
mod plugins;
mod rate;
mod schedules;
mod tasks;
mod triggers;
mod upload;
mod webhooks;
mod words;

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::openapi::OpenApi;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

pub(super) use answer::Failure;
pub(super) use rate::Rate;

use super::App;

/// Where the API is.
pub(super) const PREFIX: &str = "/api/v1";

/// Largest body of a request, in bytes: sixteen events of the largest size.
const MAX_BODY_BYTES: usize = 4 << 20;

/// Makes the router of the API, and with it the document.
pub(super) fn router() -> Router<Arc<App>> {
    let mut document = OpenApi::default();
    let router = routes().finish_api_with(&mut document, document::describe);
    // The very text that the tests compare.
    let document: Arc<str> = serde_json::to_string_pretty(&document).map_or_else(|_| "{}".into(), Into::into);
    let show = move || {
        let document = Arc::clone(&document);
        async move { ([(header::CONTENT_TYPE, "application/json")], document.to_string()) }
    };
    let inner = router
        .route("/openapi.json", axum::routing::get(show))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES));
    health::routes().nest(PREFIX, inner)
}

/// Whether a path is one of the API.
pub(super) fn is_its(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Says what a request lacks that is refused before it comes to the API.
pub(super) fn refusal(status: StatusCode) -> Response {
    let (code, detail) = if status == StatusCode::MISDIRECTED_REQUEST {
        let detail = "This server does not answer under this name. Use its address, or add the name to `hosts` in the section \
                      [http] of switchboard.toml.";
        ("misdirected", detail)
    } else {
        let detail = "Another site has sent this request; nothing was changed. Programs use a token: \
                      `Authorization: Bearer ...`.";
        ("foreign", detail)
    };
    Failure::new(status, code, detail).into_response()
}

fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .merge(events::routes())
        .merge(webhooks::routes())
        .merge(methods::routes())
        .merge(deliveries::routes())
        .merge(tasks::routes())
        .merge(bulks::routes())
        .merge(schedules::routes())
        .merge(plugins::routes())
        .merge(upload::routes())
        .merge(triggers::routes())
        .merge(languages::routes())
        .merge(logs::routes())
        .merge(keys::routes())
        .merge(people::routes())
}

async fn nothing() -> Response {
    Failure::new(
        StatusCode::NOT_FOUND,
        "no_route",
        "There is nothing at this address; /api/v1/openapi.json lists what there is.",
    )
    .into_response()
}

async fn wrong_method() -> Response {
    let detail = "This address is not used with this method; /api/v1/openapi.json lists what there is.";
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", detail).into_response()
}
