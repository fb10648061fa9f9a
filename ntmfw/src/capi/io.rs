//! Bytes and datagrams: `send`, `recv` and their kin.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use libc::{c_int, c_void, iovec, size_t, sockaddr, socklen_t, ssize_t};

use super::address::{self, Given};
use super::guard::{checked, guard};
use super::memory::{MAX_PARTS, bytes, bytes_mut, rooms, slices};
use crate::errno::{Errno, Result};
use crate::socket::state::{Kind, Socket};
use crate::socket::{datagram, stream, table};
use crate::stack::endpoint::{Arrival, Manner};

/// `read(2)`.
///
/// `ntmfw_recv` without flags.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_read(fd: c_int, room: *mut c_void, length: size_t) -> ssize_t {
    guard(|| match table::find(fd) {
        // SAFETY: the caller's promise.
        Some(socket) => unsafe { receive_into(&socket, room, length, 0) }.map(|received| signed(received.length)),
        // SAFETY: the caller's promise is the system call's.
        None => checked(unsafe { libc::read(fd, room, length) }),
    })
}

/// `write(2)`.
///
/// `ntmfw_send` without flags.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_write(fd: c_int, data: *const c_void, length: size_t) -> ssize_t {
    guard(|| match table::find(fd) {
        // SAFETY: the caller's promise.
        Some(socket) => send(&socket, &[unsafe { bytes(data, length) }?], 0, None, &Manner::default()),
        // SAFETY: the caller's promise is the system call's.
        None => checked(unsafe { libc::write(fd, data, length) }),
    })
}

/// `readv(2)`.
///
/// `ntmfw_recv` into several parts; `EINVAL` for more than `IOV_MAX` of them, or a negative count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    guard(|| match table::find(fd) {
        Some(socket) => {
            let count = count_of(count)?;
            // SAFETY: the caller's promise.
            let mut parts = unsafe { rooms(parts, count) }?;
            receive(&socket, &mut parts, 0).map(|received| signed(received.length))
        }
        // SAFETY: the caller's promise is the system call's.
        None => checked(unsafe { libc::readv(fd, parts, count) }),
    })
}

/// `writev(2)`.
///
/// `ntmfw_send` of several parts, as one datagram or in one go; `EINVAL` for more than `IOV_MAX` of them, or a
/// negative count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    guard(|| match table::find(fd) {
        Some(socket) => {
            let count = count_of(count)?;
            // SAFETY: the caller's promise.
            send(&socket, &unsafe { slices(parts, count) }?, 0, None, &Manner::default())
        }
        // SAFETY: the caller's promise is the system call's.
        None => checked(unsafe { libc::writev(fd, parts, count) }),
    })
}

/// `send(2)`.
///
/// A stream takes what fits into the buffer and blocks while nothing does; a datagram leaves or is lost, and blocks
/// only while it is found out who has the address. Errors: `EAGAIN` where it would block; `ENOTCONN` without a
/// connection; `EPIPE` (and `SIGPIPE`, unless `MSG_NOSIGNAL` is given) after its end or one's own `shutdown`;
/// `ECONNRESET`, `ETIMEDOUT`, `EHOSTUNREACH` when the connection failed; `ECONNREFUSED` where an earlier datagram was;
/// `EDESTADDRREQ` without a peer; `EMSGSIZE` above 65,507 bytes; `EINTR`; `EOPNOTSUPP` for `MSG_OOB`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_send(fd: c_int, data: *const c_void, length: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { ntmfw_sendto(fd, data, length, flags, std::ptr::null(), 0) }
}

/// `sendto(2)`. A datagram to a virtual address goes through a tunnel, which is made if there is none.
///
/// The errors of `ntmfw_send`, and `ENETUNREACH` from a bound socket to an address that is not virtual,
/// `EAFNOSUPPORT` for one of another family.
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
                return send(&socket, &[unsafe { bytes(data, length) }?], flags, to, &Manner::default());
            }
        }
        // SAFETY: the caller's promise is the system call's.
        checked(unsafe { libc::sendto(fd, data, length, flags, address, address_length) })
    })
}

/// `recv(2)`.
///
/// Blocks until there is something; 0 is the end of a stream. A datagram that is longer than the room is cut off.
/// Errors: `EAGAIN` where it would block, or after `SO_RCVTIMEO`; `ENOTCONN`; `ECONNREFUSED`, `ECONNRESET`,
/// `ETIMEDOUT`, `EHOSTUNREACH`, each told once; `EINTR`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_recv(fd: c_int, room: *mut c_void, length: size_t, flags: c_int) -> ssize_t {
    guard(|| match table::find(fd) {
        // SAFETY: the caller's promise.
        Some(socket) => unsafe { receive_into(&socket, room, length, flags) }.map(|got| signed(got.told(flags))),
        // SAFETY: the caller's promise is the system call's.
        None => checked(unsafe { libc::recv(fd, room, length, flags) }),
    })
}

/// `recvfrom(2)`.
///
/// As `ntmfw_recv`, and tells who sent it; the length of the address is cut off to the room there is, and told
/// whole.
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
        let received = unsafe { receive_into(&socket, room, length, flags) }?;
        if !address.is_null() {
            match &received.arrival {
                // SAFETY: the caller's promise.
                Some(arrival) => unsafe { address::write(socket.shown(arrival.from), address, address_length) }?,
                // SAFETY: the caller's promise; a stream names no sender.
                None if !address_length.is_null() => unsafe { address_length.write(0) },
                None => {}
            }
        }
        Ok(signed(received.told(flags)))
    })
}

/// What came.
pub(super) struct Received {
    /// Bytes that were written.
    pub(super) length: usize,
    /// Bytes that there were: more, where a datagram was cut.
    pub(super) whole: usize,
    /// Where from, for a datagram.
    pub(super) arrival: Option<Arrival>,
}

impl Received {
    /// What the call says: with `MSG_TRUNC` how much there was.
    pub(super) fn told(&self, flags: c_int) -> usize {
        if flags & libc::MSG_TRUNC != 0 { self.whole } else { self.length }
    }
}

pub(super) fn send(
    socket: &Socket,
    parts: &[&[u8]],
    flags: c_int,
    to: Option<SocketAddr>,
    manner: &Manner,
) -> Result<ssize_t> {
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    let sent = match socket.kind {
        Kind::Stream => stream::send(socket, parts, flags),
        Kind::Datagram | Kind::Echo => datagram::send(socket, parts, flags, to, manner),
    };
    if sent == Err(Errno(libc::EPIPE)) && socket.kind == Kind::Stream && flags & libc::MSG_NOSIGNAL == 0 {
        // SAFETY: sends this thread the signal that a broken pipe sends.
        unsafe { libc::raise(libc::SIGPIPE) };
    }
    sent.map(signed)
}

pub(super) fn receive(socket: &Socket, parts: &mut [&mut [u8]], flags: c_int) -> Result<Received> {
    check_flags(flags)?;
    match socket.kind {
        Kind::Stream => {
            let length = stream::recv(socket, parts, flags)?;
            Ok(Received { length, whole: length, arrival: None })
        }
        Kind::Datagram | Kind::Echo => {
            let Some(datagram) = datagram::recv(socket, flags)? else {
                return Ok(Received { length: 0, whole: 0, arrival: None });
            };
            let length = stream::scatter(&datagram.data, parts);
            Ok(Received { length, whole: datagram.data.len(), arrival: Some(datagram.arrival) })
        }
    }
}

/// There are neither urgent bytes nor queued errors.
fn check_flags(flags: c_int) -> Result<()> {
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno(libc::EINVAL));
    }
    if flags & libc::MSG_ERRQUEUE != 0 { Err(Errno(libc::EAGAIN)) } else { Ok(()) }
}

/// # Safety
/// `room` is null or points to `length` bytes that nobody else uses meanwhile.
unsafe fn receive_into(socket: &Socket, room: *mut c_void, length: size_t, flags: c_int) -> Result<Received> {
    if socket.kind == Kind::Stream && flags & libc::MSG_TRUNC != 0 {
        check_flags(flags)?;
        let length = stream::discard(socket, length, flags)?;
        return Ok(Received { length, whole: length, arrival: None });
    }
    // SAFETY: the caller's promise.
    receive(socket, &mut [unsafe { bytes_mut(room, length) }?], flags)
}

/// Where a datagram goes. Unlike other calls, those that send take an IPv4 address on an IPv6 socket.
///
/// # Safety
/// As [`address::read`].
pub(super) unsafe fn destination(
    socket: &Socket,
    address: *const sockaddr,
    length: socklen_t,
) -> Result<Option<SocketAddr>> {
    if address.is_null() || socket.kind == Kind::Stream {
        return Ok(None);
    }
    let takes_both = socket.family == libc::AF_INET6;
    let family = if takes_both { libc::AF_UNSPEC } else { socket.family };
    // SAFETY: the caller's promise.
    match unsafe { address::read(address, length, family) } {
        Ok(Given::Address(to)) => Ok(Some(to)),
        Ok(Given::Unspecified) if takes_both => Ok(None),
        Ok(Given::Unspecified) => Err(Errno(libc::EAFNOSUPPORT)),
        Err(Errno(libc::EAFNOSUPPORT)) if takes_both => Err(Errno(libc::EINVAL)),
        Err(error) => Err(error),
    }
}

/// Whether a datagram socket stays ours when it sends to `to`; one that has no port yet becomes the kernel's at the
/// first address that is not virtual.
pub(super) fn stays_ours(socket: &Socket, fd: RawFd, to: Option<SocketAddr>) -> Result<bool> {
    match to {
        Some(to) => socket.may_send_to(fd, to),
        None => Ok(true),
    }
}

/// `readv` and `writev` say in their own way that there are too many parts.
fn count_of(parts: c_int) -> Result<usize> {
    usize::try_from(parts).ok().filter(|count| *count <= MAX_PARTS).ok_or(Errno(libc::EINVAL))
}

pub(super) fn signed(length: usize) -> ssize_t {
    length.cast_signed()
}
