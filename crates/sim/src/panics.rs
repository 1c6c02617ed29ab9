//! Turns a panic in a core into a violation, and keeps its message off the screen while a script is shrunk.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::violation::Violation;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// Where the last quiet panic was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

static HOOK: Once = Once::new();

/// Runs `run`; a panic in it is the violation `no-panic`. Other threads' panics are printed as ever.
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Violation> {
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if QUIET.get() {
                PLACE.set(panic.location().map(ToString::to_string).unwrap_or_default());
            } else {
                print(panic);
            }
        }));
    });
    QUIET.set(true);
    let caught = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    caught.map_err(|panic| Violation::new("no-panic", format!("{} ({})", message(&*panic), PLACE.take())))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}
