//! This process.

pub(crate) fn is_root() -> bool {
    // SAFETY: asks for a number, and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The first process of a namespace is asked to end in vain unless it says how. With it end all others.
pub(crate) fn end_when_told() {
    extern "C" fn end(_signal: libc::c_int) {
        // SAFETY: may be called from a signal's handler, and does not return.
        unsafe { libc::_exit(130) }
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler does nothing that a handler may not do.
        unsafe { libc::signal(signal, end as *const () as libc::sighandler_t) };
    }
}
