//! A real descriptor that shows, to everything that polls, what a socket of ours is ready for.
//!
//! It is one end of a pair of local sockets. A byte that lies in it makes it readable, a full send buffer makes
//! it unwritable, and its other end, shut down or closed, makes the end and the hang-up visible.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::descriptors::Own;
use crate::errno::{Errno, Result};
use crate::stack::readiness::{ERR, HUP, IN, OUT, RDHUP, Show};
use crate::sync::Lock;

/// Bytes on their way through a descriptor that carries data, each way; the kernel gives what its limits allow.
const CARRIED: libc::c_int = 256 << 10;

/// A pair that bytes pass through, as the library has it.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) back: Own,
    /// Which socket the application's end is. The library keeps no descriptor of it, so that it is told when the last
    /// one is closed.
    pub(crate) front: libc::ino_t,
    /// Bytes that lie in front of what holders write, and keep them from writing until the socket can send.
    veil: usize,
}

impl Ends {
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
            let taken = take_some(&self.back, self.veil);
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

/// The library's side of a pair.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// Another descriptor of the application's end: what lies there is taken back through it, even where the
    /// application's own number means something else by now.
    front: Own,
    back: Own,
    readable: bool,
    blocked: bool,
    ended: bool,
    hung_up: bool,
}

impl Mirror {
    /// A new descriptor for the application, and what steers it. `kind` is `SOCK_STREAM` or `SOCK_SEQPACKET`, with
    /// `SOCK_CLOEXEC` and `SOCK_NONBLOCK` as the application asked.
    pub(crate) fn open(kind: libc::c_int) -> Result<(OwnedFd, Self)> {
        let (front, back) = pair(kind)?;
        let ours = Own::new(front.try_clone()?);
        set_buffer(&ours, SMALLEST);
        let mirror =
            Self { front: ours, back: Own::new(back), readable: false, blocked: false, ended: false, hung_up: false };
        Ok((front, mirror))
    }

    /// Ends the showing, so that bytes can pass: what lay in the pair for show is taken out of it, or is taken when the
    /// holders may write. Gives also
    /// the application's new descriptor where the old one can carry nothing any more because it has shown the end of
    /// the stream.
    pub(crate) fn into_ends(self, kind: libc::c_int) -> Result<(Ends, Option<OwnedFd>)> {
        let (front, back, replaced) = if self.ended || self.hung_up {
            let (front, back) = pair(kind | libc::SOCK_CLOEXEC)?;
            let ours = Own::new(front.try_clone()?);
            (ours, Own::new(back), Some(front))
        } else {
            if self.readable {
                take(&self.front);
            }
            (self.front, self.back, None)
        };
        let veil = if self.blocked && replaced.is_none() { unread(&back) } else { 0 };
        if veil == 0 {
            set_buffer(&front, CARRIED);
        }
        set_buffer(&back, CARRIED);
        let front = inode_of(&front)?;
        Ok((Ends { back, front, veil }, replaced))
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

impl Show for Lock<Option<Mirror>> {
    fn show(&self, bits: u32) {
        if let Some(mirror) = &mut *self.lock() {
            mirror.show(bits);
        }
    }
}

/// Puts one byte in; whether there was room.
fn put(into: &Own) -> bool {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: one byte is read from a valid place.
    unsafe { libc::send(into.as_raw_fd(), [0_u8].as_ptr().cast(), 1, flags) == 1 }
}

/// Takes what lies there, up to a page; whether there was anything.
fn take(from: &Own) -> bool {
    take_some(from, usize::MAX) > 0
}

/// Takes so many of the bytes that lie there, up to a page; how many there were.
fn take_some(from: &Own, count: usize) -> usize {
    let mut room = [0_u8; 4_096];
    let count = count.min(room.len());
    // SAFETY: the room is as large as said.
    let taken = unsafe { libc::recv(from.as_raw_fd(), room.as_mut_ptr().cast(), count, libc::MSG_DONTWAIT) };
    usize::try_from(taken).unwrap_or_default()
}

/// How many bytes lie there.
pub(crate) fn unread(at: &Own) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: an int of room is given.
    unsafe { libc::ioctl(at.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    usize::try_from(count).unwrap_or_default()
}

/// Which socket a descriptor stands for, whatever its number.
pub(crate) fn inode_of(fd: &impl AsRawFd) -> Result<libc::ino_t> {
    // SAFETY: all zeros are a `stat`, and the system fills it.
    unsafe {
        let mut about: libc::stat = std::mem::zeroed();
        if libc::fstat(fd.as_raw_fd(), &raw mut about) < 0 { Err(Errno::last()) } else { Ok(about.st_ino) }
    }
}

fn pair(kind: libc::c_int) -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors is given.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the system just made both, and nobody else has them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Few bytes fill it: the kernel makes the least of it that it can.
const SMALLEST: libc::c_int = 1;

fn set_buffer(fd: &impl AsRawFd, bytes: libc::c_int) {
    // SAFETY: the value has the size said.
    unsafe {
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const bytes).cast(), size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Application(OwnedFd);

    impl Application {
        fn open() -> (Self, Mirror) {
            let (front, mirror) = Mirror::open(libc::SOCK_STREAM | libc::SOCK_CLOEXEC).expect("a pair");
            (Self(front), mirror)
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
    fn a_pair_that_carries_holds_nothing_that_was_for_show_and_has_room() {
        for bits in [IN, OUT, OUT | IN, OUT | IN | RDHUP, IN | HUP] {
            let (application, mut mirror) = Application::open();
            mirror.show(0);
            mirror.show(bits);
            let (mut ends, replaced) = mirror.into_ends(libc::SOCK_STREAM).expect("a pair");
            let application = replaced.map_or(application, Application);
            assert_eq!(ends.is_veiled(), application.polled() & OUT == 0, "{bits:x}");
            ends.unveil(|| application.0.try_clone().ok());
            assert_eq!(application.polled(), OUT, "{bits:x}");
            let text = [7_u8; 60_000];
            // SAFETY: so many bytes are there, and there is so much room.
            unsafe {
                let (fd, flags) = (application.0.as_raw_fd(), libc::MSG_DONTWAIT);
                assert_eq!(libc::send(fd, text.as_ptr().cast(), text.len(), flags), 60_000);
                let mut room = [0_u8; 60_001];
                let got =
                    libc::recv(ends.back.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_WAITALL | flags);
                assert_eq!((got, &room[..60_000]), (60_000, &text[..]), "{bits:x}");
            }
        }
    }
}
