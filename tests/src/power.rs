//! What a power cut leaves on a disk, from the journal of everything that was written to it.
//!
//! A disk keeps what was synced. Of what was written to a file since its last sync it keeps anything: nothing, all, or some
//! of it in any order, down to parts of a page. A sync that failed has synced nothing, and what it was for is lost although
//! a later sync succeeds, unless it is written again. Names of files are taken to be kept at once, which is more than a disk
//! promises.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Size of what a disk writes at once, in bytes.
const SECTOR_BYTES: usize = 512;

/// Something that happened to the disk, or that the process said.
#[derive(Clone, Debug)]
pub enum Happening {
    /// Bytes were written to a file from an offset.
    Write(String, u64, Vec<u8>),
    /// A file was synced.
    Sync(String),
    /// A file could not be synced.
    SyncFailed(String),
    /// A file was cut, or made longer with zeros.
    Truncate(String, u64),
    /// A file was removed.
    Remove(String),
    /// A file got another name.
    Rename(String, String),
    /// The process printed this.
    Print(String),
}

/// Reads a journal. Names are those in `folder`.
#[must_use]
pub fn read_journal(journal: &Path, folder: &Path) -> Vec<Happening> {
    let folder = folder.canonicalize().unwrap();
    let bytes = fs::read(journal).unwrap();
    let mut rest = &bytes[..];
    let mut happenings = Vec::new();
    while !rest.is_empty() {
        let kind = take(&mut rest, 1)[0];
        let path = String::from_utf8(counted(&mut rest).to_vec()).unwrap();
        let number = u64::from_le_bytes(take(&mut rest, 8).try_into().unwrap());
        let bytes = counted(&mut rest).to_vec();
        let name =
            |path: &str| Path::new(path).strip_prefix(&folder).map_or(path.into(), |name| name.display().to_string());
        let file = name(&path);
        happenings.push(match kind {
            b'w' => Happening::Write(file, number, bytes),
            b's' => Happening::Sync(file),
            b'f' => Happening::SyncFailed(file),
            b't' => Happening::Truncate(file, number),
            b'u' => Happening::Remove(file),
            b'r' => Happening::Rename(file, name(&String::from_utf8(bytes).unwrap())),
            b'p' => Happening::Print(String::from_utf8(bytes).unwrap()),
            other => panic!("no kind of record: {other}"),
        });
    }
    happenings
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

fn counted<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let count = u32::from_le_bytes(take(rest, 4).try_into().unwrap());
    take(rest, count as usize)
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => write_at(content, usize::try_from(*offset).unwrap(), bytes),
            Self::Truncate(length) => content.resize(usize::try_from(*length).unwrap(), 0),
        }
    }

    /// Applies some of it: each sector of a write by itself.
    fn apply_some(&self, content: &mut Vec<u8>, random: &mut fastrand::Rng) {
        match self {
            Self::Write(offset, bytes) => {
                let mut at = usize::try_from(*offset).unwrap();
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (sector, left) = rest.split_at(rest.len().min(SECTOR_BYTES - at % SECTOR_BYTES));
                    if random.bool() {
                        write_at(content, at, sector);
                    }
                    at += sector.len();
                    rest = left;
                }
            }
            Self::Truncate(_) if random.bool() => self.apply(content),
            Self::Truncate(_) => {}
        }
    }
}

fn write_at(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

#[derive(Clone, Debug, Default)]
struct OnDisk {
    synced: Vec<u8>,
    /// Since the last sync, in order.
    pending: Vec<Change>,
}

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Unsynced {
    /// None of it is on disk.
    Gone,
    /// All of it is on disk.
    Kept,
    /// Some of it is on disk, by this seed.
    Some(u64),
}

/// A disk while things happen to it.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<String, OnDisk>,
}

impl Disk {
    /// Lets something happen.
    pub fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Write(file, offset, bytes) => self.change(file, Change::Write(*offset, bytes.clone())),
            Happening::Truncate(file, length) => self.change(file, Change::Truncate(*length)),
            Happening::Sync(file) => {
                if let Some(file) = self.files.get_mut(file) {
                    file.pending.drain(..).for_each(|change| change.apply(&mut file.synced));
                }
            }
            Happening::SyncFailed(file) => {
                if let Some(file) = self.files.get_mut(file) {
                    file.pending.clear();
                }
            }
            Happening::Remove(file) => drop(self.files.remove(file)),
            Happening::Rename(from, to) => {
                let file = self.files.remove(from).unwrap_or_default();
                self.files.insert(to.clone(), file);
            }
            Happening::Print(_) => {}
        }
    }

    fn change(&mut self, file: &str, change: Change) {
        self.files.entry(file.to_owned()).or_default().pending.push(change);
    }

    /// Writes what a power cut at this moment leaves to a folder.
    pub fn cut(&self, folder: &Path, unsynced: Unsynced) {
        let mut random = fastrand::Rng::with_seed(if let Unsynced::Some(seed) = unsynced { seed } else { 0 });
        for (name, file) in &self.files {
            let mut content = file.synced.clone();
            match unsynced {
                Unsynced::Gone => {}
                Unsynced::Kept => file.pending.iter().for_each(|change| change.apply(&mut content)),
                Unsynced::Some(_) => {
                    file.pending.iter().for_each(|change| change.apply_some(&mut content, &mut random))
                }
            }
            fs::write(folder.join(name), content).unwrap();
        }
    }
}
