//! Packets that do not fit a path, in pieces (DESIGN 4.3).
//!
//! The tunnel splits and joins, so the virtual MTU is a constant that no handover changes. Pieces
//! travel inside sealed datagrams: only the authenticated peer can send them. Even so a
//! [`Reassembler`] is bounded in packets, in bytes and in pieces, since a peer may be hostile too.
//!
//! Rules: all pieces of a packet name the same total; a piece that was had already is ignored where its
//! bytes are the same; pieces that contradict each other, in total or in bytes, condemn the packet (as RFC
//! 5722 rules for IPv6); a packet not complete [`REASSEMBLY_TIMEOUT`] after its first piece is forgotten; the
//! oldest is forgotten where there is no room.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::time::Instant;
use crate::wire::frame::{FRAGMENT_HEADER, Fragment, MAX_FRAGMENTED};

/// Packets in progress at once.
pub const MAX_IN_PROGRESS: usize = 16;
/// Bytes held for all packets in progress.
pub const MAX_BUFFERED: usize = 256 * 1024;
/// Separate stretches of one packet at once.
pub const MAX_STRETCHES: usize = 64;
/// How long the pieces of one packet wait for the rest.
pub const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a piece was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentError {
    /// Empty, past its own total, or of a packet larger than may be.
    BadBounds,
    /// Contradicts another piece of its packet; the packet is forgotten.
    Conflict,
    /// The packet is in too many stretches; it is forgotten.
    TooManyStretches,
}

/// What a reassembler dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentStats {
    pub completed: u64,
    pub duplicates: u64,
    pub bad_bounds: u64,
    pub conflicts: u64,
    pub too_many_stretches: u64,
    /// Packets that waited too long.
    pub timed_out: u64,
    /// Packets that had to make room.
    pub evicted: u64,
}

/// Cuts `packet` into frames of at most `max_frame` bytes, header included. A `max_frame` with no room
/// for data is taken as one with room for one byte.
pub fn split(packet: &[u8], id: u32, max_frame: usize) -> impl Iterator<Item = Fragment<'_>> {
    let piece = max_frame.saturating_sub(FRAGMENT_HEADER).max(1);
    let total = packet.len() as u32;
    packet.chunks(piece).enumerate().map(move |(number, data)| Fragment {
        id,
        offset: (number * piece) as u32,
        total,
        data,
    })
}

/// Joins pieces into packets.
#[derive(Debug, Default)]
pub struct Reassembler {
    /// The oldest first.
    partial: VecDeque<Partial>,
    buffered: usize,
    stats: FragmentStats,
}

struct Partial {
    id: u32,
    begun: Instant,
    /// As long as the whole will be.
    bytes: Vec<u8>,
    /// What of `bytes` is there: sorted, apart from each other.
    stretches: Vec<(usize, usize)>,
}

impl Reassembler {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a piece; gives what it completes.
    pub fn handle(&mut self, now: Instant, fragment: &Fragment<'_>) -> Result<Option<Vec<u8>>, FragmentError> {
        self.handle_timeout(now);
        let (start, end, total) = bounds(fragment).ok_or_else(|| self.count(FragmentError::BadBounds))?;
        let at = match self.partial.iter().position(|partial| partial.id == fragment.id) {
            Some(at) => at,
            None => self.admit(now, fragment.id, total),
        };
        match self.partial[at].insert(start, end, total, fragment.data) {
            Ok(Inserted::Nothing) => {
                self.stats.duplicates += 1;
                Ok(None)
            }
            Ok(Inserted::Some) => Ok(None),
            Ok(Inserted::Last) => {
                self.stats.completed += 1;
                Ok(self.forget(at).map(|partial| partial.bytes))
            }
            Err(error) => {
                self.forget(at);
                Err(self.count(error))
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to forget.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.partial.front().map(|partial| partial.begun + REASSEMBLY_TIMEOUT)
    }

    /// Forgets what waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|due| due <= now) {
            self.forget(0);
            self.stats.timed_out += 1;
        }
    }

    /// Bytes held.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    pub fn stats(&self) -> &FragmentStats {
        &self.stats
    }

    /// Begins a packet, at the cost of the oldest where there is no room.
    fn admit(&mut self, now: Instant, id: u32, total: usize) -> usize {
        while self.partial.len() >= MAX_IN_PROGRESS || self.buffered + total > MAX_BUFFERED {
            self.forget(0);
            self.stats.evicted += 1;
        }
        self.buffered += total;
        self.partial.push_back(Partial { id, begun: now, bytes: vec![0; total], stretches: Vec::new() });
        self.partial.len() - 1
    }

    fn forget(&mut self, at: usize) -> Option<Partial> {
        let partial = self.partial.remove(at)?;
        self.buffered -= partial.bytes.len();
        Some(partial)
    }

    fn count(&mut self, error: FragmentError) -> FragmentError {
        *match error {
            FragmentError::BadBounds => &mut self.stats.bad_bounds,
            FragmentError::Conflict => &mut self.stats.conflicts,
            FragmentError::TooManyStretches => &mut self.stats.too_many_stretches,
        } += 1;
        error
    }
}

enum Inserted {
    /// All of it was there.
    Nothing,
    Some,
    /// Everything is there now.
    Last,
}

impl Partial {
    fn insert(&mut self, start: usize, end: usize, total: usize, data: &[u8]) -> Result<Inserted, FragmentError> {
        if total != self.bytes.len() || self.contradicts(start, end, data) {
            return Err(FragmentError::Conflict);
        }
        if self.stretches.iter().any(|&(from, to)| from <= start && end <= to) {
            return Ok(Inserted::Nothing);
        }
        self.bytes[start..end].copy_from_slice(data);
        let (mut from, mut to) = (start, end);
        self.stretches.retain(|&(other_from, other_to)| {
            let touches = other_from <= to && from <= other_to;
            if touches {
                (from, to) = (from.min(other_from), to.max(other_to));
            }
            !touches
        });
        let at = self.stretches.partition_point(|&(other, _)| other < from);
        self.stretches.insert(at, (from, to));
        if self.stretches.len() > MAX_STRETCHES {
            return Err(FragmentError::TooManyStretches);
        }
        Ok(if (from, to) == (0, total) { Inserted::Last } else { Inserted::Some })
    }

    /// Whether a byte of the piece is there already, and another one.
    fn contradicts(&self, start: usize, end: usize, data: &[u8]) -> bool {
        self.stretches.iter().any(|&(from, to)| {
            let (from, to) = (from.max(start), to.min(end));
            from < to && self.bytes[from..to] != data[from - start..to - start]
        })
    }
}

/// Where the piece begins and ends, and how long the whole is; `None` if that makes no sense.
fn bounds(fragment: &Fragment<'_>) -> Option<(usize, usize, usize)> {
    let start = usize::try_from(fragment.offset).ok()?;
    let total = usize::try_from(fragment.total).ok()?;
    let end = start.checked_add(fragment.data.len())?;
    (start < end && end <= total && fragment.total <= MAX_FRAGMENTED).then_some((start, end, total))
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partial({}, {} B)", self.id, self.bytes.len())
    }
}

impl fmt::Display for FragmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadBounds => "a piece outside its packet",
            Self::Conflict => "pieces contradict each other",
            Self::TooManyStretches => "too many separate pieces",
        })
    }
}

impl core::error::Error for FragmentError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    const NOW: Instant = Instant::from_millis(1_000);

    fn packet(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        Rng::from_seed([7; 32]).fill(&mut bytes);
        bytes
    }

    fn piece(id: u32, offset: u32, total: u32, data: &[u8]) -> Fragment<'_> {
        Fragment { id, offset, total, data }
    }

    proptest! {
        #[test]
        fn whatever_order_the_pieces_arrive_in_the_packet_comes_out_once(
            len in 1usize..4_000,
            max_frame in 40usize..1_500,
            seed: [u8; 32],
        ) {
            let packet = packet(len);
            let mut pieces: Vec<_> = split(&packet, 9, max_frame).collect();
            prop_assert!(pieces.iter().all(|piece| piece.data.len() + FRAGMENT_HEADER <= max_frame));
            let mut rng = Rng::from_seed(seed);
            // Some stand twice, at any place.
            for _ in 0..pieces.len() / 2 {
                pieces.push(pieces[rng.below(pieces.len() as u64) as usize]);
            }
            for at in (1..pieces.len()).rev() {
                pieces.swap(at, rng.below(at as u64 + 1) as usize);
            }
            let mut reassembler = Reassembler::new();
            let mut out = Vec::new();
            for piece in &pieces {
                match reassembler.handle(NOW, piece) {
                    Ok(Some(whole)) => out.push(whole),
                    Ok(None) => {}
                    Err(FragmentError::TooManyStretches) => return Ok(()),
                    Err(error) => prop_assert!(false, "{error}"),
                }
            }
            prop_assert!(out.iter().all(|whole| *whole == packet));
            // Duplicates of every piece behind the last one make a second packet, and never a wrong one.
            prop_assert!(!out.is_empty() && out.len() <= 2);
        }
    }

    #[test]
    fn overlapping_pieces_that_agree_join() {
        let packet = packet(100);
        let mut reassembler = Reassembler::new();
        assert_eq!(reassembler.handle(NOW, &piece(1, 0, 100, &packet[..60])), Ok(None));
        assert_eq!(reassembler.handle(NOW, &piece(1, 40, 100, &packet[40..])), Ok(Some(packet)));
    }

    #[test]
    fn overlapping_pieces_that_differ_condemn_the_packet() {
        let packet = packet(100);
        let mut lie = packet.clone();
        lie[50] ^= 1;
        let mut reassembler = Reassembler::new();
        reassembler.handle(NOW, &piece(1, 0, 100, &packet[..60])).unwrap();
        assert_eq!(reassembler.handle(NOW, &piece(1, 40, 100, &lie[40..])), Err(FragmentError::Conflict));
        assert_eq!(reassembler.buffered(), 0);
        assert_eq!(reassembler.stats().conflicts, 1);
    }

    #[test]
    fn pieces_that_name_different_totals_condemn_the_packet() {
        let packet = packet(100);
        let mut reassembler = Reassembler::new();
        reassembler.handle(NOW, &piece(1, 0, 100, &packet[..60])).unwrap();
        assert_eq!(reassembler.handle(NOW, &piece(1, 60, 90, &packet[60..90])), Err(FragmentError::Conflict));
        assert_eq!(reassembler.poll_timeout(), None);
    }

    #[test]
    fn a_duplicate_changes_nothing() {
        let packet = packet(100);
        let mut reassembler = Reassembler::new();
        reassembler.handle(NOW, &piece(1, 0, 100, &packet[..60])).unwrap();
        assert_eq!(reassembler.handle(NOW, &piece(1, 10, 100, &packet[10..20])), Ok(None));
        assert_eq!(reassembler.stats().duplicates, 1);
        assert_eq!(reassembler.handle(NOW, &piece(1, 60, 100, &packet[60..])), Ok(Some(packet)));
    }

    #[test]
    fn a_piece_outside_its_packet_is_refused() {
        let mut reassembler = Reassembler::new();
        let too_long = MAX_FRAGMENTED + 1;
        for (offset, total, len) in
            [(0, 0, 0), (0, 10, 0), (5, 10, 6), (10, 10, 1), (u32::MAX, u32::MAX, 1), (0, too_long, 10)]
        {
            let data = vec![0; len];
            let result = reassembler.handle(NOW, &piece(1, offset, total, &data));
            assert_eq!(result, Err(FragmentError::BadBounds), "{offset} + {len} of {total}");
        }
        assert_eq!(reassembler.buffered(), 0);
    }

    #[test]
    fn a_missing_piece_costs_the_packet_after_two_seconds_and_no_more() {
        let packet = packet(100);
        let mut reassembler = Reassembler::new();
        reassembler.handle(NOW, &piece(1, 0, 100, &packet[..60])).unwrap();
        let due = reassembler.poll_timeout().unwrap();
        assert_eq!(due, NOW + Duration::from_secs(2));
        reassembler.handle_timeout(due);
        assert_eq!((reassembler.buffered(), reassembler.stats().timed_out), (0, 1));
        assert_eq!(reassembler.handle(due, &piece(1, 60, 100, &packet[60..])), Ok(None));
    }

    #[test]
    fn a_flood_of_beginnings_stays_within_bounds_and_the_newest_packet_gets_through() {
        let mut reassembler = Reassembler::new();
        for id in 0..10_000 {
            reassembler.handle(NOW, &piece(id, 65_000, 65_535, &[1])).unwrap();
            assert!(reassembler.buffered() <= MAX_BUFFERED);
        }
        let packet = packet(3_000);
        let pieces: Vec<_> = split(&packet, 77_777, 1_200).collect();
        let whole = pieces.iter().find_map(|piece| reassembler.handle(NOW, piece).unwrap());
        assert_eq!(whole, Some(packet));
    }

    #[test]
    fn a_packet_in_crumbs_is_given_up() {
        let mut reassembler = Reassembler::new();
        let results: Vec<_> = (0..200).map(|at| reassembler.handle(NOW, &piece(1, at * 2, 60_000, &[1]))).collect();
        assert!(results.contains(&Err(FragmentError::TooManyStretches)));
        assert!(reassembler.partial.iter().all(|partial| partial.stretches.len() <= MAX_STRETCHES));
    }
}
