//! Group B: what the manifest in the file says.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use object::read::ReadCache;
use switchboard_plugin_api::{API_VERSION, MAX_HANDLERS, MAX_NAME_BYTES, Manifest, TriggerNumber, parse_api_version};

use super::Sheet;
use crate::plugins::{self, Candidate, Refusal, SERVICES};

/// How many other files are looked at for one of the same id.
const MAX_NEIGHBOURS: usize = 500;

/// Judges the manifest. `None` when it cannot be read.
pub(super) fn judge(sheet: &mut Sheet, candidate: &Candidate, bytes: &[u8]) -> Option<Manifest> {
    let file = object::File::parse(bytes).ok()?;
    let manifest = match plugins::manifest_of(&file) {
        Ok(manifest) => manifest,
        // The check of the section has said so.
        Err(Refusal::NoManifest) => return None,
        Err(refusal) => {
            sheet.fail("B1", refusal.to_string(), "build it with a released version of switchboard-plugin-api");
            return None;
        }
    };
    sheet.note("B1", format!("{} {} (“{}”)", manifest.id, manifest.version, manifest.title));
    if manifest.title.trim().is_empty() {
        sheet.warn("B1", "it has no title", "give it one with `PluginInfo::title`");
    }
    for (field, words) in [("version", &manifest.version), ("title", &manifest.title)] {
        if !plugins::is_one_line(words) {
            sheet.fail("B1", format!("its {field} is not one short line of text"), "write it so in `PluginInfo`");
        }
    }
    judge_identity(sheet, &manifest);
    judge_needs(sheet, &manifest);
    judge_triggers(sheet, &manifest);
    judge_lists(sheet, &manifest);
    judge_neighbours(sheet, &candidate.path, &manifest.id);
    Some(manifest)
}

fn judge_identity(sheet: &mut Sheet, manifest: &Manifest) {
    sheet.done("B2");
    if !plugins::is_id(&manifest.id) {
        let found = format!("`{}` is no plugin id", manifest.id.escape_debug());
        sheet.fail("B2", found, "write 1 to 63 of a-z, 0-9, `_` and `-`, and never change it again");
    }
    sheet.done("B3");
    if let Err(error) = semver::Version::parse(&manifest.version) {
        let found = format!("`{}` is no semantic version ({error})", manifest.version.escape_debug());
        sheet.fail("B3", found, "use `env!(\"CARGO_PKG_VERSION\")`");
    }
}

/// All that this host lacks, not only the first.
fn judge_needs(sheet: &mut Sheet, manifest: &Manifest) {
    sheet.done("B4");
    let host = parse_api_version(API_VERSION).unwrap_or_default();
    match parse_api_version(&manifest.api) {
        None => {
            sheet.fail("B4", format!("`{}` is no version of plugin-api", manifest.api), "let `export_plugin!` write it")
        }
        Some(built_with) if built_with.0 != host.0 => sheet.fail(
            "B4",
            format!("it was built for plugin-api {}, this host has {API_VERSION}", manifest.api),
            format!("rebuild it with plugin-api {API_VERSION}"),
        ),
        Some(_) => {}
    }
    match parse_api_version(&manifest.needs_api) {
        None => {
            let found = format!("`{}` is no version of plugin-api", manifest.needs_api);
            sheet.fail("B4", found, "write `PluginInfo::needs_api` as major.minor");
        }
        Some(needed) if needed > host => sheet.fail(
            "B4",
            format!("it needs plugin-api {}, this host has {API_VERSION}", manifest.needs_api),
            "update Switchboard, or lower `PluginInfo::needs_api` when the plugin can do without what is new",
        ),
        Some(_) => {}
    }
    for service in manifest.capabilities.iter().filter(|service| !SERVICES.contains(&service.as_str())) {
        let found = format!("it needs the host service `{}`, which this host does not have", service.escape_debug());
        sheet.fail("B4", found, "update Switchboard, or remove it from `PluginInfo::capabilities`");
    }
}

fn judge_triggers(sheet: &mut Sheet, manifest: &Manifest) {
    sheet.done("B5");
    let triggers = &manifest.triggers;
    if triggers.is_empty() {
        sheet.warn("B5", "it answers no trigger", "add a handler to `REGISTRY`, otherwise nothing ever calls it");
    }
    if triggers.len() > MAX_HANDLERS {
        let found = format!("it has {} handlers, at most {MAX_HANDLERS} are allowed", triggers.len());
        sheet.fail("B5", found, "split the plugin");
    }
    let mut seen = BTreeSet::new();
    for trigger in triggers {
        let shown = format!("{:05} `{}`", trigger.number, trigger.name.escape_debug());
        if TriggerNumber::checked(trigger.number).is_none() {
            sheet.fail("B5", format!("{} is no trigger number", trigger.number), "use one from 1 to 99999");
        }
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !(1..=MAX_NAME_BYTES).contains(&trigger.name.len()) || !trigger.name.bytes().all(valid) {
            sheet.fail("B5", format!("{shown} has no valid name"), "write 1 to 100 of A-Z, a-z, 0-9, `_` and `-`");
        }
        if !seen.insert((trigger.number, &trigger.name)) {
            sheet.fail("B5", format!("{shown} is there twice"), "give one of the two another name");
        }
    }
    for delivery in triggers.iter().filter(|trigger| matches!(trigger.number, 7_305 | 7_310 | 7_320)) {
        if !triggers.iter().any(|other| other.number == 7_300 && other.name == delivery.name) {
            let name = &delivery.name;
            sheet.warn(
                "B5",
                format!("{:05} `{name}` has no 07300 `{name}`, so no webhook can choose it", delivery.number),
                "add a `WebhookRegistration` of that name",
            );
        }
    }
}

fn judge_lists(sheet: &mut Sheet, manifest: &Manifest) {
    sheet.done("B8");
    for (what, names) in [("capability", &manifest.capabilities), ("setting", &manifest.settings)] {
        let mut seen = BTreeSet::new();
        for name in names {
            if name.is_empty() || !seen.insert(name) {
                let found = format!("the {what} `{}` is empty or there twice", name.escape_debug());
                sheet.warn("B8", found, "name each once in `PluginInfo`");
            }
        }
    }
}

fn judge_neighbours(sheet: &mut Sheet, path: &Path, id: &str) {
    let (Ok(path), Ok(own)) = (path.canonicalize(), fs::read(path)) else { return };
    sheet.done("B7");
    let Some(folder) = path.parent() else { return };
    let beside = plugins::candidates(folder).into_iter().filter(|other| other.path.parent() == Some(folder));
    let others = beside.filter(|other| other.path != path);
    for other in others.take(MAX_NEIGHBOURS).filter(Candidate::is_regular) {
        let Ok(file) = File::open(&other.path) else { continue };
        let cache = ReadCache::new(file);
        let Ok(parsed) = object::File::parse(&cache) else { continue };
        let same_id = plugins::manifest_of(&parsed).is_ok_and(|manifest| manifest.id == id);
        // A second name of the same file, or the same build, is no second plugin.
        if same_id && fs::read(&other.path).is_ok_and(|bytes| bytes != own) {
            let found = format!("`{}` has the same id", other.path.display());
            sheet.warn("B7", found, "keep one of the two: a host loads the first");
        }
    }
}
