//! The plugin folder: scan, judge, load, activate, replace, remove.
//!
//! Every file is judged on its own, and one that is no usable plugin is reported with a reason and never stops the
//! others. A library is opened from a private copy, named by what is in it, so that replacing or removing the file in
//! the folder cannot touch running code. When any step of a replacement fails, the old generation goes on.

mod file;
mod library;
mod preflight;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use switchboard_plugin_api::host::PluginHost;
use switchboard_plugin_api::{Manifest, ManifestDependency, TriggerNumber};

pub(crate) use file::{Candidate, Look, MARKER, candidates};
pub(crate) use library::{Generation, open_module, process_locale};
pub(crate) use preflight::{
    SERVICES, check_class, check_loadable, check_platform, is_id, is_one_line, judge, manifest_of,
};
pub use report::{LoadReport, PluginReport, PluginState, Refusal};

use crate::deadline;
use crate::registry::{CallCounts, Minicomponent, Target, Tier};
use crate::suspension::PanicStreak;

/// What the plugins need from the rest of the host while they are activated.
pub(crate) trait Activation {
    /// Returns what a plugin may ask of the host as long as it lives.
    fn host_for(&self, plugin: &str) -> Arc<dyn PluginHost>;
    /// Takes the plugin's texts (00005) and judges its forms (07300). An error refuses the plugin.
    fn activate(&self, minicomponents: &[Arc<Minicomponent>], file: &Candidate) -> Result<(), Refusal>;
    /// Forgets what [`Activation::activate`] took.
    fn deactivate(&self, plugin: &str);
}

/// One folder that is watched, and its tier.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) tier: Tier,
}

/// A loaded plugin.
struct Loaded {
    generation: Arc<Generation>,
    minicomponents: Vec<Arc<Minicomponent>>,
}

/// What became of one file.
struct Known {
    candidate: Candidate,
    tier: Tier,
    /// What the file says of itself, when that can be read.
    manifest: Option<Manifest>,
    /// The file by which the administrator has disabled it.
    marker: Option<PathBuf>,
    loaded: Option<Loaded>,
    refusal: Option<Refusal>,
}

/// The plugins of all folders.
pub(crate) struct Plugins {
    folders: Vec<Folder>,
    copies: PathBuf,
    timeout: Duration,
    safe_mode: bool,
    known: BTreeMap<PathBuf, Known>,
}

impl Plugins {
    /// Starts with nothing loaded. `copies` is the folder for private copies; what an earlier run left there goes. A
    /// library that takes longer than `timeout` to start is refused. In safe mode none is opened.
    pub(crate) fn new(
        folders: Vec<Folder>,
        copies: PathBuf,
        timeout: Duration,
        safe_mode: bool,
    ) -> std::io::Result<Self> {
        if copies.exists() {
            std::fs::remove_dir_all(&copies)?;
        }
        std::fs::create_dir_all(&copies)?;
        Ok(Self { folders, copies, timeout, safe_mode, known: BTreeMap::new() })
    }

    pub(crate) fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// Brings the loaded plugins in line with the folders.
    pub(crate) fn rescan(&mut self, activation: &dyn Activation) {
        let found = Look::at(&self.folders);
        self.forget_missing(&found, activation);
        for (candidate, tier) in &found.files {
            let path = candidate.path.clone();
            let previous = self.known.remove(&path);
            let settled = previous.as_ref().is_some_and(|known| known.is_settled(candidate, &found.markers));
            match previous {
                Some(known) if settled => drop(self.known.insert(path, known)),
                previous => self.settle(candidate, *tier, previous, &found.markers, activation),
            }
        }
        self.follow_dependencies(&found.markers, activation);
    }

    /// Judges a file, opens it when it is to run, and forgets what ran from it before.
    fn settle(
        &mut self,
        candidate: &Candidate,
        tier: Tier,
        previous: Option<Known>,
        markers: &BTreeSet<PathBuf>,
        activation: &dyn Activation,
    ) {
        let old = previous.and_then(|known| known.loaded);
        let old_id = old.as_ref().map(|old| old.generation.manifest().id.clone());
        let known = self.load(candidate.clone(), tier, old, markers, activation);
        let new_id = known.loaded.as_ref().map(|new| new.generation.manifest().id.clone());
        self.known.insert(candidate.path.clone(), known);
        if let Some(id) = old_id.filter(|id| new_id.as_ref() != Some(id)) {
            self.retire(&id, activation);
        }
        // The texts that were just taken may be those of a plugin that one in a higher folder stands in for.
        if let Some(id) = new_id.filter(|id| self.known.values().filter(|known| known.holds(id)).count() > 1) {
            self.retire(&id, activation);
        }
    }

    /// Closes plugins that have lost one that they need, and opens those that have all of theirs now, until nothing
    /// changes.
    fn follow_dependencies(&mut self, markers: &BTreeSet<PathBuf>, activation: &dyn Activation) {
        // Each turn changes one plugin; more turns than this mean that two versions stand in each other's way.
        for _ in 0..=2 * self.known.len() {
            let lost = self.known.iter().find_map(|(path, known)| {
                let refusal = self.unmet(known.loaded.as_ref()?.generation.manifest()).err()?;
                Some((path.clone(), refusal))
            });
            if let Some((path, refusal)) = lost {
                let Some(known) = self.known.get_mut(&path) else { return };
                let loaded = known.loaded.take();
                known.refusal.get_or_insert(refusal);
                if let Some(loaded) = loaded {
                    self.retire(&loaded.generation.manifest().id, activation);
                }
                continue;
            }
            let ready = self.known.iter().find(|(_, known)| {
                matches!(known.refusal, Some(Refusal::Dependency { .. }))
                    && known.manifest.as_ref().is_some_and(|manifest| self.unmet(manifest).is_ok())
            });
            let Some(path) = ready.map(|(path, _)| path.clone()) else { return };
            let Some(known) = self.known.remove(&path) else { return };
            let (candidate, tier) = (known.candidate.clone(), known.tier);
            self.settle(&candidate, tier, Some(known), markers, activation);
        }
    }

    /// Says which plugin is missing that this one cannot do without.
    fn unmet(&self, manifest: &Manifest) -> Result<(), Refusal> {
        for ManifestDependency { id, version, .. } in &manifest.depends {
            let running = self.known.values().filter_map(Known::running).filter(|other| &other.id == id);
            let running: Vec<&Manifest> = running.collect();
            if running.iter().any(|other| will_do(version, &other.version)) {
                continue;
            }
            let there = self.known.values().filter_map(|known| Some((known, known.manifest.as_ref()?)));
            let there = there.filter(|(_, other)| &other.id == id).map(|(known, _)| known).next();
            let found = match (running.first(), there) {
                (Some(other), _) => format!("and {} is active: install a version that will do", other.version),
                (None, Some(known)) => match &known.refusal {
                    Some(Refusal::Dependency { needed, .. }) => format!("which itself waits for `{needed}`"),
                    Some(refusal) => format!("which is {}: {}", refusal.state(), refusal.shown()),
                    None => "which is not active".to_owned(),
                },
                (None, None) => "which is not in the plugin folder: install it".to_owned(),
            };
            return Err(Refusal::Dependency { needed: id.clone(), version: version.clone(), found });
        }
        Ok(())
    }

    fn forget_missing(&mut self, found: &Look, activation: &dyn Activation) {
        let missing = |path: &PathBuf| !found.files.iter().any(|(candidate, _)| &candidate.path == path);
        let gone: Vec<Known> = self.known.extract_if(.., |path, _| missing(path)).map(|(_, known)| known).collect();
        for loaded in gone.into_iter().filter_map(|known| known.loaded) {
            self.retire(&loaded.generation.manifest().id, activation);
        }
    }

    /// Forgets the texts of a plugin. The one of its files that answers now, if there is one, hands over its own again.
    fn retire(&mut self, id: &str, activation: &dyn Activation) {
        activation.deactivate(id);
        let heirs = self.known.values_mut().filter(|known| known.holds(id));
        let Some(heir) = heirs.max_by_key(|known| known.tier) else { return };
        if let Some(loaded) = &heir.loaded {
            heir.refusal = activation.activate(&loaded.minicomponents, &heir.candidate).err();
        }
    }

    fn load(
        &self,
        candidate: Candidate,
        tier: Tier,
        old: Option<Loaded>,
        markers: &BTreeSet<PathBuf>,
        activation: &dyn Activation,
    ) -> Known {
        let judged = candidate.read().and_then(|bytes| preflight::judge(&bytes).map(|manifest| (bytes, manifest)));
        let manifest = judged.as_ref().ok().map(|(_, manifest)| manifest.clone());
        let marker = candidate.marker(manifest.as_ref().map(|manifest| manifest.id.as_str()), markers);
        let (loaded, refusal) = match (&marker, judged) {
            (Some(marker), _) => (None, Some(Refusal::Disabled { marker: marker.clone() })),
            (None, _) if self.safe_mode => (None, Some(Refusal::SafeMode)),
            (None, Err(refusal)) => (old, Some(refusal)),
            (None, Ok((bytes, manifest))) => {
                match self.open(&candidate, tier, old.as_ref(), bytes, manifest, activation) {
                    Ok(None) => (old, None),
                    Ok(loaded) => (loaded, None),
                    Err(refusal) => (old, Some(refusal)),
                }
            }
        };
        Known { candidate, tier, manifest, marker, loaded, refusal }
    }

    /// Opens what the candidate holds; `None` when it holds what is running already.
    fn open(
        &self,
        candidate: &Candidate,
        tier: Tier,
        old: Option<&Loaded>,
        bytes: Vec<u8>,
        manifest: Manifest,
        activation: &dyn Activation,
    ) -> Result<Option<Loaded>, Refusal> {
        let hash = library::hash(&bytes);
        if let Some(old) = old.filter(|old| old.generation.hash() == hash) {
            // The texts beside it may be others than before, or those of a version that was tried in its place.
            activation.activate(&old.minicomponents, candidate)?;
            return Ok(None);
        }
        if let Some(holder) = self.holder_of(&manifest.id, tier) {
            return Err(Refusal::DuplicateId { id: manifest.id, holder });
        }
        self.unmet(&manifest)?;
        let copy = library::private_copy(&self.copies, &manifest, &hash, &bytes)?;
        drop(bytes);
        let host = activation.host_for(&manifest.id);
        // In a thread of its own: a plugin whose constructor never returns must not keep the others from being loaded.
        let plugin = manifest.id.clone();
        let opening = move || library::open(&copy, manifest, hash, host);
        let opened = deadline::within("switchboard-load", self.timeout, opening)
            .map_err(|error| Refusal::Load { plugin, reason: error.to_string() })?;
        let generation = Arc::new(opened?);
        let minicomponents = minicomponents(&generation, tier);
        if let Err(refusal) = activation.activate(&minicomponents, candidate) {
            // The texts of the one that goes on come back.
            if let Some(old) = old {
                let _ = activation.activate(&old.minicomponents, candidate);
            }
            return Err(refusal);
        }
        Ok(Some(Loaded { generation, minicomponents }))
    }

    fn holder_of(&self, id: &str, tier: Tier) -> Option<PathBuf> {
        let holder = self.known.iter().find(|(_, known)| known.tier == tier && known.holds(id));
        holder.map(|(path, _)| path.clone())
    }

    /// Tells all plugins the least severe level that is written, so that they do not hand over more.
    pub(crate) fn set_log_level(&self, level: log::LevelFilter) {
        for loaded in self.known.values().filter_map(|known| known.loaded.as_ref()) {
            loaded.generation.set_log_level(level);
        }
    }

    /// Returns all minicomponents of all plugins.
    pub(crate) fn minicomponents(&self) -> impl Iterator<Item = &Arc<Minicomponent>> {
        self.known.values().filter_map(|known| known.loaded.as_ref()).flat_map(|loaded| &loaded.minicomponents)
    }

    /// Returns what the files hold that have a readable manifest: the file, its tier, and what runs from it or would.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = (&Path, Tier, &Manifest)> {
        self.known.iter().filter_map(|(path, known)| {
            Some((path.as_path(), known.tier, known.running().or(known.manifest.as_ref())?))
        })
    }

    /// Returns the plugins that run and could not without a plugin `id`, or without a version other than `version`.
    pub(crate) fn dependants(&self, id: &str, version: Option<&str>) -> Vec<String> {
        let needs = |manifest: &Manifest| {
            let mut needed = manifest.depends.iter().filter(|dependency| dependency.id == id);
            needed.any(|dependency| version.is_none_or(|version| !will_do(&dependency.version, version)))
        };
        let running = self.known.values().filter_map(Known::running);
        running.filter(|manifest| needs(manifest)).map(|manifest| manifest.id.clone()).collect()
    }

    /// Says what became of each file.
    pub(crate) fn report(&self) -> Vec<PluginReport> {
        let mut reports: Vec<PluginReport> = self.known.iter().map(|(path, known)| known.report(path)).collect();
        reports.sort_by(|a, b| (a.tier, &a.file).cmp(&(b.tier, &b.file)));
        reports
    }
}

impl Known {
    /// Whether another look at the file would find what was found before.
    fn is_settled(&self, candidate: &Candidate, markers: &BTreeSet<PathBuf>) -> bool {
        let id = self.manifest.as_ref().map(|manifest| manifest.id.as_str());
        // A file that was refused because another one held its id has another chance.
        &self.candidate == candidate
            && self.marker == candidate.marker(id, markers)
            && !matches!(self.refusal, Some(Refusal::DuplicateId { .. }))
    }

    /// Whether the plugin `id` runs from this file.
    fn holds(&self, id: &str) -> bool {
        self.running().is_some_and(|manifest| manifest.id == id)
    }

    /// Returns what the plugin that runs from this file says of itself.
    fn running(&self) -> Option<&Manifest> {
        self.loaded.as_ref().map(|loaded| loaded.generation.manifest())
    }

    fn report(&self, path: &Path) -> PluginReport {
        let manifest = self.running().or(self.manifest.as_ref());
        let state = self.refusal.as_ref().map_or(PluginState::Active, Refusal::state);
        PluginReport {
            file: path.to_owned(),
            tier: self.tier,
            id: manifest.map(|manifest| manifest.id.clone()),
            version: manifest.map(|manifest| manifest.version.clone()),
            title: manifest.map(|manifest| manifest.title.clone()),
            enabled: self.marker.is_none(),
            state: if self.loaded.is_some() { PluginState::Active } else { state },
            reason: self.refusal.as_ref().map(Refusal::shown),
            triggers: self.loaded.as_ref().map_or(0, |loaded| loaded.minicomponents.len()),
        }
    }
}

/// Whether a version will do where `wanted` is asked for.
pub(crate) fn will_do(wanted: &str, version: &str) -> bool {
    match (semver::VersionReq::parse(wanted), semver::Version::parse(version)) {
        (Ok(wanted), Ok(version)) => wanted.matches(&version),
        _ => false,
    }
}

fn minicomponents(generation: &Arc<Generation>, tier: Tier) -> Vec<Arc<Minicomponent>> {
    let plugin: Arc<str> = generation.manifest().id.as_str().into();
    let triggers = generation.manifest().triggers.iter().zip(0_u32..);
    let made = triggers.filter_map(|(trigger, handler)| {
        Some(Arc::new(Minicomponent {
            // Preflight has refused numbers out of range.
            number: TriggerNumber::checked(trigger.number)?,
            name: trigger.name.clone(),
            tier,
            plugin: Arc::clone(&plugin),
            kind: trigger.kind,
            counts: CallCounts::default(),
            panics: PanicStreak::default(),
            target: Target::Plugin { generation: Arc::clone(generation), handler },
        }))
    });
    made.collect()
}
