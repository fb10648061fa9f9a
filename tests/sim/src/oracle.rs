//! What two ideal nodes could do in the network as it stands: the yardstick for the real ones.
//!
//! Ideal nodes know all of each other's addresses and what a server on the core sees of each, send from
//! every socket to every address they know as often as they like, learn from what arrives, and never lose a
//! packet. They do not guess ports. A *direct path* is a pair of endpoints (X, Y) that stays as it is: what A
//! sends to X reaches B from Y, and what B sends to Y reaches A from X.
//!
//! The oracle finds it by exploring the model without time: mappings and filter entries only ever get more, so
//! the order of packets does not matter and a few rounds reach the fixed point. It shares the network's
//! routes and kinds of NAT, but none of the code that translates packets; `tests/oracle.rs` holds it against
//! the network and against the table one derives by hand from RFC 4787:
//!
//! | mappings | direct where |
//! |---|---|
//! | both endpoint-independent | always |
//! | one endpoint-independent | *its* filtering is not by address and port |
//! | neither, not both by address and port | no filtering is by address and port, and one is endpoint-independent |
//! | both by address and port | never: each new destination shows a port that nobody was told |

use crate::net::{Dependence, Families, HostId, Link, Neighbour, Network, Place, Ports, Router, V4Edge, V6Edge, Way};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// More rounds find nothing new: the longest useful chain (send, be seen, be answered from a new port, answer
/// that) takes four, and two by-address-and-port mappings chase each other for ever.
const ROUNDS: usize = 6;
/// The port that every node's socket is bound to.
const PORT: u16 = 5_000;
/// Where the symbolic server is: documentation addresses, which no site has.
const SERVER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const SERVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const FIRST_SYMBOLIC_PORT: u16 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

/// Why there is a direct path or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Both are in one place.
    SameNetwork,
    /// Neither address is translated.
    Untranslated,
    /// Through one or more NATs, which both ends open.
    Punched,
    /// One of the hosts is off or attached nowhere.
    Detached,
    /// No address family that both have.
    NoCommonFamily,
    /// UDP does not get out of where one of them is.
    UdpBlocked,
    /// The NATs or firewalls between them let no stable pair of endpoints through.
    Refused,
}

/// The verdict on a pair of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectPath {
    pub possible: bool,
    pub why: Why,
    pub best: Option<Best>,
}

/// The fastest direct path of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Best {
    pub family: Family,
    /// The least time there and back: latencies alone, no jitter, no queues.
    pub rtt: Duration,
    /// The first host's interface and own address.
    pub a: (u8, IpAddr),
    /// The second's.
    pub b: (u8, IpAddr),
}

/// Whether `a` and `b` could reach each other without a relay. Links that are cut count as missing;
/// planned outages do not.
pub fn direct_path_possible(network: &Network, a: HostId, b: HostId) -> DirectPath {
    direct_path_in(network, a, b, Families::DUAL)
}

/// The same, by addresses of `families` alone.
pub fn direct_path_in(network: &Network, a: HostId, b: HostId, families: Families) -> DirectPath {
    let sides = [Side::new(network, a, families), Side::new(network, b, families)];
    if sides.iter().any(|side| side.sockets.is_empty()) {
        return DirectPath::none(Why::Detached);
    }
    let mut exploration = Exploration { model: Model { network, routers: BTreeMap::new() }, sides };
    exploration.introduce();
    for _ in 0..ROUNDS {
        exploration.punch();
    }
    match exploration.stable_pairs().into_iter().min_by_key(|(best, why)| (best.rtt, best.a, best.b, *why)) {
        Some((best, why)) => DirectPath { possible: true, why, best: Some(best) },
        None => DirectPath::none(exploration.why_not()),
    }
}

/// The least round-trip time of a pair, direct; `None` where no direct path is possible.
pub fn direct_rtt(network: &Network, a: HostId, b: HostId) -> Option<Duration> {
    direct_path_possible(network, a, b).best.map(|best| best.rtt)
}

/// The least round-trip time of a pair over a relay at host `relay`; `None` where one of them cannot reach it.
pub fn relayed_rtt(network: &Network, a: HostId, b: HostId, relay: HostId) -> Option<Duration> {
    Some(direct_rtt(network, a, relay)? + direct_rtt(network, relay, b)?)
}

impl DirectPath {
    const fn none(why: Why) -> Self {
        Self { possible: false, why, best: None }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SameNetwork => "both are in one network",
            Self::Untranslated => "no address is translated",
            Self::Punched => "both ends open the NATs",
            Self::Detached => "one of them is not attached",
            Self::NoCommonFamily => "no address family in common",
            Self::UdpBlocked => "UDP is blocked",
            Self::Refused => "the NATs or firewalls let no stable pair of endpoints through",
        })
    }
}

type Socket = (u8, SocketAddr);

struct Side {
    host: HostId,
    sockets: Vec<Socket>,
    /// What this side knows of the other.
    known: BTreeSet<SocketAddr>,
    /// Whether a server heard from any socket.
    gets_out: bool,
}

impl Side {
    fn new(network: &Network, host: HostId, families: Families) -> Self {
        let wanted = |address: &IpAddr| if address.is_ipv4() { families.v4 } else { families.v6 };
        let addresses = |iface| network.addresses(host, iface).iter().copied().filter(wanted);
        let sockets = network
            .interfaces(host)
            .flat_map(|iface| addresses(iface).map(move |address| (iface, SocketAddr::new(address, PORT))))
            .collect();
        let sockets = if network.is_host_up(host) { sockets } else { Vec::new() };
        Self { host, sockets, known: BTreeSet::new(), gets_out: false }
    }
}

struct Exploration<'a> {
    model: Model<'a>,
    sides: [Side; 2],
}

impl Exploration<'_> {
    /// Each side learns the other's own addresses and what a server sees of it.
    fn introduce(&mut self) {
        for side in 0..2 {
            for socket in self.sides[side].sockets.clone() {
                let server = if socket.1.is_ipv4() { SERVER_V4 } else { SERVER_V6 };
                let seen = self.model.travel(self.sides[side].host, socket, SocketAddr::new(server, PORT));
                self.sides[side].gets_out |= seen.is_some();
                let other = &mut self.sides[1 - side];
                other.known.insert(socket.1);
                other.known.extend(seen.map(|arrival| arrival.from));
            }
        }
    }

    /// Every socket sends to every endpoint its side knows; who receives learns where from.
    fn punch(&mut self) {
        for side in 0..2 {
            for (socket, to) in self.pairs(side) {
                if let Some(arrival) = self.model.travel(self.sides[side].host, socket, to)
                    && arrival.to.is_some_and(|(host, _)| host == self.sides[1 - side].host)
                {
                    self.sides[1 - side].known.insert(arrival.from);
                }
            }
        }
    }

    fn pairs(&self, side: usize) -> Vec<(Socket, SocketAddr)> {
        let Side { sockets, known, .. } = &self.sides[side];
        let to = |socket: Socket| known.iter().filter(move |to| to.is_ipv4() == socket.1.is_ipv4());
        sockets.iter().flat_map(|&socket| to(socket).map(move |&to| (socket, to))).collect()
    }

    fn stable_pairs(&mut self) -> Vec<(Best, Why)> {
        let (a, b) = (self.sides[0].host, self.sides[1].host);
        let mut found = Vec::new();
        for (here, to) in self.pairs(0) {
            let Some(there) = self.model.travel(a, here, to) else { continue };
            let Some((_, remote)) = there.to.filter(|(host, _)| *host == b) else { continue };
            let Some(back) = self.model.travel(b, remote, there.from) else { continue };
            if back.to != Some((a, here)) || back.from != to {
                continue;
            }
            let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
            let rtt = there.latency + back.latency;
            let why = if there.from != here.1 || to != remote.1 {
                Why::Punched
            } else if self.model.network.place(a, here.0) == self.model.network.place(b, remote.0) {
                Why::SameNetwork
            } else {
                Why::Untranslated
            };
            found.push((Best { family, rtt, a: (here.0, here.1.ip()), b: (remote.0, remote.1.ip()) }, why));
        }
        found
    }

    fn why_not(&self) -> Why {
        let has = |side: &Side, v4: bool| side.sockets.iter().any(|(_, address)| address.is_ipv4() == v4);
        let common = |v4: bool| self.sides.iter().all(|side| has(side, v4));
        if !common(true) && !common(false) {
            Why::NoCommonFamily
        } else if self.sides.iter().any(|side| !side.gets_out) {
            Why::UdpBlocked
        } else {
            Why::Refused
        }
    }
}

/// Where a packet ends up.
struct Arrival {
    /// The host and socket; none at the symbolic server.
    to: Option<(HostId, Socket)>,
    from: SocketAddr,
    latency: Duration,
}

/// The network without time: routers that never forget and never run out of ports.
struct Model<'a> {
    network: &'a Network,
    routers: BTreeMap<Place, Memory>,
}

#[derive(Default)]
struct Memory {
    /// Inside endpoint and what of the destination the mapping looks at, to the outside port.
    ports: BTreeMap<(SocketAddr, SocketAddr), u16>,
    /// The inside endpoint of each outside port given.
    insides: Vec<SocketAddr>,
    /// Local endpoint (outside for a NAT, inside for a firewall) and what of the remote one the filter looks at.
    open: BTreeSet<(SocketAddr, SocketAddr)>,
}

impl Memory {
    fn map(&mut self, inside: SocketAddr, seen: SocketAddr) -> u16 {
        let next = FIRST_SYMBOLIC_PORT + self.insides.len() as u16;
        let port = *self.ports.entry((inside, seen)).or_insert(next);
        if port == next {
            self.insides.push(inside);
        }
        port
    }

    fn inside(&self, port: u16) -> Option<SocketAddr> {
        self.insides.get(usize::from(port.checked_sub(FIRST_SYMBOLIC_PORT)?)).copied()
    }
}

fn seen(by: Dependence, remote: SocketAddr) -> SocketAddr {
    match by {
        Dependence::EndpointIndependent => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        Dependence::AddressDependent => SocketAddr::new(remote.ip(), 0),
        Dependence::AddressAndPortDependent => remote,
    }
}

fn over(link: &Link, way: Way, latency: &mut Duration) -> Option<()> {
    *latency += link.profile(way).latency;
    link.is_up().then_some(())
}

impl Model<'_> {
    /// Follows a packet to its end, opening what it opens on the way; `None` where something drops it.
    fn travel(&mut self, host: HostId, socket: Socket, to: SocketAddr) -> Option<Arrival> {
        let network = self.network;
        let (mut from, mut to, mut latency) = (socket.1, to, Duration::ZERO);
        let interface = network.interface(host, socket.0)?;
        over(&interface.link, Way::Up, &mut latency)?;
        let mut place = interface.place?;
        let mut descending = false;
        loop {
            let state = &network.places[place.0 as usize];
            let below = match state.neighbours.get(&to.ip()) {
                Some(&Neighbour::Host(receiver, iface)) => {
                    over(&network.interface(receiver, iface)?.link, Way::Down, &mut latency)?;
                    return Some(Arrival { to: Some((receiver, (iface, to))), from, latency });
                }
                Some(&Neighbour::Router(inside)) => Some(inside),
                None => network.locate(to.ip()).and_then(|target| network.child_towards(place, target)),
            };
            if let Some(inside) = below {
                let router = network.places[inside.0 as usize].router.as_ref()?;
                over(&router.uplink, Way::Down, &mut latency)?;
                to = self.inward(inside, router, from, to)?;
                (place, descending) = (inside, true);
            } else if descending {
                return None;
            } else if let Some(router) = &state.router {
                let turned = matches!(&router.v4, V4Edge::Nat(nat) if IpAddr::V4(nat.outside) == to.ip());
                from = self.outward(place, router, from, to)?;
                if turned {
                    to = self.inward(place, router, from, to)?;
                    descending = true;
                } else {
                    over(&router.uplink, Way::Up, &mut latency)?;
                    place = router.parent;
                }
            } else if [SERVER_V4, SERVER_V6].contains(&to.ip()) {
                return Some(Arrival { to: None, from, latency });
            } else {
                let (here, there) = (state.site, network.places[network.locate(to.ip())?.0 as usize].site);
                if here == there {
                    return None;
                }
                let way = if here > there { Way::Up } else { Way::Down };
                over(&network.core[network.core_index(here.into(), there.into())], way, &mut latency)?;
                (place, descending) = (network.sites[usize::from(there)].place, true);
            }
        }
    }

    /// Out of a router: the source a packet gets.
    fn outward(&mut self, place: Place, router: &Router, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        if router.udp_blocked {
            return None;
        }
        let memory = self.routers.entry(place).or_default();
        match (&router.v4, &router.v6, to.is_ipv4()) {
            (V4Edge::Nat(nat), _, true) => {
                if to.ip() == IpAddr::V4(nat.outside) && !nat.kind.hairpin {
                    return None;
                }
                let mapping = visible_mapping(nat.kind.mapping, nat.kind.ports);
                let from = SocketAddr::new(nat.outside.into(), memory.map(from, seen(mapping, to)));
                memory.open.insert((from, seen(nat.kind.filtering, to)));
                Some(from)
            }
            (V4Edge::Routed(firewall), _, true) | (_, V6Edge::Routed(firewall), false) => {
                if let Some(firewall) = firewall {
                    memory.open.insert((from, seen(firewall.kind.filtering, to)));
                }
                Some(from)
            }
            (V4Edge::Off, _, true) | (_, V6Edge::Off, false) => None,
        }
    }

    /// Into a router: the destination a packet gets.
    fn inward(&mut self, place: Place, router: &Router, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        if router.udp_blocked {
            return None;
        }
        let memory = self.routers.entry(place).or_default();
        let (filtering, inside) = match (&router.v4, &router.v6, to.is_ipv4()) {
            (V4Edge::Nat(nat), _, true) => (nat.kind.filtering, memory.inside(to.port())?),
            (V4Edge::Routed(Some(firewall)), _, true) | (_, V6Edge::Routed(Some(firewall)), false) => {
                (firewall.kind.filtering, to)
            }
            (V4Edge::Routed(None), _, true) | (_, V6Edge::Routed(None), false) => return Some(to),
            (V4Edge::Off, _, true) | (_, V6Edge::Off, false) => return None,
        };
        memory.open.contains(&(to, seen(filtering, from))).then_some(inside)
    }
}

/// A NAT that overloads ports gives a lone host the same one for every destination.
fn visible_mapping(mapping: Dependence, ports: Ports) -> Dependence {
    if ports == Ports::Overload { Dependence::EndpointIndependent } else { mapping }
}
