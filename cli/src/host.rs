//! What is asked of the host beyond the standard library: signals that end a program in good order, a terminal that does
//! not show what is typed.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// Those that mean: end.
const ENDING: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Signals that wait to be taken instead of ending the process.
pub(crate) struct Held(libc::sigset_t);

impl Held {
    /// To be called before there are other threads: they inherit it.
    pub(crate) fn hold() -> Self {
        // SAFETY: a set of this thread's own, filled before it is used.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in ENDING {
                libc::sigaddset(&raw mut set, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            Self(set)
        }
    }

    /// Waits for one.
    pub(crate) fn wait(&self) {
        let mut signal = 0;
        // SAFETY: a set that was filled, and room for a number.
        unsafe { libc::sigwait(&raw const self.0, &raw mut signal) };
    }
}

/// This process is to end, in good order.
pub(crate) fn end_self() {
    // SAFETY: sends this process a signal that it holds.
    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
}

/// Goes on in a child that belongs to no terminal. To be called before there are other threads.
pub(crate) fn go_into_background() -> std::io::Result<()> {
    // SAFETY: only numbers go in; this thread is the only one.
    if unsafe { libc::daemon(1, 1) } < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// From now on nothing is said: whoever reads what this process could say is told the end.
pub(crate) fn fall_silent() -> std::io::Result<()> {
    let nowhere = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for standard in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: only numbers go in.
        if unsafe { libc::dup2(nowhere.as_raw_fd(), standard) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes what else whoever started this process left to it: all but the standard ones and `kept`. To be called before the
/// process has descriptors of its own.
pub(crate) fn close_others(kept: impl IntoIterator<Item = RawFd>) {
    let mut kept: Vec<_> = kept.into_iter().filter_map(|fd| u32::try_from(fd).ok()).collect();
    kept.sort_unstable();
    let mut next = libc::STDERR_FILENO.unsigned_abs() + 1;
    for end in kept.into_iter().chain([u32::MAX]) {
        if next < end {
            // SAFETY: only numbers go in, of descriptors that nothing in this process has.
            unsafe { libc::close_range(next, end - 1, 0) };
        }
        next = next.max(end.saturating_add(1));
    }
}

/// A descriptor that whoever started this process left to it; `None` where there is none of that number.
pub(crate) fn inherited(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: only numbers go in. What is there was left for the caller, who asks once; it is not inherited further.
    unsafe { (libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) == 0).then(|| OwnedFd::from_raw_fd(fd)) }
}

/// Hides what is typed at the terminal until it is dropped.
pub(crate) struct Hidden(libc::termios);

pub(crate) fn hide_input() -> Option<Hidden> {
    // SAFETY: filled by the first call before it is used, and given back by the second as it was but for one bit.
    unsafe {
        let mut now: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(libc::STDIN_FILENO, &raw mut now) < 0 {
            return None;
        }
        let before = now;
        now.c_lflag &= !libc::ECHO;
        (libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, &raw const now) == 0).then_some(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // SAFETY: what the terminal was.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, &raw const self.0) };
    }
}
