//! Plugins: what is in the folders, and what became of each file.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard::{LoadReport, PluginReport, Suspension as Suspended};

use super::answer::{Answer, Failure};
use super::caller::{Administrate, Caller, Operate, Site};
use super::input::Path;
use crate::web::App;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/plugins",
            get_with(list, |op| {
                op.id("listPlugins")
                    .tag("plugins")
                    .summary("List the files in the plugin folders, and what became of each")
            }),
        )
        .api_route(
            "/plugins/rescan",
            post_with(rescan, |op| {
                op.id("rescanPlugins").tag("plugins").summary("Bring the plugins in line with the folders now")
            }),
        )
        .api_route(
            "/plugins/{id}/resume",
            post_with(resume, |op| {
                op.id("resumePlugin").tag("plugins").summary("Call suspended handlers of a plugin again").description(
                    "A handler that panics on every call is suspended; its tasks wait until it is resumed.",
                )
            }),
        )
}

/// What the plugin folders hold.
#[derive(Serialize, JsonSchema)]
struct Plugins {
    /// The files.
    plugins: Vec<Plugin>,
    /// Handlers that two plugins have, in a sentence each.
    collisions: Vec<String>,
    /// Handlers that are not called any more because they panicked.
    suspended: Vec<Suspension>,
}

/// A file in a plugin folder.
#[derive(Serialize, JsonSchema)]
struct Plugin {
    /// Id of the plugin.
    id: Option<String>,
    /// Its version.
    version: Option<String>,
    /// Its name for people.
    title: Option<String>,
    /// What it does, such as `active` or `refused`.
    state: String,
    /// Why it is not active.
    reason: Option<String>,
    /// The file.
    file: String,
    /// Which folder it is in.
    tier: String,
    /// How many handlers it has.
    handlers: usize,
}

/// A handler that is not called any more.
#[derive(Serialize, JsonSchema)]
struct Suspension {
    /// The plugin.
    plugin: String,
    /// The trigger number, five digits.
    number: String,
    /// The event name.
    name: String,
    /// How often it panicked in a row.
    panics: u32,
    /// Message, file and line of the last panic.
    last_panic: String,
    /// When that was.
    #[schemars(extend("format" = "date-time"))]
    since: String,
}

impl From<&Suspended> for Suspension {
    fn from(suspended: &Suspended) -> Self {
        Self {
            plugin: suspended.plugin.clone(),
            number: suspended.number.to_string(),
            name: suspended.name.clone(),
            panics: suspended.panics,
            last_panic: suspended.last_panic.clone(),
            since: suspended.since.to_string(),
        }
    }
}

impl From<PluginReport> for Plugin {
    fn from(plugin: PluginReport) -> Self {
        // As JSON has it elsewhere.
        let state = serde_json::to_value(plugin.state).ok().and_then(|state| state.as_str().map(str::to_owned));
        Self {
            id: plugin.id,
            version: plugin.version,
            title: plugin.title,
            state: state.unwrap_or_default(),
            reason: plugin.reason,
            file: plugin.file.display().to_string(),
            tier: plugin.tier.to_string(),
            handlers: plugin.triggers,
        }
    }
}

impl From<LoadReport> for Plugins {
    fn from(report: LoadReport) -> Self {
        Self {
            suspended: report.suspended.iter().map(Suspension::from).collect(),
            collisions: report.collisions.iter().map(ToString::to_string).collect(),
            plugins: report.plugins.into_iter().map(Plugin::from).collect(),
        }
    }
}

async fn list(caller: Caller<Site>) -> Result<Answer<Plugins>, Failure> {
    caller.run(|call| Ok(call.host().plugins().into())).await.map(Answer)
}

async fn rescan(caller: Caller<Administrate>) -> Result<Answer<Plugins>, Failure> {
    let report = caller.run(|call| {
        let report = call.host().rescan();
        call.changed("plugin.rescan", "plugin folders", "")?;
        Ok(report.into())
    });
    report.await.map(Answer)
}

/// The path of a plugin.
#[derive(Deserialize, JsonSchema)]
struct PluginPath {
    /// Its id.
    id: String,
}

/// What was resumed.
#[derive(Serialize, JsonSchema)]
struct Resumed {
    /// The handlers, as they were suspended.
    resumed: Vec<Suspension>,
}

async fn resume(
    caller: Caller<Operate>,
    Path(PluginPath { id }): Path<PluginPath>,
) -> Result<Answer<Resumed>, Failure> {
    let resumed = caller.run(move |call| {
        let resumed = call.host().resume(&id, None)?;
        let names: Vec<String> = resumed.iter().map(|one| format!("{} {}", one.number, one.name)).collect();
        call.changed("plugin.resume", &format!("plugin {id}"), &names.join(", "))?;
        Ok(Resumed { resumed: resumed.iter().map(Suspension::from).collect() })
    });
    resumed.await.map(Answer)
}
