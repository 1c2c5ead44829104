//! Keeps a panic inside the plugin.
//!
//! A host can never catch a panic that was raised in a library: the catch has to be compiled into the plugin. Every
//! entry from the host passes [`guarded`].

use core::any::Any;
use core::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

use crate::PluginError;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `call` and turns a panic into an error with its message and place.
#[inline]
pub(crate) fn guarded<R>(call: impl FnOnce() -> Result<R, PluginError>) -> Result<R, PluginError> {
    // A handler has `&self` only, so what a panic leaves half done is behind the author's own locks or atomics;
    // std's locks are poisoned by it. `Plugin` documents that.
    match deeper(|| catch_unwind(AssertUnwindSafe(call))) {
        Ok(result) => result,
        Err(panic) => Err(error_of(panic)),
    }
}

#[cold]
fn error_of(panic: Box<dyn Any + Send>) -> PluginError {
    let place = PLACE.with_borrow_mut(Option::take);
    let error = PluginError::panic(message(panic.as_ref()), place);
    // The payload is a value of the plugin's; its destructor may panic as well.
    drop_quietly(panic);
    error
}

/// Drops a value whose destructor may panic; such a panic is forgotten.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(panic) = deeper(|| catch_unwind(AssertUnwindSafe(|| drop(value)))) {
        core::mem::forget(panic);
    }
}

/// Runs `caught`, which does not panic, one level deeper.
///
/// In a library a thread-local is found by a call, so it is looked for once; and `try_with`, unlike `with`, is inlined.
#[inline]
fn deeper<R>(caught: impl FnOnce() -> R) -> R {
    let result = DEPTH.try_with(|depth| {
        depth.set(depth.get() + 1);
        let result = caught();
        depth.set(depth.get() - 1);
        result
    });
    result.expect("a number has no destructor, so it lives as long as its thread")
}

fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is no text".to_owned()
    }
}

/// Makes panics in guarded calls silent, because the host reports them, and notes their place.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if DEPTH.get() == 0 {
                previous(info);
            } else {
                let place = info.location().map(|location| format!("{}:{}", location.file(), location.line()));
                PLACE.set(place);
            }
        }));
    });
}
