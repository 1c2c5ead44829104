//! The keys: where they are, and how a file of them is made.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Environment variable that holds the keys in place of a file: each as Base64, with commas between them; the first seals.
pub const KEYS_VARIABLE: &str = "SWITCHBOARD_SECRET_KEYS";

/// Length of a key, in bytes.
const KEY_BYTES: usize = 32;

/// Bytes of a hash that name a key.
const ID_BYTES: usize = 8;

const HEAD: &str =
    "# The keys that seal the secrets in Switchboard's store. Without them those secrets are lost: keep a copy
# apart from the copies of the store. The first key seals, the others open what they have sealed.
";

/// Why keys cannot be read or made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read, or its folder cannot be made.
    #[error("the file of keys `{}` cannot be read or written: check its owner and rights", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Others can read the file.
    #[error("others can read the file of keys `{}`: `chmod 600` it, and replace the key with `switchboard key rotate`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// Something in it is no key.
    #[error("{place} holds something that is no key: each is {KEY_BYTES} bytes in Base64")]
    NoKey {
        /// Where it is.
        place: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a key")]
    Random {
        /// What it said.
        source: getrandom::Error,
    },
    /// The store was sealed with another key.
    #[error(
        "the secrets in the store are sealed with the key `{key}`, which is not in {place}: put the file of keys back from a backup, or take the one of the host that sealed them. Nothing was changed"
    )]
    Wrong {
        /// Id of the key.
        key: String,
        /// Where keys are looked for.
        place: String,
    },
    /// The keys come from the environment, where this process cannot put one.
    #[error("the keys come from `{KEYS_VARIABLE}`: put a new one before the others there, and start the host again")]
    Fixed,
}

/// Where the keys are.
pub(crate) enum Source {
    File(PathBuf),
    Environment(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Environment(_) => write!(f, "`{KEYS_VARIABLE}`"),
        }
    }
}

impl Source {
    /// Returns the environment's keys when it has some, else the file.
    pub(crate) fn of(file: PathBuf) -> Self {
        match std::env::var(KEYS_VARIABLE) {
            Ok(keys) if !keys.trim().is_empty() => Self::Environment(keys),
            _ => Self::File(file),
        }
    }

    /// Reads the keys; `None` when there is no file.
    pub(crate) fn read(&self) -> Result<Option<KeyRing>, KeyError> {
        match self {
            Self::Environment(keys) => KeyRing::parse(keys.split(','), self).map(Some),
            Self::File(path) => {
                let text = match fs::read_to_string(path) {
                    Ok(text) => text,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(source) => return Err(KeyError::File { path: path.clone(), source }),
                };
                check_rights(path)?;
                let keys = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                KeyRing::parse(keys, self).map(Some)
            }
        }
    }

    /// Puts a new key before the others, and returns all of them.
    pub(crate) fn add_key(&self) -> Result<KeyRing, KeyError> {
        let Self::File(path) = self else { return Err(KeyError::Fixed) };
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|source| KeyError::Random { source })?;
        let _alone = lock(path)?;
        let mut ring = KeyRing::default();
        ring.insert(bytes);
        ring.extend(self.read()?.unwrap_or_default());
        self.write(path, &ring)?;
        Ok(ring)
    }

    /// Leaves only these keys.
    pub(crate) fn retain(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, KeyError> {
        let Self::File(path) = self else { return Err(KeyError::Fixed) };
        let _alone = lock(path)?;
        let mut ring = self.read()?.unwrap_or_default();
        let removed: Vec<String> = ring.order.iter().filter(|id| !wanted(id)).cloned().collect();
        if !removed.is_empty() {
            ring.order.retain(|id| wanted(id));
            self.write(path, &ring)?;
        }
        Ok(removed)
    }

    fn write(&self, path: &Path, ring: &KeyRing) -> Result<(), KeyError> {
        write_private(path, &ring.text()).map_err(|source| KeyError::File { path: path.to_owned(), source })
    }
}

/// Keys by their ids, in the order of their file.
#[derive(Default)]
pub(crate) struct KeyRing {
    order: Vec<String>,
    keys: BTreeMap<String, [u8; KEY_BYTES]>,
}

impl KeyRing {
    fn parse<'t>(keys: impl Iterator<Item = &'t str>, source: &Source) -> Result<Self, KeyError> {
        let mut ring = Self::default();
        for key in keys {
            let bytes = STANDARD.decode(key.trim()).ok().and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
            ring.insert(bytes.ok_or_else(|| KeyError::NoKey { place: source.to_string() })?);
        }
        if ring.order.is_empty() {
            return Err(KeyError::NoKey { place: source.to_string() });
        }
        Ok(ring)
    }

    fn insert(&mut self, key: [u8; KEY_BYTES]) {
        let id = id_of(&key);
        if self.keys.insert(id.clone(), key).is_none() {
            self.order.push(id);
        }
    }

    /// Returns the id of the first key; nothing when there is none, which is no ring that [`Source::read`] gives.
    pub(crate) fn first(&self) -> &str {
        self.order.first().map_or("", String::as_str)
    }

    pub(crate) fn ids(&self) -> &[String] {
        &self.order
    }

    pub(super) fn key(&self, id: &str) -> Option<&[u8; KEY_BYTES]> {
        self.keys.get(id)
    }

    /// Adds the keys of another ring after its own.
    pub(crate) fn extend(&mut self, other: Self) {
        let KeyRing { order, mut keys } = other;
        order.into_iter().filter_map(|id| keys.remove(&id)).for_each(|key| self.insert(key));
    }

    fn text(&self) -> String {
        let keys = self.order.iter().filter_map(|id| self.keys.get(id));
        keys.fold(HEAD.to_owned(), |text, key| text + &STANDARD.encode(key) + "\n")
    }
}

/// Returns the name of a key. It says nothing about it, and shows when a key is another one than it was.
fn id_of(key: &[u8; KEY_BYTES]) -> String {
    let hash = Sha256::new().chain_update("switchboard key id\0").chain_update(key).finalize();
    hash[..ID_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(unix)]
fn check_rights(path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::MetadataExt;
    let mode = fs::metadata(path).map_err(|source| KeyError::File { path: path.to_owned(), source })?.mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::Open { path: path.to_owned() }) }
}

#[cfg(not(unix))]
fn check_rights(_: &Path) -> Result<(), KeyError> {
    Ok(())
}

/// Waits until nobody else changes the file of keys, and keeps everybody off it until the answer is dropped: several hosts may
/// share it. A key that one of them overwrites is lost, with the secrets that are sealed with it.
fn lock(path: &Path) -> Result<File, KeyError> {
    let file = open_private(&path.with_extension("lock")).and_then(|file| file.lock().map(|()| file));
    file.map_err(|source| KeyError::File { path: path.to_owned(), source })
}

/// Writes a file that only its owner can read: whole or not at all, and on disk when this returns, because secrets are sealed
/// with what is in it.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("part");
    let mut file = open_private(&unfinished)?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    #[cfg(unix)]
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

/// Opens a file that only its owner can read, in a folder that only its owner can enter; makes what is missing of them.
fn open_private(path: &Path) -> io::Result<File> {
    let mut folder = fs::DirBuilder::new();
    folder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path.parent().unwrap_or(Path::new(".")))?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
