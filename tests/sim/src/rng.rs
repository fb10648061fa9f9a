//! The simulator's dice: xoshiro256++ grown from one `u64` by SplitMix64.
//!
//! Cheap, because every datagram rolls them several times; not for keys. State machines under test get
//! their own cryptographic seed from [`Dice::seed`].

use std::time::Duration;

/// A generator that depends on nothing but its seed.
#[derive(Clone, Debug)]
pub struct Dice([u64; 4]);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| splitmix(&mut state)))
    }

    /// An independent generator for a part that must not share this one's stream.
    pub fn fork(&mut self) -> Self {
        Self::new(self.u64())
    }

    pub fn u64(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    pub fn u32(&mut self) -> u32 {
        (self.u64() >> 32) as u32
    }

    /// A number below `bound`; zero where `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both possible. `low` where the range is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// A duration from zero to just below `bound`.
    pub fn duration_below(&mut self, bound: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// True in `numerator` of `denominator` cases.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// Where there is nothing to choose from.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.u64().to_le_bytes()[..chunk.len()]);
        }
    }

    /// A seed for a state machine's own generator.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        seed
    }
}

/// One step of SplitMix64: advances `state` and gives a well mixed word.
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

/// SplitMix64's finaliser: a bijection on words in which every input bit reaches every output bit.
pub fn mix(word: u64) -> u64 {
    let mut z = word;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        let (mut a, mut b, mut other) = (Dice::new(7), Dice::new(7), Dice::new(8));
        let words: Vec<_> = (0..100).map(|_| a.u64()).collect();
        assert_eq!(words, (0..100).map(|_| b.u64()).collect::<Vec<_>>());
        assert_ne!(words, (0..100).map(|_| other.u64()).collect::<Vec<_>>());
    }

    #[test]
    fn numbers_keep_to_their_bounds_and_reach_them() {
        let mut dice = Dice::new(1);
        let mut seen = [false; 6];
        for _ in 0..1_000 {
            seen[dice.between(0, 5) as usize] = true;
        }
        assert_eq!(seen, [true; 6]);
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.between(3, 3), 3);
    }
}
