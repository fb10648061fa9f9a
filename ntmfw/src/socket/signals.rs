//! Signals that come while a call waits.

use libc::c_int;

/// Faults of the program's own: they do not come to a thread that waits, and runtimes handle them for themselves.
const FAULTS: [c_int; 6] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT];
const LAST: c_int = 64;

/// Whether the program wants calls that a signal interrupted to be begun again (`SA_RESTART`). Which signal it was cannot be
/// told after its handler has run: a program whose handlers differ is told `EINTR`, as one is that wants it always.
pub(crate) fn handlers_restart() -> bool {
    (1..=LAST).filter(|signal| !FAULTS.contains(signal)).all(|signal| {
        // SAFETY: zeros are an action, which is only written; what is asked of a number that is no signal fails.
        let action = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            (libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0).then_some(action)
        };
        action.is_none_or(|action| {
            let handled = !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN);
            !handled || action.sa_flags & libc::SA_RESTART != 0
        })
    })
}
