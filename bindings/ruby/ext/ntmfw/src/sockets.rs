//! The calls on descriptors. Addresses are what Ruby calls packed: the bytes of a `sockaddr`.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;

use libc::{sockaddr, sockaddr_storage, socklen_t};
use magnus::{Error, RString, Ruby};

use crate::failure::{checked, unless_waiting};
use crate::library::library;

/// The level and the name of the option with which a descriptor carries data, from `ntmfw.h`.
const SOL_NTMFW: c_int = 20052;
const NTMFW_DATA_CARRYING: c_int = 1;
/// Room for the value of any option.
const OPTION: usize = 256;

pub(crate) fn socket(ruby: &Ruby, family: c_int, kind: c_int) -> Result<c_int, Error> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: only numbers go in and come out.
    checked(ruby, "socket", unsafe { (library().socket)(family, kind, 0) })
}

pub(crate) fn bind(ruby: &Ruby, fd: c_int, address: RString) -> Result<(), Error> {
    let result = with_address(address, |address, length| {
        // SAFETY: so many bytes of an address are there.
        unsafe { (library().bind)(fd, address, length) }
    });
    checked(ruby, "bind", result).map(drop)
}

pub(crate) fn listen(ruby: &Ruby, fd: c_int, backlog: c_int) -> Result<(), Error> {
    // SAFETY: only numbers go in and come out.
    checked(ruby, "listen", unsafe { (library().listen)(fd, backlog) }).map(drop)
}

/// 0 or, where the connection is under way, `nil`.
pub(crate) fn connect(ruby: &Ruby, fd: c_int, address: RString) -> Result<Option<c_int>, Error> {
    let result = with_address(address, |address, length| {
        // SAFETY: so many bytes of an address are there.
        unsafe { (library().connect)(fd, address, length) }
    });
    unless_waiting(ruby, "connect", result)
}

/// The descriptor of a connection or, where nobody has called, `nil`.
pub(crate) fn accept(ruby: &Ruby, fd: c_int) -> Result<Option<c_int>, Error> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: nobody asks for the address.
    let accepted = unsafe { (library().accept4)(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    unless_waiting(ruby, "accept", accepted)
}

/// Whether the socket is not, or not any more, the kernel's.
pub(crate) fn is_ntm(fd: c_int) -> bool {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as socklen_t;
    let room = (&raw mut value).cast::<c_void>();
    // SAFETY: there is room for a number.
    unsafe { (library().getsockopt)(fd, SOL_NTMFW, NTMFW_DATA_CARRYING, room, &raw mut length) == 0 }
}

/// From now on Ruby reads and writes the descriptor by itself. What has become the kernel's does that already.
pub(crate) fn carry(ruby: &Ruby, fd: c_int) -> Result<(), Error> {
    let on: c_int = 1;
    let length = size_of::<c_int>() as socklen_t;
    // SAFETY: the value is a number, and lives for the call.
    let result =
        unsafe { (library().setsockopt)(fd, SOL_NTMFW, NTMFW_DATA_CARRYING, (&raw const on).cast::<c_void>(), length) };
    if result < 0 && matches!(crate::failure::errno(), libc::ENOPROTOOPT | libc::EOPNOTSUPP) {
        return Ok(());
    }
    checked(ruby, "setsockopt", result).map(drop)
}

/// The socket is closed and its port is free, while the descriptor stays one, of nothing: Ruby's `close` closes the
/// descriptor by itself, and must not meet somebody else's of the same number.
pub(crate) fn release(ruby: &Ruby, fd: c_int) -> Result<(), Error> {
    let nothing =
        std::fs::File::open("/dev/null").map_err(|why| Error::new(ruby.exception_io_error(), why.to_string()))?;
    // SAFETY: only numbers go in and come out.
    checked(ruby, "close", unsafe { (library().dup2)(nothing.as_raw_fd(), fd) }).map(drop)
}

/// Closes a descriptor that Ruby does not know of yet.
pub(crate) fn close(fd: c_int) {
    // SAFETY: only a number goes in.
    unsafe { (library().close)(fd) };
}

pub(crate) fn own_address(ruby: &Ruby, fd: c_int) -> Result<RString, Error> {
    // SAFETY: `taken_address` gives room for an address, and the room's length.
    taken_address(ruby, "getsockname", |room, length| unsafe { (library().getsockname)(fd, room, length) })
}

pub(crate) fn peer_address(ruby: &Ruby, fd: c_int) -> Result<RString, Error> {
    // SAFETY: as above.
    taken_address(ruby, "getpeername", |room, length| unsafe { (library().getpeername)(fd, room, length) })
}

pub(crate) fn option(ruby: &Ruby, fd: c_int, level: c_int, name: c_int) -> Result<RString, Error> {
    let mut value = [0_u8; OPTION];
    let mut length = OPTION as socklen_t;
    // SAFETY: there is as much room as said.
    let result = unsafe { (library().getsockopt)(fd, level, name, value.as_mut_ptr().cast(), &raw mut length) };
    checked(ruby, "getsockopt", result)?;
    Ok(ruby.str_from_slice(&value[..(length as usize).min(OPTION)]))
}

pub(crate) fn set_option(ruby: &Ruby, fd: c_int, level: c_int, name: c_int, value: RString) -> Result<(), Error> {
    // SAFETY: the bytes are looked at in this call only, in which no Ruby code runs.
    let result = unsafe {
        let value = value.as_slice();
        (library().setsockopt)(fd, level, name, value.as_ptr().cast(), value.len() as socklen_t)
    };
    checked(ruby, "setsockopt", result).map(drop)
}

/// How much was sent; `nil` where there is no room now.
pub(crate) fn send(
    ruby: &Ruby,
    fd: c_int,
    data: RString,
    flags: c_int,
    address: Option<RString>,
) -> Result<Option<isize>, Error> {
    // SAFETY: the bytes of both are looked at in this call only, in which no Ruby code runs.
    let sent = unsafe {
        let data = data.as_slice();
        let address = address.as_ref().map_or(&[][..], |address| address.as_slice());
        let to = if address.is_empty() { std::ptr::null() } else { address.as_ptr().cast::<sockaddr>() };
        (library().sendto)(fd, data.as_ptr().cast(), data.len(), flags, to, address.len() as socklen_t)
    };
    unless_waiting(ruby, "send", sent)
}

/// What came and from where; `nil` where nothing has.
pub(crate) fn receive(ruby: &Ruby, fd: c_int, most: usize, flags: c_int) -> Result<Option<(RString, RString)>, Error> {
    let mut room = vec![0_u8; most];
    let mut got = None;
    let from = taken_address(ruby, "recvfrom", |address, length| {
        // SAFETY: there is as much room as said, for the datagram and for the address.
        let result = unsafe { (library().recvfrom)(fd, room.as_mut_ptr().cast(), most, flags, address, length) };
        got = Some(result);
        // That there is nothing is no failure.
        if result < 0 && crate::failure::errno() != libc::EAGAIN { -1 } else { 0 }
    })?;
    Ok(got.and_then(|got| usize::try_from(got).ok()).map(|got| (ruby.str_from_slice(&room[..got.min(most)]), from)))
}

/// Lends the call the bytes of an address.
pub(crate) fn with_address<T>(address: RString, call: impl FnOnce(*const sockaddr, socklen_t) -> T) -> T {
    // SAFETY: the bytes are looked at in this call only, in which no Ruby code runs.
    let bytes = unsafe { address.as_slice() };
    call(bytes.as_ptr().cast(), bytes.len() as socklen_t)
}

/// The address that the call writes.
fn taken_address(
    ruby: &Ruby,
    name: &str,
    call: impl FnOnce(*mut sockaddr, *mut socklen_t) -> c_int,
) -> Result<RString, Error> {
    let mut room = MaybeUninit::<sockaddr_storage>::zeroed();
    let mut length = size_of::<sockaddr_storage>() as socklen_t;
    checked(ruby, name, call(room.as_mut_ptr().cast(), &raw mut length))?;
    let length = (length as usize).min(size_of::<sockaddr_storage>());
    // SAFETY: the room was zeroed as a whole, and so many bytes of it are looked at as it has.
    let bytes = unsafe { std::slice::from_raw_parts(room.as_ptr().cast::<u8>(), length) };
    Ok(ruby.str_from_slice(bytes))
}
