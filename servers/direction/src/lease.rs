//! Leases end by a timing wheel: arming, moving and firing one costs the same for a thousand nodes
//! and for a million.
//!
//! ```text
//!  slot  0    1    2    3   …  1023        one slot a second
//!        │         │
//!        5 ⇄ 9     2                        rows, doubly linked by two arrays beside the registry
//! ```
//!
//! The wheel says only that a row is worth looking at. A lease that a keep-alive has prolonged
//! meanwhile is found prolonged when its old slot comes round and is armed again then, so a
//! keep-alive itself touches no list. A deadline beyond the wheel's horizon waits in the last slot
//! and is armed again from there.
//!
//! Invariant: a row stands in one slot or in none, and never comes out before its deadline.

use core::time::Duration;

use ntm_proto::time::Instant;

use crate::slab::NONE;

/// Width of a slot.
pub(crate) const TICK: Duration = Duration::from_secs(1);
const SLOTS: usize = 1_024;
const WORDS: usize = SLOTS / 64;

#[derive(Debug)]
pub(crate) struct Wheel {
    heads: Vec<u32>,
    /// One bit a slot that holds anything.
    occupied: [u64; WORDS],
    links: Vec<Link>,
    /// The tick that comes out next; all before it are empty.
    tick: u64,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    next: u32,
    previous: u32,
    /// The slot the row stands in, or [`NONE`].
    slot: u32,
}

const LOOSE: Link = Link { next: NONE, previous: NONE, slot: NONE };

impl Wheel {
    pub(crate) fn new(now: Instant) -> Self {
        Self { heads: vec![NONE; SLOTS], occupied: [0; WORDS], links: Vec::new(), tick: tick_of(now) }
    }

    /// Row `row` is to come out at `at`, or up to a tick later; replaces what was armed before.
    pub(crate) fn arm(&mut self, row: u32, at: Instant) {
        let index = row as usize;
        if index >= self.links.len() {
            self.links.resize(index + 1, LOOSE);
        }
        let due = at.as_nanos().div_ceil(TICK.as_nanos() as u64);
        let due = due.clamp(self.tick, self.tick + SLOTS as u64 - 1);
        let slot = (due % SLOTS as u64) as u32;
        if self.links[index].slot == slot {
            return;
        }
        self.disarm(row);
        let head = self.heads[slot as usize];
        if head != NONE {
            self.links[head as usize].previous = row;
        }
        self.links[index] = Link { next: head, previous: NONE, slot };
        self.heads[slot as usize] = row;
        self.occupied[slot as usize / 64] |= 1 << (slot % 64);
    }

    pub(crate) fn disarm(&mut self, row: u32) {
        let Some(&Link { next, previous, slot }) = self.links.get(row as usize) else { return };
        if slot == NONE {
            return;
        }
        match previous {
            NONE => self.heads[slot as usize] = next,
            previous => self.links[previous as usize].next = next,
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        if self.heads[slot as usize] == NONE {
            self.occupied[slot as usize / 64] &= !(1 << (slot % 64));
        }
        self.links[row as usize] = LOOSE;
    }

    /// The next row whose slot has come; it is armed no more.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<u32> {
        let reached = tick_of(now);
        while self.tick <= reached {
            let Some(distance) = self.distance() else {
                self.tick = reached;
                return None;
            };
            if self.tick + distance > reached {
                self.tick = reached;
                return None;
            }
            self.tick += distance;
            let row = self.heads[(self.tick % SLOTS as u64) as usize];
            if row != NONE {
                self.disarm(row);
                return Some(row);
            }
        }
        None
    }

    /// When [`Wheel::pop`] has something to give.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let tick = self.tick + self.distance()?;
        Some(Instant::from_nanos(tick.saturating_mul(TICK.as_nanos() as u64)))
    }

    /// Slots from the current one to the next that holds anything.
    fn distance(&self) -> Option<u64> {
        let start = (self.tick % SLOTS as u64) as usize;
        for step in 0..=WORDS {
            let word = (start / 64 + step) % WORDS;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == WORDS {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                return Some(((slot + SLOTS - start) % SLOTS) as u64);
            }
        }
        None
    }
}

fn tick_of(at: Instant) -> u64 {
    at.as_nanos() / TICK.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Instant {
        Instant::from_millis(secs * 1_000)
    }

    fn due(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        core::iter::from_fn(|| wheel.pop(now)).collect()
    }

    #[test]
    fn a_row_comes_out_at_its_deadline_and_never_before() {
        let mut wheel = Wheel::new(secs(100));
        wheel.arm(3, secs(103));
        wheel.arm(4, secs(190));
        assert_eq!(wheel.deadline(), Some(secs(103)));
        assert_eq!(due(&mut wheel, secs(102)), []);
        assert_eq!(due(&mut wheel, secs(103)), [3]);
        assert_eq!(due(&mut wheel, secs(189)), []);
        assert_eq!(due(&mut wheel, secs(5_000)), [4]);
        assert_eq!(wheel.deadline(), None);
    }

    #[test]
    fn arming_again_moves_the_row_and_disarming_forgets_it() {
        let mut wheel = Wheel::new(secs(0));
        for row in 0..4 {
            wheel.arm(row, secs(10));
        }
        wheel.arm(2, secs(20));
        wheel.disarm(0);
        wheel.disarm(9);
        let mut rows = due(&mut wheel, secs(10));
        rows.sort_unstable();
        assert_eq!(rows, [1, 3]);
        assert_eq!(due(&mut wheel, secs(20)), [2]);
    }

    #[test]
    fn a_deadline_beyond_the_horizon_comes_out_early_enough_to_be_armed_again() {
        let mut wheel = Wheel::new(secs(7));
        let deadline = secs(1_000_000);
        wheel.arm(1, deadline);
        let mut now = secs(7);
        let mut wakes = 0;
        while now < deadline {
            now = wheel.deadline().unwrap();
            assert_eq!(wheel.pop(now), Some(1));
            if now < deadline {
                wheel.arm(1, deadline);
            }
            wakes += 1;
        }
        assert_eq!(now, deadline);
        assert!(wakes < 1_000);
    }

    #[test]
    fn a_deadline_in_the_past_comes_out_at_once() {
        let mut wheel = Wheel::new(secs(50));
        wheel.arm(1, secs(3));
        assert_eq!(due(&mut wheel, secs(50)), [1]);
    }
}
