//! The clock that all processes of this machine share, and sleeping by it.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::forward::model::Nanos;

/// `CLOCK_MONOTONIC`, as the C programs read it.
pub(crate) fn monotonic() -> Nanos {
    read(libc::CLOCK_MONOTONIC)
}

/// `CLOCK_REALTIME`, by which the kernel stamps frames.
pub(crate) fn realtime() -> Nanos {
    read(libc::CLOCK_REALTIME)
}

fn read(clock: libc::clockid_t) -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux and `time` is ours to fill.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Has this thread's sleeps end when they are over: not up to 50 µs later, and, where the user may ask for it, before
/// what else wants to run.
pub(crate) fn sleep_precisely() {
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: both concern this thread only; the parameter lives as long as the call. Refusals change nothing.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64);
        libc::sched_setscheduler(0, libc::SCHED_RR, &raw const first);
    }
}

/// Waits until one of the descriptors can be read, for `longest` at most.
pub(crate) fn wait<const N: usize>(descriptors: [BorrowedFd<'_>; N], longest: Nanos) -> io::Result<()> {
    let mut polled =
        descriptors.map(|descriptor| libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let timeout = libc::timespec {
        tv_sec: i64::try_from(longest / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: (longest % 1_000_000_000) as i64,
    };
    // SAFETY: `polled` holds N descriptors that are borrowed for as long as this call takes; no mask is given.
    let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), N as libc::nfds_t, &raw const timeout, std::ptr::null()) };
    match ready {
        0.. => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
    }
}
