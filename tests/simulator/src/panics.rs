//! Panics of the engine: a task that panics must fail its seed, whoever swallows the error.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic on this thread is kept rather than printed, while a seed runs on it.
pub(crate) fn watch() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if crate::is_running() {
                let said = info.to_string();
                LAST.with(|last| *last.borrow_mut() = Some(said));
            } else {
                before(info);
            }
        }));
    });
}

/// The last panic on this thread, once.
pub(crate) fn take() -> Option<String> {
    LAST.with(|last| last.borrow_mut().take())
}
