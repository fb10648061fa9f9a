//! What is asked of the host beyond the standard library: signals that end a program in good order, a terminal that does
//! not show what is typed.

#![allow(unsafe_code)]

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
