//! `getsockopt` and `setsockopt` on descriptors that carry data: what concerns the descriptor is the kernel's, what
//! concerns the connection the stack's, where this process has it.

use std::sync::Arc;

use libc::c_int;

use crate::errno::{Errno, Result};
use crate::socket::carrying::{Carried, carry};
use crate::socket::options;
use crate::socket::state::{Kind, Socket};

/// A level that the system does not use.
pub(crate) const SOL_NTMFW: c_int = 0x4e54;
pub(crate) const NTMFW_DATA_CARRYING: c_int = 1;

/// The value of an option; `None`: the kernel knows it.
pub(crate) fn get(carried: &Carried, level: c_int, name: c_int) -> Result<Option<Vec<u8>>> {
    let int = |value: c_int| Ok(Some(value.to_ne_bytes().to_vec()));
    let (kind, protocol) = match carried.kind {
        Kind::Stream => (libc::SOCK_STREAM, libc::IPPROTO_TCP),
        Kind::Datagram => (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
    };
    match (level, name) {
        (SOL_NTMFW, NTMFW_DATA_CARRYING) => int(1),
        (libc::SOL_SOCKET, libc::SO_ERROR | libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => Ok(None),
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => int(carried.family),
        (libc::SOL_SOCKET, libc::SO_TYPE) => int(kind),
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => int(protocol),
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
        (SOL_NTMFW, _) => own(name, value).map(|()| true),
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => Ok(false),
        _ => match carried.socket() {
            Some(socket) => options::set(&socket, level, name, value).map(|()| true),
            None => Ok(level != libc::SOL_SOCKET),
        },
    }
}

/// Sets an option that only NTM sockets have on one that does not carry data yet.
pub(crate) fn set_own(socket: &Arc<Socket>, name: c_int, value: &[u8]) -> Result<()> {
    own(name, value)?;
    carry(socket)
}

/// Whether this option can be set to this.
fn own(name: c_int, value: &[u8]) -> Result<()> {
    if name != NTMFW_DATA_CARRYING {
        return Err(Errno(libc::ENOPROTOOPT));
    }
    match value.first_chunk().map(|bytes| c_int::from_ne_bytes(*bytes)) {
        None | Some(0) => Err(Errno(libc::EINVAL)),
        Some(_) => Ok(()),
    }
}
