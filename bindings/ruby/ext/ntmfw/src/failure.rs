//! Errors as Ruby has them.

use std::ffi::{CStr, c_int};

use magnus::{Error, Exception, ExceptionClass, Module as _, Ruby, prelude::*};

use crate::library::library;

pub(crate) fn errno() -> c_int {
    // SAFETY: the C library gives every thread an `errno` of its own.
    unsafe { *libc::__errno_location() }
}

/// What the library has to say about this number beyond what the number says.
pub(crate) fn detail(errno: c_int) -> Option<String> {
    // SAFETY: both take a number and give a C string that is good until the next failure in this thread.
    let (said, general) =
        unsafe { (CStr::from_ptr((library().strerror)(errno)), CStr::from_ptr(libc::strerror(errno))) };
    (said != general).then(|| said.to_string_lossy().into_owned())
}

/// The `Errno` of the call that failed just now, which names the call.
pub(crate) fn failure(ruby: &Ruby, call: &str) -> Error {
    let errno = errno();
    let text = detail(errno).map_or_else(|| format!("{call}(2)"), |detail| format!("{call}(2): {detail}"));
    system_call_error(ruby, &text, errno).map_or_else(|why| why, Into::into)
}

fn system_call_error(ruby: &Ruby, text: &str, errno: c_int) -> Result<Exception, Error> {
    let class: ExceptionClass = ruby.class_object().const_get("SystemCallError")?;
    class.funcall("new", (text, errno))
}

/// What a call gave, or why it failed.
pub(crate) fn checked<T: PartialOrd + Default>(ruby: &Ruby, call: &str, result: T) -> Result<T, Error> {
    if result < T::default() { Err(failure(ruby, call)) } else { Ok(result) }
}

/// The same, `None` where the call would have to wait.
pub(crate) fn unless_waiting<T: PartialOrd + Default>(ruby: &Ruby, call: &str, result: T) -> Result<Option<T>, Error> {
    if result < T::default() && matches!(errno(), libc::EAGAIN | libc::EINPROGRESS) {
        return Ok(None);
    }
    checked(ruby, call, result).map(Some)
}
