//! Hosts, their interfaces, and the places they attach to.

use crate::hash::FixedMap;
use crate::net::link::{Link, LinkProfile};
use crate::net::nat::{Firewall, FirewallKind, Nat, NatKind};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host: a node, a server, or an attacker's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(crate) u32);

/// A subnet: a site of global addresses on the core, or the inside of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub(crate) u32);

/// Address families that a place offers or an interface asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

impl Families {
    pub const V4: Self = Self { v4: true, v6: false };
    pub const V6: Self = Self { v4: false, v6: true };
    pub const DUAL: Self = Self { v4: true, v6: true };
}

/// An IPv4 subnet: its first address and the number of bits that name a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub(crate) first: u32,
    pub(crate) host_bits: u8,
}

impl Subnet {
    /// `first/prefix_length`, such as 10.0.0.0/8.
    ///
    /// # Panics
    /// Where the prefix is longer than 30 bits or `first` has host bits set.
    pub const fn new(first: Ipv4Addr, prefix_length: u8) -> Self {
        assert!(prefix_length <= 30);
        let (first, host_bits) = (first.to_bits(), 32 - prefix_length);
        assert!(host_bits == 32 || first & ((1 << host_bits) - 1) == 0);
        Self { first, host_bits }
    }

    pub(crate) const fn contains(self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.first) as u64 >> self.host_bits == 0
    }
}

/// How a router treats IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V4 {
    Nat(NatKind),
    /// Global addresses inside, behind a firewall or none. Only directly below a site.
    Routed(Option<FirewallKind>),
    Off,
}

/// How a router treats IPv6, which is never translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V6 {
    Routed(Option<FirewallKind>),
    Off,
}

/// A router between a place and the one above it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterConfig {
    pub v4: V4,
    pub v6: V6,
    /// Drops all UDP, as the firewalls of some companies and hotels do. What goes to [`TLS_PORT`](crate::net::TLS_PORT) stands for TCP
    /// and passes.
    pub udp_blocked: bool,
    pub uplink: LinkProfile,
    /// The addresses inside a NAT; `None` takes 192.168.1.0/24 below a site and another one deeper down.
    pub inside: Option<Subnet>,
}

impl RouterConfig {
    /// A home router: a NAT, and where the place above has IPv6, a stateful firewall for it.
    pub const fn home(kind: NatKind) -> Self {
        Self {
            v4: V4::Nat(kind),
            v6: V6::Routed(Some(FirewallKind::STATEFUL)),
            udp_blocked: false,
            uplink: LinkProfile::IDEAL,
            inside: None,
        }
    }

    /// A NAT that knows no IPv6.
    pub const fn nat(kind: NatKind) -> Self {
        Self { v6: V6::Off, ..Self::home(kind) }
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host{}", self.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "place{}", self.0)
    }
}

/// Who has an address in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neighbour {
    Host(HostId, u8),
    /// The outside of the router whose inside is that place.
    Router(Place),
}

#[derive(Debug)]
pub(crate) struct PlaceState {
    /// The router that leads up from here; none at a site.
    pub(crate) router: Option<Router>,
    /// The site that this place is below, or is.
    pub(crate) site: u16,
    pub(crate) v4: Option<Subnet>,
    /// The first 64 bits of the IPv6 addresses here.
    pub(crate) v6: Option<u64>,
    pub(crate) neighbours: FixedMap<IpAddr, Neighbour>,
    next_host: u64,
}

#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) parent: Place,
    pub(crate) v4: V4Edge,
    pub(crate) v6: V6Edge,
    pub(crate) udp_blocked: bool,
    pub(crate) uplink: Link,
}

#[derive(Debug)]
pub(crate) enum V4Edge {
    Nat(Nat),
    Routed(Option<Firewall>),
    Off,
}

#[derive(Debug)]
pub(crate) enum V6Edge {
    Routed(Option<Firewall>),
    Off,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) up: bool,
    pub(crate) interfaces: Vec<Interface>,
}

#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) place: Option<Place>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) link: Link,
}

impl Interface {
    pub(crate) fn new(profile: LinkProfile) -> Self {
        Self { place: None, addresses: Vec::new(), link: Link::new(profile) }
    }
}

impl PlaceState {
    pub(crate) fn new(router: Option<Router>, site: u16, v4: Option<Subnet>, v6: Option<u64>) -> Self {
        Self { router, site, v4, v6, neighbours: FixedMap::default(), next_host: FIRST_HOST }
    }

    /// A free IPv4 address of this place; `None` where it has none. Addresses given back are given out
    /// again only after all the others were.
    pub(crate) fn free_v4(&mut self) -> Option<IpAddr> {
        let subnet = self.v4?;
        // Neither the subnet's own address, the gateway's, nor the broadcast address.
        let hosts = (1u64 << subnet.host_bits) - 1 - FIRST_HOST;
        self.free(hosts, |host| IpAddr::V4(Ipv4Addr::from_bits(subnet.first + host as u32)))
    }

    /// A free IPv6 address of this place; `None` where it has none.
    pub(crate) fn free_v6(&mut self) -> Option<IpAddr> {
        let prefix = u128::from(self.v6?) << 64;
        self.free(u64::from(u32::MAX), |host| IpAddr::V6(Ipv6Addr::from_bits(prefix | u128::from(host))))
    }

    fn free(&mut self, hosts: u64, address: impl Fn(u64) -> IpAddr) -> Option<IpAddr> {
        let neighbours = &self.neighbours;
        let start = self.next_host - FIRST_HOST;
        let found = (0..hosts)
            .map(|step| FIRST_HOST + (start + step) % hosts)
            .find(|host| !neighbours.contains_key(&address(*host)))?;
        self.next_host = found + 1;
        Some(address(found))
    }
}

/// The gateway is host 1.
const FIRST_HOST: u64 = 2;
