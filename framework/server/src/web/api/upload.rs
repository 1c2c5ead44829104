//! Plugins that come over the HTTP API: off unless the settings allow it, one at a time, tried out before the host opens one.

use std::sync::Arc;
use std::time::Duration;

use aide::OperationInput;
use aide::axum::ApiRouter;
use aide::axum::routing::{post_with, put_with};
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, RequestBody, SchemaObject};
use aide::operation::set_body;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;
use switchboard::PluginPackage;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{Answer, Failure};
use super::caller::{Administrate, Call, Caller};
use super::input::{BODY_TIMEOUT, BodyError, Path, Query, large_body};
use super::plugins::{Plugin, PluginPath};
use crate::check;
use crate::web::App;

/// Largest library that is taken, in bytes.
const MAX_LIBRARY_BYTES: usize = 64 << 20;
/// How long one may take to arrive: 64 MiB over a line of 1 Mbit/s.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// Content type of a library.
const LIBRARY: &str = "application/octet-stream";

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/plugins",
            post_with(install, |op| {
                op.id("installPlugin").tag("plugins").summary("Add a plugin to the folder").description(
                    "Only where the setting `http.plugin_upload` allows it. The library is tried out in a process of its own \
                     before; nothing is overwritten.",
                )
            }),
        )
        .api_route(
            "/plugins/{id}/library",
            put_with(upgrade, |op| {
                op.id("upgradePlugin").tag("plugins").summary("Replace a plugin by another version").description(
                    "Only where the setting `http.plugin_upload` allows it. The old version goes on when the new one cannot be \
                     used.",
                )
            }),
        )
}

/// The bytes of a library.
struct Library {
    bytes: Vec<u8>,
    /// There is room for one.
    _turn: OwnedSemaphorePermit,
}

impl FromRequest<Arc<App>> for Library {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Failure> {
        if !app.host.config().http.plugin_upload {
            let detail = "Plugins are not taken over the API: place the library into the plugin folder, use `switchboard plugin \
                          install`, or set `plugin_upload = true` in the section [http] of switchboard.toml.";
            return Err(Failure::new(StatusCode::FORBIDDEN, "upload_off", detail));
        }
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|given| given.eq_ignore_ascii_case(LIBRARY)) {
            let detail = format!("The body has to be a library: send `Content-Type: {LIBRARY}`.");
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "no_library", detail));
        }
        let busy = |_| {
            let detail = "Another plugin is being sent: try again when it has arrived.";
            let failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
            failure.retry_after(BODY_TIMEOUT)
        };
        let turn = Arc::clone(&app.uploads).try_acquire_owned().map_err(busy)?;
        let bytes = large_body(request.into_body(), MAX_LIBRARY_BYTES, UPLOAD_TIMEOUT).await;
        let bytes = bytes.map_err(|error| match error {
            BodyError::TooLarge => {
                let detail = format!("The body is too large: at most {} MiB are taken.", MAX_LIBRARY_BYTES >> 20);
                Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
            }
            BodyError::TooSlow => {
                let (pause, whole) = (BODY_TIMEOUT.as_secs(), UPLOAD_TIMEOUT.as_secs() / 60);
                let detail = format!(
                    "The body did not arrive in time: it may take {whole} minutes, and stand still for {pause} seconds."
                );
                Failure::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail)
            }
            BodyError::Broken => {
                Failure::new(StatusCode::BAD_REQUEST, "unreadable", "The body broke off: send it again.")
            }
        })?;
        Ok(Self { bytes, _turn: turn })
    }
}

impl OperationInput for Library {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let json_schema = schemars::json_schema!({ "type": "string", "format": "binary" });
        let schema = SchemaObject { json_schema, example: None, external_docs: None };
        let media = MediaType { schema: Some(schema), ..MediaType::default() };
        let body = RequestBody {
            content: [(LIBRARY.to_owned(), media)].into_iter().collect(),
            required: true,
            ..RequestBody::default()
        };
        set_body(ctx, operation, body);
    }
}

/// Judges a library, and uses it in a process of its own.
fn tried(call: &Call, library: Library) -> Result<PluginPackage, Failure> {
    let unusable = |why: String| Failure::refused("unusable_library", why);
    let package = PluginPackage::of_library(library.bytes).map_err(|refusal| unusable(refusal.to_string()))?;
    let settings = call.host().config().plugins.settings.get(package.id()).cloned().unwrap_or_default();
    let trial = check::trial(package.library(), settings, None);
    match trial.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", format!("{error:#}")))? {
        Some(deadly) => Err(unusable(format!("it would end or hang the host ({deadly})"))),
        None => Ok(package),
    }
}

async fn install(caller: Caller<Administrate>, library: Library) -> Result<Answer<Plugin, 201>, Failure> {
    let installed = caller.run(move |call| {
        let package = tried(call, library)?;
        let report = call.host().plugin_folder().install(&package, &[])?;
        call.changed("plugin.install", &format!("plugin {}", package.id()), &report.file.display().to_string())?;
        Ok(report.into())
    });
    installed.await.map(Answer)
}

/// What an upgrade may do.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Upgrade {
    /// Take an older version as well.
    #[serde(default)]
    downgrade: bool,
    /// Also when other plugins need a version that this one is not, which wait then.
    #[serde(default)]
    force: bool,
}

async fn upgrade(
    caller: Caller<Administrate>,
    Path(PluginPath { id }): Path<PluginPath>,
    Query(Upgrade { downgrade, force }): Query<Upgrade>,
    library: Library,
) -> Result<Answer<Plugin>, Failure> {
    let upgraded = caller.run(move |call| {
        call.host().plugin_folder().get(&id)?;
        let package = tried(call, library)?;
        let report = call.host().plugin_folder().upgrade(&id, &package, downgrade, force)?;
        call.changed("plugin.upgrade", &format!("plugin {id}"), report.version.as_deref().unwrap_or_default())?;
        Ok(report.into())
    });
    upgraded.await.map(Answer)
}
