//! Bytes that know their place: each depends on its offset, so that one lost, doubled or moved shows at once.

use crate::rng::mix;
use std::fmt;

const BLOCK: u64 = 8;

/// An endless sequence of bytes, one for each seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    seed: u64,
}

/// A byte that should not have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// Of the first wrong byte.
    pub offset: u64,
    pub expected: u8,
    pub found: u8,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} is {:#04x} and should be {:#04x}", self.offset, self.found, self.expected)
    }
}

impl Pattern {
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Writes the bytes from `offset` on.
    pub fn fill(&self, offset: u64, out: &mut [u8]) {
        self.chunks(offset, out.len(), |at, bytes| out[at..at + bytes.len()].copy_from_slice(bytes));
    }

    /// Compares `bytes` with those from `offset` on.
    pub fn check(&self, offset: u64, bytes: &[u8]) -> Result<(), Corruption> {
        let mut wrong = None;
        self.chunks(offset, bytes.len(), |at, expected| {
            let found = &bytes[at..at + expected.len()];
            if wrong.is_none() && found != expected {
                wrong = found
                    .iter()
                    .zip(expected)
                    .position(|(found, expected)| found != expected)
                    .map(|n| Corruption { offset: offset + (at + n) as u64, expected: expected[n], found: found[n] });
            }
        });
        wrong.map_or(Ok(()), Err)
    }

    /// Hands `each` the sequence's bytes from `offset`, a block or less at a time, with their index.
    fn chunks(&self, offset: u64, length: usize, mut each: impl FnMut(usize, &[u8])) {
        let mut at = 0;
        while at < length {
            let position = offset + at as u64;
            let block = mix(mix(position / BLOCK) ^ self.seed).to_le_bytes();
            let skip = (position % BLOCK) as usize;
            let take = (block.len() - skip).min(length - at);
            each(at, &block[skip..skip + take]);
            at += take;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        Pattern::new(1).fill(0, &mut bytes);
        bytes
    }

    #[test]
    fn any_cut_of_the_sequence_is_the_same_sequence() {
        let whole = bytes(1_000);
        for (start, end) in [(0, 1_000), (1, 2), (7, 9), (8, 16), (13, 999), (500, 500)] {
            let mut part = vec![0; end - start];
            Pattern::new(1).fill(start as u64, &mut part);
            assert_eq!(part, whole[start..end]);
            assert_eq!(Pattern::new(1).check(start as u64, &part), Ok(()));
        }
    }

    #[test]
    fn a_lost_doubled_moved_or_changed_byte_is_found_near_where_it_is() {
        let whole = bytes(1_000);
        let mut lost = whole.clone();
        lost.remove(100);
        let mut doubled = whole.clone();
        doubled.insert(100, whole[100]);
        let mut moved = whole.clone();
        moved[100..].rotate_left(8);
        for broken in [lost, doubled, moved] {
            let found = Pattern::new(1).check(0, &broken[..900]).unwrap_err();
            assert!((100..=103).contains(&found.offset), "{found}");
        }
        let mut changed = whole.clone();
        changed[100] ^= 1;
        let expected = Corruption { offset: 100, expected: whole[100], found: whole[100] ^ 1 };
        assert_eq!(Pattern::new(1).check(0, &changed), Err(expected));
        assert!(Pattern::new(2).check(0, &whole).is_err(), "another seed is another sequence");
    }
}
