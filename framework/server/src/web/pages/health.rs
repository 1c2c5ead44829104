//! Whether the process lives and whether the host works, for whoever supervises it.

use axum::http::StatusCode;
use axum::response::Response;

use super::Cx;
use super::answer::{Problem, plain};

/// Says that the process answers.
pub(crate) fn alive(_cx: &Cx) -> Result<Response, Problem> {
    Ok(plain(StatusCode::OK, "ok\n"))
}
