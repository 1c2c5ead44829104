//! Plugins: what is in the folders, and what became of each file.

use std::collections::BTreeMap;
use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, patch_with, post_with};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard::{LoadReport, PluginDetail, PluginReport, Suspension as Suspended};

use super::answer::{Answer, Done, Failure};
use super::caller::{Administrate, Call, Caller, Operate, Site};
use super::input::{Json, Path, Query};
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
            "/plugins/{id}",
            get_with(show, |op| op.id("getPlugin").tag("plugins").summary("Show a plugin in full")).delete_with(
                remove,
                |op| {
                    op.id("removePlugin")
                        .tag("plugins")
                        .summary("Remove a plugin from the folder")
                        .description("With the version before it. Its tasks wait for it to come back.")
                },
            ),
        )
        .api_route(
            "/plugins/{id}/enable",
            post_with(enable, |op| op.id("enablePlugin").tag("plugins").summary("Let a plugin run that was disabled")),
        )
        .api_route(
            "/plugins/{id}/disable",
            post_with(disable, |op| {
                op.id("disablePlugin")
                    .tag("plugins")
                    .summary("Keep a plugin from running")
                    .description("Also after a restart. Its tasks wait until it is enabled.")
            }),
        )
        .api_route(
            "/plugins/{id}/rollback",
            post_with(rollback, |op| {
                op.id("rollbackPlugin")
                    .tag("plugins")
                    .summary("Return to the version of a plugin before the last upgrade")
            }),
        )
        .api_route(
            "/plugins/{id}/settings",
            patch_with(set, |op| {
                op.id("setPluginSettings").tag("plugins").summary("Change settings of a plugin").description(
                    "What is left out stays as it is, `null` takes a setting away. They hold from the next call on.",
                )
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
pub(super) struct Plugin {
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
pub(super) struct PluginPath {
    /// Its id.
    pub(super) id: String,
}

/// A plugin in full.
#[derive(Serialize, JsonSchema)]
struct WholePlugin {
    /// Its files: one, or one for each folder that holds it.
    files: Vec<Plugin>,
    /// plugin-api version that it was built with.
    api: String,
    /// Oldest plugin-api version of a host that it works with.
    needs_api: String,
    /// Compiler that built it.
    rustc: String,
    /// Target triple that it was built for.
    target: String,
    /// Host services that it cannot do without.
    capabilities: Vec<String>,
    /// Plugins that it cannot do without.
    depends: Vec<Dependency>,
    /// Plugins that run and cannot do without it.
    needed_by: Vec<String>,
    /// Whether the version before the installed one is kept.
    previous: bool,
    /// Its settings.
    settings: Vec<Setting>,
    /// Languages in which it has texts.
    languages: Vec<String>,
}

/// A plugin that another one cannot do without.
#[derive(Serialize, JsonSchema)]
struct Dependency {
    /// Its id.
    id: String,
    /// Which of its versions will do.
    version: String,
    /// The version that is active.
    active: Option<String>,
    /// Whether that will do.
    met: bool,
}

/// A setting of a plugin.
#[derive(Serialize, JsonSchema)]
struct Setting {
    /// Its key.
    key: String,
    /// Its label.
    title: String,
    /// What its value has to be, such as `input` or `password`.
    format: String,
    /// The value; none when it is not set, and never that of a password.
    value: Option<String>,
    /// Whether a value is set.
    set: bool,
    /// What the plugin takes when none is set.
    default: String,
    /// Whether the plugin cannot do without it.
    required: bool,
}

impl From<PluginDetail> for WholePlugin {
    fn from(detail: PluginDetail) -> Self {
        let depends = detail.depends.into_iter().map(|one| Dependency {
            id: one.id,
            version: one.version,
            active: one.active,
            met: one.met,
        });
        let settings = detail.settings.into_iter().map(|one| Setting {
            format: one.format.as_str().to_owned(),
            key: one.key,
            title: one.title,
            value: one.value,
            set: one.set,
            default: one.default,
            required: one.required,
        });
        Self {
            files: detail.files.into_iter().map(Plugin::from).collect(),
            api: detail.api,
            needs_api: detail.needs_api,
            rustc: detail.rustc,
            target: detail.target,
            capabilities: detail.capabilities,
            depends: depends.collect(),
            needed_by: detail.needed_by,
            previous: detail.previous,
            settings: settings.collect(),
            languages: detail.languages,
        }
    }
}

fn whole(call: &Call, id: &str) -> Result<WholePlugin, Failure> {
    Ok(call.host().plugin_folder().detail(id, &call.host().config().languages.default)?.into())
}

async fn show(caller: Caller<Site>, Path(PluginPath { id }): Path<PluginPath>) -> Result<Answer<WholePlugin>, Failure> {
    caller.run(move |call| whole(call, &id)).await.map(Answer)
}

async fn enable(
    caller: Caller<Administrate>,
    Path(PluginPath { id }): Path<PluginPath>,
) -> Result<Answer<Vec<Plugin>>, Failure> {
    let enabled = caller.run(move |call| {
        let reports = call.host().plugin_folder().enable(&id)?;
        call.changed("plugin.enable", &format!("plugin {id}"), "")?;
        Ok(reports.into_iter().map(Plugin::from).collect())
    });
    enabled.await.map(Answer)
}

/// What to do about plugins that need it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Force {
    /// Also when other plugins need it, which wait then.
    #[serde(default)]
    force: bool,
}

async fn disable(
    caller: Caller<Administrate>,
    Path(PluginPath { id }): Path<PluginPath>,
    Query(Force { force }): Query<Force>,
) -> Result<Answer<Vec<Plugin>>, Failure> {
    let disabled = caller.run(move |call| {
        let reports = call.host().plugin_folder().disable(&id, force)?;
        call.changed("plugin.disable", &format!("plugin {id}"), "")?;
        Ok(reports.into_iter().map(Plugin::from).collect())
    });
    disabled.await.map(Answer)
}

async fn remove(
    caller: Caller<Administrate>,
    Path(PluginPath { id }): Path<PluginPath>,
    Query(Force { force }): Query<Force>,
) -> Result<Done, Failure> {
    let removed = caller.run(move |call| {
        let file = call.host().plugin_folder().remove(&id, force)?;
        call.changed("plugin.remove", &format!("plugin {id}"), &file.display().to_string())
    });
    removed.await.map(|()| Done)
}

async fn rollback(
    caller: Caller<Administrate>,
    Path(PluginPath { id }): Path<PluginPath>,
) -> Result<Answer<Plugin>, Failure> {
    let returned = caller.run(move |call| {
        let report = call.host().plugin_folder().rollback(&id)?;
        call.changed("plugin.rollback", &format!("plugin {id}"), report.version.as_deref().unwrap_or_default())?;
        Ok(report.into())
    });
    returned.await.map(Answer)
}

/// Settings to change.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewSettings {
    /// Values by key.
    settings: BTreeMap<String, Option<String>>,
}

async fn set(
    caller: Caller<Administrate>,
    Path(PluginPath { id }): Path<PluginPath>,
    Json(NewSettings { settings }): Json<NewSettings>,
) -> Result<Answer<WholePlugin>, Failure> {
    let set = caller.run(move |call| {
        let changes: Vec<_> = settings.into_iter().collect();
        call.host().plugin_folder().set(&id, &changes)?;
        let keys: Vec<&str> = changes.iter().map(|(key, _)| key.as_str()).collect();
        call.changed("plugin.set", &format!("plugin {id}"), &keys.join(", "))?;
        whole(call, &id)
    });
    set.await.map(Answer)
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
