//! What the two SYNs settle: sequence numbers, segment size, window scales, SACK, ECN.

use core::time::Duration;

use ntm_proto::time::Instant;

use crate::seq::{self, Position};
use crate::wire::{ACK, CWR, ECE, Proposal, Segment};

/// RFC 9293, section 3.7.1, where a peer names no size.
const DEFAULT_SEGMENT: u16 = 536;
/// Smaller ones would make a segment of almost nothing but headers.
const MIN_SEGMENT: u16 = 48;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Handshake {
    own: Option<Syn>,
    peer: Option<Syn>,
    sent_at: Instant,
    /// The SYN was sent again: its answer says nothing of the round trip.
    repeated: bool,
    answered_after: Option<(Instant, Duration)>,
}

#[derive(Clone, Copy, Debug)]
struct Syn {
    sequence: u32,
    proposal: Proposal,
    flags: u8,
    window: u16,
}

/// What was settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreement {
    /// The positions after the SYNs.
    pub(crate) send_from: Position,
    pub(crate) receive_from: Position,
    /// The window that our SYN offered.
    pub(crate) offered: u64,
    pub(crate) segment: u64,
    pub(crate) selective: bool,
    pub(crate) capable: bool,
    /// How far windows are shifted that we send, and that the peer sends.
    pub(crate) own_scale: u8,
    pub(crate) peer_scale: u8,
    pub(crate) trip: Option<(Instant, Duration)>,
}

impl Syn {
    fn of(segment: &Segment<'_>) -> Self {
        let Segment { sequence, flags, window, .. } = *segment;
        Self { sequence, proposal: segment.proposal(), flags, window }
    }
}

impl Handshake {
    /// smoltcp's SYN leaves; with which flags it shall.
    pub(crate) fn sent(&mut self, now: Instant, segment: &Segment<'_>, ecn: bool) -> u8 {
        self.repeated |= self.own.is_some();
        self.sent_at = now;
        // RFC 3168, section 6.1.1.1: a SYN that was not answered is sent again without asking for ECN.
        let offered = segment.flags & !(ECE | CWR);
        let flags = match (segment.has(ACK), self.peer) {
            _ if !ecn || self.repeated => offered,
            (false, _) => offered | ECE | CWR,
            (true, Some(peer)) if peer.flags & (ECE | CWR) == ECE | CWR => offered | ECE,
            (true, _) => offered,
        };
        self.own = Some(Syn { flags, ..Syn::of(segment) });
        flags
    }

    pub(crate) fn received(&mut self, now: Instant, segment: &Segment<'_>) {
        self.peer = Some(Syn::of(segment));
        if segment.has(ACK) {
            self.answered(now);
        }
    }

    /// Something came that acknowledges our SYN.
    pub(crate) fn answered(&mut self, now: Instant) {
        if self.own.is_some() && !self.repeated && self.answered_after.is_none() {
            self.answered_after = Some((now, now.since(self.sent_at)));
        }
    }

    /// What was settled, once both SYNs are known.
    pub(crate) fn agreement(&self) -> Option<Agreement> {
        let (own, peer) = (self.own?, self.peer?);
        let size = |syn: Syn| syn.proposal.segment.unwrap_or(DEFAULT_SEGMENT).max(MIN_SEGMENT);
        let (own_scale, peer_scale) = match (own.proposal.scale, peer.proposal.scale) {
            (Some(own), Some(peer)) => (own, peer),
            _ => (0, 0),
        };
        // The second of the two SYNs answers ECE alone where the first asked with ECE and CWR.
        let ecn = |syn: Syn| syn.flags & (ECE | CWR);
        Some(Agreement {
            send_from: seq::first(own.sequence) + 1,
            receive_from: seq::first(peer.sequence) + 1,
            offered: own.window.into(),
            segment: size(own).min(size(peer)).into(),
            selective: own.proposal.selective && peer.proposal.selective,
            capable: matches!((ecn(own), ecn(peer)), (both, ECE) | (ECE, both) if both == ECE | CWR),
            own_scale,
            peer_scale,
            trip: self.answered_after,
        })
    }
}
