//! A descriptor that wakes a thread which waits on descriptors.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use crate::descriptors::Own;

#[derive(Debug)]
pub(crate) struct Bell(Own);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes two numbers and gives a descriptor or an error.
        Own::made(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(Self)
    }

    /// The descriptor can be read from now on.
    pub(crate) fn ring(&self) {
        let one = 1_u64;
        // SAFETY: the eight bytes of `one` are read.
        unsafe { libc::write(self.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Until it is rung again, it cannot.
    pub(crate) fn silence(&self) {
        let mut count = 0_u64;
        // SAFETY: eight bytes of room are given.
        unsafe { libc::read(self.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
