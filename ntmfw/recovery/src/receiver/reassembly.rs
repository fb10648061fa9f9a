//! Segments that came before others, and the ranges that they cover.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::seq::Position;
use crate::wire::{MAX_BLOCKS, Segment};

/// Segments held at most: tiny ones cost more than their bytes.
const MAX_SEGMENTS: usize = 1 << 16;

#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// By where they begin.
    segments: BTreeMap<Position, Held>,
    /// Where covered ranges begin and end; they neither overlap nor touch.
    ranges: BTreeMap<Position, Position>,
    /// Positions in the ranges that changed last, the last one first.
    recent: Vec<Position>,
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) end: Position,
    pub(crate) packet: Vec<u8>,
    pub(crate) transport: usize,
}

impl Reassembly {
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Holds a segment: whether it begins a range of its own, or `None` where nothing of it is new.
    pub(crate) fn hold(&mut self, start: Position, end: Position, segment: &Segment<'_>) -> Option<bool> {
        let covered = self.range_at(start).is_some_and(|(_, until)| until >= end);
        if covered {
            self.touch(start);
            return None;
        }
        if self.segments.len() >= MAX_SEGMENTS {
            return Some(false);
        }
        // Of two that begin alike the longer one says all.
        let longer = self.segments.get(&start).is_none_or(|held| held.end < end);
        if longer {
            let packet = segment.packet.to_vec();
            self.segments.insert(start, Held { end, packet, transport: segment.transport });
        }
        Some(self.cover(start, end))
    }

    /// The next segment that begins no later than `next`.
    pub(crate) fn take_until(&mut self, next: Position) -> Option<Held> {
        let first = self.segments.first_entry()?;
        if *first.key() > next {
            return None;
        }
        let held = first.remove();
        while let Some(range) = self.ranges.first_entry() {
            if *range.key() > next {
                break;
            }
            range.remove();
        }
        Some(held)
    }

    /// The ranges that changed last, the last one first.
    pub(crate) fn recent(&self) -> impl Iterator<Item = (Position, Position)> {
        self.recent.iter().filter_map(|position| self.range_at(*position))
    }

    /// Adds a range; whether it touches no other.
    fn cover(&mut self, mut start: Position, mut end: Position) -> bool {
        let mut alone = true;
        while let Some((&left, &right)) = self.ranges.range(..=end).next_back() {
            if right < start {
                break;
            }
            self.ranges.remove(&left);
            (start, end) = (start.min(left), end.max(right));
            alone = false;
        }
        self.ranges.insert(start, end);
        self.touch(start);
        alone
    }

    fn range_at(&self, position: Position) -> Option<(Position, Position)> {
        let (&left, &right) = self.ranges.range(..=position).next_back()?;
        (position < right).then_some((left, right))
    }

    /// The range at `position` is the last that changed.
    fn touch(&mut self, position: Position) {
        let Some((left, right)) = self.range_at(position) else { return };
        let ranges = &self.ranges;
        self.recent.retain(|old| !(left..right).contains(old) && is_in(ranges, *old));
        self.recent.insert(0, left);
        self.recent.truncate(MAX_BLOCKS);
    }
}

fn is_in(ranges: &BTreeMap<Position, Position>, position: Position) -> bool {
    ranges.range(..=position).next_back().is_some_and(|(_, right)| position < *right)
}
