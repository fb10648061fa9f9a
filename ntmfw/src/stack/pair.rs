//! Pairs of local sockets: what the application has a descriptor of, and what the library does at the other end.

use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};

use libc::c_int;

use crate::descriptors::Own;
use crate::errno::{Errno, Result};

/// What is taken in one go.
pub(super) const PAGE: usize = 4_096;
/// Few bytes fill it: the kernel makes the least of it that it can.
pub(super) const SMALLEST: c_int = 1;
/// Bytes on their way through a descriptor that carries data, each way; the kernel gives what its limits allow.
const CARRIED: c_int = 256 << 10;

/// A pair that bytes pass through, as the library has it.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) back: Own,
    /// Which socket the application's end is, or a number as good where another process made the pair. The library keeps
    /// no descriptor of it, so that it is told when the last one is closed.
    pub(crate) front: libc::ino_t,
    /// Bytes that lie in front of what holders write, and keep them from writing until the socket can send.
    veil: usize,
}

impl Ends {
    /// A new pair and the application's descriptor of it, on which holders cannot write yet where it is `veiled`.
    pub(crate) fn open(kind: c_int, veiled: bool) -> Result<(OwnedFd, Self)> {
        let (front, back) = pair(kind)?;
        let back = Own::new(back);
        if veiled {
            set_buffer(&front, SMALLEST);
            while put(&front) {}
        }
        let veil = unread(&back);
        let ends = Self::of(&front, back, veil)?;
        Ok((front, ends))
    }

    pub(super) fn of(front: &impl AsRawFd, back: Own, veil: usize) -> Result<Self> {
        if veil == 0 {
            set_buffer(front, CARRIED);
        }
        set_buffer(&back, CARRIED);
        Ok(Self { back, front: inode_of(front)?, veil })
    }

    /// The library's end of a pair that another process made and that carries data.
    pub(crate) fn inherited(back: Own) -> Result<Self> {
        let front = inode_of(&back)?;
        Ok(Self { back, front, veil: 0 })
    }

    /// Lets holders write: takes away what kept them from it. `front` is their end, where the process has it: they get
    /// room for more through it.
    pub(crate) fn unveil(&mut self, front: impl FnOnce() -> Option<OwnedFd>) {
        if self.veil == 0 {
            return;
        }
        if let Some(front) = front() {
            set_buffer(&front, CARRIED);
        }
        while self.veil > 0 {
            let taken = take(&self.back, self.veil);
            if taken == 0 {
                break;
            }
            self.veil -= taken;
        }
        self.veil = 0;
    }

    pub(crate) fn is_veiled(&self) -> bool {
        self.veil > 0
    }
}

pub(super) fn pair(kind: c_int) -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors is given.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the system just made both, and nobody else has them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Puts one byte in; whether there was room.
pub(super) fn put(into: &impl AsRawFd) -> bool {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: one byte is read from a valid place.
    unsafe { libc::send(into.as_raw_fd(), [0_u8].as_ptr().cast(), 1, flags) == 1 }
}

/// Takes what lies there, up to `most` bytes of a page; how many there were.
pub(super) fn take(from: &Own, most: usize) -> usize {
    let mut room = [0_u8; PAGE];
    // SAFETY: the room is at least as large as said.
    let taken = unsafe { libc::recv(from.as_raw_fd(), room.as_mut_ptr().cast(), most.min(PAGE), libc::MSG_DONTWAIT) };
    usize::try_from(taken).unwrap_or_default()
}

/// How many bytes lie there.
pub(crate) fn unread(at: &Own) -> usize {
    let mut count: c_int = 0;
    // SAFETY: an int of room is given.
    unsafe { libc::ioctl(at.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    usize::try_from(count).unwrap_or_default()
}

pub(super) fn set_buffer(fd: &impl AsRawFd, bytes: c_int) {
    // SAFETY: the value has the size said.
    unsafe {
        let size = size_of::<c_int>() as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const bytes).cast(), size);
    }
}

/// Which socket a descriptor stands for, whatever its number.
pub(crate) fn inode_of(fd: &impl AsRawFd) -> Result<libc::ino_t> {
    // SAFETY: all zeros are a `stat`, and the system fills it.
    unsafe {
        let mut about: libc::stat = std::mem::zeroed();
        if libc::fstat(fd.as_raw_fd(), &raw mut about) < 0 { Err(Errno::last()) } else { Ok(about.st_ino) }
    }
}
