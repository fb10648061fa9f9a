//! `getsockopt` and `setsockopt` on descriptors that carry data: what concerns the descriptor is the kernel's, what
//! concerns the connection the stack's, where this process has it.

use std::sync::atomic::Ordering;

use libc::c_int;

use crate::errno::{Errno, Result};
use crate::socket::carrying::Carried;
use crate::socket::options;

/// The value of an option; `None`: the kernel knows it.
pub(crate) fn get(carried: &Carried, level: c_int, name: c_int) -> Result<Option<Vec<u8>>> {
    let int = |value: c_int| Ok(Some(value.to_ne_bytes().to_vec()));
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ERROR) => match carried.fate.failure.swap(0, Ordering::AcqRel) {
            0 => Ok(None),
            why => int(why),
        },
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => Ok(None),
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => int(carried.family),
        (libc::SOL_SOCKET, libc::SO_TYPE) => int(carried.kind.of_socket()),
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => int(carried.kind.protocol(carried.family)),
        (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => int(c_int::from(carried.listening)),
        _ => match carried.socket() {
            Some(socket) => options::get(&socket, level, name).map(Some),
            None if level == libc::SOL_SOCKET => Ok(None),
            None if (level, name) == (libc::IPPROTO_IP, libc::IP_OPTIONS) => Ok(Some(Vec::new())),
            None => Err(Errno(libc::ENOPROTOOPT)),
        },
    }
}

/// Sets an option; false: it is the kernel's to set.
pub(crate) fn set(carried: &Carried, level: c_int, name: c_int, value: &[u8]) -> Result<bool> {
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => Ok(false),
        _ => match carried.socket() {
            Some(socket) => options::set(&socket, level, name, value).map(|()| true),
            None => Ok(level != libc::SOL_SOCKET),
        },
    }
}
