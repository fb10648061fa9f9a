//! Errors that a poll of a local socket shows.
//!
//! A local socket is in error after its other end went away with something unread: a stream's by closing, a
//! datagram socket's by disconnecting, which can be undone. The error that is shown is always the same; what it
//! really is the library tells.

use std::os::fd::{AsRawFd, OwnedFd};

use libc::{c_int, sa_family_t, sockaddr_un, socklen_t};

use crate::stack::mirror::put;

/// Shows an error, and the hang-up that cannot be taken back.
pub(super) fn raise_on_stream(front: &OwnedFd, back: OwnedFd) {
    // What fills the buffer already is as good as one byte more.
    put(front);
    drop(back);
}

/// Shows an error until it is cleared. Where the system refuses a part of it nothing is shown, and calls tell of the error
/// all the same.
pub(super) fn raise_on_datagrams(front: &OwnedFd, back: &OwnedFd) {
    let Some((name, length)) = name(front) else { return };
    // SAFETY: zeros are an address of no family.
    let nobody: sockaddr_un = unsafe { std::mem::zeroed() };
    put(front);
    // SAFETY: both addresses are valid and as long as said.
    unsafe {
        libc::connect(back.as_raw_fd(), (&raw const nobody).cast(), size_of::<sa_family_t>() as socklen_t);
        libc::connect(back.as_raw_fd(), (&raw const name).cast(), length);
    }
}

/// The error is shown no more.
pub(super) fn clear(front: &OwnedFd) {
    let mut error: c_int = 0;
    let mut length = size_of::<c_int>() as socklen_t;
    // SAFETY: there is room for the number and for its length.
    unsafe {
        let error = (&raw mut error).cast();
        libc::getsockopt(front.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, error, &raw mut length);
    }
}

/// The socket's name, by which its other end finds it again: one of the system's choosing, given the first time.
fn name(socket: &OwnedFd) -> Option<(sockaddr_un, socklen_t)> {
    // SAFETY: zeros are an address.
    let mut name: sockaddr_un = unsafe { std::mem::zeroed() };
    name.sun_family = libc::AF_UNIX as sa_family_t;
    let mut length = size_of::<sockaddr_un>() as socklen_t;
    // SAFETY: the address has at least its family, which is all that is given, and room for what is told.
    let named = unsafe {
        let address = (&raw mut name).cast();
        libc::bind(socket.as_raw_fd(), address, size_of::<sa_family_t>() as socklen_t) == 0
            && libc::getsockname(socket.as_raw_fd(), address, &raw mut length) == 0
    };
    named.then_some((name, length))
}
