//! Counters: what came in, what was refused and why.

/// Why a datagram, or what it carried, was dropped without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum DropReason {
    /// Not of any known form.
    Malformed,
    /// Of a form a node never receives.
    Unexpected,
    /// For a session or relay index nobody has.
    UnknownIndex,
    /// Did not authenticate.
    Unauthentic,
    /// Authentic and seen before.
    Replayed,
    /// Arrived on an address the engine was not told of.
    UnknownEndpoint,
    /// A handshake from somebody no direction named.
    UnknownPeer,
    /// A bound was reached.
    Full,
    /// A virtual packet whose addresses are not the peer's and mine.
    Spoofed,
    /// A handshake under load without a valid cookie.
    NoCookie,
}

impl DropReason {
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Unexpected,
        Self::UnknownIndex,
        Self::Unauthentic,
        Self::Replayed,
        Self::UnknownEndpoint,
        Self::UnknownPeer,
        Self::Full,
        Self::Spoofed,
        Self::NoCookie,
    ];
}

#[derive(Clone, Debug, Default)]
pub struct Stats {
    dropped: [u64; DropReason::ALL.len()],
    pub datagrams_received: u64,
    pub packets_received: u64,
    pub packets_sent: u64,
    /// Virtual packets the application sent that no path could take and no queue could hold.
    pub packets_dropped: u64,
    pub transmits_dropped: u64,
    pub events_dropped: u64,
    pub handshakes_begun: u64,
    pub handshakes_answered: u64,
}

impl Stats {
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }
}
