//! What was taken from smoltcp, kept until it is acknowledged.
//!
//! A segment stays in the buffer that smoltcp wrote it into; whatever is sent of it is sent from there.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use crate::seq::Position;

/// Shorter ones are allocated to measure: pooling them would keep a large buffer for a few bytes.
const POOLED_FROM: usize = 16 << 10;
const POOLED_SIZE: usize = 64 << 10;
/// Buffers that wait for their next use.
const MAX_SPARE: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Keeper {
    segments: VecDeque<Kept>,
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Kept {
    start: Position,
    /// With the FIN, if it has one.
    end: Position,
    buffer: Vec<u8>,
    /// Where in the buffer the byte of `start` lies, and where the payload ends.
    from: usize,
    to: usize,
    fin: bool,
    push: bool,
}

/// Bytes that follow one another in one kept segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) payload: &'a [u8],
    /// It ends with the FIN.
    pub(crate) fin: bool,
    /// It ends what the application wrote.
    pub(crate) push: bool,
}

impl Piece<'_> {
    /// The sequence numbers that it takes.
    pub(crate) fn length(&self) -> u64 {
        self.payload.len() as u64 + u64::from(self.fin)
    }
}

impl Keeper {
    /// A buffer of at least that many bytes.
    pub(crate) fn buffer(&mut self, length: usize) -> Vec<u8> {
        if (POOLED_FROM..=POOLED_SIZE).contains(&length) {
            return self.spare.pop().unwrap_or_else(|| vec![0; POOLED_SIZE]);
        }
        vec![0; length]
    }

    pub(crate) fn recycle(&mut self, buffer: Vec<u8>) {
        if buffer.len() == POOLED_SIZE && self.spare.len() < MAX_SPARE {
            self.spare.push(buffer);
        }
    }

    /// Where the next segment belongs.
    pub(crate) fn end(&self) -> Option<Position> {
        self.segments.back().map(|kept| kept.end)
    }

    /// Keeps `buffer[from..to]`, which begins at `start`.
    pub(crate) fn keep(&mut self, start: Position, buffer: Vec<u8>, from: usize, to: usize, fin: bool, push: bool) {
        let end = start + (to - from) as u64 + u64::from(fin);
        self.segments.push_back(Kept { start, end, buffer, from, to, fin, push });
    }

    /// Everything before `until` was acknowledged.
    pub(crate) fn release(&mut self, until: Position) {
        while self.segments.front().is_some_and(|kept| kept.end <= until) {
            if let Some(kept) = self.segments.pop_front() {
                self.recycle(kept.buffer);
            }
        }
    }

    /// At most `limit` bytes from `at` on, as far as they lie in one segment.
    pub(crate) fn piece(&self, at: Position, limit: u64) -> Option<Piece<'_>> {
        let index = self.segments.partition_point(|kept| kept.end <= at);
        let kept = self.segments.get(index)?;
        let from = kept.from + usize::try_from(at.checked_sub(kept.start)?).ok()?;
        let from = from.min(kept.to);
        let to = kept.to.min(from.saturating_add(usize::try_from(limit).unwrap_or(usize::MAX)));
        let whole = to == kept.to;
        Some(Piece { payload: &kept.buffer[from..to], fin: whole && kept.fin, push: whole && kept.push })
    }

    pub(crate) fn clear(&mut self) {
        self.segments.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_found_and_released() {
        let mut keeper = Keeper::default();
        keeper.keep(100, (0..50).collect(), 10, 50, false, true);
        keeper.keep(140, (0..30).collect(), 20, 30, true, false);
        assert_eq!(keeper.end(), Some(151));
        assert_eq!(keeper.piece(100, 5).expect("kept").payload, [10, 11, 12, 13, 14]);
        let last = keeper.piece(139, 100).expect("kept");
        assert_eq!((last.payload, last.fin, last.push), (&[49][..], false, true));
        let fin = keeper.piece(150, 100).expect("kept");
        assert_eq!((fin.payload.len(), fin.fin, fin.length()), (0, true, 1));
        keeper.release(140);
        assert_eq!(keeper.piece(139, 1), None);
        assert_eq!(keeper.piece(141, 1).expect("kept").payload, [21]);
        keeper.release(150);
        assert!(keeper.piece(150, 1).is_some(), "its FIN is not acknowledged yet");
        keeper.release(151);
        assert_eq!(keeper.end(), None);
    }

    #[test]
    fn large_buffers_are_used_again() {
        let mut keeper = Keeper::default();
        let mut buffer = keeper.buffer(60_000);
        buffer[0] = 7;
        keeper.recycle(buffer);
        assert_eq!(keeper.buffer(50_000)[0], 7);
        assert_eq!(keeper.buffer(100).len(), 100);
    }
}
