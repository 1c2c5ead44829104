//! `switchboard demo`: the main job in one go, and a check that it was done.
//!
//! A fresh data folder, the built plugin libraries in its plugin folder, a receiver on loopback that looks at every
//! request, webhooks for three owners and the whole site, and then a morning at a small hotel.

mod hotel;
mod receiver;
mod report;

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use switchboard::store::{TaskCounts, Webhook};
use switchboard::{Arguments, Notification, PublicTask, Switchboard, WebhookDraft};

use crate::cli::usage;
use crate::{control, exit, output};
use receiver::{Receiver, Target};
use report::{Announced, Report};

/// The libraries that the demonstration places into the plugin folder.
const PLUGINS: &[&str] = &[
    "hello",
    "channel_manager",
    "webhook_api_key",
    "webhook_basic",
    "webhook_mailchimp",
    "webhook_none",
    "webhook_oauth",
    "webhook_signed",
];

/// Retries come quickly here, so that they are seen; the real schedule takes three days.
const SETTINGS: &str = "# Written by `switchboard demo`.
[egress]
# The receiver of the demonstration is on this machine. Without this line it would be refused.
allow = [\"127.0.0.0/8\"]

[deferred]
# Retries come quickly here, so that they are seen. The default is 0s, 5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 24h.
schedule = [\"0s\", \"200ms\", \"400ms\", \"800ms\", \"1600ms\", \"3s\"]
";

/// Longest wait for the last delivery.
const PATIENCE: Duration = Duration::from_secs(60);

/// A password that would not survive careless escaping.
const PASSWORD: &str = "p&<>\"'é";

/// Runs the demonstration with `events` events in `data`, or in a new folder of its own.
pub(crate) fn run(data: Option<PathBuf>, events: u32, json: bool) -> Result<ExitCode> {
    let data = fresh_folder(data)?;
    install(&data)?;
    let receiver = Receiver::start()?;
    output::keep_from_plugins();
    let host = Switchboard::builder(&data).watch(false).open().map_err(control::open_failed)?;
    let webhooks = add_webhooks(&host, &receiver)?;
    if !json {
        greet(&host, &data, events)?;
    }
    let announced = announce(&host, events, json)?;
    let counts = finish(&host, json)?;
    let report = Report::new(&webhooks, &announced, &receiver.receipts(), counts);
    host.stop();
    if json {
        output::json(&report.json(&data))?;
    } else {
        output::line(&report.text());
        output::line(&where_next(&data));
    }
    Ok(if report.adds_up() { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_DELIVERED) })
}

fn fresh_folder(data: Option<PathBuf>) -> Result<PathBuf> {
    let data = match data {
        Some(data) => data,
        None => std::env::temp_dir().join(format!(
            "switchboard-demo-{}-{:06x}",
            std::process::id(),
            fastrand::u32(..1 << 24)
        )),
    };
    if fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!(
            "`{}` is not empty: the demonstration needs a fresh folder, name another with --data",
            data.display()
        );
        return Err(usage(message));
    }
    fs::create_dir_all(data.join("plugins")).with_context(|| format!("cannot make `{}`", data.display()))?;
    Ok(data)
}

/// Does what an administrator does: writes the settings and copies libraries into the plugin folder.
fn install(data: &Path) -> Result<()> {
    fs::write(data.join("switchboard.toml"), SETTINGS).context("cannot write switchboard.toml")?;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let built = program.parent().ok_or_else(|| anyhow!("this program is in no folder"))?;
    for plugin in PLUGINS {
        let file = format!("{DLL_PREFIX}{plugin}{DLL_SUFFIX}");
        let library = built.join(&file);
        fs::copy(&library, data.join("plugins").join(&file)).with_context(|| {
            format!("cannot copy the plugin `{}`: build it with `cargo build --release --workspace`", library.display())
        })?;
    }
    Ok(())
}

/// The webhooks of the demonstration: owner, method, and whether only bookings are wanted.
fn add_webhooks(host: &Switchboard, receiver: &Receiver) -> Result<Vec<Webhook>> {
    let wanted = [
        ("seaside", 11, "none", false),
        ("old-mill", 12, "basic", false),
        ("station", 13, "none", true),
        ("channel-manager", 0, "basic", false),
    ];
    let mut webhooks = Vec::new();
    for (name, owner, method, only_bookings) in wanted {
        let mut draft =
            WebhookDraft { owner, url: receiver.url(name), method: method.into(), ..WebhookDraft::default() };
        let mut target = Target { owner, credentials: None };
        if method == "basic" {
            draft.settings.insert("basic_username".into(), name.into());
            draft.settings.insert("basic_password".into(), PASSWORD.into());
            target.credentials = Some(format!("{name}:{PASSWORD}"));
        }
        if only_bookings {
            draft.events = hotel::BOOKINGS.iter().map(ToString::to_string).collect();
        }
        receiver.expect(name, target);
        webhooks.push(host.webhooks().add(draft)?);
    }
    Ok(webhooks)
}

fn greet(host: &Switchboard, data: &Path, events: u32) -> Result<()> {
    let mut arguments = Arguments::default();
    arguments.0.insert("name".into(), "hotel".into());
    let greetings = ["en-GB", "de-DE", "fr-FR", "es-ES", "it-IT", "nl-NL"].map(|language| {
        let run = host.run().language(language).start();
        run.call::<PublicTask>("hello", &arguments).map(|reply| reply.map_or_else(String::new, |reply| reply.text))
    });
    let mut texts = Vec::new();
    for greeting in greetings {
        texts.push(greeting?);
    }
    output::line(&format!("data folder  {}", data.display()));
    output::line(&format!("plugins      {} loaded", host.plugins().plugins.len()));
    output::line(&format!("06000 hello  {}", texts.join("  ")));
    output::line(&format!(
        "webhooks     three owners and one for the whole site; a morning of {events} events begins\n"
    ));
    Ok(())
}

fn announce(host: &Switchboard, events: u32, json: bool) -> Result<Vec<Announced>> {
    let progress = bar(u64::from(events), "announcing", json);
    let mut announced = Vec::new();
    for event in hotel::morning(events) {
        let mut run = host.run().owner(event.owner).task("front_desk").start();
        let begun = Instant::now();
        let id = run.announce(Notification::new(event.name, &event.data)?)?;
        let finished = run.finish()?;
        let accepted = begun.elapsed();
        let tasks = finished.events.iter().flat_map(|event| &event.tasks).map(|task| task.webhook).collect();
        announced.push(Announced { id, name: event.name, owner: event.owner, begun, accepted, tasks });
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(announced)
}

/// Waits until nothing is left to deliver.
fn finish(host: &Switchboard, json: bool) -> Result<TaskCounts> {
    let counts = || host.tasks().counts();
    let total = counts()?;
    let all = total.ready + total.running + total.waiting + total.done + total.dead;
    let progress = bar(all, "delivering", json);
    let deadline = Instant::now() + PATIENCE;
    let outcomes = host.tasks().subscribe();
    loop {
        let now = counts()?;
        progress.set_position(now.done + now.dead);
        if now.ready + now.running + now.waiting == 0 || Instant::now() > deadline {
            progress.finish_and_clear();
            return Ok(now);
        }
        // Every outcome may be the last one; what comes meanwhile is counted with it.
        let _ = outcomes.recv_timeout(Duration::from_millis(100));
        outcomes.try_iter().for_each(drop);
    }
}

fn bar(length: u64, what: &'static str, json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    // Drawn on standard error, and only when that is a terminal.
    let style = ProgressStyle::with_template("{msg:11} [{bar:40}] {pos}/{len}  {elapsed}");
    ProgressBar::new(length).with_message(what).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn where_next(data: &Path) -> String {
    let (data, program) = (data.display(), std::env::args().next().unwrap_or_else(|| "switchboard".into()));
    format!(
        "logs   {data}/logs\nstore  {data}/switchboard.db\n\nwhat to try next:\n  \
         {program} --data {data} log show Webhooks --search status=503\n  \
         {program} --data {data} task list --state done --limit 5\n  \
         {program} --data {data} webhook methods --lang de-DE\n  \
         {program} --data {data} trigger 06000 hello --payload '{{\"name\":\"Ada\"}}' --lang fr-FR"
    )
}
