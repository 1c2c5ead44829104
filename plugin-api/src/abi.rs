//! The binary boundary: every type that crosses between a host and a plugin library.
//!
//! This module and its children are the only ones that name `abi_stable` and `async-ffi`, so that both can be replaced.
//! Few and small types cross; they are frozen. The traits and the root module only grow, at the end, with default
//! bodies. Everything that may change is JSON in byte slices. The rules are in `docs/safety.md`.
//!
//! | Function | Who calls it | Thread | Ownership |
//! | --- | --- | --- | --- |
//! | `PluginModule::start` | host, once per library | any | the plugin keeps the link, the host keeps the instance |
//! | `Instance::call` | host | any, several at once | input is borrowed, output is given away |
//! | `Instance::call_async` | host; polls the future | any | input and output are given away |
//! | `Instance::shutdown` | host, once, after the last call | any | - |
//! | `CallServices::*` | plugin, while the call or its future lives | any | as their types say |
//! | `HostServices::log` | plugin | any | everything is borrowed |
#![expect(unsafe_code, reason = "the boundary: one of the two places where unsafe code lives")]
#![allow(
    non_local_definitions,
    non_camel_case_types,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::missing_errors_doc,
    reason = "in the code that abi_stable's macros write; whether it warns depends on the compiler's version"
)]

use core::future::Future;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll};
use core::time::Duration;
use std::sync::Arc;

use abi_stable::StableAbi;
use abi_stable::library::{CheckTypeLayout, LibHeader, RootModule, RootModuleResult};
use abi_stable::prefix_type::WithMetadata;
use abi_stable::sabi_trait::prelude::TD_Opaque;
use abi_stable::sabi_types::{RRef, VersionStrings};
use abi_stable::std_types::{RArc, RErr, ROk, RResult, RSlice, RStr, RString, RVec};
use async_ffi::{FfiFuture, FutureExt};

use crate::guard::{drop_quietly, guarded, install_hook};
use crate::logging;
use crate::registry::{Call, HandlerFuture, HandlerResult};
use crate::{Context, ErrorKind, Host, Plugin, PluginError};

pub mod host;
#[cfg(test)]
mod layout;

/// An error as it crosses. Frozen: whatever comes later goes into `extra`, a JSON object.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct AbiError {
    kind: u32,
    retry_after_ms: i64,
    message: RString,
    place: RString,
    extra: RString,
}

const KIND_RETRYABLE: u32 = 0;
const KIND_PERMANENT: u32 = 1;
const KIND_PANIC: u32 = 2;

impl From<PluginError> for AbiError {
    fn from(error: PluginError) -> Self {
        let kind = match error.kind() {
            ErrorKind::Retryable => KIND_RETRYABLE,
            ErrorKind::Permanent => KIND_PERMANENT,
            ErrorKind::Panic => KIND_PANIC,
        };
        let retry_after_ms = error.retry_after().map_or(-1, |wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        let extra = error.code().map_or_else(String::new, |code| serde_json::json!({ "code": code }).to_string());
        Self {
            kind,
            retry_after_ms,
            place: error.place().unwrap_or_default().into(),
            extra: extra.into(),
            message: error.bare_message().into(),
        }
    }
}

/// Most that is taken over of a message, in bytes. It is logged, stored with the attempt and shown to people.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// The same for the place of a panic.
const MAX_PLACE_BYTES: usize = 512;
/// The same for an outcome code.
const MAX_CODE_BYTES: usize = 64;

impl From<AbiError> for PluginError {
    fn from(error: AbiError) -> Self {
        let kind = match error.kind {
            KIND_PERMANENT => ErrorKind::Permanent,
            KIND_PANIC => ErrorKind::Panic,
            // A kind that this side does not know is tried again: the gentler of the two mistakes.
            _ => ErrorKind::Retryable,
        };
        let place = (!error.place.is_empty()).then(|| shortened(&error.place, MAX_PLACE_BYTES));
        let mut result = Self::of(kind, shortened(&error.message, MAX_MESSAGE_BYTES)).with_place(place);
        if let Ok(wait) = u64::try_from(error.retry_after_ms) {
            result = result.with_retry_after(Duration::from_millis(wait));
        }
        let extra: serde_json::Value = serde_json::from_str(&error.extra).unwrap_or_default();
        match extra.get("code").and_then(serde_json::Value::as_str) {
            Some(code) => result.with_code(shortened(code, MAX_CODE_BYTES)),
            None => result,
        }
    }
}

/// Returns the first bytes of a text of the other side, with a mark where it was cut.
fn shortened(text: &str, most_bytes: usize) -> String {
    if text.len() <= most_bytes {
        return text.to_owned();
    }
    let end = (0..=most_bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}… [cut, {} bytes]", &text[..end], text.len())
}

/// Two byte strings: the JSON head of a service's answer and the bytes beside it.
#[repr(C)]
#[derive(StableAbi)]
pub struct Reply {
    head: RVec<u8>,
    body: RVec<u8>,
}

type CallResult = RResult<RVec<u8>, AbiError>;
type ServiceResult = RResult<Reply, AbiError>;

/// What a call may ask of the host.
#[abi_stable::sabi_trait]
pub trait CallServices: Send + Sync {
    fn service(&self, name: RStr<'_>, head: RSlice<'_, u8>, body: RSlice<'_, u8>) -> ServiceResult;
    fn service_async(&self, name: RStr<'_>, head: RVec<u8>, body: RVec<u8>) -> FfiFuture<ServiceResult>;
    fn time_left_ms(&self) -> u64;
    #[sabi(last_prefix_field)]
    fn is_cancelled(&self) -> bool;
}

/// What a plugin may ask of the host for as long as it lives.
#[abi_stable::sabi_trait]
pub trait HostServices: Send + Sync + 'static {
    fn log(&self, level: u32, channel: RStr<'_>, message: RStr<'_>, place: RStr<'_>, line: u32, fields: RSlice<'_, u8>);
    fn log_level(&self) -> u32;
    #[sabi(last_prefix_field)]
    fn service(&self, name: RStr<'_>, head: RSlice<'_, u8>, body: RSlice<'_, u8>) -> ServiceResult;
}

/// A running plugin. Handlers are named by their position in the manifest.
#[abi_stable::sabi_trait]
pub trait Instance: Send + Sync + 'static {
    fn call(&self, handler: u32, services: BorrowedServices<'_>, input: RSlice<'_, u8>) -> CallResult;
    fn call_async(&self, handler: u32, services: OwnedServices, input: RVec<u8>) -> FfiFuture<CallResult>;
    #[sabi(last_prefix_field)]
    fn shutdown(&self);
}

pub type BorrowedServices<'a> = CallServices_TO<'a, RRef<'a, ()>>;
pub type OwnedServices = CallServices_TO<'static, RArc<()>>;
pub type HostServicesObject = HostServices_TO<RArc<()>>;
pub type InstanceObject = Instance_TO<RArc<()>>;

/// The root module: what a library exports. Grows at the end only.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModule_Ref, prefix_fields = PluginModule_Prefix)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    pub set_log_level: extern "C" fn(u32),
    #[sabi(last_prefix_field)]
    pub start: extern "C" fn(HostServicesObject) -> RResult<InstanceObject, AbiError>,
}

impl RootModule for PluginModule_Ref {
    abi_stable::declare_root_module_statics! {PluginModule_Ref}
    const BASE_NAME: &'static str = "switchboard_plugin";
    const NAME: &'static str = "switchboard_plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

/// Returns what `export_plugin!` exports for plugin `P`.
#[must_use]
pub const fn header<P: Plugin>() -> LibHeader {
    // SAFETY: `root_module::<P>` returns a `PluginModule_Ref`, which is the module type named here.
    unsafe { LibHeader::from_constructor::<PluginModule_Ref>(root_module::<P>, CheckTypeLayout::Yes) }
}

extern "C" fn root_module<P: Plugin>() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(module::<P>)
}

fn module<P: Plugin>() -> PluginModule_Ref {
    struct Static<P>(P);
    impl<P: Plugin> Static<P> {
        const MODULE: &'static WithMetadata<PluginModule> =
            &WithMetadata::new(PluginModule { set_log_level, start: start::<P> });
    }
    PluginModule_Ref(Static::<P>::MODULE.static_as_prefix())
}

extern "C" fn set_log_level(level: u32) {
    log::set_max_level(level_filter(level));
}

extern "C" fn start<P: Plugin>(services: HostServicesObject) -> RResult<InstanceObject, AbiError> {
    install_hook();
    match guarded(|| PluginInstance::<P>::start(services)) {
        Ok(instance) => ROk(Instance_TO::from_ptr(RArc::new(instance), TD_Opaque)),
        Err(error) => RErr(error.into()),
    }
}

/// Returns a function value that holds no data.
///
/// A registry is a constant and keeps handlers as types only; this brings the value back when one is called.
pub(crate) fn function<F: Copy + Send + Sync + 'static>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "a handler is a function or a closure that captures nothing: keep state in the plugin's own type"
        );
    }
    // SAFETY: `F` has no bytes, so reading it reads nothing. `Registry::add` was given a value of this very type, so it
    // is inhabited, and `F` is `Copy` and `'static`, so another value of it may exist at any time on any thread.
    unsafe { core::ptr::NonNull::<F>::dangling().as_ptr().read() }
}

struct PluginInstance<P> {
    /// `None` only while it is being dropped.
    plugin: Option<Arc<P>>,
}

impl<P: Plugin> PluginInstance<P> {
    fn start(services: HostServicesObject) -> Result<Self, PluginError> {
        let link = HostLink { services: Arc::new(services) };
        logging::install(link.clone(), level_filter(link.services.log_level()));
        let plugin = Arc::new(P::new(&Host::new(link))?);
        Ok(Self { plugin: Some(plugin) })
    }

    fn plugin(&self) -> &Arc<P> {
        self.plugin.as_ref().expect("the plugin is taken out in `drop` only")
    }

    fn entry(handler: u32) -> Result<&'static crate::registry::Entry<P>, PluginError> {
        let registry = const { &P::REGISTRY };
        let entry = usize::try_from(handler).ok().and_then(|index| registry.entry(index));
        entry.ok_or_else(|| PluginError::permanent(format!("this plugin has no handler {handler}")))
    }
}

impl<P: Plugin> Instance for PluginInstance<P> {
    #[inline]
    fn call(&self, handler: u32, services: BorrowedServices<'_>, input: RSlice<'_, u8>) -> CallResult {
        let result = guarded(|| {
            let context = Context::new(HostCall { services: Services::Borrowed(services) });
            match Self::entry(handler)?.call {
                Call::Sync(call) => call(self.plugin(), &context, input.as_slice()),
                Call::Async(_) => Err(PluginError::permanent("this handler is asynchronous")),
            }
        });
        match result {
            Ok(output) => ROk(output.into()),
            Err(error) => RErr(error.into()),
        }
    }

    fn call_async(&self, handler: u32, services: OwnedServices, input: RVec<u8>) -> FfiFuture<CallResult> {
        let started = guarded(|| {
            let plugin = Arc::clone(self.plugin());
            let context = Context::new(HostCall { services: Services::Owned(services) });
            match Self::entry(handler)?.call {
                Call::Async(call) => Ok(call(plugin, context, input.into_vec())),
                Call::Sync(_) => Err(PluginError::permanent("this handler is synchronous")),
            }
        });
        let future = Guarded { state: started.map(Some) };
        async move {
            match future.await {
                Ok(output) => ROk(output.into()),
                Err(error) => RErr(error.into()),
            }
        }
        .into_ffi()
    }

    fn shutdown(&self) {
        report_end(guarded(|| {
            self.plugin().shutdown();
            Ok(())
        }));
    }
}

impl<P> Drop for PluginInstance<P> {
    fn drop(&mut self) {
        // The last owner drops the plugin, and its destructor is the author's code.
        if let Some(plugin) = self.plugin.take() {
            report_end(guarded(|| {
                drop(plugin);
                Ok(())
            }));
        }
    }
}

/// Tells the log of a plugin that fails while it ends; nobody waits for a result then.
fn report_end(ended: Result<(), PluginError>) {
    if let Err(error) = ended {
        log::error!(target: "Plugins", error = error.to_string(); "the plugin failed while it ended");
    }
}

/// A handler's future whose panics, in a poll or in its destructor, stay in the plugin.
struct Guarded {
    state: Result<Option<HandlerFuture>, PluginError>,
}

impl Future for Guarded {
    type Output = HandlerResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<HandlerResult> {
        let mut future = match &mut self.state {
            Err(error) => return Poll::Ready(Err(error.clone())),
            Ok(future) => match future.take() {
                Some(future) => future,
                None => {
                    return Poll::Ready(Err(PluginError::permanent("the handler had already ended")));
                }
            },
        };
        // The future is taken out for the poll and put back only when it waits: after a panic nobody sees it again.
        let polled = guarded(|| Ok(future.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) => {
                self.state = Ok(Some(future));
                Poll::Pending
            }
            Ok(Poll::Ready(result)) => {
                drop_quietly(future);
                Poll::Ready(result)
            }
            Err(error) => {
                drop_quietly(future);
                Poll::Ready(Err(error))
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Ok(future) = &mut self.state {
            drop_quietly(future.take());
        }
    }
}

enum Services<'a> {
    Borrowed(BorrowedServices<'a>),
    Owned(OwnedServices),
}

/// The host, for one call.
pub(crate) struct HostCall<'a> {
    services: Services<'a>,
}

impl HostCall<'_> {
    pub(crate) fn service(&self, name: &str, head: &[u8], body: &[u8]) -> Result<(Vec<u8>, Vec<u8>), PluginError> {
        let (name, head, body) = (RStr::from_str(name), RSlice::from_slice(head), RSlice::from_slice(body));
        let result = match &self.services {
            Services::Borrowed(services) => services.service(name, head, body),
            Services::Owned(services) => services.service(name, head, body),
        };
        read_reply(result)
    }

    pub(crate) fn service_async(
        &self,
        name: &str,
        head: Vec<u8>,
        body: Vec<u8>,
    ) -> impl Future<Output = Result<(Vec<u8>, Vec<u8>), PluginError>> + Send + use<> {
        let name = RStr::from_str(name);
        let future = match &self.services {
            Services::Borrowed(services) => services.service_async(name, head.into(), body.into()),
            Services::Owned(services) => services.service_async(name, head.into(), body.into()),
        };
        async move { read_reply(future.await) }
    }

    pub(crate) fn time_left(&self) -> Duration {
        Duration::from_millis(match &self.services {
            Services::Borrowed(services) => services.time_left_ms(),
            Services::Owned(services) => services.time_left_ms(),
        })
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        match &self.services {
            Services::Borrowed(services) => services.is_cancelled(),
            Services::Owned(services) => services.is_cancelled(),
        }
    }
}

fn read_reply(result: ServiceResult) -> Result<(Vec<u8>, Vec<u8>), PluginError> {
    match result {
        ROk(reply) => Ok((reply.head.into_vec(), reply.body.into_vec())),
        RErr(error) => Err(error.into()),
    }
}

/// The host, for the life of the plugin.
#[derive(Clone)]
pub(crate) struct HostLink {
    services: Arc<HostServicesObject>,
}

impl HostLink {
    pub(crate) fn log(&self, record: &log::Record<'_>, message: &str, fields: &[(String, String)]) {
        // Two lists of strings always serialise; should that change, the record goes without its fields.
        let fields = if fields.is_empty() { Vec::new() } else { serde_json::to_vec(fields).unwrap_or_default() };
        self.services.log(
            record.level() as u32,
            RStr::from_str(record.target()),
            RStr::from_str(message),
            RStr::from_str(record.file().unwrap_or_default()),
            record.line().unwrap_or_default(),
            RSlice::from_slice(&fields),
        );
    }

    pub(crate) fn service(&self, name: &str, head: &[u8], body: &[u8]) -> Result<(Vec<u8>, Vec<u8>), PluginError> {
        read_reply(self.services.service(RStr::from_str(name), RSlice::from_slice(head), RSlice::from_slice(body)))
    }
}

fn level_filter(level: u32) -> log::LevelFilter {
    let levels: Vec<log::LevelFilter> = log::LevelFilter::iter().collect();
    let index = usize::try_from(level).unwrap_or(usize::MAX);
    levels.get(index).copied().unwrap_or(log::LevelFilter::Trace)
}
