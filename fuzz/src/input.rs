//! An input, taken apart from its front.

use ntm_proto::crypto;

/// What is left of an input. Every part is a function of the bytes taken, so that a mutation of one step
/// leaves the steps before it as they were.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A byte, zero where the input has ended: the step is finished with what there is.
    pub fn number(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    pub fn flag(&mut self) -> bool {
        self.number() & 1 == 1
    }

    /// Once in `many` times.
    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.number()) % bound.max(1)
    }

    /// Bytes with their length before them.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.number()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    /// A datagram that is not quite what its sender sent.
    pub fn damage(&mut self, datagram: &mut Vec<u8>) {
        match self.number() % 8 {
            0..=2 => {}
            3 | 4 => {
                let at = usize::from(self.number()) | usize::from(self.number()) << 8;
                let bit = self.number() % 8;
                if let Some(byte) = at.checked_rem(datagram.len()).and_then(|at| datagram.get_mut(at)) {
                    *byte ^= 1 << bit;
                }
            }
            5 => {
                let cut = usize::from(self.number());
                datagram.truncate(datagram.len().saturating_sub(cut));
            }
            6 => {
                let keep = usize::from(self.number());
                datagram.truncate(keep);
            }
            _ => datagram.extend_from_slice(self.bytes()),
        }
    }
}

/// What a machine is seeded with: depends on the whole input, so that nothing a fuzzer learns of the
/// secrets of one execution, by watching comparisons, is of use in the next.
pub fn secret_seed(input: &[u8], number: u8) -> [u8; 32] {
    crypto::blake2s(&[b"fuzz seed", &[number], input])
}
