//! The files that a plugin is built from, looked at again and again.
//!
//! Looked at, because the systems' notifications would watch the build's own folder with its thousands of files as well,
//! and do not work on every kind of mount. A look at a plugin's few files costs less than a millisecond.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::build::cargo;

/// A file as it was at one moment.
type Seen = (PathBuf, u64, Option<SystemTime>);

/// The sources of one crate and of the crates on this machine that it uses.
pub(super) struct Sources {
    crate_folder: PathBuf,
    folders: Vec<PathBuf>,
    built: Vec<Seen>,
    last_look: Vec<Seen>,
}

impl Sources {
    pub(super) fn of(crate_folder: &Path) -> Self {
        let folders = vec![crate_folder.to_owned()];
        Self { crate_folder: crate_folder.to_owned(), folders, built: Vec::new(), last_look: Vec::new() }
    }

    /// Notes the state that is about to be built.
    pub(super) fn remember(&mut self) {
        self.built = self.look();
        self.last_look.clone_from(&self.built);
    }

    /// Finds the folders anew after a build, which may have brought dependencies.
    pub(super) fn look_again(&mut self) {
        let mut folders = local_crates(&self.crate_folder);
        folders.push(self.crate_folder.clone());
        folders.sort();
        // What lies inside another one is looked at with that one.
        let all = folders.clone();
        folders.retain(|folder| !all.iter().any(|other| other != folder && folder.starts_with(other)));
        folders.dedup();
        if folders == self.folders {
            return;
        }
        // The files of new folders have been built; those that were known keep the state before the build.
        let known = std::mem::replace(&mut self.folders, folders);
        let is_known = |path: &Path| known.iter().any(|folder| path.starts_with(folder));
        let new = self.look().into_iter().filter(|(path, ..)| !is_known(path));
        let old = std::mem::take(&mut self.built);
        self.built = old.into_iter().chain(new).collect();
        self.built.sort();
    }

    /// Whether the sources differ from what was built, and two looks in a row saw the same: until then somebody may be
    /// writing.
    pub(super) fn have_changed(&mut self) -> bool {
        let now = self.look();
        let still = now == self.last_look;
        self.last_look = now;
        still && self.last_look != self.built
    }

    fn look(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        self.folders.iter().for_each(|folder| look_into(folder, &mut seen));
        seen.sort();
        seen
    }
}

/// Notes the files below a folder, without what is hidden, built, or written by cargo itself.
fn look_into(folder: &Path, seen: &mut Vec<Seen>) {
    // Cargo marks its folders so that backups leave them out; a data folder has its host's lock.
    if ["CACHEDIR.TAG", "switchboard.lock"].iter().any(|mark| folder.join(mark).exists()) {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else { continue };
        if name.to_string_lossy().starts_with('.') || name == "Cargo.lock" {
            continue;
        }
        if kind.is_dir() {
            look_into(&entry.path(), seen);
        } else if let Ok(metadata) = fs::metadata(entry.path()) {
            seen.push((entry.path(), metadata.len(), metadata.modified().ok()));
        }
    }
}

/// Returns the folders of the crates on this machine that a crate is built from; none when cargo cannot say.
fn local_crates(crate_folder: &Path) -> Vec<PathBuf> {
    let output = cargo().args(["metadata", "--format-version", "1", "--offline"]).current_dir(crate_folder).output();
    let metadata: Value =
        output.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let local = packages.filter(|package| package["source"].is_null());
    let manifests = local.filter_map(|package| Some(PathBuf::from(package["manifest_path"].as_str()?)));
    manifests.filter_map(|manifest| manifest.parent().map(Path::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_two_looks_have_seen_it_and_built_files_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::create_dir_all(file("target/debug")).unwrap();
        fs::write(file("target/CACHEDIR.TAG"), "").unwrap();
        fs::write(file("lib.rs"), "one").unwrap();
        let mut sources = Sources::of(folder.path());
        sources.remember();
        fs::write(file("target/debug/out"), "built").unwrap();
        fs::create_dir(file("switchboard-data")).unwrap();
        fs::write(file("switchboard-data/switchboard.lock"), "").unwrap();
        fs::write(file("switchboard-data/switchboard.db"), "a host's").unwrap();
        fs::write(file("Cargo.lock"), "written by cargo").unwrap();
        fs::write(file(".swap"), "an editor's").unwrap();
        assert_eq!([sources.have_changed(), sources.have_changed()], [false, false]);
        fs::write(file("lib.rs"), "three").unwrap();
        assert_eq!([sources.have_changed(), sources.have_changed()], [false, true]);
        sources.remember();
        assert_eq!([sources.have_changed(), sources.have_changed()], [false, false]);
        fs::remove_file(file("lib.rs")).unwrap();
        assert_eq!([sources.have_changed(), sources.have_changed()], [false, true]);
    }
}
