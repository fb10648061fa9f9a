//! A real descriptor that shows, to everything that polls, what a socket of ours is ready for.
//!
//! It is one end of a pair of local sockets. A byte that lies in it makes it readable, a full send buffer makes
//! it unwritable, and its other end, shut down or closed, makes the end and the hang-up visible.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::errno::{Errno, Result};
use crate::stack::readiness::{ERR, HUP, IN, OUT, RDHUP};

/// The library's side of a pair.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// Another descriptor of the application's end: what lies there is taken back through it, even where the
    /// application's own number means something else by now.
    front: OwnedFd,
    back: OwnedFd,
    readable: bool,
    blocked: bool,
    ended: bool,
    hung_up: bool,
}

impl Mirror {
    /// A new descriptor for the application, and what steers it. `kind` is `SOCK_STREAM` or `SOCK_DGRAM`, with
    /// `SOCK_CLOEXEC` and `SOCK_NONBLOCK` as the application asked.
    pub(crate) fn open(kind: libc::c_int) -> Result<(RawFd, Self)> {
        let mut ends = [-1; 2];
        // SAFETY: room for two descriptors is given.
        if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } < 0 {
            return Err(Errno::last());
        }
        // SAFETY: the system just made both, and nobody else has them.
        let (front, back) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        let back = lift(back)?;
        let ours = lift(front.try_clone()?)?;
        set_small(&ours);
        let fd = std::os::fd::IntoRawFd::into_raw_fd(front);
        Ok((fd, Self { front: ours, back, readable: false, blocked: false, ended: false, hung_up: false }))
    }

    /// Whether blocking calls shall not block: the application may change that with `fcntl` at any time.
    pub(crate) fn is_nonblocking(&self) -> bool {
        // SAFETY: only asks for flags of a descriptor that this struct owns.
        unsafe { libc::fcntl(self.front.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
    }

    pub(crate) fn show(&mut self, bits: u32) {
        if bits & RDHUP != 0 && !self.ended {
            self.ended = true;
            // SAFETY: a descriptor that this struct owns.
            unsafe { libc::shutdown(self.back.as_raw_fd(), libc::SHUT_WR) };
        }
        self.show_readable(bits & IN != 0 && !self.ended);
        self.show_writable(bits & OUT != 0);
        if bits & (HUP | ERR) != 0 && !self.hung_up {
            self.hung_up = true;
            // SAFETY: a descriptor that this struct owns.
            unsafe { libc::shutdown(self.back.as_raw_fd(), libc::SHUT_RDWR) };
        }
    }

    fn show_readable(&mut self, readable: bool) {
        if readable == self.readable {
            return;
        }
        self.readable = readable;
        if readable {
            put(&self.back);
        } else {
            take(&self.front);
        }
    }

    fn show_writable(&mut self, writable: bool) {
        if writable != self.blocked {
            return;
        }
        self.blocked = !writable;
        if self.blocked { while put(&self.front) {} } else { while take(&self.back) {} }
    }
}

/// Puts one byte in; whether there was room.
fn put(into: &OwnedFd) -> bool {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: one byte is read from a valid place.
    unsafe { libc::send(into.as_raw_fd(), [0_u8].as_ptr().cast(), 1, flags) == 1 }
}

/// Takes what lies there, up to a page; whether there was anything.
fn take(from: &OwnedFd) -> bool {
    let mut room = [0_u8; 4_096];
    // SAFETY: the room is as large as said.
    unsafe { libc::recv(from.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) > 0 }
}

fn set_small(fd: &OwnedFd) {
    // The smallest there is: few bytes fill it.
    let bytes: libc::c_int = 1;
    // SAFETY: the value has the size said.
    unsafe {
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const bytes).cast(), size);
    }
}

/// Moves a descriptor of the library out of the low numbers, which are the application's: `select` can use
/// nothing above 1,023. Where the limit leaves no higher number, it stays.
fn lift(fd: OwnedFd) -> io::Result<OwnedFd> {
    const ABOVE: libc::c_int = 1_024;
    // SAFETY: makes another descriptor of one that is owned.
    let lifted = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, ABOVE) };
    if lifted < 0 {
        return Ok(fd);
    }
    // SAFETY: the system just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(lifted) })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Application(OwnedFd);

    impl Application {
        fn open() -> (Self, Mirror) {
            let (fd, mirror) = Mirror::open(libc::SOCK_STREAM | libc::SOCK_CLOEXEC).expect("a pair");
            // SAFETY: the descriptor was just made for us.
            (Self(unsafe { OwnedFd::from_raw_fd(fd) }), mirror)
        }

        /// What the kernel's `poll` says.
        fn polled(&self) -> u32 {
            let events = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;
            let mut entry = libc::pollfd { fd: self.0.as_raw_fd(), events, revents: 0 };
            // SAFETY: one valid entry.
            assert!(unsafe { libc::poll(&raw mut entry, 1, 0) } >= 0);
            u32::try_from(entry.revents).expect("bits")
        }
    }

    #[test]
    fn the_descriptor_shows_what_it_is_told_in_any_order() {
        let (application, mut mirror) = Application::open();
        for bits in [OUT, OUT | IN, IN, 0, IN, OUT | IN, 0, OUT, 0, OUT | IN] {
            mirror.show(bits);
            assert_eq!(application.polled(), bits, "{bits:x}");
        }
    }

    #[test]
    fn the_end_of_the_stream_and_the_hang_up_show_and_stay() {
        let (application, mut mirror) = Application::open();
        mirror.show(OUT | IN | RDHUP);
        assert_eq!(application.polled(), OUT | IN | RDHUP);
        mirror.show(OUT | IN | RDHUP | HUP);
        assert_eq!(application.polled() & HUP, HUP);
    }

    #[test]
    fn the_application_sets_the_mode_that_the_library_sees() {
        let (application, mirror) = Application::open();
        assert!(!mirror.is_nonblocking());
        // SAFETY: a descriptor of ours and numbers.
        unsafe { libc::fcntl(application.0.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        assert!(mirror.is_nonblocking());
    }

    #[test]
    fn the_librarys_own_descriptors_leave_the_low_numbers_to_the_application() {
        let (_application, mirror) = Application::open();
        assert!(mirror.front.as_raw_fd() >= 1_024 && mirror.back.as_raw_fd() >= 1_024);
    }
}
