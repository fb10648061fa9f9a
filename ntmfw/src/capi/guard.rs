//! The border to C.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::runtime::Core;
use crate::socket;

thread_local! {
    /// What the last call of this thread that failed had to say beyond its error number.
    static DETAIL: RefCell<(c_int, CString)> = RefCell::default();
}

/// What a call gives when it fails: −1, or a null pointer.
pub(super) trait Failed {
    const FAILED: Self;
}

impl Failed for c_int {
    const FAILED: Self = -1;
}

impl Failed for isize {
    const FAILED: Self = -1;
}

impl<T> Failed for *const T {
    const FAILED: Self = std::ptr::null();
}

impl<T> Failed for *mut T {
    const FAILED: Self = std::ptr::null_mut();
}

/// Runs the inside of a call: an error becomes `errno`, a panic `EIO`.
pub(super) fn guard<T: Failed>(inside: impl FnOnce() -> Result<T>) -> T {
    match catch_unwind(AssertUnwindSafe(inside)) {
        Ok(Ok(value)) => value,
        Ok(Err(errno)) => {
            set_errno(errno);
            T::FAILED
        }
        Err(_) => {
            explain(Errno(libc::EIO), "a fault inside ntmfw; please report it");
            set_errno(Errno(libc::EIO));
            T::FAILED
        }
    }
}

/// The same for calls that give an error number of their own kind.
pub(super) fn guard_code(on_panic: c_int, inside: impl FnOnce() -> c_int) -> c_int {
    catch_unwind(AssertUnwindSafe(inside)).unwrap_or(on_panic)
}

/// A C function's result in the kernel's manner: negative means `errno`.
pub(super) fn checked<T: PartialOrd + Default>(result: T) -> Result<T> {
    if result < T::default() { Err(Errno::last()) } else { Ok(result) }
}

/// The runtime, begun with the usual configuration if the program did not begin it.
pub(crate) fn core() -> Result<&'static Arc<Core>> {
    socket::begin(None).map_err(|error| {
        explain(error.errno, &error.message);
        error.errno
    })
}

/// Notes what there is to say about an error.
pub(super) fn explain(errno: Errno, message: &str) {
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    DETAIL.with_borrow_mut(|detail| *detail = (errno.0, text));
}

/// What was noted about the error with this number, if it was the last of this thread.
pub(super) fn detail(errno: c_int) -> Option<*const c_char> {
    DETAIL.with_borrow(|(noted, text)| (*noted == errno && !text.is_empty()).then(|| text.as_ptr()))
}

pub(super) fn set_errno(errno: Errno) {
    // SAFETY: the C library gives every thread an `errno` of its own.
    unsafe { *libc::__errno_location() = errno.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno() -> Errno {
        Errno::last()
    }

    #[test]
    fn what_a_call_gives_comes_out_as_it_is() {
        set_errno(Errno(libc::EAGAIN));
        assert_eq!(guard(|| Ok(7)), 7);
        assert_eq!(errno(), Errno(libc::EAGAIN), "a call that succeeds leaves it");
    }

    #[test]
    fn an_error_becomes_errno_and_the_value_that_says_so() {
        assert_eq!(guard(|| Err::<c_int, _>(Errno(libc::ENOTCONN))), -1);
        assert_eq!(errno(), Errno(libc::ENOTCONN));
        assert_eq!(guard(|| Err::<isize, _>(Errno(libc::EPIPE))), -1);
        assert!(guard(|| Err::<*const u8, _>(Errno(libc::EPIPE))).is_null());
        assert!(guard(|| Err::<*mut u8, _>(Errno(libc::EPIPE))).is_null());
    }

    #[test]
    fn a_panic_inside_ends_at_the_border_and_says_whose_fault_it_is() {
        assert_eq!(guard(|| -> Result<c_int> { panic!("on purpose") }), -1);
        assert_eq!(errno(), Errno(libc::EIO));
        let said = detail(libc::EIO).expect("an explanation");
        // SAFETY: a C string of this thread's, good until its next failure.
        let said = unsafe { std::ffi::CStr::from_ptr(said) };
        assert!(said.to_string_lossy().contains("inside ntmfw"));
        assert_eq!(guard_code(libc::EAI_FAIL, || panic!("on purpose")), libc::EAI_FAIL);
        assert_eq!(guard(|| Ok(7)), 7, "the next call goes on");
    }

    #[test]
    fn a_lock_held_by_a_call_that_panicked_is_free_for_the_next() {
        let lock = crate::sync::Lock::new(1);
        let panicked = guard(|| -> Result<c_int> {
            let _held = lock.lock();
            panic!("on purpose")
        });
        assert_eq!((panicked, *lock.lock()), (-1, 1));
    }
}
