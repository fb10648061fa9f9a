//! The replay window: which counters of one key were opened already.
//!
//! A ring of 64-bit words in which old words are cleared as the window moves on, so that moving it
//! shifts nothing (RFC 6479). `ReplayWindow<W>` remembers exactly the `(W - 1) * 64` counters up to the
//! highest one accepted; what is older counts as seen.
//!
//! Invariant: a bit set in the ring is a counter in `highest - span < counter <= highest` that was
//! accepted; the bits of counters above `highest` are clear.

use core::fmt;

const WORD: u64 = u64::BITS as u64;

/// Room for what several sending threads and paths of different delay put out of order: 8,192
/// counters (DESIGN 4.2).
pub const DATA_WINDOW_WORDS: usize = 129;

/// Room for a signalling session: 256 counters.
pub const SIGNAL_WINDOW_WORDS: usize = 5;

/// The counter was opened before, or is too old to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed;

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("replayed")
    }
}

impl core::error::Error for Replayed {}

/// See the module. `W` is at least 2.
#[derive(Clone)]
pub struct ReplayWindow<const W: usize> {
    /// The counter after the highest accepted; 0 while none was.
    next: u64,
    ring: [u64; W],
}

impl<const W: usize> ReplayWindow<W> {
    /// How many counters are remembered.
    pub const SPAN: u64 = (W as u64 - 1) * WORD;

    pub const fn new() -> Self {
        assert!(W >= 2);
        Self { next: 0, ring: [0; W] }
    }

    /// Whether `counter` could be accepted; changes nothing. Ask this before opening.
    pub fn check(&self, counter: u64) -> Result<(), Replayed> {
        if counter >= self.next {
            // The highest counter would have no successor.
            return if counter == u64::MAX { Err(Replayed) } else { Ok(()) };
        }
        let age = self.next - 1 - counter;
        if age >= Self::SPAN || self.ring[Self::word(counter)] & Self::bit(counter) != 0 {
            return Err(Replayed);
        }
        Ok(())
    }

    /// Marks `counter` as seen. Only for a datagram that proved authentic.
    pub fn accept(&mut self, counter: u64) -> Result<(), Replayed> {
        self.check(counter)?;
        if counter >= self.next {
            if let Some(highest) = self.next.checked_sub(1) {
                let moved = (counter / WORD - highest / WORD).min(W as u64);
                for step in 0..moved {
                    self.ring[Self::word(counter - step * WORD)] = 0;
                }
            }
            self.next = counter + 1;
        }
        self.ring[Self::word(counter)] |= Self::bit(counter);
        Ok(())
    }

    /// The highest counter accepted.
    pub fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    fn word(counter: u64) -> usize {
        (counter / WORD % W as u64) as usize
    }

    const fn bit(counter: u64) -> u64 {
        1 << (counter % WORD)
    }
}

impl<const W: usize> Default for ReplayWindow<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const W: usize> fmt::Debug for ReplayWindow<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplayWindow(span {}, next {})", Self::SPAN, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What the window must equal: a set that forgets what is older than the span.
    #[derive(Default)]
    struct Model {
        seen: BTreeSet<u64>,
    }

    impl Model {
        fn accept(&mut self, counter: u64, span: u64) -> Result<(), Replayed> {
            let old = self.seen.last().is_some_and(|highest| highest.saturating_sub(counter) >= span);
            if old || counter == u64::MAX || !self.seen.insert(counter) { Err(Replayed) } else { Ok(()) }
        }
    }

    fn agrees<const W: usize>(counters: impl IntoIterator<Item = u64>) {
        let mut window = ReplayWindow::<W>::new();
        let mut model = Model::default();
        for counter in counters {
            let checked = window.check(counter);
            let expected = model.accept(counter, ReplayWindow::<W>::SPAN);
            assert_eq!(checked, expected, "check of {counter}");
            assert_eq!(window.accept(counter), expected, "accept of {counter}");
            assert_eq!(window.highest(), model.seen.last().copied());
        }
    }

    proptest! {
        #[test]
        fn the_window_equals_a_set(
            steps in proptest::collection::vec((0u8..6, 0u64..20_000), 1..600),
            start in prop_oneof![Just(0u64), Just(u64::MAX - 30_000), any::<u64>()],
        ) {
            let mut at = start;
            let counters: std::vec::Vec<u64> = steps
                .into_iter()
                .map(|(kind, size)| {
                    match kind {
                        0 => at = at.saturating_add(size),
                        1 => at = at.saturating_add(1),
                        2 => at = at.saturating_add(size % 130),
                        3 => return at.saturating_sub(size % 400),
                        4 => return at.saturating_sub(size),
                        _ => at = at.saturating_add(size % 3),
                    }
                    at
                })
                .collect();
            agrees::<2>(counters.iter().copied());
            agrees::<SIGNAL_WINDOW_WORDS>(counters.iter().copied());
            agrees::<DATA_WINDOW_WORDS>(counters.iter().copied());
        }
    }

    #[test]
    fn windows_are_as_wide_as_the_design_says() {
        assert_eq!(ReplayWindow::<DATA_WINDOW_WORDS>::SPAN, 8_192);
        assert_eq!(ReplayWindow::<SIGNAL_WINDOW_WORDS>::SPAN, 256);
    }

    #[test]
    fn a_counter_just_inside_the_window_is_taken_and_one_just_outside_is_not() {
        let span = ReplayWindow::<DATA_WINDOW_WORDS>::SPAN;
        let mut window = ReplayWindow::<DATA_WINDOW_WORDS>::new();
        window.accept(span + 10).unwrap();
        assert_eq!(window.accept(11), Ok(()));
        assert_eq!(window.accept(10), Err(Replayed));
    }
}
