//! What a Switchboard plugin is written against.
//!
//! # The life of a plugin
//!
//! 1. The author declares a type, its [`PluginInfo`] and its [`Registry`]: which trigger numbers it answers, under which
//!    event names, with which functions.
//! 2. [`export_plugin!`] turns the crate into a plugin library. The manifest is bytes in a section of the file.
//! 3. An administrator places the library into the plugin folder. The host reads the manifest, without running any code,
//!    and opens the library when it fits.
//! 4. [`Plugin::new`] makes the one value of the plugin's type. State lives in it.
//! 5. Trigger 00005 hands the plugin's texts to the host.
//! 6. Handlers are called, from several threads at once, each with a [`Context`] through which it asks the host for
//!    texts, settings, values of the run, HTTP, or another trigger.
//! 7. An error or a panic is reported with the plugin's name; the next call comes all the same. A handler that panics on
//!    every call is suspended until the plugin is replaced or an administrator resumes it.
//! 8. When the library is removed or replaced, running calls end and [`Plugin::shutdown`] is called.
//!
//! ```
//! #![forbid(unsafe_code)]
//! use switchboard_plugin_api::prelude::*;
//!
//! struct ApiKeyWebhook; // 4. no state
//!
//! impl Plugin for ApiKeyWebhook {
//!     // 1. who it is and what it answers
//!     const INFO: PluginInfo = PluginInfo::new("webhook_api_key", env!("CARGO_PKG_VERSION"));
//!     const REGISTRY: Registry<Self> = Registry::new()
//!         .add::<LanguageInit>("api_key", Self::languages)
//!         .add::<WebhookRegistration>("api_key", Self::auth_method)
//!         .add_async::<DeferredDelivery>("api_key", Self::deliver);
//!
//!     // 4.
//!     fn new(_host: &Host) -> Result<Self, PluginError> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl ApiKeyWebhook {
//!     // 5.
//!     fn languages(&self, _cx: &Context, _: LanguageRequest) -> Result<LanguageFiles, PluginError> {
//!         Ok(LanguageFiles::new().file("en-GB", "method = API key\nkey = Key"))
//!     }
//!
//!     // 6. texts and settings for the webhook page
//!     fn auth_method(&self, cx: &Context, _: RegistrationRequest) -> Result<AuthMethod, PluginError> {
//!         let key = FormField::new("key", FieldFormat::Password, cx.text("key")).required();
//!         Ok(AuthMethod::new(cx.text("method")).field(key))
//!     }
//!
//!     // 6. the work; 7. `?` decides whether it is tried again
//!     async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
//!         let key = cx.required_setting("key")?;
//!         cx.http().deliver(&delivery).header("x-api-key", key).send().await?.delivered()
//!     }
//! }
//!
//! export_plugin!(ApiKeyWebhook); // 2.
//! # fn main() {}
//! ```
//!
//! # What it does not do
//!
//! It brings no HTTP stack, no database and no asynchronous runtime: the host has them. A plugin is trusted code in the
//! host's process; the boundary keeps mistakes in, not malice.

mod abi;
mod context;
mod defer;
mod error;
mod guard;
mod http;
mod info;
mod logging;
mod message;
mod number;
pub mod protocol;
mod record;
mod registry;
mod triggers;

pub use context::{Context, Kept, Showtime};
pub use defer::{DeferOptions, Priority};
pub use error::{ErrorKind, PluginError};
pub use http::{Http, RequestBuilder, Response};
pub use info::{PluginInfo, Setting};
pub use number::{NotATriggerNumber, TriggerNumber};
pub use record::{Manifest, ManifestDependency, ManifestSetting, ManifestTrigger, RecordError};
pub use registry::{AsyncHandler, Handler, HandlerKind, MAX_HANDLERS, MAX_NAME_BYTES, RawHandler, Registry};
pub use triggers::*;

pub use protocol::RunInfo;
/// The `serde_json` crate, whose values are in payloads and arguments.
pub use serde_json;

/// The `log` crate, whose macros reach the host's channel logs: `log::info!(target: "Webhooks", "sent")`.
pub use log;

/// plugin-api version of this crate as `major.minor`: what the boundary is judged by.
pub const API_VERSION: &str = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));

/// Reads a plugin-api version, `major.minor`. `None` when it is not one.
#[must_use]
pub fn parse_api_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn api_version() -> (u32, u32) {
    parse_api_version(API_VERSION).expect("the version of a crate has a major and a minor number")
}

/// A plugin: one value per library, made when it is loaded.
///
/// # State
///
/// Calls come from several threads at once, so what changes lives behind a lock or in atomics.
///
/// A handler that panics leaves that state as it was at that moment, and the same value goes on being called: the host
/// neither makes a new one nor undoes anything. What the next call may find:
///
/// * Atomics hold what was stored before the panic and nothing of what was to come. Two of them that belong together may
///   contradict each other.
/// * A [`Mutex`](std::sync::Mutex) or [`RwLock`](std::sync::RwLock) that was held for writing is poisoned: `lock` gives
///   an error from then on, and with `unwrap` every later call panics as well, until the handler is suspended. So decide
///   at each lock. Where one assignment is the whole change, the value is whole:
///   `lock().unwrap_or_else(PoisonError::into_inner)`. Where several steps belong together, work out the new value first
///   and assign it at once, or throw a poisoned value away and build it anew.
/// * What the handler has asked of the host stays done: requests are sent, kept values are kept, deferred tasks are made.
///   Only events that it announced in a deferred task are not, because its run is not committed.
/// * An asynchronous handler that is dropped, at its deadline or at a stop, is the same without a panic: everything
///   before its last `.await` has happened, nothing after it will. A lock cannot be held there, which the compiler checks.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::{Mutex, PoisonError};
/// use switchboard_plugin_api::prelude::*;
///
/// #[derive(Default)]
/// struct Rates {
///     by_currency: HashMap<String, u64>,
///     total: u64, // always the sum of the above
/// }
///
/// struct Exchange {
///     rates: Mutex<Rates>,
/// }
///
/// impl Exchange {
///     fn set(&self, _cx: &Context, arguments: Arguments) -> Result<TaskReply, PluginError> {
///         let currency = arguments.text("currency").ok_or_else(|| PluginError::permanent("which currency?"))?;
///         // A panic up to here has changed nothing.
///         let mut rates = self.rates.lock().unwrap_or_else(|poisoned| {
///             // One between the two changes below: the sum may be wrong, so it is made anew.
///             let mut rates = poisoned.into_inner();
///             rates.total = rates.by_currency.values().sum();
///             self.rates.clear_poison();
///             rates
///         });
///         rates.by_currency.insert(currency.to_owned(), 100);
///         rates.total = rates.by_currency.values().sum();
///         Ok(TaskReply::text(rates.total.to_string()))
///     }
///
///     fn reset(&self, _cx: &Context, _: Arguments) -> Result<TaskReply, PluginError> {
///         // One assignment is the whole change, so a poisoned lock means nothing here.
///         *self.rates.lock().unwrap_or_else(PoisonError::into_inner) = Rates::default();
///         Ok(TaskReply::default())
///     }
/// }
/// #
/// # impl Plugin for Exchange {
/// #     const INFO: PluginInfo = PluginInfo::new("exchange", "1.0.0");
/// #     const REGISTRY: Registry<Self> =
/// #         Registry::new().add::<PublicTask>("set", Self::set).add::<PublicTask>("reset", Self::reset);
/// #     fn new(_host: &Host) -> Result<Self, PluginError> {
/// #         Ok(Self { rates: Mutex::default() })
/// #     }
/// # }
/// # export_plugin!(Exchange);
/// # fn main() {}
/// ```
pub trait Plugin: Exported + Sized + Send + Sync + 'static {
    /// Who the plugin is.
    const INFO: PluginInfo;
    /// What the plugin answers.
    const REGISTRY: Registry<Self>;

    /// Makes the plugin. Called once, before any handler.
    ///
    /// # Errors
    ///
    /// An error here keeps the plugin from being loaded; the load report shows its message.
    fn new(host: &Host) -> Result<Self, PluginError>;

    /// Called once, after the last call has ended: when the library is removed or replaced. A host that stops does not wait
    /// for it, so nothing may depend on it; a panic in it is forgotten.
    fn shutdown(&self) {}
}

/// Implemented by [`export_plugin!`], which makes a library out of a [`Plugin`].
#[diagnostic::on_unimplemented(
    message = "the plugin `{Self}` is not exported",
    label = "no host can see this plugin",
    note = "add `export_plugin!({Self});` beside the type"
)]
pub trait Exported {}

/// The host, while the plugin is made.
pub struct Host {
    link: abi::HostLink,
}

impl Host {
    pub(crate) fn new(link: abi::HostLink) -> Self {
        Self { link }
    }

    /// Returns a setting of the plugin (`[plugins.<id>]` in `switchboard.toml`), or `None` when it is not set. It is what the
    /// plugin starts with: a handler that wants later corrections asks its [`Context`].
    ///
    /// ```
    /// use switchboard_plugin_api::prelude::*;
    ///
    /// struct Mailer {
    ///     sender: String,
    /// }
    ///
    /// impl Mailer {
    ///     fn new(host: &Host) -> Result<Self, PluginError> {
    ///         let sender = host.setting("sender").ok_or_else(|| PluginError::permanent("set `sender` first"))?;
    ///         Ok(Self { sender })
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<String> {
        let head = serde_json::to_vec(&protocol::KeyHead { key: key.into() }).ok()?;
        let (found, value) = self.link.service(protocol::SETTING, &head, &[]).ok()?;
        (&found[..] == b"true").then(|| String::from_utf8_lossy(&value).into_owned())
    }
}

impl core::fmt::Debug for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Host")
    }
}

/// Everything that most plugins need.
pub mod prelude {
    pub use crate::{
        Arguments, AuthMethod, Context, DeferOptions, DeferredDelivery, Delivered, Delivery, ErrorKind, Exported,
        FieldFormat, FormField, Host, ImmediateDelivery, LanguageFiles, LanguageInit, LanguageRequest, Plugin,
        PluginError, PluginInfo, PublicTask, RegistrationRequest, Registry, Setting, TaskReply, Trigger, TriggerNumber,
        Validation, ValidationRequest, WebhookRegistration, WebhookValidation, export_plugin, log,
    };
}

/// The host's side of the boundary. Hosts and test harnesses use it; plugin authors do not need it.
pub mod host {
    pub use crate::abi::host::{
        CallHost, Module, ModuleError, Payload, PluginHost, RunningPlugin, ServiceAnswer, ServiceFuture, module_symbol,
    };
    pub use crate::record::{MAGIC, SECTION};
}

#[doc(hidden)]
pub mod __private {
    pub use crate::abi::header;
    pub use crate::record::{record, record_len};
    pub use abi_stable::library::LibHeader;
}

/// Makes the crate a plugin library: exports the plugin's module and its manifest.
///
/// Once per crate, with a type that implements [`Plugin`]. The crate needs `crate-type = ["cdylib"]`.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        #[cfg(panic = "abort")]
        ::core::compile_error!(
            "a plugin cannot be built with `panic = \"abort\"`: a panic in a handler would end the host's process; \
             remove it from the profile in Cargo.toml"
        );

        impl $crate::Exported for $plugin {}

        // Two plugins in a crate would clash by the names of their symbols, which say nothing to an author.
        #[doc(hidden)]
        mod a_crate_exports_one_plugin {}

        const _: () = {
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static MODULE: $crate::__private::LibHeader = $crate::__private::header::<$plugin>();

            #[used]
            #[unsafe(export_name = "switchboard_plugin_record")]
            #[cfg_attr(not(any(target_os = "macos", target_os = "windows")), unsafe(link_section = ".switchboard"))]
            #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__switchboard"))]
            #[cfg_attr(target_os = "windows", unsafe(link_section = ".swbplug"))]
            static RECORD: [u8; $crate::__private::record_len::<$plugin>()] =
                $crate::__private::record::<$plugin, { $crate::__private::record_len::<$plugin>() }>();
        };
    };
}
