//! What the network tells about itself: reasons, counters, one line an event.

use crate::net::{HostId, Place};
use ntm_proto::time::Instant;
use std::fmt;
use std::net::SocketAddr;

/// Why the network dropped a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drop {
    /// Lost at random or in a burst.
    Loss,
    LinkDown,
    /// Larger than a link's MTU.
    TooBig,
    /// A limited link's queue was full.
    QueueFull,
    /// Nobody has the destination, or not any more.
    NoRoute,
    /// The destination's host is off.
    HostDown,
    /// A router in the way forwards no UDP.
    UdpBlocked,
    /// A router in the way forwards nothing of this address family.
    FamilyOff,
    /// No mapping at the NAT: never made, or expired.
    NatUnmapped,
    /// There is a mapping, but its filter does not know the sender.
    NatFiltered,
    /// The NAT's table or its ports are used up.
    NatFull,
    /// A packet to the NAT's own outside address, at a NAT that does not turn it round.
    NoHairpin,
    /// A stateful firewall does not know the flow.
    Firewall,
    FirewallFull,
}

impl Drop {
    pub const ALL: [Self; 14] = [
        Self::Loss,
        Self::LinkDown,
        Self::TooBig,
        Self::QueueFull,
        Self::NoRoute,
        Self::HostDown,
        Self::UdpBlocked,
        Self::FamilyOff,
        Self::NatUnmapped,
        Self::NatFiltered,
        Self::NatFull,
        Self::NoHairpin,
        Self::Firewall,
        Self::FirewallFull,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::LinkDown => "link-down",
            Self::TooBig => "too-big",
            Self::QueueFull => "queue-full",
            Self::NoRoute => "no-route",
            Self::HostDown => "host-down",
            Self::UdpBlocked => "udp-blocked",
            Self::FamilyOff => "family-off",
            Self::NatUnmapped => "nat-unmapped",
            Self::NatFiltered => "nat-filtered",
            Self::NatFull => "nat-full",
            Self::NoHairpin => "no-hairpin",
            Self::Firewall => "firewall",
            Self::FirewallFull => "firewall-full",
        }
    }
}

/// Totals since the network was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub sent: u64,
    pub delivered: u64,
    pub duplicated: u64,
    /// Packets that a link held back.
    pub held_back: u64,
    dropped: [u64; Drop::ALL.len()],
}

impl Counters {
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.dropped[reason as usize]
    }

    pub fn all_dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    pub(crate) fn count_drop(&mut self, reason: Drop) {
        self.dropped[reason as usize] += 1;
    }
}

/// What happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Sent {
        host: HostId,
        iface: u8,
    },
    /// Put into the network by [`Network::inject`](crate::net::Network::inject).
    Injected {
        place: Place,
    },
    /// A NAT gave it a new source (going out), destination (coming in), or both (hairpin).
    Translated {
        place: Place,
    },
    Duplicated,
    Delivered {
        host: HostId,
        iface: u8,
    },
    Dropped(Drop),
}

/// One event, as the trace hook sees it. Its `Display` is one line.
#[derive(Clone, Copy, Debug)]
pub struct TraceEvent<'a> {
    pub at: Instant,
    pub what: What,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub payload: &'a [u8],
}

impl fmt::Display for TraceEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.at.as_nanos();
        write!(f, "{:>6}.{:09} ", nanos / 1_000_000_000, nanos % 1_000_000_000)?;
        match self.what {
            What::Sent { host, iface } => write!(f, "sent       {host}/{iface}")?,
            What::Injected { place } => write!(f, "injected   {place}")?,
            What::Translated { place } => write!(f, "translated {place}")?,
            What::Duplicated => f.write_str("duplicated")?,
            What::Delivered { host, iface } => write!(f, "delivered  {host}/{iface}")?,
            What::Dropped(reason) => write!(f, "dropped    {}", reason.name())?,
        }
        let first = self.payload.first().copied().unwrap_or(0);
        write!(f, " {} > {} length {} first {first:#04x}", self.from, self.to, self.payload.len())
    }
}
