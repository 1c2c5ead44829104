//! Opens libraries: the only place that loads foreign code.
#![expect(unsafe_code, reason = "dlopen: one of the two places where unsafe code lives")]

use std::fmt::Write as _;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use switchboard_plugin_api::host::{Module, PluginHost, RunningPlugin, module_symbol};
use switchboard_plugin_api::{Manifest, parse_api_version};

use super::Refusal;
use crate::deadline;
use crate::dispatcher::CHANNEL;
use crate::error::Chain;

/// How long the end of a plugin is waited for.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// A plugin as it was loaded from one state of its file.
///
/// Whoever calls into it holds an `Arc` of it. When the last one goes, the plugin is told to shut down; its code stays
/// mapped for the rest of the process, because nothing can prove that no thread or destructor of it is left.
pub(crate) struct Generation {
    manifest: Manifest,
    hash: String,
    module: Module,
    running: ManuallyDrop<RunningPlugin>,
    host: Arc<dyn PluginHost>,
}

impl Generation {
    /// Returns what the plugin says about itself.
    #[must_use]
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the SHA-256 of the library file in hexadecimal.
    #[must_use]
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    pub(crate) fn set_log_level(&self, level: log::LevelFilter) {
        self.module.set_log_level(level);
    }

    pub(crate) fn running(&self) -> &RunningPlugin {
        &self.running
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // SAFETY: this is the only place that takes it, and nothing looks at it after `drop`.
        let running = unsafe { ManuallyDrop::take(&mut self.running) };
        // Whoever held the last call may be the host's own stop, which a plugin must not hold up.
        let ended = deadline::within("switchboard-shutdown", SHUTDOWN_TIMEOUT, move || running.shutdown());
        if let Err(error) = ended {
            let fields = [("error".to_owned(), error.to_string())];
            self.host.log(log::Level::Error, CHANNEL, "the plugin failed while it ended", &fields);
        }
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation").field("manifest", &self.manifest).field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// Returns the SHA-256 of `bytes` in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes the bytes that were judged to a file of ours, which nobody overwrites while it is mapped.
pub(super) fn private_copy(folder: &Path, manifest: &Manifest, hash: &str, bytes: &[u8]) -> Result<PathBuf, Refusal> {
    let name = format!("{}-{}.{}", manifest.id, &hash[..16], std::env::consts::DLL_EXTENSION);
    let path = folder.join(name);
    if path.exists() {
        // The same bytes were loaded before in this run of the host.
        return Ok(path);
    }
    let failed = |error: std::io::Error| Refusal::Copy { path: path.clone(), reason: error.to_string() };
    let unfinished = path.with_extension("part");
    std::fs::write(&unfinished, bytes).map_err(failed)?;
    std::fs::rename(&unfinished, &path).map_err(failed)?;
    Ok(path)
}

/// Opens a private copy whose bytes have been judged, and starts the plugin in it.
pub(super) fn open(
    copy: &Path,
    manifest: Manifest,
    hash: String,
    host: Arc<dyn PluginHost>,
) -> Result<Generation, Refusal> {
    let module = open_module(copy, &manifest)?;
    let running = module
        .start(Arc::clone(&host))
        .map_err(|error| Refusal::Load { plugin: manifest.id.clone(), reason: error.to_string() })?;
    Ok(Generation { manifest, hash, module, running: ManuallyDrop::new(running), host })
}

/// Opens a private copy whose bytes have been judged. The plugin in it is not started.
pub(crate) fn open_module(copy: &Path, manifest: &Manifest) -> Result<Module, Refusal> {
    let load = |reason: String| Refusal::Load { plugin: manifest.id.clone(), reason };
    let built_with = parse_api_version(&manifest.api).unwrap_or_default();
    // SAFETY: opening runs the library's constructors. Plugins are trusted code (docs/safety.md); the file is a copy
    // that only this host writes, complete and for this platform, as `preflight` has found.
    let library = unsafe { open_library(copy) }.map_err(|error| load(Chain(&error).to_string()))?;
    // SAFETY: the symbol is a data symbol; only its address is taken here, and the library stays.
    let address = unsafe { library.get::<*const ()>(module_symbol().as_bytes()).map(|symbol| symbol.try_as_raw_ptr()) };
    let address = address.map_err(|error| load(Chain(&error).to_string()))?;
    let address = address.ok_or_else(|| load("its module has no address".into()))?;
    // Nothing is ever unloaded.
    std::mem::forget(library);
    // SAFETY: a library with our manifest was made by `export_plugin!`, which exports an `AbiHeader` under this symbol,
    // and it has just been made to stay.
    let module = unsafe { Module::from_symbol(address.cast_const().cast(), built_with) };
    module.map_err(|error| load(error.to_string()))
}

/// Returns the locale of the process as C code sees it, such as `C`. `None` where that cannot be asked.
///
/// It belongs to the process, so a plugin that changes it changes how the host's C libraries read and write numbers.
#[cfg(target_os = "linux")]
pub(crate) fn process_locale() -> Option<String> {
    use core::ffi::{CStr, c_char, c_int};
    use libloading::os::unix::Library;

    /// `LC_ALL`, as Linux defines it.
    const ALL: c_int = 6;
    let this = Library::this();
    // SAFETY: the type is that of `setlocale` in the C standard.
    let setlocale = unsafe { this.get::<unsafe extern "C" fn(c_int, *const c_char) -> *const c_char>(c"setlocale") };
    // SAFETY: without a name it only tells. No other thread of a process that does a check sets the locale now.
    let name = unsafe { setlocale.ok()?(ALL, core::ptr::null()) };
    // SAFETY: it is null or a C string that stays until the next call.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// Returns the locale of the process. It cannot be asked here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn process_locale() -> Option<String> {
    None
}

/// Resolves every symbol now and keeps the library's symbols to itself.
///
/// # Safety
///
/// As `dlopen`: the library's constructors run.
#[cfg(unix)]
unsafe fn open_library(path: &Path) -> Result<libloading::Library, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: the caller's obligation.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map(Into::into)
}

/// # Safety
///
/// As `LoadLibrary`: the library's constructors run.
#[cfg(not(unix))]
unsafe fn open_library(path: &Path) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: the caller's obligation.
    unsafe { libloading::Library::new(path) }
}
