//! Whether a thread is inside the library, so that whoever stands between the library and the C library (the preloaded
//! shim) lets its calls through.

use std::cell::Cell;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Until it is dropped, the thread is inside.
#[derive(Debug)]
pub struct Inside(());

/// The thread is inside from now on.
#[must_use]
pub fn enter() -> Inside {
    DEPTH.set(DEPTH.get() + 1);
    Inside(())
}

/// Whether the thread is inside.
#[must_use]
pub fn is_inside() -> bool {
    DEPTH.get() > 0
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
