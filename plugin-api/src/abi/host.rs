//! The host's side of the boundary, in ordinary Rust types. For hosts, not for plugin authors.

use core::future::Future;
use core::ops::Deref;
use core::pin::Pin;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::AbiHeaderRef;

use super::*;

/// Name of the symbol under which a library exports its module, with the closing NUL.
#[must_use]
pub fn module_symbol() -> &'static str {
    abi_stable::library::ROOT_MODULE_LOADER_NAME_WITH_NUL
}

/// Bytes that a handler or a service gave, wherever they were allocated.
#[derive(Clone, Default)]
pub struct Payload(RVec<u8>);

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl core::fmt::Debug for Payload {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Payload({:?})", String::from_utf8_lossy(self))
    }
}

/// An answer of a service: JSON head and bytes beside it.
pub type ServiceAnswer = Result<(Vec<u8>, Vec<u8>), PluginError>;

/// A service's answer that is still to come.
pub type ServiceFuture = Pin<Box<dyn Future<Output = ServiceAnswer> + Send>>;

/// What the host does for one call of a handler. Names and formats are in [`protocol`](crate::protocol).
pub trait CallHost: Send + Sync {
    /// Does a service while the caller's thread waits.
    fn service(&self, name: &str, head: &[u8], body: &[u8]) -> ServiceAnswer;
    /// Starts a service. The future owns all it needs.
    fn service_async(&self, name: &str, head: Vec<u8>, body: Vec<u8>) -> ServiceFuture;
    /// Returns the time until the deadline of the call.
    fn time_left(&self) -> Duration;
    /// Returns whether nobody waits for the call any more.
    fn is_cancelled(&self) -> bool;
}

/// What the host does for a plugin as long as it lives.
pub trait PluginHost: Send + Sync + 'static {
    /// Writes a record. `fields` are key and value pairs.
    fn log(&self, level: log::Level, channel: &str, message: &str, fields: &[(String, String)]);
    /// Returns the most talkative level that is written.
    fn log_level(&self) -> log::LevelFilter;
    /// Does a service that belongs to no call.
    fn service(&self, name: &str, head: &[u8], body: &[u8]) -> ServiceAnswer;
}

fn panicked() -> PluginError {
    PluginError::retryable("the host failed inside; its log says more")
}

fn answer(result: ServiceAnswer) -> ServiceResult {
    match result {
        Ok((head, body)) => ROk(Reply { head: head.into(), body: body.into() }),
        Err(error) => RErr(error.into()),
    }
}

/// A panic of the host's own must not cross into the plugin either.
fn caught(call: impl FnOnce() -> ServiceAnswer) -> ServiceResult {
    answer(catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(panicked())))
}

macro_rules! call_services {
    ($adapter:ty) => {
        impl CallServices for $adapter {
            fn service(&self, name: RStr<'_>, head: RSlice<'_, u8>, body: RSlice<'_, u8>) -> ServiceResult {
                caught(|| self.0.service(name.as_str(), head.as_slice(), body.as_slice()))
            }

            fn service_async(&self, name: RStr<'_>, head: RVec<u8>, body: RVec<u8>) -> FfiFuture<ServiceResult> {
                let (head, body) = (head.into_vec(), body.into_vec());
                let started = catch_unwind(AssertUnwindSafe(|| self.0.service_async(name.as_str(), head, body)));
                async move {
                    match started {
                        Ok(future) => answer(future.await),
                        Err(_) => RErr(panicked().into()),
                    }
                }
                .into_ffi()
            }

            fn time_left_ms(&self) -> u64 {
                u64::try_from(self.0.time_left().as_millis()).unwrap_or(u64::MAX)
            }

            fn is_cancelled(&self) -> bool {
                self.0.is_cancelled()
            }
        }
    };
}

struct Borrowed<'a>(&'a dyn CallHost);
struct Owned(Arc<dyn CallHost>);

call_services!(Borrowed<'_>);
call_services!(Owned);

struct Link(Arc<dyn PluginHost>);

impl HostServices for Link {
    fn log(
        &self,
        level: u32,
        channel: RStr<'_>,
        message: RStr<'_>,
        _place: RStr<'_>,
        _line: u32,
        fields: RSlice<'_, u8>,
    ) {
        let level = level_filter(level).to_level().unwrap_or(log::Level::Error);
        let fields: Vec<(String, String)> = match fields.as_slice() {
            [] => Vec::new(),
            fields => serde_json::from_slice(fields).unwrap_or_default(),
        };
        // A logger that panics loses the record; the plugin goes on.
        let _ = catch_unwind(AssertUnwindSafe(|| self.0.log(level, channel.as_str(), message.as_str(), &fields)));
    }

    fn log_level(&self) -> u32 {
        self.0.log_level() as u32
    }

    fn service(&self, name: RStr<'_>, head: RSlice<'_, u8>, body: RSlice<'_, u8>) -> ServiceResult {
        caught(|| self.0.service(name.as_str(), head.as_slice(), body.as_slice()))
    }
}

/// Why a module cannot be taken from a library.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleError {
    /// The library was built with another boundary library; the text names both.
    OtherBoundary(String),
    /// The types that cross have another layout.
    OtherLayout(String),
    /// The plugin failed while it started.
    Start(PluginError),
}

impl core::fmt::Display for ModuleError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::OtherBoundary(why) => {
                write!(f, "the library has another plugin boundary ({why})")
            }
            Self::OtherLayout(why) => write!(f, "the types of the plugin boundary differ ({why})"),
            Self::Start(error) => write!(f, "the plugin failed to start: {error}"),
        }
    }
}

impl std::error::Error for ModuleError {}

/// A plugin's module, checked and not yet started.
#[derive(Clone, Copy)]
pub struct Module(PluginModule_Ref);

impl core::fmt::Debug for Module {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Module")
    }
}

impl Module {
    /// Checks and returns the module behind the symbol [`module_symbol`]. `built_with` is the plugin-api version
    /// (`major.minor`) that the preflight record of the library names.
    ///
    /// # Errors
    ///
    /// When the library was built with another boundary library or its types have another layout.
    ///
    /// # Safety
    ///
    /// `symbol` is the address of the data symbol [`module_symbol`] in a library that `export_plugin!` made, and the
    /// library stays loaded for the rest of the process.
    pub unsafe fn from_symbol(symbol: *const (), built_with: (u32, u32)) -> Result<Self, ModuleError> {
        // SAFETY: `AbiHeaderRef` is a transparent pointer to an `AbiHeader`, and the caller promises that one lives
        // there for ever; `upgrade` checks its magic before anything else is read.
        let header = unsafe { core::mem::transmute::<*const (), AbiHeaderRef>(symbol) };
        let header = header.upgrade().map_err(|error| ModuleError::OtherBoundary(last_lines(&error.to_string())))?;
        if let Some(layout) = header.layout() {
            let ours = <PluginModule_Ref as StableAbi>::LAYOUT;
            // The check lets the side that it takes for the library have more, never less. The older side goes first:
            // an older plugin lacks only what this host then does without.
            let older_plugin = built_with < super::super::api_version();
            let (interface, library) = if older_plugin { (layout, ours) } else { (ours, layout) };
            check_layout_compatibility(interface, library)
                .map_err(|error| ModuleError::OtherLayout(last_lines(&error.to_string())))?;
        }
        // SAFETY: the layout has been checked, in the direction that the versions ask for.
        let module = unsafe { header.init_root_module_with_unchecked_layout::<PluginModule_Ref>() };
        module.map(Self).map_err(|error| ModuleError::OtherBoundary(last_lines(&error.to_string())))
    }

    /// Returns the module of a plugin that is linked into this program, through the table that it would export.
    #[must_use]
    pub fn linked<P: Plugin>() -> Self {
        Self(module::<P>())
    }

    /// Starts the plugin.
    ///
    /// # Errors
    ///
    /// When the plugin's constructor fails or panics.
    pub fn start(self, host: Arc<dyn PluginHost>) -> Result<RunningPlugin, ModuleError> {
        let services = HostServices_TO::from_ptr(RArc::new(Link(host)), TD_Opaque);
        match (self.0.start())(services) {
            ROk(instance) => Ok(RunningPlugin { instance }),
            RErr(error) => Err(ModuleError::Start(error.into())),
        }
    }

    /// Tells the plugin's copy of the `log` crate which level is written.
    pub fn set_log_level(self, level: log::LevelFilter) {
        (self.0.set_log_level())(level as u32);
    }
}

/// The useful end of abi_stable's error texts, which run to hundreds of lines.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join("; ")
}

/// A started plugin. Calls may come from several threads at once.
pub struct RunningPlugin {
    instance: InstanceObject,
}

impl RunningPlugin {
    /// Calls a synchronous handler by its position in the manifest.
    ///
    /// # Errors
    ///
    /// What the handler returns; a panic comes as [`ErrorKind::Panic`].
    #[inline]
    pub fn call(&self, handler: u32, host: &dyn CallHost, input: &[u8]) -> Result<Payload, PluginError> {
        let adapter = Borrowed(host);
        let services = CallServices_TO::from_ptr(RRef::new(&adapter), TD_Opaque);
        match self.instance.call(handler, services, RSlice::from_slice(input)) {
            ROk(output) => Ok(Payload(output)),
            RErr(error) => Err(error.into()),
        }
    }

    /// Calls an asynchronous handler by its position in the manifest. Dropping the future cancels the handler.
    ///
    /// # Errors
    ///
    /// What the handler returns; a panic comes as [`ErrorKind::Panic`].
    pub fn call_async(
        &self,
        handler: u32,
        host: Arc<dyn CallHost>,
        input: Vec<u8>,
    ) -> impl Future<Output = Result<Payload, PluginError>> + Send + 'static {
        let services = CallServices_TO::from_ptr(RArc::new(Owned(host)), TD_Opaque);
        let future = self.instance.call_async(handler, services, input.into());
        async move {
            match future.await {
                ROk(output) => Ok(Payload(output)),
                RErr(error) => Err(error.into()),
            }
        }
    }

    /// Tells the plugin that no call will come any more.
    pub fn shutdown(&self) {
        self.instance.shutdown();
    }
}

impl core::fmt::Debug for RunningPlugin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RunningPlugin")
    }
}
