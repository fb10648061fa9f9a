//! A real descriptor that shows, to everything that polls, what a socket of ours is ready for.
//!
//! It is one end of a pair of local sockets. A byte that lies in it makes it readable, a full send buffer makes
//! it unwritable, shut down it shows the end and the hang-up, and [`fault`] makes errors visible.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use crate::descriptors::Own;
use crate::errno::Result;
use crate::stack::fault;
use crate::stack::pair::{Ends, PAGE, SMALLEST, inode_of, pair, put, set_buffer, take, unread};
use crate::stack::readiness::{ERR, HUP, IN, OUT, RDHUP, Show};
use crate::sync::Lock;

/// The library's side of a pair.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// Another descriptor of the application's end: what lies there is taken back through it, even where the
    /// application's own number means something else by now.
    front: Own,
    /// Closed when a stream has failed.
    back: Option<Own>,
    is_stream: bool,
    readable: bool,
    blocked: bool,
    ended: bool,
    hung_up: bool,
    failed: bool,
    /// Somebody wants to be told of each arrival, not only of the first that is unread.
    edges: bool,
}

impl Mirror {
    /// A new descriptor for the application, and what steers it. `kind` is `SOCK_STREAM` or `SOCK_DGRAM`, with
    /// `SOCK_CLOEXEC` and `SOCK_NONBLOCK` as the application asked.
    pub(crate) fn open(kind: libc::c_int) -> Result<(OwnedFd, Self)> {
        let (front, back) = pair(kind)?;
        let ours = Own::new(front.try_clone()?);
        set_buffer(&ours, SMALLEST);
        let mirror = Self {
            front: ours,
            back: Some(Own::new(back)),
            is_stream: kind & libc::SOCK_STREAM != 0,
            readable: false,
            blocked: false,
            ended: false,
            hung_up: false,
            failed: false,
            edges: false,
        };
        Ok((front, mirror))
    }

    /// Ends the showing, so that bytes can pass: what lay in the pair for show is taken out of it, or is taken when the
    /// holders may write. The mirror itself is given back where its pair can carry nothing: a stream that has shown its
    /// end, and datagrams, of whose pairs nobody is told that the last descriptor was closed.
    pub(crate) fn into_ends(mut self) -> std::result::Result<Result<Ends>, Self> {
        let back = match self.back.take() {
            Some(back) if self.is_stream && !self.ended && !self.hung_up => back,
            back => return Err(Self { back, ..self }),
        };
        if self.readable {
            take(&self.front, PAGE);
        }
        let veil = if self.blocked { unread(&back) } else { 0 };
        Ok(Ends::of(&self.front, back, veil))
    }

    /// Another descriptor has taken the place of the one that this showed on: who sleeps on the old one looks again.
    pub(crate) fn dismiss(self) {
        if let Some(back) = &self.back {
            put(back);
        }
    }

    /// Whether blocking calls shall not block: the application may change that with `fcntl` at any time.
    pub(crate) fn is_nonblocking(&self) -> bool {
        // SAFETY: only asks for flags of a descriptor that this struct owns.
        unsafe { libc::fcntl(self.front.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
    }

    /// Whether the descriptor is one that it shows on.
    pub(crate) fn is_behind(&self, fd: RawFd) -> bool {
        inode_of(&self.front).is_ok_and(|front| inode_of(&fd) == Ok(front))
    }

    /// Whether it has shown a hang-up, which cannot be taken back.
    pub(crate) fn is_spent(&self) -> bool {
        self.hung_up
    }

    fn show(&mut self, bits: u32) {
        let failed = bits & ERR != 0;
        // First, because an error that is shown would be taken for the answer of what follows.
        if self.failed && !failed {
            self.failed = false;
            fault::clear(&self.front);
        }
        // All at once, and before the rest: who polls meanwhile must not see a failed stream as merely writable.
        if failed && self.is_stream && !self.hung_up {
            self.failed = true;
            self.hung_up = true;
            self.ended = true;
            self.fail();
        }
        if bits & RDHUP != 0 && !self.ended {
            self.ended = true;
            self.shut(libc::SHUT_RD);
        }
        self.show_readable(bits & IN != 0 && !self.ended);
        self.show_writable(bits & OUT != 0);
        if failed && !self.failed && !self.hung_up {
            self.failed = true;
            self.fail();
        }
        if bits & (HUP | ERR) != 0 && !self.hung_up && (self.is_stream || !failed) {
            self.hung_up = true;
            self.shut(libc::SHUT_RDWR);
        }
    }

    /// From now on each arrival is an event.
    pub(crate) fn show_edges(&mut self) {
        self.edges = true;
    }

    pub(crate) fn shows_edges(&self) -> bool {
        self.edges
    }

    /// More came while something lay unread.
    fn show_arrival(&self) {
        if let Some(back) = self.back.as_ref().filter(|_| self.edges && self.readable)
            && put(back)
        {
            take(&self.front, 1);
        }
    }

    fn fail(&mut self) {
        if !self.is_stream {
            if let Some(back) = &self.back {
                fault::raise_on_datagrams(&self.front, back);
            }
        } else if let Some(back) = self.back.take() {
            fault::raise_on_stream(&self.front, back);
        }
    }

    fn shut(&self, how: libc::c_int) {
        // SAFETY: a descriptor that this struct owns.
        unsafe { libc::shutdown(self.front.as_raw_fd(), how) };
    }

    fn show_readable(&mut self, readable: bool) {
        if readable == self.readable {
            return;
        }
        self.readable = readable;
        if !readable {
            take(&self.front, PAGE);
        } else if let Some(back) = &self.back {
            put(back);
        }
    }

    fn show_writable(&mut self, writable: bool) {
        if writable != self.blocked {
            return;
        }
        self.blocked = !writable;
        if self.blocked {
            while put(&self.front) {}
        } else if let Some(back) = &self.back {
            while take(back, PAGE) > 0 {}
        }
    }
}

impl Show for Lock<Option<Mirror>> {
    fn show(&self, bits: u32) {
        if let Some(mirror) = &mut *self.lock() {
            mirror.show(bits);
        }
    }

    fn show_arrival(&self) {
        if let Some(mirror) = &*self.lock() {
            mirror.show_arrival();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd as _;

    use super::*;

    struct Application(OwnedFd);

    impl Application {
        fn open() -> (Self, Mirror) {
            Self::open_of(libc::SOCK_STREAM)
        }

        fn open_of(kind: libc::c_int) -> (Self, Mirror) {
            let (front, mirror) = Mirror::open(kind | libc::SOCK_CLOEXEC).expect("a pair");
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
    fn the_failure_of_a_stream_shows_until_it_is_told_and_the_hang_up_stays() {
        for blocked in [false, true] {
            let (application, mut mirror) = Application::open();
            mirror.show(if blocked { 0 } else { OUT });
            mirror.show(OUT | IN | RDHUP | HUP | ERR);
            assert_eq!(application.polled(), OUT | IN | RDHUP | HUP | ERR, "blocked before: {blocked}");
            mirror.show(OUT | IN | RDHUP | HUP);
            assert_eq!(application.polled(), OUT | IN | RDHUP | HUP);
            assert!(mirror.is_spent());
        }
    }

    #[test]
    fn the_failure_of_a_datagram_shows_until_it_is_told_and_may_come_again() {
        let (application, mut mirror) = Application::open_of(libc::SOCK_DGRAM);
        for before in [OUT, OUT | IN] {
            for _ in 0..3 {
                mirror.show(before);
                mirror.show(before | ERR);
                assert_eq!(application.polled(), before | ERR);
                mirror.show(before);
                assert_eq!(application.polled(), before);
            }
            mirror.show(OUT);
            assert_eq!(application.polled(), OUT);
        }
        mirror.show(OUT | IN | RDHUP);
        assert_eq!(application.polled(), OUT | IN | RDHUP);
    }

    #[test]
    fn an_arrival_is_an_event_again_for_those_who_want_edges() {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            let (application, mut mirror) = Application::open_of(kind);
            // SAFETY: takes a number; the descriptor that it gives is nobody else's.
            let set = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
            let wanted = (libc::EPOLLIN | libc::EPOLLET).cast_unsigned();
            let mut event = libc::epoll_event { events: wanted, u64: 0 };
            let (watched, set) = (application.0.as_raw_fd(), set.as_raw_fd());
            // SAFETY: the event lives for the call.
            assert_eq!(unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, watched, &raw mut event) }, 0);
            // SAFETY: there is room for one event.
            let mut told = || unsafe { libc::epoll_wait(set, &raw mut event, 1, 0) };
            mirror.show(OUT | IN);
            assert_eq!((told(), told()), (1, 0));
            mirror.show_arrival();
            assert_eq!(told(), 0, "nobody wants to know");
            mirror.show_edges();
            for _ in 0..1_000 {
                mirror.show_arrival();
                assert_eq!((told(), told()), (1, 0));
            }
            assert_eq!(application.polled(), OUT | IN);
            mirror.show(OUT);
            assert_eq!(application.polled(), OUT, "nothing lies in it");
        }
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
        for bits in [IN, OUT, OUT | IN] {
            let (application, mut mirror) = Application::open();
            mirror.show(0);
            mirror.show(bits);
            let mut ends = mirror.into_ends().expect("it has shown no end").expect("a pair");
            assert_eq!(ends.is_veiled(), application.polled() & OUT == 0, "{bits:x}");
            ends.unveil(|| application.0.try_clone().ok());
            assert_eq!(application.polled(), OUT, "{bits:x}");
            carry_much(&application, &ends);
        }
    }

    #[test]
    fn what_can_carry_nothing_is_replaced_and_whoever_sleeps_on_it_looks_again() {
        for (kind, shown, carrying) in [
            (libc::SOCK_STREAM, OUT | IN | RDHUP, libc::SOCK_STREAM),
            (libc::SOCK_STREAM, IN | HUP, libc::SOCK_STREAM),
            (libc::SOCK_STREAM, IN | OUT | HUP | ERR, libc::SOCK_STREAM),
            (libc::SOCK_DGRAM, OUT, libc::SOCK_SEQPACKET),
        ] {
            let (old, mut mirror) = Application::open_of(kind);
            mirror.show(shown);
            mirror.into_ends().expect_err("it can carry nothing").dismiss();
            assert_eq!(old.polled() & IN, IN, "{kind} {shown:x}");
            for veiled in [false, true] {
                let (front, mut ends) = Ends::open(carrying | libc::SOCK_CLOEXEC, veiled).expect("a pair");
                let new = Application(front);
                assert_eq!(new.polled(), if veiled { 0 } else { OUT });
                ends.unveil(|| new.0.try_clone().ok());
                assert_eq!(new.polled(), OUT);
                carry_much(&new, &ends);
            }
        }
    }

    fn carry_much(application: &Application, ends: &Ends) {
        let text = [7_u8; 60_000];
        let mut room = [0_u8; 60_001];
        // SAFETY: so many bytes are there, and there is so much room.
        unsafe {
            let (fd, flags) = (application.0.as_raw_fd(), libc::MSG_DONTWAIT);
            assert_eq!(libc::send(fd, text.as_ptr().cast(), text.len(), flags), 60_000);
            let flags = libc::MSG_WAITALL | flags;
            let got = libc::recv(ends.back.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), flags);
            assert_eq!((got, &room[..60_000]), (60_000, &text[..]));
        }
    }
}
