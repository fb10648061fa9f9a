//! Descriptors that carry data, as C knows them.

use libc::{c_int, msghdr};

use crate::errno::{Errno, Result};
use crate::socket::carrying;
use crate::socket::table::Entry;

/// The level of the options that only NTM sockets have.
pub const SOL_NTMFW: c_int = 0x4e54;

/// Set to 1, the descriptor carries data from now on: what is written to it with the system's own `write` reaches the
/// peer, what the peer sends can be read from it with `read`, and the system's `poll` and `epoll` tell of both, for
/// whoever holds it: a child, a program after `exec`, another process. It can be switched in the middle of a stream, and
/// not back (0 is `EINVAL`). `ENOTCONN` where the socket neither has a peer nor listens. Read, it tells whether the
/// descriptor carries data.
///
/// - It happens by itself where others will read and write the descriptor: before `fork`, for all sockets that have a peer
///   or listen; in `ntmfw_dup2` and its kin onto the descriptors 0, 1 and 2; in `ntmfw_sendmsg` of a descriptor
///   (`SCM_RIGHTS`). Not before `vfork` and `posix_spawn`, of which nobody is told.
/// - The process that made the socket has to go on running: the connection is in it. When it ends, holders read the end.
/// - The peer reads the end when the last holder has closed, and a reset where something was left unread.
/// - A reset by the peer is `ECONNRESET` where the process that made the socket holds a descriptor of it still, or where
///   something written was not sent yet; else holders read the end.
/// - The `ntmfw_` calls go on working, in a child as well, but slower than before. Options of TCP are accepted in a child
///   without effect. A port that listens gives connections to whoever calls `ntmfw_accept` first, parent or child.
/// - Datagrams carry data only once they are connected; errors about them are not told. Copies of the descriptor that
///   the system's own `dup` made before do not.
pub const NTMFW_DATA_CARRYING: c_int = 1;

/// The value of an option of this library's own.
pub(super) fn get_own(entry: &Entry, name: c_int) -> Result<Vec<u8>> {
    if name != NTMFW_DATA_CARRYING {
        return Err(Errno(libc::ENOPROTOOPT));
    }
    Ok(c_int::from(matches!(entry, Entry::Carried(_))).to_ne_bytes().to_vec())
}

/// Sets one.
pub(super) fn set_own(entry: &Entry, name: c_int, value: &[u8]) -> Result<()> {
    if name != NTMFW_DATA_CARRYING {
        return Err(Errno(libc::ENOPROTOOPT));
    }
    let on = value.first_chunk().is_some_and(|bytes| c_int::from_ne_bytes(*bytes) != 0);
    match entry {
        _ if !on => Err(Errno(libc::EINVAL)),
        Entry::Direct(socket) => carrying::carry(socket),
        Entry::Carried(_) => Ok(()),
    }
}

/// What goes to another process in this message carries data from now on.
///
/// # Safety
/// As `sendmsg`.
pub(super) unsafe fn carry_passed(message: *const msghdr) {
    // SAFETY: null or valid, by the caller's promise.
    let Some(message) = (unsafe { message.as_ref() }) else { return };
    // SAFETY: the caller's promise is about the ancillary data too; headers are walked as the system walks them, and no
    // more of each is read than it says there is.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(ancillary) = header.as_ref() {
            if ancillary.cmsg_level == libc::SOL_SOCKET && ancillary.cmsg_type == libc::SCM_RIGHTS {
                let bytes = ancillary.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                let first = libc::CMSG_DATA(header).cast::<c_int>();
                carrying::carry_all((0..bytes / size_of::<c_int>()).map(|at| first.add(at).read_unaligned()));
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}
