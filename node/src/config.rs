//! What a node must know before it starts.

use alloc::vec::Vec;
use core::net::SocketAddr;

use ntm_proto::crypto::{Provider, PublicKeyBytes};
use ntm_proto::identity::{NodeRecord, NoiseKey};
use ntm_proto::session::Psk;
use ntm_proto::time::WallClock;

/// A direction coordinator the node may register with; its certificate was verified at login.
#[derive(Clone, Debug)]
pub struct Director {
    pub noise_key: PublicKeyBytes,
    pub addresses: Vec<SocketAddr>,
}

/// Everything a node is and knows at its start; what a login gave it.
#[derive(Clone)]
pub struct Config {
    pub provider: &'static dyn Provider,
    pub record: NodeRecord,
    pub noise: NoiseKey,
    /// Sealed by the account server for the direction coordinators.
    pub ticket: Vec<u8>,
    /// The key inside the ticket.
    pub ticket_key: Psk,
    /// In the order to try them.
    pub directors: Vec<Director>,
    /// Where relays are, as the login told: needed where the network lets no UDP through. Without any, such networks
    /// keep the node out.
    pub relays: Vec<SocketAddr>,
    pub wall: WallClock,
    /// What a push gateway wakes this node by, where it may sleep.
    pub wake_token: Option<Vec<u8>>,
}

impl core::fmt::Debug for Config {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Config").field("fqdn", &self.record.fqdn).field("directors", &self.directors.len()).finish()
    }
}
