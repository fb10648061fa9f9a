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
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::time::Instant;
use crate::wire::frame::Fragment;

/// Bytes a packet may have: what an IPv4 length field holds.
pub const MAX_PACKET: usize = 65_535;
/// Packets in progress at once.
pub const MAX_IN_PROGRESS: usize = 16;
/// Bytes held for all packets in progress.
pub const MAX_BUFFERED: usize = 256 * 1024;
/// Separate stretches of one packet at once.
pub const MAX_STRETCHES: usize = 64;
/// How long the pieces of one packet wait for the rest.
pub const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a fragment frame before its data: type, id, offset, total.
pub const FRAGMENT_HEADER: usize = 13;

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
    total: usize,
    begun: Instant,
    bytes: Vec<u8>,
    /// What of `bytes` is there: sorted, apart from each other.
    stretches: Vec<(usize, usize)>,
}

impl Reassembler {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a piece; gives the packet it completes.
    pub fn handle(&mut self, now: Instant, fragment: &Fragment<'_>) -> Result<Option<Vec<u8>>, FragmentError> {
        let _ = (now, fragment);
        Ok(None)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to forget.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.partial.front().map(|partial| partial.begun + REASSEMBLY_TIMEOUT)
    }

    /// Forgets packets that waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Bytes held.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    pub fn stats(&self) -> &FragmentStats {
        &self.stats
    }
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partial({}, {} of {} B)", self.id, self.bytes.len(), self.total)
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
