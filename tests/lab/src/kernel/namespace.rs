//! Being in a network namespace.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Runs `work` on a thread of its own that is in the namespace. Sockets it opens and processes it starts belong there.
pub(crate) fn within<T: Send>(namespace: &File, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: a descriptor that lives; only this thread changes its namespace.
            if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
                return Err(io::Error::last_os_error());
            }
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
