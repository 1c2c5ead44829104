//! The handlers of a plugin, declared in a constant.
//!
//! A constant, so that the compiler checks it (a duplicate is a compile error) and so that the manifest can list the
//! triggers without running the plugin. It holds plain functions only: state lives in the plugin's own value.

use core::future::Future;
use core::pin::Pin;
use std::sync::Arc;

use crate::abi;
use crate::message::Message;
use crate::{Context, PluginError, Trigger, TriggerNumber};

/// Most handlers that one plugin can register.
pub const MAX_HANDLERS: usize = 128;

/// Longest event name of a minicomponent, in bytes.
pub const MAX_NAME_BYTES: usize = 100;

pub(crate) type HandlerResult = Result<Vec<u8>, PluginError>;
pub(crate) type HandlerFuture = Pin<Box<dyn Future<Output = HandlerResult> + Send>>;

/// How a handler is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HandlerKind {
    /// In the caller's thread, or on a worker thread when the trigger is deferred.
    Sync,
    /// As a future that the host polls; waiting costs no thread.
    Async,
}

impl HandlerKind {
    /// Returns the name of the kind as JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
        }
    }
}

/// A synchronous handler of trigger `T` in plugin `P`.
///
/// Every `fn(&P, &Context, T::Input) -> Result<T::Output, PluginError>` is one; nobody implements it by hand, and `I` and
/// `O` are there only to be named in the compiler's messages.
#[diagnostic::on_unimplemented(
    message = "this is no handler of the trigger `{T}`",
    label = "has to be `fn(&self, cx: &Context, input: {I}) -> Result<{O}, PluginError>`",
    note = "each trigger says what its handlers take and give: see the documentation page of `{T}`",
    note = "an `async fn` is registered with `add_async`; a closure has to spell out the types of its arguments"
)]
pub trait Handler<P, T: Trigger, I = <T as Trigger>::Input, O = <T as Trigger>::Output>:
    Copy + Send + Sync + 'static
{
    /// Runs the handler.
    ///
    /// # Errors
    ///
    /// What the handler returns.
    fn handle(&self, plugin: &P, cx: &Context<'_>, input: I) -> Result<O, PluginError>;
}

#[diagnostic::do_not_recommend]
impl<P, T, I, O, F> Handler<P, T, I, O> for F
where
    T: Trigger<Input = I, Output = O>,
    F: Fn(&P, &Context<'_>, I) -> Result<O, PluginError> + Copy + Send + Sync + 'static,
{
    fn handle(&self, plugin: &P, cx: &Context<'_>, input: I) -> Result<O, PluginError> {
        self(plugin, cx, input)
    }
}

/// An asynchronous handler of trigger `T` in plugin `P`.
///
/// Every `async fn(&P, &Context, T::Input) -> Result<T::Output, PluginError>` whose future is `Send` is one. `I` and `O` are
/// there only to be named in the compiler's messages.
#[diagnostic::on_unimplemented(
    message = "this is no asynchronous handler of the trigger `{T}`",
    label = "has to be `async fn(&self, cx: &Context<'_>, input: {I}) -> Result<{O}, PluginError>`",
    note = "each trigger says what its handlers take and give: see the documentation page of `{T}`",
    note = "a plain `fn` is registered with `add`",
    note = "when the types are right: what is held across an `.await` has to be `Send`, which an `Rc` and the guard of a \
            lock are not; let it go before the `.await`"
)]
pub trait AsyncHandler<'a, P: 'a, T: Trigger, I = <T as Trigger>::Input, O = <T as Trigger>::Output>:
    Copy + Send + Sync + 'static
{
    /// Starts the handler.
    fn handle(
        &self,
        plugin: &'a P,
        cx: &'a Context<'static>,
        input: I,
    ) -> Pin<Box<dyn Future<Output = Result<O, PluginError>> + Send + 'a>>;
}

#[diagnostic::do_not_recommend]
impl<'a, P, T, I, O, F, Fut> AsyncHandler<'a, P, T, I, O> for F
where
    P: 'a,
    T: Trigger<Input = I, Output = O>,
    F: Fn(&'a P, &'a Context<'static>, I) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<O, PluginError>> + Send + 'a,
{
    fn handle(
        &self,
        plugin: &'a P,
        cx: &'a Context<'static>,
        input: I,
    ) -> Pin<Box<dyn Future<Output = Result<O, PluginError>> + Send + 'a>> {
        Box::pin(self(plugin, cx, input))
    }
}

/// A handler that takes and gives bytes, for payloads that are not JSON.
///
/// Every `fn(&P, &Context, &[u8]) -> Result<Vec<u8>, PluginError>` is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a raw handler",
    label = "needs `fn(&self, cx: &Context, input: &[u8]) -> Result<Vec<u8>, PluginError>`"
)]
pub trait RawHandler<P>: Copy + Send + Sync + 'static {
    /// Runs the handler.
    ///
    /// # Errors
    ///
    /// What the handler returns.
    fn handle(&self, plugin: &P, cx: &Context<'_>, input: &[u8]) -> Result<Vec<u8>, PluginError>;
}

#[diagnostic::do_not_recommend]
impl<P, F> RawHandler<P> for F
where
    F: Fn(&P, &Context<'_>, &[u8]) -> Result<Vec<u8>, PluginError> + Copy + Send + Sync + 'static,
{
    fn handle(&self, plugin: &P, cx: &Context<'_>, input: &[u8]) -> Result<Vec<u8>, PluginError> {
        self(plugin, cx, input)
    }
}

pub(crate) enum Call<P> {
    Sync(fn(&P, &Context<'_>, &[u8]) -> HandlerResult),
    Async(fn(Arc<P>, Context<'static>, Vec<u8>) -> HandlerFuture),
}

pub(crate) struct Entry<P> {
    pub(crate) number: TriggerNumber,
    pub(crate) name: &'static str,
    pub(crate) call: Call<P>,
}

impl<P> Entry<P> {
    pub(crate) const fn kind(&self) -> HandlerKind {
        match self.call {
            Call::Sync(_) => HandlerKind::Sync,
            Call::Async(_) => HandlerKind::Async,
        }
    }
}

/// The minicomponents of plugin `P`, each a trigger number, an event name and a function.
///
/// ```
/// use switchboard_plugin_api::prelude::*;
///
/// struct Greeter;
///
/// impl Plugin for Greeter {
///     const INFO: PluginInfo = PluginInfo::new("greeter", "1.0.0");
///     const REGISTRY: Registry<Self> = Registry::new().add::<PublicTask>("greet", Self::greet);
///
///     fn new(_host: &Host) -> Result<Self, PluginError> {
///         Ok(Self)
///     }
/// }
///
/// impl Greeter {
///     fn greet(&self, _cx: &Context, arguments: Arguments) -> Result<TaskReply, PluginError> {
///         Ok(TaskReply::text(format!("Hello {}", arguments.text("name").unwrap_or("you"))))
///     }
/// }
///
/// export_plugin!(Greeter);
/// # fn main() {}
/// ```
pub struct Registry<P> {
    entries: [Option<Entry<P>>; MAX_HANDLERS],
    count: usize,
}

impl<P> Registry<P> {
    /// Returns a registry without handlers.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is used in constants, where Default cannot be")]
    pub const fn new() -> Self {
        Self { entries: [const { None }; MAX_HANDLERS], count: 0 }
    }

    /// Adds a synchronous handler of trigger `T` under `name`.
    ///
    /// # Panics
    ///
    /// At compile time, because the registry is a constant: when the pair of number and name is already there, when the
    /// name is empty, too long or has a character outside `A-Z a-z 0-9 _ -`, or with more than [`MAX_HANDLERS`].
    #[must_use]
    #[track_caller]
    pub const fn add<T: Trigger>(self, name: &'static str, handler: impl Handler<P, T>) -> Self {
        const fn erased<P, T: Trigger, H: Handler<P, T>>(_: &H) -> Call<P> {
            Call::Sync(|plugin, cx, input| {
                let input = read_input::<T>(input)?;
                let output = abi::function::<H>().handle(plugin, cx, input)?;
                write_output::<T>(&output)
            })
        }
        check_no_data(size_of_val(&handler));
        let call = erased(&handler);
        self.push(T::NUMBER, name, call)
    }

    /// Adds an asynchronous handler of trigger `T` under `name`. The host polls it; it may wait as long as it likes
    /// within its deadline without holding a thread.
    ///
    /// # Panics
    ///
    /// As [`Registry::add`].
    #[must_use]
    #[track_caller]
    pub const fn add_async<T: Trigger>(self, name: &'static str, handler: impl for<'a> AsyncHandler<'a, P, T>) -> Self
    where
        P: Send + Sync + 'static,
    {
        const fn erased<P, T, H>(_: &H) -> Call<P>
        where
            P: Send + Sync + 'static,
            T: Trigger,
            H: for<'a> AsyncHandler<'a, P, T>,
        {
            Call::Async(|plugin, cx, input| {
                Box::pin(async move {
                    let input = read_input::<T>(&input)?;
                    let output = abi::function::<H>().handle(&plugin, &cx, input).await?;
                    write_output::<T>(&output)
                })
            })
        }
        check_no_data(size_of_val(&handler));
        let call = erased::<P, T, _>(&handler);
        self.push(T::NUMBER, name, call)
    }

    /// Adds a handler that reads and writes bytes, with no JSON in between. A closure needs its types spelled out:
    /// `|_: &Self, _: &Context, input: &[u8]| Ok(input.to_vec())`.
    ///
    /// # Panics
    ///
    /// As [`Registry::add`].
    #[must_use]
    #[track_caller]
    pub const fn add_raw(self, number: TriggerNumber, name: &'static str, handler: impl RawHandler<P>) -> Self {
        const fn erased<P, H: RawHandler<P>>(_: &H) -> Call<P> {
            Call::Sync(|plugin, cx, input| abi::function::<H>().handle(plugin, cx, input))
        }
        check_no_data(size_of_val(&handler));
        let call = erased(&handler);
        self.push(number, name, call)
    }

    #[track_caller]
    const fn push(mut self, number: TriggerNumber, name: &'static str, call: Call<P>) -> Self {
        check_name(name);
        assert!(self.count < MAX_HANDLERS, "a plugin registers at most 128 handlers: split it");
        let mut index = 0;
        while index < self.count {
            if let Some(entry) = &self.entries[index] {
                if entry.number.get() == number.get() && same(entry.name, name) {
                    Message::new()
                        .text("this plugin registers `")
                        .text(name)
                        .text("` twice for trigger ")
                        .number(number)
                        .text(": give one of the two handlers another name, or remove it")
                        .panic();
                }
            }
            index += 1;
        }
        self.entries[self.count] = Some(Entry { number, name, call });
        self.count += 1;
        self
    }

    pub(crate) const fn entry(&self, index: usize) -> Option<&Entry<P>> {
        if index < self.count { self.entries[index].as_ref() } else { None }
    }
}

fn read_input<T: Trigger>(input: &[u8]) -> Result<T::Input, PluginError> {
    serde_json::from_slice(input).map_err(|error| {
        PluginError::permanent(format!("the input of trigger {} cannot be read: {error}", T::NUMBER))
            .with_code("bad_input")
    })
}

fn write_output<T: Trigger>(output: &T::Output) -> HandlerResult {
    serde_json::to_vec(output).map_err(|error| {
        PluginError::permanent(format!("the output of trigger {} cannot be written: {error}", T::NUMBER))
            .with_code("bad_output")
    })
}

const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[track_caller]
const fn check_name(name: &str) {
    let bytes = name.as_bytes();
    let mut good = !bytes.is_empty() && bytes.len() <= MAX_NAME_BYTES;
    let mut index = 0;
    while index < bytes.len() {
        good = good && matches!(bytes[index], b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-');
        index += 1;
    }
    if !good {
        Message::new()
            .text("`")
            .text(name)
            .text("` is no name for a handler: write 1 to 100 of A-Z, a-z, 0-9, `_` and `-`")
            .panic();
    }
}

#[track_caller]
const fn check_no_data(handler_bytes: usize) {
    assert!(
        handler_bytes == 0,
        "this handler is a closure that captures something: let it capture nothing and keep state in the plugin's own type"
    );
}
