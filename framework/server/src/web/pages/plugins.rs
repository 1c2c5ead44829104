//! The plugins: what is in the folders, and what became of each file.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use log::Level;
use switchboard::channel_log::{LogRecord, Search};
use switchboard::store::Timestamp;
use switchboard::{DetailSetting, FieldFormat, Minicomponent, PluginDetail, PluginReport, PluginState, Registry};

use super::answer::{self, Change, Posted, Problem};
use super::field::{Field, Kind, kind};
use super::show::{State, Time, counted, number};
use super::triggers::Row as Handler;
use super::{Ask, Cx, Page};
use crate::accounts::{AuditEntry, AuditFilter};
use crate::web::access::Access;

/// How much of what happened to a plugin is shown, the newest.
const NEWEST: u32 = 30;

#[derive(Template)]
#[template(path = "plugins.html")]
struct List {
    page: Page,
    folder: String,
    may_rescan: bool,
    count: String,
    collisions: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    state: State,
    id: Option<String>,
    title: String,
    version: String,
    tier: String,
    handlers: usize,
    calls: String,
    failures: String,
    file: String,
    reason: Option<String>,
}

#[derive(Template)]
#[template(path = "plugin.html")]
struct Detail {
    page: Page,
    id: String,
    version: String,
    state: State,
    reason: Option<String>,
    suspended: Vec<String>,
    handlers_suspended: String,
    may_resume: bool,
    may_change: bool,
    active: bool,
    disabled: bool,
    file: String,
    tier: String,
    languages: String,
    facts: Vec<(&'static str, String)>,
    settings: Vec<Field>,
    wrong: Option<String>,
    config: String,
    handlers: Vec<Handler>,
    timeline: Vec<Happening>,
}

/// Something that happened to a plugin.
struct Happening {
    at: Time,
    state: State,
    text: String,
}

impl From<LogRecord> for Happening {
    fn from(record: LogRecord) -> Self {
        let state = match record.level {
            Level::Error => State::bad("error"),
            Level::Warn => State::waits("warning"),
            _ => State::off("note"),
        };
        let at = record.time.parse::<Timestamp>().unwrap_or_default();
        Self { at: at.into(), state, text: record.message }
    }
}

impl From<AuditEntry> for Happening {
    fn from(entry: AuditEntry) -> Self {
        let text = format!("{} by {} {}", entry.action, entry.who, entry.detail);
        Self { at: entry.at.into(), state: State::off("change"), text: text.trim_end().to_owned() }
    }
}

/// Returns what happened to a plugin, the newest first: what the host has written down about it, and for administrators
/// also who changed it.
fn timeline(cx: &Cx, id: &str) -> Result<Vec<Happening>, Problem> {
    let pair = format!("plugin={id}");
    let search = Search {
        channel: Some("Plugins".into()),
        text: Some(pair.clone()),
        level: Some(Level::Info),
        limit: NEWEST as usize,
        newest_first: true,
        ..Search::default()
    };
    // Without a log, or with one that cannot be read, there is nothing to show; the page of the logs says why.
    let records = cx.host().logs().search(&search).unwrap_or_default().into_iter();
    // Not those of a plugin whose id begins with this one.
    let records = records.filter(|record| record.message.split(' ').any(|word| word == pair));
    let mut happened: Vec<Happening> = records.map(Happening::from).collect();
    if Access::Administrate.lets(cx.who.as_ref()) {
        let object = format!("plugin {id}");
        let filter = AuditFilter { text: Some(object.clone()), limit: NEWEST, ..AuditFilter::default() };
        let entries = cx.app.accounts.audited(&filter)?.into_iter().filter(|entry| entry.object == object);
        happened.extend(entries.map(Happening::from));
    }
    happened.sort_by(|one, other| other.at.iso.cmp(&one.at.iso));
    happened.truncate(NEWEST as usize);
    Ok(happened)
}

fn handlers_of<'r>(registry: &'r Registry, plugin: &str) -> impl Iterator<Item = &'r Minicomponent> {
    registry.iter().map(|one| &**one).filter(move |one| &*one.plugin == plugin)
}

fn state(plugin: &PluginReport, suspended: usize) -> State {
    match (plugin.state, suspended) {
        (PluginState::Active, 0) if plugin.reason.is_some() => State::waits("active, new file refused"),
        (PluginState::Active, 0) => State::good("active"),
        (PluginState::Active, count) => State::bad(format!("active, {count} suspended")),
        (PluginState::Disabled, _) => State::off("disabled"),
        (PluginState::Waiting, _) => State::waits("waiting for another plugin"),
        (PluginState::Held, _) => State::off("held in safe mode"),
        _ => State::bad("refused"),
    }
}

/// Lists the plugins.
pub(crate) fn list(cx: &Cx) -> Result<Response, Problem> {
    let (report, registry) = (cx.host().plugins(), cx.host().registry());
    let rows: Vec<Row> = report
        .plugins
        .iter()
        .map(|plugin| {
            let id = plugin.id.clone();
            let of_it = || handlers_of(&registry, id.as_deref().unwrap_or_default());
            let suspended = report.suspended.iter().filter(|one| Some(&one.plugin) == id.as_ref()).count();
            Row {
                state: state(plugin, suspended),
                title: plugin.title.clone().or_else(|| id.clone()).unwrap_or_default(),
                version: plugin.version.clone().unwrap_or_else(|| "–".into()),
                tier: plugin.tier.to_string(),
                handlers: plugin.triggers,
                calls: number(of_it().map(|one| one.counts.calls()).sum()),
                failures: number(of_it().map(|one| one.counts.failures()).sum()),
                file: plugin.file.display().to_string(),
                reason: plugin.reason.clone(),
                id,
            }
        })
        .collect();
    answer::html(&List {
        page: Page::new(cx, "Plugins")?,
        folder: cx.host().data().join("plugins").display().to_string(),
        may_rescan: Access::Administrate.lets(cx.who.as_ref()),
        count: counted(rows.len() as u64, "library"),
        collisions: report.collisions.iter().map(ToString::to_string).collect(),
        rows,
    })
}

/// Looks into the folders now.
pub(crate) fn rescan(cx: &Cx) -> Result<Posted, Problem> {
    let report = cx.host().rescan();
    let active = report.plugins.iter().filter(|plugin| plugin.state == PluginState::Active).count() as u64;
    let refused = report.plugins.iter().filter(|plugin| plugin.state == PluginState::Refused).count() as u64;
    let message = format!("{} active, {refused} refused.", counted(active, "plugin"));
    Ok(Change::new("plugin.rescan", "plugin folders", "/plugins").detail(message.clone()).message(message).into())
}

fn find(cx: &Cx) -> Result<PluginReport, Problem> {
    let wanted = cx.parameter("plugin");
    let report = cx.host().plugins();
    let found = report.plugins.into_iter().find(|plugin| plugin.id.as_deref() == Some(wanted));
    found.ok_or_else(|| Problem::missing(format!("There is no plugin `{wanted}`.")))
}

/// Begins the names of the settings of a plugin in its form.
const SETTING: &str = "set.";

/// Shows one plugin.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    page_of(cx, StatusCode::OK, None)
}

fn page_of(cx: &Cx, status: StatusCode, wrong: Option<String>) -> Result<Response, Problem> {
    let plugin = find(cx)?;
    let id = plugin.id.clone().unwrap_or_default();
    let (report, registry) = (cx.host().plugins(), cx.host().registry());
    let suspended: Vec<String> =
        report.suspended.iter().filter(|one| one.plugin == id).map(ToString::to_string).collect();
    let detail = cx.host().plugin_folder().detail(&id, &cx.language()).ok();
    let page = Page::new(cx, plugin.title.clone().unwrap_or_else(|| id.clone()))?;
    let shown = Detail {
        page,
        version: plugin.version.clone().unwrap_or_default(),
        state: state(&plugin, suspended.len()),
        reason: plugin.reason.clone(),
        handlers_suspended: counted(suspended.len() as u64, "handler"),
        suspended,
        may_change: Access::Administrate.lets(cx.who.as_ref()),
        active: plugin.state == PluginState::Active,
        disabled: plugin.state == PluginState::Disabled,
        may_resume: Access::Operate.lets(cx.who.as_ref()),
        file: plugin.file.display().to_string(),
        tier: plugin.tier.to_string(),
        languages: detail.as_ref().map(|detail| detail.languages.join(", ")).unwrap_or_default(),
        facts: detail.as_ref().map(facts).unwrap_or_default(),
        settings: detail.map(|detail| settings(cx, detail.settings)).unwrap_or_default(),
        wrong,
        config: cx.host().data().join(switchboard::config::FILE_NAME).display().to_string(),
        handlers: handlers_of(&registry, &id).map(Handler::of).collect(),
        timeline: timeline(cx, &id)?,
        id,
    };
    answer::html_with(status, &shown)
}

/// Returns what a plugin says of itself besides its settings.
fn facts(detail: &PluginDetail) -> Vec<(&'static str, String)> {
    let none = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let depends = detail.depends.iter().map(|one| {
        let active = one.active.as_ref().map_or_else(|| "not active".into(), |version| format!("{version} is active"));
        format!("{} {} ({active})", one.id, one.version)
    });
    vec![
        ("Host services that it needs", none(&detail.capabilities)),
        ("Plugins that it needs", none(&depends.collect::<Vec<_>>())),
        ("Needed by", none(&detail.needed_by)),
        ("Built with", format!("plugin-api {}, {}", detail.api, detail.rustc)),
    ]
}

/// Makes the form of a plugin's settings, with what was typed. Of passwords only whether they are set is shown.
fn settings(cx: &Cx, settings: Vec<DetailSetting>) -> Vec<Field> {
    let field = |one: DetailSetting| {
        let secret = one.format == FieldFormat::Password;
        let usual = if one.default.is_empty() { String::new() } else { format!("Left empty, {}.", one.default) };
        let name = format!("{SETTING}{}", one.key);
        let typed = cx.form.raw(&name).filter(|_| !secret).map(str::to_owned);
        let value = typed.or(one.value).unwrap_or_default();
        // A mark that is not set would be read as one that is off.
        let value = if value.is_empty() && one.format == FieldFormat::Boolean { one.default } else { value };
        let kept = secret && one.set;
        Field { value, kept, required: one.required && !kept, ..Field::new(&name, kind(one.format), &one.title, usual) }
    };
    settings.into_iter().map(field).collect()
}

/// Changes the settings of a plugin.
pub(crate) fn set(cx: &Cx) -> Result<Posted, Problem> {
    let id = find(cx)?.id.unwrap_or_default();
    let known = cx.host().plugin_folder().detail(&id, &cx.language())?.settings;
    let typed = known.into_iter().filter_map(|one| {
        let typed = cx.form.raw(&format!("{SETTING}{}", one.key))?;
        let unchanged = match &one.value {
            // A secret that is not typed again stays, and so does what is off or as usual without being set.
            None => {
                typed.is_empty()
                    || typed == one.default
                    || (one.format == FieldFormat::Boolean && typed == "0" && one.default != "1")
            }
            Some(value) => value == typed,
        };
        (!unchanged).then(|| (one.key, Some(typed.replace("\r\n", "\n")).filter(|text| !text.is_empty())))
    });
    let changes: Vec<(String, Option<String>)> = typed.collect();
    if let Err(error) = cx.host().plugin_folder().set(&id, &changes) {
        let wrong = switchboard::error::Chain(&error).to_string();
        return Ok(Posted::Shown(page_of(cx, StatusCode::UNPROCESSABLE_ENTITY, Some(wrong))?));
    }
    let names: Vec<&str> = changes.iter().map(|(key, _)| key.as_str()).collect();
    let change = Change::new("plugin.set", format!("plugin {id}"), format!("/plugins/{id}"));
    Ok(change.detail(names.join(", ")).message(format!("{} saved.", counted(names.len() as u64, "setting"))).into())
}

/// Calls the suspended handlers of a plugin again.
pub(crate) fn resume(cx: &Cx) -> Result<Posted, Problem> {
    let id = cx.parameter("plugin");
    let resumed = cx.host().resume(id, None)?;
    let message = format!("{} of {id} called again.", counted(resumed.len() as u64, "handler"));
    let names: Vec<String> = resumed.iter().map(|one| format!("{} {}", one.number, one.name)).collect();
    let change = Change::new("plugin.resume", format!("plugin {id}"), format!("/plugins/{id}"));
    Ok(change.detail(names.join(", ")).message(message).into())
}

fn ask(cx: &Cx, word: &str, button: &str, consequence: &str) -> Result<Response, Problem> {
    let plugin = find(cx)?;
    let id = plugin.id.clone().unwrap_or_default();
    answer::html(&Ask {
        page: Page::new(cx, format!("{button} plugin {id}?"))?,
        question: format!(
            "This is {} {}, with {}.",
            plugin.title.as_deref().unwrap_or(&id),
            plugin.version.as_deref().unwrap_or_default(),
            counted(plugin.triggers as u64, "handler")
        ),
        lines: vec![consequence.to_owned()],
        action: format!("/plugins/{id}/{word}"),
        fields: Vec::new(),
        button: format!("{button} 1 plugin"),
        back: format!("/plugins/{id}"),
    })
}

/// Asks whether to disable a plugin.
pub(crate) fn ask_to_disable(cx: &Cx) -> Result<Response, Problem> {
    ask(
        cx,
        "disable",
        "Disable",
        "It is not called any more, also after a restart; its tasks wait until it is enabled.",
    )
}

/// Disables a plugin.
pub(crate) fn disable(cx: &Cx) -> Result<Posted, Problem> {
    let id = cx.parameter("plugin");
    cx.host().plugin_folder().disable(id, false)?;
    let change = Change::new("plugin.disable", format!("plugin {id}"), "/plugins");
    Ok(change.message(format!("Plugin {id} is disabled.")).into())
}

/// Enables a plugin.
pub(crate) fn enable(cx: &Cx) -> Result<Posted, Problem> {
    let id = cx.parameter("plugin");
    cx.host().plugin_folder().enable(id)?;
    let change = Change::new("plugin.enable", format!("plugin {id}"), "/plugins");
    Ok(change.message(format!("Plugin {id} is enabled.")).into())
}

/// Asks whether to remove a plugin.
pub(crate) fn ask_to_remove(cx: &Cx) -> Result<Response, Problem> {
    ask(cx, "remove", "Remove", "Its library is deleted from the plugin folder; its tasks wait for it to come back.")
}

/// Removes a plugin.
pub(crate) fn remove(cx: &Cx) -> Result<Posted, Problem> {
    let id = cx.parameter("plugin");
    let file = cx.host().plugin_folder().remove(id, false)?;
    let change = Change::new("plugin.remove", format!("plugin {id}"), "/plugins").detail(file.display().to_string());
    Ok(change.message(format!("Plugin {id} is removed.")).into())
}
