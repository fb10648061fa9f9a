//! `poll`, `select`, `epoll`.

use std::time::Duration;

use libc::{c_int, epoll_event, fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};

use super::guard::{checked, guard};
use crate::errno::Result;
use crate::packet::reader::Beside;
use crate::socket::polling::{counted, milliseconds, to_milliseconds, wait};
use crate::socket::table;
use crate::time::{duration, time_of, timespec_of};

const EDGE: u32 = libc::EPOLLET.cast_unsigned();

/// `poll(2)`.
///
/// Waits for sockets of ours and all other descriptors at once. `EINTR`, `EINVAL`, `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the caller's promise.
    guard(|| unsafe { poll(fds, count, milliseconds(timeout), std::ptr::null()) })
}

/// `ppoll(2)`.
///
/// As `ntmfw_poll`, with a finer time and other signals blocked meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    guard(|| {
        // SAFETY: null or valid, by the caller's promise.
        let timeout = unsafe { duration(timeout) }?;
        // SAFETY: the caller's promise.
        unsafe { poll(fds, count, timeout, mask) }
    })
}

/// `select(2)`.
///
/// As `ntmfw_poll`; `EBADF` for a descriptor that is none, `EINVAL` for a negative count or time. Only numbers below
/// `FD_SETSIZE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_select(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    guard(|| {
        // SAFETY: null or valid, by the caller's promise.
        let patience = match unsafe { timeout.as_ref() } {
            Some(time) => Some(time_of(time.tv_sec, time.tv_usec.saturating_mul(1_000))?),
            None => None,
        };
        let began = std::time::Instant::now();
        // SAFETY: the caller's promise.
        let ready = unsafe { select(count, [read, write, except], patience, std::ptr::null()) }?;
        // As Linux does, the caller is told how much time was left.
        // SAFETY: null or valid, by the caller's promise.
        if let (Some(left), Some(patience)) = (unsafe { timeout.as_mut() }, patience) {
            let rest = patience.saturating_sub(began.elapsed());
            left.tv_sec = rest.as_secs().try_into().unwrap_or(libc::time_t::MAX);
            left.tv_usec = rest.subsec_micros().into();
        }
        Ok(ready)
    })
}

/// `pselect(2)`.
///
/// As `ntmfw_select`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_pselect(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    guard(|| {
        // SAFETY: null or valid, by the caller's promise.
        let patience = unsafe { duration(timeout) }?;
        // SAFETY: the caller's promise.
        unsafe { select(count, [read, write, except], patience, mask) }
    })
}

/// `epoll_create1(2)`: the set is the kernel's.
///
/// `EINVAL`, `EMFILE`.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_epoll_create1(flags: c_int) -> c_int {
    // SAFETY: only numbers go in and come out.
    guard(|| checked(unsafe { libc::epoll_create1(flags) }))
}

/// `epoll_ctl(2)`: NTM sockets are descriptors like all others.
///
/// They may be added before they are connected, and stay. `EBADF`, `EEXIST`, `ENOENT`, `EPERM`, `EINVAL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_epoll_ctl(set: c_int, operation: c_int, fd: c_int, event: *mut epoll_event) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise is the system call's.
        let done = checked(unsafe { libc::epoll_ctl(set, operation, fd, event) })?;
        // SAFETY: null or valid, by the caller's promise; the kernel has read it.
        let asked = if operation == libc::EPOLL_CTL_DEL { None } else { unsafe { event.as_ref() } };
        if asked.is_some_and(|event| event.events & EDGE != 0)
            && let Some(socket) = table::find(fd)
        {
            socket.show_edges();
        }
        Ok(done)
    })
}

/// `epoll_wait(2)`.
///
/// Waits as `ntmfw_poll` does. `EINTR`, `EBADF`, `EINVAL`, `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_epoll_wait(set: c_int, events: *mut epoll_event, room: c_int, timeout: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { ntmfw_epoll_pwait(set, events, room, timeout, std::ptr::null()) }
}

/// `epoll_pwait(2)`.
///
/// As `ntmfw_epoll_wait`, with other signals blocked meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_epoll_pwait(
    set: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    guard(|| {
        let mut watched = [pollfd { fd: set, events: libc::POLLIN, revents: 0 }];
        // SAFETY: null or valid, by the caller's promise.
        let mut beside = Beside { extra: &mut watched, mask: unsafe { mask.as_ref() } };
        let ready = wait(milliseconds(timeout), &mut beside, |time| {
            // SAFETY: the caller's promise is the system call's.
            counted(unsafe { libc::epoll_pwait(set, events, room, to_milliseconds(time), mask) })
        })?;
        Ok(c_int::try_from(ready).unwrap_or(c_int::MAX))
    })
}

/// # Safety
/// As `ppoll`.
unsafe fn poll(fds: *mut pollfd, count: nfds_t, timeout: Option<Duration>, mask: *const sigset_t) -> Result<c_int> {
    let mut watched = if fds.is_null() || count == 0 {
        Vec::new()
    } else {
        // SAFETY: `count` entries are there, by the caller's promise; they are copied at once.
        unsafe { std::slice::from_raw_parts(fds, count as usize) }.to_vec()
    };
    // SAFETY: null or valid, by the caller's promise.
    let mut beside = Beside { extra: &mut watched, mask: unsafe { mask.as_ref() } };
    let ready = wait(timeout, &mut beside, |time| {
        let time = time.map(timespec_of);
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the caller's promise is the system call's.
        counted(unsafe { libc::ppoll(fds, count, time, mask) })
    })?;
    if ready > 0 {
        // SAFETY: the kernel has just written to all of these entries.
        unsafe { std::slice::from_raw_parts_mut(fds, count as usize) }.iter_mut().for_each(complete_failure);
    }
    Ok(c_int::try_from(ready).unwrap_or(c_int::MAX))
}

/// A socket that failed is writable too, which its descriptor shows a moment later than the failure: who looks in
/// between shall see what a kernel's socket would show.
fn complete_failure(entry: &mut pollfd) {
    if entry.revents & libc::POLLERR != 0 && table::find(entry.fd).is_some() {
        entry.revents |= entry.events & libc::POLLOUT;
    }
}

/// # Safety
/// As `pselect`.
unsafe fn select(
    count: c_int,
    sets: [*mut fd_set; 3],
    timeout: Option<Duration>,
    mask: *const sigset_t,
) -> Result<c_int> {
    let events = [libc::POLLIN, libc::POLLOUT, libc::POLLPRI];
    // SAFETY: null or valid, by the caller's promise.
    let asked = sets.map(|set| unsafe { set.as_ref() }.copied());
    let mut watched = Vec::new();
    for fd in 0..count.clamp(0, c_int::try_from(libc::FD_SETSIZE).unwrap_or(c_int::MAX)) {
        let wanted = asked.iter().zip(events).filter(|(set, _)| {
            // SAFETY: below FD_SETSIZE.
            set.as_ref().is_some_and(|set| unsafe { libc::FD_ISSET(fd, set) })
        });
        let events = wanted.fold(0, |all, (_, event)| all | event);
        if events != 0 {
            watched.push(pollfd { fd, events, revents: 0 });
        }
    }
    // SAFETY: null or valid, by the caller's promise.
    let mut beside = Beside { extra: &mut watched, mask: unsafe { mask.as_ref() } };
    let ready = wait(timeout, &mut beside, |time| {
        let time = time.map(timespec_of);
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        for (set, asked) in sets.iter().zip(asked) {
            if let Some(asked) = asked {
                // SAFETY: not null, as there was something to copy.
                unsafe { set.write(asked) };
            }
        }
        // SAFETY: the caller's promise is the system call's.
        counted(unsafe { libc::pselect(count, sets[0], sets[1], sets[2], time, mask) })
    })?;
    Ok(c_int::try_from(ready).unwrap_or(c_int::MAX))
}
