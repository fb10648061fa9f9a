//! What the engine tells the application.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use ntm_proto::id::{Fqdn, InterfaceId, NodeId, PathId, RelayId};
use ntm_proto::wire::message::ErrorCode;

/// How a path reaches the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    Direct(SocketAddr),
    Relayed(RelayId),
}

/// A path as the application may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathView {
    pub interface: InterfaceId,
    pub local: SocketAddr,
    pub kind: PathKind,
    pub proven: bool,
    pub rtt: Option<Duration>,
    /// Parts in 1,000 of the probes that went unanswered.
    pub loss: u16,
    /// What the interfaces at both ends cost, added.
    pub cost: u16,
}

/// A peer as the application may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerView<'a> {
    pub node: NodeId,
    pub name: &'a Fqdn,
    pub virtual4: Ipv4Addr,
    pub virtual6: Ipv6Addr,
}

/// A relay that this node may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayView {
    pub relay: RelayId,
    pub addresses: Vec<SocketAddr>,
    /// None where it did not answer.
    pub rtt: Option<Duration>,
}

/// Why a communication could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// The direction coordinator said so.
    Refused(ErrorCode),
    /// No direction coordinator answered in time.
    NoDirector,
    /// The peer's record or direction did not verify.
    Unauthentic,
    /// Directed, but no path worked in time.
    Unreachable,
    /// A bound of this node was reached.
    Full,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The virtual addresses are mine; they never change for this identity.
    Registered {
        virtual4: Ipv4Addr,
        virtual6: Ipv6Addr,
    },
    /// No direction coordinator answers any more; live tunnels go on, new names fail until one does.
    RegistrationLost,
    /// The same identity registered elsewhere; this engine stays silent from now on.
    Superseded,
    /// The coordinator answered and will not register this node now; trying goes on.
    RegistrationRefused(String),
    /// The ticket is no longer accepted: log in again and call [`Node::handle_ticket`](crate::Node::handle_ticket).
    TicketRefused(ErrorCode),
    /// A name asked for by `connect` is known: packets to these addresses will be carried.
    Resolved {
        path_id: PathId,
        peer: NodeId,
        name: Fqdn,
        virtual4: Ipv4Addr,
        virtual6: Ipv6Addr,
    },
    ConnectFailed {
        path_id: PathId,
        reason: FailReason,
    },
    /// There is a session with the peer.
    PeerUp {
        peer: NodeId,
    },
    /// No path to the peer has worked for a while; trying goes on while there is traffic.
    PeerLost {
        peer: NodeId,
    },
    /// Traffic to the peer goes another way from now on; whatever waits for a retransmission timer
    /// should be sent again at once.
    PathChanged {
        peer: NodeId,
        path: PathView,
    },
}
