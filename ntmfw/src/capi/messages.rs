//! Messages: `sendmsg`, `recvmsg` and the calls that take several at once.

use std::time::Instant;

use libc::{c_int, c_uint, mmsghdr, msghdr, ssize_t, timespec};

use super::carrying::carry_passed;
use super::guard::{checked, guard};
use super::io::{Received, destination, receive, send, signed, stays_ours};
use super::memory::{MAX_PARTS, rooms, slices};
use super::{address, ancillary};
use crate::errno::{Errno, Result};
use crate::packet::route::gathering;
use crate::socket::state::{Kind, Socket};
use crate::socket::table;
use crate::stack::endpoint::Manner;
use crate::time::duration;

/// `sendmsg(2)`. Of ancillary data `IP_PKTINFO`, `IP_TTL`, `IP_TOS` and their IPv6 counterparts are followed. NTM sockets
/// that are passed to another process (`SCM_RIGHTS`) carry data from then on (`NTMFW_DATA_CARRYING`).
///
/// Blocks and fails as `ntmfw_sendto`; `EINVAL` for ancillary data that is not understood, `EMSGSIZE` for too many
/// parts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    guard(|| {
        if let Some(socket) = table::find(fd) {
            // SAFETY: the caller's promise.
            let message = unsafe { message.as_ref() }.ok_or(Errno(libc::EFAULT))?;
            // SAFETY: the caller's promise.
            let to = unsafe { destination(&socket, message.msg_name.cast(), message.msg_namelen) }?;
            if stays_ours(&socket, fd, to)? {
                // SAFETY: the caller's promise.
                let parts = unsafe { slices(message.msg_iov, message.msg_iovlen) }?;
                // SAFETY: the caller's promise.
                let wishes = unsafe { ancillary::read(message) }?;
                return send(&socket, &parts, flags, to, &wishes);
            }
        }
        // SAFETY: the caller's promise is the system call's.
        checked(unsafe {
            carry_passed(message);
            libc::sendmsg(fd, message, flags)
        })
    })
}

/// `sendmmsg(2)`.
///
/// As `ntmfw_sendmsg` for each; how many were sent, where at least one was. Single datagrams to one peer leave
/// together.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
    guard(|| {
        let Some(socket) = table::find(fd) else {
            // SAFETY: the caller's promise is the system call's.
            return checked(unsafe { libc::sendmmsg(fd, messages, count, flags) });
        };
        let mut left = (count as usize).min(MAX_PARTS);
        // SAFETY: the caller's promise; each message is looked at once.
        let sent = gathering(|| unsafe {
            each(messages, count, |message| {
                left -= 1;
                // What follows in a stream may go in the same segment.
                let more = if left > 0 && socket.kind == Kind::Stream { libc::MSG_MORE } else { 0 };
                Some(ntmfw_sendmsg(fd, &raw const (*message).msg_hdr, flags | more))
            })
        });
        if left > 0 && socket.kind == Kind::Stream {
            // Nothing follows after all. Whether that could be sent is the next call's to tell.
            let _ = send(&socket, &[], flags | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT, None, &Manner::default());
        }
        sent
    })
}

/// `recvmsg(2)`. Ancillary data is what `IP_PKTINFO`, `IP_RECVTTL`, `IP_RECVTOS`, their IPv6 counterparts and
/// `SO_TIMESTAMP` ask for.
///
/// Blocks and fails as `ntmfw_recv`; `MSG_TRUNC` and `MSG_CTRUNC` tell what had no room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    guard(|| {
        let Some(socket) = table::find(fd) else {
            // SAFETY: the caller's promise is the system call's.
            return checked(unsafe { libc::recvmsg(fd, message, flags) });
        };
        // SAFETY: the caller's promise.
        let message = unsafe { message.as_mut() }.ok_or(Errno(libc::EFAULT))?;
        // SAFETY: the caller's promise.
        let mut parts = unsafe { rooms(message.msg_iov, message.msg_iovlen) }?;
        let received = receive(&socket, &mut parts, flags)?;
        // SAFETY: the caller's promise.
        unsafe { describe(&socket, &received, message) }?;
        Ok(signed(received.told(flags)))
    })
}

/// `recvmmsg(2)`. The time-out is looked at between messages, as in the kernel.
///
/// As `ntmfw_recvmsg` for each; how many came, where at least one did.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    guard(|| {
        if table::find(fd).is_none() {
            // SAFETY: the caller's promise is the system call's.
            return checked(unsafe { libc::recvmmsg(fd, messages, count, flags, timeout) });
        }
        // SAFETY: null or valid, by the caller's promise.
        let patience = unsafe { duration(timeout) }?;
        let began = Instant::now();
        let mut first = true;
        // SAFETY: the caller's promise; each message is looked at once.
        unsafe {
            each(messages, count, |message| {
                if !first && patience.is_some_and(|patience| began.elapsed() >= patience) {
                    return None;
                }
                let wait = first || flags & libc::MSG_WAITFORONE == 0;
                first = false;
                let flags = (flags & !libc::MSG_WAITFORONE) | if wait { 0 } else { libc::MSG_DONTWAIT };
                Some(ntmfw_recvmsg(fd, &raw mut (*message).msg_hdr, flags))
            })
        }
    })
}

/// Makes a call for each message until one fails or gives none, and says how many there were; the error of the first
/// where there were none.
///
/// # Safety
/// `messages` is null or points to `count` messages.
unsafe fn each(
    messages: *mut mmsghdr,
    count: c_uint,
    mut call: impl FnMut(*mut mmsghdr) -> Option<ssize_t>,
) -> Result<c_int> {
    if messages.is_null() && count > 0 {
        return Err(Errno(libc::EFAULT));
    }
    let mut done = 0;
    for number in 0..(count as usize).min(MAX_PARTS) {
        // SAFETY: one of the messages that there are.
        let message = unsafe { messages.add(number) };
        match call(message) {
            None => break,
            Some(length) => match c_uint::try_from(length) {
                // SAFETY: as above.
                Ok(length) => unsafe { (*message).msg_len = length },
                Err(_) if done > 0 => break,
                Err(_) => return Err(Errno::last()),
            },
        }
        done += 1;
    }
    Ok(done)
}

/// Tells in the message what there is to say beside the bytes.
///
/// # Safety
/// The message is one that `recvmsg` may be given.
unsafe fn describe(socket: &Socket, received: &Received, message: &mut msghdr) -> Result<()> {
    message.msg_flags = if received.whole > received.length { libc::MSG_TRUNC } else { 0 };
    let notes = received.arrival.as_ref().map(|arrival| ancillary::notes(socket, arrival)).unwrap_or_default();
    // SAFETY: the caller's promise.
    unsafe { ancillary::write(&notes, message) };
    match &received.arrival {
        Some(arrival) if !message.msg_name.is_null() => {
            let length = &raw mut message.msg_namelen;
            // SAFETY: the caller's promise.
            unsafe { address::write(socket.shown(arrival.from), message.msg_name.cast(), length) }
        }
        _ => {
            message.msg_namelen = 0;
            Ok(())
        }
    }
}
