//! What a call gets: a value as JSON, or a problem as RFC 9457 has it.

use std::time::Duration;

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as Documented, SchemaObject};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::words::in_calls;
use crate::web::answer::Problem;

/// Content type of a problem.
const PROBLEM: &str = "application/problem+json";
/// When to call again after what passes by itself.
const SOON: Duration = Duration::from_secs(5);

/// Why a call was refused or failed, as RFC 9457 has it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
struct Details {
    /// Kind of the problem; `about:blank`: the status says it.
    r#type: &'static str,
    /// What the status means.
    title: &'static str,
    /// Status of the answer.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// What happened, to what, why, and what to do.
    detail: String,
    /// What is wrong with which field, where that can be said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// A word for programs, such as `key_taken`. It does not change with the language or the wording of `detail`.
    code: &'static str,
}

/// What is wrong with one field.
#[derive(Debug, Serialize, JsonSchema)]
struct FieldError {
    /// The field, such as `url` or `settings.basic_password`.
    field: String,
    /// What is wrong and what to do.
    detail: String,
}

/// A problem.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// Refuses what was given.
    pub(super) fn refused(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// Something that is needed does not work just now.
    pub(super) fn unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        let detail = switchboard::error::Chain(error).to_string();
        Self { retry_after: Some(SOON), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail) }
    }

    pub(super) fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The same for what stands in the body and not in the query.
    pub(super) fn of_body(self) -> Self {
        Self::refused("invalid_body", self.detail)
    }

    /// Says what is wrong with which field.
    pub(super) fn errors(mut self, errors: impl IntoIterator<Item = (String, String)>) -> Self {
        self.errors = errors.into_iter().map(|(field, detail)| FieldError { field, detail }).collect();
        self
    }

    pub(super) fn is_server_error(&self) -> bool {
        self.status.is_server_error()
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

/// What every error of the framework means to a caller is known to the pages already.
impl<E> From<E> for Failure
where
    Problem: From<E>,
{
    fn from(error: E) -> Self {
        let problem = Problem::from(error);
        let (status, detail) = (problem.status, problem.told_to_a_program());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Self::new(status, "unavailable", detail).retry_after(SOON);
        }
        let code = match status {
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::UNPROCESSABLE_ENTITY => "refused",
            status if status.is_server_error() => "failed",
            _ => "problem",
        };
        Self::new(status, code, detail)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let errors = self.errors.into_iter().map(|error| FieldError { detail: in_calls(&error.detail), ..error });
        let details = Details {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Problem"),
            status: self.status.as_u16(),
            detail: in_calls(&self.detail),
            errors: errors.collect(),
            code: self.code,
        };
        let body = serde_json::to_vec(&details).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, PROBLEM)], body).into_response();
        if let Some(wait) = self.retry_after {
            // Whole seconds, and never so few that the next try comes too early.
            let seconds = wait.as_millis().div_ceil(1000).max(1).to_string();
            response
                .headers_mut()
                .extend(HeaderValue::from_str(&seconds).ok().map(|value| (header::RETRY_AFTER, value)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl OperationOutput for Failure {
    type Inner = Self;

    fn operation_response(ctx: &mut GenContext, _operation: &mut Operation) -> Option<Documented> {
        Some(documented::<Details>(ctx, PROBLEM, "The call was refused or failed"))
    }

    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Documented)> {
        Self::operation_response(ctx, operation).map(|response| (None, response)).into_iter().collect()
    }
}

fn documented<T: JsonSchema>(ctx: &mut GenContext, content_type: &str, description: &str) -> Documented {
    let json_schema = ctx.schema.subschema_for::<T>();
    let schema = SchemaObject { json_schema, example: None, external_docs: None };
    let media = MediaType { schema: Some(schema), ..MediaType::default() };
    Documented {
        description: description.to_owned(),
        content: [(content_type.to_owned(), media)].into_iter().collect(),
        ..Documented::default()
    }
}

/// A value, with the status of the answer.
pub(crate) struct Answer<T, const STATUS: u16 = 200>(pub(crate) T);

impl<T: Serialize, const STATUS: u16> IntoResponse for Answer<T, STATUS> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let status = StatusCode::from_u16(STATUS).unwrap_or(StatusCode::OK);
                (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(error) => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error.to_string()).into_response(),
        }
    }
}

impl<T: JsonSchema, const STATUS: u16> OperationOutput for Answer<T, STATUS> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, _operation: &mut Operation) -> Option<Documented> {
        let description = if STATUS == 201 { "It was accepted" } else { "The answer" };
        Some(documented::<T>(ctx, "application/json", description))
    }

    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Documented)> {
        Self::operation_response(ctx, operation).map(|response| (Some(STATUS), response)).into_iter().collect()
    }
}

/// An answer of text that comes piece by piece.
pub(super) struct Text(pub(super) Response);

impl IntoResponse for Text {
    fn into_response(self) -> Response {
        self.0
    }
}

impl OperationOutput for Text {
    type Inner = String;

    fn operation_response(ctx: &mut GenContext, _operation: &mut Operation) -> Option<Documented> {
        Some(documented::<String>(ctx, "text/plain", "The text"))
    }

    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Documented)> {
        Self::operation_response(ctx, operation).map(|response| (Some(200), response)).into_iter().collect()
    }
}

/// The status 204: it was done, and there is nothing more to say.
pub(crate) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl OperationOutput for Done {
    type Inner = ();

    fn inferred_responses(_ctx: &mut GenContext, _operation: &mut Operation) -> Vec<(Option<u16>, Documented)> {
        vec![(Some(204), Documented { description: "It was done".into(), ..Documented::default() })]
    }
}
