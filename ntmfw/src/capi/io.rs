//! Bytes and datagrams: `send`, `recv` and their kin.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};

use super::address::{self, Given};
use super::carrying::carry_passed;
use super::guard::{checked, guard};
use crate::errno::{Errno, Result};
use crate::socket::state::{Kind, Socket};
use crate::socket::{datagram, stream, table};

/// Linux's `IOV_MAX`.
const MAX_PARTS: usize = 1_024;

/// `read(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_read(fd: c_int, room: *mut c_void, length: size_t) -> ssize_t {
    guard(|| match table::find(fd) {
        // SAFETY: the caller's promise.
        Some(socket) => unsafe { receive_into(&socket, room, length, 0) },
        // SAFETY: the caller's promise is the system call's.
        None => checked(unsafe { libc::read(fd, room, length) }),
    })
}

/// `write(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_write(fd: c_int, data: *const c_void, length: size_t) -> ssize_t {
    guard(|| match table::find(fd) {
        // SAFETY: the caller's promise.
        Some(socket) => send(&socket, &[unsafe { bytes(data, length) }?], 0, None),
        // SAFETY: the caller's promise is the system call's.
        None => checked(unsafe { libc::write(fd, data, length) }),
    })
}

/// `readv(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    guard(|| match table::find(fd) {
        Some(socket) => {
            let count = usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?;
            // SAFETY: the caller's promise.
            let mut parts = unsafe { rooms(parts, count) }?;
            receive(&socket, &mut parts, 0).map(|received| signed(received.length))
        }
        // SAFETY: the caller's promise is the system call's.
        None => checked(unsafe { libc::readv(fd, parts, count) }),
    })
}

/// `writev(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    guard(|| match table::find(fd) {
        Some(socket) => {
            let count = usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?;
            // SAFETY: the caller's promise.
            send(&socket, &unsafe { slices(parts, count) }?, 0, None)
        }
        // SAFETY: the caller's promise is the system call's.
        None => checked(unsafe { libc::writev(fd, parts, count) }),
    })
}

/// `send(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_send(fd: c_int, data: *const c_void, length: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { ntmfw_sendto(fd, data, length, flags, std::ptr::null(), 0) }
}

/// `sendto(2)`. A datagram to a virtual address goes through a tunnel, which is made if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_sendto(
    fd: c_int,
    data: *const c_void,
    length: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> ssize_t {
    guard(|| {
        if let Some(socket) = table::find(fd) {
            // SAFETY: the caller's promise.
            let to = unsafe { destination(&socket, address, address_length) }?;
            if stays_ours(&socket, fd, to)? {
                // SAFETY: the caller's promise.
                return send(&socket, &[unsafe { bytes(data, length) }?], flags, to);
            }
        }
        // SAFETY: the caller's promise is the system call's.
        checked(unsafe { libc::sendto(fd, data, length, flags, address, address_length) })
    })
}

/// `sendmsg(2)`. Ancillary data is not looked at, but for NTM sockets that are passed to another process: they carry
/// data from then on.
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
                return send(&socket, &parts, flags, to);
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
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
    guard(|| {
        if table::find(fd).is_none() {
            // SAFETY: the caller's promise is the system call's.
            return checked(unsafe { libc::sendmmsg(fd, messages, count, flags) });
        }
        let mut sent = 0;
        for number in 0..(count as usize).min(MAX_PARTS) {
            // SAFETY: the caller's promise; each message is looked at once.
            let length = unsafe {
                let message = messages.add(number);
                let length = ntmfw_sendmsg(fd, &raw const (*message).msg_hdr, flags);
                if let Ok(length) = c_uint::try_from(length) {
                    (*message).msg_len = length;
                }
                length
            };
            if length < 0 {
                return if sent > 0 { Ok(sent) } else { Err(Errno::last()) };
            }
            sent += 1;
        }
        Ok(sent)
    })
}

/// `recv(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_recv(fd: c_int, room: *mut c_void, length: size_t, flags: c_int) -> ssize_t {
    guard(|| match table::find(fd) {
        // SAFETY: the caller's promise.
        Some(socket) => unsafe { receive_into(&socket, room, length, flags) },
        // SAFETY: the caller's promise is the system call's.
        None => checked(unsafe { libc::recv(fd, room, length, flags) }),
    })
}

/// `recvfrom(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_recvfrom(
    fd: c_int,
    room: *mut c_void,
    length: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> ssize_t {
    guard(|| {
        let Some(socket) = table::find(fd) else {
            // SAFETY: the caller's promise is the system call's.
            return checked(unsafe { libc::recvfrom(fd, room, length, flags, address, address_length) });
        };
        // SAFETY: the caller's promise.
        let received = receive(&socket, &mut [unsafe { bytes_mut(room, length) }?], flags)?;
        if !address.is_null() {
            match received.from {
                // SAFETY: the caller's promise.
                Some(from) => unsafe { address::write(socket.shown(from), address, address_length) }?,
                // SAFETY: the caller's promise; a stream names no sender.
                None if !address_length.is_null() => unsafe { address_length.write(0) },
                None => {}
            }
        }
        Ok(signed(if flags & libc::MSG_TRUNC != 0 { received.whole } else { received.length }))
    })
}

/// `recvmsg(2)`. There is no ancillary data.
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
        message.msg_flags = if received.whole > received.length { libc::MSG_TRUNC } else { 0 };
        message.msg_controllen = 0;
        match received.from {
            Some(from) if !message.msg_name.is_null() => {
                let length = &raw mut message.msg_namelen;
                // SAFETY: the caller's promise.
                unsafe { address::write(socket.shown(from), message.msg_name.cast(), length) }?;
            }
            _ => message.msg_namelen = 0,
        }
        Ok(signed(if flags & libc::MSG_TRUNC != 0 { received.whole } else { received.length }))
    })
}

/// `recvmmsg(2)`. The time-out is looked at between messages, as in the kernel.
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
        let patience = unsafe { timeout.as_ref() }.map(|time| {
            std::time::Duration::new(
                time.tv_sec.try_into().unwrap_or_default(),
                time.tv_nsec.try_into().unwrap_or_default(),
            )
        });
        let began = std::time::Instant::now();
        let mut received = 0;
        for number in 0..(count as usize).min(MAX_PARTS) {
            let one = flags & libc::MSG_WAITFORONE != 0 && received > 0;
            let flags = (flags & !libc::MSG_WAITFORONE) | if one { libc::MSG_DONTWAIT } else { 0 };
            // SAFETY: the caller's promise; each message is looked at once.
            let length = unsafe {
                let message = messages.add(number);
                let length = ntmfw_recvmsg(fd, &raw mut (*message).msg_hdr, flags);
                if let Ok(length) = c_uint::try_from(length) {
                    (*message).msg_len = length;
                }
                length
            };
            if length < 0 {
                return if received > 0 { Ok(received) } else { Err(Errno::last()) };
            }
            received += 1;
            if patience.is_some_and(|patience| began.elapsed() >= patience) {
                break;
            }
        }
        Ok(received)
    })
}

struct Received {
    /// Bytes that were written.
    length: usize,
    /// Bytes that there were: more, where a datagram was cut.
    whole: usize,
    from: Option<SocketAddr>,
}

fn send(socket: &Socket, parts: &[&[u8]], flags: c_int, to: Option<SocketAddr>) -> Result<ssize_t> {
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    let sent = match socket.kind {
        Kind::Stream => stream::send(socket, parts, flags),
        Kind::Datagram => datagram::send(socket, parts, to),
    };
    if sent == Err(Errno(libc::EPIPE)) && socket.kind == Kind::Stream && flags & libc::MSG_NOSIGNAL == 0 {
        // SAFETY: sends this thread the signal that a broken pipe sends.
        unsafe { libc::raise(libc::SIGPIPE) };
    }
    sent.map(signed)
}

fn receive(socket: &Socket, parts: &mut [&mut [u8]], flags: c_int) -> Result<Received> {
    if flags & (libc::MSG_OOB | libc::MSG_ERRQUEUE) != 0 {
        return Err(Errno(if flags & libc::MSG_OOB != 0 { libc::EINVAL } else { libc::EAGAIN }));
    }
    match socket.kind {
        Kind::Stream => {
            let length = stream::recv(socket, parts, flags)?;
            Ok(Received { length, whole: length, from: None })
        }
        Kind::Datagram => {
            let Some(datagram) = datagram::recv(socket, flags)? else {
                return Ok(Received { length: 0, whole: 0, from: None });
            };
            let mut rest = &datagram.data[..];
            for part in parts {
                let (now, later) = rest.split_at(rest.len().min(part.len()));
                part[..now.len()].copy_from_slice(now);
                rest = later;
            }
            let whole = datagram.data.len();
            Ok(Received { length: whole - rest.len(), whole, from: Some(datagram.from) })
        }
    }
}

/// # Safety
/// `room` is null or points to `length` bytes that nobody else uses meanwhile.
unsafe fn receive_into(socket: &Socket, room: *mut c_void, length: size_t, flags: c_int) -> Result<ssize_t> {
    // SAFETY: the caller's promise.
    let received = receive(socket, &mut [unsafe { bytes_mut(room, length) }?], flags)?;
    Ok(signed(if flags & libc::MSG_TRUNC != 0 { received.whole } else { received.length }))
}

/// # Safety
/// As [`address::read`].
unsafe fn destination(socket: &Socket, address: *const sockaddr, length: socklen_t) -> Result<Option<SocketAddr>> {
    if address.is_null() || socket.kind == Kind::Stream {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    match unsafe { address::read(address, length, socket.family) }? {
        Given::Address(to) => Ok(Some(to)),
        Given::Unspecified => Err(Errno(libc::EAFNOSUPPORT)),
    }
}

/// Whether a datagram socket stays ours when it sends to `to`; one that has no port yet becomes the kernel's at the
/// first address that is not virtual.
fn stays_ours(socket: &Socket, fd: RawFd, to: Option<SocketAddr>) -> Result<bool> {
    match to {
        Some(to) => socket.may_send_to(fd, to),
        None => Ok(true),
    }
}

/// # Safety
/// `data` is null or points to `length` bytes.
unsafe fn bytes<'a>(data: *const c_void, length: size_t) -> Result<&'a [u8]> {
    if length == 0 {
        return Ok(&[]);
    }
    if data.is_null() || isize::try_from(length).is_err() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), length) })
}

/// # Safety
/// `room` is null or points to `length` bytes that nobody else uses meanwhile.
unsafe fn bytes_mut<'a>(room: *mut c_void, length: size_t) -> Result<&'a mut [u8]> {
    if length == 0 {
        return Ok(&mut []);
    }
    if room.is_null() || isize::try_from(length).is_err() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(room.cast(), length) })
}

/// # Safety
/// `parts` is null or points to `count` entries, each of bytes as [`bytes`] wants them.
unsafe fn slices<'a>(parts: *const iovec, count: usize) -> Result<Vec<&'a [u8]>> {
    // SAFETY: the caller's promise.
    let parts = unsafe { entries(parts, count) }?;
    // SAFETY: the caller's promise.
    parts.iter().map(|part| unsafe { bytes(part.iov_base, part.iov_len) }).collect()
}

/// # Safety
/// As [`slices`], with bytes as [`bytes_mut`] wants them.
unsafe fn rooms<'a>(parts: *const iovec, count: usize) -> Result<Vec<&'a mut [u8]>> {
    // SAFETY: the caller's promise.
    let parts = unsafe { entries(parts, count) }?;
    // SAFETY: the caller's promise.
    parts.iter().map(|part| unsafe { bytes_mut(part.iov_base, part.iov_len) }).collect()
}

/// # Safety
/// `parts` is null or points to `count` entries.
unsafe fn entries<'a>(parts: *const iovec, count: usize) -> Result<&'a [iovec]> {
    if count == 0 {
        return Ok(&[]);
    }
    if count > MAX_PARTS {
        return Err(Errno(libc::EMSGSIZE));
    }
    if parts.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(parts, count) })
}

fn signed(length: usize) -> ssize_t {
    length.cast_signed()
}
