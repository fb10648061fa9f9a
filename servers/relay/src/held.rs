//! Datagrams that wait for a side to bind, or to prove its address: what lets the first datagram of
//! a communication travel with its sender's bind.

use std::collections::VecDeque;

use ntm_proto::time::Instant;

use crate::limits;

/// What waits for one side. Oldest first.
#[derive(Debug, Default)]
pub(crate) struct Held {
    queue: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    /// Room for the relayed header, then the inner datagram.
    relayed: Vec<u8>,
}

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one more of `len` bytes fits.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.queue.len() < limits::MAX_HELD && self.bytes + len <= limits::MAX_HELD_BYTES
    }

    pub(crate) fn push(&mut self, now: Instant, relayed: &[u8]) {
        debug_assert!(self.has_room(relayed.len()));
        self.bytes += relayed.len();
        self.queue.push_back(Waiting { since: now, relayed: relayed.to_vec() });
    }

    /// Bytes of the one that has waited longest.
    pub(crate) fn front_len(&self) -> Option<usize> {
        self.queue.front().map(|waiting| waiting.relayed.len())
    }

    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let waiting = self.queue.pop_front()?;
        self.bytes -= waiting.relayed.len();
        Some(waiting.relayed)
    }

    pub(crate) fn lapses_at(&self) -> Option<Instant> {
        self.queue.front().map(|waiting| waiting.since + limits::HELD_FOR)
    }

    /// Drops the one that has waited longest, if it has waited too long.
    pub(crate) fn pop_lapsed(&mut self, now: Instant) -> Option<usize> {
        self.lapses_at().filter(|at| now >= *at)?;
        self.pop().map(|relayed| relayed.len())
    }
}
