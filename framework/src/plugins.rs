//! The plugin folder: scan, judge, load, activate, replace, remove.
//!
//! Every file is judged on its own, and one that is no usable plugin is reported with a reason and never stops the
//! others. A library is opened from a private copy, named by what is in it, so that replacing or removing the file in
//! the folder cannot touch running code. When any step of a replacement fails, the old generation goes on.

mod file;
mod library;
mod preflight;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use switchboard_plugin_api::TriggerNumber;
use switchboard_plugin_api::host::PluginHost;

pub(crate) use file::{Candidate, candidates};
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
    loaded: Option<Loaded>,
    refusal: Option<Refusal>,
}

/// The plugins of all folders.
pub(crate) struct Plugins {
    folders: Vec<Folder>,
    copies: PathBuf,
    timeout: Duration,
    known: BTreeMap<PathBuf, Known>,
}

impl Plugins {
    /// Starts with nothing loaded. `copies` is the folder for private copies; what an earlier run left there goes. A
    /// library that takes longer than `timeout` to start is refused.
    pub(crate) fn new(folders: Vec<Folder>, copies: PathBuf, timeout: Duration) -> std::io::Result<Self> {
        if copies.exists() {
            std::fs::remove_dir_all(&copies)?;
        }
        std::fs::create_dir_all(&copies)?;
        Ok(Self { folders, copies, timeout, known: BTreeMap::new() })
    }

    /// Returns what the folders hold now, for comparing with a later look.
    pub(crate) fn look(folders: &[Folder]) -> Vec<(Candidate, Tier)> {
        folders
            .iter()
            .flat_map(|folder| candidates(&folder.path).into_iter().map(|candidate| (candidate, folder.tier)))
            .collect()
    }

    pub(crate) fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// Brings the loaded plugins in line with the folders.
    pub(crate) fn rescan(&mut self, activation: &dyn Activation) {
        let found = Self::look(&self.folders);
        self.forget_missing(&found, activation);
        for (candidate, tier) in found {
            let path = candidate.path.clone();
            let previous = self.known.remove(&path);
            // A file that was refused because another one held its id has another chance.
            let settled = previous.as_ref().is_some_and(|known| {
                known.candidate == candidate && !matches!(known.refusal, Some(Refusal::DuplicateId { .. }))
            });
            if settled {
                self.known.extend(previous.map(|known| (path, known)));
                continue;
            }
            let old = previous.and_then(|known| known.loaded);
            let old_id = old.as_ref().map(|old| old.generation.manifest().id.clone());
            let known = self.load(candidate, tier, old, activation);
            let new_id = known.loaded.as_ref().map(|new| new.generation.manifest().id.clone());
            self.known.insert(path, known);
            if let Some(id) = old_id.filter(|id| new_id.as_ref() != Some(id)) {
                self.retire(&id, activation);
            }
            // The texts that were just taken may be those of a plugin that one in a higher folder stands in for.
            if let Some(id) = new_id.filter(|id| self.known.values().filter(|known| known.holds(id)).count() > 1) {
                self.retire(&id, activation);
            }
        }
    }

    fn forget_missing(&mut self, found: &[(Candidate, Tier)], activation: &dyn Activation) {
        let missing = |path: &PathBuf| !found.iter().any(|(candidate, _)| &candidate.path == path);
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

    fn load(&self, candidate: Candidate, tier: Tier, old: Option<Loaded>, activation: &dyn Activation) -> Known {
        match self.open(&candidate, tier, old.as_ref(), activation) {
            Ok(None) => Known { candidate, tier, loaded: old, refusal: None },
            Ok(Some(loaded)) => Known { candidate, tier, loaded: Some(loaded), refusal: None },
            Err(refusal) => Known { candidate, tier, loaded: old, refusal: Some(refusal) },
        }
    }

    /// Opens what the candidate holds; `None` when it holds what is running already.
    fn open(
        &self,
        candidate: &Candidate,
        tier: Tier,
        old: Option<&Loaded>,
        activation: &dyn Activation,
    ) -> Result<Option<Loaded>, Refusal> {
        let bytes = candidate.read()?;
        let manifest = preflight::judge(&bytes)?;
        let hash = library::hash(&bytes);
        if old.is_some_and(|old| old.generation.hash() == hash) {
            return Ok(None);
        }
        if let Some(holder) = self.holder_of(&manifest.id, tier) {
            return Err(Refusal::DuplicateId { id: manifest.id, holder });
        }
        let copy = library::private_copy(&self.copies, &manifest, &hash, &bytes)?;
        let host = activation.host_for(&manifest.id);
        // In a thread of its own: a plugin whose constructor never returns must not keep the others from being loaded.
        let plugin = manifest.id.clone();
        let opening = move || library::open(&copy, manifest, hash, host);
        let opened = deadline::within("switchboard-load", self.timeout, opening)
            .map_err(|error| Refusal::Load { plugin, reason: error.to_string() })?;
        let generation = Arc::new(opened?);
        let minicomponents = minicomponents(&generation, tier);
        activation.activate(&minicomponents, candidate)?;
        Ok(Some(Loaded { generation, minicomponents }))
    }

    fn holder_of(&self, id: &str, tier: Tier) -> Option<PathBuf> {
        let holder = self.known.iter().find(|(_, known)| known.tier == tier && known.holds(id));
        holder.map(|(path, _)| path.clone())
    }

    /// Returns all minicomponents of all plugins.
    pub(crate) fn minicomponents(&self) -> impl Iterator<Item = &Arc<Minicomponent>> {
        self.known.values().filter_map(|known| known.loaded.as_ref()).flat_map(|loaded| &loaded.minicomponents)
    }

    /// Says what became of each file.
    pub(crate) fn report(&self) -> Vec<PluginReport> {
        let mut reports: Vec<PluginReport> = self.known.iter().map(|(path, known)| known.report(path)).collect();
        reports.sort_by(|a, b| (a.tier, &a.file).cmp(&(b.tier, &b.file)));
        reports
    }
}

impl Known {
    /// Whether the plugin `id` runs from this file.
    fn holds(&self, id: &str) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.generation.manifest().id == id)
    }

    fn report(&self, path: &Path) -> PluginReport {
        let manifest = self.loaded.as_ref().map(|loaded| loaded.generation.manifest());
        PluginReport {
            file: path.to_owned(),
            tier: self.tier,
            id: manifest.map(|manifest| manifest.id.clone()),
            version: manifest.map(|manifest| manifest.version.clone()),
            title: manifest.map(|manifest| manifest.title.clone()),
            state: if self.loaded.is_some() { PluginState::Active } else { PluginState::Refused },
            reason: self.refusal.as_ref().map(Refusal::shown),
            triggers: self.loaded.as_ref().map_or(0, |loaded| loaded.minicomponents.len()),
        }
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
