//! A virtual internet in virtual time.
//!
//! ```text
//!                      core: latency by pair of sites
//!         ┌───────────────────┬────────────────────┐
//!   site 20.0.0.0/16    site 20.1.0.0/16     site 20.2.0.0/16, 2400:2::/64
//!    │         │              │                    │
//!  server    NAT 20.0.0.2   CGNAT 20.1.0.2       firewall
//!              │              │                    │
//!        192.168.1.0/24   100.64.0.0/10         2400:2:0:5::/64
//!          │        │         │                    │
//!        host     host      NAT ── host           host
//! ```
//!
//! A [`Place`] is a subnet: a *site* whose addresses are global, or the inside of a router. Routers nest.
//! Hosts attach interfaces to places and get addresses there. All that routers and links do to a packet
//! happens at the virtual instant the packet gets to them, so two nodes that punch at the same time
//! race as they do in the world.
//!
//! # Driving it
//! ```
//! # use ntm_sim::net::{Families, NatKind, Network};
//! # use ntm_proto::time::Instant;
//! let mut network = Network::new(1);
//! let site = network.add_site(Families::V4);
//! let home = network.add_nat(site, NatKind::PORT_RESTRICTED_CONE);
//! let (server, laptop) = (network.add_host(), network.add_host());
//! let server_address = network.attach(server, 0, site, Families::V4)[0];
//! let laptop_address = network.attach(laptop, 0, home, Families::V4)[0];
//!
//! let (from, to) = ((laptop_address, 5000).into(), (server_address, 53).into());
//! network.send(Instant::ZERO, laptop, 0, from, to, b"hello".to_vec()).expect("the address is the laptop's");
//! while let Some(now) = network.next_event() {
//!     while let Some(delivery) = network.poll(now) {
//!         assert_eq!((delivery.host, delivery.payload.as_slice()), (server, &b"hello"[..]));
//!         assert_ne!(delivery.from.ip(), laptop_address, "the NAT's address shows");
//!     }
//! }
//! ```
//!
//! # Invariants
//! - A run depends on the seed and the calls alone; [`Network::digest`] is the proof.
//! - Events come out in the order of their instants, those of one instant in the order they were made.
//! - A packet from the outside never makes state in a router.

mod forward;
mod host;
mod link;
mod nat;
mod trace;

pub use forward::{Delivery, SendError};
pub use host::{Families, HostId, Place, RouterConfig, Subnet, V4, V6};
pub use link::{Burst, ETHERNET_MTU, LinkProfile, Probability, Way};
pub use nat::{DEFAULT_NAT_CAPACITY, Dependence, FirewallKind, NatKind, Ports, RFC_TIMEOUT};
pub use trace::{Counters, Drop, TraceEvent, What};

pub(crate) use host::{Neighbour, PlaceState, Router, V4Edge, V6Edge};
pub(crate) use link::Link;

use crate::rng::Dice;
use forward::Queue;
use host::{Host, Interface};
use nat::{Firewall, Nat};
use ntm_proto::time::Instant;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Packets from or to this port stand for those of TLS connections.
pub const TLS_PORT: u16 = 443;
/// What a core path takes one way where nothing else was said.
pub const DEFAULT_CORE_LATENCY: Duration = Duration::from_millis(10);

/// Site n has 20.n.0.0/16, counting on into 21.0.0.0 and so forth.
const FIRST_GLOBAL: u32 = Ipv4Addr::new(20, 0, 0, 0).to_bits();
const MAX_SITES: usize = 8 * 256;
/// The upper half of a site's /16 is cut into /24s for places with global addresses behind a router.
const ROUTED_HALF: u32 = 0x8000;
const MAX_ROUTED: usize = 128;
/// 2400::/12 is real, allocated, global space; a simulated host may not care.
const V6_TOP: u64 = 0x2400 << 48;

/// A link of the topology, to be tuned or cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkRef {
    /// From a host's interface to the place it is attached to; it belongs to the interface and moves with it.
    Access(HostId, u8),
    /// From a router, named by its inside, to the place above.
    Uplink(Place),
    /// Through the core between two sites.
    Core(Place, Place),
}

type TraceHook = Box<dyn FnMut(&TraceEvent<'_>)>;

/// The internet. See the [module](self) for how to drive it.
pub struct Network {
    dice: Dice,
    hosts: Vec<Host>,
    pub(crate) places: Vec<PlaceState>,
    pub(crate) sites: Vec<Site>,
    /// Core links of the pairs of sites, a triangle: pair (a, b) with a ≥ b at a(a+1)/2 + b.
    pub(crate) core: Vec<Link>,
    core_profile: LinkProfile,
    access_profile: LinkProfile,
    queue: Queue,
    counters: Counters,
    digest: u64,
    trace: Option<TraceHook>,
}

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) place: Place,
    /// Places below with global IPv4 addresses, in the order of their /24s.
    routed: Vec<Place>,
    /// Places below with IPv6, in the order of their /64s; the site itself is first.
    v6: Vec<Place>,
}

/// Building: sites, routers, hosts.
///
/// These panic where the caller asks for what cannot be, such as a host that was never added: a scenario
/// that does so is wrong.
impl Network {
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            hosts: Vec::new(),
            places: Vec::new(),
            sites: Vec::new(),
            core: Vec::new(),
            core_profile: LinkProfile::with_latency(DEFAULT_CORE_LATENCY),
            access_profile: LinkProfile::IDEAL,
            queue: Queue::default(),
            counters: Counters::default(),
            digest: seed,
            trace: None,
        }
    }

    /// The profile of core paths between sites added from now on.
    pub fn set_default_core(&mut self, profile: LinkProfile) {
        self.core_profile = profile;
    }

    /// The profile of the access links of interfaces that attach for the first time from now on.
    pub fn set_default_access(&mut self, profile: LinkProfile) {
        self.access_profile = profile;
    }

    /// Adds a place on the core, with global addresses of `families`.
    pub fn add_site(&mut self, families: Families) -> Place {
        let index = self.sites.len();
        assert!(index < MAX_SITES, "no addresses left for another site");
        let place = self.next_place();
        let v4 = families.v4.then(|| Subnet { first: FIRST_GLOBAL + ((index as u32) << 16), host_bits: 15 });
        let v6 = families.v6.then_some(V6_TOP | (index as u64) << 32);
        self.places.push(PlaceState::new(None, index as u16, v4, v6));
        self.sites.push(Site { place, routed: Vec::new(), v6: vec![place] });
        for _ in 0..=index {
            self.core.push(Link::new(self.core_profile));
        }
        let itself = self.core_index(index, index);
        self.core[itself] = Link::new(LinkProfile::IDEAL);
        place
    }

    /// Adds a NAT below `parent`; the result is its inside. Knows no IPv6; see [`RouterConfig::home`].
    pub fn add_nat(&mut self, parent: Place, kind: NatKind) -> Place {
        self.add_router(parent, RouterConfig::nat(kind))
    }

    /// Adds a router below `parent`; the result is its inside, which also names the router.
    pub fn add_router(&mut self, parent: Place, config: RouterConfig) -> Place {
        let place = self.next_place();
        let site = self.places[parent.0 as usize].site;
        let (v4, subnet) = self.build_v4(parent, place, &config);
        let offers_v6 = self.places[parent.0 as usize].v6.is_some();
        let (v6, prefix) = match config.v6 {
            V6::Routed(firewall) if offers_v6 => {
                let site = &mut self.sites[usize::from(site)];
                site.v6.push(place);
                let prefix = V6_TOP | (u64::from(self.places[parent.0 as usize].site)) << 32;
                (V6Edge::Routed(firewall.map(Firewall::new)), Some(prefix | (site.v6.len() as u64 - 1)))
            }
            _ => (V6Edge::Off, None),
        };
        let uplink = Link::new(config.uplink);
        let router = Router { parent, v4, v6, udp_blocked: config.udp_blocked, uplink };
        self.places.push(PlaceState::new(Some(router), site, subnet, prefix));
        place
    }

    pub fn add_host(&mut self) -> HostId {
        self.hosts.push(Host { up: true, interfaces: Vec::new() });
        HostId(self.hosts.len() as u32 - 1)
    }

    fn build_v4(&mut self, parent: Place, place: Place, config: &RouterConfig) -> (V4Edge, Option<Subnet>) {
        match config.v4 {
            V4::Nat(_) | V4::Routed(_) if self.places[parent.0 as usize].v4.is_none() => (V4Edge::Off, None),
            V4::Nat(kind) => {
                let subnet = config.inside.unwrap_or_else(|| self.private_subnet(parent));
                let above = self.places[parent.0 as usize].v4;
                let overlaps = above.is_some_and(|above| above.contains(Ipv4Addr::from_bits(subnet.first)));
                assert!(!overlaps, "a NAT must not have the same addresses on both sides");
                let outside = self.take_v4(parent, Neighbour::Router(place));
                (V4Edge::Nat(Nat::new(kind, outside)), Some(subnet))
            }
            V4::Routed(firewall) => {
                let index = usize::from(self.places[parent.0 as usize].site);
                assert!(self.sites[index].place == parent, "only a site has global IPv4 addresses to route");
                let routed = &mut self.sites[index].routed;
                assert!(routed.len() < MAX_ROUTED, "no global subnets left at the site");
                let first = FIRST_GLOBAL + ((index as u32) << 16) + ROUTED_HALF + ((routed.len() as u32) << 8);
                routed.push(place);
                (V4Edge::Routed(firewall.map(Firewall::new)), Some(Subnet { first, host_bits: 8 }))
            }
            V4::Off => (V4Edge::Off, None),
        }
    }

    /// 192.168.1.0/24 as everybody has it, and below that 192.168.2.0/24, as people make it work.
    fn private_subnet(&self, parent: Place) -> Subnet {
        let mut depth = 1;
        let mut above = parent;
        while let Some(router) = &self.places[above.0 as usize].router {
            above = router.parent;
            depth += 1;
        }
        Subnet::new(Ipv4Addr::new(192, 168, depth, 0), 24)
    }

    fn take_v4(&mut self, place: Place, neighbour: Neighbour) -> Ipv4Addr {
        let state = &mut self.places[place.0 as usize];
        match state.free_v4() {
            Some(IpAddr::V4(address)) => {
                state.neighbours.insert(IpAddr::V4(address), neighbour);
                address
            }
            _ => panic!("{place} has no IPv4 address left"),
        }
    }

    fn next_place(&self) -> Place {
        Place(self.places.len() as u32)
    }

    pub(crate) fn core_index(&self, a: usize, b: usize) -> usize {
        let (high, low) = if a >= b { (a, b) } else { (b, a) };
        high * (high + 1) / 2 + low
    }
}

/// Moving: interfaces that come and go, addresses that change.
impl Network {
    /// Attaches an interface to `place` and gives it an address of each family that both offer. One
    /// attached elsewhere is detached first.
    pub fn attach(&mut self, host: HostId, iface: u8, place: Place, families: Families) -> Vec<IpAddr> {
        self.detach(host, iface);
        let profile = self.access_profile;
        let interfaces = &mut self.hosts[host.0 as usize].interfaces;
        while interfaces.len() <= usize::from(iface) {
            interfaces.push(Interface::new(profile));
        }
        interfaces[usize::from(iface)].place = Some(place);
        interfaces[usize::from(iface)].link.replug();
        let v4 = families.v4.then(|| self.add_address(host, iface, Families::V4)).flatten();
        let v6 = families.v6.then(|| self.add_address(host, iface, Families::V6)).flatten();
        v4.into_iter().chain(v6).collect()
    }

    /// Takes an interface off its place with all its addresses. Packets under way to it are lost.
    pub fn detach(&mut self, host: HostId, iface: u8) {
        let Some(interface) = self.hosts[host.0 as usize].interfaces.get_mut(usize::from(iface)) else {
            return;
        };
        if let Some(place) = interface.place.take() {
            for address in interface.addresses.drain(..) {
                self.places[place.0 as usize].neighbours.remove(&address);
            }
        }
    }

    /// Gives an attached interface one more address of the one family asked for; `None` where the place has none.
    pub fn add_address(&mut self, host: HostId, iface: u8, family: Families) -> Option<IpAddr> {
        let interface = &mut self.hosts[host.0 as usize].interfaces[usize::from(iface)];
        let state = &mut self.places[interface.place?.0 as usize];
        let address = if family.v4 { state.free_v4() } else { state.free_v6() }?;
        state.neighbours.insert(address, Neighbour::Host(host, iface));
        interface.addresses.push(address);
        Some(address)
    }

    /// Takes one address off an interface; false where it was not there.
    pub fn remove_address(&mut self, host: HostId, iface: u8, address: IpAddr) -> bool {
        let Some(interface) = self.hosts[host.0 as usize].interfaces.get_mut(usize::from(iface)) else {
            return false;
        };
        let (before, place) = (interface.addresses.len(), interface.place);
        interface.addresses.retain(|held| *held != address);
        let removed = interface.addresses.len() < before;
        if let (true, Some(place)) = (removed, place) {
            self.places[place.0 as usize].neighbours.remove(&address);
        }
        removed
    }

    /// Switches a host off or on. Its addresses stay; what is sent to it while it is off is lost.
    pub fn set_host_up(&mut self, host: HostId, up: bool) {
        self.hosts[host.0 as usize].up = up;
    }

    /// Switches a router off and on again: mappings and open flows are forgotten.
    pub fn reboot_router(&mut self, inside: Place) {
        let router = self.router_mut(inside);
        match &mut router.v4 {
            V4Edge::Nat(nat) => nat.reboot(),
            V4Edge::Routed(Some(firewall)) => firewall.reboot(),
            V4Edge::Routed(None) | V4Edge::Off => {}
        }
        if let V6Edge::Routed(Some(firewall)) = &mut router.v6 {
            firewall.reboot();
        }
    }

    /// Gives a NAT another outside address, as after a provider's daily reconnection, and forgets its mappings.
    pub fn renumber_nat(&mut self, inside: Place) -> IpAddr {
        let router = self.router_mut(inside);
        let parent = router.parent;
        let V4Edge::Nat(nat) = &router.v4 else { panic!("{inside} is not behind a NAT") };
        let old = IpAddr::V4(nat.outside);
        let outside = self.take_v4(parent, Neighbour::Router(inside));
        self.places[parent.0 as usize].neighbours.remove(&old);
        if let V4Edge::Nat(nat) = &mut self.router_mut(inside).v4 {
            nat.outside = outside;
            nat.reboot();
        }
        IpAddr::V4(outside)
    }

    /// Tunes both directions of a link.
    pub fn set_link(&mut self, link: LinkRef, profile: LinkProfile) {
        self.set_link_way(link, Way::Up, profile);
        self.set_link_way(link, Way::Down, profile);
    }

    /// Tunes one direction of a link. On a core link, `Up` leads from the site added later to the one
    /// added earlier.
    pub fn set_link_way(&mut self, link: LinkRef, way: Way, profile: LinkProfile) {
        self.link_mut(link).set_profile(way, profile);
    }

    /// Sets what the core takes one way between two sites, keeping the rest of the link's profile.
    pub fn set_core_latency(&mut self, a: Place, b: Place, latency: Duration) {
        let link = self.link_mut(LinkRef::Core(a, b));
        for way in [Way::Up, Way::Down] {
            let profile = LinkProfile { latency, ..*link.profile(way) };
            link.set_profile(way, profile);
        }
    }

    /// Cuts a link or mends it.
    pub fn set_link_up(&mut self, link: LinkRef, up: bool) {
        self.link_mut(link).set_up(up);
    }

    /// Plans a window in which a link carries nothing, from `from` to just before `until`.
    pub fn add_outage(&mut self, link: LinkRef, from: Instant, until: Instant) {
        self.link_mut(link).add_outage(from, until);
    }

    fn link_mut(&mut self, link: LinkRef) -> &mut Link {
        match link {
            LinkRef::Access(host, iface) => &mut self.hosts[host.0 as usize].interfaces[usize::from(iface)].link,
            LinkRef::Uplink(inside) => &mut self.router_mut(inside).uplink,
            LinkRef::Core(a, b) => {
                let site = |place: Place| usize::from(self.places[place.0 as usize].site);
                let index = self.core_index(site(a), site(b));
                &mut self.core[index]
            }
        }
    }

    fn router_mut(&mut self, inside: Place) -> &mut Router {
        self.places[inside.0 as usize].router.as_mut().unwrap_or_else(|| panic!("{inside} is a site, not a router"))
    }
}

/// Looking.
impl Network {
    /// The addresses of an interface, in the order they came; none where it is not attached.
    pub fn addresses(&self, host: HostId, iface: u8) -> &[IpAddr] {
        self.interface(host, iface).map_or(&[], |interface| &interface.addresses)
    }

    /// Where an interface is attached.
    pub fn place(&self, host: HostId, iface: u8) -> Option<Place> {
        self.interface(host, iface)?.place
    }

    /// The interfaces of a host that are attached.
    pub fn interfaces(&self, host: HostId) -> impl Iterator<Item = u8> + '_ {
        let interfaces = &self.hosts[host.0 as usize].interfaces;
        (0u8..).zip(interfaces).filter(|(_, interface)| interface.place.is_some()).map(|(index, _)| index)
    }

    pub fn is_host_up(&self, host: HostId) -> bool {
        self.hosts[host.0 as usize].up
    }

    /// The outside address of the NAT whose inside is `place`.
    pub fn nat_address(&self, place: Place) -> Option<IpAddr> {
        Some(IpAddr::V4(self.nat(place)?.outside))
    }

    /// How many mappings of the NAT are alive at `now`.
    pub fn nat_mappings(&self, place: Place, now: Instant) -> usize {
        self.nat(place).map_or(0, |nat| nat.live(now))
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A fingerprint of everything that happened so far. Two runs are the same run exactly where theirs agree.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Has `hook` told of every event from now on.
    pub fn set_trace(&mut self, hook: impl FnMut(&TraceEvent<'_>) + 'static) {
        self.trace = Some(Box::new(hook));
    }

    pub(crate) fn interface(&self, host: HostId, iface: u8) -> Option<&Interface> {
        self.hosts[host.0 as usize].interfaces.get(usize::from(iface))
    }

    fn nat(&self, place: Place) -> Option<&Nat> {
        match &self.places[place.0 as usize].router.as_ref()?.v4 {
            V4Edge::Nat(nat) => Some(nat),
            V4Edge::Routed(_) | V4Edge::Off => None,
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("hosts", &self.hosts.len())
            .field("places", &self.places.len())
            .field("sites", &self.sites.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
