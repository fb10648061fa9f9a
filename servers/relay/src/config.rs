//! What the operator tells the relay.

use core::fmt;
use core::net::SocketAddr;

use ntm_proto::crypto::{Provider, PublicKeyBytes};
use ntm_proto::id::RelayId;
use ntm_proto::identity::{NoiseKey, ServerCert};
use ntm_proto::session::Psk;
use ntm_proto::session::relay_token::GrantKey;
use ntm_proto::time::WallClock;

#[derive(Clone)]
pub struct Config {
    /// The number by which nodes and direction servers call this relay.
    pub id: RelayId,
    /// Signed by the domain: shown to the direction servers.
    pub cert: ServerCert,
    /// The key that `cert` names.
    pub noise_key: NoiseKey,
    /// The keys under which the direction servers make tokens: all that tokens still in use were
    /// made with, so that a key can be changed without a break.
    pub grant_keys: Vec<GrantKey>,
    /// The direction servers to report to; those after the first [`MAX_DIRECTORS`] are left out.
    ///
    /// [`MAX_DIRECTORS`]: crate::limits::MAX_DIRECTORS
    pub directors: Vec<Director>,
    /// The addresses that nodes reach the relay at, at least one for each family it serves. The
    /// relay speaks to the direction servers from the first of the fitting family, and takes no
    /// bind that says to come from one of them.
    pub addresses: Vec<SocketAddr>,
    pub capacity: Capacity,
    pub wall: WallClock,
    pub provider: &'static dyn Provider,
}

/// A direction server, as the operator of both has agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Director {
    pub noise_key: PublicKeyBytes,
    /// Tried in turn.
    pub addresses: Vec<SocketAddr>,
    pub psk: Psk,
}

/// What the relay may take on.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// At most [`MAX_GRANTS`] whatever stands here.
    ///
    /// [`MAX_GRANTS`]: crate::limits::MAX_GRANTS
    pub grants: usize,
    /// What the relay's line carries: not enforced, but the load that is reported is a part of it.
    pub bytes_per_second: u64,
    /// What all communications that one account pays for may carry together, in kB/s; 0 means as much as comes.
    pub rate_per_account: u32,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("id", &self.id)
            .field("cert", &self.cert.name)
            .field("grant_keys", &self.grant_keys.len())
            .field("directors", &self.directors)
            .field("addresses", &self.addresses)
            .field("capacity", &self.capacity)
            .field("provider", &self.provider.name())
            .finish_non_exhaustive()
    }
}
