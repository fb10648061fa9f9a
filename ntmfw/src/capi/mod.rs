//! The exported calls: each has the name of a call of the C library with `ntmfw_` before it, its prototype, its
//! constants, its structs and its `errno`s.
//!
//! A call on a descriptor that is not ours is made in the kernel, so a program may use these calls for
//! everything. Every export goes through `guard`: what the inside gives as an error becomes `errno` and −1, and
//! a panic, which is a fault of this library, becomes `EIO` and never crosses into C.

// A C function that takes pointers says in its documentation what must hold of them: what the call of the same
// name asks of its own.
#![allow(clippy::missing_safety_doc)]

mod address;
mod ancillary;
mod carrying;
mod files;
mod guard;
mod hosts;
mod io;
mod memory;
mod messages;
mod names;
mod options;
mod own;
mod polling;
mod sockets;

pub(crate) use guard::core;
pub(crate) use hosts::lay_out;
pub(crate) use names::{ask, find_node, name_of_address};

pub use carrying::*;
pub use files::*;
pub use hosts::*;
pub use io::*;
pub use messages::*;
pub use names::*;
pub use options::*;
pub use own::*;
pub use polling::*;
pub use sockets::*;

/// The address that a program gave, where it is one.
///
/// # Safety
/// As [`address::read`].
pub(crate) unsafe fn read_address(
    given: *const libc::sockaddr,
    length: libc::socklen_t,
) -> Option<std::net::SocketAddr> {
    // SAFETY: the caller's promise.
    match unsafe { address::read(given, length, libc::AF_UNSPEC) } {
        Ok(address::Given::Address(address)) => Some(address),
        _ => None,
    }
}
