//! What a call brings: parts of the path, a query, a body, a key. What cannot be read is a problem that says why.

use std::time::Duration;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{
    HeaderStyle, MediaType, Operation, Parameter, ParameterData, ParameterSchemaOrContent, RequestBody, SchemaObject,
};
use aide::operation::{ParamLocation, add_parameters, parameters_from_schema, set_body};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::answer::Failure;

/// How long a body may take to arrive.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a body cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

/// Reads a large body of at most `most` bytes. It may take `whole`, and stand still for [`BODY_TIMEOUT`] at most.
pub(super) async fn large_body(mut body: Body, most: usize, whole: Duration) -> Result<Vec<u8>, BodyError> {
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(frame) =
            tokio::time::timeout(BODY_TIMEOUT, body.frame()).await.map_err(|_| BodyError::TooSlow)?
        {
            let Ok(piece) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            if bytes.len() + piece.len() > most {
                return Err(BodyError::TooLarge);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    tokio::time::timeout(whole, reading).await.map_err(|_| BodyError::TooSlow)?
}

/// A body of JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(is_json) {
            let detail = "The body has to be JSON: send `Content-Type: application/json`.";
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "no_json", detail));
        }
        let reading = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await;
        let late = |_| Failure::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "The body did not arrive in time.");
        let bytes = reading.map_err(late)?.map_err(|rejection| {
            let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
            let code = if too_large { "too_large" } else { "unreadable" };
            let limit = format!("The body is too large: at most {} MiB are taken.", super::MAX_BODY_BYTES >> 20);
            Failure::new(rejection.status(), code, if too_large { limit } else { rejection.body_text() })
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            if error.is_data() {
                Failure::refused("invalid_body", format!("The body does not fit: {error}."))
            } else {
                Failure::new(StatusCode::BAD_REQUEST, "invalid_json", format!("The body is not JSON: {error}."))
            }
        })
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

impl<T: JsonSchema> OperationInput for Json<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let json_schema = ctx.schema.subschema_for::<T>();
        let schema = SchemaObject { json_schema, example: None, external_docs: None };
        let media = MediaType { schema: Some(schema), ..MediaType::default() };
        let body = RequestBody {
            content: [("application/json".to_owned(), media)].into_iter().collect(),
            required: true,
            ..RequestBody::default()
        };
        set_body(ctx, operation, body);
    }
}

/// Fields of the query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|axum::extract::Query(query)| Self(query)).map_err(|error| {
            Failure::new(
                StatusCode::BAD_REQUEST,
                "invalid_query",
                format!("The query does not fit: {}.", error.body_text()),
            )
        })
    }
}

impl<T: JsonSchema> OperationInput for Query<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<T>();
        let parameters = parameters_from_schema(ctx, schema, ParamLocation::Query);
        add_parameters(ctx, operation, parameters);
    }
}

/// Parts of the path, by name.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        // What cannot be an id names nothing that there is.
        path.map(|axum::extract::Path(path)| Self(path)).map_err(|_| Failure::missing("There is nothing of this name."))
    }
}

impl<T: JsonSchema> OperationInput for Path<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<T>();
        let parameters = parameters_from_schema(ctx, schema, ParamLocation::Path);
        add_parameters(ctx, operation, parameters);
    }
}

/// The path of a thing with a number.
#[derive(serde::Deserialize, JsonSchema)]
pub(super) struct Numbered {
    /// Its id.
    #[schemars(range(min = 1))]
    pub(super) id: i64,
}

/// The header `Idempotency-Key`.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

/// Name of the header.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else { return Ok(Self(None)) };
        let text = value.to_str().map_err(|_| Failure::refused("invalid_key", "The Idempotency-Key is not ASCII."))?;
        // The standard to be has it in quotation marks; most clients send it without.
        let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        Ok(Self(Some(quoted.unwrap_or(text).to_owned())))
    }
}

impl OperationInput for IdempotencyKey {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let json_schema = schemars::json_schema!({ "type": "string", "pattern": "^[!-~]{1,255}$" });
        let format = ParameterSchemaOrContent::Schema(SchemaObject { json_schema, example: None, external_docs: None });
        let parameter_data = ParameterData {
            name: "Idempotency-Key".into(),
            description: Some("Announces the event once, however often it is asked for under this key.".into()),
            required: false,
            deprecated: None,
            format,
            example: None,
            examples: Default::default(),
            explode: None,
            extensions: Default::default(),
        };
        add_parameters(ctx, operation, [Parameter::Header { parameter_data, style: HeaderStyle::Simple }]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Body, whole: Duration) -> Result<Vec<u8>, BodyError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(large_body(body, 8, whole))
    }

    #[test]
    fn a_large_body_is_taken_whole_or_not_at_all() {
        let (long, short) = (Duration::from_secs(600), Duration::from_millis(1));
        assert_eq!(read(Body::from("12345678"), long), Ok(b"12345678".to_vec()));
        assert_eq!(read(Body::from("123456789"), long), Err(BodyError::TooLarge));
        let (_sender, never) = tokio::sync::oneshot::channel::<Bytes>();
        let stuck = http_body_util::Full::new(Bytes::from("123")).boxed();
        let endless =
            http_body_util::BodyExt::with_trailers(stuck, async { never.await.ok().map(|_| Ok(Default::default())) });
        assert_eq!(read(Body::new(endless), short), Err(BodyError::TooSlow));
    }
}
