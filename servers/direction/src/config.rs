//! What the operator decides.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use ntm_proto::crypto::{Provider, PublicKeyBytes, Secret};
use ntm_proto::id::{Fqdn, RelayId};
use ntm_proto::identity::{NoiseKey, ServerCert};
use ntm_proto::session::Psk;
use ntm_proto::session::relay_token::GrantKey;
use ntm_proto::time::WallClock;

use crate::limits::MAX_NODES;

/// The default virtual IPv4 pool: the benchmarking range of RFC 2544, which no network routes.
pub const DEFAULT_POOL4: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);
/// The default virtual IPv6 /64, in the unique local range (RFC 4193).
pub const DEFAULT_PREFIX6: Ipv6Addr = Ipv6Addr::new(0xfd4e, 0x544d, 0, 0, 0, 0, 0, 0);
/// The default lease.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(90);
/// The default keep-alive interval: below the 30 s after which many NATs forget a UDP mapping.
pub const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(25);
/// The default lifetime of a relay grant.
pub const DEFAULT_GRANT_LIFETIME: Duration = Duration::from_secs(3_600);

/// Everything a [`Coordinator`](crate::Coordinator) is told from outside.
#[derive(Clone)]
pub struct Config {
    pub provider: &'static dyn Provider,
    pub wall: WallClock,
    pub domain: Fqdn,
    /// The domain's Ed25519 key, which signs this server's certificate and its relays'.
    pub domain_key: PublicKeyBytes,
    pub cert: ServerCert,
    pub noise: NoiseKey,
    /// The keys that tickets are sealed to this DC with, the newest first; an old one stays until the
    /// last ticket sealed with it has expired.
    pub service_keys: Vec<Secret>,
    pub relays: BTreeMap<RelayId, RelayConfig>,
    /// This domain's other DCs, by their names. With any, a node that is not registered here may be so there: the
    /// driver finds it in the registry that all of them share.
    pub siblings: BTreeMap<Fqdn, ServerCert>,
    /// Other domains whose keys are pinned.
    pub domains: BTreeMap<Fqdn, PinnedDomain>,
    /// A /64. Fixed for the life of the coordinator.
    pub prefix6: Ipv6Addr,
    /// Network and prefix length. Fixed for the life of the coordinator.
    pub pool4: (Ipv4Addr, u8),
    /// The addresses this server listens on; the first of each family is where it sends from when nobody has
    /// written to it yet. Two of a family let it tell what a node's NAT does.
    pub addresses: Vec<SocketAddr>,
    pub lease: Duration,
    pub keep_alive: Duration,
    pub grant_lifetime: Duration,
    /// What one grant may carry, in kB/s; 0 means as much as the relay can.
    pub grant_rate: u32,
    /// Nodes known at a time; at most [`MAX_NODES`].
    pub max_nodes: usize,
    /// Handshakes a second above which cookies are asked for.
    pub handshakes_per_second: u32,
    /// A node is answered only when the driver has stored it, and gets the virtual IPv4 address the store chose.
    pub store_first: bool,
}

/// A relay of this domain.
#[derive(Clone)]
pub struct RelayConfig {
    /// The name in the relay's certificate.
    pub name: Fqdn,
    /// What its grants are made with.
    pub grant: GrantKey,
    /// The key of the relay's session with this coordinator.
    pub psk: Psk,
    /// Where it listens. May be empty: its first report says.
    pub addresses: Vec<SocketAddr>,
}

/// Another domain, as the operator knows it.
#[derive(Clone, Debug)]
pub struct PinnedDomain {
    pub domain_key: PublicKeyBytes,
    /// Its DC, if it need not be looked for.
    pub cert: Option<ServerCert>,
}

impl Config {
    /// A domain without relays or pinned neighbours, with the default times and pools.
    pub fn new(
        provider: &'static dyn Provider,
        wall: WallClock,
        cert: ServerCert,
        noise: NoiseKey,
        domain_key: PublicKeyBytes,
        service_keys: Vec<Secret>,
    ) -> Self {
        Self {
            provider,
            wall,
            domain: cert.domain.clone(),
            domain_key,
            addresses: cert.addresses.clone(),
            cert,
            noise,
            service_keys,
            relays: BTreeMap::new(),
            siblings: BTreeMap::new(),
            domains: BTreeMap::new(),
            prefix6: DEFAULT_PREFIX6,
            pool4: DEFAULT_POOL4,
            lease: DEFAULT_LEASE,
            keep_alive: DEFAULT_KEEP_ALIVE,
            grant_lifetime: DEFAULT_GRANT_LIFETIME,
            grant_rate: 0,
            max_nodes: MAX_NODES,
            handshakes_per_second: crate::limits::HANDSHAKES_PER_SECOND,
            store_first: false,
        }
    }
}

impl core::fmt::Debug for Config {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Config")
            .field("domain", &self.domain)
            .field("addresses", &self.addresses)
            .field("relays", &self.relays.keys())
            .field("siblings", &self.siblings.keys())
            .field("domains", &self.domains.keys())
            .finish_non_exhaustive()
    }
}

impl core::fmt::Debug for RelayConfig {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RelayConfig")
            .field("name", &self.name)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
