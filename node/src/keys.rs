//! The engine's own names: for rows of the tunnel table, for relay links, for who owns an index.

use ntm_proto::id::RelayId;

/// A place in the tunnel table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerKey(pub(crate) u32);

/// One grant of one relay: a newer grant for the same relay is another link, so that both ends can hold
/// on to the old one until the new one has proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId {
    pub(crate) relay: RelayId,
    /// Counts the links to one peer.
    pub(crate) number: u32,
}

/// Whose session an index names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexOwner {
    Director,
    Peer(PeerKey),
}
