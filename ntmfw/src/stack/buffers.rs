//! What a connection's bytes wait in, and how much of that is used.
//!
//! Buffers are made as large as they may ever become: they cannot be changed later, and the pages of what was never used
//! cost nothing. How much of the one for sending is used goes with what the path takes; of the one for receiving
//! recovery offers more and more (`ntm_recovery::WindowGrowth`). A size that the program asked for (`SO_SNDBUF`,
//! `SO_RCVBUF`) stays as it is, as in Linux. What passes goes round through all of a buffer; the pages it leaves behind
//! are given back when nothing is in there.

use std::time::Duration;

use ntm_proto::time::Instant;
use ntm_recovery::WindowGrowth;
use smoltcp::socket::tcp::SocketBuffer;

use crate::stack::pages::Pages;

/// What is used at first.
pub(crate) const FIRST: usize = 512 << 10;
/// Congestion windows that fit into what is used: one in flight, and one to follow when that is acknowledged.
const WINDOWS: usize = 2;
/// Pages are given back no more often than this: getting them again costs more than keeping them.
const KEPT: Duration = Duration::from_millis(100);

/// How far buffers may grow whose sizes the program leaves to the library.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) send: usize,
    pub(crate) receive: usize,
}

impl Default for Bounds {
    /// Linux's, of old.
    fn default() -> Self {
        Self { send: 4 << 20, receive: 6 << 20 }
    }
}

/// Both buffers of a connection. It must go after the socket that they were lent to.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// The size that the program wants for sending.
    wanted: Option<usize>,
    /// How large each is.
    send: usize,
    receive: usize,
    grows: bool,
    /// For receiving, and for sending.
    pages: [Used; 2],
}

/// Memory of a buffer, and how much of it what has passed may have touched.
#[derive(Debug)]
struct Used {
    memory: Option<Pages>,
    passed: usize,
    since: Instant,
}

impl Buffers {
    /// Sizes where the program asked for some; and the buffers, for receiving and for sending.
    ///
    /// # Safety
    ///
    /// What is given must be gone before `Self` is.
    pub(crate) unsafe fn new(
        receive: Option<usize>,
        send: Option<usize>,
        bounds: Bounds,
    ) -> (Self, [SocketBuffer<'static>; 2]) {
        let sizes = [receive.unwrap_or(bounds.receive), send.unwrap_or(bounds.send)];
        let mut pages = sizes.map(|size| Used { memory: Pages::new(size), passed: 0, since: Instant::ZERO });
        let mut lend = |at: usize| match &mut pages[at].memory {
            // SAFETY: lent once; that it outlives what it lends is the caller's promise.
            Some(memory) => SocketBuffer::new(unsafe { memory.lend() }),
            None => SocketBuffer::new(vec![0; sizes[at]]),
        };
        let buffers = [lend(0), lend(1)];
        (Self { wanted: send, receive: sizes[0], send: sizes[1], grows: receive.is_none(), pages }, buffers)
    }

    /// Bytes were taken out of the buffer for receiving; whether it is empty now.
    ///
    /// # Safety
    ///
    /// Where it is said to be empty, nobody reads what was in it.
    pub(crate) unsafe fn note_received(&mut self, now: Instant, bytes: usize, empty: bool) {
        // SAFETY: as above.
        unsafe { self.pages[0].pass(now, bytes, empty) };
    }

    /// Bytes were put into the buffer for sending, or it may have become empty.
    ///
    /// # Safety
    ///
    /// As for [`note_received`](Self::note_received).
    pub(crate) unsafe fn note_sent(&mut self, now: Instant, bytes: usize, empty: bool) {
        // SAFETY: as above.
        unsafe { self.pages[1].pass(now, bytes, empty) };
    }

    /// The program asks for a size, or leaves it to the library.
    pub(crate) fn want(&mut self, send: Option<usize>) {
        self.wanted = send;
    }

    /// How many bytes may wait to be acknowledged where `window` may be in flight.
    pub(crate) fn send_limit(&self, window: u64) -> usize {
        let grown = usize::try_from(window).unwrap_or(usize::MAX).saturating_mul(WINDOWS);
        self.wanted.unwrap_or_else(|| grown.max(FIRST)).min(self.send)
    }

    /// What recovery is to offer of the buffer for receiving; none where that is all of it.
    pub(crate) fn growth(&self) -> Option<WindowGrowth> {
        self.grows.then_some(WindowGrowth { first: FIRST as u64, most: self.receive as u64 })
    }
}

impl Used {
    /// # Safety
    ///
    /// Where it is said to be empty, nobody reads what was in it.
    unsafe fn pass(&mut self, now: Instant, bytes: usize, empty: bool) {
        self.passed += bytes;
        if !empty || self.passed < FIRST || now.since(self.since) < KEPT {
            return;
        }
        (self.passed, self.since) = (0, now);
        if let Some(memory) = &mut self.memory {
            // SAFETY: the caller's promise.
            unsafe { memory.forget() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers(send: Option<usize>) -> Buffers {
        // SAFETY: what it gives goes at once.
        let (buffers, _) = unsafe { Buffers::new(None, send, Bounds { send: 4 << 20, receive: 1 << 20 }) };
        buffers
    }

    #[test]
    fn as_much_waits_as_the_path_takes_within_bounds() {
        let buffers = buffers(None);
        assert_eq!(buffers.send_limit(10_000), FIRST);
        assert_eq!(buffers.send_limit(1 << 20), 2 << 20);
        assert_eq!(buffers.send_limit(u64::MAX), 4 << 20);
    }

    #[test]
    fn what_has_passed_is_given_back_when_nothing_waits() {
        let mut pages = Pages::new(FIRST).expect("there is memory");
        // SAFETY: lent once, and used before `pages` goes.
        let bytes = unsafe { pages.lend() };
        let mut used = Used { memory: Some(pages), passed: 0, since: Instant::ZERO };
        bytes[0] = 1;
        // SAFETY: what was there is looked at only to see whether it went.
        unsafe { used.pass(Instant::from_millis(1_000), FIRST, false) };
        assert_eq!(bytes[0], 1);
        // SAFETY: as above.
        unsafe { used.pass(Instant::from_millis(1_000), 1, true) };
        assert_eq!(bytes[0], 0);
    }

    #[test]
    fn a_size_that_was_asked_for_stays() {
        let mut buffers = buffers(Some(10_000));
        assert_eq!(buffers.send_limit(1 << 20), 10_000);
        buffers.want(Some(5_000));
        assert_eq!(buffers.send_limit(1 << 20), 5_000);
    }
}
