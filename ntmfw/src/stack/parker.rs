//! A thread that sleeps until another one wakes it, or a signal does.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::errno::{Errno, Result};
use crate::time::timespec_of;

const EMPTY: u32 = 0;
const WOKEN: u32 = 1;
const PROMOTED: u32 = 2;
/// The thread is about to sleep, or does: only then is the kernel to be told.
const ASLEEP: u32 = 4;

thread_local! {
    static WOKE: Cell<bool> = const { Cell::new(false) };
}

/// One thread's bed. Unlike the standard library's, it tells when a signal ended the sleep: blocking calls must
/// give `EINTR` then.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    state: AtomicU32,
}

impl Parker {
    /// What the thread waits for may have happened.
    pub(crate) fn wake(&self) {
        self.set(WOKEN);
    }

    /// It is the thread's turn to read.
    pub(crate) fn promote(&self) {
        self.set(PROMOTED);
    }

    pub(crate) fn take_promotion(&self) -> bool {
        self.state.fetch_and(!PROMOTED, Ordering::SeqCst) & PROMOTED != 0
    }

    /// Sleeps until woken, promoted, or the time is over. `EINTR` after a signal.
    pub(crate) fn park(&self, timeout: Option<Duration>) -> Result<()> {
        if self.state.compare_exchange(EMPTY, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.state.fetch_and(!WOKEN, Ordering::SeqCst);
            return Ok(());
        }
        let timeout = timeout.map(timespec_of);
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the word and the timeout live for the time of the call; the kernel only reads them.
        let slept = unsafe {
            let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
            libc::syscall(libc::SYS_futex, self.state.as_ptr(), operation, ASLEEP, timeout)
        };
        let error = Errno::last();
        self.state.fetch_and(!(WOKEN | ASLEEP), Ordering::SeqCst);
        if slept < 0 && error.0 == libc::EINTR { Err(error) } else { Ok(()) }
    }

    /// Whether this thread has woken another one since it last asked.
    pub(crate) fn take_woken() -> bool {
        WOKE.replace(false)
    }

    /// This thread has woken another one by other means.
    pub(crate) fn note_woken() {
        WOKE.set(true);
    }

    fn set(&self, bit: u32) {
        if self.state.fetch_or(bit, Ordering::SeqCst) == ASLEEP {
            Self::note_woken();
            // SAFETY: the word lives as long as `self`; one waiter is woken.
            unsafe {
                let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
                libc::syscall(libc::SYS_futex, self.state.as_ptr(), operation, 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_wake_before_the_sleep_is_not_lost() {
        let parker = Parker::default();
        parker.wake();
        assert_eq!(parker.park(None), Ok(()));
    }

    #[test]
    fn a_sleeper_is_woken_by_another_thread_which_knows_that_it_did() {
        let parker = Arc::new(Parker::default());
        let sleeper = {
            let parker = parker.clone();
            std::thread::spawn(move || parker.park(None))
        };
        while parker.state.load(Ordering::SeqCst) != ASLEEP {
            std::thread::yield_now();
        }
        assert!(!Parker::take_woken());
        parker.wake();
        assert!(Parker::take_woken() && !Parker::take_woken());
        assert_eq!(sleeper.join().expect("it wakes"), Ok(()));
    }

    #[test]
    fn a_promotion_is_taken_once() {
        let parker = Parker::default();
        parker.promote();
        assert_eq!(parker.park(None), Ok(()), "it ends the sleep");
        assert!(parker.take_promotion() && !parker.take_promotion());
    }

    #[test]
    fn a_sleep_ends_with_its_time() {
        assert_eq!(Parker::default().park(Some(Duration::from_millis(1))), Ok(()));
    }
}
