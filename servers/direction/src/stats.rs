//! What happened, counted by reason.

/// Counters since the coordinator began. A datagram that changes nothing and is not answered raises exactly one
/// of those under [`Dropped`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub datagrams: u64,
    pub dropped: Dropped,
    /// Handshakes answered with a registration response.
    pub handshakes_answered: u64,
    /// Retransmitted handshakes answered with the answer given before.
    pub handshakes_repeated: u64,
    /// Handshakes refused with an error.
    pub handshakes_refused: u64,
    pub cookies_sent: u64,
    pub registrations: u64,
    /// … of which by a data frame: moves.
    pub moves: u64,
    pub superseded: u64,
    pub keep_alives: u64,
    pub deregistrations: u64,
    pub leases_expired: u64,
    pub forgotten: u64,
    pub directions_asked: u64,
    /// Requests that were answered by an answer already given.
    pub directions_repeated: u64,
    pub directions_given: u64,
    pub directions_refused: u64,
    /// Route directions nobody acknowledged.
    pub directions_unacknowledged: u64,
    pub retransmissions: u64,
    pub wakes: u64,
    pub revocations: u64,
    pub lookups: u64,
    /// Nodes looked for at this domain's other DCs.
    pub finds: u64,
    /// Nodes given up because they registered at another of them.
    pub moved_away: u64,
    pub information_asked: u64,
    pub information_given: u64,
    pub relay_reports: u64,
    pub errors_received: u64,
    pub addresses_proven: u64,
    pub sent: u64,
    /// Messages held back because their address has not proven itself.
    pub withheld: u64,
    /// Rows of a table given up for newer ones.
    pub evicted: u64,
    /// Things left undone because a queue to the driver was full.
    pub overflowed: u64,
}

/// Datagrams and messages that changed nothing, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Not an outer datagram, or one cut short.
    pub malformed: u64,
    /// A kind that is for nodes or relays.
    pub unexpected: u64,
    /// mac1 is wrong.
    pub bad_mac: u64,
    /// A handshake that is not authentic.
    pub bad_handshake: u64,
    /// A handshake whose payload makes no sense.
    pub bad_payload: u64,
    /// A sequence number that does not rise.
    pub stale_sequence: u64,
    pub too_many_handshakes: u64,
    /// No such session, or one whose time is over.
    pub unknown_session: u64,
    pub replayed: u64,
    pub unauthentic: u64,
    /// Authentic, and not a frame or a message.
    pub bad_message: u64,
    /// Authentic, and not for a coordinator to receive.
    pub unexpected_message: u64,
    /// A keep-alive of an interface as it was before it changed.
    pub stale_generation: u64,
    /// Overtaken by a later datagram: its address is not taken over.
    pub overtaken: u64,
    /// An acknowledgement or answer of nothing outstanding.
    pub unexpected_answer: u64,
    pub rate_limited: u64,
    pub bad_fragment: u64,
    /// A server whose certificate does not hold.
    pub bad_certificate: u64,
    /// A server of a domain whose key is not known yet.
    pub unknown_domain: u64,
    /// An answer would have been longer than an unproven address may get.
    pub too_long_to_answer: u64,
    /// A handshake that came again while its node is being stored.
    pub awaiting_store: u64,
}

impl Dropped {
    /// Each reason by its name, and how often it was one.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Self {
            malformed,
            unexpected,
            bad_mac,
            bad_handshake,
            bad_payload,
            stale_sequence,
            too_many_handshakes,
            unknown_session,
            replayed,
            unauthentic,
            bad_message,
            unexpected_message,
            stale_generation,
            overtaken,
            unexpected_answer,
            rate_limited,
            bad_fragment,
            bad_certificate,
            unknown_domain,
            too_long_to_answer,
            awaiting_store,
        } = *self;
        [
            ("malformed", malformed),
            ("unexpected", unexpected),
            ("bad_mac", bad_mac),
            ("bad_handshake", bad_handshake),
            ("bad_payload", bad_payload),
            ("stale_sequence", stale_sequence),
            ("too_many_handshakes", too_many_handshakes),
            ("unknown_session", unknown_session),
            ("replayed", replayed),
            ("unauthentic", unauthentic),
            ("bad_message", bad_message),
            ("unexpected_message", unexpected_message),
            ("stale_generation", stale_generation),
            ("overtaken", overtaken),
            ("unexpected_answer", unexpected_answer),
            ("rate_limited", rate_limited),
            ("bad_fragment", bad_fragment),
            ("bad_certificate", bad_certificate),
            ("unknown_domain", unknown_domain),
            ("too_long_to_answer", too_long_to_answer),
            ("awaiting_store", awaiting_store),
        ]
        .into_iter()
    }

    pub fn total(&self) -> u64 {
        self.by_reason().map(|(_, count)| count).sum()
    }
}

/// How full the tables are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    pub nodes: usize,
    pub online: usize,
    pub sessions: usize,
    pub half_open: usize,
    /// Handshakes that wait until their node is stored.
    pub applicants: usize,
    pub paths: usize,
    pub deliveries: usize,
    pub held: usize,
    pub peers: usize,
    pub lookups: usize,
    pub reassemblers: usize,
    pub transmits: usize,
    pub events: usize,
}
