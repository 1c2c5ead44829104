//! Opens a library: `framework/src/plugins/library.rs` of that time, without the private copy.

use std::path::Path;
use std::sync::Arc;

use switchboard_plugin_api::host::{Module, PluginHost, RunningPlugin, module_symbol};
use switchboard_plugin_api::{Manifest, parse_api_version};

use crate::refusal::Refusal;

/// Opens a library whose bytes have been judged, and starts the plugin in it.
pub(crate) fn open(file: &Path, manifest: &Manifest, host: Arc<dyn PluginHost>) -> Result<RunningPlugin, Refusal> {
    let load = |reason: String| Refusal::Load { reason };
    let built_with = parse_api_version(&manifest.api).unwrap_or_default();
    // SAFETY: opening runs the library's constructors. Plugins are trusted code; nobody writes this file meanwhile.
    let library = unsafe { libloading::Library::new(file) }.map_err(|error| load(error.to_string()))?;
    // SAFETY: the symbol is a data symbol; only its address is taken here, and the library stays.
    let address = unsafe { library.get::<*const ()>(module_symbol().as_bytes()).map(|symbol| symbol.try_as_raw_ptr()) };
    let address = address.map_err(|error| load(error.to_string()))?;
    let address = address.ok_or_else(|| load("its module has no address".into()))?;
    // Nothing is ever unloaded.
    std::mem::forget(library);
    // SAFETY: a library with our manifest was made by `export_plugin!`, which exports an `AbiHeader` under this symbol,
    // and it has just been made to stay.
    let module = unsafe { Module::from_symbol(address.cast_const().cast(), built_with) };
    let module = module.map_err(|error| load(error.to_string()))?;
    module.start(host).map_err(|error| load(error.to_string()))
}
