//! What the user is told.

use std::ffi::CStr;
use std::io::Write as _;
use std::sync::Once;

/// Says once, in a line, why nodes cannot be reached. What concerns the kernel goes on.
pub(crate) fn cannot(errno: i32) {
    let why = ntmfw::capi::ntmfw_strerror(errno);
    // SAFETY: a C string, good until the next failure in this thread.
    cannot_because(&unsafe { CStr::from_ptr(why) }.to_string_lossy());
}

/// The same, where it is known in words.
pub(crate) fn cannot_because(why: &str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = writeln!(std::io::stderr(), "ntm: nodes cannot be reached: {why}");
    });
}

/// Says that what this process has ends with it.
pub(crate) fn leaving() {
    let _ = writeln!(
        std::io::stderr(),
        "ntm: the process ends that has connections of its children, and they end with it: start the agent first (ntm up), \
         or keep it in the foreground (nginx: daemon off)"
    );
}

/// Says that what this process has ends with the program.
pub(crate) fn replaced() {
    let _ = writeln!(
        std::io::stderr(),
        "ntm: another program takes the place of the one that has connections to nodes, and they end: start the agent first \
         (ntm up), or let it run the other one as a child"
    );
}

/// The error number that the last call of this thread left.
pub(crate) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or_default()
}

pub(crate) fn set_errno(errno: i32) {
    // SAFETY: the C library gives every thread an `errno` of its own.
    unsafe { *libc::__errno_location() = errno }
}
