//! The overview: what needs attention, and how much there is of everything.

use askama::Template;
use axum::response::Response;
use switchboard::store::TaskFilter;
use switchboard::{Check, PluginState};

use super::answer::{self, Problem};
use super::show::{State, counted, number};
use super::sparkline::Sparkline;
use super::webhooks::{self, Delivery};
use super::{Cx, Page};

/// How many of the newest deliveries are shown.
const NEWEST: u32 = 10;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    page: Page,
    folder: String,
    health: Vec<Part>,
    attention: Vec<Attention>,
    tiles: Vec<Tile>,
    throughput: Option<Sparkline>,
    deliveries: Option<Vec<Delivery>>,
}

/// Something that somebody has to look at.
struct Attention {
    text: String,
    path: String,
    link: String,
}

/// A part of the host, and whether it works.
struct Part {
    name: &'static str,
    state: State,
    detail: String,
}

struct Tile {
    number: String,
    label: &'static str,
    path: &'static str,
}

impl Attention {
    fn new(text: String, path: impl Into<String>, link: impl Into<String>) -> Self {
        Self { text, path: path.into(), link: link.into() }
    }
}

/// Shows the overview; to somebody with an owner, that owner's.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    let owner = cx.principal()?.owner;
    let webhooks = cx.host().webhooks().list(owner)?;
    let mut attention = Vec::new();
    for webhook in webhooks.iter().filter(|webhook| !webhook.enabled && webhook.disabled_reason.is_some()) {
        let text = format!("Webhook {} was disabled by the host.", webhook.id);
        attention.push(Attention::new(text, format!("/webhooks/{}", webhook.id), "See why"));
    }
    let enabled = webhooks.iter().filter(|webhook| webhook.enabled).count();
    let mut tiles = vec![Tile { number: number(enabled as u64), label: "webhooks enabled", path: "/webhooks" }];
    let (mut deliveries, mut throughput, mut health) = (None, None, Vec::new());
    if owner.is_none() {
        health = parts(cx);
        throughput = Some(Sparkline::of(&cx.host().attempts_by_minute()));
        attention.splice(0..0, of_plugins(cx));
        tiles.extend(of_site(cx, &mut attention)?);
        let filter = TaskFilter { newest_first: true, limit: NEWEST, ..TaskFilter::default() };
        deliveries = Some(webhooks::deliveries(cx, &filter)?);
    }
    let folder = cx.host().data().display().to_string();
    let page = Page::new(cx, "Overview")?;
    answer::html(&Overview { page, folder, health, attention, tiles, throughput, deliveries })
}

fn parts(cx: &Cx) -> Vec<Part> {
    let health = cx.host().health();
    let part = |name, check: Check| {
        let state = if check.ok { State::good("works") } else { State::bad("does not work") };
        Part { name, state, detail: check.detail.replace('`', "") }
    };
    vec![part("Store", health.store), part("Disk", health.disk), part("Workers", health.workers)]
}

fn of_plugins(cx: &Cx) -> Vec<Attention> {
    let report = cx.host().plugins();
    let refused = report.plugins.iter().filter(|plugin| plugin.state == PluginState::Refused).count() as u64;
    let held = report.plugins.iter().filter(|plugin| plugin.state == PluginState::Held).count() as u64;
    let mut attention = Vec::new();
    if held > 0 {
        let text = format!(
            "Safe mode: {} not opened, and their tasks wait. Start the host without --safe-mode to end it.",
            counted(held, "plugin")
        );
        attention.push(Attention::new(text, "/plugins", "Disable the one that does harm first"));
    }
    if refused > 0 {
        let text = format!("{} refused.", counted(refused, "plugin file"));
        attention.push(Attention::new(text, "/plugins", "See why"));
    }
    for suspension in &report.suspended {
        let text = format!("{} {} of plugin {} is suspended.", suspension.number, suspension.name, suspension.plugin);
        attention.push(Attention::new(text, format!("/plugins/{}", suspension.plugin), "Look at it"));
    }
    if !report.collisions.is_empty() {
        let text = format!("{} between plugins.", counted(report.collisions.len() as u64, "collision"));
        attention.push(Attention::new(text, "/plugins", "Look at them"));
    }
    attention
}

fn of_site(cx: &Cx, attention: &mut Vec<Attention>) -> Result<Vec<Tile>, Problem> {
    let counts = cx.host().tasks().counts()?;
    if counts.dead > 0 {
        attention.push(Attention::new(
            format!("{} given up.", counted(counts.dead, "task")),
            "/tasks?state=dead",
            "Look at them",
        ));
    }
    let active = cx.host().plugins().plugins.iter().filter(|plugin| plugin.state == PluginState::Active).count();
    Ok(vec![
        Tile { number: number(active as u64), label: "plugins active", path: "/plugins" },
        Tile { number: number(counts.ready + counts.running), label: "tasks to run now", path: "/tasks?state=ready" },
        Tile { number: number(counts.waiting), label: "tasks waiting", path: "/tasks?state=waiting" },
        Tile { number: number(counts.done), label: "tasks done", path: "/tasks?state=done" },
        Tile { number: number(counts.dead), label: "tasks given up", path: "/tasks?state=dead" },
    ])
}
